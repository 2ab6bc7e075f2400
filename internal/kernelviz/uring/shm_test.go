package uring

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
)

// The layout that is learned of a ring's shape is the one that its owner was
// told, and BTF agrees.
func TestLayoutIsTheOwners(t *testing.T) {
	needs(t, TierShm)
	for _, l := range layouts {
		for _, entries := range []uint32{1, 8, 4096} {
			t.Run(l.name, func(t *testing.T) {
				p := testRing(t, entries, l.flags).Params()
				s := shape{sqEntries: p.SQEntries, cqEntries: p.CQEntries, setup: p.Flags}
				got, err := learnLayout(s)
				if err != nil {
					t.Fatal(err)
				}
				if err := got.agrees(kernelInfo(t)); err != nil {
					t.Error(err)
				}
				if got.sqHead != p.SQOff.Head || got.sqTail != p.SQOff.Tail || got.cqHead != p.CQOff.Head || got.cqTail != p.CQOff.Tail ||
					got.cqes != p.CQOff.CQEs || got.array != p.SQOff.Array || got.sqFlags != p.SQOff.Flags || got.cqOverflow != p.CQOff.Overflow {
					t.Errorf("%+v, the owner has %+v %+v", got, p.SQOff, p.CQOff)
				}
			})
		}
	}
}

