package uring

import (
	"errors"

	"golang.org/x/sys/unix"
)

// bell calls a function whenever the programs wake the reader of their ring
// buffer. It only waits: the records are read elsewhere, also those that came
// without a wake-up.
type bell struct {
	epfd int
	stop int // eventfd that ends the wait
}

// newBell starts to wait on the map fd of a BPF ring buffer. notify is called
// from a goroutine of the bell's own.
func newBell(buffer int, notify func()) (*bell, error) {
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

func (b *bell) wait(notify func()) {
	defer unix.Close(b.epfd)
	defer unix.Close(b.stop)
	events := make([]unix.EpollEvent, 2)
	for {
		n, err := unix.EpollWait(b.epfd, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		for _, e := range events[:max(n, 0)] {
			if int(e.Fd) == b.stop {
				return
			}
		}
		if n > 0 {
			notify()
		}
	}
}

// close ends the wait; notify may run once more.
func (b *bell) close() {
	_, _ = unix.Write(b.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}
