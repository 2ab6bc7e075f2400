package trial

import (
	"encoding/json"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

var echoVariants = []string{"epoll", "uring", "uring-defer"}

func echoSpec(role, variant string, conns, messages float64) Spec {
	return Spec{
		Experiment: "echo", Series: "test", Variant: variant, Role: role,
		Params: map[string]float64{"conns": conns, "messages": messages},
	}
}

// alone is for tests in which threads wait in system calls that Go's scheduler
// does not know of: a collection would stop one side and wait for the other.
func alone(t *testing.T) {
	t.Helper()
	procs := runtime.GOMAXPROCS(runtime.NumCPU() + 4)
	percent := debug.SetGCPercent(-1)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		runtime.GOMAXPROCS(procs)
	})
}

type ran struct {
	Report
	err error
}

// serveEcho begins a server; what it said, and its report when it has ended.
func serveEcho(t *testing.T, variant string, conns, messages float64) (json.RawMessage, <-chan ran) {
	t.Helper()
	w, err := newEchoServer(echoSpec("server", variant, conns, messages))
	if err != nil {
		t.Fatal(err)
	}
	said, done := make(chan any, 1), make(chan ran, 1)
	go func() {
		// One goroutine prepares, runs and closes, as in a process of its own.
		var r ran
		defer func() {
			if err := w.Close(); err != nil && r.err == nil {
				r.err = err
			}
			done <- r
		}()
		what, err := w.Prepare()
		if err != nil {
			r.err = err
			said <- nil
			return
		}
		said <- what
		r.Report, r.err = w.Run(nil)
	}()
	b, err := json.Marshal(<-said)
	if err != nil {
		t.Fatal(err)
	}
	return b, done
}

func end(t *testing.T, done <-chan ran) Report {
	t.Helper()
	select {
	case r := <-done:
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.Report
	case <-time.After(20 * time.Second):
		t.Fatal("the server does not end")
	}
	return Report{}
}

func TestEchoEveryByteComesBack(t *testing.T) {
	alone(t)
	for _, variant := range echoVariants {
		for _, c := range []struct{ conns, messages float64 }{{1, 1}, {1, 300}, {7, 50}, {300, 5}} {
			said, done := serveEcho(t, variant, c.conns, c.messages)
			l, err := newEchoLoad(echoSpec("load", variant, c.conns, c.messages))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Prepare(); err != nil {
				t.Fatal(err)
			}
			r, err := l.Run(map[string]json.RawMessage{"server": said})
			if err != nil {
				t.Errorf("%s, %+v: %v", variant, c, err)
			}
			// A load that failed leaves connections, for which the server waits.
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			s := end(t, done)
			want := uint64(c.conns * c.messages)
			if r.Ops != want || r.Bytes != want*EchoSize || r.Seconds <= 0 {
				t.Errorf("%s, %+v: load %+v", variant, c, r)
			}
			if s.Ops != want || s.Bytes != want*EchoSize || s.Seconds <= 0 {
				t.Errorf("%s, %+v: server %+v", variant, c, s)
			}
		}
	}
}

// A client that sends as it likes gets its bytes back as well, and may go in
// the middle.
func TestEchoOtherClients(t *testing.T) {
	alone(t)
	for _, variant := range echoVariants {
		said, done := serveEcho(t, variant, 3, 1)
		port, err := echoPort(map[string]json.RawMessage{"server": said})
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for i := range 3 {
			c, err := net.DialTCP("tcp4", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{1, 63, 64, 200} {
				out, in := make([]byte, n), make([]byte, n)
				for k := range out {
					out[k] = byte(k + n + i)
				}
				if _, err := c.Write(out); err != nil {
					t.Fatal(err)
				}
				for have := 0; have < n; {
					got, err := c.Read(in[have:])
					if err != nil {
						t.Fatalf("%s: %v", variant, err)
					}
					have += got
				}
				if string(in) != string(out) {
					t.Errorf("%s: %x came back for %x", variant, in, out)
				}
				total += n
			}
			c.Close()
		}
		if r := end(t, done); r.Bytes != uint64(total) {
			t.Errorf("%s: %+v, want %d bytes", variant, r, total)
		}
	}
}

// The client notices a server that sends something else, too much, or goes.
func TestEchoLoadNotices(t *testing.T) {
	alone(t)
	for want, answer := range map[string]func([]byte) []byte{
		"something else back": func(b []byte) []byte { b[63] ^= 1; return b },
		"sent 65 bytes back":  func(b []byte) []byte { return append(b, 0) },
		"has closed":          func([]byte) []byte { return nil },
	} {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			b := make([]byte, EchoSize, 2*EchoSize)
			if n, err := c.Read(b); n == EchoSize && err == nil {
				_, _ = c.Write(answer(b))
			}
		}()
		said, err := json.Marshal(echoSaid{Port: ln.Addr().(*net.TCPAddr).Port})
		if err != nil {
			t.Fatal(err)
		}
		l, err := newEchoLoad(echoSpec("load", "epoll", 1, 3))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Prepare(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Run(map[string]json.RawMessage{"server": said}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		l.Close()
		ln.Close()
	}
}

func TestEchoMessagesDiffer(t *testing.T) {
	seen := map[[EchoSize]byte]bool{}
	for conn := range 50 {
		for seq := range 50 {
			var b [EchoSize]byte
			putMessage(b[:], conn, seq)
			if seen[b] {
				t.Fatalf("message %d of connection %d has been before", seq, conn)
			}
			seen[b] = true
			if !isMessage(b[:], conn, seq) || isMessage(b[:], conn, seq+1) || isMessage(b[:], conn+1, seq) {
				t.Errorf("message %d of connection %d is not told from others", seq, conn)
			}
			for i := range b {
				b[i]++
				if isMessage(b[:], conn, seq) {
					t.Fatalf("a wrong byte %d is not noticed", i)
				}
				b[i]--
			}
		}
	}
}

func TestEchoRefuses(t *testing.T) {
	for want, s := range map[string]Spec{
		"unknown variant":     echoSpec("server", "select", 1, 1),
		`"conns" is 0`:        echoSpec("server", "epoll", 0, 1),
		`"messages" is 0`:     echoSpec("server", "epoll", 1, 0),
		`"conns" is 1e+06`:    echoSpec("server", "uring", 1e6, 1),
		`"messages" is 1e+18`: echoSpec("server", "uring", 1, 1e18),
	} {
		if _, err := newEchoServer(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, peers := range []map[string]json.RawMessage{nil, {"server": []byte(`{"port":0}`)}, {"server": []byte(`{"port":70000}`)}} {
		if _, err := echoPort(peers); err == nil {
			t.Errorf("a port from %s", peers)
		}
	}
}
