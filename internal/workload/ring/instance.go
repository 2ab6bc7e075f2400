package ring

import (
	"slices"

	"kernelviz/internal/iouring"

	"golang.org/x/sys/unix"
)

// badIndex is the What of a queued entry of sq_array that points nowhere.
const badIndex = "bad_index"

// request is one SQE that was queued.
type request struct {
	userData  uint64
	what      string // the What of its action, or badIndex
	fd        int    // as it was given: a slot with fixed
	file      *file  // that it reads from; nil if not known
	to        *file  // that it writes to
	flags     uint8
	length    int
	multishot bool
	garbled   bool // its SQE was written over
	chain     *chain
	behind    bool   // another of its chain comes before it, or may
	batch     uint64 // those published by one write of sq.tail have the same number
	memory    []byte // that it points to; given back with its last completion
}

func (q *request) skips() bool { return q.flags&iouring.FlagCQESkipSuccess != 0 }

// plain reports whether it completes when it is submitted, in order.
func (q *request) plain() bool {
	const other = iouring.FlagIODrain | iouring.FlagIOLink | iouring.FlagIOHardlink | iouring.FlagAsync
	return q.what == "nop" && q.flags&other == 0 && !q.garbled && !q.behind
}

// chain is requests that are linked, or one that is not.
type chain struct{ failed bool } // a completion has told of an error

// instance is one ring with what the puppet knows of it by having done it.
type instance struct {
	fd     int
	ring   *iouring.Ring
	params iouring.Params
	// thread that its calls are made in: 0 the main one; with SINGLE_ISSUER the
	// one that made it.
	thread int

	nextData uint64     // user_data of the next request, if none is given
	queued   []*request // in the order of sq.tail; SQPOLL: taken unseen
	inflight []*request // in the order in which they were taken
	reaped   int
	dropped  uint32 // bad indices that the kernel passed over
	drains   bool   // a request with IOSQE_IO_DRAIN was taken since inflight was empty: others may wait for it

	batch  uint64 // of the last request that was queued
	chain  *chain // of the last request that was taken
	last   uint64 // its batch
	linked bool   // it had a link, so the next is of the same chain

	scribbled string // what is written over; empty if nothing
	was       uint32 // the word before
	wasSQE    iouring.SQE
	sqeAt     uint32 // position of the SQE that is written over
	sqeFree   bool   // it was not queued

	fileSlots   []*file // registered
	buffers     [][]byte
	freeBuffers func()
	provided    *provided
}

// provided is the registered ring of provided buffers.
type provided struct {
	ring   *iouring.BufRing
	memory []byte
	free   func()
	size   int
}

func (b *provided) buffer(id int) []byte { return b.memory[id*b.size : (id+1)*b.size] }

func (g *instance) sqpoll() bool { return g.params.Flags&iouring.SetupSQPoll != 0 }

// due reports whether an SQPOLL thread that is awake has still to take what was
// queued.
func (g *instance) due() bool {
	return g.sqpoll() && g.scribbled == "" && g.ring.SQPending() > 0 && g.ring.SQFlags()&iouring.SQNeedWakeup == 0
}

// taking is what an io_uring_enter is foretold to take.
type taking struct {
	requests []*request
	bad      *request // the bad index behind them, which ends it; nil if there is none
}

// take moves what an io_uring_enter with n to submit takes from queued to
// inflight.
func (g *instance) take(n int) (t taking) {
	g.linked = false // a chain ends with the call
	for ; n > 0 && len(g.queued) > 0; n-- {
		first := g.queued[0]
		if !g.takeOne() {
			t.bad = first
			break
		}
		t.requests = append(t.requests, first)
	}
	return t
}

// takeOne takes the first of queued; false if it is a bad index.
func (g *instance) takeOne() bool {
	q := g.queued[0]
	g.queued = g.queued[1:]
	if q.what == badIndex {
		g.dropped++
		return false
	}
	// What an SQPOLL thread has taken together, nobody can tell; it does not take
	// half a batch.
	if !g.linked || g.sqpoll() && g.last != q.batch {
		g.chain = &chain{}
	}
	g.last = q.batch
	g.drains = q.flags&iouring.FlagIODrain != 0 || g.drains && len(g.inflight) > 0
	q.chain, q.behind = g.chain, g.linked
	g.linked = q.flags&(iouring.FlagIOLink|iouring.FlagIOHardlink) != 0
	g.inflight = append(g.inflight, q)
	return true
}

// untake puts back all but the first n: the kernel stopped behind them. It
// stops also at one that it refuses, where a bad index may be next.
func (g *instance) untake(t taking, n int) {
	stopped := n == len(t.requests) && t.bad != nil && n > 0 && g.ring.SQPending() == len(g.queued)+1
	if n == len(t.requests) && !stopped {
		return
	}
	back := slices.Clone(t.requests[n:])
	g.inflight = slices.DeleteFunc(g.inflight, func(q *request) bool { return slices.Contains(back, q) })
	if t.bad != nil {
		back = append(back, t.bad)
		g.dropped--
	}
	g.queued = append(back, g.queued...)
}

// sync takes what an SQPOLL thread has published to have taken.
func (g *instance) sync(p *Puppet) {
	if !g.sqpoll() || g.scribbled == "sq.tail" {
		return
	}
	for behind := g.ring.SQPending(); len(g.queued) > behind; {
		if g.takeOne() {
			p.silent(g, g.inflight[len(g.inflight)-1])
		}
	}
	if len(g.queued) == 0 {
		g.linked = false // it took all there was: a chain ends with that
	}
}

