package sandbox

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newPair makes a pair where the kernel can: the guest of the vm stage runs
// without modules.
func newPair(t *testing.T) *Pair {
	t.Helper()
	p, err := NewPair()
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("host only: the driver veth")
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPairCarriesTCP(t *testing.T) {
	needsNobody(t) // root
	s := newSandbox(t, "")
	p := newPair(t)
	defer p.Close()
	server, out := player(t, "play-greeter", "10.77.0.2:9000", "hello")
	if _, err := s.Start(t.Context(), server, Options{Name: "greeter", Network: p.Sides[1]}); err != nil {
		t.Fatal(err)
	}
	if line, err := out.ReadString('\n'); err != nil || line != "listening\n" {
		t.Fatalf("%q, %v", line, err)
	}
	client, said := player(t, "play-caller", "10.77.0.2:9000")
	c, err := s.Start(t.Context(), client, Options{Name: "caller", Network: p.Sides[0]})
	if err != nil {
		t.Fatal(err)
	}
	if line, err := said.ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("from the other side: %q, %v", line, err)
	}
	<-c.Done()
	// Nothing listens on the other side: the addresses are those of two hosts.
	stray, _ := player(t, "play-caller", "10.77.0.1:9000")
	c, err = s.Start(t.Context(), stray, Options{Name: "stray", Network: p.Sides[1]})
	if err != nil {
		t.Fatal(err)
	}
	end, err := c.Wait(t.Context())
	if err != nil || end.Code == 0 {
		t.Errorf("calling the side without a listener: %+v, %v", end, err)
	}
}

func TestPairTwiceAndClosed(t *testing.T) {
	needsNobody(t)
	for range 2 { // names and addresses are each pair's own
		p := newPair(t)
		t.Cleanup(func() { p.Close() })
	}
	p := newPair(t)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("closing it twice: %v", err)
	}
	if err := p.Sides[0].inside(func() error { return nil }); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("entering a closed side: %v", err)
	}
}

// TestCPUTime: what a busy child uses is seen while it runs, and what its own
// child used too.
func TestCPUTime(t *testing.T) {
	tiers(t, func(t *testing.T, cgroup2 string) {
		s := newSandbox(t, cgroup2)
		cmd, out := player(t)
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo 1; exec sleep 600"}
		p, err := s.Start(t.Context(), cmd, Options{Name: "busy"})
		if err != nil {
			t.Fatal(err)
		}
		readPID(t, out)
		first, err := p.CPUTime()
		if err != nil {
			t.Fatal(err)
		}
		want := "cpu.stat"
		if cgroup2 == noCgroups {
			want = "process clocks"
		}
		if first.By != want || first.Used < time.Millisecond || first.Used > time.Minute {
			t.Errorf("%+v, want some of it by %s", first, want)
		}
		if (p.Cgroup() == "") != (cgroup2 == noCgroups) {
			t.Errorf("cgroup %q", p.Cgroup())
		}
		if err := p.Kill("enough"); err != nil {
			t.Fatal(err)
		}
		if _, err := p.CPUTime(); err == nil {
			t.Error("CPU time of what has ended")
		}
	})
}
