package uring

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// A program on a tracepoint costs some 46 ns a run even if it does nothing:
// nearly all of that is the way to the program, which a ring pays that nobody
// watches. A NOP that is submitted among many takes the kernel 82 ns, and with
// the two runs 175. So where the programs run millions of times a second, those
// of submission and completion are taken off most of the time. What they miss
// is counted as lost.
//
// A ring that is told in full must not lose events for that, though other rings
// are busy: a lesson waits for each of them. So while there is one, the programs
// rest only where they would make others more than half slower.
const (
	// hotRate is the runs a second, of all CPUs together, from which on they
	// rest if no watched ring is told in full anyway: above it more than 7 % of
	// a CPU go to being watched.
	hotRate = 1_500_000
	// cpuRate is the runs a second on one CPU from which on they rest whoever is
	// watched: 46 ns each are a third of its time, so what takes three seconds
	// took two. Only rings that do nothing but NOPs, many at a time, get there.
	cpuRate = 7_200_000
	// fullRate is the events a second up to which a ring is told in full
	// (BUDGET in lives.bpf.c, and its window).
	fullRate = 50_000
	// burst is how long they are on at a time, then, and rest how long off.
	burst = 100 * time.Millisecond
	rest  = 300 * time.Millisecond
	// closing is how long requests that are followed may take to their end
	// before the programs are taken off.
	closing = 10 * time.Millisecond
	// lookEvery is how often the rate is looked at.
	lookEvery = 25 * time.Millisecond
)

// phase of the programs of submission and completion.
type phase uint8

const (
	phaseOn      phase = iota
	phaseClosing       // no further request is followed
	phaseOff
)

// rester takes programs off and puts them on again. It is guarded by t.mu.
type rester struct {
	stop  chan struct{}
	phase phase
	since time.Time // of the phase; of phaseOn also when load was counted
	load  load
}

// load is what was counted until some time.
type load struct {
	runs   []uint64 // of all programs since they were loaded, by CPU
	events []ringEvents
}

// ringEvents is the number of events that a watched ring had.
type ringEvents struct {
	ring *watchedRing
	seq  uint64
}

// rests tells the programs that do.
func (p lifeProgram) rests() bool {
	return p.tracepoint == "io_uring_complete" || p.tracepoint == "io_uring_submit_req" || p.tracepoint == "io_uring_submit_sqe"
}

// startRests looks at the rate until stopRests. t.mu is held.
func (t *tracer) startRests() {
	stop := make(chan struct{})
	t.rester = rester{stop: stop, since: time.Now()}
	go func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if next := t.look(stop); next > 0 {
				select {
				case <-stop:
					return
				case <-time.After(next):
				}
				t.look(stop)
			}
		}
	}()
}

// stopRests ends what startRests began. t.mu is held.
func (t *tracer) stopRests() {
	if t.rester.stop != nil {
		close(t.rester.stop)
	}
	t.rester = rester{}
}

// look moves on to the next phase when it is time. It returns how long to wait
// before looking again, 0 if that may take lookEvery.
func (t *tracer) look(stop chan struct{}) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &t.rester
	if r.stop != stop {
		return 0
	}
	since := time.Since(r.since)
	var err error
	switch r.phase {
	case phaseOn:
		if since < burst {
			return 0
		}
		before := r.load
		if r.load, err = t.count(); err != nil {
			break
		}
		r.since = time.Now()
		if !t.tooMuch(&before, &r.load, since) {
			return 0
		}
		if err = t.coll.Variables[livesVarClosing].Set(uint32(1)); err == nil {
			r.phase = phaseClosing
			return closing
		}
	case phaseClosing:
		err = t.takeOff()
		r.phase, r.since = phaseOff, time.Now()
	case phaseOff:
		if since < rest {
			return 0
		}
		r.since = time.Now()
		if err = t.putOn(); err != nil {
			break
		}
		r.phase = phaseOn
		r.load, err = t.count()
	}
	if err != nil {
		t.log.Error("resting the tracepoints of io_uring", "err", err)
	}
	return 0
}

// count counts. t.mu is held.
func (t *tracer) count() (load, error) {
	var l load
	var spent []livesCost // by CPU
	if err := t.coll.Maps[livesMapSpent].Lookup(uint32(0), &spent); err != nil {
		return l, fmt.Errorf("counting runs: %w", err)
	}
	for _, s := range spent {
		l.runs = append(l.runs, s.Runs)
	}
	for _, w := range t.watched {
		if w == nil {
			continue
		}
		s, err := t.state(w)
		if err != nil {
			return l, err
		}
		l.events = append(l.events, ringEvents{w, s.Seq})
	}
	return l, nil
}

// tooMuch tells that the programs must rest for what came between two counts.
func (t *tracer) tooMuch(before, now *load, in time.Duration) bool {
	all, busiest := uint64(0), uint64(0)
	for i, n := range now.runs {
		if i < len(before.runs) {
			n -= before.runs[i]
		}
		all, busiest = all+n, max(busiest, n)
	}
	if float64(busiest) >= t.cpuRate*in.Seconds() {
		return true
	}
	return float64(all) >= t.hotRate*in.Seconds() && !now.anyInFull(before, in)
}

// anyInFull tells that there is a ring that is told in full. One that was not
// watched before is.
func (l *load) anyInFull(before *load, in time.Duration) bool {
	for _, e := range l.events {
		i := slices.IndexFunc(before.events, func(b ringEvents) bool { return b.ring == e.ring })
		if i < 0 || float64(e.seq-before.events[i].seq) < fullRate*in.Seconds() {
			return true
		}
	}
	return false
}

// takeOff detaches the programs that rest. t.mu is held.
func (t *tracer) takeOff() error {
	var err error
	for i := range t.links {
		if l := &t.links[i]; l.program.rests() && l.link != nil {
			err = errors.Join(err, l.link.Close())
			l.link = nil
		}
	}
	for _, w := range t.watched {
		if w != nil {
			err = errors.Join(err, t.skip(w, false))
		}
	}
	return err
}

// putOn attaches them again. t.mu is held.
func (t *tracer) putOn() error {
	for _, w := range t.watched {
		if w == nil {
			continue
		}
		if err := t.skip(w, true); err != nil {
			return err
		}
		// How these went on is not known.
		t.forget(w.ctx)
	}
	for i := range t.links {
		if l := &t.links[i]; l.link == nil {
			if err := t.attachOne(l); err != nil {
				return err
			}
		}
	}
	return t.coll.Variables[livesVarClosing].Set(uint32(0))
}

// skip remembers how far a ring is, or with add counts what came since as
// events that were not told. t.mu is held.
func (t *tracer) skip(w *watchedRing, add bool) error {
	a := livesSkipArgs{Ring: w.ctx, Slot: uint32(w.slot), Sum: w.sum}
	if add {
		a.Add = 1
	}
	if _, err := t.coll.Programs[livesProgSkip].Run(&ebpf.RunOptions{Context: &a, ContextOut: &a}); err != nil {
		return fmt.Errorf("counting what was not seen of a ring: %w", err)
	}
	w.sum = a.Sum
	return nil
}

// attached is a program that is attached to its tracepoint, or rests.
type attached struct {
	program lifeProgram
	link    link.Link // nil: it rests
}

func (t *tracer) attachOne(a *attached) error {
	l, err := link.AttachTracing(link.TracingOptions{Program: t.coll.Programs[a.program.name]})
	if err != nil {
		return fmt.Errorf("attaching to tracepoint %s: %w", a.program.tracepoint, err)
	}
	a.link = l
	return nil
}
