package workload

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"kernelviz/internal/workload/clients"
	"kernelviz/internal/workload/control"
)

// answer carries out an action and decodes its result.
func answer[R any](t *testing.T, p *Process, format string, args ...any) R {
	t.Helper()
	action := fmt.Sprintf(format, args...)
	data, err := p.Do(t.Context(), json.RawMessage(action))
	if err != nil {
		t.Fatalf("%s: %v", action, err)
	}
	var r R
	if err := control.Decode(data, &r); err != nil {
		t.Fatalf("%s: %v", action, err)
	}
	return r
}

func stateOf[S any](t *testing.T, p *Process) S {
	t.Helper()
	data, err := p.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var s S
	if err := control.Decode(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// refuses checks the exact refusals of actions.
func refuses(t *testing.T, p *Process, table map[string]string) {
	t.Helper()
	for action, want := range table {
		_, err := p.Do(t.Context(), json.RawMessage(action))
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v, want a refusal", action, err)
			continue
		}
		if got := e.Code + ": " + e.Error(); got != want {
			t.Errorf("%s:\n got %s\nwant %s", action, got, want)
		}
	}
}

// server is a TCP server on 127.0.0.1 that does the same with each connection.
type server struct {
	port int
	mu   sync.Mutex
	all  []net.Conn
}

func serve(t *testing.T, with func(net.Conn)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{port: l.Addr().(*net.TCPAddr).Port}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.all = append(s.all, conn)
			s.mu.Unlock()
			running.Go(func() { with(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.closeAll()
		running.Wait()
	})
	return s
}

func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.all {
		c.Close()
	}
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

func echo(c net.Conn) {
	defer c.Close()
	_ = echoAll(c)
}

// echoAll is io.Copy without splice, for which each connection would need a
// pipe.
func echoAll(c net.Conn) error {
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			_, err = c.Write(b[:n])
		}
		if err != nil {
			return err
		}
	}
}

func TestClientsEcho(t *testing.T) {
	s := serve(t, echo)
	p := start(t, "clients")
	if r := answer[clients.Connected](t, p, `{"op":"connect","port":%d,"n":300}`, s.port); r != (clients.Connected{Established: 300, Connected: 300}) {
		t.Fatalf("connect: %+v", r)
	}
	r := answer[clients.Echoed](t, p, `{"op":"echo","messages":5000,"size":100}`)
	if r != (clients.Echoed{Sent: 5000, Echoed: 5000, Bytes: 500_000}) {
		t.Errorf("echo: %+v", r)
	}
	for _, size := range []int{1, 2, 7, 65536} {
		if r := answer[clients.Echoed](t, p, `{"op":"echo","messages":600,"size":%d}`, size); r.Echoed != 600 || r.Failed != 0 {
			t.Errorf("echo of %d bytes: %+v", size, r)
		}
	}
	if r := answer[clients.Echoed](t, p, `{"op":"burst","size":1000000,"pieces":7}`); r != (clients.Echoed{Sent: 1, Echoed: 1, Bytes: 1_000_000}) {
		t.Errorf("burst: %+v", r)
	}
	if st := stateOf[clients.State](t, p); st != (clients.State{Connected: 300, Echoed: 7401}) {
		t.Errorf("state: %+v", st)
	}
	if n := s.count(); n != 300 {
		t.Errorf("the server has accepted %d", n)
	}
}

