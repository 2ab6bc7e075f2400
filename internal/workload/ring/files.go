package ring

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"kernelviz/internal/iouring"
	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

// Files block: a request for one that is O_NONBLOCK would fail with EAGAIN
// instead of waiting in the kernel (io_uring/rw.c, io_uring/net.c:
// REQ_F_NOWAIT). So the main thread reads nothing that it does not know to be
// there.

// fileSize is how large a file in memory is.
const fileSize = 1 << 20

// maxFiles bounds files in memory.
const maxFiles = 64

// maxClients bounds connections of a listener that were not accepted.
const maxClients = 128

// made says what one call of makers made; more are told by then.
type maker func(p *Puppet) (fd int, err error)

var makers = map[string]maker{
	kindEventfd: (*Puppet).makeEventfd, kindPipe: (*Puppet).makePipe, kindUnix: (*Puppet).makeUnix,
	kindTCP: (*Puppet).makeTCP, kindListener: (*Puppet).makeListener, kindFile: (*Puppet).makeFile,
}

func (p *Puppet) doMake(a *Action) error {
	make, ok := makers[a.What]
	if !ok {
		return control.Errorf("bad_action", "cannot make %q; known are eventfd, file, listener, pipe, tcp, unix", a.What)
	}
	n := control.Or(a.N, 1)
	for range n {
		if a.What == kindFile && p.count(kindFile) >= maxFiles {
			p.stop(a.What, n, fmt.Errorf("there are %d, which is the most", maxFiles))
			p.stopped.Code, p.stopped.Fix = "limit", "close some first"
			return nil
		}
		fd, err := make(p)
		if err != nil {
			p.stop(a.What, n, err)
			return nil
		}
		p.made = append(p.made, fd)
	}
	return nil
}

// count is how many of a kind are open.
func (p *Puppet) count(kind string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.files {
		if f.kind == kind {
			n++
		}
	}
	return n
}

// single makes one fd by one call. done is called with it before it is told.
func (p *Puppet) single(text string, make func() (int, error), done func(fd int)) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	fd, err := make()
	if err == nil {
		done(fd)
	}
	name, _, _ := strings.Cut(text, "(")
	return fd, failure(name, p.leave(e, text, fd, errnoOf(err), ""))
}

// plain makes one call that returns 0.
func (p *Puppet) plain(name string, do func(*call) (*call, error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	c, err := do(start(name))
	return failure(name, p.leave(e, c.end(), 0, errnoOf(err), ""))
}

func (p *Puppet) makeEventfd() (int, error) {
	return p.single("eventfd2(0, EFD_CLOEXEC)", func() (int, error) { return unix.Eventfd(0, unix.EFD_CLOEXEC) },
		func(fd int) { p.files.add(fd, kindEventfd) })
}

// makeFile makes a file in memory with 1 MiB of letters in it.
func (p *Puppet) makeFile() (int, error) {
	fd, err := p.single(`memfd_create("kernelviz", MFD_CLOEXEC)`,
		func() (int, error) { return unix.MemfdCreate("kernelviz", unix.MFD_CLOEXEC) },
		func(fd int) { p.files.add(fd, kindFile) })
	if err != nil {
		return -1, err
	}
	data := make([]byte, fileSize)
	for i := range data {
		data[i] = byte('a' + i%26)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	n, err := unix.Pwrite(fd, data, 0)
	c := start("pwrite64").int(fd).quoted(data).int(len(data)).int(0)
	return fd, failure("pwrite64", p.leave(e, c.end(), n, errnoOf(err), ""))
}

func (p *Puppet) makePipe() (int, error) {
	return p.double("pipe2", kindPipe, func(c *call, fds *[2]int) (*call, error) {
		err := unix.Pipe2(fds[:], unix.O_CLOEXEC)
		return c.fds(fds, err).raw("O_CLOEXEC"), err
	})
}

func (p *Puppet) makeUnix() (int, error) {
	return p.double("socketpair", kindUnix, func(c *call, fds *[2]int) (*call, error) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		*fds = pair
		return c.raw("AF_UNIX").raw("SOCK_STREAM|SOCK_CLOEXEC").int(0).fds(fds, err), err
	})
}

// double makes two connected fds by one call.
func (p *Puppet) double(name, kind string, make func(*call, *[2]int) (*call, error)) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	var fds [2]int
	c, err := make(start(name), &fds)
	if err == nil {
		p.files.pair(fds[0], fds[1], kind)
	}
	return fds[0], failure(name, p.leave(e, c.end(), 0, errnoOf(err), ""))
}

