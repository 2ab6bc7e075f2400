package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// startServer runs a fake server and returns it with the pids of its three
// descendants.
func startServer(t *testing.T, cgroup2, guarded string) (*exec.Cmd, []int) {
	t.Helper()
	cmd, out := player(t, "play-server", cgroup2, guarded)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	pids := []int{readPID(t, out), readPID(t, out)}
	for _, pid := range pids {
		if !running(pid) {
			t.Fatalf("descendant %d is not running, nothing to prove", pid)
		}
	}
	return cmd, pids
}

func serverDir(t *testing.T, mount string, pid int) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(mount, tree, fmt.Sprintf("%d-*", pid)))
	if err != nil || len(found) != 1 {
		t.Fatalf("directories of server %d: %v, %v", pid, found, err)
	}
	return found[0]
}

func gone(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

func TestKilledServerLeavesNothing(t *testing.T) {
	tiers(t, func(t *testing.T, cgroup2 string) {
		cmd, pids := startServer(t, cgroup2, "guarded")
		dir := ""
		if cgroup2 != noCgroups {
			dir = serverDir(t, cgroup2, cmd.Process.Pid)
		}
		guardian := guardianOf(t, cmd.Process.Pid)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		for _, pid := range append(pids, guardian) {
			eventually(t, fmt.Sprintf("process %d gone", pid), func() bool { return !running(pid) })
		}
		if dir != "" {
			eventually(t, dir+" gone", func() bool { return gone(dir) })
		}
	})
}

// guardianOf finds the guardian among the children of a server.
func guardianOf(t *testing.T, server int) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", server))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("children of %d: %v", server, err)
	}
	for _, f := range tasks {
		list, _ := os.ReadFile(f)
		for _, pid := range strings.Fields(string(list)) {
			cmdline, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			if strings.Contains(string(cmdline), "play-guardian") {
				var n int
				fmt.Sscan(pid, &n)
				return n
			}
		}
	}
	t.Fatalf("server %d has no guardian", server)
	return 0
}

// ownTree is a part of the hierarchy that no other server sweeps.
func ownTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(needCgroups(t), fmt.Sprintf("kernelviz-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := destroyCgroup(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestSweepTakesTheDeadAndSparesTheLiving(t *testing.T) {
	mount := ownTree(t)
	dead, deadPIDs := startServer(t, mount, "unguarded")
	deadDir := serverDir(t, mount, dead.Process.Pid)
	living, livingPIDs := startServer(t, mount, "guarded")
	livingDir := serverDir(t, mount, living.Process.Pid)

	if err := dead.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = dead.Wait()
	// Pdeathsig reaches the children; the one that left its session is what
	// the sweep is for.
	eventually(t, "child gone by Pdeathsig", func() bool { return !running(deadPIDs[0]) || !running(deadPIDs[1]) })
	if !running(deadPIDs[0]) && !running(deadPIDs[1]) {
		t.Fatal("nothing was left to sweep")
	}
	if gone(deadDir) {
		t.Fatalf("%s was removed without a sweep", deadDir)
	}

	s := newSandbox(t, mount) // sweeps
	if !gone(deadDir) {
		t.Errorf("%s was not swept", deadDir)
	}
	for _, pid := range deadPIDs {
		eventually(t, fmt.Sprintf("process %d gone", pid), func() bool { return !running(pid) })
	}
	for _, pid := range livingPIDs {
		if !running(pid) {
			t.Errorf("process %d of the living server was swept", pid)
		}
	}
	if gone(livingDir) {
		t.Errorf("%s of the living server was swept", livingDir)
	}
	// Two servers side by side use the same names.
	cmd, _ := player(t, "play-sleeper")
	if _, err := s.Start(t.Context(), cmd, Options{Name: "play-sleeper"}); err != nil {
		t.Error(err)
	}
}

func TestSweepByMark(t *testing.T) {
	dead, deadPIDs := startServer(t, noCgroups, "unguarded")
	_, livingPIDs := startServer(t, noCgroups, "guarded")
	if err := dead.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = dead.Wait()
	eventually(t, "child gone by Pdeathsig", func() bool { return !running(deadPIDs[0]) || !running(deadPIDs[1]) })
	newSandbox(t, noCgroups) // or another server that started meanwhile
	for i := range deadPIDs {
		if running(deadPIDs[i]) {
			t.Errorf("process %d of the dead server was not swept", deadPIDs[i])
		}
		if !running(livingPIDs[i]) {
			t.Errorf("process %d of the living server was swept", livingPIDs[i])
		}
	}
}

func TestSweepSparesLockedDirectory(t *testing.T) {
	mount := ownTree(t)
	s := newSandbox(t, mount)
	// A live server in another pid namespace: the pid says nothing here, the
	// lock does.
	dir := filepath.Join(mount, tree, "4194305-1")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	f, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := sweepCgroups(filepath.Join(mount, tree), s.log); err != nil {
		t.Fatal(err)
	}
	if gone(dir) {
		t.Error("a locked directory was swept")
	}
	f.Close()
	if err := sweepCgroups(filepath.Join(mount, tree), s.log); err != nil {
		t.Fatal(err)
	}
	if !gone(dir) {
		t.Error("an unlocked directory of a dead server was not swept")
	}
}

func TestGuardRefusesStrangePaths(t *testing.T) {
	for _, args := range [][]string{nil, {"--cgroup", "/sys/fs/cgroup"}, {"--mark", "x"}, {"--cgroup", "/a/1-2", "--mark", "1-2"}} {
		if err := Guard(strings.NewReader(""), args); err == nil {
			t.Errorf("Guard(%q) accepted", args)
		}
	}
}

func TestKillWithoutCgroupKill(t *testing.T) {
	needCgroups(t)
	s := newSandbox(t, "")
	cmd, out := player(t, "play-forker", "stay")
	p, err := s.Start(t.Context(), cmd, Options{Name: "forker"})
	if err != nil {
		t.Fatal(err)
	}
	grandchild := readPID(t, out)
	dir := p.cell.(*cgroupCell).dir
	eventually(t, "all killed one by one", func() bool { return killEach(dir) })
	eventually(t, "grandchild gone", func() bool { return !running(grandchild) })
}
