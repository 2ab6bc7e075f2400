package uring

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// A program on a tracepoint costs some 50 ns a run even if it does nothing,
// about half as much as the kernel takes for a NOP that was submitted among
// many. Where the programs run millions of times a second, for whatever ring,
// those of submission and completion are taken off most of the time. What they
// miss is counted as lost.
const (
	// hotRate is the runs a second from which on they rest: above it more than
	// 7 % of a CPU go to being watched.
	hotRate = 1_500_000
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
	since time.Time // of the phase; of phaseOn also when runs were counted
	runs  uint64    // of all programs until then
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
		var runs uint64
		if runs, err = t.runs(); err != nil {
			break
		}
		rate := float64(runs-r.runs) / since.Seconds()
		r.runs, r.since = runs, time.Now()
		if rate < t.hotRate {
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
		if err = t.putOn(); err != nil {
			break
		}
		r.phase, r.since = phaseOn, time.Now()
		r.runs, err = t.runs()
	}
	if err != nil {
		t.log.Error("resting the tracepoints of io_uring", "err", err)
	}
	return 0
}

// runs of all programs since they were loaded. t.mu is held.
func (t *tracer) runs() (uint64, error) {
	var spent []livesCost // by CPU
	if err := t.coll.Maps[livesMapSpent].Lookup(uint32(0), &spent); err != nil {
		return 0, fmt.Errorf("counting runs: %w", err)
	}
	n := uint64(0)
	for _, s := range spent {
		n += s.Runs
	}
	return n, nil
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
