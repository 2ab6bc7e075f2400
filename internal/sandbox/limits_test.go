package sandbox

import (
	"os/exec"
	"strings"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	tiers(t, func(t *testing.T, cgroup2 string) {
		s := newSandbox(t, cgroup2)
		cmd, out := player(t, "play-hungry")
		p, err := s.Start(t.Context(), cmd, Options{Name: "hungry", Limits: Limits{Memory: 512 << 20}})
		if err != nil {
			t.Fatal(err)
		}
		end, _ := p.Wait(t.Context())
		if strings.Contains(end.Reason, "out of the sandbox's memory") {
			return // memory.max
		}
		line, err := out.ReadString('\n')
		if err != nil || !strings.Contains(line, "cannot allocate memory") {
			t.Errorf("took memory beyond the limit: %q, %v, %+v", line, err, end)
		}
	})
}

func TestFilesAndCoreLimit(t *testing.T) {
	s := newSandbox(t, "")
	cmd, out := player(t)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", "ulimit -n; ulimit -c"}
	p, err := s.Start(t.Context(), cmd, Options{Name: "sh", Limits: Limits{Files: 123}})
	if err != nil {
		t.Fatal(err)
	}
	if end, _ := p.Wait(t.Context()); end.Code != 0 {
		t.Fatalf("end = %+v", end)
	}
	for _, want := range []string{"123\n", "0\n"} {
		if line, _ := out.ReadString('\n'); line != want {
			t.Errorf("limit %q, want %q", line, want)
		}
	}
}

func TestNetNS(t *testing.T) {
	needCgroups(t) // stands for root
	s := newSandbox(t, "")
	cmd, out := player(t)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", "cat /proc/net/dev | tail -n +3 | wc -l; ip -o link show lo 2>/dev/null || cat /sys/class/net/lo/operstate"}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip (iproute2)")
	}
	p, err := s.Start(t.Context(), cmd, Options{Name: "net", NetNS: true})
	if err != nil {
		t.Fatal(err)
	}
	if end, _ := p.Wait(t.Context()); end.Code != 0 {
		t.Fatalf("end = %+v", end)
	}
	devices, _ := out.ReadString('\n')
	lo, _ := out.ReadString('\n')
	if strings.TrimSpace(devices) != "1" || !strings.Contains(lo, "UP") {
		t.Errorf("devices %q, lo %q: want only lo, up", devices, lo)
	}
}
