package server

import (
	"bytes"
	"context"
	"encoding/json"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"time"
)

type scopeKey struct{}

func withScope(ctx context.Context, s scope) context.Context {
	return context.WithValue(ctx, scopeKey{}, s)
}

// scopeOf is the scope of an authenticated request.
func scopeOf(r *http.Request) scope {
	s, _ := r.Context().Value(scopeKey{}).(scope)
	return s
}

// contentPolicy lets a page load nothing but from this server. ws: is named
// because not every browser counts it as 'self'. Styles in attributes are the
// one thing inline: they can neither run nor load anything under this policy.
func contentPolicy(host string) string {
	return "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; " +
		"img-src 'self' data: blob:; font-src 'self'; connect-src 'self' ws://" + host + " wss://" + host + "; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// secure sets the headers of every answer.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// assets serves the built page: files under /assets/ have their hash in the
// name and never change, everything else is index.html.
func assets(files fs.FS) http.Handler {
	index, indexErr := fs.ReadFile(files, "index.html")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
		if name != "" && name != "index.html" {
			if b, err := fs.ReadFile(files, name); err == nil {
				serveFile(w, r, name, b)
				return
			}
		}
		if strings.HasPrefix(name, "assets/") || indexErr != nil {
			http.NotFound(w, r)
			return
		}
		// The host was checked against the allow-list.
		w.Header().Set("Content-Security-Policy", contentPolicy(r.Host))
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		http.ServeContent(w, r, "index.html", time.Time{}, bytes.NewReader(index))
	})
}

func serveFile(w http.ResponseWriter, r *http.Request, name string, b []byte) {
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		w.Header().Set("Content-Type", t)
	}
	if strings.HasPrefix(name, "assets/") {
		w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	} else {
		w.Header().Set("Cache-Control", "no-cache")
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
}

// devProxy passes everything on to a Vite server, which needs inline scripts
// and a websocket of its own.
func devProxy(to *url.URL) http.Handler {
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(to)
		p.Out.Header.Del("Cookie")
		p.Out.Header.Del("Authorization")
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Del("Content-Security-Policy")
		proxy.ServeHTTP(w, r)
	})
}

// The refusals, with what to do about them.
var (
	refusedToken = &Problem{"unauthorized", "This page needs the token of the running server.",
		"open the URL that labserver printed when it started; the command labserver url prints it again"}
	refusedOrigin = &Problem{"wrong_origin", "Another site may not use this server.",
		"open the URL that labserver printed when it started"}
)

func refusedHost(host string) *Problem {
	return problemf("wrong_host", "open the URL that labserver printed, or start it with --allow-host NAME",
		"This server does not answer to the name %.100q.", host)
}

var refusalPage = template.Must(template.New("refusal").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>kernelviz</title>
<style>
body { font: 17px/1.5 system-ui, sans-serif; max-width: 34em; margin: 20vh auto; padding: 0 1em }
h1 { font-size: 1.3em }
code { font-family: ui-monospace, monospace }
</style>
<h1>{{.Message}}</h1>
<p>To do: {{.Fix}}.</p>
<p><a href="/">Try again</a></p>
</html>
`))

// writeRefusal answers browsers with a page and programs with JSON.
func writeRefusal(w http.ResponseWriter, r *http.Request, status int, p *Problem) {
	w.Header().Set("Cache-Control", "no-store")
	if !strings.Contains(r.Header.Get("Accept"), "text/html") || strings.HasPrefix(r.URL.Path, "/api/") {
		writeJSON(w, status, map[string]any{"error": map[string]string{"code": p.Code, "message": p.Message, "fix": p.Fix}})
		return
	}
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = refusalPage.Execute(w, p)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v)
}
