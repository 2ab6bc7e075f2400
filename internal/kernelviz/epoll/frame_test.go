package epoll

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// picture is what a page holds: raw rows, replaced and deleted as
// docs/protocol.md says, without a word about what is in them.
type picture struct {
	instance []byte
	nodes    map[uint32][]byte
	files    map[uint32][]byte
	lists    map[wire.SectionType][]byte
	events   [][]byte
}

func newPicture() *picture {
	return &picture{nodes: map[uint32][]byte{}, files: map[uint32][]byte{}, lists: map[wire.SectionType][]byte{}}
}

func (p *picture) clone() *picture {
	out := newPicture()
	out.instance = p.instance
	for k, v := range p.nodes {
		out.nodes[k] = v
	}
	for k, v := range p.files {
		out.files[k] = v
	}
	for k, v := range p.lists {
		out.lists[k] = v
	}
	return out
}

// apply applies the sections of a frame and checks their sizes and counts.
func (p *picture) apply(t *testing.T, sections []byte, rows uint32) {
	t.Helper()
	parsed, err := wire.ParseSections(sections)
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[wire.SectionType]int{
		wire.SectionTruth: wire.TruthRowSize, wire.SectionInstance: wire.InstanceRowSize, wire.SectionNode: wire.NodeRowSize,
		wire.SectionGone: wire.GoneRowSize, wire.SectionReady: wire.ListRowSize, wire.SectionOverflow: wire.ListRowSize,
		wire.SectionWaiter: wire.WaiterRowSize, wire.SectionFile: wire.FileRowSize, wire.SectionTransition: wire.TransitionRowSize,
	}
	total := 0
	seen := map[wire.SectionType]bool{}
	for _, s := range parsed {
		total += max(s.Count, 1) // an empty section counts as a row
		if s.RowSize != sizes[s.Type] {
			t.Fatalf("section %d has rows of %d bytes, want %d", s.Type, s.RowSize, sizes[s.Type])
		}
		if seen[s.Type] {
			t.Fatalf("section %d stands twice", s.Type)
		}
		seen[s.Type] = true
		rowsOf := func(m map[uint32][]byte) {
			for i := range s.Count {
				id := binary.LittleEndian.Uint32(s.Row(i))
				if id == 0 {
					t.Fatalf("section %d: row %d has no id", s.Type, i)
				}
				m[id] = bytes.Clone(s.Row(i))
			}
		}
		switch s.Type {
		case wire.SectionInstance:
			p.instance = bytes.Clone(s.Row(0))
		case wire.SectionNode:
			rowsOf(p.nodes)
		case wire.SectionFile:
			rowsOf(p.files)
		case wire.SectionGone:
			for i := range s.Count {
				id := binary.LittleEndian.Uint32(s.Row(i))
				if p.nodes[id] == nil {
					t.Fatalf("node %d goes, but it was not there", id)
				}
				delete(p.nodes, id)
			}
		case wire.SectionReady, wire.SectionOverflow, wire.SectionWaiter:
			p.lists[s.Type] = bytes.Clone(s.Rows)
		case wire.SectionTransition:
			for i := range s.Count {
				p.events = append(p.events, bytes.Clone(s.Row(i)))
			}
		}
	}
	if total != int(rows) {
		t.Fatalf("%d rows are announced, %d are there", rows, total)
	}
	if !seen[wire.SectionTruth] || !seen[wire.SectionInstance] {
		t.Fatal("truth and instance stand in every frame")
	}
}

// equal compares pictures. Files that no node uses any more may stay.
func (p *picture) equal(t *testing.T, want *picture) {
	t.Helper()
	if !bytes.Equal(p.instance, want.instance) {
		t.Errorf("instance rows differ")
	}
	if len(p.nodes) != len(want.nodes) {
		t.Errorf("%d nodes, want %d", len(p.nodes), len(want.nodes))
	}
	for id, row := range want.nodes {
		if !bytes.Equal(p.nodes[id], row) {
			t.Errorf("node %d differs", id)
		}
	}
	for id, row := range want.files {
		if !bytes.Equal(p.files[id], row) {
			t.Errorf("file %d differs", id)
		}
	}
	for _, l := range []wire.SectionType{wire.SectionReady, wire.SectionOverflow, wire.SectionWaiter} {
		if !bytes.Equal(p.lists[l], want.lists[l]) {
			t.Errorf("list %d differs", l)
		}
	}
}

