package uring

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// The invariants of a ring, in the order in which they are checked: what a
// ring of which nobody but the kernel and a correct owner has written the
// memory always is.
const (
	// BrokenMemory: a part of the ring could not be read.
	BrokenMemory kernelviz.Broken = 1 + iota
	// BrokenMask: ring_mask is not ring_entries − 1, of either queue.
	BrokenMask
	// BrokenEntries: ring_entries is not what struct io_ring_ctx says, of either queue.
	BrokenEntries
	// BrokenSQCount: sq.tail − sq.head is more than the queue has entries.
	BrokenSQCount
	// BrokenCQCount: cq.tail − cq.head is more than the queue has entries.
	BrokenCQCount
	// BrokenSQHead: sq.head is ahead of ctx.cached_sq_head, or further behind
	// it than the queue has entries.
	BrokenSQHead
	// BrokenSQTail: sq.tail is behind ctx.cached_sq_head: the owner took back
	// what the kernel has taken.
	BrokenSQTail
	// BrokenCQTail: cq.tail is ahead of ctx.cached_cq_tail.
	BrokenCQTail
)

// verdict is what check found.
type verdict struct {
	broken kernelviz.Broken // the first invariant that does not hold
	// sq and cq tell that it is not known which entries of the queue are
	// pending.
	sq, cq bool
}

func (v *verdict) add(b kernelviz.Broken) {
	if v.broken == kernelviz.BrokenNone {
		v.broken = b
	}
	switch b {
	case BrokenMemory:
		v.sq, v.cq = true, true
	case BrokenSQCount, BrokenSQHead, BrokenSQTail:
		v.sq = true
	case BrokenCQCount, BrokenCQTail:
		v.cq = true
	}
}

// words are the words of struct io_rings. Anybody who has the ring mapped may
// have written anything into them.
type words struct {
	sqHead, sqTail, cqHead, cqTail               uint32
	sqFlags, cqFlags, sqDropped, cqOverflow      uint32
	sqMask, cqMask, sqRingEntries, cqRingEntries uint32
	// unstable tells that no two reads of the counters were alike: they are not
	// of one instant, and their differences mean nothing.
	unstable bool
}

// same tells that the counters and flags of both are equal.
func (w *words) same(o *words) bool {
	return w.sqHead == o.sqHead && w.sqTail == o.sqTail && w.cqHead == o.cqHead && w.cqTail == o.cqTail &&
		w.sqFlags == o.sqFlags && w.cqFlags == o.cqFlags && w.sqDropped == o.sqDropped && w.cqOverflow == o.cqOverflow
}

// layout is where things lie in the memory of a ring, in bytes.
type layout struct {
	sqHead, sqTail, sqMask, sqEntries, sqFlags, sqDropped  uint32
	cqHead, cqTail, cqMask, cqEntries, cqFlags, cqOverflow uint32
	cqes, array                                            uint32
	ringBytes, sqeBytes                                    int
}

// shape is what the layout of a ring depends on, as its io_ring_ctx has it.
type shape struct {
	sqEntries, cqEntries uint32 // powers of two
	setup                uint32 // IORING_SETUP_*
}

// sane tells that the numbers can be those of a ring.
func (s shape) sane() bool {
	return bits.OnesCount32(s.sqEntries) == 1 && bits.OnesCount32(s.cqEntries) == 1 &&
		s.sqEntries <= 2*iouring.MaxEntries && s.cqEntries <= 4*iouring.MaxEntries
}

// memory is a ring as it lies in memory that others write to while it is read.
// It never reads outside of its slices, whatever they hold.
type memory struct {
	shape
	layout
	ring []byte // struct io_rings, the CQEs, the SQ array
	sqes []byte
}

// word reads a word atomically; 0 outside of the memory.
func (m *memory) word(offset uint32) uint32 {
	if uint64(offset)+4 > uint64(len(m.ring)) || offset%4 != 0 {
		return 0
	}
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&m.ring[offset])))
}

// maxReads bounds how often the counters are read for two reads that agree.
const maxReads = 8

