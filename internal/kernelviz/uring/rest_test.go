package uring

import (
	"testing"
	"time"

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
	tr.hotRate = 1e12
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
