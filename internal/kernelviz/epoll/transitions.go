package epoll

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"kernelviz/internal/kernelviz/wire"
)

// maxSlots eventpolls are looked at by the tracepoints at a time (MAX_SLOTS in
// transitions.bpf.c).
const maxSlots = 8

// maxPending transitions wait for the next sample of a watch.
const maxPending = 4096

var errNoSlot = fmt.Errorf("the tracepoints look at no more than %d instances at a time", maxSlots)

// tracer attaches the tracepoints while somebody watches and sorts what they
// see by instance.
type tracer struct {
	log   *slog.Logger
	load  ebpf.CollectionOptions
	kfunc bool

	mu     sync.Mutex
	slots  [maxSlots]*slot // nil: free
	coll   *ebpf.Collection
	reader *ringbuf.Reader
	links  []link.Link
	bell   *bell
	meter  meter
}

// slot is one eventpoll that the tracepoints look at.
type slot struct {
	index     int
	ep        uint64
	began     transitionsWatched // the programs' counts when this use of the slot began
	listeners []*listener
}

// listener is one watch of a slot's eventpoll: it gets every transition once.
type listener struct {
	slot    *slot
	wake    chan struct{} // rung when something was seen; capacity 1
	pending []transitionsTransition
	first   uint64 // number of its first transition
	next    uint64 // number of the transition to come
	dropped uint64 // pending was full
	before  uint64 // lost before this listener began
}

// holdBack is how long a transition waits for one with a lower number. Two CPUs
// number their transitions in one order and may write them in another.
const holdBack = 5 * time.Millisecond

func newTracer(log *slog.Logger, kfunc bool, load ebpf.CollectionOptions) *tracer {
	return &tracer{log: log, kfunc: kfunc, load: load}
}

// watch begins to look at ep and rings wake, now and then, while something
// happens there. The first watch loads and attaches the programs.
func (t *tracer) watch(ep uint64, wake chan struct{}) (*listener, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.slots[:], func(s *slot) bool { return s != nil && s.ep == ep })
	if i < 0 {
		i = slices.Index(t.slots[:], nil)
	}
	if i < 0 {
		return nil, errNoSlot
	}
	if t.coll == nil {
		if err := t.attach(); err != nil {
			t.detach()
			return nil, err
		}
	}
	seen, err := t.counts(i)
	if err != nil {
		return nil, err
	}
	s := t.slots[i]
	if s == nil {
		s = &slot{index: i, ep: ep, began: seen}
		t.slots[i] = s
		if err := t.publish(); err != nil {
			t.slots[i] = nil
			return nil, err
		}
	}
	l := &listener{slot: s, wake: wake, first: seen.Seq - s.began.Seq, before: seen.Lost}
	l.next = l.first
	s.listeners = append(s.listeners, l)
	return l, nil
}

func (t *tracer) unwatch(l *listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := l.slot
	s.listeners = slices.DeleteFunc(s.listeners, func(other *listener) bool { return other == l })
	if len(s.listeners) > 0 {
		return
	}
	t.slots[s.index] = nil
	if t.slots == [maxSlots]*slot{} {
		t.detach()
		return
	}
	if err := t.publish(); err != nil {
		t.log.Error("telling the tracepoints what to look at", "err", err)
	}
}

// close detaches whatever is attached.
func (t *tracer) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.detach()
}

