package sandbox

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func newNetwork(t *testing.T) *Network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
	n, err := NewNetwork()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// shell runs a line of sh to its end and returns what it printed.
func shell(t *testing.T, s *Sandbox, script string, o Options) (string, End) {
	t.Helper()
	cmd, out := player(t)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", script}
	return output(t, s, cmd, out, o)
}

func output(t *testing.T, s *Sandbox, cmd *exec.Cmd, out *bufio.Reader, o Options) (string, End) {
	t.Helper()
	o.Name = "shell"
	p, err := s.Start(t.Context(), cmd, o)
	if err != nil {
		t.Fatal(err)
	}
	end, err := p.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout.(*os.File).Close()
	var b strings.Builder
	if _, err := out.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String(), end
}

func TestNetworkHasOnlyLoopback(t *testing.T) {
	n := newNetwork(t)
	s := newSandbox(t, "")
	// While lo is down the routing table does not know 127.0.0.1.
	out, end := shell(t, s, "tail -n +3 /proc/net/dev | cut -d: -f1; grep -c 127.0.0.1 /proc/net/fib_trie", Options{Network: n})
	if fields := strings.Fields(out); end.Code != 0 || len(fields) != 2 || fields[0] != "lo" || fields[1] == "0" {
		t.Errorf("devices and count of 127.0.0.1: %q, %+v; want only lo, up", out, end)
	}
}

// TestNetworkIsShared lets the host and a child listen on the same port: who
// answers tells whose network one is in.
func TestNetworkIsShared(t *testing.T) {
	n := newNetwork(t)
	s := newSandbox(t, "")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("host\n"))
			c.Close()
		}
	}()
	greeter, said := player(t, "play-greeter", addr, "inside")
	if _, err := s.Start(t.Context(), greeter, Options{Name: "greeter", Network: n}); err != nil {
		t.Fatal(err)
	}
	if line, err := said.ReadString('\n'); err != nil || line != "listening\n" {
		t.Fatalf("greeter: %q, %v", line, err)
	}
	call := func(o Options) string {
		cmd, out := player(t, "play-caller", addr)
		got, end := output(t, s, cmd, out, o)
		if end.Code != 0 {
			t.Fatalf("caller: %+v", end)
		}
		return got
	}
	if got := call(Options{Network: n}); got != "inside\n" {
		t.Errorf("a child in the network was greeted by %q", got)
	}
	if got := call(Options{}); got != "host\n" {
		t.Errorf("a child outside the network was greeted by %q", got)
	}
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, _ := bufio.NewReader(c).ReadString('\n'); got != "host\n" {
		t.Errorf("this process was greeted by %q", got)
	}
}

func TestNetworkClosed(t *testing.T) {
	n := newNetwork(t)
	s := newSandbox(t, "")
	cmd, said := player(t, "play-sleeper")
	p, err := s.Start(t.Context(), cmd, Options{Name: "sleeper", Network: n})
	if err != nil {
		t.Fatal(err)
	}
	readPID(t, said)
	for range 2 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !running(p.PID()) {
		t.Error("closing the network ended a child in it")
	}
	_, err = s.Start(t.Context(), exec.Command("true"), Options{Name: "late", Network: n})
	if err == nil || !strings.Contains(err.Error(), "network namespace has been closed") {
		t.Errorf("started in a closed network: %v", err)
	}
	n2 := newNetwork(t)
	_, err = s.Start(t.Context(), exec.Command("true"), Options{Name: "both", Network: n2, NetNS: true})
	if err == nil || !strings.Contains(err.Error(), "exclude each other") {
		t.Errorf("Network and NetNS: %v", err)
	}
}

// TestNetworkNeedsPrivilege runs as nobody.
func TestNetworkNeedsPrivilege(t *testing.T) {
	needsNobody(t)
	s := newSandbox(t, "")
	cmd, out := player(t, "play-network")
	said, _ := output(t, s, cmd, out, Options{User: nobody()})
	if !strings.Contains(said, "CAP_SYS_ADMIN") {
		t.Errorf("without the capability: %q, want it named", said)
	}
}
