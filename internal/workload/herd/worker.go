package herd

import (
	"bytes"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Data of the items.
const (
	accepts = 1
	stops   = 2
)

// worker is a thread that accepts.
type worker struct {
	epfd, listener int
	tid            atomic.Int64 // 0 until it runs
	returns        atomic.Int64 // of epoll_wait with a connection
	empty          atomic.Int64 // accept4 that gave EAGAIN
	file           int          // /proc/self/task/TID/status; 0 until it is first read
	buf            [4096]byte
}

// work is the life of the thread, which ends with it: the goroutine never
// leaves it. Raw system calls keep the Go scheduler, whose sleeps would be
// counted, out of it.
func (w *worker) work(alive *sync.WaitGroup) {
	defer alive.Done()
	runtime.LockOSThread()
	w.tid.Store(int64(unix.Gettid()))
	var events [8]unix.EpollEvent
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(w.epfd), uintptr(unsafe.Pointer(&events[0])),
			uintptr(len(events)), ^uintptr(0), 0, 0)
		if errno != 0 {
			n = 0 // EINTR
		}
		for _, e := range events[:n] {
			if e.Fd == stops {
				return
			}
			w.returns.Add(1)
			w.accept()
		}
	}
}

func (w *worker) accept() {
	fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(w.listener), 0, 0, unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		w.empty.Add(1)
		return
	}
	unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
}

// status is what a thread's status file says.
type status struct {
	sleeps   bool
	switches int // voluntary
}

func (w *worker) status(tid int) (status, error) {
	if w.file == 0 {
		fd, err := unix.Open("/proc/self/task/"+strconv.Itoa(tid)+"/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return status{}, fmt.Errorf("opening the status of thread %d: %w", tid, err)
		}
		w.file = fd
	}
	n, err := unix.Pread(w.file, w.buf[:], 0)
	if err != nil {
		return status{}, fmt.Errorf("reading the status of thread %d: %w", tid, err)
	}
	return parse(w.buf[:n])
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

func (w *worker) close() {
	if w.file > 0 {
		_ = unix.Close(w.file)
	}
}
