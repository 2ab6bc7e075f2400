package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/workload"
)

// The test binary plays `labserver workload NAME`.
func TestMain(m *testing.M) {
	main := playTrial
	switch {
	case len(os.Args) == 2 && os.Args[1] == "play-trial":
	case len(os.Args) > 2 && os.Args[1] == "workload":
		main = func() error { return workload.Main(os.Args[2], os.Args[3:]) }
	default:
		os.Exit(m.Run())
	}
	if err := main(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// running is a server on a loopback port with the view of counters.
type running struct {
	*Server
	t    *testing.T
	addr string
	view *counters
	stop context.CancelFunc
	done chan error // what Serve returned

	dialer websocket.Dialer // of pages
}

func start(t *testing.T, change ...func(*Options)) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	view := newCounters("1", "2")
	o := Options{
		Version: "test",
		Kernel:  &kernel.Info{Host: kernel.Host{Release: "6.0-test"}},
		Views:   []kernelviz.View{view},
		Assets: fstest.MapFS{
			"index.html":          {Data: []byte("<!doctype html><title>page</title>")},
			"assets/app-1a2b.js":  {Data: []byte("export {}")},
			"assets/app-1a2b.css": {Data: []byte("body {}")},
		},
		Logger:  slog.New(slog.DiscardHandler),
		Addr:    l.Addr(),
		Token:   NewToken(),
		Viewers: true,
	}
	for _, f := range change {
		f(&o)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &running{Server: New(o), t: t, addr: l.Addr().String(), view: view, stop: stop, done: make(chan error, 1)}
	s.dialer.HandshakeTimeout = 10 * time.Second
	go func() { s.done <- s.Serve(ctx, l) }()
	t.Cleanup(s.end)
	return s
}

// end stops the server and waits for it.
func (s *running) end() {
	s.stop()
	select {
	case err := <-s.done:
		s.done <- err
		if err != nil {
			s.t.Errorf("Serve: %v", err)
		}
	case <-time.After(10 * time.Second):
		s.t.Error("the server does not stop")
	}
}

// browser is a client that follows the printed URL and so has the cookie.
func (s *running) browser(address string) *http.Client {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Timeout: 10 * time.Second}
	res, err := c.Get(address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: %s", address, res.Status)
	}
	return c
}

func (s *running) dial(change ...func(http.Header)) (*websocket.Conn, *http.Response, error) {
	h := http.Header{"Authorization": {"Bearer " + string(s.options.Token)}}
	for _, f := range change {
		f(h)
	}
	return s.dialer.Dial("ws://"+s.addr+"/ws", h)
}

// tab is a page connected by a real websocket.
type tab struct {
	t    *testing.T
	conn *websocket.Conn
	pic  picture
}

func (s *running) tab(change ...func(http.Header)) *tab {
	s.t.Helper()
	conn, _, err := s.dial(change...)
	if err != nil {
		s.t.Fatal(err)
	}
	p := &tab{t: s.t, conn: conn}
	s.t.Cleanup(func() { conn.Close() })
	if hello := p.message("hello"); hello["version"] != "test" {
		s.t.Fatalf("hello: %v", hello)
	}
	return p
}

func (p *tab) send(format string, args ...any) {
	p.t.Helper()
	if err := p.conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, format, args...)); err != nil {
		p.t.Fatal(err)
	}
}

// receive reads one message: a frame goes into the picture, JSON is returned.
func (p *tab) receive() (map[string]any, error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	kind, data, err := p.conn.ReadMessage()
	if err != nil {
		return nil, err
	}
	if kind == websocket.BinaryMessage {
		return nil, p.pic.apply(data)
	}
	var m map[string]any
	return m, json.Unmarshal(data, &m)
}

// message waits for a JSON message of a type.
func (p *tab) message(kind string) map[string]any {
	p.t.Helper()
	for {
		m, err := p.receive()
		if err != nil {
			p.t.Fatalf("waiting for %q: %v", kind, err)
		}
		if m["type"] == kind {
			return m
		}
	}
}

