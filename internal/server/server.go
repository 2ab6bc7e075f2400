// Package server lets pages watch the kernel: routes, who may connect, one
// websocket per page, and the hub that samples each kernel object once for all
// who look at it.
//
// A page has one reader and one writer goroutine and a short queue (client). A
// watched object has one goroutine that samples it (room). Rooms never wait for
// pages: a page that is slow loses frames and gets the newest state.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/gorilla/websocket"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/sandbox"
)

// DefaultMaxClients is the number of pages that connect at once.
const DefaultMaxClients = 2000

const (
	// stopWithin bounds the end: pages get a close frame, watches are closed,
	// workloads killed.
	stopWithin     = 2 * time.Second
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
	// socketBuffer bytes of frames wait in the kernel for a page, at most.
	socketBuffer = 128 << 10
)

// Options make a Server. Views, Kernel, Token, Addr and Logger must be set.
type Options struct {
	Version string
	Kernel  *kernel.Info
	Views   []kernelviz.View
	Assets  fs.FS // index.html and assets/
	Logger  *slog.Logger
	Sandbox *sandbox.Sandbox // of the workloads; nil: pages may start none. The caller closes it
	Labs    *LabOptions      // nil: no labs
	// Experiments is nil where pages may run none.
	Experiments *ExperimentOptions

	Addr       net.Addr // that the server listens on
	Token      Token
	Viewers    bool     // let in those who have Token.Viewer(), to look
	AllowHosts []string // names in Host besides loopback and Addr
	MaxClients int      // 0: DefaultMaxClients
	Dev        *url.URL // of a Vite server that serves the page instead of Assets
}

// Server is the server of one process.
type Server struct {
	options  Options
	guard    *guard
	metrics  *metrics
	hub      *hub
	hello    map[scope][]byte
	upgrader websocket.Upgrader

	terminals terminalPages
	stop      context.CancelFunc // ends the hub's context
}

// New makes a server. It runs nothing but the target list, which sleeps until
// somebody asks; Serve or Close must be called.
func New(o Options) *Server {
	if o.MaxClients == 0 {
		o.MaxClients = DefaultMaxClients
	}
	m := newMetrics(o.Version)
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{
		options: o,
		guard:   newGuard(o.Token, o.Viewers, o.Addr, o.AllowHosts, m),
		metrics: m,
		hub:     newHub(ctx, o, m),
		hello:   make(map[scope][]byte),
		upgrader: websocket.Upgrader{
			ReadBufferSize:  readBuffer,
			WriteBufferSize: writeBuffer,
			WriteBufferPool: new(sync.Pool), // pages are many and write seldom at once
			CheckOrigin:     originAllowed,
		},
		stop: stop,
	}
	report := NewReport(o.Version, o.Kernel, o.Views)
	for _, sc := range []scope{scopeLearner, scopeViewer} {
		s.hello[sc] = encode(helloMessage{"hello", report, string(sc), s.hub.workloads != nil && sc == scopeLearner})
	}
	return s
}

// URL is the address to print: it opens the server once and for this browser.
func (s *Server) URL() string { return s.url(s.options.Token) }

// ViewerURL is the address for those who may only look. It is empty unless
// Options.Viewers is set.
func (s *Server) ViewerURL() string {
	if !s.options.Viewers {
		return ""
	}
	return s.url(s.options.Token.Viewer())
}

func (s *Server) url(t Token) string {
	return fmt.Sprintf("http://%s/?token=%s", browserHost(s.options.Addr), t)
}

// browserHost is where a browser on this machine finds the address.
func browserHost(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// Handler is everything that the server answers.
func (s *Server) Handler() http.Handler {
	r := chi.NewRouter()
	r.Use(secure)
	r.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "ok\n")
	})
	r.Group(func(r chi.Router) {
		r.Use(s.guard.protect)
		r.Get("/ws", s.connect)
		r.Get("/ws/terminal", s.connectTerminal)
		r.Get("/metrics", s.metrics.serve)
		r.Route("/api", func(r chi.Router) {
			r.Get("/v1/targets", s.apiTargets)
			r.Get("/v1/doctor", s.apiDoctor)
			r.Get("/v1/labs", s.apiLabs)
			r.Get("/v1/labs/{id}", s.apiLesson)
			r.Get("/v1/labs/{id}/media/{name}", s.apiMedia)
			r.Get("/v1/progress", s.apiProgress)
			r.Get("/v1/experiments", s.apiExperiments)
			r.Get("/v1/experiments/{id}/runs/{run}", s.apiRun)
			r.Delete("/v1/experiments/{id}/runs/{run}", s.apiForgetRun)
			r.Get("/v1/claims", s.apiClaims)
			r.NotFound(func(w http.ResponseWriter, r *http.Request) {
				writeRefusal(w, r, http.StatusNotFound, problemf(CodeNotFound, "", "no route %.100s", r.URL.Path))
			})
		})
		if s.options.Dev != nil {
			r.Handle("/*", devProxy(s.options.Dev))
			return
		}
		r.Handle("/*", assets(s.options.Assets))
	})
	return r
}

func (s *Server) apiTargets(w http.ResponseWriter, r *http.Request) {
	list := s.hub.targets.refresh(r.Context(), targetsEvery/2)
	writeJSON(w, http.StatusOK, map[string]any{"targets": list})
}

func (s *Server) apiDoctor(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, NewReport(s.options.Version, s.options.Kernel, s.options.Views))
}

// connect makes a websocket of the request. The goroutines that serve it are
// the page's own, so that nothing of the HTTP request is kept.
func (s *Server) connect(w http.ResponseWriter, r *http.Request) {
	if s.hub.full() {
		w.Header().Set("Retry-After", "5")
		writeRefusal(w, r, http.StatusServiceUnavailable,
			problemf(CodeLimit, "close some pages", "%d pages are connected, the most this server takes", s.options.MaxClients))
		return
	}
	sc := scopeOf(r)
	conn, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // it has answered
	}
	if tcp, ok := conn.NetConn().(*net.TCPConn); ok {
		// Left alone, the kernel lets a page that does not read have megabytes,
		// and the server learns of it minutes late. A failure costs only that.
		_ = tcp.SetWriteBuffer(socketBuffer)
	}
	if !s.hub.join(newClient(s.hub, conn, sc), s.hello[sc]) {
		_ = conn.WriteControl(websocket.CloseMessage,
			websocket.FormatCloseMessage(websocket.CloseTryAgainLater, "full"), time.Now().Add(closeWithin))
		_ = conn.Close()
	}
}

// Serve answers on the listener until ctx ends; then it says goodbye to the
// pages, closes every watch and returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	web := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.options.Logger.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(l) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serving on %s: %w", l.Addr(), err)
	}
	deadline := time.Now().Add(stopWithin)
	s.Close(deadline)
	shut, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if web.Shutdown(shut) != nil {
		return errors.Join(err, web.Close())
	}
	return err
}

// Close ends pages, watches and workloads, by the deadline. Serve does it.
func (s *Server) Close(deadline time.Time) {
	s.stop()
	s.hub.shutdown(deadline)
}
