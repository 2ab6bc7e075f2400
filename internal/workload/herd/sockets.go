package herd

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Listen makes a listening socket. at.Port 0 takes a free port and tells it
// there; reuse lets several share a port (SO_REUSEPORT); flags is 0 or
// SOCK_NONBLOCK. The caller closes it.
func Listen(at *unix.SockaddrInet4, reuse bool, flags int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if err := listen(fd, at, reuse); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func listen(fd int, at *unix.SockaddrInet4, reuse bool) error {
	if reuse {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fmt.Errorf("SO_REUSEPORT: %w", err)
		}
	}
	if err := unix.Bind(fd, at); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if at.Port == 0 {
		sa, err := unix.Getsockname(fd)
		if err != nil {
			return fmt.Errorf("getsockname: %w", err)
		}
		at.Port = sa.(*unix.SockaddrInet4).Port
	}
	if err := unix.Listen(fd, 128); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// Connect makes one connection and waits until a worker has accepted and closed
// it.
func Connect(to *unix.SockaddrInet4, patience time.Duration) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	// By a RST, so that no thousands of sockets stay in TIME_WAIT.
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return fmt.Errorf("SO_LINGER: %w", err)
	}
	if err := unix.Connect(fd, to); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for end := time.Now().Add(patience); ; {
		n, err := unix.Poll(fds, 100)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("poll: %w", err)
		}
		if n > 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("no worker has accepted it within %v", patience)
		}
	}
}
