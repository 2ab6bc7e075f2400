package uring

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz/wire"
)

const (
	// maxWatched rings are looked at by the tracepoints at a time (MAX_RINGS in
	// lives.bpf.c).
	maxWatched = 16
	// maxPending events wait for the next take of a log: those of a third of a
	// second at the rate from which the programs thin out.
	maxPending = 1 << 14
	// thinningWindow is the time in which a ring may have so many events told.
	thinningWindow = 50 * time.Millisecond
	// lateness is how long an event waits for one with a lower number. Two CPUs
	// number their events in one order and may write them in another.
	lateness = 5 * time.Millisecond
)

var (
	errTooMany       = fmt.Errorf("the lives of requests are told of no more than %d rings at a time", maxWatched)
	errNoTracepoints = errors.New("this kernel has no tracepoint of io_uring that a BPF program of ours fits")
)

// tracer attaches the io_uring tracepoints while somebody watches, and sorts
// what they see by ring. Its methods may be called concurrently.
type tracer struct {
	log  *slog.Logger
	load ebpf.CollectionOptions // carries the kernel's types, parsed once

	mu      sync.Mutex
	watched [maxWatched]*watchedRing // nil: free
	coll    *ebpf.Collection         // nil while nothing is attached
	reader  *ringbuf.Reader
	links   []attached
	bell    *bell
	meter   lifeMeter
	rester  rester
	hotRate float64 // see the constants of these names
	cpuRate float64
}

// watchedRing is one io_ring_ctx that the tracepoints look at.
type watchedRing struct {
	slot int
	ctx  uint64
	logs []*lifeLog
	sum  uint32 // how far it was when the programs were taken off
}

// lifeEvent is one event in the life of a request.
//
// A life ends with a LifeComplete whose CQEFlags lack CQE_F_MORE, or with a
// LifeOverflow: some kernels tell both, others only the latter. A request with
// IOSQE_CQE_SKIP_SUCCESS that succeeds has no end that is told.
type lifeEvent struct {
	Seq      uint64 // counted in the kernel for this ring since the watch; a gap is a loss
	Time     uint64 // CLOCK_MONOTONIC, ns
	SubmitAt uint64 // CLOCK_MONOTONIC of the request's submission; 0 unknown
	// Req is the struct io_kiocb; 0 of events of the ring as a whole, and where
	// the request is not known. The kernel uses the address again for a request
	// submitted later.
	Req      uint64
	UserData uint64
	Res      int32 // of LifeComplete, LifeOverflow, LifeFail, LifeCQWait and LifeLocalWork
	CQEFlags uint32
	TID      uint32 // the thread that was running
	FD       int32  // -1 unknown
	What     uint8  // wire.Life*
	Op       uint8  // IORING_OP_*; 255 unknown
	SQEFlags uint8  // IOSQE_*
	Worker   uint8  // 1 an io-wq worker ran, 2 the SQPOLL thread, 0 another thread
}

// lifeLog is what the tracepoints saw of one ring for one watch.
type lifeLog struct {
	t    *tracer
	ring *watchedRing
	wake chan struct{} // rung when something was seen; capacity 1

	// All below are guarded by t.mu.
	pending []livesLife
	first   uint64 // number of the first event of the watch
	next    uint64 // number of the event to come
	untold  uint64 // events that the programs had not told before
	dropped uint64 // pending was full, or the event came too late
	lost    uint64 // never falls
	names   requestNames
}

// newTracer attaches nothing yet.
func newTracer(log *slog.Logger, load ebpf.CollectionOptions) *tracer {
	return &tracer{log: log, load: load, hotRate: hotRate, cpuRate: cpuRate}
}

