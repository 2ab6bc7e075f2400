package epoll

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// eachTracedTier runs the test with a view that attaches the tracepoints.
func eachTracedTier(t *testing.T, test func(t *testing.T, v *View)) {
	for _, tier := range []string{TierKfunc, TierProbeRead} {
		t.Run(tier, func(t *testing.T) {
			needs(t, tier)
			test(t, sharedView(t, tier+" traced", Options{Tier: tier}))
		})
	}
}

// follower collects the transitions of a watch as a page does: from the delta
// frames of its samples.
type follower struct {
	w    kernelviz.Watch
	base *Snapshot
	seen []wire.TransitionRow
}

func (f *follower) sample(t testing.TB) *Snapshot {
	t.Helper()
	s := sample(t, f.w)
	var base kernelviz.Snapshot
	if f.base != nil {
		base = f.base
	}
	out, _, _ := s.AppendSections(nil, kernelviz.Viewport{}, base)
	sections, err := wire.ParseSections(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range sections {
		if section.Type != wire.SectionTransition {
			continue
		}
		le := binary.LittleEndian
		for i := range section.Count {
			b := section.Row(i)
			f.seen = append(f.seen, wire.TransitionRow{
				Time: le.Uint64(b), Node: le.Uint32(b[8:]), FD: int32(le.Uint32(b[12:])), TID: le.Uint32(b[16:]),
				What: le.Uint16(b[20:]), Cause: b[22], Seq: le.Uint64(b[24:]),
			})
		}
	}
	f.base = s
	return s
}

// At least 97 of 100 writes are seen though a thread takes each item off the
// list as soon as it can. Each write waits until the one before was drained, so
// that none can hide behind another.
func TestTransitionsAreSeen(t *testing.T) {
	eachTracedTier(t, func(t *testing.T, v *View) {
		const writes = 2000
		ep := newInstance(t)
		fds := ep.addEventfds(t, 16)
		f := &follower{w: watchOf(t, v, ep)}
		first := f.sample(t)
		if !first.truth.Attached {
			t.Fatal("the tracepoints are not attached")
		}
		f.seen = nil // what happened when the items were added
		ids := map[int]uint32{}
		for _, n := range first.nodes {
			ids[int(n.FD)] = n.ID
		}

		drained := make(chan error)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			events := make([]unix.EpollEvent, 1)
			buf := make([]byte, 8)
			for range writes {
				n, err := unix.EpollWait(ep.fd, events, -1)
				for errors.Is(err, unix.EINTR) {
					n, err = unix.EpollWait(ep.fd, events, -1)
				}
				if err == nil && n == 1 {
					_, err = unix.Read(int(events[0].Fd), buf)
				}
				drained <- err
			}
		}()
		began := make([]time.Duration, writes+1)
		for i := range writes {
			began[i] = monotonic()
			ring(t, fds[i%len(fds)])
			if err := <-drained; err != nil {
				t.Fatal(err)
			}
			if i%100 == 99 {
				f.sample(t)
			}
		}
		began[writes] = monotonic()
		s := f.sample(t)

		// The write that a transition belongs to is known by the clock.
		hit := make([]bool, writes)
		causes := map[uint8]int{}
		for i, e := range f.seen {
			if i > 0 && f.seen[i].Seq != f.seen[i-1].Seq+1 {
				t.Fatalf("transition %d follows %d", f.seen[i].Seq, f.seen[i-1].Seq)
			}
			if e.What&wire.TransitionReady == 0 {
				continue
			}
			k, _ := slices.BinarySearch(began, time.Duration(e.Time)+1)
			k--
			if k > 0 && int(e.FD) == fds[(k-1)%len(fds)] {
				k-- // read in time, and then its CPU was busy otherwise
			}
			if k < 0 || k >= writes || int(e.FD) != fds[k%len(fds)] {
				t.Errorf("transition %+v during write %d", e, k)
				continue
			}
			if e.Node != ids[int(e.FD)] {
				t.Errorf("fd %d is node %d, the transition says %d", e.FD, ids[int(e.FD)], e.Node)
			}
			if !hit[k] {
				causes[e.Cause]++
			}
			hit[k] = true
		}
		seen := 0
		for _, h := range hit {
			if h {
				seen++
			}
		}
		t.Logf("%d of %d writes seen (%.1f %%), %d by sys_exit and %d by sched_waking first, %d transitions, %d lost",
			seen, writes, 100*float64(seen)/writes, causes[wire.CauseSysExit], causes[wire.CauseSchedWaking], len(f.seen), s.truth.Lost)
		if seen*100 < writes*97 {
			t.Errorf("%d of %d writes were seen, want 97 %%", seen, writes)
		}
		if s.truth.Lost != 0 {
			t.Errorf("%d transitions were lost", s.truth.Lost)
		}
	})
}

