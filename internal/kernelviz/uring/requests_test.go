package uring

import (
	"testing"
	"time"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz/wire"
)

func event(what uint8, at uint64, req, data uint64) lifeEvent {
	return lifeEvent{What: what, Time: at, Req: req, UserData: data, Op: iouring.OpRead, FD: 5}
}

func only(t *testing.T, q *requests) wire.RequestRow {
	t.Helper()
	rows, _ := q.list()
	if len(rows) != 1 {
		t.Fatalf("%d requests: %+v", len(rows), rows)
	}
	return rows[0]
}

// The life of a read of an empty pipe: submitted, armed, woken, completed.
func TestRequestIsFollowed(t *testing.T) {
	q := newRequests()
	q.take([]lifeEvent{event(wire.LifeSubmit, 1000, 0x10, 7)}, 0)
	if r := only(t, q); r.Where != wire.RequestSubmitted || r.Since != 1000 || r.FD != 5 || r.UserData != 7 || r.ID == 0 {
		t.Errorf("%+v", r)
	}
	q.take([]lifeEvent{event(wire.LifeArm, 1100, 0x10, 7)}, 0)
	if r := only(t, q); r.Where != wire.RequestArmed || r.Moved != 1100 || r.Since != 1000 {
		t.Errorf("%+v", r)
	}
	q.take([]lifeEvent{event(wire.LifeTaskWork, 5000, 0x10, 7)}, 0)
	if r := only(t, q); r.Where != wire.RequestTaskWork {
		t.Errorf("%+v", r)
	}
	id := only(t, q).ID
	end := event(wire.LifeComplete, 6000, 0x10, 7)
	end.Res = 1
	q.take([]lifeEvent{end}, 0)
	if rows, armed := q.list(); len(rows) != 0 || armed != 0 {
		t.Errorf("%+v", rows)
	}
	if len(q.done) != 1 || q.done[0] != (done{op: iouring.OpRead, userData: 7, res: 1, path: pathArmed, us: 5, at: 6000}) {
		t.Errorf("%+v", q.done)
	}
	for i, r := range q.rows {
		if r.Request != id {
			t.Errorf("event %d is of request %d, want %d", i, r.Request, id)
		}
	}
	if q.end != 4 || len(q.rows) != 4 {
		t.Errorf("%d events, %d rows", q.end, len(q.rows))
	}
}

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		want   string
		events []uint8
	}{
		{pathInline, []uint8{wire.LifeSubmit, wire.LifeComplete}},
		{pathArmed, []uint8{wire.LifeSubmit, wire.LifeArm, wire.LifeTaskWork, wire.LifeComplete}},
		{pathPunted, []uint8{wire.LifeSubmit, wire.LifePunt, wire.LifeComplete}},
		{pathInline, []uint8{wire.LifeSubmit, wire.LifeLink, wire.LifeComplete}},
		{"", []uint8{wire.LifeComplete}}, // submitted before the watch
		{pathArmed, []uint8{wire.LifeArm, wire.LifeComplete}},
		{pathInline, []uint8{wire.LifeSubmit, wire.LifeOverflow}},
	} {
		q := newRequests()
		for i, what := range c.events {
			q.take([]lifeEvent{event(what, uint64(1000*(i+1)), 0x10, 7)}, 0)
		}
		if len(q.done) != 1 || q.done[0].path != c.want || len(q.byAddr) != 0 {
			t.Errorf("%v: %+v, want %q", c.events, q.done, c.want)
		}
	}
}

// A multishot request posts CQEs that name no request but its user_data, and
// ends with one that lacks IORING_CQE_F_MORE.
func TestMultishotRequest(t *testing.T) {
	q := newRequests()
	q.take([]lifeEvent{event(wire.LifeSubmit, 1, 0x10, 7), event(wire.LifeArm, 2, 0x10, 7)}, 0)
	for i := range uint64(3) {
		e := event(wire.LifeComplete, 10+i, 0, 7)
		e.CQEFlags = iouring.CQEFMore
		q.take([]lifeEvent{e}, 0)
	}
	if r := only(t, q); r.Posted != 3 || r.Flags&wire.RequestMultishot == 0 {
		t.Errorf("%+v", r)
	}
	q.take([]lifeEvent{event(wire.LifeComplete, 20, 0x10, 7)}, 0)
	if rows, _ := q.list(); len(rows) != 0 {
		t.Errorf("%+v", rows)
	}
	if len(q.done) != 4 || !q.done[2].more || q.done[3].more || q.done[1].op != iouring.OpRead {
		t.Errorf("%+v", q.done)
	}
}