// watch begins to look at a ring. The channel, of capacity 1, rings now and
// then while something happens. The first watch loads and attaches the
// programs. Each watch has a log of its own, until unwatch.
func (t *tracer) watch(ctxAddr uint64) (<-chan struct{}, *lifeLog, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.watched[:], func(w *watchedRing) bool { return w != nil && w.ctx == ctxAddr })
	if i < 0 {
		i = slices.Index(t.watched[:], nil)
	}
	if i < 0 {
		return nil, nil, errTooMany
	}
	if t.coll == nil {
		if err := t.attach(); err != nil {
			t.detach()
			return nil, nil, err
		}
	}
	w := t.watched[i]
	if w == nil {
		w = &watchedRing{slot: i, ctx: ctxAddr}
		if err := t.coll.Maps[livesMapStates].Put(uint32(i), livesRingState{}); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("clearing the counters of a ring: %w", err), t.settle())
		}
		if t.rester.phase == phaseOff {
			if err := t.skip(w, false); err != nil {
				return nil, nil, errors.Join(err, t.settle())
			}
		}
		t.watched[i] = w
		if err := t.publish(); err != nil {
			t.watched[i] = nil
			return nil, nil, errors.Join(err, t.settle())
		}
	}
	state, err := t.state(w)
	if err != nil {
		if len(w.logs) == 0 {
			t.watched[i] = nil
		}
		return nil, nil, errors.Join(err, t.settle())
	}
	l := &lifeLog{t: t, ring: w, wake: make(chan struct{}, 1), first: state.Seq, next: state.Seq, untold: state.Untold}
	w.logs = append(w.logs, l)
	return l.wake, l, nil
}

// unwatch ends the watch of l. The last one detaches the programs. l may still
// be asked for what it has.
func (t *tracer) unwatch(l *lifeLog) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := l.ring
	if !slices.Contains(w.logs, l) {
		return
	}
	w.logs = slices.DeleteFunc(w.logs, func(other *lifeLog) bool { return other == l })
	if len(w.logs) > 0 {
		return
	}
	t.watched[w.slot] = nil
	if err := t.settle(); err != nil {
		t.log.Error("telling the tracepoints what to look at", "err", err)
	}
	t.forget(w.ctx)
}

// settle detaches if nobody watches, else tells the programs what to look at.
// t.mu is held.
func (t *tracer) settle() error {
	if t.watched == [maxWatched]*watchedRing{} {
		t.detach()
	}
	if t.coll == nil {
		return nil
	}
	return t.publish()
}

// forget removes the requests of a ring that nobody watches any more. t.mu is held.
func (t *tracer) forget(ctxAddr uint64) {
	if t.coll == nil {
		return
	}
	requests := t.coll.Maps[livesMapRequests]
	var gone []uint64
	var addr uint64
	var r livesRequest
	for iter := requests.Iterate(); iter.Next(&addr, &r); {
		if r.Ring == ctxAddr {
			gone = append(gone, addr)
		}
	}
	for _, addr := range gone {
		// A request that has ended meanwhile is not there any more.
		_ = requests.Delete(addr)
	}
}

// close detaches whatever is attached.
func (t *tracer) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watched = [maxWatched]*watchedRing{}
	t.detach()
}

// A lifeProgram is a program of lives.bpf.c with the arguments that its
// tracepoint must have.
type lifeProgram struct {
	name       string
	tracepoint string
	// args are what each argument must be, as argKind tells it; further
	// arguments are not looked at.
	args []string
	what uint8 // wire.Life*
}

// lifePrograms lists, for tracepoints whose arguments differ between kernels,
// the newest layout first.
var lifePrograms = []lifeProgram{
	{livesProgSubmitReq, "io_uring_submit_req", []string{"io_kiocb"}, wire.LifeSubmit},
	{livesProgSubmitSqe, "io_uring_submit_sqe", []string{"io_kiocb"}, wire.LifeSubmit},
	{livesProgPollArm, "io_uring_poll_arm", []string{"io_kiocb"}, wire.LifeArm},
	{livesProgQueueAsyncWork, "io_uring_queue_async_work", []string{"io_kiocb"}, wire.LifePunt},
	{livesProgTaskAdd, "io_uring_task_add", []string{"io_kiocb"}, wire.LifeTaskWork},
	{livesProgCompleteCqe, "io_uring_complete", []string{"pointer", "pointer", "io_uring_cqe"}, wire.LifeComplete},
	{livesProgCompleteArgs, "io_uring_complete", []string{"pointer", "pointer", "int8", "int4", "int4"}, wire.LifeComplete},
	{livesProgCqeOverflow, "io_uring_cqe_overflow", []string{"pointer", "int8", "int4", "int4"}, wire.LifeOverflow},
	{livesProgReqFailed, "io_uring_req_failed", []string{"pointer", "io_kiocb", "int4"}, wire.LifeFail},
	{livesProgLinkReq, "io_uring_link", []string{"io_kiocb"}, wire.LifeLink},
	{livesProgDeferReq, "io_uring_defer", []string{"io_kiocb"}, wire.LifeDefer},
	{livesProgCqringWait, "io_uring_cqring_wait", []string{"pointer", "int4"}, wire.LifeCQWait},
	{livesProgLocalWorkRun, "io_uring_local_work_run", []string{"pointer", "int4"}, wire.LifeLocalWork},
}