// attach loads and attaches the programs. t.mu is held.
func (t *tracer) attach() error {
	spec, err := loadTransitions()
	if err != nil {
		return err
	}
	if err := spec.Variables[transitionsVarUseCast].Set(t.kfunc); err != nil {
		return fmt.Errorf("choosing kfunc reads: %w", err)
	}
	if t.coll, err = ebpf.NewCollectionWithOptions(spec, t.load); err != nil {
		return fmt.Errorf("loading epoll transitions: %w", err)
	}
	if t.reader, err = ringbuf.NewReader(t.coll.Maps[transitionsMapTransitions]); err != nil {
		return fmt.Errorf("opening the ring of transitions: %w", err)
	}
	for _, name := range []string{transitionsProgSchedWaking, transitionsProgSysExit} {
		l, err := link.AttachTracing(link.TracingOptions{Program: t.coll.Programs[name]})
		if err != nil {
			return fmt.Errorf("attaching to tracepoint %s: %w", name, err)
		}
		t.links = append(t.links, l)
	}
	t.meter = meter{}
	if t.bell, err = newBell(t.coll.Maps[transitionsMapTransitions].FD(), t.ring); err != nil {
		return fmt.Errorf("waiting for transitions: %w", err)
	}
	return nil
}

// ring tells every watch that the programs saw something.
func (t *tracer) ring() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.coll == nil {
		return
	}
	t.drain()
	for _, s := range t.slots {
		if s == nil {
			continue
		}
		for _, l := range s.listeners {
			if len(l.pending) == 0 {
				continue
			}
			select {
			case l.wake <- struct{}{}:
			default:
			}
		}
	}
}

// detach undoes attach, however far it came. t.mu is held.
func (t *tracer) detach() {
	for _, l := range t.links {
		if err := l.Close(); err != nil {
			t.log.Error("detaching a tracepoint", "err", err)
		}
	}
	t.links = nil
	if t.bell != nil {
		t.bell.close()
		t.bell = nil
	}
	if t.reader != nil {
		t.reader.Close()
		t.reader = nil
	}
	if t.coll != nil {
		t.coll.Close()
		t.coll = nil
	}
}

// publish tells the programs what to look at. t.mu is held.
func (t *tracer) publish() error {
	var eps [maxSlots]uint64
	count := uint32(0)
	for i, s := range t.slots {
		if s != nil {
			eps[i], count = s.ep, uint32(i+1)
		}
	}
	if err := t.coll.Variables[transitionsVarEventpolls].Set(eps); err != nil {
		return fmt.Errorf("writing the slots: %w", err)
	}
	return t.coll.Variables[transitionsVarSlotCount].Set(count)
}

// counts reads what the programs count in slot i. t.mu is held.
func (t *tracer) counts(i int) (transitionsWatched, error) {
	var slots [maxSlots]transitionsWatched
	if err := t.coll.Variables[transitionsVarSlots].Get(&slots); err != nil {
		return transitionsWatched{}, fmt.Errorf("reading the slots: %w", err)
	}
	return slots[i], nil
}

// take returns what the tracepoints saw for l since the last call, in order,
// and how many were lost in all.
func (t *tracer) take(l *listener) ([]transitionsTransition, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.coll == nil {
		return nil, l.dropped
	}
	t.drain()
	out := l.take(monotonic())
	seen, err := t.counts(l.slot.index)
	if err != nil {
		t.log.Error("counting transitions", "err", err)
		return out, l.dropped
	}
	return out, l.dropped + seen.Lost - l.before
}

// take returns the pending transitions in order, up to a gap that may yet be
// filled.
func (l *listener) take(now time.Duration) []transitionsTransition {
	slices.SortFunc(l.pending, func(a, b transitionsTransition) int { return cmp.Compare(a.Seq, b.Seq) })
	n := 0
	for ; n < len(l.pending); n++ {
		e := &l.pending[n]
		if e.Seq != l.next && now-time.Duration(e.Time) < holdBack {
			break
		}
		l.next = e.Seq + 1
	}
	out := slices.Clip(l.pending[:n])
	l.pending = slices.Clone(l.pending[n:])
	return out
}

// drain hands the ring's records to the listeners. t.mu is held.
func (t *tracer) drain() {
	t.reader.SetDeadline(time.Unix(1, 0))
	var rec ringbuf.Record
	for n := 0; n < 2*maxPending; n++ {
		if err := t.reader.ReadInto(&rec); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.log.Error("reading transitions", "err", err)
			}
			return
		}
		var e transitionsTransition
		if _, err := binary.Decode(rec.RawSample, binary.NativeEndian, &e); err != nil {
			t.log.Error("decoding a transition", "err", err)
			return
		}
		for _, s := range t.slots {
			if s == nil || s.ep != e.Ep || e.Seq < s.began.Seq {
				continue
			}
			s.give(e)
		}
	}
}