// What an event said of a request does not outlive the task work that it was
// about; while that is queued, it stays.
func TestTaskWorkIsNotForever(t *testing.T) {
	q := newRequests()
	list := func(at time.Duration, where uint8) wire.RequestRow {
		t.Helper()
		q.merge(lists(at, kernelRequest{Addr: 0x10, UserData: 7, Op: iouring.OpRead, FD: -1, Where: where}), true)
		return only(t, q)
	}
	q.take([]lifeEvent{event(wire.LifeSubmit, 1, 0x10, 7), event(wire.LifeArm, 2, 0x10, 7), event(wire.LifeTaskWork, 3, 0x10, 7)}, 0)
	if r := list(4, wire.RequestTaskWork); r.Where != wire.RequestTaskWork || r.Moved != 3 || r.FD != 5 {
		t.Errorf("%+v", r)
	}
	if r := list(4+4*settleTime, wire.RequestTaskWork); r.Where != wire.RequestTaskWork || r.Moved != 3 {
		t.Errorf("%+v", r)
	}
	at := 5 + 4*settleTime
	if r := list(at, wire.RequestArmed); r.Where != wire.RequestArmed || r.Moved != uint64(at) {
		t.Errorf("its task work ran, and nothing told: %+v", r)
	}
	if rows, armed := q.list(); armed != 1 {
		t.Errorf("%d armed: %+v", armed, rows)
	}
	// It ran, and no list has it: it ended, though no event said so.
	q.take([]lifeEvent{event(wire.LifeTaskWork, uint64(at)+1, 0x10, 7)}, 0)
	q.merge(lists(at+2*settleTime), true)
	if rows, _ := q.list(); len(rows) != 0 {
		t.Errorf("%+v", rows)
	}
}

// A CQE with IORING_CQE_F_MORE says that task work has run.
func TestMoreWillCome(t *testing.T) {
	for _, c := range []struct{ op, want uint8 }{
		{iouring.OpAccept, wire.RequestArmed},
		{iouring.OpSendZC, wire.RequestSubmitted},
	} {
		q := newRequests()
		for i, what := range []uint8{wire.LifeSubmit, wire.LifeArm, wire.LifeTaskWork, wire.LifeComplete} {
			e := event(what, uint64(i), 0x10, 7)
			e.Op = c.op
			if what == wire.LifeComplete {
				e.Req, e.CQEFlags = 0, iouring.CQEFMore
			}
			q.take([]lifeEvent{e}, 0)
		}
		if r := only(t, q); r.Where != c.want || r.Moved != 3 || r.Posted != 1 {
			t.Errorf("op %d: %+v", c.op, r)
		}
	}
}

// The memory of a request is used again: a new submission there is another one.
func TestAddressIsUsedAgain(t *testing.T) {
	q := newRequests()
	q.take([]lifeEvent{event(wire.LifeSubmit, 1, 0x10, 7)}, 0)
	first := only(t, q).ID
	q.take([]lifeEvent{event(wire.LifeSubmit, 2, 0x10, 7)}, 0)
	if r := only(t, q); r.ID == first || r.Since != 2 {
		t.Errorf("%+v", r)
	}
}

func lists(at time.Duration, requests ...kernelRequest) *kernelRing {
	return &kernelRing{Seen: wire.SeenRequests, At: at, Requests: requests}
}

// What a list has before its event came is the same request.
func TestListAndEventsAreMerged(t *testing.T) {
	q := newRequests()
	armed := kernelRequest{Addr: 0x10, UserData: 7, FD: 5, Op: iouring.OpRead, Where: wire.RequestArmed, Flags: uint64(iouring.FlagIOLink)}
	q.merge(lists(5000, armed), true)
	r := only(t, q)
	if r.Where != wire.RequestArmed || r.Since != 5000 || r.Flags&wire.RequestLinked == 0 {
		t.Errorf("%+v", r)
	}
	q.take([]lifeEvent{event(wire.LifeSubmit, 4000, 0x10, 7), event(wire.LifeArm, 4100, 0x10, 7)}, 0)
	if got := only(t, q); got.ID != r.ID || got.Since != 4000 || got.Where != wire.RequestArmed {
		t.Errorf("%+v, was %+v", got, r)
	}
}

