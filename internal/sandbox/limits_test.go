package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
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

// needLimit skips where the machine does not enforce a limit by a controller.
func needLimit(t *testing.T, s *Sandbox, by string) {
	t.Helper()
	for _, l := range s.Describe().Limits {
		if l.By == by {
			return
		}
	}
	t.Skip("guest only: no " + by + " here")
}

func TestProcessLimit(t *testing.T) {
	s := newSandbox(t, "")
	needLimit(t, s, "pids.max")
	cmd, out := player(t, "play-breeder")
	p, err := s.Start(t.Context(), cmd, Options{Name: "breeder", Limits: Limits{Processes: 60}})
	if err != nil {
		t.Fatal(err)
	}
	end, _ := p.Wait(t.Context())
	line, err := out.ReadString('\n')
	if err != nil || !strings.Contains(line, "resource temporarily unavailable") {
		t.Errorf("children beyond the limit: %q, %v, %+v", line, err, end)
	}
}

func TestCPULimit(t *testing.T) {
	s := newSandbox(t, "")
	needLimit(t, s, "cpu.max")
	cmd, _ := player(t, "play-sleeper")
	p, err := s.Start(t.Context(), cmd, Options{Name: "half", Limits: Limits{CPU: 0.5}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(p.cell.(*cgroupCell).dir, "cpu.max"))
	if err != nil || string(got) != "50000 100000\n" {
		t.Errorf("cpu.max is %q, %v", got, err)
	}
}

// TestGroupMemoryLimit: by the controller it is the sum that counts, and the
// end says so.
func TestGroupMemoryLimit(t *testing.T) {
	s := newSandbox(t, "")
	needLimit(t, s, "memory.max")
	cmd, _ := player(t, "play-hungry")
	p, err := s.Start(t.Context(), cmd, Options{Name: "hungry", Limits: Limits{Memory: 64 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	end, _ := p.Wait(t.Context())
	if want := "killed by the kernel: out of the sandbox's memory (67108864 bytes)"; end.Reason != want {
		t.Errorf("end = %+v, want %q", end, want)
	}
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

func TestFileSizeLimit(t *testing.T) {
	s := newSandbox(t, "")
	dir := t.TempDir()
	out, end := shell(t, s, "cd "+dir+" && head -c 4096 /dev/zero >fits && echo fits && exec head -c 200000 /dev/zero >big", Options{Limits: Limits{FileSize: 65536}})
	if want := "killed by SIGXFSZ: a file would have grown beyond 65536 bytes"; out != "fits\n" || end.Reason != want {
		t.Errorf("%q, %+v, want %q", out, end, want)
	}
	if info, err := os.Stat(filepath.Join(dir, "big")); err != nil || info.Size() != 65536 {
		t.Errorf("the file: %v, %v", info, err)
	}
}

func TestCPUTimeLimit(t *testing.T) {
	s := newSandbox(t, "")
	_, end := shell(t, s, "while :; do :; done", Options{Limits: Limits{CPUTime: 10 * time.Millisecond}, Deadline: 60 * time.Second})
	if want := "killed by SIGXCPU: it used up its 1 s of CPU time"; end.Reason != want {
		t.Errorf("%+v, want %q", end, want)
	}
	// Who ignores the signal is killed a second later.
	_, end = shell(t, s, "trap '' XCPU; while :; do :; done", Options{Limits: Limits{CPUTime: time.Second}, Deadline: 60 * time.Second})
	if end.Signal != "SIGKILL" || strings.Contains(end.Reason, "deadline") {
		t.Errorf("%+v, want SIGKILL by the kernel", end)
	}
}