// give hands a transition to every listener that began before it.
func (s *slot) give(e transitionsTransition) {
	e.Seq -= s.began.Seq
	for _, l := range s.listeners {
		switch {
		case e.Seq < l.first:
		case e.Seq < l.next, len(l.pending) >= maxPending: // too late, or too many
			l.dropped++
		default:
			l.pending = append(l.pending, e)
		}
	}
}

// cost is the share of one CPU that the attached programs take, all together.
func (t *tracer) cost() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.coll == nil {
		return 0
	}
	return t.meter.measure(t.log, t.coll)
}

// meter turns what the programs measured of themselves into a share of one CPU.
type meter struct {
	began  time.Time
	before uint64 // ns spent until then
	share  float64
}

const (
	// meterEvery is how often the share is worked out.
	meterEvery = 500 * time.Millisecond
	// timedEvery is how many runs one timed run stands for (TIMED_EVERY in
	// transitions.bpf.c).
	timedEvery = 64
)

func (m *meter) measure(log *slog.Logger, coll *ebpf.Collection) float64 {
	since := time.Since(m.began)
	if since < meterEvery {
		return m.share
	}
	var spent []transitionsCost // by CPU
	if err := coll.Maps[transitionsMapSpent].Lookup(uint32(0), &spent); err != nil {
		log.Error("reading what the tracepoints cost", "err", err)
		return m.share
	}
	ns := uint64(0)
	for _, s := range spent {
		ns += s.Ns
	}
	if !m.began.IsZero() {
		m.share = float64((ns-m.before)*timedEvery) / float64(since)
	}
	m.began, m.before = time.Now(), ns
	return m.share
}

// history keeps the transitions of a watch for frames of any base.
type history struct {
	rows []wire.TransitionRow
	end  uint64 // transitions since the watch was opened
}

// maxHistory transitions are remembered.
const maxHistory = 512

// transitions adds what was seen since the last sample to the snapshot.
func (w *watch) transitions(s *Snapshot) {
	if w.listener != nil {
		seen, lost := w.view.tracer.take(w.listener)
		w.counts.Lost = lost
		s.truth.Lost = lost
		if len(seen) > 0 {
			w.history.add(seen, w.nodeAt())
		}
	}
	s.events, s.eventsEnd = w.history.rows, w.history.end
}

// nodeAt finds the id of the item with an address and fd, 0 if none is drawn.
func (w *watch) nodeAt() func(addr uint64, fd int32) uint32 {
	type place struct {
		addr uint64
		fd   int32
	}
	ids := make(map[place]uint32, len(w.nodeIDs))
	for k, id := range w.nodeIDs {
		ids[place{k.addr, k.fd}] = id
	}
	return func(addr uint64, fd int32) uint32 { return ids[place{addr, fd}] }
}

// add appends rows. The slice that earlier snapshots hold is never written.
func (h *history) add(seen []transitionsTransition, node func(uint64, int32) uint32) {
	h.end += uint64(len(seen))
	if len(seen) > maxHistory {
		seen = seen[len(seen)-maxHistory:]
	}
	keep := min(len(h.rows), maxHistory-len(seen))
	rows := make([]wire.TransitionRow, 0, keep+len(seen))
	rows = append(rows, h.rows[len(h.rows)-keep:]...)
	for i := range seen {
		e := &seen[i]
		r := wire.TransitionRow{Time: e.Time, FD: e.Fd, TID: e.Tid, What: e.What, Cause: e.Cause, Seq: e.Seq}
		if e.Item != 0 {
			r.Node = node(e.Item, e.Fd)
		}
		rows = append(rows, r)
	}
	h.rows = rows
}
