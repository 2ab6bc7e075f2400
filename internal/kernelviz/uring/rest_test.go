package uring

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"kernelviz/internal/iouring"
)

func phaseOf(tr *tracer) phase {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.rester.phase
}

// awaitPhase keeps the ring busy until the programs are on or off.
func awaitPhase(t *testing.T, tr *tracer, r *iouring.Ring, want phase, made *int) {
	t.Helper()
	end := time.Now().Add(patience)
	for phaseOf(tr) != want {
		if err := nops(r, 64, 32); err != nil {
			t.Fatal(err)
		}
		*made += 64
		if time.Now().After(end) {
			t.Fatalf("phase %d, want %d", phaseOf(tr), want)
		}
	}
}

// Above a rate the programs rest: what they miss is counted, and what comes
// after is told again.
func TestProgramsRestAboveARate(t *testing.T) {
	tr := testTracer(t)
	tr.hotRate = 1000
	r := testRing(t, 64, 0)
	l := logOf(t, tr, r)
	made, told := 0, 0
	for range 2 {
		awaitPhase(t, tr, r, phaseOff, &made)
		if tr.watching("io_uring_complete") || !tr.watching("io_uring_poll_arm") {
			t.Error("the programs of submission and completion are to rest, and no other")
		}
		if err := nops(r, 64_000, 32); err != nil {
			t.Fatal(err)
		}
		made += 64_000
		awaitPhase(t, tr, r, phaseOn, &made)
		rows, _ := l.take()
		told += len(rows)
	}
	tr.mu.Lock()
	tr.hotRate, tr.cpuRate = 1e12, 1e12
	tr.mu.Unlock()
	awaitPhase(t, tr, r, phaseOn, &made)
	// Whatever window of the ring is spent ends by itself.
	end := time.Now().Add(patience)
	for ud := uint64(1000); ; ud++ {
		queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: ud})
		submit(t, r, 1)
		r.Reap(func(iouring.CQE) {})
		made++
		rows, lost := l.take()
		told += len(rows)
		if len(eventsOf(rows, ud)) == 2 {
			// A batch may be under way when the programs go off or on.
			all := told + int(lost)
			if all < 2*made-1000 || all > 2*made+1000 {
				t.Errorf("%d events told and %d lost of %d", told, lost, 2*made)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal("nothing is told after the rest")
		}
	}
}

// A ring that is told in full loses nothing because others are busy.
func TestQuietRingIsToldWhileOthersAreBusy(t *testing.T) {
	tr := testTracer(t)
	tr.hotRate, tr.cpuRate = 1000, 1e12
	quiet, busy, stranger := testRing(t, 8, 0), testRing(t, 64, 0), testRing(t, 64, 0)
	l := logOf(t, tr, quiet)
	logOf(t, tr, busy)
	var all []lifeEvent
	const n = 40
	for ud := range uint64(n) {
		queue(quiet, iouring.SQE{Op: iouring.OpNOP, UserData: ud})
		submit(t, quiet, 1)
		quiet.Reap(func(iouring.CQE) {})
		for end := time.Now().Add(2 * lookEvery); time.Now().Before(end); {
			for _, r := range []*iouring.Ring{busy, stranger} {
				if err := nops(r, 64, 32); err != nil {
					t.Fatal(err)
				}
			}
			if p := phaseOf(tr); p != phaseOn {
				t.Fatalf("phase %d", p)
			}
		}
		rows, _ := l.take()
		all = append(all, rows...)
	}
	if rows, lost := l.take(); lost != 0 || len(all)+len(rows) < 2*n {
		t.Errorf("%d events told and %d lost of %d", len(all)+len(rows), lost, 2*n)
	}
}

func TestTooMuch(t *testing.T) {
	tr := newTracer(nil, ebpf.CollectionOptions{})
	a, b := &watchedRing{}, &watchedRing{}
	before := load{runs: []uint64{100, 200}, events: []ringEvents{{a, 10}, {b, 1 << 40}}}
	grown := func(cpu0, cpu1, seqA, seqB uint64) load {
		return load{runs: []uint64{100 + cpu0, 200 + cpu1}, events: []ringEvents{{a, 10 + seqA}, {b, 1<<40 + seqB}}}
	}
	fresh := grown(800_000, 800_000, 1e6, 1e6)
	fresh.events = append(fresh.events, ringEvents{&watchedRing{}, 5})
	for _, c := range []struct {
		what string
		now  load
		want bool
	}{
		{"nothing runs", grown(0, 0, 0, 0), false},
		{"below the rate", grown(700_000, 700_000, 1e6, 1e6), false},
		{"all are busy", grown(800_000, 800_000, 1e6, 1e6), true},
		{"one is told in full", grown(800_000, 800_000, 1e6, 49_999), false},
		{"one is new", fresh, false},
		{"others are busy", grown(7_000_000, 7_000_000, 0, 0), false},
		{"a CPU is busy with it", grown(0, 7_200_000, 0, 0), true},
	} {
		if got := tr.tooMuch(&before, &c.now, time.Second); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// watching tells whether a program is attached to a tracepoint.
func (t *tracer) watching(tracepoint string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.links {
		if a.program.tracepoint == tracepoint {
			return a.link != nil
		}
	}
	return false
}
