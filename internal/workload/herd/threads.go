package herd

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// step is between two looks, in ns.
const step = 50_000

// Threads are threads of one process, watched through /proc. One goroutine uses
// them.
type Threads struct {
	files []int // /proc/PID/task/TID/status
	buf   [4096]byte
}

// WatchThreads opens what is to be read of them. The caller closes it.
func WatchThreads(pid int, tids []int) (*Threads, error) {
	t := &Threads{}
	for _, tid := range tids {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/task/%d/status", pid, tid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Close()
			return nil, fmt.Errorf("opening the status of thread %d of process %d: %w", tid, pid, err)
		}
		t.files = append(t.files, fd)
	}
	return t, nil
}

// Asleep waits until all sleep and returns how many voluntary context switches
// they have made. A thread that has been woken is no more asleep, even if it
// has not yet run; two looks must agree, because one is not an instant.
func (t *Threads) Asleep(within time.Duration) (int, error) {
	end := time.Now().Add(within)
	last := -1
	for {
		sum, all, err := t.look()
		if err != nil {
			return 0, err
		}
		if all && sum == last {
			return sum, nil
		}
		last = -1
		if all {
			last = sum
		}
		if time.Now().After(end) {
			return 0, fmt.Errorf("the workers did not fall asleep within %v", within)
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: step}, nil)
	}
}

func (t *Threads) look() (switches int, all bool, err error) {
	for _, fd := range t.files {
		n, err := unix.Pread(fd, t.buf[:], 0)
		if err != nil {
			return 0, false, fmt.Errorf("reading the status of a worker's thread: %w", err)
		}
		s, err := parse(t.buf[:n])
		if err != nil {
			return 0, false, err
		}
		if !s.sleeps {
			return 0, false, nil
		}
		switches += s.switches
	}
	return switches, true, nil
}

// Close closes what was opened.
func (t *Threads) Close() {
	for _, fd := range t.files {
		_ = unix.Close(fd)
	}
}

// status is what a thread's status file says.
type status struct {
	sleeps   bool
	switches int // voluntary
}

func parse(text []byte) (status, error) {
	state, ok := field(text, "\nState:\t")
	if !ok {
		return status{}, fmt.Errorf("a thread's status has no State: %q", text)
	}
	count, ok := field(text, "\nvoluntary_ctxt_switches:\t")
	if !ok {
		return status{}, fmt.Errorf("a thread's status has no voluntary_ctxt_switches: %q", text)
	}
	n, err := strconv.Atoi(string(count))
	if err != nil {
		return status{}, fmt.Errorf("voluntary_ctxt_switches: %w", err)
	}
	return status{sleeps: bytes.HasPrefix(state, []byte("S")), switches: n}, nil
}

func field(text []byte, name string) ([]byte, bool) {
	_, rest, ok := bytes.Cut(text, []byte(name))
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	return value, ok
}
