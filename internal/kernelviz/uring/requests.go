package uring

import (
	"cmp"
	"slices"
	"time"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz/wire"
)

const (
	// maxHistory events and maxDone completions are remembered.
	maxHistory = 512
	maxDone    = 512
	// maxTracked requests are followed; a ring that has more forgets them all
	// and begins anew.
	maxTracked = 1 << 16
	// settle is how long a request that no list has any more may wait for the
	// event that says how it ended.
	settleTime = 500 * time.Millisecond
)

// tracked is a request that the kernel holds.
type tracked struct {
	row       wire.RequestRow
	addr      uint64 // struct io_kiocb
	sqeFlags  uint8  // IOSQE_*
	submitted bool   // its submission was seen
	listed    bool   // BPF found it in a list of the ring at some time
	listedAt  time.Duration
}

// done is a completion that was posted lately.
type done struct {
	op       uint8
	userData uint64
	res      int32
	path     string // "inline", "armed", "punted"; "" if its submission was not seen
	more     bool
	links    bool
	us       float64 // from submission; -1 unknown
	at       uint64
}

// requests follows the requests of a ring: the union of what the kernel's
// lists hold and what the tracepoints told.
type requests struct {
	byAddr map[uint64]*tracked
	byData map[uint64][]*tracked // the same, by user_data, oldest first
	lastID uint32
	lost   uint64 // events lost so far
	// rows and done are the last events and completions, oldest first. Earlier
	// snapshots hold these slices: they are never written, only replaced.
	rows []wire.LifeRow
	end  uint64 // events since the watch was opened
	done []done
}

func newRequests() *requests {
	return &requests{byAddr: make(map[uint64]*tracked), byData: make(map[uint64][]*tracked)}
}

func (q *requests) insert(addr, userData uint64, op uint8, fd int32, since uint64) *tracked {
	if t := q.byAddr[addr]; t != nil {
		q.remove(t) // its memory is another request's by now
	}
	if len(q.byAddr) >= maxTracked {
		clear(q.byAddr)
		clear(q.byData)
	}
	q.lastID++
	t := &tracked{addr: addr, row: wire.RequestRow{ID: q.lastID, Op: op, UserData: userData, FD: fd, Since: since, Moved: since}}
	q.byAddr[addr] = t
	q.byData[userData] = append(q.byData[userData], t)
	return t
}

func (q *requests) remove(t *tracked) {
	delete(q.byAddr, t.addr)
	same := slices.DeleteFunc(q.byData[t.row.UserData], func(o *tracked) bool { return o == t })
	if len(same) == 0 {
		delete(q.byData, t.row.UserData)
		return
	}
	q.byData[t.row.UserData] = same
}

// find is the request of an event. CQEs that a multishot request posts before
// its last one, overflown ones and notifications of SEND_ZC name no request of
// ours: they are told by their user_data.
func (q *requests) find(e *lifeEvent) *tracked {
	if t := q.byAddr[e.Req]; t != nil && e.Req != 0 && t.row.UserData == e.UserData {
		return t
	}
	posted := e.What == wire.LifeComplete || e.What == wire.LifeOverflow
	if same := q.byData[e.UserData]; posted && len(same) > 0 && (e.Req == 0 || e.CQEFlags&iouring.CQEFNotif != 0) {
		return same[0]
	}
	return nil
}

// take applies the events since the last sample, in order.
func (q *requests) take(events []lifeEvent, lost uint64) {
	if lost != q.lost {
		q.lost = lost
		// What went before may have ended unseen, and so may what comes now.
		q.doubt()
		defer q.doubt()
	}
	if len(events) == 0 {
		return
	}
	keep := min(len(q.rows), max(0, maxHistory-len(events)))
	rows := append(make([]wire.LifeRow, 0, maxHistory), q.rows[len(q.rows)-keep:]...)
	var finished []done
	for i := range events {
		row, d := q.apply(&events[i])
		if len(events)-i <= maxHistory {
			rows = append(rows, row)
		}
		if d != nil {
			finished = append(finished, *d)
		}
	}
	q.rows = rows
	q.end += uint64(len(events))
	if len(finished) > 0 {
		finished = finished[max(0, len(finished)-maxDone):]
		keep := min(len(q.done), maxDone-len(finished))
		q.done = append(slices.Clone(q.done[len(q.done)-keep:]), finished...)
	}
}

