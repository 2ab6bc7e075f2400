package herd

import (
	"runtime"
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
	tid            chan int     // told once, when it runs
	returns        atomic.Int64 // of epoll_wait with a connection
	empty          atomic.Int64 // accept4 that gave EAGAIN
}

// work is the life of the thread, which ends with it: the goroutine never
// leaves it. Raw system calls keep the Go scheduler, whose sleeps would be
// counted, out of it.
func (w *worker) work(alive *sync.WaitGroup) {
	defer alive.Done()
	runtime.LockOSThread()
	w.tid <- unix.Gettid()
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