// words reads the words of struct io_rings until the counters are those of one
// instant.
func (m *memory) words() words {
	var w words
	w.sqHead, w.sqTail, w.cqHead, w.cqTail = m.word(m.sqHead), m.word(m.sqTail), m.word(m.cqHead), m.word(m.cqTail)
	w.unstable = true
	for range maxReads {
		a, b, c, d := m.word(m.sqHead), m.word(m.sqTail), m.word(m.cqHead), m.word(m.cqTail)
		stable := a == w.sqHead && b == w.sqTail && c == w.cqHead && d == w.cqTail
		w.sqHead, w.sqTail, w.cqHead, w.cqTail = a, b, c, d
		if stable {
			w.unstable = false
			break
		}
	}
	w.sqFlags, w.cqFlags = m.word(m.sqFlags), m.word(m.cqFlags)
	w.sqDropped, w.cqOverflow = m.word(m.sqDropped), m.word(m.cqOverflow)
	w.sqMask, w.cqMask = m.word(m.sqMask), m.word(m.cqMask)
	w.sqRingEntries, w.cqRingEntries = m.word(m.layout.sqEntries), m.word(m.layout.cqEntries)
	return w
}

// pending is how many entries lie between head and tail, at most limit: what
// the owner wrote decides nothing but how many of the ring's own entries are
// looked at.
func pending(head, tail, limit uint32) uint32 { return min(tail-head, limit) }

// readSQEs appends the pending SQEs, at most wire.MaxList.
func (m *memory) readSQEs(w *words, dst []wire.SQERow) []wire.SQERow {
	n := pending(w.sqHead, w.sqTail, m.shape.sqEntries)
	for i := uint32(0); i < n && len(dst) < wire.MaxList; i++ {
		var raw [iouring.SQESize]byte
		position := w.sqHead + i
		index := m.sqIndex(position)
		ok := m.readSQE(index, &raw)
		r := sqeRow(position, index, m.setup&iouring.SetupSQE128 != 0, ok, &raw)
		if ok && m.setup&iouring.SetupSQEMixed != 0 && wideOp(r.Op) {
			r.Wide = 1
			i++ // in a mixed ring a wide SQE takes two entries
		}
		dst = append(dst, r)
	}
	return dst
}

// sqIndex is where the SQE of a position lies. The owner wrote it: it may be
// anything.
func (m *memory) sqIndex(position uint32) uint32 {
	slot := position & (m.shape.sqEntries - 1)
	if m.setup&iouring.SetupNoSQArray != 0 {
		return slot
	}
	return m.word(m.array + 4*slot)
}

// readSQE copies the first 64 bytes of an SQE; false if there is none there.
func (m *memory) readSQE(index uint32, raw *[iouring.SQESize]byte) bool {
	if index >= m.shape.sqEntries {
		return false
	}
	stride := uint64(iouring.SQESize)
	if m.setup&iouring.SetupSQE128 != 0 {
		stride *= 2
	}
	at := uint64(index) * stride
	if at+iouring.SQESize > uint64(len(m.sqes)) {
		return false
	}
	copy(raw[:], m.sqes[at:])
	return true
}

// sqeRow decodes a struct io_uring_sqe. Of a bad index only the index is told.
func sqeRow(position, index uint32, wide, ok bool, raw *[iouring.SQESize]byte) wire.SQERow {
	r := wire.SQERow{Position: position, Index: index}
	if wide {
		r.Wide = 1
	}
	if !ok {
		return r
	}
	ne := binary.NativeEndian
	r.Op, r.Flags, r.IOPrio = raw[0], raw[1], ne.Uint16(raw[2:])
	r.FD, r.Off, r.Addr = int32(ne.Uint32(raw[4:])), ne.Uint64(raw[8:]), ne.Uint64(raw[16:])
	r.Len, r.OpFlags, r.UserData = ne.Uint32(raw[24:]), ne.Uint32(raw[28:]), ne.Uint64(raw[32:])
	r.BufIndex, r.SpliceFD, r.Addr3 = ne.Uint16(raw[40:]), int32(ne.Uint32(raw[44:])), ne.Uint64(raw[48:])
	return r
}

