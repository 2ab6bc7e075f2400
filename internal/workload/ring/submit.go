package ring

import (
	"fmt"
	"syscall"

	"kernelviz/internal/iouring"
	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

// threadFor is where a call is made: what the action asks for, else the ring's.
func (a *Action) threadFor(g *instance) int { return control.Or(a.Thread, g.thread) }

func (p *Puppet) doSubmit(a *Action) error {
	g, err := p.find(*a.Ring)
	if err != nil {
		return err
	}
	p.mu.Lock()
	err = g.whole("sq.tail")
	g.sync(p)
	n := uint32(control.Or(a.N, len(g.queued)))
	flags, asleep := uint32(0), g.ring.SQFlags()&iouring.SQNeedWakeup != 0
	p.mu.Unlock()
	if err != nil {
		return err
	}
	if g.sqpoll() && asleep {
		flags |= iouring.EnterSQWakeup
	}
	if wait := uint32(control.Or(a.Wait, 0)); wait > 0 {
		thread := a.threadFor(g)
		if thread == 0 {
			thread = 1
		}
		return p.wait(g, thread, n, wait, flags|iouring.EnterGetevents)
	}
	if g.sqpoll() && flags == 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.tell("sq.flags = " + iouring.SQFlagNames(g.ring.SQFlags())) // the thread is awake: no call
		return nil
	}
	_, errno, err := p.enterRing(g, a.threadFor(g), n, flags)
	if err == nil && errno != 0 {
		p.halt("io_uring_enter", errno, hint(errno))
	}
	return err
}

// hint is what to do about an errno of io_uring_enter.
func hint(errno syscall.Errno) string {
	switch errno {
	case unix.EEXIST:
		return "the ring is SINGLE_ISSUER: only the thread that made it may enter"
	case unix.EBADFD:
		return "the ring was made with R_DISABLED"
	case unix.EBUSY:
		return "reap completions first: the completion queue has overflown"
	}
	return ""
}

func (p *Puppet) doFlush(a *Action) error { return p.doEnter(a, iouring.EnterGetevents) }

func (p *Puppet) doWakeup(a *Action) error { return p.doEnter(a, iouring.EnterSQWakeup) }

// doEnter is io_uring_enter that submits nothing.
func (p *Puppet) doEnter(a *Action, flags uint32) error {
	g, err := p.find(*a.Ring)
	if err != nil {
		return err
	}
	_, errno, err := p.enterRing(g, a.threadFor(g), 0, flags)
	if err == nil && errno != 0 {
		p.halt("io_uring_enter", errno, hint(errno))
	}
	return err
}

// doOverflow fills the CQ with NOPs and goes on until extra more are kept on
// cq_overflow_list.
func (p *Puppet) doOverflow(a *Action) error {
	g, err := p.find(*a.Ring)
	if err != nil {
		return err
	}
	if g.sqpoll() {
		return control.Errorf("not_possible", "ring %d has a thread that submits by itself: use op queue, more often than op reap", g.fd)
	}
	p.mu.Lock()
	err = g.whole("sq.tail", "cq.head", "sqe")
	if err == nil && len(g.queued) > 0 {
		err = &control.Error{
			Code: "not_possible", Message: fmt.Sprintf("ring %d has %d SQEs that are not taken", g.fd, len(g.queued)), Fix: "submit them first",
		}
	}
	overflown := g.ring.SQFlags()&iouring.SQCQOverflow != 0
	p.mu.Unlock()
	if err != nil {
		return err
	}
	if overflown { // while the kernel keeps some, none comes to the CQ
		if _, _, err := p.enterRing(g, g.thread, 0, iouring.EnterGetevents); err != nil {
			return err
		}
	}
	left := int(g.ring.CQEntries()) - g.ring.CQPending() + control.Or(a.Extra, 1)
	for left > 0 {
		n := min(left, int(g.ring.SQEntries()))
		p.mu.Lock()
		err := p.queue(g, &job{Action: &Action{}, kind: queueKinds[0], fd: -1}, n)
		p.mu.Unlock()
		if err != nil {
			return err
		}
		took, errno, err := p.enterRing(g, g.thread, uint32(n), 0)
		if err != nil {
			return err
		}
		if errno != 0 || took != n {
			p.halt("io_uring_enter", errno, hint(errno))
			return nil
		}
		left -= took
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if g.ring.CQPending() == int(g.ring.CQEntries()) && g.ring.SQFlags()&iouring.SQCQOverflow != 0 {
		return nil
	}
	if g.drains {
		p.stopped = &control.Error{
			Code:    "not_full",
			Message: fmt.Sprintf("the NOPs of ring %d wait for a request with IOSQE_IO_DRAIN", g.fd),
			Fix:     "let what is before it complete",
		}
		return nil
	}
	p.surprise("ring %d: %d completions in a queue of %d, flags %s", g.fd, g.ring.CQPending(), g.ring.CQEntries(), iouring.SQFlagNames(g.ring.SQFlags()))
	return nil
}
