package uring

import (
	"math"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// FactList implements kernelviz.View: what Facts publishes.
func (v *View) FactList() []kernelviz.Fact {
	const b, i, s, f = kernelviz.FactBool, kernelviz.FactInt, kernelviz.FactString, kernelviz.FactFloat
	op := kernelviz.Fact{Name: "op", Type: s, Doc: "Operation without its prefix: READ, POLL_ADD, …"}
	data := kernelviz.Fact{Name: "user_data", Type: i, Doc: "user_data; above 2^63−1 it is 2^63−1."}
	return []kernelviz.Fact{
		{Name: "uring.whole", Type: b, Doc: "Every invariant of the ring held in this snapshot."},
		{Name: "uring.ring", Type: i, Doc: "Small stable number of the ring on the stage; 0 if none is."},
		{Name: "uring.setup", Type: s, Doc: "Flags that it was made with: IORING_SETUP_SQPOLL|IORING_SETUP_CQSIZE; 0 if none."},
		{Name: "uring.sq_entries", Type: i, Doc: "Entries of the submission queue."},
		{Name: "uring.cq_entries", Type: i, Doc: "Entries of the completion queue."},
		{Name: "uring.sq_head", Type: i, Doc: "sq.head, a counter modulo 2^32 that the kernel moves."},
		{Name: "uring.sq_tail", Type: i, Doc: "sq.tail, which the owner moves."},
		{Name: "uring.cq_head", Type: i, Doc: "cq.head, which the owner moves."},
		{Name: "uring.cq_tail", Type: i, Doc: "cq.tail, which the kernel moves."},
		{Name: "uring.sq_pending", Type: i, Doc: "SQEs that the kernel has not taken: sq.tail − sq.head."},
		{Name: "uring.cq_ready", Type: i, Doc: "CQEs that the owner has not read: cq.tail − cq.head."},
		{Name: "uring.sq_dropped", Type: i, Doc: "SQEs dropped for a bad index in sq_array, since the ring was made."},
		{Name: "uring.cq_overflow", Type: i, Doc: "Completions lost for good, since the ring was made."},
		{Name: "uring.overflow_list", Type: i, Doc: "Completions that wait in the kernel for room in the CQ."},
		{Name: "uring.inflight", Type: i, Doc: "Requests submitted and not yet completed; -1 if nobody can tell."},
		{Name: "uring.armed", Type: i, Doc: "Of them, armed on the wait queue of a file."},
		{Name: "uring.files", Type: i, Doc: "Slots for registered files."},
		{Name: "uring.buffers", Type: i, Doc: "Slots for registered buffers."},
		{Name: "uring.sqpoll", Type: b, Doc: "It has an SQPOLL thread."},
		{Name: "uring.sqpoll_asleep", Type: b, Doc: "That thread sleeps."},
		{Name: "uring.need_wakeup", Type: b, Doc: "IORING_SQ_NEED_WAKEUP is set: io_uring_enter must wake the thread."},
		{Name: "uring.cq_overflowed", Type: b, Doc: "IORING_SQ_CQ_OVERFLOW is set: completions wait for room in the CQ."},
		{Name: "uring.workers", Type: i, Doc: "io-wq threads of the owner; all its rings share them."},
		{Name: "uring.submitted", Type: i, Doc: "SQEs that the kernel took since the ring came on the stage."},
		{Name: "uring.completed", Type: i, Doc: "CQEs that the kernel posted since then."},
		{Name: "uring.sqes", Type: kernelviz.FactList, Doc: "Pending SQEs in the order of the queue, at most 512.", Fields: []kernelviz.Fact{
			{Name: "position", Type: i, Doc: "Value of the counter: sq_head ≤ position < sq_tail."},
			{Name: "index", Type: i, Doc: "Where the SQE lies in the array: sq_array[position & mask]; sq_entries or more is a bad index."},
			op,
			{Name: "fd", Type: i, Doc: "fd, or with IOSQE_FIXED_FILE a slot."},
			{Name: "len", Type: i, Doc: "len, in bytes for most operations."},
			data,
			{Name: "flags", Type: s, Doc: "IOSQE_IO_LINK|IOSQE_ASYNC; 0 if none."},
		}},
		{Name: "uring.cqes", Type: kernelviz.FactList, Doc: "Unread CQEs in the order of the queue, at most 512.", Fields: []kernelviz.Fact{
			{Name: "position", Type: i, Doc: "Value of the counter: cq_head ≤ position < cq_tail."},
			data,
			{Name: "res", Type: i, Doc: "Result, or -errno."},
			{Name: "flags", Type: s, Doc: "IORING_CQE_F_MORE|IORING_CQE_F_BUFFER; 0 if none."},
			{Name: "more", Type: b, Doc: "IORING_CQE_F_MORE: the request will post further CQEs."},
		}},
		{Name: "uring.requests", Type: kernelviz.FactList, Doc: "Requests that the kernel holds, oldest first, at most 512.", Fields: []kernelviz.Fact{
			op, data,
			{Name: "where", Type: s, Doc: "submitted, armed (on a wait queue), punted (to io-wq), task_work (queued for its submitter) or timeout."},
			{Name: "multishot", Type: b, Doc: "It posts several CQEs."},
			{Name: "fd", Type: i, Doc: "fd; -1 if it is not known."},
		}},
		{Name: "uring.lives", Type: kernelviz.FactList, Doc: "CQEs posted lately, oldest first, at most 512.", Fields: []kernelviz.Fact{
			op, data,
			{Name: "res", Type: i, Doc: "Result, or -errno."},
			{Name: "path", Type: s, Doc: "How the request went: inline, armed (on a wait queue or timer) or punted (to io-wq); empty if its submission was not seen."},
			{Name: "more", Type: b, Doc: "IORING_CQE_F_MORE: the request will post further CQEs."},
			{Name: "links", Type: b, Doc: "IOSQE_IO_LINK or IOSQE_IO_HARDLINK: the next request waited for it."},
			{Name: "us", Type: f, Doc: "µs from its submission; -1 if that was not seen."},
			{Name: "at", Type: i, Doc: "CLOCK_MONOTONIC of the completion, in ns."},
		}},
	}
}

// Facts implements kernelviz.Snapshot: the names that checks of lessons may
// use about the watched ring. What this tier, or this sample, cannot see is
// left out.
func (s *Snapshot) Facts() kernelviz.Facts {
	r := &s.ring
	f := kernelviz.Facts{
		"uring.whole": s.truth.Whole,
		"uring.ring":  int(r.ID),
	}
	ints := func(seen uint32, values map[string]uint32) {
		if r.Seen&seen != seen {
			return
		}
		for name, v := range values {
			f["uring."+name] = int(v)
		}
	}
	ints(wire.SeenHeads, map[string]uint32{
		"sq_entries": r.SQEntries, "cq_entries": r.CQEntries,
		"sq_head": r.SQHead, "sq_tail": r.SQTail, "cq_head": r.CQHead, "cq_tail": r.CQTail,
		"sq_pending": s.sqPending(), "cq_ready": s.cqReady(),
		"armed": r.Armed, "files": r.Files, "buffers": r.Buffers,
	})
	ints(wire.SeenOverflow, map[string]uint32{"overflow_list": r.OverflowList})
	f["uring.inflight"] = int(r.InFlight)
	f["uring.submitted"], f["uring.completed"] = clamp(r.Submitted), clamp(r.Completed)
	if s.truth.Tier != tierFdinfo {
		f["uring.setup"] = iouring.SetupNames(r.Setup)
		f["uring.need_wakeup"] = r.SQFlags&iouring.SQNeedWakeup != 0
		f["uring.cq_overflowed"] = r.SQFlags&iouring.SQCQOverflow != 0
		ints(wire.SeenHeads, map[string]uint32{"sq_dropped": r.SQDropped, "cq_overflow": r.CQOverflow})
	}
	if r.Seen&wire.SeenThread != 0 {
		f["uring.sqpoll"] = r.ThreadPID != 0
		f["uring.sqpoll_asleep"] = r.ThreadPID != 0 && r.ThreadState == wire.ThreadAsleep
	}
	if r.Seen&wire.SeenWorkers != 0 {
		n := 0
		for _, w := range s.workers {
			if w.Kind != wire.WorkerSQPoll {
				n++
			}
		}
		f["uring.workers"] = n
	}
	if r.Seen&wire.SeenSQEs != 0 {
		f["uring.sqes"] = s.sqeFacts()
	}
	if r.Seen&wire.SeenCQEs != 0 {
		f["uring.cqes"] = s.cqeFacts()
	}
	if r.Seen&wire.SeenRequests != 0 {
		f["uring.requests"] = s.requestFacts()
	}
	if r.Seen&wire.SeenLives != 0 {
		f["uring.lives"] = s.lifeFacts()
	}
	return f
}

// clamp is v as far as an int goes.
func clamp(v uint64) int { return int(min(v, math.MaxInt64)) }

func (s *Snapshot) sqeFacts() []map[string]any {
	out := make([]map[string]any, 0, len(s.sqes))
	for i := range s.sqes {
		e := &s.sqes[i]
		out = append(out, map[string]any{
			"position": int(e.Position), "index": int(e.Index), "op": iouring.OpShort(e.Op), "fd": int(e.FD), "len": int(e.Len),
			"user_data": clamp(e.UserData), "flags": iouring.SQEFlagNames(e.Flags),
		})
	}
	return out
}

func (s *Snapshot) cqeFacts() []map[string]any {
	out := make([]map[string]any, 0, len(s.cqes))
	for i := range s.cqes {
		e := &s.cqes[i]
		out = append(out, map[string]any{
			"position": int(e.Position), "user_data": clamp(e.UserData), "res": int(e.Res),
			"flags": iouring.CQEFlagNames(e.Flags), "more": e.Flags&iouring.CQEFMore != 0,
		})
	}
	return out
}

// whereWords is indexed by wire.Request*.
var whereWords = [...]string{"submitted", "armed", "punted", "task_work", "timeout"}

func (s *Snapshot) requestFacts() []map[string]any {
	out := make([]map[string]any, 0, len(s.requests))
	for i := range s.requests {
		r := &s.requests[i]
		out = append(out, map[string]any{
			"op": iouring.OpShort(r.Op), "user_data": clamp(r.UserData), "where": whereWords[r.Where],
			"multishot": r.Flags&wire.RequestMultishot != 0, "fd": int(r.FD),
		})
	}
	return out
}

func (s *Snapshot) lifeFacts() []map[string]any {
	out := make([]map[string]any, 0, len(s.done))
	for i := range s.done {
		d := &s.done[i]
		out = append(out, map[string]any{
			"op": iouring.OpShort(d.op), "user_data": clamp(d.userData), "res": int(d.res), "path": d.path,
			"more": d.more, "links": d.links, "us": d.us, "at": clamp(d.at),
		})
	}
	return out
}