// until reads until the picture is as wanted.
func (p *tab) until(what string, ok func(*picture) bool) {
	p.t.Helper()
	for !ok(&p.pic) {
		if _, err := p.receive(); err != nil {
			p.t.Fatalf("waiting until %s: %v", what, err)
		}
	}
}

// closed reads until the connection ends and returns the close code.
func (p *tab) closed() int {
	for {
		_, err := p.receive()
		var c *websocket.CloseError
		if errors.As(err, &c) {
			return c.Code
		}
		if err != nil {
			p.t.Fatalf("connection ended without a close frame: %v", err)
		}
	}
}

func TestWhoMayConnect(t *testing.T) {
	s := start(t)
	session := s.guard.keys[0].session
	good := &http.Cookie{Name: s.guard.cookie, Value: session}
	type change func(*http.Request)
	with := func(c *http.Cookie) change { return func(r *http.Request) { r.AddCookie(c) } }
	header := func(name, value string) change {
		return func(r *http.Request) {
			r.AddCookie(good)
			r.Header.Set(name, value)
		}
	}
	host := func(h string) change {
		return func(r *http.Request) {
			r.AddCookie(good)
			r.Host = h
		}
	}
	callers := []struct {
		name   string
		change change
		want   int // 0: whatever the route answers to those who may
	}{
		{"nobody", func(*http.Request) {}, 401},
		{"wrong cookie", with(&http.Cookie{Name: s.guard.cookie, Value: strings.Repeat("A", 43)}), 401},
		{"empty cookie", with(&http.Cookie{Name: s.guard.cookie}), 401},
		{"the token as cookie", with(&http.Cookie{Name: s.guard.cookie, Value: string(s.options.Token)}), 401},
		{"cookie of another port", with(&http.Cookie{Name: "kernelviz_1", Value: session}), 401},
		{"wrong bearer", func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401},
		{"the session as bearer", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+session) }, 401},
		{"wrong token", func(r *http.Request) { r.URL.RawQuery = "token=wrong" }, 401},
		{"foreign host", host("evil.example"), 403},
		{"foreign host with our port", host("evil.example:8080"), 403},
		{"host that begins like ours", host("localhost.evil.example"), 403},
		{"no host", host(""), 403},
		{"foreign origin", header("Origin", "http://evil.example"), 403},
		{"origin of another port", header("Origin", "http://127.0.0.1:1"), 403},
		{"opaque origin", header("Origin", "null"), 403},
		{"cookie", with(good), 0},
		{"bearer", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+string(s.options.Token)) }, 0},
		{"viewer's bearer", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+string(s.options.Token.Viewer())) }, 0},
		{"own origin", header("Origin", "http://"+s.addr), 0},
		{"localhost", host("localhost:9"), 0},
		{"upper case", host("LOCALHOST"), 0},
		{"IPv6 loopback", host("[::1]:8080"), 0},
	}
	routes := []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 200},
		{"GET", "/epoll/1234:5", 200},
		{"GET", "/assets/app-1a2b.js", 200},
		{"GET", "/assets/none.js", 404},
		{"GET", "/metrics", 200},
		{"GET", "/api/v1/targets", 200},
		{"GET", "/api/v1/doctor", 200},
		{"GET", "/api/v1/none", 404},
		{"POST", "/api/v1/targets", 405},
		{"POST", "/", 405},
		{"GET", "/ws", 400}, // not a websocket handshake
		{"HANDSHAKE", "/ws", 101},
	}
	direct := &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for _, route := range routes {
		for _, caller := range callers {
			t.Run(route.method+" "+route.path+" by "+caller.name, func(t *testing.T) {
				method := route.method
				if method == "HANDSHAKE" {
					method = http.MethodGet
				}
				r, err := http.NewRequest(method, "http://"+s.addr+route.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if route.method == "HANDSHAKE" {
					r.Header.Set("Connection", "Upgrade")
					r.Header.Set("Upgrade", "websocket")
					r.Header.Set("Sec-WebSocket-Version", "13")
					r.Header.Set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
				}
				caller.change(r)
				if r.Host == "" {
					r.Host = "." // net/http fills in an empty one
				}
				res, err := direct.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				want := caller.want
				if want == 0 {
					want = route.want
				}
				if res.StatusCode != want {
					t.Errorf("%s, want %d", res.Status, want)
				}
				if res.StatusCode != http.StatusSwitchingProtocols && res.Header.Get("X-Content-Type-Options") != "nosniff" {
					t.Error("no nosniff")
				}
			})
		}
	}
	res, err := direct.Get("http://" + s.addr + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("GET /healthz without anything: %s", res.Status)
	}
}

