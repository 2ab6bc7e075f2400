package puppet

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This machine has neither epoll_wait nor poll, only what replaced them.
const epollWaitName = "epoll_pwait"

func epollWait(epfd int, events []unix.EpollEvent, maxevents, timeout int) (int, syscall.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])),
		uintptr(maxevents), uintptr(timeout), 0, sigsetSize)
	return int(n), errno
}

const sigsetSize = 8

// waitTail ends the text of a wait.
func (c *call) waitTail(maxevents, timeout int) *call {
	return c.int(maxevents).int(timeout).raw("NULL").int(sigsetSize)
}

// pollFor waits up to a second until fd has the event. Held: p.mu.
func (p *Puppet) pollFor(fd int, event int16) bool {
	e := p.begin()
	fds := []unix.PollFd{{Fd: int32(fd), Events: event}}
	left := unix.Timespec{Sec: 1}
	n, _, errno := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), 1,
		uintptr(unsafe.Pointer(&left)), 0, sigsetSize, 0)
	c := p.text.start("ppoll").polled(fds).int(1).
		raw("{tv_sec=1, tv_nsec=0}").raw("NULL").int(sigsetSize)
	return p.leavePoll(e, c, int(n), errno, fds, fmt.Sprintf(", left {tv_sec=%d, tv_nsec=%d}", left.Sec, left.Nsec))
}