func (p *Puppet) makeTCP() (int, error) {
	l, err := p.makeListener()
	if err != nil {
		return -1, err
	}
	defer p.close(l)
	p.mu.Lock()
	port := p.files[l].port
	p.mu.Unlock()
	client, err := p.connect(port)
	if err != nil {
		return -1, err
	}
	server, err := p.single(start("accept4").int(l).raw("NULL").raw("NULL").raw("SOCK_CLOEXEC").end(), func() (int, error) {
		fd, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(l), 0, 0, unix.SOCK_CLOEXEC, 0, 0)
		if errno != 0 {
			return -1, errno
		}
		return int(fd), nil
	}, func(fd int) { p.files.pair(fd, client, kindTCP) })
	if err != nil {
		p.close(client)
	}
	return server, err
}

// makeListener listens on a port of 127.0.0.1 that the kernel chooses.
func (p *Puppet) makeListener() (int, error) {
	fd, err := p.socket()
	if err != nil {
		return -1, err
	}
	if err := p.listen(fd); err != nil {
		p.close(fd)
		return -1, err
	}
	return fd, nil
}

func (p *Puppet) listen(fd int) error {
	err := p.plain("bind", func(c *call) (*call, error) {
		return c.int(fd).address(0).int(unix.SizeofSockaddrInet4), unix.Bind(fd, loopback(0))
	})
	if err != nil {
		return err
	}
	err = p.plain("listen", func(c *call) (*call, error) { return c.int(fd).int(unix.SOMAXCONN), unix.Listen(fd, unix.SOMAXCONN) })
	if err != nil {
		return err
	}
	return p.plain("getsockname", func(c *call) (*call, error) {
		var sa unix.RawSockaddrInet4
		size := uint32(unix.SizeofSockaddrInet4)
		_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
		if errno != 0 {
			return c.int(fd).raw("NULL").raw("NULL"), errno
		}
		be := (*[2]byte)(unsafe.Pointer(&sa.Port)) // network byte order
		port := uint16(be[0])<<8 | uint16(be[1])
		f := p.files[fd]
		f.kind, f.port = kindListener, port
		return c.int(fd).address(port).raw("[16]"), nil
	})
}

func (p *Puppet) socket() (int, error) {
	return p.single("socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP)",
		func() (int, error) { return unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) },
		func(fd int) { p.files.add(fd, kindTCP) })
}

func (p *Puppet) connect(port uint16) (int, error) {
	fd, err := p.socket()
	if err != nil {
		return -1, err
	}
	err = p.plain("connect", func(c *call) (*call, error) {
		return c.int(fd).address(port).int(unix.SizeofSockaddrInet4), unix.Connect(fd, loopback(port))
	})
	if err != nil {
		p.close(fd)
		return -1, err
	}
	return fd, nil
}

func loopback(port uint16) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}}
}

// doConnect connects n clients to a listener, whose connections wait to be
// accepted.
func (p *Puppet) doConnect(a *Action) error {
	l := p.file(*a.FD)
	if l == nil || l.kind != kindListener {
		return &control.Error{
			Code: "not_possible", Message: fmt.Sprintf("fd %d does not listen", *a.FD), Fix: "make a listener with op make",
		}
	}
	n := control.Or(a.N, 1)
	for range n {
		if len(l.clients) >= maxClients {
			p.stop("connect", n, control.Errorf("limit", "%d connections wait to be accepted, which is the most", maxClients))
			p.stopped.Code, p.stopped.Fix = "limit", "queue accept, submit and reap first"
			return nil
		}
		p.expect(l)
		fd, err := p.connect(l.port)
		if err != nil {
			p.stop("connect", n, err)
			return nil
		}
		p.mu.Lock()
		l.clients = append(l.clients, p.files[fd])
		p.mu.Unlock()
		p.made = append(p.made, fd)
	}
	return nil
}

func (p *Puppet) file(fd int) *file {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.files[fd]
}

// doReady makes an fd readable.
func (p *Puppet) doReady(a *Action) error {
	one := 1
	return p.doWrite(&Action{FD: a.FD, N: &one})
}

