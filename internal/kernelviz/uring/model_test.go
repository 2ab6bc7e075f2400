package uring

import (
	"encoding/binary"
	"testing"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// correct is a ring of 8 and 16 entries that has run for a while: three SQEs
// pending, five CQEs unread, the counters about to wrap.
func correct() (shape, words, kernelSide) {
	w := words{
		sqHead: 0xfffffffe, sqTail: 1, cqHead: 0xfffffffd, cqTail: 2,
		sqMask: 7, cqMask: 15, sqRingEntries: 8, cqRingEntries: 16,
	}
	return shape{sqEntries: 8, cqEntries: 16}, w, kernelSide{cachedSQHead: w.sqHead, cachedCQTail: w.cqTail}
}

func TestInvariants(t *testing.T) {
	cases := []struct {
		name string
		do   func(s *shape, before, after *words, side *kernelSide)
		want kernelviz.Broken
	}{
		{"correct", func(*shape, *words, *words, *kernelSide) {}, kernelviz.BrokenNone},
		{"full", func(_ *shape, b, a *words, _ *kernelSide) { b.sqTail, a.sqTail = 6, 6; b.cqTail, a.cqTail = 13, 13 }, BrokenCQTail},
		{"no entries", func(s *shape, _, _ *words, _ *kernelSide) { s.sqEntries = 0 }, BrokenMemory},
		{"entries no power of two", func(s *shape, _, _ *words, _ *kernelSide) { s.cqEntries = 12 }, BrokenMemory},
		{"sq mask", func(_ *shape, _, a *words, _ *kernelSide) { a.sqMask = 15 }, BrokenMask},
		{"cq mask", func(_ *shape, _, a *words, _ *kernelSide) { a.cqMask = 7 }, BrokenMask},
		{"entries and mask", func(_ *shape, _, a *words, _ *kernelSide) { a.sqMask, a.sqRingEntries = 15, 16 }, BrokenEntries},
		{"sq.tail too far", func(_ *shape, _, a *words, _ *kernelSide) { a.sqTail = 7 }, BrokenSQCount},
		{"sq.tail too far, read while it moved", func(_ *shape, _, a *words, _ *kernelSide) { a.sqTail, a.unstable = 7, true }, kernelviz.BrokenNone},
		{"sq.tail before sq.head", func(_ *shape, _, a *words, _ *kernelSide) { a.sqTail = a.sqHead - 1 }, BrokenSQCount},
		{"cq.head too far behind", func(_ *shape, _, a *words, _ *kernelSide) { a.cqHead = a.cqTail - 17 }, BrokenCQCount},
		{"cq.head after cq.tail", func(_ *shape, _, a *words, _ *kernelSide) { a.cqHead = a.cqTail + 1 }, BrokenCQCount},
		{"sq.head ahead of the kernel's", func(_ *shape, b, a *words, _ *kernelSide) { b.sqHead++; a.sqHead++ }, BrokenSQHead},
		{"sq.head behind the kernel's", func(_ *shape, _, _ *words, k *kernelSide) { k.cachedSQHead += 3 }, kernelviz.BrokenNone},
		{"sq.head too far behind", func(_ *shape, _, _ *words, k *kernelSide) { k.cachedSQHead += 9 }, BrokenSQHead},
		{"taken and moved on", func(_ *shape, _, a *words, k *kernelSide) { k.cachedSQHead += 900; a.sqHead += 900; a.sqTail += 900 }, kernelviz.BrokenNone},
		{"sq.tail taken back", func(_ *shape, b, a *words, k *kernelSide) { k.cachedSQHead += 3; b.sqTail--; a.sqTail-- }, BrokenSQTail},
		{"cq.tail ahead of the kernel's", func(_ *shape, _, _ *words, k *kernelSide) { k.cachedCQTail-- }, BrokenCQTail},
		{"cq.tail not published yet", func(_ *shape, _, _ *words, k *kernelSide) { k.cachedCQTail++ }, kernelviz.BrokenNone},
		{"sq.head is not used", func(s *shape, _, a *words, k *kernelSide) {
			s.setup = iouring.SetupSQRewind
			a.sqTail, k.cachedSQHead = 900, 5
		}, kernelviz.BrokenNone},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, before, side := correct()
			after := before
			c.do(&s, &before, &after, &side)
			if got := check(s, &before, &after, &side).broken; got != c.want {
				t.Errorf("%q, want %q", brokenText[got], brokenText[c.want])
			}
		})
	}
	s, w, _ := correct()
	if got := check(s, &w, &w, nil).broken; got != kernelviz.BrokenNone {
		t.Errorf("without the kernel's side: %q", brokenText[got])
	}
}

func TestEveryInvariantHasWords(t *testing.T) {
	if len(brokenText) != int(BrokenCQTail)+1 {
		t.Errorf("%d texts for %d invariants", len(brokenText)-1, BrokenCQTail)
	}
}

func TestWithin(t *testing.T) {
	rows := []wire.SQERow{{Position: 0xfffffffe}, {Position: 0xffffffff}, {Position: 0}, {Position: 1}}
	got := within(rows, func(r *wire.SQERow) uint32 { return r.Position }, 0xffffffff, 1)
	if len(got) != 2 || got[0].Position != 0xffffffff || got[1].Position != 0 {
		t.Errorf("%+v", got)
	}
}

