package trial

import (
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
)

// newEchoLoad makes the role "load".
func newEchoLoad(s Spec) (Work, error) {
	count, err := newEchoCount(s)
	if err != nil {
		return nil, err
	}
	return &echoLoad{echoCount: count, ep: -1}, nil
}

// echoLoad is the client: on each connection it sends a message, waits for the
// echo, looks at every byte of it and sends the next.
type echoLoad struct {
	echoCount
	ep     int
	conn   []echoConn
	events []unix.EpollEvent
	buf    []byte // what is read or written
	free   func() // of buf
}

// echoConn is one connection of the client.
type echoConn struct {
	fd   int
	seq  int // the message that is out
	part int // bytes of its echo that have come
	echo [EchoSize]byte
}

func (l *echoLoad) Prepare() (any, error) {
	l.conn = make([]echoConn, 0, l.conns)
	for i := range l.conns {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("socket, number %d of %d: %w", i+1, l.conns, err)
		}
		l.conn = append(l.conn, echoConn{fd: fd})
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return nil, fmt.Errorf("setsockopt TCP_NODELAY: %w", err)
		}
	}
	var err error
	if l.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	l.events = make([]unix.EpollEvent, min(512, l.conns))
	l.buf, l.free, err = iouring.Memory(PageSize)
	return nil, err
}

func (l *echoLoad) Run(peers map[string]json.RawMessage) (Report, error) {
	port, err := echoPort(peers)
	if err != nil {
		return Report{}, err
	}
	to := &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	for i := range l.conn {
		fd := l.conn[i].fd
		if err := unix.Connect(fd, to); err != nil {
			return Report{}, fmt.Errorf("connect to 127.0.0.1:%d, connection %d of %d: %w", port, i+1, l.conns, err)
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			return Report{}, fmt.Errorf("fcntl O_NONBLOCK: %w", err)
		}
		if errno := rawAdd(l.ep, fd, unix.EPOLLIN, int32(i)); errno != 0 {
			return Report{}, fmt.Errorf("epoll_ctl, adding connection %d: %w", i+1, errno)
		}
	}
	loud, err := quiet()
	if err != nil {
		return Report{}, err
	}
	defer loud()
	began := time.Now()
	if err := l.play(); err != nil {
		return Report{}, err
	}
	seconds := time.Since(began).Seconds()
	// The server ends when all have gone.
	for i := range l.conn {
		rawClose(l.conn[i].fd)
		l.conn[i].fd = -1
	}
	total := uint64(l.conns) * uint64(l.messages)
	return Report{Seconds: seconds, Bytes: total * EchoSize, Ops: total}, nil
}

// play sends and checks all messages.
func (l *echoLoad) play() error {
	for i := range l.conn {
		if err := l.send(i); err != nil {
			return err
		}
	}
	left := l.conns
	for left > 0 {
		n, errno := rawEpollWait(l.ep, l.events, echoPatience)
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return fmt.Errorf("epoll_pwait: %w", errno)
		case n == 0:
			return fmt.Errorf("the server has echoed nothing for %d s; %d of %d connections are not done", echoPatience/1000, left, l.conns)
		}
		for e := range n {
			done, err := l.receive(int(l.events[e].Fd))
			if err != nil {
				return err
			}
			if done {
				left--
			}
		}
	}
	return nil
}

func (l *echoLoad) send(i int) error {
	c := &l.conn[i]
	putMessage(l.buf, i, c.seq)
	n, errno := rawWrite(c.fd, l.buf[:EchoSize])
	if err := taken(n, EchoSize, errno); err != nil {
		return fmt.Errorf("write on connection %d, message %d: %w", i+1, c.seq+1, err)
	}
	return nil
}

// receive takes what has come on a connection, and sends the next message when
// the echo is complete. done: it was the last.
func (l *echoLoad) receive(i int) (done bool, err error) {
	c := &l.conn[i]
	n, errno := rawRead(c.fd, l.buf)
	switch {
	case errno == unix.EAGAIN:
		return false, nil
	case errno != 0:
		return false, fmt.Errorf("read on connection %d, message %d: %w", i+1, c.seq+1, errno)
	case n == 0:
		return false, fmt.Errorf("the server has closed connection %d after %d of %d messages", i+1, c.seq, l.messages)
	case c.part+n > EchoSize:
		return false, fmt.Errorf("connection %d, message %d: the server sent %d bytes back for %d", i+1, c.seq+1, c.part+n, EchoSize)
	}
	copy(c.echo[c.part:], l.buf[:n])
	if c.part += n; c.part < EchoSize {
		return false, nil
	}
	if !isMessage(c.echo[:], i, c.seq) {
		return false, fmt.Errorf("connection %d, message %d: the server sent something else back: %x", i+1, c.seq+1, c.echo)
	}
	c.part = 0
	if c.seq++; c.seq == l.messages {
		return true, nil
	}
	return false, l.send(i)
}

func (l *echoLoad) Close() error {
	for _, c := range l.conn {
		closeOpen(c.fd)
	}
	closeOpen(l.ep)
	if l.free != nil {
		l.free()
	}
	return nil
}
