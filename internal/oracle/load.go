package oracle

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// answerLimit is how long one answer may take.
const answerLimit = 20 * time.Second

// Load is traffic on connections that stay open: while it runs the server's
// instances churn, but what they hold does not change.
type Load struct {
	server   *Server
	conns    []*conn
	stop     chan struct{}
	stopOnce sync.Once
	running  sync.WaitGroup
	answered atomic.Int64
	err      error // of the first connection that failed; read after running
	errOnce  sync.Once
}

// Connect opens that many connections and makes one request on each, so that
// the server has accepted and watches every one of them. They are closed when
// the test ends.
func (s *Server) Connect(t testing.TB, conns int) *Load {
	t.Helper()
	l := &Load{server: s, stop: make(chan struct{})}
	t.Cleanup(func() {
		l.halt()
		for _, c := range l.conns {
			c.Close()
		}
	})
	for range conns {
		c, err := dial(s.Addr)
		if err != nil {
			t.Fatalf("connecting to %s: %v", s.Name, err)
		}
		l.conns = append(l.conns, c)
		if err := s.request(c); err != nil {
			t.Fatalf("asking %s: %v", s.Name, err)
		}
	}
	return l
}

// Start makes requests on every connection, each as soon as the one before is
// answered, until Stop or the end of the test. It returns when each connection
// has its first answer. It may be called once.
func (l *Load) Start() {
	var first sync.WaitGroup
	for _, c := range l.conns {
		first.Add(1)
		l.running.Go(func() { l.drive(c, first.Done) })
	}
	first.Wait()
}

func (l *Load) drive(c *conn, first func()) {
	err := l.ask(c)
	first()
	for err == nil {
		select {
		case <-l.stop:
			return
		default:
			err = l.ask(c)
		}
	}
	l.errOnce.Do(func() { l.err = err })
}

func (l *Load) ask(c *conn) error {
	if err := l.server.request(c); err != nil {
		return err
	}
	l.answered.Add(1)
	return nil
}

// Stop ends the requests and leaves the connections open and idle. It returns
// how many requests were answered since Start. It may be called once.
func (l *Load) Stop(t testing.TB) int {
	t.Helper()
	l.halt()
	if l.err != nil {
		t.Errorf("driving %s: %v", l.server.Name, l.err)
	}
	return int(l.answered.Load())
}

func (l *Load) halt() {
	l.stopOnce.Do(func() { close(l.stop) })
	l.running.Wait()
}

// RedisBenchmark runs redis-benchmark against a Redis server: that many
// requests from that many clients, which come and go.
func RedisBenchmark(t testing.TB, s *Server, requests, clients int) {
	t.Helper()
	command := Command(t, "redis-benchmark")
	_, port, _ := strings.Cut(s.Addr, ":")
	cmd := exec.CommandContext(t.Context(), command, "-h", "127.0.0.1", "-p", port, "-q",
		"-n", strconv.Itoa(requests), "-c", strconv.Itoa(clients), "-t", "set,get")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("redis-benchmark: %v\n%s", err, out)
	}
}

// conn is a connection with what was read from it too early.
type conn struct {
	net.Conn
	in *bufio.Reader
}

func dial(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp4", addr, answerLimit)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReader(c)}, nil
}

func httpRequest(c *conn) error {
	if err := c.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return err
	}
	r, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", r.Status)
	}
	return nil
}

func redisRequest(c *conn) error {
	if err := c.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "PING\r\n"); err != nil {
		return err
	}
	line, err := c.in.ReadString('\n')
	if err != nil {
		return err
	}
	if line != "+PONG\r\n" {
		return fmt.Errorf("answer %q, want PONG", line)
	}
	return nil
}