func TestTokenBecomesCookie(t *testing.T) {
	s := start(t)
	direct := &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for _, c := range []struct{ path, location string }{
		{"/?token=T", "/"},
		{"/?token=T&lang=zh", "/?lang=zh"},
		{"/watch/epoll/1:5?token=T", "/watch/epoll/1:5"},
		{"//evil.example/?token=T", "/evil.example/"},
		{"/%5Cevil.example?token=T", "/evil.example"},
	} {
		res, err := direct.Get("http://" + s.addr + strings.Replace(c.path, "T", string(s.options.Token), 1))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != c.location {
			t.Errorf("GET %s: %s to %q, want 303 to %q", c.path, res.Status, res.Header.Get("Location"), c.location)
		}
		cookies := res.Cookies()
		if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode || cookies[0].Path != "/" {
			t.Errorf("GET %s: cookies %v", c.path, cookies)
		}
		if strings.Contains(fmt.Sprint(res.Header), string(s.options.Token)) {
			t.Errorf("GET %s: the answer repeats the token", c.path)
		}
	}
	other := start(t, func(o *Options) { o.Token = s.options.Token })
	if s.guard.cookie == other.guard.cookie {
		t.Error("two servers on one host use one cookie name")
	}
}

func TestRefusalTellsWhatToDo(t *testing.T) {
	s := start(t)
	r, _ := http.NewRequest(http.MethodGet, "http://"+s.addr+"/", nil)
	r.Header.Set("Accept", "text/html,*/*")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") || !strings.Contains(string(body), "open the URL that labserver printed") {
		t.Errorf("%s:\n%s", res.Header.Get("Content-Type"), body)
	}
}

func TestPageHeaders(t *testing.T) {
	s := start(t)
	c := s.browser(s.URL())
	get := func(path string) *http.Response {
		res, err := c.Get("http://" + s.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	for _, path := range []string{"/", "/index.html", "/some/view"} {
		h := get(path).Header
		csp := h.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self';", "frame-ancestors 'none'", "ws://" + s.addr} {
			if !strings.Contains(csp, part) {
				t.Errorf("GET %s: policy %q lacks %q", path, csp, part)
			}
		}
		if h.Get("Cache-Control") != "no-cache" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("GET %s: %v", path, h)
		}
	}
	if got := get("/assets/app-1a2b.js").Header; !strings.Contains(got.Get("Cache-Control"), "immutable") || !strings.Contains(got.Get("Content-Type"), "javascript") {
		t.Errorf("GET /assets: %v", got)
	}
}

