package process

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// play is what the child does; it ends when its standard input does.
func play(part string) error {
	var err error
	switch part {
	case "zoo":
		err = playZoo()
	case "listener":
		err = playListener("0.0.0.0:0")
	case "server":
		return playServer()
	case "sleeper":
	case "tracer", "tracer without events":
		var k kept
		defer runtime.KeepAlive(&k)
		err = k.playTracer(part == "tracer")
	default:
		err = fmt.Errorf("no such part")
	}
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// maker collects descriptors that are made by hand, so that nothing but the
// test decides on their flags.
type maker struct{ err error }

func (m *maker) say(name string, fd int, err error) int {
	if err != nil && m.err == nil {
		m.err = fmt.Errorf("making %s: %w", name, err)
	}
	fmt.Println(name, fd)
	return fd
}

func (m *maker) must(what string, err error) {
	if err != nil && m.err == nil {
		m.err = fmt.Errorf("%s: %w", what, err)
	}
}

// playZoo opens one of each kind.
func playZoo() error {
	var m maker
	m.tcp()
	m.others()
	return m.err
}

func (m *maker) tcp() {
	loop := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	m.say("tcp-listen", l, err)
	m.must("bind", unix.Bind(l, loop))
	m.must("listen", unix.Listen(l, 8))
	addr, err := unix.Getsockname(l)
	m.must("getsockname", err)
	m.say("port", addr.(*unix.SockaddrInet4).Port, nil)

	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	m.say("tcp-client", c, err)
	m.must("connect", unix.Connect(c, addr))
	s, _, err := unix.Accept(l)
	m.say("tcp-server", s, err)
	_, err = unix.Write(c, []byte("x"))
	m.must("write", err)
	d, err := unix.Dup(s) // one socket, two descriptors
	m.say("tcp-dup", d, err)

	closed, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	m.say("tcp-closed", closed, err)

	l6, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	m.say("tcp6-listen", l6, err)
	m.must("bind of tcp6", unix.Bind(l6, &unix.SockaddrInet6{}))
	m.must("listen of tcp6", unix.Listen(l6, 8))
	addr, err = unix.Getsockname(l6)
	m.must("getsockname of tcp6", err)
	m.say("port6", addr.(*unix.SockaddrInet6).Port, nil)
}

func (m *maker) others() {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
	m.say("udp", fd, err)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	m.say("unix", pair[0], err)
	m.say("unix-peer", pair[1], err)
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0)
	m.say("netlink", fd, err)

	var p [2]int
	err = unix.Pipe2(p[:], unix.O_NONBLOCK)
	m.say("pipe-empty", p[0], err)
	m.say("pipe-write", p[1], err)
	fd, err = unix.Eventfd(1, 0)
	m.say("eventfd", fd, err)
	fd, err = unix.Eventfd(0, unix.EFD_NONBLOCK)
	m.say("eventfd-zero", fd, err)
	fd, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, 0)
	m.say("timerfd", fd, err)
	fd, err = unix.MemfdCreate("socket:[1]", 0)
	m.say("file", fd, err)
	fd, err = unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	m.say("directory", fd, err)
	fd, err = unix.Open("/dev/null", unix.O_RDWR, 0)
	m.say("null", fd, err)

	e, err := unix.EpollCreate1(0)
	m.say("epoll", e, err)
	d, err := unix.Dup(e)
	m.say("epoll-dup", d, err)
	e, err = unix.EpollCreate1(0)
	m.say("epoll-2", e, err)
	ready, err := unix.Eventfd(1, 0)
	m.say("eventfd-in-epoll", ready, err)
	m.must("epoll_ctl", unix.EpollCtl(e, unix.EPOLL_CTL_ADD, ready, &unix.EpollEvent{Events: unix.EPOLLIN}))
}

// playListener listens as Go programs do, by MPTCP where the kernel has it.
func playListener(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("port", l.Addr().(*net.TCPAddr).Port)
	f, err := l.(*net.TCPListener).File() // kept from the collector
	if err != nil {
		return err
	}
	fmt.Println("listener", f.Fd())
	return nil
}

// playServer accepts for ever, and says "ready" first.
func playServer() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err := unix.Listen(fd, 4096); err != nil {
		return err
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	fmt.Println("port", addr.(*unix.SockaddrInet4).Port)
	fmt.Println("ready")
	for {
		if _, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK); err != nil {
			return err
		}
	}
}
