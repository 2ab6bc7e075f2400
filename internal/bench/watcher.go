package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing/fstest"
	"time"

	"github.com/gorilla/websocket"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/epoll"
	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/server"
)

// patience bounds the wait for what should happen at once.
const patience = 20 * time.Second

// watcher is a server in this process with one page that can watch.
type watcher struct {
	view  string // name of the view that it serves
	addr  string
	token server.Token
	stop  context.CancelFunc
	ended chan error
}

// startWatcher serves the epoll view, with its tracepoints or without.
func startWatcher(ctx context.Context, info *kernel.Info, transitions bool) (*watcher, error) {
	view, err := epoll.New(ctx, epoll.Options{Kernel: info, NoTransitions: !transitions})
	if err != nil {
		return nil, err
	}
	return serveView(ctx, info, view)
}

// serveView serves one view, which the watcher closes.
func serveView(ctx context.Context, info *kernel.Info, view kernelviz.View) (*watcher, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, view.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	w := &watcher{view: view.Name(), addr: l.Addr().String(), token: server.NewToken(), stop: stop, ended: make(chan error, 1)}
	s := server.New(server.Options{
		Version: "bench", Kernel: info, Views: []kernelviz.View{view}, Assets: fstest.MapFS{},
		Logger: slog.New(slog.DiscardHandler), Addr: l.Addr(), Token: w.token,
	})
	go func() { w.ended <- errors.Join(s.Serve(ctx, l), view.Close()) }()
	return w, nil
}

func (w *watcher) close() error {
	w.stop()
	return <-w.ended
}

// while runs f while a page watches the target at 30 frames/s, and returns
// when nothing of the watch is left.
func (w *watcher) while(ctx context.Context, target string, f func() error) error {
	page, err := dial(ctx, w.addr, w.token)
	if err != nil {
		return err
	}
	defer page.Close()
	if err := watchTopic(page, w.view+"/"+target, 30); err != nil {
		return err
	}
	// The pages' frames are read and thrown away, as fast as they come.
	first := make(chan struct{})
	readEnded := make(chan error, 1)
	go func() {
		for n := 0; ; {
			kind, _, err := page.ReadMessage()
			if err != nil {
				readEnded <- err
				return
			}
			if kind == websocket.BinaryMessage {
				if n++; n == 2 {
					close(first)
				}
			}
		}
	}()
	select {
	case <-first:
	case err := <-readEnded:
		return fmt.Errorf("watching %s: %w", target, err)
	case <-time.After(patience):
		return fmt.Errorf("watching %s: no frames within %v", target, patience)
	}
	err = f()
	if err := page.Close(); err != nil {
		return err
	}
	<-readEnded
	return errors.Join(err, w.unwatched(ctx))
}

// unwatched waits until the server watches nothing.
func (w *watcher) unwatched(ctx context.Context) error {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		n, err := metric(ctx, w.addr, w.token, `kernelviz_watches{view="`+w.view+`"}`)
		if err != nil || n == "0" {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("the server still watches after the page has left")
}

// metric reads one line of a server's /metrics.
func metric(ctx context.Context, addr string, token server.Token, name string) (string, error) {
	body, err := get(ctx, addr, token, "/metrics")
	if err != nil {
		return "", err
	}
	defer body.Close()
	for in := bufio.NewScanner(body); in.Scan(); {
		if value, ok := strings.CutPrefix(in.Text(), name+" "); ok {
			return value, nil
		}
	}
	return "", fmt.Errorf("the server has no metric %s", name)
}

// get asks a server for a path. The caller closes the body.
func get(ctx context.Context, addr string, token server.Token, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+string(token))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return nil, fmt.Errorf("GET %s: %s", path, res.Status)
	}
	return res.Body, nil
}

// dial connects as a page does.
func dial(ctx context.Context, addr string, token server.Token) (*websocket.Conn, error) {
	return dialWith(ctx, new(net.Dialer).DialContext, addr, token)
}

func dialWith(ctx context.Context, connect func(ctx context.Context, network, addr string) (net.Conn, error), addr string, token server.Token) (*websocket.Conn, error) {
	d := websocket.Dialer{NetDialContext: connect, ReadBufferSize: 4 << 10, WriteBufferSize: 512}
	conn, res, err := d.DialContext(ctx, "ws://"+addr+"/ws", http.Header{"Authorization": {"Bearer " + string(token)}})
	if err != nil {
		if res != nil {
			err = fmt.Errorf("%w: %s", err, res.Status)
		}
		return nil, fmt.Errorf("connecting to the server: %w", err)
	}
	return conn, nil
}

func watchTopic(page *websocket.Conn, topic string, rate int) error {
	return page.WriteJSON(map[string]any{
		"type": "watch", "topic": topic, "rate": rate, "view": map[string]int{"lo": 0, "hi": 0, "px": 1280},
	})
}
