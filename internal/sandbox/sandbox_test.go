package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// noCgroups is a mount point that does not exist: it forces process groups.
const noCgroups = "/nonexistent"

// tiers runs a test with cgroups and without.
func tiers(t *testing.T, test func(t *testing.T, cgroup2 string)) {
	t.Run("cgroup", func(t *testing.T) { test(t, needCgroups(t)) })
	t.Run("process group", func(t *testing.T) { test(t, noCgroups) })
}

func TestKillReachesWhoLeft(t *testing.T) {
	tiers(t, func(t *testing.T, cgroup2 string) {
		s := newSandbox(t, cgroup2)
		cmd, out := player(t, "play-forker", "stay")
		p, err := s.Start(t.Context(), cmd, Options{Name: "forker"})
		if err != nil {
			t.Fatal(err)
		}
		grandchild := readPID(t, out)
		if !running(grandchild) {
			t.Fatal("the grandchild is not running, nothing to prove")
		}
		if err := p.Kill("the test says so"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "grandchild gone", func() bool { return !running(grandchild) })
		end, err := p.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if end.Reason != "killed: the test says so" || end.Signal != "SIGKILL" || end.Code != -1 {
			t.Errorf("end = %+v", end)
		}
	})
}

func TestOrphansDieWithTheFirstProcess(t *testing.T) {
	tiers(t, func(t *testing.T, cgroup2 string) {
		s := newSandbox(t, cgroup2)
		cmd, out := player(t, "play-forker")
		p, err := s.Start(t.Context(), cmd, Options{Name: "forker"})
		if err != nil {
			t.Fatal(err)
		}
		end, err := p.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if end.Code != 0 || end.Reason != "exit status 0" {
			t.Errorf("end = %+v", end)
		}
		// The orphan may have been killed before it could say its pid; whatever
		// holds the pipe's other end would keep us from its end.
		cmd.Stdout.(*os.File).Close()
		said, err := io.ReadAll(out)
		if err != nil {
			t.Fatal(err)
		}
		var orphan int
		if n, _ := fmt.Sscan(string(said), &orphan); n == 1 && running(orphan) {
			t.Errorf("orphan %d is running", orphan)
		}
		if c, ok := p.cell.(*cgroupCell); ok {
			if _, err := os.Stat(c.dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("cgroup %s is still there: %v", c.dir, err)
			}
		}
	})
}

func TestDeadlineAndContext(t *testing.T) {
	s := newSandbox(t, "")
	cmd, _ := player(t, "play-sleeper")
	p, err := s.Start(t.Context(), cmd, Options{Name: "late", Deadline: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if end, _ := p.Wait(t.Context()); end.Reason != "killed: deadline of 50ms passed" {
		t.Errorf("end = %+v", end)
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	cmd, _ = player(t, "play-sleeper")
	p, err = s.Start(ctx, cmd, Options{Name: "cancelled"})
	if err != nil {
		t.Fatal(err)
	}
	cancel(errors.New("the server stopped"))
	if end, _ := p.Wait(t.Context()); end.Reason != "killed: cancelled: the server stopped" {
		t.Errorf("end = %+v", end)
	}
}

func TestNames(t *testing.T) {
	s := newSandbox(t, "")
	for _, name := range []string{"", "..", "a/b", "-x", "Upper", strings.Repeat("a", 64)} {
		if _, err := s.Start(t.Context(), exec.Command("true"), Options{Name: name}); !errors.Is(err, ErrName) {
			t.Errorf("name %q: %v, want ErrName", name, err)
		}
	}
	cmd, _ := player(t, "play-sleeper")
	if _, err := s.Start(t.Context(), cmd, Options{Name: "one"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Start(t.Context(), exec.Command("true"), Options{Name: "one"}); !errors.Is(err, ErrExists) {
		t.Errorf("second of the same name: %v, want ErrExists", err)
	}
}

func TestStartFails(t *testing.T) {
	tiers(t, func(t *testing.T, cgroup2 string) {
		s := newSandbox(t, cgroup2)
		_, err := s.Start(t.Context(), exec.Command("/nonexistent/program"), Options{Name: "nothing"})
		if err == nil || !strings.Contains(err.Error(), "/nonexistent/program") {
			t.Fatalf("error %v does not name the program", err)
		}
		cmd, _ := player(t, "play-sleeper")
		if _, err := s.Start(t.Context(), cmd, Options{Name: "nothing"}); err != nil {
			t.Errorf("the name is still taken: %v", err)
		}
	})
}

func TestCloseLeavesNothing(t *testing.T) {
	tiers(t, func(t *testing.T, cgroup2 string) {
		s := newSandbox(t, cgroup2)
		cmd, out := player(t, "play-forker", "stay")
		p, err := s.Start(t.Context(), cmd, Options{Name: "forker"})
		if err != nil {
			t.Fatal(err)
		}
		grandchild := readPID(t, out)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if running(grandchild) || running(p.PID()) {
			t.Error("a process survived Close")
		}
		if c, ok := s.pen.(*cgroupPen); ok {
			if _, err := os.Stat(c.dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is still there", c.dir)
			}
		}
		if _, err := s.Start(t.Context(), exec.Command("true"), Options{Name: "x"}); !errors.Is(err, ErrClosed) {
			t.Errorf("Start after Close: %v, want ErrClosed", err)
		}
	})
}

func TestMounts(t *testing.T) {
	for line, want := range map[string]string{
		"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw":           "/sys/fs/cgroup/unified",
		"35 25 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate": "/sys/fs/cgroup",
		`35 25 0:30 / /a\040b rw - cgroup2 none rw`:                                      "/a b",
		"32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu":             "",
		"nonsense": "",
	} {
		if got, _ := cgroup2Mount(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestReadOnlyOrMissingCgroup(t *testing.T) {
	s := newSandbox(t, noCgroups)
	d := s.Describe()
	if d.Tiers[0].Chosen || !d.Tiers[1].Chosen {
		t.Errorf("tiers = %+v, want process groups", d.Tiers)
	}
	if !strings.Contains(d.Tiers[0].Reason, noCgroups) {
		t.Errorf("reason %q does not name what failed", d.Tiers[0].Reason)
	}
}

func TestDescribeCgroup(t *testing.T) {
	mount := needCgroups(t)
	d := newSandbox(t, "").Describe()
	if !d.Tiers[0].Chosen || !strings.Contains(d.Tiers[0].Reason, mount) || !d.Guardian {
		t.Errorf("description = %+v", d)
	}
	enabled, err := os.ReadFile(filepath.Join(mount, "cgroup.subtree_control"))
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range controllers {
		want := strings.Contains(" "+strings.TrimSpace(string(enabled))+" ", " "+c+" ")
		if got := d.Limits[i].By == c+".max"; got != want {
			t.Errorf("limit %+v, controller %s enabled: %v", d.Limits[i], c, want)
		}
	}
}
