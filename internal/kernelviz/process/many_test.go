//go:build !race

package process

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/oracle"
)

// many is how many connections the server of these tests has.
const many = 10_000

// startServer starts a server with that many connections to it.
func startServer(t testing.TB) *child {
	t.Helper()
	raiseFiles(t, many+1000)
	c := startChild(t, "server", nil)
	to := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: c.fds["port"]}
	for range many {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		// No TIME_WAIT is left behind.
		if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(fd, to); err != nil {
			t.Fatal(err)
		}
	}
	end := time.Now().Add(deadline)
	for lookAt(t, false, c.pid()).Connections != many {
		if time.Now().After(end) {
			t.Fatalf("the server has %+v, want %d connections", lookAt(t, false, c.pid()), many)
		}
	}
	return c
}

func TestTenThousandConnections(t *testing.T) {
	c := startServer(t)
	best := time.Hour
	for range 20 {
		began := time.Now()
		s := lookAt(t, true, c.pid())
		best = min(best, time.Since(began))
		if s.Connections != many || s.Nonblocking != many || len(s.FDs) != maxListed {
			t.Fatalf("%d connections, %d non-blocking, %d listed; want %d, %d, %d",
				s.Connections, s.Nonblocking, len(s.FDs), many, many, maxListed)
		}
	}
	// The best of several: the others say how busy the machine is.
	oracle.HostOnly(t, "the time that a real machine takes")
	t.Logf("a look at %d connections takes %v", many, best)
	if best > 50*time.Millisecond {
		t.Errorf("a look at %d connections takes %v, want at most 50 ms", many, best)
	}
}

func BenchmarkTenThousandConnections(b *testing.B) {
	c := startServer(b)
	for _, bench := range []struct {
		name    string
		withFDs bool
	}{{"counts", false}, {"descriptors", true}} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				lookAt(b, bench.withFDs, c.pid())
			}
		})
	}
}
