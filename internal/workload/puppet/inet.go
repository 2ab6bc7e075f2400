package puppet

import (
	"unsafe"

	"kernelviz/internal/workload/puppet/oracle"

	"golang.org/x/sys/unix"
)

// Sockets of the internet families live on 127.0.0.1, on ports that the kernel
// chooses.

// listener accepts the connections of one action and is closed after it.
type listener struct {
	fd   int
	port uint16
}

func (p *Puppet) listen() (listener, error) {
	fd, err := p.socket("SOCK_STREAM|SOCK_CLOEXEC", unix.SOCK_STREAM|unix.SOCK_CLOEXEC)
	if err != nil {
		return listener{}, err
	}
	port, err := p.bind(fd)
	if err == nil {
		err = p.plain(func(c *call) (*call, error) {
			return c.int(fd).int(unix.SOMAXCONN), unix.Listen(fd, unix.SOMAXCONN)
		}, "listen")
	}
	if err != nil {
		p.close(fd)
		return listener{}, err
	}
	return listener{fd, port}, nil
}

// makeTCP connects to the listener and returns the accepted end.
func (p *Puppet) makeTCP(l listener) (int, error) {
	client, err := p.socket("SOCK_STREAM|SOCK_CLOEXEC", unix.SOCK_STREAM|unix.SOCK_CLOEXEC)
	if err != nil {
		return -1, err
	}
	server, err := p.connectTCP(client, l)
	if err != nil {
		p.close(client)
		return -1, err
	}
	p.pair(server, client, oracle.TCP)
	return server, nil
}

// connectTCP connects while the socket still blocks: the handshake is done when
// the call returns.
func (p *Puppet) connectTCP(client int, l listener) (int, error) {
	if err := p.connect(client, l.port); err != nil {
		return -1, err
	}
	err := p.plain(func(c *call) (*call, error) {
		_, err := unix.FcntlInt(uintptr(client), unix.F_SETFL, unix.O_NONBLOCK)
		return c.int(client).raw("F_SETFL").raw("O_RDONLY|O_NONBLOCK"), err
	}, "fcntl")
	if err != nil {
		return -1, err
	}
	c := p.text.start("accept4").int(l.fd).raw("NULL").raw("NULL").raw("SOCK_CLOEXEC|SOCK_NONBLOCK")
	return p.single(c.end(), "", func() (int, error) {
		fd, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(l.fd), 0, 0, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0, 0)
		if errno != 0 {
			return -1, errno
		}
		return int(fd), nil
	})
}

// makeUDP connects two sockets to each other and returns the first.
func (p *Puppet) makeUDP(listener) (int, error) {
	var fds [2]int
	var ports [2]uint16
	for i := range fds {
		fd, err := p.socket("SOCK_DGRAM|SOCK_CLOEXEC|SOCK_NONBLOCK", unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err == nil {
			fds[i] = fd
			ports[i], err = p.bind(fd)
			if err != nil {
				p.close(fd)
			}
		}
		if err != nil {
			p.closeAll(fds[:i])
			return -1, err
		}
	}
	for i, fd := range fds {
		if err := p.connect(fd, ports[1-i]); err != nil {
			p.closeAll(fds[:])
			return -1, err
		}
	}
	p.pair(fds[0], fds[1], oracle.UDP)
	return fds[0], nil
}

func (p *Puppet) closeAll(fds []int) {
	for _, fd := range fds {
		p.close(fd)
	}
}

func (p *Puppet) pair(a, b int, kind oracle.Kind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.table.Pair(a, b, kind)
}

func (p *Puppet) socket(text string, kind int) (int, error) {
	return p.single("socket(AF_INET, "+text+", IPPROTO_IP)", "", func() (int, error) {
		return unix.Socket(unix.AF_INET, kind, 0)
	})
}

// bind binds to a port of the kernel's choice and asks which it is.
func (p *Puppet) bind(fd int) (port uint16, err error) {
	err = p.plain(func(c *call) (*call, error) {
		err := unix.Bind(fd, loopback(0))
		return c.int(fd).address(0).int(unix.SizeofSockaddrInet4), err
	}, "bind")
	if err != nil {
		return 0, err
	}
	err = p.plain(func(c *call) (*call, error) {
		var sa unix.RawSockaddrInet4
		size := uint32(unix.SizeofSockaddrInet4)
		_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
		if errno != 0 {
			return c.int(fd).raw("NULL").raw("NULL"), errno
		}
		be := (*[2]byte)(unsafe.Pointer(&sa.Port)) // network byte order
		port = uint16(be[0])<<8 | uint16(be[1])
		return c.int(fd).address(port).raw("[16]"), nil
	}, "getsockname")
	return port, err
}

func (p *Puppet) connect(fd int, port uint16) error {
	return p.plain(func(c *call) (*call, error) {
		err := unix.Connect(fd, loopback(port))
		return c.int(fd).address(port).int(unix.SizeofSockaddrInet4), err
	}, "connect")
}

func loopback(port uint16) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}}
}
