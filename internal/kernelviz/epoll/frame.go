package epoll

import (
	"slices"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// Snapshot is an eventpoll as it was at one time. It is immutable.
type Snapshot struct {
	watch    *watch // nil in the fdinfo tier
	truth    kernelviz.Truth
	instance wire.InstanceRow
	tree     *tree  // nil in the fdinfo tier
	leftmost uint64 // ep->rbr.rb_leftmost
	// nodes has a row per node, in breadth-first order (fdinfo: in order);
	// empty where only glyphs are drawn.
	nodes     []wire.NodeRow
	index     map[uint32]int // node id → place in nodes
	files     []wire.FileRow
	fileIndex map[uint32]int // file id → place in files
	ready     []wire.ListRow
	overflow  []wire.ListRow
	waiters   []wire.WaiterRow
	// events are the transitions of the last second or so, oldest first;
	// eventsEnd is the number of transitions since the watch was opened.
	events    []wire.TransitionRow
	eventsEnd uint64
}

// Truth implements kernelviz.Snapshot.
func (s *Snapshot) Truth() kernelviz.Truth { return s.truth }

// Items implements kernelviz.Snapshot.
func (s *Snapshot) Items() int { return int(s.instance.Items) }

// Glyphs implements kernelviz.Snapshot.
func (s *Snapshot) Glyphs() bool { return s.tree != nil && s.Items() > kernelviz.MaxWhole }

// AppendSections implements kernelviz.Snapshot.
func (s *Snapshot) AppendSections(dst []byte, vp kernelviz.Viewport, base kernelviz.Snapshot) ([]byte, uint32, bool) {
	b, _ := base.(*Snapshot)
	if s.Glyphs() || b != nil && (b.Glyphs() || b.watch != s.watch) {
		b = nil
	}
	rows := uint32(2)
	dst = appendRows(dst, wire.SectionTruth, wire.TruthRowSize, []wire.TruthRow{s.truthRow()}, &rows)
	dst = appendRows(dst, wire.SectionInstance, wire.InstanceRowSize, []wire.InstanceRow{s.instance}, &rows)
	rows -= 2
	if s.Glyphs() {
		glyphs, files := s.glyphs(vp)
		dst = appendRows(dst, wire.SectionGlyph, wire.GlyphRowSize, glyphs, &rows)
		dst = appendRows(dst, wire.SectionFile, wire.FileRowSize, files, &rows)
		dst = s.appendLists(dst, nil, &rows)
		return s.appendEvents(dst, base, &rows), rows, true
	}
	if b == nil {
		dst = appendRows(dst, wire.SectionNode, wire.NodeRowSize, s.nodes, &rows)
		dst = appendRows(dst, wire.SectionFile, wire.FileRowSize, s.files, &rows)
		dst = s.appendLists(dst, nil, &rows)
		return s.appendEvents(dst, base, &rows), rows, true
	}
	dst = s.appendChanges(dst, b, &rows)
	dst = s.appendLists(dst, b, &rows)
	return s.appendEvents(dst, base, &rows), rows, false
}

type row interface{ Append([]byte) []byte }

// appendRows appends a section unless it is empty.
func appendRows[R row](dst []byte, t wire.SectionType, size int, rows []R, count *uint32) []byte {
	if len(rows) == 0 {
		return dst
	}
	dst = wire.AppendSection(dst, t, size, len(rows))
	for _, r := range rows {
		dst = r.Append(dst)
	}
	*count += uint32(len(rows))
	return dst
}

// appendChanges appends the nodes and files that differ from the base, and the
// nodes that went.
func (s *Snapshot) appendChanges(dst []byte, base *Snapshot, rows *uint32) []byte {
	if s.sameNodes(base) {
		return dst
	}
	var changed []wire.NodeRow
	for i := range s.nodes {
		k, ok := base.index[s.nodes[i].ID]
		if !ok || base.nodes[k] != s.nodes[i] {
			changed = append(changed, s.nodes[i])
		}
	}
	var gone []goneRow
	for i := range base.nodes {
		if _, ok := s.index[base.nodes[i].ID]; !ok {
			gone = append(gone, goneRow(base.nodes[i].ID))
		}
	}
	var files []wire.FileRow
	for i := range s.files {
		k, ok := base.fileIndex[s.files[i].ID]
		if !ok || base.files[k] != s.files[i] {
			files = append(files, s.files[i])
		}
	}
	dst = appendRows(dst, wire.SectionNode, wire.NodeRowSize, changed, rows)
	dst = appendRows(dst, wire.SectionGone, wire.GoneRowSize, gone, rows)
	return appendRows(dst, wire.SectionFile, wire.FileRowSize, files, rows)
}

// sameNodes tells that both show the very same rows: a stale snapshot.
func (s *Snapshot) sameNodes(base *Snapshot) bool {
	return len(s.nodes) == len(base.nodes) && len(s.nodes) > 0 && &s.nodes[0] == &base.nodes[0]
}

type goneRow uint32

func (r goneRow) Append(dst []byte) []byte { return wire.AppendGone(dst, uint32(r)) }

// appendLists appends each list that differs from the base's, whole. An empty
// list is an empty section: it says that the list has become empty.
func (s *Snapshot) appendLists(dst []byte, base *Snapshot, rows *uint32) []byte {
	if base == nil || !slices.Equal(s.ready, base.ready) {
		dst = appendList(dst, wire.SectionReady, wire.ListRowSize, s.ready, rows)
	}
	if base == nil || !slices.Equal(s.overflow, base.overflow) {
		dst = appendList(dst, wire.SectionOverflow, wire.ListRowSize, s.overflow, rows)
	}
	if base == nil || !slices.Equal(s.waiters, base.waiters) {
		dst = appendList(dst, wire.SectionWaiter, wire.WaiterRowSize, s.waiters, rows)
	}
	return dst
}

// appendList appends a section even if it is empty; an empty one counts as a
// row, so that whoever counts rows sees the change.
func appendList[R row](dst []byte, t wire.SectionType, size int, list []R, count *uint32) []byte {
	if len(list) == 0 {
		*count++
		return wire.AppendSection(dst, t, size, 0)
	}
	return appendRows(dst, t, size, list, count)
}

// appendEvents appends the transitions since the base, or those remembered.
func (s *Snapshot) appendEvents(dst []byte, base kernelviz.Snapshot, rows *uint32) []byte {
	events := s.events
	if b, _ := base.(*Snapshot); b != nil && b.watch == s.watch {
		fresh := s.eventsEnd - b.eventsEnd
		if fresh < uint64(len(events)) {
			events = events[uint64(len(events))-fresh:]
		}
	}
	return appendRows(dst, wire.SectionTransition, wire.TransitionRowSize, events, rows)
}

// maxCost keeps the share of a CPU, in millionths, within 32 bits.
const maxCost = 4000

func (s *Snapshot) truthRow() wire.TruthRow {
	t := s.truth
	r := wire.TruthRow{
		At: uint64(t.At), Read: uint64(t.Read), Check: uint64(t.Check),
		Age:     uint64(max(monotonic()-t.At, 0)),
		Samples: t.Samples, Torn: t.Torn, Marked: t.Marked, Lost: t.Lost,
		CostPPM: uint32(min(t.Cost, maxCost) * 1e6), Tier: uint8(t.Tier), Broken: uint8(t.Broken),
	}
	r.Whole, r.Instant, r.Attached = bit(t.Whole), bit(t.Instant), bit(t.Attached)
	return r
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}
