package trial

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"unsafe"

	"kernelviz/internal/iouring"

	"golang.org/x/sys/unix"
)

// herdVariants are the ways in which workers wait for connections.
func herdVariants() []string {
	return []string{
		"default",         // an epoll instance each, with the same listening socket
		"exclusive",       // the same, with EPOLLEXCLUSIVE
		"reuseport",       // an epoll instance and a listening socket each
		"accept",          // accept4 that blocks, on the same socket
		"uring-accept",    // a ring each, an ACCEPT request armed on the same socket, a new one after each
		"uring-multishot", // the same, with one multishot request
	}
}

// herdPolls tells whether the workers are told that they may accept, and then
// do; their socket must not block.
func herdPolls(variant string) bool {
	return variant == "default" || variant == "exclusive" || variant == "reuseport"
}

// herdWaiter is a thread that waits for connections. What it counts may be read
// when it has ended.
type herdWaiter struct {
	variant  string
	listener int
	most     int      // connections that can come
	tid      chan int // told once, when it runs
	epfd     int      // -1 without
	ring     *iouring.Ring
	accepted int
	empty    int // accept4 that gave EAGAIN
	err      error
}

// errStopped is the end of a worker: its socket listens no more.
var errStopped = errors.New("the socket listens no more")

// work is the life of the thread, which ends with it: the goroutine never
// leaves it.
func (w *herdWaiter) work(alive *sync.WaitGroup) {
	defer alive.Done()
	// A signal from Go's scheduler would wake it, and be counted.
	if _, w.err = quiet(); w.err != nil {
		w.tid <- unix.Gettid()
		return
	}
	next := w.accept
	w.err = w.open()
	switch {
	case herdPolls(w.variant):
		next = w.poll
	case w.variant != "accept":
		next = w.complete
	}
	w.tid <- unix.Gettid()
	for w.err == nil {
		w.err = next()
	}
	if w.err == errStopped {
		w.err = nil
	}
	w.close()
}

// open makes what the thread waits in: a ring belongs to the thread that made
// it.
func (w *herdWaiter) open() error {
	var err error
	switch {
	case herdPolls(w.variant):
		if w.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
			return fmt.Errorf("epoll_create1: %w", err)
		}
		e := unix.EpollEvent{Events: unix.EPOLLIN}
		if w.variant == "exclusive" {
			e.Events |= unix.EPOLLEXCLUSIVE
		}
		if err := unix.EpollCtl(w.epfd, unix.EPOLL_CTL_ADD, w.listener, &e); err != nil {
			return fmt.Errorf("epoll_ctl ADD: %w", err)
		}
	case w.variant != "accept":
		p := iouring.Params{Flags: iouring.SetupSingleIssuer | iouring.SetupDeferTaskrun}
		if w.ring, err = iouring.Setup(8, &p); err != nil {
			return err
		}
		return w.arm()
	}
	return nil
}

// poll waits until it may accept, and tries to.
func (w *herdWaiter) poll() error {
	var events [8]unix.EpollEvent
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(w.epfd), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), ^uintptr(0), 0, 0)
	if errno == unix.EINTR {
		return nil
	}
	if errno != 0 {
		return fmt.Errorf("epoll_wait: %w", errno)
	}
	for range n {
		if err := w.accept(); err != nil {
			return err
		}
	}
	return nil
}

// accept takes one connection, waiting for it if the socket blocks.
func (w *herdWaiter) accept() error {
	fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(w.listener), 0, 0, unix.SOCK_CLOEXEC, 0, 0)
	return w.take(int(fd), errno)
}

// take closes a connection that was accepted.
func (w *herdWaiter) take(fd int, errno syscall.Errno) error {
	switch errno {
	case 0:
		rawClose(fd)
		w.accepted++
		if w.accepted > w.most {
			return fmt.Errorf("it accepted %d connections, only %d are made", w.accepted, w.most)
		}
		return nil
	case unix.EAGAIN:
		w.empty++
		return nil
	case unix.EINTR:
		return nil
	case unix.EINVAL:
		return errStopped
	}
	return fmt.Errorf("accept: %w", errno)
}

// arm queues a request to accept.
func (w *herdWaiter) arm() error {
	sqe := w.ring.Next()
	if sqe == nil {
		return errors.New("the submission queue is full")
	}
	*sqe = iouring.SQE{Op: iouring.OpAccept, FD: int32(w.listener), OpFlags: unix.SOCK_CLOEXEC}
	if w.variant == "uring-multishot" {
		sqe.IOPrio = iouring.AcceptMultishot
	}
	return nil
}

// complete waits for accepted connections, and has the request take its place
// again that has ended.
func (w *herdWaiter) complete() error {
	if err := enterRing(w.ring, 1); err != nil {
		return err
	}
	for {
		c, ok := w.ring.Peek()
		if !ok {
			return nil
		}
		w.ring.Advance(1)
		fd, errno := int(c.Res), syscall.Errno(0)
		if c.Res < 0 {
			fd, errno = -1, syscall.Errno(-c.Res)
		}
		if err := w.take(fd, errno); err != nil {
			return err
		}
		if c.More() {
			continue
		}
		if err := w.arm(); err != nil {
			return err
		}
	}
}

func (w *herdWaiter) close() {
	closeOpen(w.epfd)
	if w.ring != nil {
		_ = w.ring.Close()
	}
}
