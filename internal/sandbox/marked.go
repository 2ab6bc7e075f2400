package sandbox

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// mark is the variable that finds children again where there are no cgroups.
const mark = "KERNELVIZ_SANDBOX"

// marked keeps children in process groups, and finds those that left their
// group by a mark in their environment. A child that cleans its environment
// and leaves its group escapes.
type marked struct{ id identity }

func (m *marked) open(name string, _ Limits) (cell, error) {
	return &markedCell{mark: m.id.String() + "/" + name}, nil
}

func (m *marked) guardArgs() []string { return []string{"--mark", m.id.String()} }

func (m *marked) remove() error {
	return killMarked(settled, func(mark string) bool { return strings.HasPrefix(mark, m.id.String()+"/") })
}

// sweep kills the children of servers that no longer live.
func (m *marked) sweep(log *slog.Logger) {
	err := killMarked(1, func(mark string) bool {
		name, _, _ := strings.Cut(mark, "/")
		id, ok := parseIdentity(name)
		return ok && !id.alive()
	})
	if err != nil {
		log.Warn("sweeping what a dead server left", "error", err)
	}
}

type markedCell struct{ mark string }

func (c *markedCell) attr(a *syscall.SysProcAttr) {
	a.Setpgid = !a.Setsid // a session leader has a group of its own
}

func (c *markedCell) env() []string { return []string{mark + "=" + c.mark} }

func (c *markedCell) pids(most int) ([]int, error) {
	found := findMarked(func(mark string) bool { return mark == c.mark })
	return found[:min(most, len(found))], nil
}

func (c *markedCell) kill(pid int) error {
	if pid > 0 {
		_ = unix.Kill(-pid, unix.SIGKILL)
	}
	return c.killAll(1)
}

func (c *markedCell) remove(int) error { return c.killAll(settled) }

func (c *markedCell) killAll(looks int) error {
	return killMarked(looks, func(mark string) bool { return mark == c.mark })
}

func (c *markedCell) ended() string { return "" }

// settled looks in a row, over some 100 ms, must find nobody before a cell
// counts as empty: the environment of a process in the middle of execve reads
// empty for a moment.
const settled = 16

// killMarked kills until that many looks in a row find no process with such a
// mark.
func killMarked(looks int, match func(mark string) bool) error {
	var left []int
	empty := 0
	gone := waitFor(emptyIn, func() bool {
		left = findMarked(match)
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if empty++; len(left) > 0 {
			empty = 0
		}
		return empty >= looks
	})
	if !gone {
		return fmt.Errorf("processes %v did not die within %v", left, emptyIn)
	}
	return nil
}

// findMarked looks through the environments that we may read; a zombie's is
// empty.
func findMarked(match func(mark string) bool) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environ, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		if err != nil {
			continue
		}
		for _, v := range bytes.Split(environ, []byte{0}) {
			value, ok := bytes.CutPrefix(v, []byte(mark+"="))
			if ok && match(string(value)) {
				found = append(found, pid)
			}
		}
	}
	return found
}