// frameOf decodes one frame onto a copy of what was there.
func frameOf(t *testing.T, s, base *Snapshot, onto *picture) (*picture, bool) {
	t.Helper()
	var from kernelviz.Snapshot
	if base != nil {
		from = base
	}
	prefix := []byte("keep")
	out, rows, key := s.AppendSections(prefix, kernelviz.Viewport{}, from)
	if !bytes.HasPrefix(out, []byte("keep")) {
		t.Fatal("what stood in the buffer was overwritten")
	}
	p := newPicture()
	if !key {
		p = onto.clone()
	}
	p.apply(t, out[4:], rows)
	return p, key
}

// mutable is the state from which random snapshots are made.
type mutable struct {
	rng    *rand.Rand
	watch  *watch
	nodes  []wire.NodeRow
	files  []wire.FileRow
	ready  []wire.ListRow
	over   []wire.ListRow
	waits  []wire.WaiterRow
	hist   history
	lastID uint32
}

func (m *mutable) step() {
	switch m.rng.IntN(9) {
	case 0, 1:
		m.lastID++
		m.nodes = append(m.nodes, wire.NodeRow{ID: m.lastID, FD: int32(m.rng.IntN(100)), File: m.lastID, Data: m.rng.Uint64()})
		m.files = append(m.files, wire.FileRow{ID: m.lastID, Type: wire.FileType(m.rng.IntN(12)), Inode: m.rng.Uint64()})
	case 2:
		if n := len(m.nodes); n > 0 {
			i := m.rng.IntN(n)
			m.nodes = slices.Delete(m.nodes, i, i+1)
		}
	case 3:
		if n := len(m.nodes); n > 0 {
			r := &m.nodes[m.rng.IntN(n)]
			r.Left, r.Flags, r.Events = m.rng.Uint32N(50), m.rng.Uint32N(32), m.rng.Uint32()
		}
	case 4:
		m.rng.Shuffle(len(m.nodes), func(i, j int) { m.nodes[i], m.nodes[j] = m.nodes[j], m.nodes[i] })
	case 5:
		m.ready = m.ready[:0]
		for range m.rng.IntN(4) {
			m.ready = append(m.ready, wire.ListRow{Node: m.rng.Uint32N(9) + 1, FD: int32(m.rng.IntN(9))})
		}
	case 6:
		m.over = m.over[:0]
		for range m.rng.IntN(3) {
			m.over = append(m.over, wire.ListRow{Node: m.rng.Uint32N(9) + 1})
		}
	case 7:
		m.waits = m.waits[:0]
		for range m.rng.IntN(3) {
			m.waits = append(m.waits, wire.WaiterRow{TID: m.rng.Uint32N(99), Flags: 1})
		}
	case 8:
		if n := len(m.files); n > 0 {
			m.files[m.rng.IntN(n)].State = uint8(m.rng.IntN(12))
		}
	}
}

func (m *mutable) snapshot() *Snapshot {
	seen := make([]transitionsTransition, m.rng.IntN(3))
	for i := range seen {
		seen[i] = transitionsTransition{Seq: m.hist.end + uint64(i), Fd: -1, What: wire.TransitionSleep}
	}
	if len(seen) > 0 {
		m.hist.add(seen, func(uint64, int32) uint32 { return 0 })
	}
	s := &Snapshot{
		watch: m.watch, nodes: slices.Clone(m.nodes), files: slices.Clone(m.files), ready: slices.Clone(m.ready),
		overflow: slices.Clone(m.over), waiters: slices.Clone(m.waits), events: m.hist.rows, eventsEnd: m.hist.end,
		index: map[uint32]int{}, fileIndex: map[uint32]int{}, tree: &tree{},
	}
	s.instance = wire.InstanceRow{ID: 1, Items: uint32(len(m.nodes)), Ready: uint32(len(m.ready)), Red: m.rng.Uint32N(5)}
	for i := range s.nodes {
		s.index[s.nodes[i].ID] = i
	}
	for i := range s.files {
		s.fileIndex[s.files[i].ID] = i
	}
	return s
}

