package puppet

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const epollWaitName = "epoll_wait"

func epollWait(epfd int, events []unix.EpollEvent, maxevents, timeout int) (int, syscall.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_WAIT, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])),
		uintptr(maxevents), uintptr(timeout), 0, 0)
	return int(n), errno
}

// waitTail ends the text of a wait.
func (c *call) waitTail(maxevents, timeout int) *call { return c.int(maxevents).int(timeout) }

// pollFor waits up to a second until fd has the event. Held: p.mu.
func (p *Puppet) pollFor(fd int, event int16) bool {
	const ms = 1000
	e := p.begin()
	fds := []unix.PollFd{{Fd: int32(fd), Events: event}}
	n, _, errno := unix.Syscall(unix.SYS_POLL, uintptr(unsafe.Pointer(&fds[0])), 1, ms)
	c := p.text.start("poll").polled(fds).int(1).int(ms)
	return p.leavePoll(e, c, int(n), errno, fds, "")
}