func TestMetricsNameNoProcess(t *testing.T) {
	s := start(t)
	p := s.tab()
	p.send(`{"type":"watch","topic":"counters/1","rate":60}`)
	p.until("ten frames", func(pic *picture) bool {
		s.view.object("1").set(1, uint32(pic.frames))
		return pic.frames >= 10
	})
	res, err := s.browser(s.URL()).Get("http://" + s.addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	for _, line := range []string{
		"kernelviz_viewers 1\n", `kernelviz_watches{view="counters"} 1`, `kernelviz_frames_sent_total{view="counters"}`,
		`kernelviz_frame_bytes_sent_total{view="counters"}`, `kernelviz_sample_seconds_count{view="counters"}`,
		`kernelviz_encode_seconds_count{view="counters"}`, `kernelviz_probe_cost_cpus{view="counters"} 0.25`,
	} {
		if !bytes.Contains(text, []byte(line)) {
			t.Errorf("no %q", line)
		}
	}
	if bytes.Contains(text, []byte("counters/1")) {
		t.Error("a metric names a topic")
	}
}

func TestPageFollowsObject(t *testing.T) {
	s := start(t)
	o := s.view.object("1")
	p := s.tab()
	p.send(`{"type":"watch","topic":"counters/1","view":{"lo":0,"hi":0,"px":1200},"rate":60}`)
	w := p.message("watching")
	if w["topic"] != "counters/1" || w["target"].(map[string]any)["pid"] != 1.0 {
		t.Errorf("watching: %v", w)
	}
	for i := range uint32(20) {
		o.set(i%12+1, i+100)
		p.until("the change arrived", func(pic *picture) bool { return pic.values[i%12+1] == i+100 })
	}
	if p.pic.header.Topic != uint32(w["id"].(float64)) || p.pic.keys != 1 {
		t.Errorf("header %+v, %d key frames", p.pic.header, p.pic.keys)
	}
	o.end(s.view)
	if gone := p.message("gone"); gone["id"] != w["id"] {
		t.Errorf("gone: %v", gone)
	}
}

func TestReconnect(t *testing.T) {
	s := start(t)
	first := s.tab()
	first.send(`{"type":"watch","topic":"counters/1"}`)
	first.until("a frame", func(p *picture) bool { return p.frames > 0 })
	first.conn.Close()
	second := s.tab()
	second.send(`{"type":"watch","topic":"counters/1"}`)
	second.until("a frame", func(p *picture) bool { return p.frames > 0 })
	if second.pic.keys != 1 || len(second.pic.values) != 10 {
		t.Errorf("after reconnecting: %+v", second.pic)
	}
}

func TestMessagesThatCannotBeRead(t *testing.T) {
	s := start(t)
	p := s.tab()
	for _, c := range []struct{ send, want string }{
		{`{"type":"dance","ref":7}`, "unknown message type"},
		{`{"type":"watch","topic":"counters/1","colour":1}`, "unknown field"},
		{`{"type":"watch","topic":"counters/1","rate":61}`, "rate 61"},
		{`{"type":"watch","topic":"nothing"}`, "want VIEW/NAME"},
		{`{"type":"watch","topic":"nothing/1"}`, "no view"},
		{`[1,2]`, "not a JSON object"},
		{`{`, "not a JSON object"},
		{`{"type":"targets","on":true}{}`, "not a JSON object"},
	} {
		p.send("%s", c.send)
		m := p.message("error")
		if !strings.Contains(m["message"].(string), c.want) {
			t.Errorf("%s: %v, want %q", c.send, m, c.want)
		}
	}
	p.send(`{"type":"dance","ref":7}`)
	if m := p.message("error"); m["ref"] != 7.0 {
		t.Errorf("the answer lost its ref: %v", m)
	}
	p.send(`{"type":"watch","topic":"counters/1"}`) // still welcome
	p.message("watching")
	for range garbageLimit {
		p.send(`{"type":"dance"}`)
	}
	if code := p.closed(); code != websocket.ClosePolicyViolation {
		t.Errorf("closed with %d, want %d", code, websocket.ClosePolicyViolation)
	}
}

func TestTooLongMessageClosesThePage(t *testing.T) {
	s := start(t)
	p := s.tab()
	p.send(`{"type":"watch","topic":"%s"}`, strings.Repeat("x", readLimit))
	if code := p.closed(); code != websocket.CloseMessageTooBig {
		t.Errorf("closed with %d, want %d", code, websocket.CloseMessageTooBig)
	}
}

func TestTooManyPages(t *testing.T) {
	s := start(t, func(o *Options) { o.MaxClients = 2 })
	s.tab()
	second := s.tab()
	_, res, err := s.dial()
	if err == nil || res == nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("third page: %v", res)
	}
	second.conn.Close()
	eventually(t, "a place is free", func() bool {
		conn, _, err := s.dial()
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// A page that never reads must neither slow the others nor be kept.
func TestStuckPageDoesNotSlowOthers(t *testing.T) {
	s := start(t)
	o := s.view.object("1")
	for i := range uint32(20_000) { // 160 kB a frame, so that buffers fill soon
		o.set(i+1, 0)
	}
	s.dialer.NetDialContext = (&net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10); err != nil {
				t.Error(err)
			}
		})
	}}).DialContext
	stuck := s.tab()
	s.dialer.NetDialContext = nil
	stuck.send(`{"type":"watch","topic":"counters/1","rate":60}`)
	good := s.tab()
	good.send(`{"type":"watch","topic":"counters/1","rate":60}`)
	var round uint32
	begin := time.Now()
	var worst time.Duration
	for time.Since(begin) < writeTimeout+20*time.Second && s.connected() == 2 {
		round++
		o.with(func() {
			for id := range o.values {
				o.values[id] = round
			}
		})
		changed := time.Now()
		good.until("the change arrived", func(p *picture) bool { return p.values[20_000] == round })
		worst = max(worst, time.Since(changed))
	}
	if s.connected() != 1 {
		t.Errorf("%d pages are connected, want the stuck one gone", s.connected())
	}
	if good.pic.keys != 1 || round < 20 {
		t.Errorf("the good page got %d rounds and %d key frames beside a stuck page", round, good.pic.keys)
	}
	// A hub that waits for the stuck page waits until its write times out.
	if worst > writeTimeout-time.Second {
		t.Errorf("a change took %v to reach the good page", worst)
	}
	t.Logf("%d rounds, slowest %v", round, worst)
}

