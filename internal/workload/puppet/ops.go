package puppet

import (
	"fmt"
	"slices"
	"syscall"

	"kernelviz/internal/workload/control"
	"kernelviz/internal/workload/puppet/oracle"

	"golang.org/x/sys/unix"
)

func (p *Puppet) doEpollCreate(*Action) error {
	if fd, errno := p.epollCreate(); errno == 0 {
		p.made = append(p.made, fd)
	}
	return nil
}

func (p *Puppet) doMake(a *Action) error {
	return p.makeEach(a.What, control.Or(a.N, 1), func(int) error { return nil })
}

func (p *Puppet) doAdd(a *Action) error {
	events, err := mask(a.Events)
	if err != nil {
		return err
	}
	if a.Events == nil {
		events = unix.EPOLLIN
	}
	return p.makeEach(a.What, control.Or(a.N, 1), func(fd int) error { return p.addOne(*a.EpFD, fd, events) })
}

// addOne lets threads that it woke return before the next.
func (p *Puppet) addOne(epfd, fd int, events uint32) error {
	defer p.settle()
	return failure("epoll_ctl", p.epollCtl(epfd, unix.EPOLL_CTL_ADD, fd, events, uint64(fd)))
}

// doDupAdd adds the same file again and again: the keys differ only in the fd,
// which rises, so the tree's order is known beforehand.
func (p *Puppet) doDupAdd(a *Action) error {
	events, err := mask(a.Events)
	if err != nil {
		return err
	}
	if a.Events == nil {
		events = unix.EPOLLIN
	}
	if err := ours(*a.FD); err != nil {
		return err
	}
	n := control.Or(a.N, 1)
	for range n {
		fd, errno := p.dup(*a.FD)
		err := failure("dup", errno)
		if err == nil {
			p.made = append(p.made, fd)
			err = p.addOne(*a.EpFD, fd, events)
		}
		if err != nil {
			p.stop("dup", n, err)
			return nil
		}
	}
	return nil
}

func (p *Puppet) doCtl(a *Action) error {
	op, err := ctlOp(a.Ctl)
	if err != nil {
		return err
	}
	events, err := mask(a.Events)
	if err != nil {
		return err
	}
	data := uint64(uint32(*a.FD))
	if a.Data != nil {
		data = *a.Data
	}
	p.epollCtl(*a.EpFD, op, *a.FD, events, data)
	return nil
}

// doReady makes an fd readable. Where the data takes its own way, by a timer
// or through the network stack, it waits until it has arrived.
func (p *Puppet) doReady(a *Action) error {
	fd := *a.FD
	if err := ours(fd); err != nil {
		return err
	}
	return p.makeReady(fd)
}

func (p *Puppet) makeReady(fd int) error {
	switch kind := p.kind(fd); kind {
	case oracle.Eventfd, "": // what is not open gives EBADF
		p.write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}, 1)
		return nil
	case oracle.Timerfd:
		p.fire(fd)
		return nil
	case oracle.Epoll:
		return control.Errorf("not_possible", "fd %d is an epoll instance: it is readable when one of its items is ready", fd)
	case oracle.File:
		return control.Errorf("not_possible", "fd %d is a regular file: it is always readable, and cannot be watched", fd)
	default:
		return p.readyByPeer(fd, kind)
	}
}

func (p *Puppet) readyByPeer(fd int, kind oracle.Kind) error {
	if p.writeEnd(fd) {
		return control.Errorf("not_possible", "fd %d is the write end of a pipe: nothing makes it readable", fd)
	}
	peer, ok := p.peer(fd)
	if !ok {
		return control.Errorf("no_peer", "the other end of fd %d is closed: nobody can write to it", fd)
	}
	if p.write(peer, []byte("x"), 1) == 0 && (kind == oracle.TCP || kind == oracle.UDP) {
		p.await(fd)
	}
	return nil
}

