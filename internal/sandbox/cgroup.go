package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tree is the directory under cgroup v2 that all servers share.
const tree = "kernelviz"

// emptyIn is how long killed processes may take to be gone.
const emptyIn = 5 * time.Second

// cgroupPen keeps children in cgroups.
type cgroupPen struct {
	dir  string          // CGROUP2/kernelviz/PID-START
	lock *os.File        // flock on dir: proof of life that also holds across pid namespaces
	has  map[string]bool // controllers that the children's cgroups have
	root string          // CGROUP2
}

// openCgroup returns nil with the reason and the fix if cgroups cannot be used.
func openCgroup(mount string, id identity, log *slog.Logger) (c *cgroupPen, reason, fix string) {
	if mount == "" {
		found, err := findCgroup2()
		if err != nil {
			return nil, err.Error(), "mount -t cgroup2 none /sys/fs/cgroup"
		}
		mount = found
	}
	c, err := makeCgroupPen(mount, id, log)
	switch {
	case err == nil:
		return c, "cgroup v2 at " + mount, ""
	case errors.Is(err, fs.ErrPermission):
		return nil, "no right to make a cgroup: " + err.Error(), "run as root"
	case errors.Is(err, unix.EROFS):
		return nil, "cgroup v2 is read-only here: " + err.Error(), "mount -o remount,rw " + mount
	}
	return nil, "cgroup v2 cannot be used: " + err.Error(), ""
}

func makeCgroupPen(mount string, id identity, log *slog.Logger) (*cgroupPen, error) {
	top := filepath.Join(mount, tree)
	if err := sweepCgroups(top, log); err != nil {
		return nil, err
	}
	c := &cgroupPen{root: mount, dir: filepath.Join(top, id.String())}
	// Another server's Close may remove the shared directory in between.
	err := unix.ENOENT
	for range 10 {
		if mkdir := os.Mkdir(top, 0o755); mkdir != nil && !errors.Is(mkdir, fs.ErrExist) {
			return nil, mkdir
		}
		if mkdir := os.Mkdir(c.dir, 0o755); mkdir == nil {
			err = 0
			break
		} else if !errors.Is(mkdir, fs.ErrNotExist) {
			return nil, mkdir
		}
	}
	if err != 0 {
		return nil, fmt.Errorf("making %s: %w", c.dir, err)
	}
	var lockErr error
	c.lock, lockErr = lockDir(c.dir)
	if lockErr != nil {
		return nil, errors.Join(lockErr, os.Remove(c.dir))
	}
	c.has = delegate(top, c.dir)
	return c, nil
}

// lockDir takes a lock that the kernel gives back when this process dies.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	return f, nil
}

func (c *cgroupPen) open(name string, l Limits) (cell, error) {
	dir := filepath.Join(c.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := l.writeCgroup(dir, c.has); err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return &cgroupCell{dir: dir, file: f}, nil
}

func (c *cgroupPen) guardArgs() []string { return []string{"--cgroup", c.dir} }

func (c *cgroupPen) remove() error {
	err := destroyCgroup(c.dir)
	c.lock.Close()
	removeTop(filepath.Dir(c.dir))
	return err
}

// removeTop removes the shared directory unless another server uses it.
func removeTop(top string) { _ = os.Remove(top) }

type cgroupCell struct {
	dir  string
	file *os.File // open directory, for CLONE_INTO_CGROUP
}

func (c *cgroupCell) attr(a *syscall.SysProcAttr) {
	a.UseCgroupFD = true
	a.CgroupFD = int(c.file.Fd())
}

func (c *cgroupCell) env() []string { return nil }

func (c *cgroupCell) pids(most int) ([]int, error) {
	pids, err := cgroupPIDs(c.dir, most)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil // it ended meanwhile
	}
	return pids, err
}

func (c *cgroupCell) kill(int) error { return killCgroup(c.dir) }

func (c *cgroupCell) remove(int) error {
	c.file.Close()
	return destroyCgroup(c.dir)
}

// ended reads memory.events (Documentation/admin-guide/cgroup-v2.rst).
func (c *cgroupCell) ended() string {
	events, err := os.ReadFile(filepath.Join(c.dir, "memory.events"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(events)) {
		count, ok := strings.CutPrefix(line, "oom_kill ")
		if ok && strings.TrimSpace(count) != "0" {
			limit, _ := os.ReadFile(filepath.Join(c.dir, "memory.max"))
			return "killed by the kernel: out of the sandbox's memory (" + strings.TrimSpace(string(limit)) + " bytes)"
		}
	}
	return ""
}

// destroyCgroup kills everything in the cgroup and below and removes it. It is
// no error if it is gone already.
func destroyCgroup(dir string) error {
	if err := killCgroup(dir); err != nil {
		return err
	}
	if !waitFor(emptyIn, func() bool { return cgroupEmpty(dir) }) {
		return fmt.Errorf("processes in %s did not die within %v; see %s/cgroup.procs", dir, emptyIn, dir)
	}
	return removeCgroups(dir)
}

// killCgroup kills by cgroup.kill (since Linux 5.14), else one by one until
// nobody is left to fork.
func killCgroup(dir string) error {
	err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	if err == nil || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if _, gone := os.Stat(dir); errors.Is(gone, fs.ErrNotExist) {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("killing cgroup: %w", err)
	}
	if !waitFor(emptyIn, func() bool { return killEach(dir) }) {
		return fmt.Errorf("processes in %s did not die within %v", dir, emptyIn)
	}
	return nil
}

// killEach kills each process of the cgroup and below; it reports whether
// there was none.
func killEach(dir string) bool {
	pids, _ := cgroupPIDs(dir, math.MaxInt)
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	return len(pids) == 0
}

// cgroupPIDs lists the processes of the cgroup and below, at most so many. Its
// error is about dir itself: cgroups below come and go.
func cgroupPIDs(dir string, most int) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil && path == dir {
			return err
		}
		if err != nil || !d.IsDir() {
			return nil
		}
		procs, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil && path == dir {
			return err
		}
		for _, field := range strings.Fields(string(procs)) {
			if len(pids) >= most {
				return fs.SkipAll
			}
			// 0 stands for a process outside our pid namespace.
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids, err
}

func cgroupEmpty(dir string) bool {
	events, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	return err != nil || strings.Contains(string(events), "populated 0")
}

// removeCgroups removes dir and the cgroups below it, which are empty of
// processes.
func removeCgroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.IsDir() {
			errs = append(errs, removeCgroups(filepath.Join(dir, e.Name())))
		}
	}
	if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
		errs = append(errs, fmt.Errorf("removing %s: %w", dir, err))
	}
	return errors.Join(errs...)
}
