package ring

import (
	"fmt"
	"strconv"
	"strings"

	"kernelviz/internal/iouring"
	"kernelviz/internal/workload/control"
)

// doReap reads completions and gives their places back. Where the kernel keeps
// some that had no room, it is entered to move them in.
func (p *Puppet) doReap(a *Action) error {
	g, err := p.find(*a.Ring)
	if err != nil {
		return err
	}
	p.mu.Lock()
	err = g.whole("cq.head")
	p.mu.Unlock()
	if err != nil {
		return err
	}
	left := control.Or(a.N, 1<<30)
	for left > 0 {
		read, more := p.reap(g, left)
		left -= read
		if !more || left == 0 {
			return nil
		}
		before := p.seq
		_, errno, err := p.enterRing(g, g.thread, 0, iouring.EnterGetevents)
		if err != nil {
			if read == 0 && before == p.seq {
				return err
			}
			p.stopped, _ = err.(*control.Error)
			return nil
		}
		if errno != 0 {
			p.halt("io_uring_enter", errno, hint(errno))
			return nil
		}
		if g.ring.CQPending() == 0 {
			return nil // the kernel could not move them
		}
	}
	return nil
}

// reap reads what is in the queue, up to n. more says that the kernel keeps
// others.
func (p *Puppet) reap(g *instance, n int) (read int, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g.sync(p)
	var text strings.Builder
	var back []uint16 // provided buffers that were used
	mask := g.ring.CQEntries() - 1
	for ; read < n; read++ {
		c, ok := g.ring.Peek()
		if !ok {
			break
		}
		switch {
		case read < shown:
			text.WriteString("cq.cqes[" + strconv.Itoa(int(g.ring.CQHead()&mask)) + "] = " + cqeText(&c) + "; ")
		case read == shown:
			text.WriteString("...; ")
		}
		p.cqes = append(p.cqes, Completion{UserData: c.UserData, Res: c.Res, Flags: c.Flags})
		p.record(g, &c)
		if id, chosen := c.Buffer(); chosen && g.provided != nil {
			back = append(back, id)
		}
		g.ring.Advance(1)
	}
	overflown := g.ring.SQFlags()&iouring.SQCQOverflow != 0
	if read == 0 {
		if !overflown {
			p.tell("cq.tail = " + strconv.FormatUint(uint64(g.ring.CQTail()), 10) + ", cq.head is the same")
		}
		return 0, overflown
	}
	p.tell(text.String() + "cq.head = " + strconv.FormatUint(uint64(g.ring.CQHead()), 10))
	p.provide(g, back)
	return read, overflown
}

// record is complete, and notes the file that an accept has made.
func (p *Puppet) record(g *instance, c *iouring.CQE) {
	q := p.complete(g, c)
	if q != nil && (q.what == "accept" || q.what == "accept_multi") && c.Res >= 0 {
		p.files.accepted(q.file, int(c.Res))
		p.made = append(p.made, int(c.Res))
	}
}

// provide puts buffers back into the ring of provided ones.
func (p *Puppet) provide(g *instance, ids []uint16) {
	if len(ids) == 0 {
		return
	}
	b := g.provided
	var text strings.Builder
	for i, id := range ids {
		if int(id) >= b.ring.Entries() {
			p.surprise("ring %d: buffer %d of %d was used", g.fd, id, b.ring.Entries())
			continue
		}
		at := int(b.ring.Tail()) & (b.ring.Entries() - 1)
		mem := b.buffer(int(id))
		b.ring.Add(mem, id)
		switch {
		case i < shown:
			text.WriteString(fmt.Sprintf("buf_ring.bufs[%d] = {addr=%s, len=%d, bid=%d}; ", at, appendPointer(nil, addressOf(mem)), len(mem), id))
		case i == shown:
			text.WriteString("...; ")
		}
	}
	p.tell(text.String() + "buf_ring.tail = " + strconv.Itoa(int(b.ring.Tail())))
	b.ring.Publish()
}
