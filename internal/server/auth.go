package server

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
)

// scope is what a session may do.
type scope string

const (
	scopeLearner scope = "learner" // everything
	scopeViewer  scope = "viewer"  // look, but not start, drive or stop anything
)

// Token is the secret that opens a server: 256 random bits, base64url.
type Token string

// NewToken makes a token.
func NewToken() Token {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return Token(base64.RawURLEncoding.EncodeToString(b[:]))
}

// ReadToken reads the token from a file, and writes a new one, readable by its
// owner only, where there is none.
func ReadToken(path string) (Token, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t := NewToken()
		if err := writeNew(path, string(t)+"\n"); err != nil {
			return "", fmt.Errorf("writing token file: %w", err)
		}
		return t, nil
	}
	if err != nil {
		return "", fmt.Errorf("reading token file: %w", err)
	}
	t := Token(strings.TrimSpace(string(b)))
	if raw, err := base64.RawURLEncoding.DecodeString(string(t)); err != nil || len(raw) < 32 {
		return "", &Problem{CodeFailed, "reading token file: " + path + " does not hold a token", "delete it; the next start writes a new one"}
	}
	return t, nil
}

func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path) // half a token would lock everybody out
		return err
	}
	return nil
}

// Viewer is the token for those who may only look. Who has it cannot compute
// the token it was made from.
func (t Token) Viewer() Token { return Token(t.derive("viewer token")) }

func (t Token) derive(purpose string) string {
	mac := hmac.New(sha256.New, []byte(t))
	_, _ = mac.Write([]byte("kernelviz " + purpose))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// guard decides who may connect.
type guard struct {
	cookie  string // its name; has the port, since cookies are shared by ports
	keys    []key
	hosts   []string // names allowed in Host, lower case
	metrics *metrics
}

// key is one way in.
type key struct {
	scope   scope
	token   string // in the URL, once, or as Bearer
	session string // in the cookie; made from the token, and the token cannot be made from it
}

func newGuard(token Token, viewers bool, addr net.Addr, allowed []string, m *metrics) *guard {
	host, port, _ := net.SplitHostPort(addr.String())
	g := &guard{
		cookie:  "kernelviz_" + port,
		keys:    []key{{scopeLearner, string(token), token.derive("session")}},
		hosts:   []string{"localhost", "127.0.0.1", "::1"},
		metrics: m,
	}
	if viewers {
		v := token.Viewer()
		g.keys = append(g.keys, key{scopeViewer, string(v), v.derive("session")})
	}
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		g.hosts = append(g.hosts, host)
	}
	for _, h := range allowed {
		g.hosts = append(g.hosts, strings.ToLower(strings.Trim(h, "[]")))
	}
	return g
}

// equal compares in constant time.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// byToken finds the key that a token opens.
func (g *guard) byToken(token string) (key, bool) {
	return g.find(func(k key) bool { return equal(k.token, token) })
}

// find looks at all keys, so that the time does not tell which one matched.
func (g *guard) find(match func(key) bool) (found key, ok bool) {
	for _, k := range g.keys {
		if match(k) {
			found, ok = k, true
		}
	}
	return found, ok
}

// session finds the key of a request's cookie or Authorization header.
func (g *guard) session(r *http.Request) (key, bool) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return g.byToken(token)
	}
	// A page of another server on this host may have set a cookie of the same
	// name for a narrower path: any of them may be ours.
	for _, c := range r.CookiesNamed(g.cookie) {
		if k, ok := g.find(func(k key) bool { return equal(k.session, c.Value) }); ok {
			return k, true
		}
	}
	return key{}, false
}

// hostAllowed guards against DNS rebinding: a foreign name that resolves to
// this machine is not one of ours. Ports are not compared, since a forwarded
// port may be any.
func (g *guard) hostAllowed(r *http.Request) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	return slices.Contains(g.hosts, host)
}

// originAllowed guards against other pages in the same browser: an Origin, if
// there is one, is the one that the request goes to. Browsers send it with
// every websocket and everything that is not GET.
func originAllowed(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	if err != nil || len(origins) > 1 {
		return false
	}
	return (u.Scheme == "http" || u.Scheme == "https") && strings.EqualFold(u.Host, r.Host)
}

// protect wraps every route but /healthz.
func (g *guard) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.hostAllowed(r) {
			g.metrics.refusedHost.Inc()
			writeRefusal(w, r, http.StatusForbidden, refusedHost(r.Host))
			return
		}
		if g.exchange(w, r) {
			return
		}
		k, ok := g.session(r)
		if !ok {
			g.metrics.refusedToken.Inc()
			w.Header().Set("WWW-Authenticate", `Bearer realm="kernelviz"`)
			writeRefusal(w, r, http.StatusUnauthorized, refusedToken)
			return
		}
		if !originAllowed(r) {
			g.metrics.refusedOrigin.Inc()
			writeRefusal(w, r, http.StatusForbidden, refusedOrigin)
			return
		}
		next.ServeHTTP(w, r.WithContext(withScope(r.Context(), k.scope)))
	})
}

// exchange turns the token of the printed URL into a cookie and redirects to
// the same address without it, so that the token stands in no history and no
// Referer. Browsers keep the part after #.
func (g *guard) exchange(w http.ResponseWriter, r *http.Request) bool {
	query := r.URL.Query()
	if r.Method != http.MethodGet || !query.Has("token") {
		return false
	}
	k, ok := g.byToken(query.Get("token"))
	if !ok {
		return false // a cookie may still do
	}
	http.SetCookie(w, &http.Cookie{
		Name:     g.cookie,
		Value:    k.session,
		Path:     "/",
		HttpOnly: true,
		SameSite: http.SameSiteStrictMode,
	})
	query.Del("token")
	// The path is cleaned: "//host" would lead away.
	to := url.URL{Path: "/" + strings.TrimLeft(r.URL.Path, "/\\"), RawQuery: query.Encode()}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
	return true
}
