package uring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// Every kind of ring reads as its owner knows it to be, across the wrap of
// both queues, in every tier that sees it.
func TestRingsOfEveryKind(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		for _, l := range layouts {
			t.Run(l.name, func(t *testing.T) {
				r := testRing(t, 8, l.flags)
				w := watchOf(t, v, nameOf(r))
				for range 3 {
					for range 7 {
						queue(r, iouring.SQE{Op: iouring.OpNOP})
					}
					submit(t, r, 7)
					r.Reap(func(iouring.CQE) {})
				}
				for i := range uint64(5) {
					queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 100 + i})
				}
				submit(t, r, 5)
				for i := range uint64(6) {
					queue(r, iouring.SQE{Op: iouring.OpWrite, Flags: iouring.FlagAsync, FD: int32(200 + i), Off: 1, Addr: 2, Len: 3, UserData: 300 + i, Addr3: 4})
				}
				s := wholeSample(t, w)
				compareWithOwner(t, s, r, l.flags)
				if v.tier == tierFdinfo {
					return
				}
				wantTier := v.tier
				if l.flags&iouring.SetupNoMmap != 0 {
					wantTier = tierBPFIter
				}
				if s.truth.Tier != wantTier || !s.truth.Instant {
					t.Errorf("tier %d, instant %v; want %d, true", s.truth.Tier, s.truth.Instant, wantTier)
				}
			})
		}
	})
}

func compareWithOwner(t *testing.T, s *Snapshot, r *iouring.Ring, flags uint32) {
	t.Helper()
	g := s.ring
	if g.SQHead != r.SQHead() || g.SQTail != r.SQTail() || g.CQHead != r.CQHead() || g.CQTail != r.CQTail() || g.SQEntries != r.SQEntries() || g.CQEntries != r.CQEntries() {
		t.Errorf("sq %d..%d of %d, cq %d..%d of %d; the owner has %d..%d, %d..%d", g.SQHead, g.SQTail, g.SQEntries, g.CQHead, g.CQTail, g.CQEntries,
			r.SQHead(), r.SQTail(), r.CQHead(), r.CQTail())
	}
	if g.CachedSQHead != 26 || g.CachedCQTail != 26 {
		t.Errorf("cached sq.head %d, cq.tail %d, want 26", g.CachedSQHead, g.CachedCQTail)
	}
	fdinfo := s.truth.Tier == tierFdinfo
	if !fdinfo && (g.Setup&flags != flags || g.InFlight != 0) {
		t.Errorf("setup %#x, %d in flight; want %#x, 0", g.Setup, g.InFlight, flags)
	}
	wide := func(flag uint32) uint8 {
		if flags&flag != 0 && !fdinfo {
			return 1
		}
		return 0
	}
	if g.Seen&wire.SeenSQEs != 0 {
		if len(s.sqes) != 6 {
			t.Fatalf("%d SQEs, want 6", len(s.sqes))
		}
		for i, e := range s.sqes {
			p := r.SQHead() + uint32(i)
			want := wire.SQERow{Position: p, Index: p & 7, Op: iouring.OpWrite, Flags: iouring.FlagAsync, FD: int32(200 + i), Off: 1, Addr: 2, Len: 3, UserData: 300 + uint64(i), Addr3: 4, Wide: wide(iouring.SetupSQE128)}
			if fdinfo {
				want.Len, want.Addr3 = 0, 0 // not printed
			}
			if e != want {
				t.Errorf("SQE %+v, want %+v", e, want)
			}
		}
	} else if !fdinfo || flags&(iouring.SetupNoSQArray|iouring.SetupSQE128) == 0 {
		t.Error("the SQEs are not seen")
	}
	if g.Seen&wire.SeenCQEs != 0 {
		if len(s.cqes) != 5 {
			t.Fatalf("%d CQEs, want 5", len(s.cqes))
		}
		for i, e := range s.cqes {
			want := wire.CQERow{Position: r.CQHead() + uint32(i), UserData: 100 + uint64(i), Wide: uint32(wide(iouring.SetupCQE32))}
			if fdinfo {
				e.Wide = 0
			}
			if e != want {
				t.Errorf("CQE %+v, want %+v", e, want)
			}
		}
	} else if !fdinfo || flags&iouring.SetupCQE32 == 0 {
		t.Error("the CQEs are not seen")
	}
}

