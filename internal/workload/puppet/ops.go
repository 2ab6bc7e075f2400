package puppet

import (
	"fmt"
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
	return p.makeEach(a.What, or(a.N, 1), func(int) error { return nil })
}

func (p *Puppet) doAdd(a *Action) error {
	events, err := mask(a.Events)
	if err != nil {
		return err
	}
	if a.Events == nil {
		events = unix.EPOLLIN
	}
	return p.makeEach(a.What, or(a.N, 1), func(fd int) error {
		return failure("epoll_ctl", p.epollCtl(*a.EpFD, unix.EPOLL_CTL_ADD, fd, events, uint64(fd)))
	})
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

// maxReads bounds one drain: 4 MB.
const maxReads = 1000

func (p *Puppet) doDrain(a *Action) error {
	if err := ours(*a.FD); err != nil {
		return err
	}
	for range maxReads {
		if n, errno := p.read(*a.FD); errno != 0 && errno != unix.ECONNRESET || n == 0 {
			return nil
		}
	}
	return nil
}

func (p *Puppet) doClose(a *Action) error {
	if err := ours(*a.FD); err != nil {
		return err
	}
	peer, ok := p.peer(*a.FD)
	p.close(*a.FD)
	if _, open := p.peer(peer); ok && !open {
		p.hungUp(peer)
	}
	return nil
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

func (e *syscallError) Error() string { return e.call + " failed: " + errnoText(e.errno) }

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