// readCQEs appends the unread CQEs, at most wire.MaxList.
func (m *memory) readCQEs(w *words, dst []wire.CQERow) []wire.CQERow {
	n := pending(w.cqHead, w.cqTail, m.shape.cqEntries)
	for i := uint32(0); i < n && len(dst) < wire.MaxList; i++ {
		var raw [2 * iouring.CQESize]byte
		position := w.cqHead + i
		wide, ok := m.readCQE(position, &raw)
		if !ok {
			return dst
		}
		dst = append(dst, cqeRow(position, wide, &raw))
		if wide && m.setup&iouring.SetupCQE32 == 0 {
			i++ // in a mixed ring a wide CQE takes two entries
		}
	}
	return dst
}

// readCQE copies the CQE of a position, with its second half if it is wide;
// false if it lies outside of the memory.
func (m *memory) readCQE(position uint32, raw *[2 * iouring.CQESize]byte) (wide, ok bool) {
	slot := uint64(position & (m.shape.cqEntries - 1))
	at := uint64(m.cqes) + slot*iouring.CQESize
	if m.setup&iouring.SetupCQE32 != 0 {
		at += slot * iouring.CQESize
		wide = true
	}
	if at+iouring.CQESize > uint64(len(m.ring)) {
		return false, false
	}
	copy(raw[:iouring.CQESize], m.ring[at:])
	if m.setup&iouring.SetupCQEMixed != 0 {
		wide = binary.NativeEndian.Uint32(raw[12:])&iouring.CQEF32 != 0
	}
	if wide && at+2*iouring.CQESize <= uint64(len(m.ring)) {
		copy(raw[iouring.CQESize:], m.ring[at+iouring.CQESize:])
	}
	return wide, true
}

// cqeRow decodes a struct io_uring_cqe.
func cqeRow(position uint32, wide bool, raw *[2 * iouring.CQESize]byte) wire.CQERow {
	ne := binary.NativeEndian
	r := wire.CQERow{Position: position, UserData: ne.Uint64(raw[:]), Res: int32(ne.Uint32(raw[8:])), Flags: ne.Uint32(raw[12:])}
	if wide {
		r.Wide = 1
		r.Extra = [2]uint64{ne.Uint64(raw[16:]), ne.Uint64(raw[24:])}
	}
	return r
}

// within drops the rows whose position has left [head, tail) since they were
// read: the owner may have written over them meanwhile.
func within[R any](rows []R, position func(*R) uint32, head, tail uint32) []R {
	out := rows[:0]
	for i := range rows {
		if position(&rows[i])-head < tail-head {
			out = append(out, rows[i])
		}
	}
	return out
}

// check finds the invariants that do not hold. before and after were read
// before and after the kernel's side; where there is only one read, both are
// it. side is nil if the kernel's own counters are not known.
func check(s shape, before, after *words, side *kernelSide) (v verdict) {
	if !s.sane() {
		v.add(BrokenMemory)
		return v
	}
	w := after
	rewind := s.setup&iouring.SetupSQRewind != 0 // the kernel starts at entry 0 on every submission
	if w.sqMask != w.sqRingEntries-1 || w.cqMask != w.cqRingEntries-1 {
		v.add(BrokenMask)
	}
	if w.sqRingEntries != s.sqEntries || w.cqRingEntries != s.cqEntries {
		v.add(BrokenEntries)
	}
	if !w.unstable && !rewind && w.sqTail-w.sqHead > s.sqEntries {
		v.add(BrokenSQCount)
	}
	if !w.unstable && w.cqTail-w.cqHead > s.cqEntries {
		v.add(BrokenCQCount)
	}
	if side == nil {
		return v
	}
	// The kernel publishes a counter after it has moved its own, so what was
	// read of the ring earlier can only be behind.
	behind := int32(side.cachedSQHead - before.sqHead)
	if !rewind && (behind < 0 || before.same(after) && behind > int32(s.sqEntries)) {
		v.add(BrokenSQHead)
	}
	if !rewind && int32(after.sqTail-side.cachedSQHead) < 0 {
		v.add(BrokenSQTail)
	}
	if int32(side.cachedCQTail-before.cqTail) < 0 {
		v.add(BrokenCQTail)
	}
	return v
}

// kernelSide is what struct io_ring_ctx says of the ring, which no owner can
// write to.
type kernelSide struct{ cachedSQHead, cachedCQTail uint32 }
