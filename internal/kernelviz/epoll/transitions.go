package epoll

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz/wire"
)

// maxSlots eventpolls are looked at by the tracepoints at a time (MAX_SLOTS in
// transitions.bpf.c).
const maxSlots = 8

// maxPending transitions wait in a slot for the next sample.
const maxPending = 4096

var errNoSlot = fmt.Errorf("the tracepoints look at no more than %d instances at a time", maxSlots)

// tracer attaches the tracepoints while somebody watches and sorts what they
// see by instance.
type tracer struct {
	log   *slog.Logger
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
	index   int
	ep      uint64
	users   []chan struct{} // rung when something was seen
	pending []transitionsTransition
	dropped uint64 // pending was full
}

func newTracer(log *slog.Logger, kfunc bool) *tracer { return &tracer{log: log, kfunc: kfunc} }

// watch begins to look at ep and rings wake, now and then, while something
// happens there. The first watch loads and attaches the programs.
func (t *tracer) watch(ep uint64, wake chan struct{}) (*slot, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	free := -1
	for i, s := range t.slots {
		if s == nil && free < 0 {
			free = i
		}
		if s != nil && s.ep == ep {
			s.users = append(s.users, wake)
			return s, nil
		}
	}
	if free < 0 {
		return nil, errNoSlot
	}
	if t.coll == nil {
		if err := t.attach(); err != nil {
			t.detach()
			return nil, err
		}
	}
	t.slots[free] = &slot{index: free, ep: ep, users: []chan struct{}{wake}}
	if err := t.publish(); err != nil {
		t.slots[free] = nil
		return nil, err
	}
	return t.slots[free], nil
}

func (t *tracer) unwatch(s *slot, wake chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.users = slices.DeleteFunc(s.users, func(c chan struct{}) bool { return c == wake })
	if len(s.users) > 0 {
		return
	}
	t.slots[s.index] = nil
	for _, other := range t.slots {
		if other != nil {
			if err := t.publish(); err != nil {
				t.log.Error("telling the tracepoints what to look at", "err", err)
			}
			return
		}
	}
	t.detach()
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
	if t.coll, err = ebpf.NewCollection(spec); err != nil {
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
		if s == nil || len(s.pending) == 0 {
			continue
		}
		for _, c := range s.users {
			select {
			case c <- struct{}{}:
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
	t.meter.stop()
}

// publish writes the slots to the programs. t.mu is held. A slot's words start
// at zero, so the first look reports the state as it is.
func (t *tracer) publish() error {
	var slots [maxSlots]transitionsWatched
	if err := t.coll.Variables[transitionsVarSlots].Get(&slots); err != nil {
		return fmt.Errorf("reading the slots: %w", err)
	}
	count := uint32(0)
	for i, s := range t.slots {
		switch {
		case s == nil:
			slots[i] = transitionsWatched{}
		case slots[i].Ep != s.ep:
			slots[i] = transitionsWatched{Ep: s.ep, Ovflist: unactive}
		}
		if s != nil {
			count = uint32(i + 1)
		}
	}
	if err := t.coll.Variables[transitionsVarSlots].Set(slots); err != nil {
		return fmt.Errorf("writing the slots: %w", err)
	}
	return t.coll.Variables[transitionsVarSlotCount].Set(count)
}

// take returns what the tracepoints saw of s since the last call, oldest
// first, and how many were lost in all.
func (t *tracer) take(s *slot) ([]transitionsTransition, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.coll == nil {
		return nil, 0
	}
	t.drain()
	out := s.pending
	s.pending = nil
	var slots [maxSlots]transitionsWatched
	if err := t.coll.Variables[transitionsVarSlots].Get(&slots); err != nil {
		t.log.Error("reading the slots", "err", err)
		return out, s.dropped
	}
	return out, s.dropped + slots[s.index].Lost
}

// drain sorts the ring's records into the slots. t.mu is held.
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
			if s == nil || s.ep != e.Ep {
				continue
			}
			if len(s.pending) >= maxPending {
				s.dropped++
				continue
			}
			s.pending = append(s.pending, e)
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

// meter measures the run time of programs with the kernel's BPF statistics
// (BPF_ENABLE_STATS). Counting itself costs some 70 ns a run, so it is on for
// a tenth of the time only.
type meter struct {
	stats  int // fd that keeps statistics on; 0 while off
	began  time.Time
	before time.Duration
	share  float64
}

const (
	meterOn  = 200 * time.Millisecond
	meterOff = 2 * time.Second
)

func (m *meter) measure(log *slog.Logger, coll *ebpf.Collection) float64 {
	since := time.Since(m.began)
	switch {
	case m.stats == 0 && since > meterOff:
		fd, err := enableStats()
		if err != nil {
			log.Debug("BPF statistics are not available", "err", err)
			m.began = time.Now()
			return m.share
		}
		m.stats, m.began, m.before = fd, time.Now(), runTime(coll)
	case m.stats != 0 && since > meterOn:
		m.share = float64(runTime(coll)-m.before) / float64(since)
		m.stop()
		m.began = time.Now()
	}
	return m.share
}

func (m *meter) stop() {
	if m.stats != 0 {
		unix.Close(m.stats)
		m.stats = 0
	}
}

func runTime(coll *ebpf.Collection) time.Duration {
	var sum time.Duration
	for _, p := range coll.Programs {
		if stats, err := p.Stats(); err == nil {
			sum += stats.Runtime
		}
	}
	return sum
}

// enableStats is BPF_ENABLE_STATS with BPF_STATS_RUN_TIME.
func enableStats() (int, error) {
	const bpfEnableStats = 32
	attr := struct{ kind uint32 }{}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, bpfEnableStats, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
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
	if w.slot != nil {
		seen, lost := w.view.tracer.take(w.slot)
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
