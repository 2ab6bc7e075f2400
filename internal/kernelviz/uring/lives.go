package uring

import (
	"errors"
	"log/slog"

	"github.com/cilium/ebpf"
)

// tracer attaches the io_uring tracepoints while somebody watches, and sorts
// what they see by ring. Its methods may be called concurrently.
type tracer struct {
	log  *slog.Logger
	load ebpf.CollectionOptions
}

// lifeEvent is one event in the life of a request.
type lifeEvent struct {
	Seq      uint64 // counted in the kernel for this ring since the watch; a gap is a loss
	Time     uint64 // CLOCK_MONOTONIC, ns
	SubmitAt uint64 // CLOCK_MONOTONIC of the request's submission; 0 unknown
	Req      uint64 // struct io_kiocb; 0 of events of the ring as a whole. Used again after the request's end
	UserData uint64
	Res      int32 // of LifeComplete, LifeFail, LifeCQWait and LifeLocalWork
	CQEFlags uint32
	TID      uint32 // the thread that was running
	FD       int32  // -1 unknown
	What     uint8  // wire.Life*
	Op       uint8  // IORING_OP_*; 255 unknown
	SQEFlags uint8  // IOSQE_*
	Worker   uint8  // 1 an io-wq worker ran, 2 the SQPOLL thread, 0 another thread
}

// lifeLog is what the tracepoints saw of one ring for one watch.
type lifeLog struct{}

// newTracer attaches nothing yet.
func newTracer(log *slog.Logger, load ebpf.CollectionOptions) *tracer {
	return &tracer{log: log, load: load}
}

// watch begins to look at a ring. The channel, of capacity 1, rings now and
// then while something happens. The first watch loads and attaches the
// programs. Each watch has a log of its own, until unwatch.
func (t *tracer) watch(ctxAddr uint64) (<-chan struct{}, *lifeLog, error) {
	return nil, nil, errors.New("not yet built")
}

// unwatch ends the watch of l. The last one detaches the programs.
func (t *tracer) unwatch(l *lifeLog) {}

// kinds are the wire.Life* that this kernel's tracepoints can tell; those it
// lacks are left out. It asks BTF, so it may be called before any watch.
func (t *tracer) kinds() []uint8 { return nil }

// cost is the share of one CPU that the attached programs take, all together.
func (t *tracer) cost() float64 { return 0 }

// close detaches whatever is attached.
func (t *tracer) close() {}

// take returns the events since the last take, in the kernel's order, and how
// many events of this ring were lost since its watch began.
func (l *lifeLog) take() (rows []lifeEvent, lost uint64) { return nil, 0 }