func TestClientsClose(t *testing.T) {
	ends := make(chan string, 100)
	s := serve(t, func(c net.Conn) {
		if err := echoAll(c); err != nil {
			ends <- "reset"
		} else {
			ends <- "closed"
		}
		c.Close()
	})
	p := start(t, "clients")
	answer[clients.Connected](t, p, `{"op":"connect","port":%d,"n":30}`, s.port)
	eventually(t, "accepted", func() bool { return s.count() == 30 })
	for _, c := range []struct {
		op, end string
		left    int
	}{{"close", "closed", 25}, {"reset", "reset", 20}, {"half_close", "closed", 15}} {
		if r := answer[clients.Closed](t, p, `{"op":"%s","n":5}`, c.op); r != (clients.Closed{Closed: 5, Connected: c.left}) {
			t.Errorf("%s: %+v", c.op, r)
		}
		for range 5 {
			select {
			case end := <-ends:
				if end != c.end {
					t.Errorf("%s: the server sees %q, want %q", c.op, end, c.end)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: the server sees nothing", c.op)
			}
		}
	}
	// The server has answered the FINs of those half closed, which is no failure.
	eventually(t, "half closed gone", func() bool { return stateOf[clients.State](t, p) == clients.State{Connected: 15} })
	s.closeAll()
	eventually(t, "closed by the server", func() bool { return stateOf[clients.State](t, p) == clients.State{Failed: 15} })
}

func TestClientsSeeWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name   string
		server func(net.Conn)
		action string
		want   clients.Echoed
		left   int // of its one connection
	}{
		{"one read", func(c net.Conn) {
			b := make([]byte, 4096)
			n, _ := c.Read(b)
			_, _ = c.Write(b[:n])
		}, `{"op":"burst"}`, clients.Echoed{Sent: 1, Failed: 1, Bytes: 4096, Reason: "connection 1: message 1: 4096 of 20000 bytes came back; nothing came back for 3s"}, 1},
		{"closes", func(c net.Conn) {
			_, _ = c.Read(make([]byte, 64))
			c.Close()
		}, `{"op":"echo","messages":1,"size":64}`, clients.Echoed{Sent: 1, Failed: 1, Reason: "connection 1: the server closed the connection"}, 0},
		{"other bytes", func(c net.Conn) {
			b := make([]byte, 64)
			_, _ = io.ReadFull(c, b)
			b[20]++
			_, _ = c.Write(b)
		}, `{"op":"echo","messages":1,"size":64}`, clients.Echoed{Sent: 1, Failed: 1, Bytes: 64, Reason: "connection 1: message 1 came back wrong, from byte 20 on"}, 0},
		{"more bytes", func(c net.Conn) {
			_, _ = io.ReadFull(c, make([]byte, 64))
			_, _ = c.Write([]byte("hello"))
		}, `{"op":"echo","messages":1,"size":64}`, clients.Echoed{Sent: 1, Failed: 1, Bytes: 5, Reason: "connection 1: message 1 came back wrong, from byte 0 on"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, c.server)
			p := start(t, "clients")
			answer[clients.Connected](t, p, `{"op":"connect","port":%d}`, s.port)
			if r := answer[clients.Echoed](t, p, "%s", c.action); r != c.want {
				t.Errorf(" got %+v\nwant %+v", r, c.want)
			}
			st := stateOf[clients.State](t, p)
			if st.Connected != c.left || st.Failed != c.want.Failed+1-c.left || st.Echoed != 0 {
				t.Errorf("state: %+v", st)
			}
		})
	}
}

// TestClientsKnowWhatIsLate: what comes when nobody waits for it any more is
// not counted, and what is sent after it is.
func TestClientsKnowWhatIsLate(t *testing.T) {
	more := make(chan struct{})
	s := serve(t, func(c net.Conn) {
		b := make([]byte, 5000)
		n, _ := io.ReadFull(c, b)
		_, _ = c.Write(b[:n])
		<-more
		echo(c)
	})
	p := start(t, "clients")
	answer[clients.Connected](t, p, `{"op":"connect","port":%d}`, s.port)
	if r := answer[clients.Echoed](t, p, `{"op":"burst"}`); r.Failed != 1 || r.Bytes != 5000 {
		t.Errorf("burst: %+v", r)
	}
	close(more)
	if r := answer[clients.Echoed](t, p, `{"op":"echo","messages":3}`); r.Echoed != 3 || r.Failed != 0 {
		t.Errorf("echo: %+v", r)
	}
	if st := stateOf[clients.State](t, p); st != (clients.State{Connected: 1, Echoed: 3, Failed: 1}) {
		t.Errorf("state: %+v", st)
	}
}

func TestClientsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	p := start(t, "clients")
	r := answer[clients.Connected](t, p, `{"op":"connect","port":%d,"n":200}`, port)
	if r.Failed != 200 || r.Established != 0 || r.Reason != "connection 1: connecting: ECONNREFUSED (Connection refused)" {
		t.Errorf("connect: %+v", r)
	}
	if st := stateOf[clients.State](t, p); st != (clients.State{Failed: 200}) {
		t.Errorf("state: %+v", st)
	}
}

// TestClientsMany: as many as there may be, and no more.
func TestClientsMany(t *testing.T) {
	s := serve(t, echo)
	p := start(t, "clients")
	// The server's ends are in this process.
	n := min(12_000, fileLimit(t, os.Getpid())-200, fileLimit(t, p.PID())-200)
	before := time.Now()
	r := answer[clients.Connected](t, p, `{"op":"connect","port":%d,"n":%d}`, s.port, n)
	t.Logf("%d connections in %v", r.Established, time.Since(before))
	if r.Established != n {
		t.Fatalf("connect: %+v", r)
	}
	if n == 12_000 {
		refuses(t, p, map[string]string{
			fmt.Sprintf(`{"op":"connect","port":%d}`, s.port): `limit: 12000 connections are open, and 1 more would be above 12000; close some first`,
		})
	}
	before = time.Now()
	e := answer[clients.Echoed](t, p, `{"op":"echo","messages":%d,"size":64}`, n)
	t.Logf("a message on each in %v", time.Since(before))
	if e.Echoed != n || e.Failed != 0 {
		t.Errorf("echo: %+v", e)
	}
	if r := answer[clients.Closed](t, p, `{"op":"reset","n":%d}`, n); r.Closed != n || r.Connected != 0 {
		t.Errorf("reset: %+v", r)
	}
}

func TestClientsRefuse(t *testing.T) {
	p := start(t, "clients")
	refuses(t, p, map[string]string{
		`{"op":"x"}`:                              `unknown_op: unknown op "x"; clients knows connect, echo, burst, close, half_close, reset`,
		`{}`:                                      `unknown_op: unknown op ""; clients knows connect, echo, burst, close, half_close, reset`,
		`{"op":"connect"}`:                        `bad_action: op connect needs field "port"`,
		`{"op":"connect","port":0}`:               `bad_action: port is 0, want 1 to 65535`,
		`{"op":"connect","port":9,"n":12001}`:     `bad_action: n is 12001, want 1 to 12000`,
		`{"op":"connect","port":9,"size":1}`:      `bad_action: op connect has no field "size"; it takes port, n`,
		`{"op":"connect","port":"9"}`:             `bad_action: the action does not fit: json: cannot unmarshal string into Go struct field Action.port of type int`,
		`{"op":"echo","messages":100001}`:         `bad_action: messages is 100001, want 1 to 100000`,
		`{"op":"echo","messages":1,"size":65537}`: `bad_action: size is 65537, want 1 to 65536`,
		`{"op":"echo"}`:                           `no_connection: 1 connections are asked for, 0 are open; connect first`,
		`{"op":"burst","size":1048577}`:           `bad_action: size is 1048577, want 1 to 1048576`,
		`{"op":"burst","pieces":65}`:              `bad_action: pieces is 65, want 1 to 64`,
		`{"op":"close","n":3}`:                    `no_connection: 3 connections are asked for, 0 are open; connect first`,
		`{"op":"half_close","n":0}`:               `bad_action: n is 0, want 1 to 12000`,
		`{"op":"reset","fd":3}`:                   `bad_action: the action does not fit: json: unknown field "fd"`,
	})
	if _, err := p.State(t.Context()); err != nil {
		t.Errorf("and it lives: %v", err)
	}
}