// usable are the programs that fit this kernel's tracepoints, at most one per
// tracepoint.
func (t *tracer) usable() ([]lifeProgram, error) {
	types, err := t.types()
	if err != nil {
		return nil, fmt.Errorf("looking for tracepoints of io_uring: %w", err)
	}
	return fittingPrograms(types), nil
}

func (t *tracer) types() (*btf.Spec, error) {
	if t.load.Cache != nil {
		return t.load.Cache.Kernel()
	}
	return btf.LoadKernelSpec()
}

func fittingPrograms(types *btf.Spec) []lifeProgram {
	var out []lifeProgram
	for _, p := range lifePrograms {
		args, ok := tracepointArgs(types, p.tracepoint)
		if !ok || len(args) < len(p.args) {
			continue
		}
		fits := true
		for i, want := range p.args {
			kind, pointer := argKind(args[i])
			fits = fits && (kind == want || want == "pointer" && pointer)
		}
		taken := slices.ContainsFunc(out, func(o lifeProgram) bool { return o.tracepoint == p.tracepoint })
		if fits && !taken {
			out = append(out, p)
		}
	}
	return out
}

// tracepointArgs are the arguments that a program on a tracepoint gets. The
// kernel declares typedef btf_trace_NAME, a pointer to a function of them after
// a void * (include/trace/bpf_probe.h).
func tracepointArgs(types *btf.Spec, name string) ([]btf.FuncParam, bool) {
	found, err := types.AnyTypesByName("btf_trace_" + name)
	if err != nil {
		return nil, false
	}
	for _, typ := range found {
		def, ok := typ.(*btf.Typedef)
		if !ok {
			continue
		}
		ptr, ok := btf.UnderlyingType(def.Type).(*btf.Pointer)
		if !ok {
			continue
		}
		if proto, ok := ptr.Target.(*btf.FuncProto); ok && len(proto.Params) > 0 {
			return proto.Params[1:], true
		}
	}
	return nil, false
}

// argKind is the name of the struct that an argument points to, "intN" of a
// number of N bytes, or "" of anything else.
func argKind(p btf.FuncParam) (kind string, pointer bool) {
	switch u := btf.UnderlyingType(p.Type).(type) {
	case *btf.Pointer:
		if s, ok := btf.UnderlyingType(u.Target).(*btf.Struct); ok {
			return s.Name, true
		}
		return "", true
	case *btf.Int:
		return fmt.Sprintf("int%d", u.Size), false
	case *btf.Enum:
		return fmt.Sprintf("int%d", u.Size), false
	}
	return "", false
}

