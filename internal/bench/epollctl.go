package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// epollCtl makes the system call and nothing else: the scheduler of Go is not
// told, as for a call that never sleeps.
func epollCtl(epfd, op, fd int) unix.Errno {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epfd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&event)), 0, 0)
	return errno
}
