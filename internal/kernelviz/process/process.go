// Package process tells what procfs and the kernel say of a set of processes:
// their descriptors, command lines and the BPF programs that they attached. It
// reads; the processes are never stopped and nothing of theirs is changed.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Bounds of one look at all its processes together.
const (
	maxListed  = 4096   // descriptors in Summary.FDs
	maxSockets = 20_000 // sockets that are counted
	maxFDs     = 40_000 // descriptors that are looked at
)

// FD is one descriptor.
type FD struct {
	FD          int
	Kind        string // tcp, udp, unix, pipe, eventfd, timerfd, epoll, file or other
	Nonblocking bool   // O_NONBLOCK is set
	// Readable says that poll(2) gives POLLIN. It stays false for epoll: to poll
	// an epoll instance takes items that are not ready any more off its rdllist
	// (fs/eventpoll.c, __ep_eventpoll_poll), and we only look. It is not asked of
	// other either: what poll means there depends on who asks.
	Readable bool
}

// Summary is what a set of processes has open. A file that several descriptors
// share is counted once.
type Summary struct {
	Threads     int
	Epolls      int   // epoll instances
	Rings       int   // io_uring instances
	RingMaps    int   // their mappings in the processes' memory
	Connections int   // TCP sockets in state ESTABLISHED
	Ports       []int // TCP ports that are listened on, ascending
	Nonblocking int   // sockets with O_NONBLOCK
	Blocking    int   // sockets without
	FDs         []FD  // the first 4,096, only if asked for
}

// Look tells what the processes have open. It is bounded: 4,096 descriptors are
// listed, 20,000 sockets counted. A process that died meanwhile is no error.
func Look(pids []int, withFDs bool) (Summary, error) {
	l := &look{withFDs: withFDs, sockets: map[uint64]bool{}, ports: map[int]bool{}}
	for _, pid := range pids {
		err := l.process(pid)
		if gone(err) || errors.Is(err, fs.ErrPermission) && ending(pid) {
			continue
		}
		if err != nil {
			return Summary{}, fmt.Errorf("looking at process %d: %w", pid, explain(err))
		}
	}
	l.sum.Epolls = distinctFiles(l.epolls)
	l.sum.Rings = distinctFiles(l.rings)
	for port := range l.ports {
		l.sum.Ports = append(l.sum.Ports, port)
	}
	slices.Sort(l.sum.Ports)
	return l.sum, nil
}

// Proc names a process.
type Proc struct {
	PID     int
	Comm    string // at most 15 bytes
	Command string // the command line; empty for a kernel thread or a zombie
}

// maxCommand bounds a command line, in bytes.
const maxCommand = 4096

// List names those of the processes that live.
func List(pids []int) []Proc {
	out := make([]Proc, 0, len(pids))
	for _, pid := range pids {
		comm, err := os.ReadFile(procPath(pid, "comm"))
		if err != nil {
			continue
		}
		out = append(out, Proc{PID: pid, Comm: text(bytes.TrimSuffix(comm, []byte("\n"))), Command: command(pid)})
	}
	return out
}

// command is the command line with spaces between the arguments.
func command(pid int) string {
	f, err := os.Open(procPath(pid, "cmdline"))
	if err != nil {
		return ""
	}
	defer f.Close()
	buf := make([]byte, maxCommand)
	n, _ := f.Read(buf) // one read: procfs gives all that fits
	line := bytes.TrimRight(buf[:n], "\x00")
	return text(bytes.ReplaceAll(line, []byte{0}, []byte(" ")))
}

// text makes what a process calls itself fit to be shown.
func text(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(string(b), "?"))
}

func procPath(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// stat are the fields of /proc/PID/stat from the third on (proc_pid_stat(5));
// nil if the process is gone.
func stat(pid int) []string {
	b, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return nil
	}
	// The name, field 2, may hold anything, a parenthesis too.
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

func statField(fields []string, n int) int {
	if n-3 >= len(fields) {
		return 0
	}
	v, _ := strconv.Atoi(fields[n-3])
	return v
}

func threads(pid int) int { return statField(stat(pid), 20) }

// ending says that a process is gone or about to. It has given its memory back
// then, and the kernel refuses all but root to look at it.
func ending(pid int) bool {
	const exiting = 0x4 // PF_EXITING of the kernel flags
	fields := stat(pid)
	return fields == nil || statField(fields, 9)&exiting != 0
}

// gone says that an error means the death of the process or the end of a
// descriptor while we looked.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EBADF)
}

// explain adds what would give the right to look.
func explain(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: its descriptors may be seen by root and by who may trace it (CAP_SYS_PTRACE); run as root", err)
	}
	return err
}