// testLayout is that of a ring whose words and arrays lie one after another.
func testLayout(s shape) layout {
	l := layout{
		sqHead: 0, sqTail: 4, cqHead: 8, cqTail: 12, sqMask: 16, cqMask: 20, sqEntries: 24, cqEntries: 28,
		sqFlags: 36, sqDropped: 32, cqFlags: 40, cqOverflow: 44, cqes: 64,
	}
	cqe, sqe := iouring.CQESize, iouring.SQESize
	if s.setup&iouring.SetupCQE32 != 0 {
		cqe *= 2
	}
	if s.setup&iouring.SetupSQE128 != 0 {
		sqe *= 2
	}
	l.array = 64 + uint32(cqe)*s.cqEntries
	l.ringBytes = int(l.array) + 4*int(s.sqEntries)
	l.sqeBytes = sqe * int(s.sqEntries)
	return l
}

// In a mixed ring a wide CQE takes two entries.
func TestMixedCQEs(t *testing.T) {
	s := shape{sqEntries: 4, cqEntries: 8, setup: iouring.SetupCQEMixed}
	l := testLayout(s)
	m := memory{shape: s, layout: l, ring: make([]byte, l.ringBytes), sqes: make([]byte, l.sqeBytes)}
	put := func(slot int, data uint64, flags uint32) {
		b := m.ring[int(l.cqes)+slot*iouring.CQESize:]
		binary.NativeEndian.PutUint64(b, data)
		binary.NativeEndian.PutUint32(b[12:], flags)
	}
	put(0, 1, 0)
	put(1, 2, iouring.CQEF32)
	put(2, 77, 88) // the second half
	put(3, 3, 0)
	got := m.readCQEs(&words{cqTail: 4}, nil)
	if len(got) != 3 || got[0].UserData != 1 || got[1].UserData != 2 || got[1].Wide != 1 || got[1].Extra[0] != 77 || got[2].UserData != 3 || got[2].Position != 3 {
		t.Errorf("%+v", got)
	}
}

// FuzzRing reads rings whose memory holds anything: it must neither fault nor
// look at more than there is, and what it lists lies between head and tail.
func FuzzRing(f *testing.F) {
	f.Add(uint8(3), uint8(4), uint32(0), []byte{0, 0, 0, 0, 3, 0, 0, 0}, []byte{1, 2, 3})
	f.Add(uint8(0), uint8(0), iouring.SetupSQE128|iouring.SetupCQE32, []byte{0xff, 0xff, 0xff, 0xff}, []byte{})
	f.Add(uint8(9), uint8(10), iouring.SetupCQEMixed|iouring.SetupNoSQArray, []byte{0, 0, 0, 0, 0, 2}, []byte{63})
	f.Add(uint8(5), uint8(5), iouring.SetupSQEMixed, []byte{0xfe, 0xff, 0xff, 0xff, 1}, []byte{64, 9})
	f.Fuzz(func(t *testing.T, sq, cq uint8, setup uint32, ring, sqes []byte) {
		s := shape{sqEntries: 1 << (sq % 11), cqEntries: 1 << (cq % 12), setup: setup}
		l := testLayout(s)
		m := memory{shape: s, layout: l, ring: aligned(l.ringBytes), sqes: make([]byte, l.sqeBytes)}
		for i := range m.ring {
			if len(ring) > 0 {
				m.ring[i] = ring[i%len(ring)]
			}
		}
		copy(m.ring, ring)
		for i := range m.sqes {
			if len(sqes) > 0 {
				m.sqes[i] = sqes[i%len(sqes)]
			}
		}
		w := m.words()
		if w.unstable {
			t.Fatal("nobody writes to it")
		}
		rows, entries := m.readSQEs(&w, nil), m.readCQEs(&w, nil)
		if len(rows) > int(min(s.sqEntries, wire.MaxList)) || len(entries) > int(min(s.cqEntries, wire.MaxList)) {
			t.Fatalf("%d SQEs of %d, %d CQEs of %d", len(rows), s.sqEntries, len(entries), s.cqEntries)
		}
		for _, r := range rows {
			if r.Position-w.sqHead >= w.sqTail-w.sqHead || r.Index >= s.sqEntries && (r.Op != 0 || r.UserData != 0) {
				t.Fatalf("%+v of %d..%d", r, w.sqHead, w.sqTail)
			}
		}
		for _, r := range entries {
			if r.Position-w.cqHead >= w.cqTail-w.cqHead {
				t.Fatalf("%+v of %d..%d", r, w.cqHead, w.cqTail)
			}
		}
		side := kernelSide{cachedSQHead: w.sqHead + 1, cachedCQTail: w.cqTail}
		snap := &Snapshot{sqes: rows, cqes: entries, ring: wire.RingRow{
			SQEntries: s.sqEntries, CQEntries: s.cqEntries, SQHead: w.sqHead, SQTail: w.sqTail, CQHead: w.cqHead, CQTail: w.cqTail, Seen: ^uint32(0),
		}}
		snap.truth.Broken = check(s, &w, &w, &side).broken
		_ = snap.Facts()
		_ = snap.Show(make([]kernelviz.Tier, 3))
		snap.AppendSections(nil, kernelviz.Viewport{}, nil)
	})
}

// aligned is memory in which words may be read atomically.
func aligned(n int) []byte { return make([]byte, n, n+8) }