// doWrite makes n bytes, or a count of n, be read from fd. Of a pipe either end
// may be named.
func (p *Puppet) doWrite(a *Action) error {
	if err := ours(*a.FD); err != nil {
		return err
	}
	n, f := control.Or(a.N, 1), p.file(*a.FD)
	if f == nil { // what is not open gives EBADF
		p.write(*a.FD, nil, []byte("x"))
		return nil
	}
	to, reader := f.peer, f
	switch {
	case f.kind == kindFile:
		return control.Errorf("not_possible", "fd %d is a regular file: it is always readable", f.fd)
	case f.kind == kindListener:
		return &control.Error{
			Code: "not_possible", Message: fmt.Sprintf("fd %d listens: a connection makes it readable", f.fd), Fix: "use op connect",
		}
	case f.kind == kindEventfd:
		to = f
	case f.writer:
		to, reader = f, f.peer
	}
	if to == nil {
		return control.Errorf("no_peer", "the other end of fd %d is closed or was not accepted: nobody can write to it", f.fd)
	}
	if reader != nil && reader.kind != kindEventfd {
		if unread := reader.unread + p.writing(reader); unread+n > maxUnread {
			return &control.Error{
				Code:    "not_possible",
				Message: fmt.Sprintf("fd %d has %d bytes unread or being written, and %d more would be above %d", reader.fd, unread, n, maxUnread),
				Fix:     "read or drain it first, or reap what has read it",
			}
		}
	}
	if reader != nil {
		p.expect(reader)
	}
	for range n {
		data := []byte("x")
		if to.kind == kindEventfd {
			data = []byte{1, 0, 0, 0, 0, 0, 0, 0}
		}
		if p.write(to.fd, reader, data) != 0 {
			return nil
		}
	}
	return nil
}

// writing is how many bytes requests may still write that f has to be read.
func (p *Puppet) writing(f *file) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.rings {
		for _, list := range [][]*request{g.inflight, g.queued} {
			for _, q := range list {
				if q.to == f {
					n += q.length
				}
			}
		}
	}
	return n
}

func (p *Puppet) write(fd int, reader *file, data []byte) syscall.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	n, err := unix.Write(fd, data)
	if err == nil && reader != nil {
		reader.got(n)
	}
	return p.leave(e, start("write").int(fd).quoted(data).int(len(data)).end(), n, errnoOf(err), "")
}

func (p *Puppet) doRead(a *Action) error {
	n := 1
	if f := p.file(*a.FD); f != nil && f.kind == kindEventfd {
		n = 8
	}
	if err := p.mayRead(*a.FD); err != nil {
		return err
	}
	p.read(*a.FD, control.Or(a.N, n))
	return nil
}

// maxReads bounds one drain.
const maxReads = 1000

func (p *Puppet) doDrain(a *Action) error {
	if err := p.mayRead(*a.FD); err != nil {
		return err
	}
	for range maxReads {
		if n, again := p.read(*a.FD, maxRead); n == 0 || !again {
			return nil
		}
	}
	return nil
}

// mayRead refuses to read what a request may take: the main thread would sleep.
func (p *Puppet) mayRead(fd int) error {
	if err := ours(fd); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.files[fd]
	if f == nil {
		return nil
	}
	for _, g := range p.rings {
		reading := slices.DeleteFunc(g.reads(f), func(q *request) bool { return q.what == "poll" || q.what == "poll_multi" })
		if len(reading) > 0 {
			return &control.Error{
				Code:    "in_flight",
				Message: fmt.Sprintf("request %d of ring %d reads from fd %d", reading[0].userData, g.fd, fd),
				Fix:     "cancel it, or let it complete and reap it",
			}
		}
	}
	return nil
}