// What the kernel itself prints of a default ring is what we read.
func TestAgainstFdinfo(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		p := startChild(t, "hold:0", nil)
		p.do("read 3")
		p.do("submit 0")
		p.do("nop 2")
		p.do("submit 2")
		p.do("nop 3")
		s := wholeSample(t, watchOf(t, v, p.name()))
		info, err := ReadFdinfo(p.pid, p.fd)
		if err != nil {
			t.Fatal(err)
		}
		g := s.ring
		if g.SQHead != info.SQHead || g.SQTail != info.SQTail || g.CQHead != info.CQHead || g.CQTail != info.CQTail ||
			g.CachedSQHead != info.CachedSQHead || g.CachedCQTail != info.CachedCQTail || g.SQEntries != info.SQMask+1 || g.CQEntries != info.CQMask+1 {
			t.Errorf("%+v; fdinfo %+v", g, info)
		}
		if int(g.Armed) != len(info.Polls) || g.Armed != 3 || len(s.requests) != 3 {
			t.Errorf("%d armed, %d requests; fdinfo has %d", g.Armed, len(s.requests), len(info.Polls))
		}
		if len(s.sqes) != len(info.SQEs) || len(s.cqes) != len(info.CQEs) {
			t.Fatalf("%d SQEs, %d CQEs; fdinfo has %d, %d", len(s.sqes), len(s.cqes), len(info.SQEs), len(info.CQEs))
		}
		for i, e := range infoSQEs(info) {
			if got := s.sqes[i]; got != e {
				t.Errorf("SQE %+v; fdinfo has %+v", got, e)
			}
		}
		for i, e := range infoCQEs(info) {
			if got := s.cqes[i]; got != e {
				t.Errorf("CQE %+v; fdinfo has %+v", got, e)
			}
		}
	})
}

func TestTargets(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		p := startChild(t, "hold:0", nil)
		v.mu.Lock()
		v.foundAt = v.foundAt.Add(-maxFoundAge)
		v.mu.Unlock()
		list, err := v.Targets(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range list {
			if g.Name != p.name() {
				continue
			}
			if g.PID != p.pid || g.FD != p.fd || g.View != "uring" || g.Comm == "" || (g.Instance == 0) != (v.tier == tierFdinfo) {
				t.Errorf("%+v", g)
			}
			return
		}
		t.Errorf("%s is not among %v", p.name(), list)
	})
}

// Rings that come and go do not add up; those that are there keep their number.
func TestNumbersOfRings(t *testing.T) {
	v := &View{ids: make(map[ringKey]uint32)}
	stays := foundRing{Ctx: 1, Inode: 1}
	first := v.id(&stays)
	v.found = []foundRing{stays}
	for i := range uint64(3 * maxIDs) {
		if id := v.id(&foundRing{Ctx: 2, Inode: 2 + i}); id != first+1+uint32(i) {
			t.Fatalf("ring %d has the number %d", i, id)
		}
		v.forgetIDs()
	}
	if v.id(&stays) != first || len(v.ids) > maxIDs+1 {
		t.Errorf("number %d of %d, was %d", v.id(&stays), len(v.ids), first)
	}
}

func TestNamesThatAreNoRing(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		for _, name := range []string{"", "1", "x:1", "1:x", "-1:3", fmt.Sprintf("%d:0", os.Getpid()), "4194300:3"} {
			if _, err := v.Open(context.Background(), name); !errors.Is(err, kernelviz.ErrNotFound) {
				t.Errorf("%q: %v", name, err)
			}
		}
	})
}

func TestTierIsForced(t *testing.T) {
	needs(t, TierShm)
	for i, tier := range []string{TierShm, TierBPFIter, TierFdinfo} {
		v, err := New(context.Background(), Options{Tier: tier, Kernel: kernelInfo(t)})
		if err != nil {
			t.Fatal(err)
		}
		for k, got := range v.Tiers() {
			if got.Chosen != (k == i) || got.Reason == "" || got.Code == "" || k != i && got.Code != codeNotForced {
				t.Errorf("%s forced: %+v", tier, got)
			}
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := New(context.Background(), Options{Tier: "x", Kernel: kernelInfo(t)}); err == nil || !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("tier x: %v", err)
	}
}

// A view that was used leaves neither fds nor mappings behind.
func TestNothingIsLeftBehind(t *testing.T) {
	needs(t, TierShm)
	r := testRing(t, 8, 0)
	kernelInfo(t)
	use := func() {
		v, err := New(context.Background(), Options{Kernel: kernelInfo(t)})
		if err != nil {
			t.Fatal(err)
		}
		w, err := v.Open(context.Background(), nameOf(r))
		if err != nil {
			t.Fatal(err)
		}
		wholeSample(t, w)
		if _, err := w.Inspect(context.Background(), "ring", 0); err != nil {
			t.Error(err)
		}
		if err := errors.Join(w.Close(), v.Close()); err != nil {
			t.Error(err)
		}
	}
	fds := openFDs(t)
	maps, _ := ringMaps(t)
	use()
	// What waits for the tracepoints closes its own two when it has ended.
	for end := time.Now().Add(deadline); openFDs(t) > fds; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d fds are open, %d were", openFDs(t), fds)
		}
	}
	if n, _ := ringMaps(t); n != maps {
		t.Errorf("%d mappings of rings, %d before", n, maps)
	}
}
