package uring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cilium/ebpf"

	"kernelviz/internal/kernelviz"
)

const (
	// maxRead bounds each list of a kernelRing.
	maxRead = 512
	// maxOverflow entries of cq_overflow_list are counted.
	maxOverflow = 4096
)

var (
	errTaskGone = fmt.Errorf("%w: the process has ended", kernelviz.ErrGone)
	errFDGone   = fmt.Errorf("%w: the fd is no longer this ring", kernelviz.ErrGone)
	errClosed   = errors.New("the uring view is closed")
)

// probe reads struct io_ring_ctx of any process through BPF, locking nothing.
// Its methods may be called concurrently.
type probe struct {
	log  *slog.Logger
	load ebpf.CollectionOptions // carries the kernel's types, parsed once
}

// foundRing is one (process, fd) that is an io_uring instance. Where the ring
// is being torn down its numbers may be zero.
type foundRing struct {
	PID, FD              int
	Comm                 string // of the process
	Ctx                  uint64 // struct io_ring_ctx; equal where processes share a ring
	Setup                uint32 // IORING_SETUP_*
	SQEntries, CQEntries uint32
	SQHead, SQTail       uint32
	CQHead, CQTail       uint32
	Inode                uint64
}

// kernelRing is one io_ring_ctx as BPF read it. The slices belong to the
// caller of read, who may pass the same kernelRing again to reuse them.
type kernelRing struct {
	Seen uint32 // wire.Seen*: what this kernel let us read of this ring
	// Moved tells that a head, a tail or a slot between them differed between
	// a first and a second read (double collect); else SQEs, CQEs, heads and
	// tails are those of one instant.
	Moved bool
	At    time.Duration // CLOCK_MONOTONIC at the end of the read
	Spent time.Duration // in the kernel

	Setup                      uint32 // io_ring_ctx.flags: IORING_SETUP_*
	SQEntries, CQEntries       uint32
	SQMask, CQMask             uint32
	SQHead, SQTail             uint32
	CQHead, CQTail             uint32
	CachedSQHead, CachedCQTail uint32
	SQFlags, CQFlags           uint32
	SQDropped, CQOverflow      uint32
	OverflowList               uint32 // completions on cq_overflow_list
	OverflowMore               bool   // there are more than maxOverflow; OverflowList stops there
	Allocated                  uint32 // nr_req_allocated: requests allocated, most of them cached; 0 if this kernel has none
	Files, Buffers             uint32 // slots registered
	Thread                     kernelThread

	Requests     []kernelRequest // armed polls (cancel table) and timeouts (timeout_list), at most maxRead
	RequestsMore bool            // the lists held more, or moved while they were walked
	SQEs         []kernelSQE     // from SQHead to SQTail, at most maxRead
	CQEs         []kernelCQE     // from CQHead to CQTail, at most maxRead
}

// kernelThread is struct io_sq_data and its thread. PID 0: the ring has none.
type kernelThread struct {
	PID       uint32
	CPU       int32         // task_cpu; -1 unknown
	Bound     int32         // sq_cpu that SQ_AFF asked for; -1 none
	Idle      time.Duration // it spins before it sleeps
	State     uint8         // wire.Thread*
	HasTimes  bool          // this kernel counts the next two
	TotalTime time.Duration // it has run for
	WorkTime  time.Duration // of which it found work
}

// kernelRequest is a struct io_kiocb that waits.
type kernelRequest struct {
	Addr     uint64 // its address, as in lifeEvent.Req
	UserData uint64
	FD       int32  // -1 unknown; of a registered file the slot
	Flags    uint64 // io_kiocb.flags: IOSQE_* in the low byte, REQ_F_* above
	Op       uint8  // IORING_OP_*
	Where    uint8  // wire.RequestArmed or wire.RequestTimeout
	Multi    bool   // multishot
}

// kernelSQE is a pending SQE.
type kernelSQE struct {
	Position uint32 // value of the counter
	Index    uint32 // sq_array[Position & mask], or Position & mask without one; SQEntries or more: bad, Raw is zero
	Wide     bool   // 128 bytes; Raw is the first half
	Raw      [64]byte
}

// kernelCQE is an unread CQE.
type kernelCQE struct {
	Position uint32
	Wide     bool     // 32 bytes
	Raw      [32]byte // the second half is zero unless Wide
}

// newProbe loads the programs. The error wraps that of the load; nothing stays
// loaded then.
func newProbe(log *slog.Logger, load ebpf.CollectionOptions) (*probe, error) {
	return nil, errors.New("not yet built")
}

func (p *probe) close() {}

// discover lists every (process, fd) that is a ring; of one process only if
// pid is not 0.
func (p *probe) discover(ctx context.Context, pid int) ([]foundRing, error) {
	return nil, errors.New("not yet built")
}

// read reads the ring that discover found at pid and fd into dst. The error
// wraps kernelviz.ErrGone if pid:fd is no longer that io_ring_ctx.
func (p *probe) read(ctx context.Context, pid, fd int, ctxAddr uint64, dst *kernelRing) error {
	return errors.New("not yet built")
}