// silent ends a request that completes at once and tells nothing of it.
func (p *Puppet) silent(g *instance, q *request) {
	if q.skips() && q.plain() {
		p.end(g, q)
	}
}

// end takes a request off those in flight.
func (p *Puppet) end(g *instance, q *request) {
	if i := slices.Index(g.inflight, q); i >= 0 {
		g.inflight = slices.Delete(g.inflight, i, i+1)
		p.memory.give(q.memory)
		q.memory = nil
	}
}

// complete records a completion that was read and returns the request that it
// belongs to; nil if there is none. What could not be is a surprise.
func (p *Puppet) complete(g *instance, c *iouring.CQE) *request {
	g.reaped++
	q := g.match(p, c.UserData)
	if q == nil {
		p.surprise("ring %d: %s, which no request in flight has", g.fd, cqeText(c))
		return nil
	}
	if !g.possible(q, c) {
		p.surprise("ring %d: %s, which %s cannot have", g.fd, cqeText(c), q.what)
	}
	q.moved(c.Res)
	if c.More() {
		return q
	}
	p.endSkipped(g, q, q.failed(c.Res))
	p.end(g, q)
	return q
}

// match finds the request in flight. An SQPOLL thread publishes sq.head after
// completions: what completes was taken, with all before it.
func (g *instance) match(p *Puppet, userData uint64) *request {
	is := func(q *request) bool { return q.userData == userData && q.what != badIndex }
	if i := slices.IndexFunc(g.inflight, is); i >= 0 {
		return g.inflight[i]
	}
	if !g.sqpoll() || !slices.ContainsFunc(g.queued, is) {
		return nil
	}
	for {
		if !g.takeOne() {
			continue
		}
		q := g.inflight[len(g.inflight)-1]
		if is(q) {
			return q
		}
		p.silent(g, q)
	}
}

// endSkipped ends those of q's chain that tell nothing: what came before q has
// succeeded unless it said so, as do NOPs that come next; where q itself should have told only of
// a failure, all behind it is cancelled without a word (io_uring/timeout.c:
// io_fail_links).
func (p *Puppet) endSkipped(g *instance, q *request, failed bool) {
	if q.what == "link_timeout" {
		return
	}
	behind, atOnce := false, !failed
	first := !q.chain.failed // what has failed, if q has
	silences := failed && first && q.skips() && q.flags&iouring.FlagIOHardlink == 0
	next := true // a linked timeout right behind tells in any case
	q.chain.failed = q.chain.failed || failed
	for _, other := range slices.Clone(g.inflight) {
		if other.chain != q.chain {
			continue
		}
		switch {
		case other == q:
			behind = true
			continue
		case !behind && other.skips() && first, behind && silences && (!next || other.what != "link_timeout"):
			p.end(g, other)
		case behind && atOnce:
			if atOnce = other.what == "nop" && other.skips() && other.flags&iouring.FlagAsync == 0; atOnce {
				p.end(g, other)
			}
		}
		next = next && !behind
	}
}

// possible reports whether q can have completed so.
func (g *instance) possible(q *request, c *iouring.CQE) bool {
	zc := q.what == "send_zc"
	if c.More() && !q.multishot && !zc {
		return false
	}
	if c.Flags&iouring.CQEFNotif != 0 {
		return zc
	}
	if _, chosen := c.Buffer(); chosen && q.flags&iouring.FlagBufferSelect == 0 {
		return false
	}
	if q.garbled {
		return c.Res < 0
	}
	if q.plain() {
		first := slices.IndexFunc(g.inflight, (*request).plain)
		return c.Res == 0 && g.inflight[first] == q
	}
	if c.Res < 0 {
		return unix.Errno(-c.Res) < 4096
	}
	switch q.what {
	case "nop":
		return c.Res == 0
	case "timeout", "link_timeout":
		return false // without a count it ends by -ETIME or -ECANCELED
	case "poll", "poll_multi":
		return c.Res > 0 && c.Res <= 0xffff
	case "read", "recv", "recv_multi", "splice":
		return int(c.Res) <= q.length
	case "write", "send", "send_zc":
		return c.Res > 0 && int(c.Res) <= q.length
	}
	return true
}

// failed reports whether a result breaks a chain: reads and writes that are
// short do as well (io_uring/rw.c: io_rw_done, kiocb_done).
func (q *request) failed(res int32) bool {
	switch q.what {
	case "read", "write", "splice":
		return int(res) < q.length
	}
	return res < 0
}

// moved records what a completion says was moved.
func (q *request) moved(res int32) {
	if res <= 0 || q.what == "poll" || q.what == "poll_multi" || q.what == "accept" || q.what == "accept_multi" {
		return
	}
	if q.file != nil {
		q.file.took(int(res))
	}
	if q.to != nil {
		q.to.got(int(res))
	}
}

// reads lists the requests of this ring that read from f, queued or in flight.
func (g *instance) reads(f *file) (all []*request) {
	for _, list := range [][]*request{g.inflight, g.queued} {
		for _, q := range list {
			if q.file == f {
				all = append(all, q)
			}
		}
	}
	return all
}