func TestRequestsWithoutEvents(t *testing.T) {
	q := newRequests()
	a := kernelRequest{Addr: 0x10, UserData: 7, Op: iouring.OpPollAdd, Where: wire.RequestArmed, Multi: true}
	b := kernelRequest{Addr: 0x20, UserData: 8, Op: iouring.OpTimeout, Where: wire.RequestTimeout}
	q.merge(lists(1, a, b), false)
	rows, armed := q.list()
	if len(rows) != 2 || armed != 1 || rows[0].Flags&wire.RequestMultishot == 0 || rows[1].Where != wire.RequestTimeout {
		t.Errorf("%+v, %d armed", rows, armed)
	}
	more := lists(2, b)
	more.RequestsMore = true
	q.merge(more, false)
	if rows, _ := q.list(); len(rows) != 2 {
		t.Errorf("a list that was not whole ended a request: %+v", rows)
	}
	q.merge(lists(3, b), false)
	if r := only(t, q); r.UserData != 8 {
		t.Errorf("%+v", r)
	}
}

// Who was told of no end has ended all the same when no list has it.
func TestRequestThatEndsUnseen(t *testing.T) {
	q := newRequests()
	q.merge(lists(1, kernelRequest{Addr: 0x10, UserData: 7, Where: wire.RequestArmed}), true)
	q.merge(lists(2), true)
	only(t, q) // its event may be on its way
	q.merge(lists(3+settleTime), true)
	if rows, _ := q.list(); len(rows) != 0 {
		t.Errorf("%+v", rows)
	}
	skip := event(wire.LifeSubmit, 1, 0x20, 8)
	skip.SQEFlags = iouring.FlagCQESkipSuccess
	q.take([]lifeEvent{skip}, 0)
	only(t, q)
	q.merge(lists(2+settleTime), true)
	if rows, _ := q.list(); len(rows) != 0 {
		t.Errorf("%+v", rows)
	}
}

func TestLostEventsLeaveDoubt(t *testing.T) {
	q := newRequests()
	q.take([]lifeEvent{event(wire.LifeSubmit, 1, 0x10, 7), event(wire.LifeSubmit, 1, 0x20, 8)}, 0)
	q.merge(lists(2, kernelRequest{Addr: 0x20, UserData: 8, Where: wire.RequestArmed}), true)
	q.take(nil, 3)
	if r := only(t, q); r.UserData != 8 {
		t.Errorf("%+v", r)
	}
	// Its end may be among those that were lost with it.
	q.take([]lifeEvent{event(wire.LifeSubmit, 3, 0x30, 9)}, 4)
	if r := only(t, q); r.UserData != 8 {
		t.Errorf("%+v", r)
	}
	// How it went is not known then, unless an io-wq thread completed it.
	plain, punted := event(wire.LifeComplete, 5000, 0x30, 9), event(wire.LifeComplete, 6000, 0x40, 10)
	plain.SubmitAt, punted.SubmitAt, punted.Worker = 3000, 3000, workerIOWQ
	q.take([]lifeEvent{plain, punted}, 4)
	if d := q.done; len(d) != 2 || d[0].path != "" || d[0].us != 2 || d[1].path != pathPunted || d[1].us != 3 {
		t.Errorf("%+v", d)
	}
}

// Snapshots hold the rows of their time: what comes later does not change them.
func TestHistoryIsBounded(t *testing.T) {
	q := newRequests()
	var events []lifeEvent
	for i := range uint64(2 * maxHistory) {
		events = append(events, event(wire.LifeSubmit, i, 0x10+i%4, i), event(wire.LifeComplete, i, 0x10+i%4, i))
	}
	q.take(events[:100], 0)
	rows, finished := q.rows, q.done
	q.take(events[100:], 0)
	if len(q.rows) != maxHistory || len(q.done) != maxDone || q.end != uint64(len(events)) {
		t.Errorf("%d rows, %d done, %d events", len(q.rows), len(q.done), q.end)
	}
	if last := q.rows[maxHistory-1]; last.UserData != 2*maxHistory-1 {
		t.Errorf("%+v", last)
	}
	if len(rows) != 100 || rows[0].UserData != 0 || len(finished) != 50 || finished[49].userData != 49 {
		t.Errorf("%d rows, %d done: %+v", len(rows), len(finished), rows[0])
	}
}
