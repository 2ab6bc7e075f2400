package control

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// FD reads and writes a descriptor by plain system calls. An os.File would
// register with the runtime's poller and so open an epoll instance.
type FD int

// Read reads once, waiting for data. It returns io.EOF at the end.
func (fd FD) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("reading fd %d: %w", int(fd), err)
		}
		if n == 0 && len(b) > 0 {
			return 0, io.EOF
		}
		return n, nil
	}
}

// Write writes all of b.
func (fd FD) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Write(int(fd), b[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, fmt.Errorf("writing fd %d: %w", int(fd), err)
		}
		done += n
	}
	return done, nil
}

// ErrnoText is "EEXIST (File exists)", as strerror words it.
func ErrnoText(err error) string {
	var e syscall.Errno
	if !errors.As(err, &e) {
		return err.Error()
	}
	text := e.Error()
	return unix.ErrnoName(e) + " (" + strings.ToUpper(text[:1]) + text[1:] + ")"
}