// doubt forgets what only events told of: one that says how it went on may be
// among those that were lost.
func (q *requests) doubt() {
	for _, t := range q.byAddr {
		if !t.listed {
			q.remove(t)
		}
	}
}

// apply moves one request on. It returns the event's row, and what completed.
func (q *requests) apply(e *lifeEvent) (wire.LifeRow, *done) {
	row := wire.LifeRow{
		Seq: e.Seq, Time: e.Time, UserData: e.UserData, Res: e.Res, CQEFlags: e.CQEFlags, TID: e.TID,
		What: e.What, Op: e.Op, SQEFlags: e.SQEFlags, Worker: e.Worker, FD: e.FD, SubmitAt: e.SubmitAt,
	}
	t := q.find(e)
	switch e.What {
	case wire.LifeSubmit:
		t = q.submit(e, t)
	case wire.LifeArm, wire.LifePunt, wire.LifeTaskWork, wire.LifeLink, wire.LifeDefer, wire.LifeFail:
		if t == nil && e.Req != 0 && e.What != wire.LifeFail {
			t = q.insert(e.Req, e.UserData, e.Op, e.FD, cmp.Or(e.SubmitAt, e.Time))
		}
		if t != nil {
			t.move(e)
		}
	case wire.LifeComplete, wire.LifeOverflow:
		d := q.complete(e, t)
		if t != nil {
			row.Request = t.row.ID
			row.SubmitAt = cmp.Or(row.SubmitAt, t.submitAt())
			if row.Op == opUnknown {
				row.Op = t.row.Op
			}
		}
		if e.What == wire.LifeOverflow && t == nil {
			return row, nil // a completion of the same was told before
		}
		return row, d
	}
	if t != nil {
		row.Request = t.row.ID
	}
	return row, nil
}

// workerIOWQ is lifeEvent.Worker of a thread of io-wq.
const workerIOWQ = 1

// opUnknown is the operation of an event that does not tell it.
const opUnknown = 255

func (q *requests) submit(e *lifeEvent, t *tracked) *tracked {
	if t == nil || t.submitted || e.Time > t.row.Since {
		t = q.insert(e.Req, e.UserData, e.Op, e.FD, e.Time)
	}
	// Else a list had it before this event came: it is the same request.
	t.submitted = true
	t.row.Since = e.Time
	t.row.Op, t.row.FD = e.Op, e.FD
	t.setFlags(e.SQEFlags)
	return t
}

func (t *tracked) submitAt() uint64 {
	if t.submitted {
		return t.row.Since
	}
	return 0
}

func (t *tracked) setFlags(sqe uint8) {
	t.sqeFlags = sqe
	if sqe&(iouring.FlagIOLink|iouring.FlagIOHardlink) != 0 {
		t.row.Flags |= wire.RequestLinked
	}
}

// move notes where an event says that the request is.
func (t *tracked) move(e *lifeEvent) {
	switch e.What {
	case wire.LifeArm:
		t.row.Where = wire.RequestArmed
		t.row.Flags |= wire.RequestSeenArmed
	case wire.LifePunt:
		t.row.Where = wire.RequestPunted
		t.row.Flags |= wire.RequestSeenPunted
	case wire.LifeTaskWork:
		t.row.Where = wire.RequestTaskWork
	default:
		return
	}
	t.row.Moved = e.Time
}

// goOn notes that a CQE was posted and more will come: the task work that was
// queued has run. What posts again on its file is armed; the notification of a
// zero-copy send comes when the network has its data, and no list tells where
// it waits.
func (t *tracked) goOn(at uint64) {
	where := t.row.Where
	switch {
	case t.row.Op == iouring.OpSendZC || t.row.Op == iouring.OpSendmsgZC:
		where = wire.RequestSubmitted
	case where == wire.RequestTaskWork:
		where = wire.RequestArmed
	}
	if where != t.row.Where {
		t.row.Where, t.row.Moved = where, at
	}
}

