package trial

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The experiment echo: a server that sends back what it receives, on one
// thread, in several variants; and a client, the same for all, that plays
// ping-pong on many connections at once. Both are told "conns" and "messages",
// which is how many messages each connection sends, one after another.

const (
	// EchoSize is the size of a message in bytes.
	EchoSize = 64
	// echoBacklog is how many connections may wait to be accepted: all of them.
	echoBacklog = 4096
	// echoPatience is how long a side waits for anything at all, in ms.
	echoPatience = 20_000
	echoConns    = 16_000  // at most
	echoMessages = 1 << 30 // at most, of a connection
)

// echoSaid is what the server says with ready.
type echoSaid struct {
	Port int `json:"port"`
}

// echoCount is how much there is to do.
type echoCount struct {
	conns, messages int
}

func newEchoCount(s Spec) (echoCount, error) {
	conns, err := param(s, "conns", 1, echoConns)
	if err != nil {
		return echoCount{}, err
	}
	messages, err := param(s, "messages", 1, echoMessages)
	if err != nil {
		return echoCount{}, err
	}
	return echoCount{conns: int(conns), messages: int(messages)}, nil
}

// newEchoServer makes the role "server".
func newEchoServer(s Spec) (Work, error) {
	count, err := newEchoCount(s)
	if err != nil {
		return nil, err
	}
	switch s.Variant {
	case "epoll":
		return &echoEpoll{echoCount: count, listener: -1, ep: -1}, nil
	case "uring":
		return &echoUring{echoCount: count, listener: -1}, nil
	case "uring-defer":
		return &echoUring{echoCount: count, listener: -1, deferred: true}, nil
	}
	return nil, fmt.Errorf("echo: unknown variant %.80q; known are epoll, uring, uring-defer", s.Variant)
}

// echoListen opens the server's socket on loopback, at a port of the kernel's
// choice.
func echoListen(flags int) (fd int, said echoSaid, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, 0)
	if err != nil {
		return -1, echoSaid{}, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
			fd = -1
		}
	}()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fd, echoSaid{}, fmt.Errorf("bind to 127.0.0.1: %w", err)
	}
	if err := unix.Listen(fd, echoBacklog); err != nil {
		return fd, echoSaid{}, fmt.Errorf("listen: %w", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return fd, echoSaid{}, fmt.Errorf("getsockname: %w", err)
	}
	in, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		return fd, echoSaid{}, fmt.Errorf("getsockname: not an IPv4 address: %T", sa)
	}
	return fd, echoSaid{Port: in.Port}, nil
}

// echoPort finds the server's port among what the peers said.
func echoPort(peers map[string]json.RawMessage) (int, error) {
	var said echoSaid
	if err := json.Unmarshal(peers["server"], &said); err != nil {
		return 0, fmt.Errorf("reading the server's port from %.80q: %w", peers["server"], err)
	}
	if said.Port <= 0 || said.Port > 65_535 {
		return 0, fmt.Errorf("the server's port is %d", said.Port)
	}
	return said.Port, nil
}

// putMessage writes message number seq of a connection: none is like another,
// so that an echo of the wrong connection, or an old one, is noticed.
func putMessage(b []byte, conn, seq int) {
	word := mix(uint64(conn)<<32 | uint64(seq))
	for i := 0; i < EchoSize; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], word+uint64(i))
	}
}

// isMessage tells whether the bytes are message number seq of a connection.
func isMessage(b []byte, conn, seq int) bool {
	word := mix(uint64(conn)<<32 | uint64(seq))
	wrong := uint64(0)
	for i := 0; i < EchoSize; i += 8 {
		wrong |= binary.LittleEndian.Uint64(b[i:]) ^ (word + uint64(i))
	}
	return wrong == 0
}

// The calls are raw, without Go's scheduler around them: the thread has
// nothing else to do while it waits.

func rawRead(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

func rawWrite(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

func rawEpollWait(ep int, events []unix.EpollEvent, ms int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(ms), 0, 0)
	return int(n), errno
}

func rawAdd(ep, fd int, events uint32, tag int32) unix.Errno {
	e := unix.EpollEvent{Events: events, Fd: tag}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(ep), unix.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(&e)), 0, 0)
	return errno
}

func rawClose(fd int) {
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// taken is the error of a write that did not take all, or nil.
func taken(n, want int, errno unix.Errno) error {
	if errno != 0 {
		return errno
	}
	if n != want {
		return fmt.Errorf("%d of %d bytes were taken: the socket's buffer is full", n, want)
	}
	return nil
}

// closeOpen closes descriptors that are open.
func closeOpen(fds ...int) {
	for _, fd := range fds {
		if fd >= 0 {
			rawClose(fd)
		}
	}
}
