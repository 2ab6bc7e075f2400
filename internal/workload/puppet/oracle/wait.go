package oracle

import (
	"slices"

	"golang.org/x/sys/unix"
)

// wait is a thread inside epoll_wait.
type wait struct {
	tid       int
	epfd      int // as it was called; it may be closed by now
	file      *file
	maxevents int
}

// Event is one entry that epoll_wait returned.
type Event struct {
	Events uint32
	Data   uint64
}

// WaitBegins records that a thread entered epoll_wait on an epoll instance; it
// holds the instance until WaitEnded, even if the fd is closed.
func (t *Table) WaitBegins(thread, tid, epfd, maxevents int) {
	w := &wait{tid: tid, epfd: epfd, maxevents: maxevents}
	t.waits[thread] = w
	f := t.fds[epfd]
	if f == nil || f.ep == nil {
		return // the call fails
	}
	w.file = f
	f.refs++
	f.ep.waiting++
}

// WaitEnded records what the thread's epoll_wait returned; failed means an
// error, which leaves the ready list alone. It reports whether an
// EPOLLONESHOT item was among it, which is silent now.
func (t *Table) WaitEnded(thread int, got []Event, failed bool) (silenced bool) {
	w := t.waits[thread]
	delete(t.waits, thread)
	if w == nil || w.file == nil {
		return false
	}
	ep := w.file.ep
	ep.waiting--
	if !failed {
		silenced = t.learn(ep, got, w.maxevents)
	}
	w.file.put()
	return silenced
}

// learn compares what epoll_wait returned with what was foretold. It reports
// whether an EPOLLONESHOT item was silenced by it.
func (t *Table) learn(ep *instance, got []Event, maxevents int) (silenced bool) {
	before := ep.copyReady()
	foretold := slices.Equal(ep.scan(maxevents), got)
	if !foretold || !ep.known {
		t.relearn(ep, before, got, foretold, len(got) < maxevents)
	}
	for it, events := range before {
		silenced = silenced || it.events != events
	}
	return silenced
}

// relearn is for what was not foretold, or not certain. whole means that the
// kernel went through the whole list.
func (t *Table) relearn(ep *instance, before map[*item]uint32, got []Event, foretold, whole bool) {
	if ep.known {
		t.wrong++
	}
	certain := foretold || ep.correct(before, got)
	// Of several racers nobody can tell who went through the list last: they are
	// recorded in the order in which they come back.
	alone := !ep.raced || ep.racers == 1
	ep.raced = ep.raced && ep.waiting > 0 // by others, who may have taken some
	if !ep.raced {
		ep.racers = 0
	}
	ep.known = certain && whole && !ep.raced && alone
}

// copyReady keeps the ready items with their masks, which a scan changes.
func (ep *instance) copyReady() map[*item]uint32 {
	kept := map[*item]uint32{}
	for it := range ep.each {
		kept[it] = it.events
	}
	return kept
}

func (ep *instance) each(yield func(*item) bool) {
	for e := ep.ready.Front(); e != nil; e = e.Next() {
		if !yield(e.Value.(*item)) {
			return
		}
	}
}

// scan is ep_send_events: what epoll_wait returns now, and what it does to the
// ready list. Level-triggered items go back to its tail, those beyond
// maxevents stay at its head.
func (ep *instance) scan(maxevents int) []Event {
	got := []Event{}
	list := slices.Collect(ep.each)
	var again []*item
	for _, it := range list {
		if len(got) >= maxevents {
			break
		}
		it.unlink()
		revents := it.poll()
		if revents == 0 {
			continue
		}
		got = append(got, Event{revents, it.data})
		switch {
		case it.events&unix.EPOLLONESHOT != 0:
			it.events &= privateBits
		case it.events&unix.EPOLLET == 0:
			again = append(again, it)
		}
	}
	for _, it := range again {
		it.link = ep.ready.PushBack(it)
	}
	return got
}

// correct takes the kernel's word where the foretelling was wrong. It reports
// whether it is certain which items were returned: those whose data is their own.
func (ep *instance) correct(before map[*item]uint32, got []Event) bool {
	for it, events := range before {
		it.unlink()
		it.events = events
	}
	byData := map[uint64][]*item{}
	for _, it := range ep.items {
		byData[it.data] = append(byData[it.data], it)
	}
	certain := true
	for _, e := range got {
		candidates := byData[e.Data]
		if len(candidates) != 1 {
			certain = false
			continue
		}
		it := candidates[0]
		if it.events&unix.EPOLLONESHOT != 0 {
			it.events &= privateBits
		} else if it.events&unix.EPOLLET == 0 && it.link == nil {
			it.link = ep.ready.PushBack(it)
		}
	}
	return certain
}

// watch is called around the record of a system call. If the call rings an
// instance more than once, a thread that waits in it may return between two
// callbacks or after them; if it rings an instance and one that watches that,
// the threads of both run for the same item. What they return is not foretold.
func (t *Table) watch() func() {
	for _, w := range t.waits {
		if w.file != nil {
			w.file.ep.rung = 0
		}
	}
	return func() {
		for _, w := range t.waits {
			if w.file == nil || w.file.ep.rung == 0 {
				continue
			}
			if w.file.ep.rung > 1 {
				w.file.ep.race()
			}
			for _, outer := range w.file.items {
				outer.ep.race()
			}
		}
	}
}

func (ep *instance) race() {
	if ep.waiting > 0 {
		ep.known, ep.raced = false, true
		ep.racers = max(ep.racers, ep.waiting)
	}
}

// Doubt marks the ready list of every instance that watches fd's file, or its
// peer's, as not known: something happened that is not foretold.
func (t *Table) Doubt(fd int) {
	f := t.fds[fd]
	if f == nil {
		return
	}
	f.doubt(0)
	if f.peer != nil {
		f.peer.doubt(0)
	}
}

// maxNests is the depth to which instances may watch instances: EP_MAX_NESTS.
const maxNests = 4

func (f *file) doubt(depth int) {
	for _, it := range f.items {
		it.ep.known = false
		if depth <= maxNests {
			it.ep.file.doubt(depth + 1)
		}
	}
}

// Due reports whether a thread in epoll_wait must be about to return, because
// its instance has something for it. Where it has not, what is on the list but
// not ready is dropped, as the woken thread does before it sleeps again.
func (t *Table) Due() bool {
	due := false
	for _, w := range t.waits {
		if w.file == nil || w.file.ep.poll() {
			due = true
		}
	}
	return due
}