// The kernel would let us write to another process's ring: never ask.
func TestMappingsAreReadOnly(t *testing.T) {
	v := viewOf(t, TierShm)
	p := startChild(t, "hold:0", nil)
	fds := openFDs(t)
	w, err := v.Open(context.Background(), p.name())
	if err != nil {
		t.Fatal(err)
	}
	if all, writable := ringMaps(t); all != 2 || writable != 0 {
		t.Errorf("%d mappings, %d of them writable; want 2, 0", all, writable)
	}
	// What stays open are the pidfd and the eventfd of the guard, not the ring.
	if n := openFDs(t); n != fds+2 {
		t.Errorf("%d more fds are open, want 2", n-fds)
	}
	for _, fd := range []string{"3", "4", "5", "6", "7", "8", "9", "10", "11", "12"} {
		if link, err := os.Readlink("/proc/self/fd/" + fd); err == nil && link == ringLink {
			t.Errorf("fd %s is a ring", fd)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if all, _ := ringMaps(t); all != 0 {
		t.Errorf("%d mappings after Close", all)
	}
	if n := openFDs(t); n != fds {
		t.Errorf("%d fds after Close, %d before", n, fds)
	}
}

// mapChild maps the ring of a child without a watch to guard it.
func mapChild(t *testing.T, v *View, p *child) *mapping {
	t.Helper()
	found, err := v.find(context.Background(), p.pid, p.fd)
	if err != nil {
		t.Fatal(err)
	}
	s := shape{sqEntries: found.SQEntries, cqEntries: found.CQEntries, setup: found.Setup}
	l, err := v.layout(s)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mapRing(p.pid, p.fd, found.Inode, s, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	return m
}

// A mapping is a reference to the ring's file: the limit that the guard
// exists for. Where the kernel cancels the requests of a closed ring although
// it is mapped, this fails and the guard can go.
func TestMappingKeepsAClosedRingAlive(t *testing.T) {
	v := viewOf(t, TierShm)
	p := startChild(t, "hold:0", nil)
	p.do("read 1")
	p.do("submit 0")
	m := mapChild(t, v, p)
	p.do("close")
	for range 20 { // a ring that ends would cancel the read
		time.Sleep(5 * time.Millisecond)
		if _, _, _, cqTail := m.peek(); cqTail != 0 {
			t.Fatal("the request of the closed ring was completed: a mapping does not keep a ring alive here")
		}
	}
	if err := m.release(); err != nil {
		t.Fatal(err)
	}
	if a, b, c, d := m.peek(); a|b|c|d != 0 {
		t.Error("the memory of the ring is still there")
	}
	if err := m.release(); err != nil {
		t.Error("a second time:", err)
	}
}

// An owner that exits has its requests cancelled although the ring is mapped.
func TestMappingDoesNotKeepRequestsOfTheDead(t *testing.T) {
	v := viewOf(t, TierShm)
	p := startChild(t, "hold:0", nil)
	p.do("read 2")
	p.do("submit 0")
	m := mapChild(t, v, p)
	kill(t, p)
	for end := time.Now().Add(deadline); ; time.Sleep(time.Millisecond) {
		if _, _, _, cqTail := m.peek(); cqTail == 2 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the requests were not cancelled")
		}
	}
}

// releaseLimit is how soon a watched ring must be let go of after a close; more
// than guardEvery, for a machine that has much to do.
const releaseLimit = 2 * time.Second

// The guard lets go of a ring that its owner closed although nobody samples.
func TestClosedRingIsLetGo(t *testing.T) {
	v := viewOf(t, TierShm)
	cases := []struct {
		name string
		end  func(*child)
	}{
		{"close", func(p *child) { p.do("close") }},
		{"another ring in its place", func(p *child) { p.do("reopen") }},
		{"another file in its place", func(p *child) { p.do("cover") }},
		{"kill", func(p *child) { kill(t, p) }},
		{"exit", func(p *child) { p.say("exit 3"); p.ended() }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := startChild(t, "hold:0", nil)
			p.t = t
			p.do("read 1")
			p.do("submit 0")
			w := watchOf(t, v, p.name()).(*watch)
			wholeSample(t, w)
			c.end(p)
			began := time.Now()
			for {
				if all, _ := ringMaps(t); all == 0 {
					break
				}
				if time.Since(began) > releaseLimit {
					t.Fatalf("still mapped after %v", releaseLimit)
				}
				time.Sleep(5 * time.Millisecond)
			}
			t.Logf("let go after %v", time.Since(began))
			if _, err := w.Sample(context.Background()); !errors.Is(err, kernelviz.ErrGone) {
				t.Errorf("sample: %v", err)
			}
			if a, b, c, d := w.peek(); a|b|c|d != 0 {
				t.Error("peek reads the memory of a ring that was let go")
			}
		})
	}
}

// The ring of a process whose first thread has ended is still the ring.
func TestGuardSurvivesTheLeader(t *testing.T) {
	v := viewOf(t, TierShm)
	p := startChild(t, "hold:0", nil)
	w := watchOf(t, v, p.name()).(*watch)
	p.do("leader-exit")
	p.number("ready")
	time.Sleep(3 * guardEvery)
	if w.gone.Load() {
		t.Fatal("the guard took the ring for gone")
	}
	p.do("nop 3")
	if s := wholeSample(t, w); s.sqPending() != 3 || s.truth.Tier != tierShm {
		t.Errorf("%d pending in tier %d", s.sqPending(), s.truth.Tier)
	}
	p.do("close")
	gone(t, w)
}

// A ring in memory of its owner's cannot be mapped, and says so.
func TestNoMmapIsReadByBPF(t *testing.T) {
	v := viewOf(t, TierShm)
	r := testRing(t, 8, iouring.SetupNoMmap)
	w := watchOf(t, v, nameOf(r)).(*watch)
	if !errors.Is(w.unmapped, errNoMap) {
		t.Errorf("not mapped: %v", w.unmapped)
	}
	queue(r, iouring.SQE{Op: iouring.OpNOP})
	s := wholeSample(t, w)
	if s.truth.Tier != tierBPFIter || s.sqPending() != 1 {
		t.Errorf("tier %d, %d pending", s.truth.Tier, s.sqPending())
	}
	if a, b, c, d := w.peek(); a|b|c|d != 0 {
		t.Error("peek without memory")
	}
	d, err := w.Inspect(context.Background(), "ring", 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Notes) != 1 || d.Notes[0].Key != noteUnmapped || d.Notes[0].Args["why"] == "" {
		t.Errorf("notes %v", d.Notes)
	}
}

// A ring may be given queues of another size (IORING_REGISTER_RESIZE_RINGS).
func TestResizedRing(t *testing.T) {
	v := viewOf(t, TierShm)
	r := testRing(t, 8, iouring.SetupSingleIssuer|iouring.SetupDeferTaskrun)
	w := watchOf(t, v, nameOf(r)).(*watch)
	queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 7})
	submit(t, r, 1)
	wholeSample(t, w)
	for _, entries := range []uint32{32, 32, 64} {
		p := iouring.Params{SQEntries: entries, CQEntries: 2 * entries, Flags: iouring.SetupCQSize}
		if errno := iouring.RawRegister(r.FD(), iouring.RegisterResizeRings, pointerTo(&p), 1); errno == unix.EINVAL {
			if os.Getenv("VMTEST") == "1" {
				t.Skip("host only: this kernel cannot resize a ring")
			}
			t.Skip("this kernel cannot resize a ring")
		} else if errno != 0 {
			t.Fatal(errno)
		}
		s := await(t, w, "the new size", func(s *Snapshot) bool {
			return s.truth.Whole && s.ring.SQEntries == entries && s.cqReady() == 1 && len(s.cqes) == 1
		})
		if s.truth.Tier != tierShm || s.cqes[0].UserData != 7 {
			t.Errorf("tier %d, %+v", s.truth.Tier, s.cqes)
		}
	}
}

// peek is what shared memory is for.
func BenchmarkPeek(b *testing.B) {
	r := testRing(b, 8, 0)
	w := watchOf(b, viewOf(b, TierShm), nameOf(r)).(*watch)
	sum := uint32(0)
	for b.Loop() {
		h, t, ch, ct := w.peek()
		sum += h + t + ch + ct
	}
	_ = sum
}

// BenchmarkSample is a whole sample with the kernel's side.
func BenchmarkSample(b *testing.B) {
	for _, tier := range []string{TierShm, TierBPFIter} {
		b.Run(tier, func(b *testing.B) {
			r := testRing(b, 8, 0)
			w := watchOf(b, viewOf(b, tier), nameOf(r))
			for b.Loop() {
				sample(b, w)
			}
		})
	}
}