// doWrite is doReady n times: more arrives while something is unread. Of a
// pipe it takes either end.
func (p *Puppet) doWrite(a *Action) error {
	fd, n := *a.FD, control.Or(a.N, 1)
	if err := ours(fd); err != nil {
		return err
	}
	if p.writeEnd(fd) {
		reader, ok := p.peer(fd)
		if !ok {
			p.write(fd, []byte("x"), 1) // the kernel's to refuse
			return nil
		}
		fd = reader
	}
	kind := p.kind(fd)
	if kind == oracle.Timerfd {
		return control.Errorf("not_possible", "fd %d is a timerfd: nobody writes to it; op ready arms it", fd)
	}
	if unread := p.pending(fd); kind != oracle.Eventfd && unread+n > maxUnread {
		return &control.Error{
			Code:    "not_possible",
			Message: fmt.Sprintf("fd %d has %d bytes unread, and %d more would be above %d", fd, unread, n, maxUnread),
			Fix:     "read or drain it first",
		}
	}
	for range n {
		if err := p.makeReady(fd); err != nil {
			return err
		}
		p.settle()
	}
	return nil
}

// doRead reads once. What is beyond n stays.
func (p *Puppet) doRead(a *Action) error {
	if err := ours(*a.FD); err != nil {
		return err
	}
	n := 1
	if p.counts(*a.FD) {
		n = 8
	}
	p.read(*a.FD, control.Or(a.N, n))
	return nil
}

// maxReads bounds one drain: 4 MB.
const maxReads = 1000

func (p *Puppet) doDrain(a *Action) error {
	if err := ours(*a.FD); err != nil {
		return err
	}
	size := len(p.buf)
	if p.counts(*a.FD) {
		size = 8
	}
	for range maxReads {
		if n, errno := p.read(*a.FD, size); errno != 0 && errno != unix.ECONNRESET || n == 0 {
			return nil
		}
	}
	return nil
}

func (p *Puppet) doClose(a *Action) error {
	if err := ours(*a.FD); err != nil {
		return err
	}
	p.releasing(func() { p.close(*a.FD) })
	return nil
}

func (p *Puppet) doCloseRange(a *Action) error {
	if err := ours(*a.First); err != nil {
		return err
	}
	p.releasing(func() { p.closeRange(*a.First, *a.Last) })
	return nil
}

// releasing does what closes files, and waits until the other ends of
// connections have seen it.
func (p *Puppet) releasing(do func()) {
	before := p.allHungUp()
	do()
	for _, fd := range p.allHungUp() {
		if !slices.Contains(before, fd) {
			p.hungUp(fd)
		}
	}
}

func (p *Puppet) doDup(a *Action) error {
	if err := ours(*a.FD); err != nil {
		return err
	}
	if fd, errno := p.dup(*a.FD); errno == 0 {
		p.made = append(p.made, fd)
	}
	return nil
}

func (p *Puppet) doCycle(*Action) error {
	var fds [2]int
	for i := range fds {
		fd, errno := p.epollCreate()
		if errno != 0 {
			return nil
		}
		fds[i] = fd
		p.made = append(p.made, fd)
	}
	p.epollCtl(fds[0], unix.EPOLL_CTL_ADD, fds[1], unix.EPOLLIN, uint64(fds[1]))
	p.epollCtl(fds[1], unix.EPOLL_CTL_ADD, fds[0], unix.EPOLLIN, uint64(fds[0]))
	return nil
}

// ours refuses the puppet's own line. An fd that is not open, even -1, is the
// kernel's to refuse.
func ours(fd int) error {
	if fd >= 0 && fd <= 2 {
		return errNotOurs(fd)
	}
	return nil
}

// syscallError is a call that failed and so stopped an action.
type syscallError struct {
	call  string
	errno syscall.Errno
}

func (e *syscallError) Error() string { return e.call + " failed: " + control.ErrnoText(e.errno) }

func failure(call string, errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return &syscallError{call, errno}
}

// stop records why the action made fewer than n.
func (p *Puppet) stop(what string, n int, err error) {
	stopped := &control.Error{Code: "stopped", Message: fmt.Sprintf("made %d of %d (%s), then %v", len(p.made), n, what, err)}
	if e, ok := err.(*syscallError); ok && (e.errno == unix.EMFILE || e.errno == unix.ENFILE) {
		stopped.Code, stopped.Fix = "emfile", "close some, or raise the limit of open files (ulimit -n)"
	}
	p.stopped = stopped
}