// complete notes a posted CQE. Without IORING_CQE_F_MORE it is the request's
// last one.
func (q *requests) complete(e *lifeEvent, t *tracked) *done {
	more := e.CQEFlags&iouring.CQEFMore != 0
	d := &done{op: e.Op, userData: e.UserData, res: e.Res, more: more, us: -1, at: e.Time}
	d.links = e.SQEFlags&(iouring.FlagIOLink|iouring.FlagIOHardlink) != 0
	submitAt := e.SubmitAt
	if t != nil {
		if t.row.Op != opUnknown {
			d.op = t.row.Op
		}
		d.path = t.path()
		d.links = d.links || t.row.Flags&wire.RequestLinked != 0
		submitAt = cmp.Or(submitAt, t.submitAt())
		if more {
			t.row.Posted++
			t.row.Flags |= wire.RequestMultishot
			t.goOn(e.Time)
		} else {
			q.remove(t)
		}
	}
	if submitAt != 0 && e.Time >= submitAt {
		d.us = float64(e.Time-submitAt) / 1e3
	}
	if e.Worker == workerIOWQ {
		d.path = pathPunted
	}
	return d
}

// The ways that a request can take from its submission to its completion.
const (
	pathInline = "inline"
	pathArmed  = "armed"
	pathPunted = "punted"
)

func (t *tracked) path() string {
	switch {
	case t.row.Flags&wire.RequestSeenPunted != 0:
		return pathPunted
	case t.row.Flags&wire.RequestSeenArmed != 0:
		return pathArmed
	case t.row.Where == wire.RequestTimeout, t.row.Op == iouring.OpTimeout, t.row.Op == iouring.OpLinkTimeout:
		return pathArmed // on a timer
	case t.submitted:
		return pathInline
	}
	return ""
}

// merge brings in what the kernel's lists held at k.At, after the events that
// were taken. events tells that events come at all.
func (q *requests) merge(k *kernelRing, events bool) {
	for i := range k.Requests {
		r := &k.Requests[i]
		t := q.byAddr[r.Addr]
		if t == nil || t.row.UserData != r.UserData {
			t = q.insert(r.Addr, r.UserData, r.Op, r.FD, uint64(k.At))
		}
		t.see(r, k.At)
	}
	complete := k.Seen&wire.SeenRequests != 0 && !k.RequestsMore
	for _, t := range q.byAddr {
		switch {
		case t.listed && t.listedAt == k.At:
		case !events:
			// Nothing else tells when a request ends.
			if complete {
				q.remove(t)
			}
		case complete && t.listed && t.waits() && k.At-t.listedAt > settleTime:
			q.remove(t)
		case t.sqeFlags&iouring.FlagCQESkipSuccess != 0 && t.row.Where != wire.RequestPunted && k.At-time.Duration(t.row.Moved) > settleTime:
			q.remove(t) // it succeeded, and such a request says nothing then
		}
	}
}

// waits tells that the request should be in one of the kernel's lists, or was
// until its task work ran.
func (t *tracked) waits() bool {
	return t.row.Where == wire.RequestArmed || t.row.Where == wire.RequestTaskWork || t.row.Where == wire.RequestTimeout
}

// see notes that a list of the kernel's holds the request. Its word is later
// than that of any event taken, and stands.
func (t *tracked) see(r *kernelRequest, at time.Duration) {
	t.listed, t.listedAt = true, at
	t.row.Op = r.Op
	if r.FD >= 0 && !t.submitted { // else its SQE said it
		t.row.FD = r.FD
	}
	t.setFlags(uint8(r.Flags))
	if r.Multi {
		t.row.Flags |= wire.RequestMultishot
	}
	if r.Where != wire.RequestTimeout {
		t.row.Flags |= wire.RequestSeenArmed
	}
	if t.row.Where != r.Where {
		t.row.Where = r.Where
		t.row.Moved = max(t.row.Since, uint64(at))
	}
}

// list is the rows of all requests, oldest first, at most wire.MaxList, and how
// many there are and are armed.
func (q *requests) list() (rows []wire.RequestRow, armed int) {
	rows = make([]wire.RequestRow, 0, len(q.byAddr))
	for _, t := range q.byAddr {
		rows = append(rows, t.row)
		if t.row.Where == wire.RequestArmed {
			armed++
		}
	}
	slices.SortFunc(rows, func(a, b wire.RequestRow) int {
		return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.ID, b.ID))
	})
	return rows, armed
}