// What happens to a list and a queue, one thing after another, is told in order.
func TestTransitionsTellWhatHappened(t *testing.T) {
	eachTracedTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fd := ep.addEventfds(t, 1)[0]
		f := &follower{w: watchOf(t, v, ep)}
		f.sample(t)
		awaitWhat := func(what uint16) wire.TransitionRow {
			t.Helper()
			for end := time.Now().Add(deadline); time.Now().Before(end); runtime.Gosched() {
				f.sample(t)
				for i, e := range f.seen {
					if e.What&what != 0 {
						f.seen = f.seen[i:]
						return e
					}
				}
			}
			t.Fatalf("no transition %#x among %+v", what, f.seen)
			return wire.TransitionRow{}
		}
		w := startWaiter(ep.fd, 1)
		awaitWhat(wire.TransitionSleep)
		ring(t, fd)
		if e := awaitWhat(wire.TransitionReady); int(e.FD) != fd || int(e.TID) == w.tid {
			t.Errorf("%+v: fd %d became ready, by another thread than %d", e, fd, w.tid)
		}
		awaitWhat(wire.TransitionWakeup)
		if err := <-w.woke; err != nil {
			t.Fatal(err)
		}
		drain(t, fd)
		if got := ep.poll(t, 1); len(got) != 0 {
			t.Fatalf("epoll_wait gives %v", got)
		}
		if e := awaitWhat(wire.TransitionEmptied); e.FD != -1 && e.What&wire.TransitionReady == 0 {
			t.Errorf("%+v names an fd", e)
		}
		// A scan that is held up.
		ring(t, fd)
		u := newTrap(t)
		delivered := u.wait(ep.fd, 1)
		u.caught(t)
		awaitWhat(wire.TransitionScan)
		ring(t, fd)
		awaitWhat(wire.TransitionOverflow)
		u.release(t)
		<-delivered
		awaitWhat(wire.TransitionScanEnd)
	})
}

// The server need not poll: a change rings.
func TestTransitionsWakeTheWatch(t *testing.T) {
	eachTracedTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fd := ep.addEventfds(t, 1)[0]
		w := watchOf(t, v, ep)
		sample(t, w)
		select {
		case <-w.Wake():
		default:
		}
		timeout := time.After(deadline)
		for {
			// Rung at most every few milliseconds, so one write may be silent.
			ring(t, fd)
			drain(t, fd)
			ep.poll(t, 1)
			select {
			case <-w.Wake():
				return
			case <-timeout:
				t.Fatal("no wake-up")
			default:
			}
		}
	})
}

// What is lost on the way is counted: transitions seen and lost add up to those
// that the kernel counted.
func TestLostTransitionsAreCounted(t *testing.T) {
	eachTracedTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fds := ep.addEventfds(t, 2)
		f := &follower{w: watchOf(t, v, ep)}
		f.sample(t)
		for range 6000 { // of which each gives at least one, and no sample takes any
			ring(t, fds[0])
			drain(t, fds[0])
			ep.poll(t, 2)
		}
		f.sample(t)
		ring(t, fds[1])
		// The last ones may be held back for a while, for those before them.
		for end := time.Now().Add(deadline); ; runtime.Gosched() {
			s := f.sample(t)
			last := f.seen[len(f.seen)-1]
			sum := s.eventsEnd + s.truth.Lost
			if s.truth.Lost > 0 && sum == last.Seq+1 && int(last.FD) == fds[1] {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d seen and %d lost make %d; the kernel counted %d", s.eventsEnd, s.truth.Lost, sum, last.Seq+1)
			}
		}
	})
}

