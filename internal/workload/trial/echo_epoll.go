package trial

import (
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
)

// echoEpoll is the server by epoll, level-triggered: it waits, and for each
// connection that is readable it reads once and writes that back.
type echoEpoll struct {
	echoCount
	listener, ep int
	open         []bool // connections by descriptor
	events       []unix.EpollEvent
	buf          []byte
	free         func() // of buf
}

func (e *echoEpoll) Prepare() (any, error) {
	var said echoSaid
	var err error
	if e.listener, said, err = echoListen(unix.SOCK_NONBLOCK); err != nil {
		return nil, err
	}
	if e.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if errno := rawAdd(e.ep, e.listener, unix.EPOLLIN, int32(e.listener)); errno != 0 {
		return nil, fmt.Errorf("epoll_ctl, adding the listener: %w", errno)
	}
	e.open = make([]bool, e.conns+1024)
	e.events = make([]unix.EpollEvent, min(512, e.conns+1))
	if e.buf, e.free, err = iouring.Memory(PageSize); err != nil {
		return nil, err
	}
	return said, nil
}

func (e *echoEpoll) Run(map[string]json.RawMessage) (Report, error) {
	loud, err := quiet()
	if err != nil {
		return Report{}, err
	}
	defer loud()
	began := time.Now()
	bytes, closed := uint64(0), 0
	for closed < e.conns {
		n, errno := rawEpollWait(e.ep, e.events, echoPatience)
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return Report{}, fmt.Errorf("epoll_pwait: %w", errno)
		case n == 0:
			return Report{}, fmt.Errorf("nothing came in for %d s, with %d of %d connections ended", echoPatience/1000, closed, e.conns)
		}
		for i := range n {
			fd := int(e.events[i].Fd)
			if fd == e.listener {
				if err := e.accept(); err != nil {
					return Report{}, err
				}
				continue
			}
			got, errno := rawRead(fd, e.buf)
			switch {
			case errno == unix.EAGAIN:
				continue
			case errno != 0:
				return Report{}, fmt.Errorf("read on connection %d: %w", fd, errno)
			case got == 0:
				rawClose(fd)
				e.open[fd] = false
				closed++
				continue
			}
			sent, errno := rawWrite(fd, e.buf[:got])
			if err := taken(sent, got, errno); err != nil {
				return Report{}, fmt.Errorf("write on connection %d: %w", fd, err)
			}
			bytes += uint64(got)
		}
	}
	return Report{Seconds: time.Since(began).Seconds(), Bytes: bytes, Ops: bytes / EchoSize}, nil
}

// accept takes all connections that wait.
func (e *echoEpoll) accept() error {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(e.listener), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if errno == unix.EAGAIN {
			return nil
		}
		fd := int(n)
		if errno != 0 {
			return fmt.Errorf("accept4: %w", errno)
		}
		if fd >= len(e.open) {
			rawClose(fd)
			return fmt.Errorf("accept4 gave descriptor %d: more connections than the %d announced", fd, e.conns)
		}
		e.open[fd] = true
		if errno := rawAdd(e.ep, fd, unix.EPOLLIN, int32(fd)); errno != 0 {
			return fmt.Errorf("epoll_ctl, adding connection %d: %w", fd, errno)
		}
	}
}

func (e *echoEpoll) Close() error {
	for fd, open := range e.open {
		if open {
			rawClose(fd)
		}
	}
	closeOpen(e.listener, e.ep)
	if e.free != nil {
		e.free()
	}
	return nil
}
