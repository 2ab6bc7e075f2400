package ring

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"unsafe"

	"kernelviz/internal/iouring"
	"kernelviz/internal/workload/control"
)

// nonsense is what is written over a word.
const nonsense = 0xdeadbeef

// doScribble writes nonsense over what the owner of a ring owns.
func (p *Puppet) doScribble(a *Action) error {
	g, err := p.find(*a.Ring)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if g.scribbled != "" {
		return g.whole(g.scribbled)
	}
	switch a.What {
	case "sq.tail", "sqe":
		if g.sqpoll() {
			return control.Errorf("not_possible", "the thread of ring %d would take old SQEs without end", g.fd)
		}
	case "cq.head":
	default:
		return control.Errorf("bad_action", "cannot scribble over %q; known are sq.tail, cq.head, sqe", a.What)
	}
	g.scribbled = a.What
	if a.What == "sqe" {
		p.scribbleSQE(g)
		return nil
	}
	word := g.word(a.What)
	g.was = atomic.LoadUint32(word)
	p.tell(a.What + " = " + strconv.FormatUint(nonsense, 10))
	atomic.StoreUint32(word, nonsense)
	return nil
}

// word is where a counter lies.
func (g *instance) word(what string) *uint32 {
	maps := g.ring.Memory()
	if what == "sq.tail" {
		return (*uint32)(unsafe.Pointer(&maps[0].Mem[g.params.SQOff.Tail]))
	}
	for _, m := range maps {
		if m.Name == "rings" || m.Name == "cq" {
			return (*uint32)(unsafe.Pointer(&m.Mem[g.params.CQOff.Head]))
		}
	}
	return nil
}

// scribbleSQE writes over the SQE that was queued last, or over the next to be
// used where none is queued.
func (p *Puppet) scribbleSQE(g *instance) {
	g.sqeAt, g.sqeFree = g.ring.SQNext(), true
	if n := len(g.queued); n > 0 && g.queued[n-1].what != badIndex {
		g.sqeAt, g.sqeFree = g.sqeAt-1, false
		g.queued[n-1].garbled = true
	}
	s := g.ring.SQEAt(g.sqeAt)
	g.wasSQE = *s
	user := s.UserData
	for i := range 16 {
		*(*uint32)(unsafe.Add(unsafe.Pointer(s), 4*i)) = nonsense
	}
	s.UserData = user // or its completion could not be told from others
	s.Flags = 0
	p.tell(fmt.Sprintf("sq.sqes[%d] = {opcode=%s, fd=%d, off=%d, addr=%#x, len=%d, user_data=%d}",
		g.sqeAt&(g.ring.SQEntries()-1), iouring.OpName(s.Op), s.FD, s.Off, s.Addr, s.Len, s.UserData))
}

// doMend puts back what doScribble has written over.
func (p *Puppet) doMend(a *Action) error {
	g, err := p.find(*a.Ring)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch g.scribbled {
	case "":
		return control.Errorf("not_possible", "nothing of ring %d is written over", g.fd)
	case "sqe":
		p.mendSQE(g)
	default:
		p.tell(g.scribbled + " = " + strconv.FormatUint(uint64(g.was), 10))
		atomic.StoreUint32(g.word(g.scribbled), g.was)
	}
	g.scribbled = ""
	return nil
}

// mendSQE puts the SQE back if the kernel has not taken it.
func (p *Puppet) mendSQE(g *instance) {
	n := len(g.queued)
	if at := g.sqeAt - g.ring.SQNext() + uint32(n); n > 0 && at < uint32(n) && g.queued[at].garbled {
		g.queued[at].garbled = false
	}
	if int32(g.ring.SQHead()-g.sqeAt) > 0 || g.sqeFree && g.ring.SQNext() != g.sqeAt {
		return // the kernel took it as it was, or it was written anew
	}
	*g.ring.SQEAt(g.sqeAt) = g.wasSQE
	p.tell(fmt.Sprintf("sq.sqes[%d] = {opcode=%s, user_data=%d}", g.sqeAt&(g.ring.SQEntries()-1), iouring.OpName(g.wasSQE.Op), g.wasSQE.UserData))
}