// Others come and go while one is watched: its count goes on undisturbed.
func TestTransitionsOfManyInstances(t *testing.T) {
	eachTracedTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fd := ep.addEventfds(t, 1)[0]
		f := &follower{w: watchOf(t, v, ep)}
		f.sample(t)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			buf := []byte{1, 0, 0, 0, 0, 0, 0, 0}
			events := make([]unix.EpollEvent, 1)
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = unix.Write(fd, buf)
					_, _ = unix.Read(fd, buf)
					_, _ = unix.EpollWait(ep.fd, events, 0)
					buf[0] = 1
				}
			}
		}()
		other := newInstance(t)
		other.addEventfds(t, 1)
		end := time.Now().Add(deadline)
		for i := 0; i < 60 || len(f.seen) < 1000 && time.Now().Before(end); i++ {
			w, err := v.Open(context.Background(), other.name())
			if err != nil {
				t.Fatal(err)
			}
			f.sample(t)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			f.sample(t)
		}
		close(stop)
		<-stopped
		f.sample(t)
		if len(f.seen) < 1000 {
			t.Fatalf("only %d transitions", len(f.seen))
		}
		for i := 1; i < len(f.seen); i++ {
			if f.seen[i].Seq <= f.seen[i-1].Seq {
				t.Fatalf("transition %d after %d", f.seen[i].Seq, f.seen[i-1].Seq)
			}
		}
	})
}

// More instances are watched than the tracepoints look at: the rest is true
// without them, and says so.
func TestMoreInstancesThanSlots(t *testing.T) {
	eachTracedTier(t, func(t *testing.T, v *View) {
		attached := 0
		for range maxSlots + 2 {
			ep := newInstance(t)
			ep.addEventfds(t, 3)
			w := watchOf(t, v, ep)
			s := wholeSample(t, w)
			compareWithFdinfo(t, s, ep)
			if s.truth.Attached {
				attached++
			}
			if (w.Wake() != nil) != s.truth.Attached {
				t.Error("whoever is not looked at cannot be woken")
			}
		}
		if attached != maxSlots {
			t.Errorf("%d instances are looked at, want %d", attached, maxSlots)
		}
	})
}

// Two watches of one instance get every transition each.
func TestTransitionsReachEveryWatch(t *testing.T) {
	eachTracedTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fds := ep.addEventfds(t, 8)
		first, second := &follower{w: watchOf(t, v, ep)}, &follower{w: watchOf(t, v, ep)}
		first.sample(t)
		second.sample(t)
		first.seen, second.seen = nil, nil
		for _, fd := range fds {
			ring(t, fd)
			first.sample(t)
			second.sample(t)
		}
		for k, f := range []*follower{first, second} {
			var got []int
			for _, e := range f.seen {
				if e.What&wire.TransitionReady != 0 {
					got = append(got, int(e.FD))
				}
			}
			if !slices.Equal(got, fds) {
				t.Errorf("watch %d saw %v, want %v", k+1, got, fds)
			}
		}
	})
}

// The cost that the truth shows includes that of the attached programs.
func TestCostIsMeasured(t *testing.T) {
	eachTracedTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fd := ep.addEventfds(t, 1)[0]
		w := watchOf(t, v, ep)
		var attached float64
		s := await(t, w, "a cost of the tracepoints", func(s *Snapshot) bool {
			for range 100 {
				ring(t, fd)
				drain(t, fd)
			}
			attached = v.tracer.cost()
			return attached > 0
		})
		t.Logf("%.4f of a CPU, %.4f with the samples", attached, s.truth.Cost)
		if attached > float64(runtime.NumCPU()) {
			t.Errorf("%.1f CPUs", attached)
		}
		if s := sample(t, w); s.truth.Cost < attached || s.truth.Read <= 0 || s.truth.At <= 0 {
			t.Errorf("%+v, tracepoints alone %f", s.truth, attached)
		}
	})
}
