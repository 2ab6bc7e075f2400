package ring

import (
	"fmt"
	"strings"
	"syscall"

	"kernelviz/internal/iouring"
	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

// doSetup makes a ring. With SINGLE_ISSUER it is made by a thread that makes
// all its calls from then on, so that they may sleep.
func (p *Puppet) doSetup(a *Action) error {
	params, err := a.params()
	if err != nil {
		return err
	}
	if len(p.rings) >= maxRings {
		return &control.Error{
			Code: "limit", Message: fmt.Sprintf("the puppet has %d rings, which is the most", maxRings), Fix: "close one first",
		}
	}
	thread := 0
	if params.Flags&iouring.SetupSingleIssuer != 0 || a.Thread != nil {
		thread = control.Or(a.Thread, 1)
	}
	entries := uint32(control.Or(a.Entries, 8))
	own, err := iouring.Prepare(entries, &params)
	if err != nil {
		return control.Errorf("unsupported", "%v", err)
	}
	err = p.in(thread, func(begin func() entered) { p.stopped = p.setup(begin, entries, params, own, thread) })
	if err != nil {
		unmap(own)
	}
	return err
}

func unmap(maps []iouring.Mapping) {
	for _, m := range maps {
		_ = unix.Munmap(m.Mem)
	}
}

// params are those that the action asks for.
func (a *Action) params() (p iouring.Params, err error) {
	for _, name := range a.Flags {
		f, ok := iouring.SetupFlag(name)
		if !ok {
			return p, control.Errorf("bad_action", "unknown flag %q; known are %s", name,
				control.List(iouring.SetupList(1<<21-1)))
		}
		p.Flags |= f
	}
	if a.CQEntries != nil {
		p.Flags |= iouring.SetupCQSize
		p.CQEntries = uint32(*a.CQEntries)
	}
	if p.Flags&iouring.SetupSQPoll != 0 {
		p.SQThreadIdle = uint32(control.Or(a.Idle, 1000))
	} else if a.Idle != nil {
		return p, control.Errorf("bad_action", "idle is that of the thread of SQPOLL, which flags do not ask for")
	}
	return p, nil
}

// setup makes the calls. Held: p.mu.
func (p *Puppet) setup(begin func() entered, entries uint32, params iouring.Params, own []iouring.Mapping, thread int) *control.Error {
	asked := params
	e := begin()
	fd, errno := iouring.RawSetup(entries, &params)
	if errno != 0 {
		p.leave(e, setupText(entries, &asked, true), fd, errno, "")
		unmap(own)
		return &control.Error{
			Code: strings.ToLower(unix.ErrnoName(errno)), Message: iouring.ExplainOnly(errno, entries, &asked).Error(),
		}
	}
	p.leave(e, setupText(entries, &params, false), fd, 0, "")
	r, err := iouring.Map(fd, &params, own)
	if err != nil {
		unmap(own)
		e := begin()
		p.leave(e, start("close").int(fd).end(), 0, errnoOf(unix.Close(fd)), "")
		return control.Errorf("failed", "%v", err)
	}
	for _, m := range r.Memory() {
		if !m.Own {
			p.mapped(begin(), fd, m)
		}
	}
	p.rings[fd] = &instance{fd: fd, ring: r, params: params, thread: thread, nextData: 1}
	p.made = append(p.made, fd)
	return nil
}

// mapped tells of a mapping that was made. Held: p.mu.
func (p *Puppet) mapped(e entered, fd int, m iouring.Mapping) {
	c := start("mmap").raw("NULL").int(len(m.Mem)).raw("PROT_READ|PROT_WRITE").raw("MAP_SHARED|MAP_POPULATE").int(fd)
	if m.Offset == 0 {
		c.int(0)
	} else {
		c.pointer(m.Offset)
	}
	p.leaveAs(e, c.end(), "= "+string(appendPointer(nil, addressOf(m.Mem))), true, "")
}

// closeRing closes the fd, then unmaps. Memory that requests in flight point to
// stays: the kernel cancels them later.
func (p *Puppet) closeRing(g *instance) error {
	return p.in(0, func(begin func() entered) {
		e := begin()
		note := ""
		for _, w := range p.workers {
			if w != nil && w.asleep != nil && w.asleep.g == g {
				w.asleep.closed = true
				note = NoteRingInUse
			}
		}
		fd := g.fd
		errno := errnoOf(unix.Close(fd))
		p.leave(e, start("close").int(fd).end(), 0, errno, note)
		maps := g.ring.Memory()
		g.ring.Unmap()
		for _, m := range maps {
			p.leave(begin(), start("munmap").pointer(addressOf(m.Mem)).int(len(m.Mem)).end(), 0, syscall.Errno(0), "")
		}
		g.fd = -1
		g.dropBuffers()
		delete(p.rings, fd)
	})
}
