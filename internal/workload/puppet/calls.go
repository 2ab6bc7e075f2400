package puppet

import (
	"errors"
	"syscall"
	"unsafe"

	"kernelviz/internal/workload/puppet/oracle"

	"golang.org/x/sys/unix"
)

// Each method of this file makes one system call, records it in the table and
// logs it.

func (p *Puppet) epollCreate() (int, syscall.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		p.table.Open(fd, oracle.Epoll)
	}
	return fd, p.leave(e, "epoll_create1(EPOLL_CLOEXEC)", fd, errnoOf(err), "")
}

func (p *Puppet) epollCtl(epfd, op, fd int, events uint32, data uint64) syscall.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	event := newEvent(events, data)
	ptr := &event
	if op == unix.EPOLL_CTL_DEL {
		ptr = nil
	}
	errno := errnoOf(unix.EpollCtl(epfd, op, fd, ptr))
	note := ""
	if errno == 0 && p.recordCtl(epfd, op, fd, events, data) {
		note = NoteAddReady
	}
	c := p.text.start("epoll_ctl").int(epfd).raw(ctlNames[op]).int(fd)
	if ptr == nil {
		c.raw("NULL")
	} else {
		c.sep().b = appendEvent(c.b, events, data)
	}
	return p.leave(e, c.end(), 0, errno, note)
}

var ctlNames = [...]string{
	unix.EPOLL_CTL_ADD: "EPOLL_CTL_ADD",
	unix.EPOLL_CTL_DEL: "EPOLL_CTL_DEL",
	unix.EPOLL_CTL_MOD: "EPOLL_CTL_MOD",
}

// recordCtl reports whether a new item was ready at once.
func (p *Puppet) recordCtl(epfd, op, fd int, events uint32, data uint64) bool {
	switch op {
	case unix.EPOLL_CTL_ADD:
		return p.table.Add(epfd, fd, events, data)
	case unix.EPOLL_CTL_MOD:
		p.table.Mod(epfd, fd, events, data)
	case unix.EPOLL_CTL_DEL:
		p.table.Del(epfd, fd)
	}
	return false
}

func (p *Puppet) close(fd int) syscall.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	errno := errnoOf(unix.Close(fd))
	note := ""
	if errno == 0 {
		note = closeNote(p.table.Close(fd))
	}
	return p.leave(e, p.text.start("close").int(fd).end(), 0, errno, note)
}

func (p *Puppet) closeRange(first, last int) syscall.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	errno := errnoOf(unix.CloseRange(uint(first), uint(last), 0))
	note := ""
	if errno == 0 {
		note = closeNote(p.table.CloseRange(first, last))
	}
	return p.leave(e, p.text.start("close_range").int(first).int(last).int(0).end(), 0, errno, note)
}

func closeNote(c oracle.Closed) string {
	switch {
	case c.InUse:
		return NoteEpollInUse
	case c.Survives:
		return NoteDupSurvives
	case c.Removed > 0:
		return NoteCloseRemoves
	}
	return ""
}

func (p *Puppet) dup(fd int) (int, syscall.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	n, err := unix.Dup(fd)
	if err == nil {
		p.table.Dup(fd, n)
	}
	return n, p.leave(e, p.text.start("dup").int(fd).end(), n, errnoOf(err), "")
}

// write writes data, which adds that much to be read at the other end.
func (p *Puppet) write(fd int, data []byte, adds int) syscall.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	n, err := unix.Write(fd, data)
	if err == nil {
		p.table.Wrote(fd, adds)
	} else {
		p.table.Doubt(fd)
	}
	c := p.text.start("write").int(fd)
	c.sep().b = appendQuoted(c.b, data)
	return p.leave(e, c.int(len(data)).end(), n, errnoOf(err), "")
}

// read reads once, at most size bytes of the buffer's.
func (p *Puppet) read(fd, size int) (int, syscall.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	n, err := unix.Read(fd, p.buf[:size])
	errno := errnoOf(err)
	c := p.text.start("read").int(fd)
	if errno == 0 {
		p.table.Read(fd, n)
		c.sep().b = appendQuoted(c.b, p.buf[:n])
	} else {
		if errno == unix.ECONNRESET {
			p.table.ReadReset(fd)
		}
		c.sep().b = appendPointer(c.b, uintptr(unsafe.Pointer(&p.buf[0])))
	}
	return n, p.leave(e, c.int(size).end(), n, errno, "")
}

// fire arms the timer, waits until it has expired and records that. A thread
// that the timer wakes is recorded after it.
func (p *Puppet) fire(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	soon := unix.ItimerSpec{Value: unix.Timespec{Nsec: 1}}
	errno := errnoOf(unix.TimerfdSettime(fd, 0, &soon, nil))
	c := p.text.start("timerfd_settime").int(fd).int(0).
		raw("{it_interval={tv_sec=0, tv_nsec=0}, it_value={tv_sec=0, tv_nsec=1}}").raw("NULL")
	if p.leave(e, c.end(), 0, errno, "") == 0 && p.pollFor(fd, unix.POLLIN) {
		p.table.Fired(fd)
		return
	}
	p.table.Doubt(fd)
}

// await waits until what was just written has arrived at fd: softirqs may run
// later than the write returns. Of a second datagram nobody can tell.
func (p *Puppet) await(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	want := p.table.Pending(fd)
	if want == 1 && p.pollFor(fd, unix.POLLIN) {
		return
	}
	if p.table.Kind(fd) == oracle.TCP && p.awaitBytes(fd, want) {
		return
	}
	p.table.Doubt(fd)
}

// awaitBytes asks how much fd has to be read until it is enough. Held: p.mu.
func (p *Puppet) awaitBytes(fd, want int) bool {
	for range 1000 {
		e := p.begin()
		n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
		c := p.text.start("ioctl").int(fd).raw("FIONREAD").array(n)
		if p.leave(e, c.end(), 0, errnoOf(err), "") != 0 {
			return false
		}
		if n >= want {
			return true
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 100_000}, nil)
	}
	return false
}

// allHungUp lists the sockets whose connections were closed at the other end.
func (p *Puppet) allHungUp() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.table.HungUp()
}

// hungUp waits until a watched peer has seen that its connection was closed.
func (p *Puppet) hungUp(peer int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.table.Kind(peer) != oracle.TCP || !p.table.Watched(peer) {
		return
	}
	if !p.pollFor(peer, unix.POLLRDHUP) {
		p.table.Doubt(peer)
	}
}

func (p *Puppet) kind(fd int) oracle.Kind {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.table.Kind(fd)
}

// counts reports whether a read of fd takes a whole count of 8 bytes.
func (p *Puppet) counts(fd int) bool {
	k := p.kind(fd)
	return k == oracle.Eventfd || k == oracle.Timerfd
}

func (p *Puppet) pending(fd int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.table.Pending(fd)
}

func (p *Puppet) writeEnd(fd int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.table.WriteEnd(fd)
}

func (p *Puppet) peer(fd int) (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.table.Peer(fd)
}

// errnoOf takes the errno out of what package unix returns.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return 0
}
