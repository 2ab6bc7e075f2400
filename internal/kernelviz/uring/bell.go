package uring

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// wakeupGap is how long the programs hold back a wake-up after one (WAKEUP_GAP in
// lives.bpf.c), and a bit.
const wakeupGap = 9 * time.Millisecond

// bell calls a function whenever the programs wake the reader of their ring
// buffer, and again when the time is over in which they hold wake-ups back: the
// last event of a burst may have come then, and nothing after it. It only
// waits: the records are read elsewhere.
type bell struct {
	epfd int
	stop int // eventfd that ends the wait

	mu    sync.Mutex
	ended bool // the fds are closed
}

// newBell starts to wait on the map fd of a BPF ring buffer. notify is called
// from a goroutine of the bell's own; it tells whether there was anything.
func newBell(buffer int, notify func() bool) (*bell, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epfd)
		return nil, err
	}
	b := &bell{epfd: epfd, stop: stop}
	// Edge-triggered: a buffer that has not been emptied does not ring again.
	err = errors.Join(
		unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, buffer, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(buffer)}),
		unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, stop, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(stop)}),
	)
	if err != nil {
		unix.Close(epfd)
		unix.Close(stop)
		return nil, err
	}
	go b.wait(notify)
	return b, nil
}

func (b *bell) wait(notify func() bool) {
	defer b.end()
	events := make([]unix.EpollEvent, 2)
	timeout := -1 // ms
	for {
		n, err := unix.EpollWait(b.epfd, events, timeout)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		for _, e := range events[:n] {
			if int(e.Fd) == b.stop {
				return
			}
		}
		timeout = -1
		if notify() || n > 0 {
			timeout = int(wakeupGap.Milliseconds())
		}
	}
}

func (b *bell) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	unix.Close(b.epfd)
	unix.Close(b.stop)
	b.ended = true
}

// close ends the wait; notify may run once more.
func (b *bell) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		_, _ = unix.Write(b.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}