func (s *running) connected() int {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return len(s.hub.clients)
}

func TestShutdown(t *testing.T) {
	before := runtime.NumGoroutine()
	s := start(t)
	var tabs []*tab
	for range 5 {
		p := s.tab()
		p.send(`{"type":"watch","topic":"counters/1"}`)
		p.until("a frame", func(p *picture) bool { return p.frames > 0 })
		tabs = append(tabs, p)
	}
	s.view.object("2").slow = time.Hour // a sample that does not end by itself
	tabs[0].send(`{"type":"watch","topic":"counters/2"}`)
	tabs[0].message("watching")
	begin := time.Now()
	s.stop()
	var wg sync.WaitGroup
	for _, p := range tabs {
		wg.Go(func() {
			if code := p.closed(); code != websocket.CloseGoingAway {
				t.Errorf("closed with %d, want %d", code, websocket.CloseGoingAway)
			}
		})
	}
	wg.Wait()
	s.end()
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("stopping took %v", took)
	}
	for _, name := range []string{"1", "2"} {
		if o := s.view.object(name); o.opened != 1 || o.closed != 1 {
			t.Errorf("watch of %s opened %d times and closed %d times", name, o.opened, o.closed)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+1 })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not after 10 s: %s", what)
		}
		runtime.Gosched()
		<-time.After(5 * time.Millisecond)
	}
}

func TestViewersLook(t *testing.T) {
	s := start(t)
	jar := s.browser(s.ViewerURL()).Jar
	u, _ := url.Parse("http://" + s.addr)
	conn, _, err := (&websocket.Dialer{Jar: jar}).Dial("ws://"+s.addr+"/ws", http.Header{"Origin": {u.String()}})
	if err != nil {
		t.Fatal(err)
	}
	p := &tab{t: t, conn: conn}
	t.Cleanup(func() { conn.Close() })
	if hello := p.message("hello"); hello["scope"] != "viewer" || hello["workloads"] != false {
		t.Errorf("hello: %v", hello)
	}
	p.send(`{"type":"watch","topic":"counters/1"}`)
	p.until("a frame", func(pic *picture) bool { return pic.frames > 0 })
	for _, m := range []string{
		`{"type":"start","ref":1,"workload":"puppet"}`,
		`{"type":"do","ref":1,"id":"puppet-1","action":{}}`,
		`{"type":"stop","ref":1,"id":"puppet-1"}`,
	} {
		p.send("%s", m)
		if e := p.message("error"); e["code"] != CodeForbidden || e["ref"] != 1.0 {
			t.Errorf("%s by a viewer: %v", m, e)
		}
	}
}

func TestWorkloadsSwitchedOff(t *testing.T) {
	s := start(t)
	conn, _, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := &tab{t: t, conn: conn}
	if hello := p.message("hello"); hello["workloads"] != false || hello["scope"] != "learner" {
		t.Errorf("hello: %v", hello)
	}
	p.send(`{"type":"start","ref":1,"workload":"puppet"}`)
	if e := p.message("error"); e["code"] != CodeDisabled || e["ref"] != 1.0 {
		t.Errorf("start: %v", e)
	}
	p.send(`{"type":"attach","ref":2,"id":"puppet-1"}`)
	if e := p.message("error"); e["code"] != CodeNotFound || e["ref"] != 2.0 {
		t.Errorf("attach: %v", e)
	}
}

