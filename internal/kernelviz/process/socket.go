package process

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket looks at a descriptor; it reports whether that is a socket. Each
// system call here is made ten thousand times.
func (l *look) socket(t *target, fd int) (bool, error) {
	c, err := t.copyFD(fd)
	if err != nil {
		return false, err
	}
	defer unix.Close(c)
	cookie, err := unix.GetsockoptUint64(c, unix.SOL_SOCKET, unix.SO_COOKIE)
	if errors.Is(err, unix.ENOTSOCK) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("SO_COOKIE of fd %d: %w", fd, err)
	}
	count := !l.sockets[cookie] && len(l.sockets) < maxSockets
	if !count && !l.lists() {
		return true, nil
	}
	flags, err := unix.FcntlInt(uintptr(c), unix.F_GETFL, 0)
	if err != nil {
		return false, fmt.Errorf("flags of fd %d: %w", fd, err)
	}
	d := FD{FD: fd, Kind: "tcp", Nonblocking: flags&unix.O_NONBLOCK != 0}
	state, tcp := tcpState(c)
	if !tcp {
		d.Kind = otherSocket(c)
	}
	if l.lists() {
		d.Readable = readable(c)
		l.sum.FDs = append(l.sum.FDs, d)
	}
	if count {
		l.sockets[cookie] = true
		l.count(c, d, state)
	}
	return true, nil
}

func (l *look) count(c int, d FD, state uint8) {
	if d.Nonblocking {
		l.sum.Nonblocking++
	} else {
		l.sum.Blocking++
	}
	switch state {
	case unix.BPF_TCP_ESTABLISHED:
		l.sum.Connections++
	case unix.BPF_TCP_LISTEN:
		if port := localPort(c); port > 0 {
			l.ports[port] = true
		}
	}
}

// tcpState is tcpi_state, the first byte of struct tcp_info; false if the
// socket is none of TCP, nor MPTCP, which answers for its first subflow.
func tcpState(fd int) (uint8, bool) {
	var state uint8
	size := uint32(unsafe.Sizeof(state))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&state)), uintptr(unsafe.Pointer(&size)), 0)
	return state, errno == 0
}

// otherSocket names a socket that is none of TCP.
func otherSocket(fd int) string {
	domain, err1 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	protocol, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	switch {
	case err1 != nil || err2 != nil:
		return "other"
	case domain == unix.AF_UNIX:
		return "unix"
	case (domain == unix.AF_INET || domain == unix.AF_INET6) && protocol == unix.IPPROTO_UDP:
		return "udp"
	}
	return "other"
}

func localPort(fd int) int {
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return 0
	}
	switch a := addr.(type) {
	case *unix.SockaddrInet4:
		return a.Port
	case *unix.SockaddrInet6:
		return a.Port
	}
	return 0
}
