package uring

import (
	"slices"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// Snapshot is a ring as it was at one time. It is immutable.
type Snapshot struct {
	watch     kernelviz.Watch // tells snapshots of one watch from another's
	truth     kernelviz.Truth
	ring      wire.RingRow
	sqes      []wire.SQERow
	cqes      []wire.CQERow
	requests  []wire.RequestRow
	workers   []wire.WorkerRow
	resources []wire.ResourceRow
	// lives are the last events, oldest first; livesEnd is the number of events
	// since the watch was opened.
	lives    []wire.LifeRow
	livesEnd uint64
	done     []done // the last completions, oldest first
}

// Truth implements kernelviz.Snapshot.
func (s *Snapshot) Truth() kernelviz.Truth { return s.truth }

// Items implements kernelviz.Snapshot: pending SQEs, unread CQEs and requests.
func (s *Snapshot) Items() int {
	return int(s.sqPending()) + int(s.cqReady()) + int(s.ring.Requests)
}

func (s *Snapshot) sqPending() uint32 { return pending(s.ring.SQHead, s.ring.SQTail, s.ring.SQEntries) }
func (s *Snapshot) cqReady() uint32   { return pending(s.ring.CQHead, s.ring.CQTail, s.ring.CQEntries) }

// Glyphs implements kernelviz.Snapshot: a frame carries all that it can.
func (s *Snapshot) Glyphs() bool { return false }

// lifeSpan bounds the events of a key frame to the last second, in ns.
const lifeSpan = uint64(1e9)

// AppendSections implements kernelviz.Snapshot.
func (s *Snapshot) AppendSections(dst []byte, _ kernelviz.Viewport, base kernelviz.Snapshot) ([]byte, uint32, bool) {
	b, _ := base.(*Snapshot)
	if b != nil && b.watch != s.watch {
		b = nil
	}
	rows := uint32(2)
	dst = wire.AppendSection(dst, wire.SectionTruth, wire.TruthRowSize, 1)
	dst = s.truthRow().Append(dst)
	dst = wire.AppendSection(dst, wire.SectionRing, wire.RingRowSize, 1)
	dst = s.ring.Append(dst)
	if b == nil {
		b = &Snapshot{}
		dst = s.appendLists(dst, b, true, &rows)
		return appendList(dst, wire.SectionLife, wire.LifeRowSize, s.recent(), &rows), rows, true
	}
	dst = s.appendLists(dst, b, false, &rows)
	if fresh := s.since(b); len(fresh) > 0 {
		dst = appendList(dst, wire.SectionLife, wire.LifeRowSize, fresh, &rows)
	}
	return dst, rows, false
}

// appendLists appends each list that differs from the base's, whole; all of
// them if told so.
func (s *Snapshot) appendLists(dst []byte, b *Snapshot, all bool, rows *uint32) []byte {
	if all || !slices.Equal(s.sqes, b.sqes) {
		dst = appendList(dst, wire.SectionSQE, wire.SQERowSize, s.sqes, rows)
	}
	if all || !slices.Equal(s.cqes, b.cqes) {
		dst = appendList(dst, wire.SectionCQE, wire.CQERowSize, s.cqes, rows)
	}
	if all || !slices.Equal(s.requests, b.requests) {
		dst = appendList(dst, wire.SectionRequest, wire.RequestRowSize, s.requests, rows)
	}
	if all || !slices.Equal(s.workers, b.workers) {
		dst = appendList(dst, wire.SectionWorker, wire.WorkerRowSize, s.workers, rows)
	}
	if all || !slices.Equal(s.resources, b.resources) {
		dst = appendList(dst, wire.SectionResource, wire.ResourceRowSize, s.resources, rows)
	}
	return dst
}

type row interface{ Append([]byte) []byte }

// appendList appends a section even if it is empty; an empty one counts as a
// row, so that whoever counts rows sees the change.
func appendList[R row](dst []byte, t wire.SectionType, size int, list []R, count *uint32) []byte {
	dst = wire.AppendSection(dst, t, size, len(list))
	for _, r := range list {
		dst = r.Append(dst)
	}
	*count += uint32(max(len(list), 1))
	return dst
}

// recent are the events of the last second.
func (s *Snapshot) recent() []wire.LifeRow {
	at := uint64(s.truth.At)
	i := slices.IndexFunc(s.lives, func(r wire.LifeRow) bool { return r.Time+lifeSpan >= at })
	if i < 0 {
		return nil
	}
	return s.lives[i:]
}

// since are the events since the base, as far as they are remembered.
func (s *Snapshot) since(base *Snapshot) []wire.LifeRow {
	fresh := min(s.livesEnd-base.livesEnd, uint64(len(s.lives)))
	return s.lives[uint64(len(s.lives))-fresh:]
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