// With --dev the page comes from elsewhere; who may have it does not change, and
// nothing secret goes there.
func TestDevProxy(t *testing.T) {
	got := make(chan http.Header, 1)
	vite := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header
		_, _ = io.WriteString(w, "vite "+r.URL.Path)
	}))
	defer vite.Close()
	to, err := url.Parse(vite.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, func(o *Options) { o.Dev = to })
	res, err := http.Get("http://" + s.addr + "/src/main.ts")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a cookie: %s", res.Status)
	}
	c := s.browser(s.URL())
	<-got
	if res, err = c.Get("http://" + s.addr + "/src/main.ts"); err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); string(body) != "vite /src/main.ts" {
		t.Errorf("page: %q", body)
	}
	if h := <-got; h.Get("Cookie") != "" || h.Get("Authorization") != "" {
		t.Errorf("the session went to the Vite server: %v", h)
	}
}

func TestListenNamesWhoHasThePort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	_, err = Listen(addr, 1)
	var p *Problem
	if !errors.As(err, &p) {
		t.Fatalf("listening on a taken port: %v", err)
	}
	for _, part := range []string{"port " + port, "taken by process", "server.test"} {
		if !strings.Contains(p.Message, part) {
			t.Errorf("%q does not say %q", p.Message, part)
		}
	}
	if !strings.Contains(p.Fix, "--addr") {
		t.Errorf("fix %q does not name --addr", p.Fix)
	}
	next, err := Listen(addr, 10)
	if err != nil {
		t.Fatal(err)
	}
	next.Close()
}

func TestTokenFile(t *testing.T) {
	path := t.TempDir() + "/token"
	first, err := ReadToken(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := ReadToken(path)
	if err != nil || first != second {
		t.Errorf("read %q after writing %q: %v", second, first, err)
	}
	if len(first) < 43 || first == NewToken() {
		t.Errorf("token %q", first)
	}
}

func FuzzControl(f *testing.F) {
	for _, seed := range []string{
		`{"type":"targets","on":true}`,
		`{"type":"watch","topic":"epoll/1234:5","view":{"lo":0,"hi":0,"px":1200},"rate":30}`,
		`{"type":"unwatch","topic":"epoll/1:2"}`, `{"type":"key","topic":"epoll/1:2"}`,
		`{"type":"inspect","ref":1,"topic":"epoll/1:2","object":"node","id":17}`,
		`{"type":"start","ref":2,"workload":"puppet"}`, `{"type":"attach","ref":3,"id":"puppet-1"}`,
		`{"type":"do","ref":4,"id":"puppet-1","action":{"op":"wait","epfd":3}}`, `{"type":"stop","ref":5,"id":"puppet-1"}`,
		`{"type":"watch","rate":-1}`, `{"type":1}`, `[]`, `null`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		msg, _, err := parseControl(data)
		if (msg == nil) == (err == nil) {
			t.Fatalf("message %v and error %v", msg, err)
		}
		if err != nil {
			var p *Problem
			if !errors.As(err, &p) || p.Code != CodeBadMessage {
				t.Fatalf("error without a code: %v", err)
			}
			return
		}
		// What was read means the same when written and read again.
		text, err := json.Marshal(msg)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := parseControl(text)
		if err != nil {
			t.Fatalf("%s, read again: %v", text, err)
		}
		if second, _ := json.Marshal(again); !bytes.Equal(text, second) {
			t.Fatalf("%s, read again: %s", text, second)
		}
		if w, ok := msg.(*watchMessage); ok {
			if w.Rate < 1 || w.Rate > maxRate {
				t.Fatalf("rate %d", w.Rate)
			}
			if topic, err := parseTopic(w.Topic); err == nil && topic.String() != w.Topic {
				t.Fatalf("topic %q became %q", w.Topic, topic)
			}
		}
	})
}
