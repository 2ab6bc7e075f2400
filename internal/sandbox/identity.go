package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"syscall"
)

// identity names one life of one process: pids are reused, the pair of pid and
// start time is not.
type identity struct {
	pid   int
	start uint64 // clock ticks since boot, field 22 of /proc/PID/stat (proc(5))
}

func (id identity) String() string { return fmt.Sprintf("%d-%d", id.pid, id.start) }

var identityRE = regexp.MustCompile(`^([0-9]{1,10})-([0-9]{1,20})$`)

// parseIdentity reads the name of a server's directory.
func parseIdentity(s string) (identity, bool) {
	m := identityRE.FindStringSubmatch(s)
	if m == nil {
		return identity{}, false
	}
	pid, err := strconv.Atoi(m[1])
	if err != nil {
		return identity{}, false
	}
	start, err := strconv.ParseUint(m[2], 10, 64)
	return identity{pid: pid, start: start}, err == nil
}

func self() (identity, error) {
	pid := os.Getpid()
	start, err := startTime(pid)
	return identity{pid: pid, start: start}, err
}

// alive reports whether that very process still exists. A zombie does not
// count. If it cannot be told, the answer is yes: nobody alive is ever swept.
func (id identity) alive() bool {
	start, err := startTime(id.pid)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) || errors.Is(err, errZombie) {
		return false
	}
	return err != nil || start == id.start
}

var errZombie = errors.New("process is a zombie")

func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The second field, the name in brackets, may hold spaces and brackets.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const state, start = 0, 22 - 3 // fields 3 and 22 of proc(5): numbered from 1, two cut off
	if len(fields) <= start {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields after the name, want more than %d", pid, len(fields), start)
	}
	if s := fields[state][0]; s == 'Z' || s == 'X' {
		return 0, errZombie
	}
	return strconv.ParseUint(string(fields[start]), 10, 64)
}