// kinds are the wire.Life* that this kernel's tracepoints can tell; those it
// lacks are left out. It asks BTF, so it may be called before any watch.
func (t *tracer) kinds() []uint8 {
	programs, err := t.usable()
	if err != nil {
		return nil
	}
	var out []uint8
	for _, p := range programs {
		out = append(out, p.what)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// attach loads and attaches the programs. t.mu is held.
func (t *tracer) attach() error {
	programs, err := t.usable()
	if err != nil {
		return err
	}
	if len(programs) == 0 {
		return errNoTracepoints
	}
	spec, err := loadLives()
	if err != nil {
		return err
	}
	for name := range spec.Programs {
		if name != livesProgSkip && !slices.ContainsFunc(programs, func(p lifeProgram) bool { return p.name == name }) {
			delete(spec.Programs, name)
		}
	}
	if err := spec.Variables[livesVarWindow].Set(uint32(max(1, thinningWindow/jiffy()))); err != nil {
		return fmt.Errorf("setting the window of request lives: %w", err)
	}
	if t.coll, err = ebpf.NewCollectionWithOptions(spec, t.load); err != nil {
		return fmt.Errorf("loading the lives of requests: %w", err)
	}
	if t.reader, err = ringbuf.NewReader(t.coll.Maps[livesMapLives]); err != nil {
		return fmt.Errorf("opening the buffer of request lives: %w", err)
	}
	for _, p := range programs {
		a := attached{program: p}
		if err := t.attachOne(&a); err != nil {
			return err
		}
		t.links = append(t.links, a)
	}
	t.meter = lifeMeter{}
	if t.bell, err = newBell(t.coll.Maps[livesMapLives].FD(), t.ring); err != nil {
		return fmt.Errorf("waiting for request lives: %w", err)
	}
	t.startRests()
	return nil
}

// detach undoes attach, however far it came. t.mu is held.
func (t *tracer) detach() {
	t.stopRests()
	for _, l := range t.links {
		if l.link == nil {
			continue
		}
		if err := l.link.Close(); err != nil {
			t.log.Error("detaching a tracepoint", "err", err)
		}
	}
	t.links = nil
	if t.bell != nil {
		t.bell.close()
		t.bell = nil
	}
	if t.reader != nil {
		t.reader.Close()
		t.reader = nil
	}
	if t.coll != nil {
		t.coll.Close()
		t.coll = nil
	}
}

// publish tells the programs what to look at. t.mu is held.
func (t *tracer) publish() error {
	var rings [maxWatched]uint64
	count := uint32(0)
	for i, w := range t.watched {
		if w != nil {
			rings[i], count = w.ctx, uint32(i+1)
		}
	}
	if err := t.coll.Variables[livesVarRings].Set(rings); err != nil {
		return fmt.Errorf("telling the tracepoints what to look at: %w", err)
	}
	return t.coll.Variables[livesVarRingCount].Set(count)
}

// state is what the programs count of a ring. t.mu is held.
func (t *tracer) state(w *watchedRing) (livesRingState, error) {
	var s livesRingState
	if err := t.coll.Maps[livesMapStates].Lookup(uint32(w.slot), &s); err != nil {
		return s, fmt.Errorf("reading the counters of a ring: %w", err)
	}
	return s, nil
}

// ring tells every watch that the programs saw something. It returns whether
// they did since the buffer was last read.
func (t *tracer) ring() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.coll == nil {
		return false
	}
	drained := t.drain() > 0
	for _, w := range t.watched {
		if w == nil {
			continue
		}
		for _, l := range w.logs {
			if len(l.pending) == 0 {
				continue
			}
			select {
			case l.wake <- struct{}{}:
			default:
			}
		}
	}
	return drained
}

// drain hands the buffer's records to the logs, and counts them. t.mu is held.
func (t *tracer) drain() (n int) {
	t.reader.SetDeadline(time.Unix(1, 0))
	var rec ringbuf.Record
	for ; n < 2*maxPending; n++ {
		if err := t.reader.ReadInto(&rec); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.log.Error("reading request lives", "err", err)
			}
			return n
		}
		if len(rec.RawSample) < int(unsafe.Sizeof(livesLife{})) {
			t.log.Error("a request life is too short", "bytes", len(rec.RawSample))
			return n
		}
		e := (*livesLife)(unsafe.Pointer(&rec.RawSample[0]))
		for _, w := range t.watched {
			if w == nil || w.ctx != e.Ring {
				continue
			}
			for _, l := range w.logs {
				l.give(e)
			}
		}
	}
	return n
}

// give adds an event to what is pending, unless it is from before the watch.
func (l *lifeLog) give(e *livesLife) {
	switch {
	case e.Seq < l.first:
	case e.Seq < l.next, len(l.pending) >= maxPending: // too late, or too many
		l.dropped++
	default:
		l.pending = append(l.pending, *e)
	}
}

// take returns the events since the last take, in the kernel's order, and how
// many events of this ring were lost since its watch began: those that the
// programs did not tell, and those that nobody took in time.
func (l *lifeLog) take() (rows []lifeEvent, lost uint64) {
	t := l.t
	t.mu.Lock()
	defer t.mu.Unlock()
	watching := t.coll != nil && slices.Contains(l.ring.logs, l) && t.watched[l.ring.slot] == l.ring
	if watching {
		t.drain()
		if s, err := t.state(l.ring); err != nil {
			t.log.Error("counting request lives", "err", err)
		} else {
			l.count(s)
		}
	}
	return l.sorted(monotonicNow(), !watching), l.lost
}

