package uring

import (
	"encoding/binary"
	"testing"
	"time"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// sections decodes what a snapshot appends and checks the count of rows.
func sections(t *testing.T, s *Snapshot, base kernelviz.Snapshot) (map[wire.SectionType]wire.Section, bool) {
	t.Helper()
	b, rows, key := s.AppendSections([]byte("before"), kernelviz.Viewport{}, base)
	if string(b[:6]) != "before" {
		t.Fatal("what was there is gone")
	}
	list, err := wire.ParseSections(b[6:])
	if err != nil {
		t.Fatal(err)
	}
	out := map[wire.SectionType]wire.Section{}
	count := 0
	for _, sec := range list {
		if _, twice := out[sec.Type]; twice {
			t.Errorf("section %d stands twice", sec.Type)
		}
		out[sec.Type] = sec
		count += max(sec.Count, 1)
	}
	if count != int(rows) {
		t.Errorf("%d rows are said, %d are there", rows, count)
	}
	return out, key
}

func TestFrames(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		p := startChild(t, "hold:0", nil)
		w := watchOf(t, v, p.name())
		p.do("read 1")
		p.do("submit 0")
		p.do("nop 2")
		first := wholeSample(t, w)
		all, key := sections(t, first, nil)
		if !key {
			t.Error("the first frame does not stand alone")
		}
		for typ, want := range map[wire.SectionType]int{
			wire.SectionTruth: 1, wire.SectionRing: 1, wire.SectionSQE: 2, wire.SectionCQE: 0, wire.SectionRequest: 1,
			wire.SectionWorker: 0, wire.SectionResource: 0, wire.SectionLife: 0,
		} {
			if sec, ok := all[typ]; !ok || sec.Count != want {
				t.Errorf("section %d has %d rows (there: %v), want %d", typ, sec.Count, ok, want)
			}
		}
		row := all[wire.SectionRing].Row(0)
		if got := binary.LittleEndian.Uint32(row[20:]); got != first.ring.SQTail {
			t.Errorf("sq.tail %d in the row, %d in the snapshot", got, first.ring.SQTail)
		}

		same := wholeSample(t, w)
		all, key = sections(t, same, first)
		if key || len(all) != 2 {
			t.Errorf("nothing changed, and %d sections tell of it (key %v)", len(all), key)
		}
		p.do("submit 2")
		changed := wholeSample(t, w)
		all, _ = sections(t, changed, same)
		if sec, ok := all[wire.SectionSQE]; !ok || sec.Count != 0 {
			t.Error("the empty list of SQEs is not told")
		}
		if all[wire.SectionCQE].Count != 2 {
			t.Errorf("%d CQEs", all[wire.SectionCQE].Count)
		}
		if _, ok := all[wire.SectionRequest]; ok {
			t.Error("the requests did not change")
		}
		// A base of another watch is none.
		other := wholeSample(t, watchOf(t, v, p.name()))
		if _, key := sections(t, changed, other); !key {
			t.Error("a delta on the snapshot of another watch")
		}
		if changed.Items() != 3 || changed.Glyphs() {
			t.Errorf("%d items, glyphs %v", changed.Items(), changed.Glyphs())
		}
	})
}

// Every event is in the frames of a watch once, whatever the pace.
func TestFramesTellEveryEventOnce(t *testing.T) {
	p := startChild(t, "hold:0", nil)
	w := watchOf(t, liveView(t), p.name())
	var base kernelviz.Snapshot
	seen := map[uint64]int{}
	look := func() *Snapshot {
		s := sample(t, w)
		all, _ := sections(t, s, base)
		life := all[wire.SectionLife]
		for i := range life.Count {
			seen[binary.LittleEndian.Uint64(life.Row(i))]++
		}
		base = s
		return s
	}
	look()
	const rounds = 20
	for range rounds {
		p.do("nop 3")
		p.do("submit 3")
		p.do("reap")
		look()
	}
	for end := time.Now().Add(deadline); look().livesEnd < 6*rounds; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d events of %d NOPs", len(seen), 3*rounds)
		}
	}
	if s := base.(*Snapshot); len(seen) != int(s.livesEnd) || s.truth.Lost != 0 {
		t.Errorf("%d events in frames, %d in all, %d lost", len(seen), s.livesEnd, s.truth.Lost)
	}
	for seq, n := range seen {
		if n != 1 {
			t.Errorf("event %d was told %d times", seq, n)
		}
	}
}

// A key frame has the events of the last second only.
func TestRecentEvents(t *testing.T) {
	s := &Snapshot{truth: kernelviz.Truth{At: 5 * time.Second}}
	for i := range 10 {
		s.lives = append(s.lives, wire.LifeRow{Seq: uint64(i), Time: uint64(i) * 500e6})
	}
	s.livesEnd = 10
	if got := s.recent(); len(got) != 2 || got[0].Seq != 8 {
		t.Errorf("%+v", got)
	}
	base := &Snapshot{livesEnd: 7}
	if got := s.since(base); len(got) != 3 || got[0].Seq != 7 {
		t.Errorf("%+v", got)
	}
	if got := s.since(&Snapshot{}); len(got) != 10 {
		t.Errorf("%d events", len(got))
	}
	s.livesEnd = 5000
	if got := s.since(base); len(got) != 10 {
		t.Errorf("%d events of those remembered", len(got))
	}
}

// Snapshots do not change when the ring does.
func TestSnapshotsAreImmutable(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		r := testRing(t, 8, 0)
		w := watchOf(t, v, nameOf(r))
		var kept []*Snapshot
		for i := range 6 {
			queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: uint64(i)})
			kept = append(kept, wholeSample(t, w))
		}
		submit(t, r, 6)
		wholeSample(t, w)
		for i, s := range kept {
			if len(s.sqes) != i+1 || s.sqes[i].UserData != uint64(i) || len(s.cqes) != 0 {
				t.Errorf("snapshot %d: %+v", i, s.sqes)
			}
		}
	})
}