// Whatever happened between two snapshots: the older one's picture with the
// delta applied is the newer one's key frame.
func TestDeltaOnBaseEqualsKeyFrame(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &mutable{rng: rand.New(rand.NewPCG(seed, 1)), watch: &watch{}}
			var history []*Snapshot
			var pictures []*picture
			for range 80 {
				for range m.rng.IntN(6) {
					m.step()
				}
				s := m.snapshot()
				want, key := frameOf(t, s, nil, nil)
				if !key {
					t.Fatal("a frame without a base must stand alone")
				}
				for _, back := range []int{1, 2, 7} {
					if back > len(history) {
						continue
					}
					base := history[len(history)-back]
					got, key := frameOf(t, s, base, pictures[len(pictures)-back])
					if key {
						t.Fatal("with a base of the same watch only changes are sent")
					}
					got.equal(t, want)
					checkEvents(t, got.events, base.eventsEnd, s)
				}
				// A sample that changed nothing sends nothing.
				out, rows, _ := s.AppendSections(nil, kernelviz.Viewport{}, s)
				if rows != 2 || len(out) != wire.TruthRowSize+wire.InstanceRowSize+2*wire.SectionSize {
					t.Fatalf("%d rows, %d bytes to say that nothing changed", rows, len(out))
				}
				history, pictures = append(history, s), append(pictures, want)
				if t.Failed() {
					t.FailNow()
				}
			}
		})
	}
}

// checkEvents: each transition since the base stands in the frame once, in order.
func checkEvents(t *testing.T, got [][]byte, since uint64, s *Snapshot) {
	t.Helper()
	want := s.eventsEnd - since
	if want > maxHistory {
		want = maxHistory
	}
	if uint64(len(got)) != want {
		t.Errorf("%d transitions, want %d", len(got), want)
		return
	}
	for i, row := range got {
		if seq := binary.LittleEndian.Uint64(row[24:]); seq != s.eventsEnd-want+uint64(i) {
			t.Errorf("transition %d has number %d", i, seq)
		}
	}
}

func TestBaseOfAnotherWatchIsNoBase(t *testing.T) {
	m := &mutable{rng: rand.New(rand.NewPCG(5, 5)), watch: &watch{}}
	for range 30 {
		m.step()
	}
	other := m.snapshot()
	m.watch = &watch{}
	s := m.snapshot()
	got, key := frameOf(t, s, other, nil)
	if !key {
		t.Fatal("ids of another watch mean something else")
	}
	want, _ := frameOf(t, s, nil, nil)
	got.equal(t, want)
}

// Between glyphs and nodes there is no delta: what the page holds is not what
// the base has.
func TestGlyphBaseIsNoBase(t *testing.T) {
	big := drawn(t, buildTree(balanced(kernelviz.MaxWhole+1)))
	all := make([]uint32, big.Items())
	for i := range all {
		all[i] = uint32(i)
	}
	big.known(all)
	if !big.Glyphs() {
		t.Fatal("more than MaxWhole items are drawn as glyphs")
	}
	m := &mutable{rng: rand.New(rand.NewPCG(6, 6)), watch: big.watch}
	for range 30 {
		m.step()
	}
	s := m.snapshot()
	if _, key := frameOf(t, s, big, nil); !key {
		t.Error("the first frame below MaxWhole must stand alone")
	}
	if _, _, key := big.AppendSections(nil, kernelviz.Viewport{}, s); !key {
		t.Error("glyph frames stand alone")
	}
}

// More transitions than are remembered must not be sent twice, nor must older
// ones be invented.
func TestHistoryIsBounded(t *testing.T) {
	var h history
	none := func(uint64, int32) uint32 { return 0 }
	for _, n := range []int{1, maxHistory - 1, 3, maxHistory, maxHistory + 100, 5 * maxHistory, 1} {
		before := h.end
		seen := make([]transitionsTransition, n)
		for i := range seen {
			seen[i].Seq = before + uint64(i)
		}
		earlier := slices.Clone(h.rows)
		held := h.rows
		h.add(seen, none)
		if !slices.Equal(held, earlier) {
			t.Fatal("rows that a snapshot holds were written")
		}
		if h.end != before+uint64(n) || len(h.rows) > maxHistory {
			t.Fatalf("%d rows, end %d", len(h.rows), h.end)
		}
		for i, r := range h.rows {
			if r.Seq != h.end-uint64(len(h.rows))+uint64(i) {
				t.Fatalf("after %d more: row %d has number %d of %d", n, i, r.Seq, h.end)
			}
		}
	}
}