// count brings lost up to date.
func (l *lifeLog) count(s livesRingState) {
	l.lost = s.Untold - l.untold + l.dropped
}

func monotonicNow() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}

// sorted returns the pending events in order, up to a gap that may yet be
// filled; with all, the rest too.
func (l *lifeLog) sorted(now time.Duration, all bool) []lifeEvent {
	slices.SortFunc(l.pending, func(a, b livesLife) int { return cmp.Compare(a.Seq, b.Seq) })
	n := 0
	for ; n < len(l.pending); n++ {
		e := &l.pending[n]
		if !all && e.Seq != l.next && now-time.Duration(e.Time) < lateness {
			break
		}
		l.next = e.Seq + 1
	}
	if n == 0 {
		return nil
	}
	rows := make([]lifeEvent, n)
	for i := range rows {
		e := &l.pending[i]
		rows[i] = lifeEvent{
			Seq: e.Seq - l.first, Time: e.Time, SubmitAt: e.Submitted, Req: e.Req, UserData: e.UserData, Res: e.Res,
			CQEFlags: e.CqeFlags, TID: e.Tid, FD: e.Fd, What: e.What, Op: e.Op, SQEFlags: e.SqeFlags, Worker: e.Worker,
		}
		l.names.fill(&rows[i])
	}
	l.pending = append(l.pending[:0], l.pending[n:]...)
	return rows
}

// requestNames finds the request of a completion that does not name one: of
// all CQEs of a multishot request but its last the kernel tells only the
// user_data, and of an overflow too. Of several requests in flight with one
// user_data it takes the one last heard of.
type requestNames struct {
	inFlight map[uint64]lifeEvent // by user_data: the last event that named the request
	ended    lifeEvent            // the last that completed
}

// maxNames bounds what is remembered of requests whose end is never told.
const maxNames = 1 << 14

func (n *requestNames) fill(e *lifeEvent) {
	last := e.What == wire.LifeComplete && e.CQEFlags&iouring.CQEFMore == 0
	if e.Req != 0 {
		if last {
			n.ended = *e
			if n.inFlight[e.UserData].Req == e.Req {
				delete(n.inFlight, e.UserData)
			}
			return
		}
		if n.inFlight == nil || len(n.inFlight) >= maxNames {
			n.inFlight = make(map[uint64]lifeEvent)
		}
		n.inFlight[e.UserData] = *e
		return
	}
	if e.What != wire.LifeComplete && e.What != wire.LifeOverflow {
		return
	}
	of, known := n.inFlight[e.UserData]
	if !known && e.What == wire.LifeOverflow && n.ended.Req != 0 && n.ended.UserData == e.UserData {
		of, known = n.ended, true
	}
	if !known {
		return
	}
	e.Req, e.Op, e.FD, e.SQEFlags, e.SubmitAt = of.Req, of.Op, of.FD, of.SQEFlags, of.SubmitAt
	if e.CQEFlags&iouring.CQEFMore == 0 {
		n.ended = *e
		delete(n.inFlight, e.UserData)
	}
}

// cost is the share of one CPU that the attached programs take, all together.
func (t *tracer) cost() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.coll == nil {
		return 0
	}
	return t.meter.measure(t.log, t.coll)
}

// lifeMeter turns what the programs measured of themselves into a share of one CPU.
type lifeMeter struct {
	began  time.Time
	before uint64 // ns spent until then
	share  float64
}

const (
	// meterEvery is how often the share is worked out.
	meterEvery = 500 * time.Millisecond
	// timedEvery is how many runs one timed run stands for (TIMED_EVERY in
	// lives.bpf.c).
	timedEvery = 64
)

func (m *lifeMeter) measure(log *slog.Logger, coll *ebpf.Collection) float64 {
	since := time.Since(m.began)
	if since < meterEvery {
		return m.share
	}
	var spent []livesCost // by CPU
	if err := coll.Maps[livesMapSpent].Lookup(uint32(0), &spent); err != nil {
		log.Error("reading what the tracepoints cost", "err", err)
		return m.share
	}
	ns := uint64(0)
	for _, s := range spent {
		ns += s.Ns
	}
	if !m.began.IsZero() {
		m.share = float64((ns-m.before)*timedEvery) / float64(since)
	}
	m.began, m.before = time.Now(), ns
	return m.share
}