// read reads once, if something is there. again is false after an error, at the
// end, and where there was nothing.
func (p *Puppet) read(fd, size int) (n int, again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.files[fd]
	if f != nil && (f.kind == kindPipe || f.kind == kindEventfd) && !p.ready(fd) {
		return 0, false
	}
	e := p.begin()
	socket := f != nil && (f.kind == kindUnix || f.kind == kindTCP || f.kind == kindListener)
	var errno syscall.Errno
	name := "read"
	if socket {
		name = "recvfrom"
		r, _, no := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p.buf[0])), uintptr(size), unix.MSG_DONTWAIT, 0, 0)
		n, errno = int(r), no
	} else {
		r, _, no := unix.Syscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p.buf[0])), uintptr(size))
		n, errno = int(r), no
	}
	c := start(name).int(fd)
	if errno == 0 {
		c.quoted(p.buf[:n])
	} else {
		n = 0
		c.pointer(addressOf(p.buf))
	}
	c.int(size)
	if socket {
		c.raw("MSG_DONTWAIT").raw("NULL").raw("NULL")
	}
	p.leave(e, c.end(), n, errno, "")
	if errno == 0 && f != nil {
		f.took(n)
	}
	return n, errno == 0 && n > 0
}

// ready asks without waiting whether a read would sleep. Held: p.mu.
func (p *Puppet) ready(fd int) bool {
	e := p.begin()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	var none unix.Timespec
	n, _, errno := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), 1, uintptr(unsafe.Pointer(&none)), 0, 8, 0)
	text := start("ppoll").raw("[{fd=" + strconv.Itoa(fd) + ", events=POLLIN}]").int(1).raw("{tv_sec=0, tv_nsec=0}").raw("NULL").int(8).end()
	switch {
	case errno != 0:
		p.leave(e, text, 0, errno, "")
		return false
	case n == 0:
		p.leaveAs(e, text, "= 0 (Timeout)", true, "")
		return false
	}
	p.leaveAs(e, text, "= 1 ([{fd="+strconv.Itoa(fd)+", revents="+reventsText(fds[0].Revents)+"}], left {tv_sec=0, tv_nsec=0})", true, "")
	return true
}

func reventsText(revents int16) string {
	var names []string
	for _, n := range []struct {
		bit  int16
		name string
	}{{unix.POLLIN, "POLLIN"}, {unix.POLLERR, "POLLERR"}, {unix.POLLHUP, "POLLHUP"}, {unix.POLLNVAL, "POLLNVAL"}} {
		if revents&n.bit != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, "|")
}

func (p *Puppet) doClose(a *Action) error {
	if err := ours(*a.FD); err != nil {
		return err
	}
	p.mu.Lock()
	g := p.rings[*a.FD]
	p.mu.Unlock()
	if g != nil {
		return p.closeRing(g)
	}
	if f := p.file(*a.FD); f != nil && f.peer != nil && !f.writer {
		p.expect(f.peer)
	}
	p.close(*a.FD)
	return nil
}

func (p *Puppet) close(fd int) syscall.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	errno := errnoOf(unix.Close(fd))
	if errno == 0 {
		p.files.close(fd)
	}
	return p.leave(e, start("close").int(fd).end(), 0, errno, "")
}

// expectation is a completion that what was just done to a file should cause.
type expectation struct {
	g    *instance
	tail uint32
}

// expect notes the rings that wait for f to become readable; settle waits until
// they have a completion more, or cannot have.
func (p *Puppet) expect(f *file) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.rings {
		if g.waitsFor(f) {
			p.awaited = append(p.awaited, expectation{g, g.ring.CQTail()})
		}
	}
}

// waitsFor reports whether a completion comes by itself when f becomes readable.
func (g *instance) waitsFor(f *file) bool {
	if g.params.Flags&iouring.SetupDeferTaskrun != 0 || g.drains || g.scribbled != "" || g.ring.SQFlags() & ^iouring.SQNeedWakeup != 0 {
		return false
	}
	done := map[uint64]bool{} // completed and not reaped
	for at := g.ring.CQHead(); at != g.ring.CQTail(); at++ {
		if c := g.ring.CQEAt(at); !c.More() {
			done[c.UserData] = true
		}
	}
	found := false
	for _, q := range g.inflight {
		found = found || q.file == f && !q.behind && !q.skips() && !done[q.userData]
	}
	return found
}

func (e expectation) due() bool {
	return e.g.fd >= 0 && e.g.ring.CQTail() == e.tail && e.g.ring.SQFlags()&(iouring.SQCQOverflow|iouring.SQTaskrun) == 0
}

// errnoOf takes the errno out of what package unix returns.
func errnoOf(err error) syscall.Errno {
	if errno, ok := err.(syscall.Errno); ok {
		return errno
	}
	return 0
}
