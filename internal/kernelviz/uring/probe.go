package uring

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/kernelviz/wire"
)

// maxRead bounds each list of a kernelRing (MAX_LIST in rings.bpf.c).
const maxRead = len(ringsRingLists{}.Sqes)

// What a kernel has of struct ring (HAVE_* in rings.bpf.c).
const (
	haveTables = 1 << iota
	haveRequests
	haveAllocated
	haveWorkTime
)

var (
	errTaskGone = fmt.Errorf("%w: its process has ended", kernelviz.ErrGone)
	errFDGone   = fmt.Errorf("%w: the fd is no longer this ring", kernelviz.ErrGone)
	errClosed   = errors.New("the view of rings is closed")
)

// probe reads struct io_ring_ctx of any process through BPF, locking nothing.
// Its methods may be called concurrently; runs of the program are serialised,
// since they share the array that it writes to.
type probe struct {
	log  *slog.Logger
	coll *ebpf.Collection
	tick time.Duration // of the kernel's clock: one jiffy

	mu    sync.Mutex
	lists *ringsRingLists // mapped; nil once closed
	// known are the rings that discover found, by name and address. A ring
	// that is gone stays until the next discovery.
	known map[ringName]ringsTarget
}

type ringName struct {
	pid, fd int
	ctx     uint64
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
	Inode                uint64 // its own, and never that of another ring
}

// kernelRing is one io_ring_ctx as BPF read it. The caller of read owns it, and
// may pass it again: the slices are reused.
type kernelRing struct {
	// Inode of the ring's file. If it is not 0 when read is called, a ring with
	// another inode is not the one that is meant: its address was used again.
	Inode uint64
	// Seen tells what this kernel let us read of this ring: wire.Seen*, of which
	// SeenRequests means armed polls and timeouts, and SeenInFlight that InFlight
	// is known at this moment.
	Seen uint32
	// Moved tells that a head, a tail or a slot between them differed between
	// a first and a second read (double collect); else SQEs, CQEs, heads and
	// tails are those of one instant.
	Moved bool
	At    time.Duration // CLOCK_MONOTONIC at the end of the read
	Spent time.Duration // in the kernel

	Setup                        uint32 // io_ring_ctx.flags: IORING_SETUP_*
	SQEntries, CQEntries         uint32 // of io_ring_ctx: nobody but the kernel can write them
	SQMask, CQMask               uint32 // of io_rings, as the rest up to CQOverflow but for cached: the owner can
	SQRingEntries, CQRingEntries uint32
	SQHead, SQTail               uint32
	CQHead, CQTail               uint32
	CachedSQHead, CachedCQTail   uint32 // of io_ring_ctx
	SQFlags, CQFlags             uint32
	SQDropped, CQOverflow        uint32
	OverflowList                 uint32 // completions on cq_overflow_list
	OverflowMore                 bool   // there are more than 4096 (MAX_OVERFLOW); OverflowList stops there
	Allocated                    uint32 // nr_req_allocated: requests that exist, in flight or kept for use; 0 if this kernel has none
	InFlight                     int32  // Allocated without those kept for use; -1 unknown
	Files, Buffers               uint32 // slots registered
	Thread                       kernelThread

	Requests     []kernelRequest // polls (cancel table) and timeouts (timeout_list), at most maxRead, in no order
	RequestsMore bool            // the lists held more, or moved while they were walked
	SQEs         []kernelSQE     // from SQHead to SQTail, at most maxRead
	CQEs         []kernelCQE     // from CQHead to CQTail, at most maxRead
}

// kernelThread is struct io_sq_data and its thread. PID 0: the ring has none.
type kernelThread struct {
	PID       uint32
	CPU       int32         // it last ran on; -1 unknown
	Bound     int32         // sq_cpu that IORING_SETUP_SQ_AFF asked for; -1 none
	Idle      time.Duration // it spins before it sleeps
	State     uint8         // wire.Thread*
	TotalTime time.Duration // it has run for
	HasTimes  bool          // this kernel counts WorkTime
	WorkTime  time.Duration // of TotalTime it found work
}

// kernelRequest is a struct io_kiocb that waits.
type kernelRequest struct {
	Addr     uint64 // its address, as in lifeEvent.Req
	UserData uint64
	FD       int32  // -1 unknown; of a registered file the slot
	Flags    uint64 // io_kiocb.flags: IOSQE_* in the low byte, REQ_F_* above
	Op       uint8  // IORING_OP_*
	Where    uint8  // wire.RequestArmed, wire.RequestTaskWork or wire.RequestTimeout
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
	spec, err := loadRings()
	if err != nil {
		return nil, err
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, load)
	if err != nil {
		return nil, fmt.Errorf("loading the reader of rings: %w", err)
	}
	mem, err := unix.Mmap(coll.Maps[ringsMapLists].FD(), 0, listsSize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		coll.Close()
		return nil, fmt.Errorf("mapping the lists of a ring: %w", err)
	}
	p := &probe{log: log, coll: coll, tick: jiffy(), known: make(map[ringName]ringsTarget)}
	p.lists = (*ringsRingLists)(unsafe.Pointer(&mem[0]))
	return p, nil
}

// jiffy is the tick of the kernel's clock: the resolution of its coarse clocks.
func jiffy() time.Duration {
	var res unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &res); err != nil || res.Nano() <= 0 {
		return time.Second / 250
	}
	return time.Duration(res.Nano())
}

func listsSize() int {
	page := unix.Getpagesize()
	return (int(unsafe.Sizeof(ringsRingLists{})) + page - 1) / page * page
}

// close unloads the programs. It may be called twice.
func (p *probe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lists == nil {
		return
	}
	if err := unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(p.lists)), listsSize())); err != nil {
		p.log.Error("unmapping the lists of a ring", "err", err)
	}
	p.lists = nil
	p.coll.Close()
}

// discover lists every (process, fd) that is a ring; of one process only if
// pid is not 0.
func (p *probe) discover(ctx context.Context, pid int) ([]foundRing, error) {
	targets, err := p.targets(ctx, pid)
	if err != nil {
		return nil, err
	}
	p.remember(pid, targets)
	out := make([]foundRing, len(targets))
	for i := range targets {
		t := &targets[i]
		out[i] = foundRing{
			PID: int(t.Pid), FD: int(t.Fd), Comm: comm(&t.Comm), Ctx: t.Ctx, Setup: t.Setup,
			SQEntries: t.SqEntries, CQEntries: t.CqEntries, Inode: t.Inode,
			SQHead: t.SqHead, SQTail: t.SqTail, CQHead: t.CqHead, CQTail: t.CqTail,
		}
	}
	return out, nil
}

// remember replaces what is known of the process, of all if pid is 0.
func (p *probe) remember(pid int, targets []ringsTarget) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.known {
		if pid == 0 || k.pid == pid {
			delete(p.known, k)
		}
	}
	for i := range targets {
		t := &targets[i]
		p.known[ringName{int(t.Pid), int(t.Fd), t.Ctx}] = *t
	}
}

func comm(raw *[16]int8) string {
	var b []byte
	for _, c := range raw {
		if c == 0 {
			break
		}
		b = append(b, byte(c))
	}
	return string(b)
}

// targets runs the iterator. p.mu is not held: the program keeps no state.
func (p *probe) targets(ctx context.Context, pid int) ([]ringsTarget, error) {
	p.mu.Lock()
	closed := p.lists == nil
	var iter io.ReadCloser
	var err error
	if !closed {
		iter, err = kernel.OpenTaskFileIter(p.coll.Programs[ringsProgDiscover], pid)
	}
	p.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	if err != nil {
		return nil, fmt.Errorf("iterating over open files: %w", err)
	}
	defer iter.Close()
	// The iterator visits every thread whose table of fds is not its leader's:
	// all threads, once the leader has ended. A name stands once, and the
	// leader's table is the process's.
	type name struct {
		pid uint32
		fd  int32
	}
	seen := make(map[name]int)
	var out []ringsTarget
	var t ringsTarget
	err = kernel.ReadRecords(ctx, iter, int(unsafe.Sizeof(t)), func(raw []byte) error {
		if _, err := binary.Decode(raw, binary.NativeEndian, &t); err != nil {
			return fmt.Errorf("decoding a ring: %w", err)
		}
		if pid != 0 && int(t.Pid) != pid {
			return nil
		}
		k := name{t.Pid, t.Fd}
		if i, twice := seen[k]; !twice {
			seen[k] = len(out)
			out = append(out, t)
		} else if t.Tid == t.Pid {
			out[i] = t
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// read reads the ring that discover found at pid and fd into dst. The error
// wraps kernelviz.ErrGone if pid:fd is no longer that io_ring_ctx. The first
// read of a ring that discover has not listed runs the iterator over pid.
func (p *probe) read(ctx context.Context, pid, fd int, ctxAddr uint64, dst *kernelRing) error {
	name := ringName{pid, fd, ctxAddr}
	p.mu.Lock()
	t, ok := p.known[name]
	p.mu.Unlock()
	if !ok {
		targets, err := p.targets(ctx, pid)
		if err != nil {
			return err
		}
		p.remember(pid, targets)
		for i := range targets {
			if int(targets[i].Fd) == fd && targets[i].Ctx == ctxAddr {
				t, ok = targets[i], true
			}
		}
		if !ok {
			return errFDGone
		}
	}
	if dst.Inode != 0 && dst.Inode != t.Inode {
		return errFDGone
	}
	a := ringsRing{Task: t.Task, StartTime: t.StartTime, File: t.File, Ctx: t.Ctx, Inode: t.Inode, Tid: t.Tid, Fd: t.Fd}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lists == nil {
		return errClosed
	}
	ret, err := p.coll.Programs[ringsProgReadRing].Run(&ebpf.RunOptions{Context: &a, ContextOut: &a})
	if err != nil {
		return fmt.Errorf("reading a ring: %w", err)
	}
	if ret != 0 {
		return fmt.Errorf("reading a ring: the program returned %d", ret)
	}
	switch unix.Errno(-a.Err) {
	case 0:
	case unix.ESRCH:
		return errTaskGone
	default:
		return errFDGone
	}
	dst.fill(&a, p.lists, p.tick)
	return nil
}

// fill takes over what the program wrote.
func (r *kernelRing) fill(a *ringsRing, lists *ringsRingLists, tick time.Duration) {
	*r = kernelRing{
		Inode: a.Inode,
		Seen:  wire.SeenHeads | wire.SeenSQEs | wire.SeenCQEs | wire.SeenCached | wire.SeenThread | wire.SeenOverflow,
		Moved: a.Moved != 0, At: time.Duration(a.Ended), Spent: time.Duration(a.Spent),
		Setup: a.Setup, SQEntries: a.SqEntries, CQEntries: a.CqEntries,
		SQMask: a.SqMask, CQMask: a.CqMask, SQRingEntries: a.SqRingEntries, CQRingEntries: a.CqRingEntries,
		SQHead: a.SqHead, SQTail: a.SqTail, CQHead: a.CqHead, CQTail: a.CqTail,
		CachedSQHead: a.CachedSqHead, CachedCQTail: a.CachedCqTail,
		SQFlags: a.SqFlags, CQFlags: a.CqFlags, SQDropped: a.SqDropped, CQOverflow: a.CqOverflow,
		OverflowList: a.OverflowList, OverflowMore: a.OverflowMore != 0,
		Allocated: a.Allocated, InFlight: a.InFlight, Files: a.Files, Buffers: a.Buffers,
		RequestsMore: a.RequestsMore != 0,
		Requests:     r.Requests[:0], SQEs: r.SQEs[:0], CQEs: r.CQEs[:0],
	}
	if a.Have&haveTables != 0 {
		r.Seen |= wire.SeenResources
	}
	if a.Have&haveRequests != 0 {
		r.Seen |= wire.SeenRequests
	}
	if a.InFlight >= 0 {
		r.Seen |= wire.SeenInFlight
	}
	r.Thread = kernelThread{CPU: -1, Bound: -1}
	if a.ThreadPid != 0 {
		r.Thread = kernelThread{
			PID: a.ThreadPid, CPU: a.ThreadCpu, Bound: a.ThreadBound, Idle: time.Duration(a.ThreadIdle) * tick,
			State: wire.ThreadAsleep, TotalTime: time.Duration(a.ThreadTotal),
			HasTimes: a.Have&haveWorkTime != 0, WorkTime: time.Duration(a.ThreadWork) * time.Microsecond,
		}
		if a.Setup&iouring.SetupSQAff == 0 {
			r.Thread.Bound = -1 // without it sq_cpu is where the thread last ran
		}
		if a.ThreadState == 0 { // TASK_RUNNING
			r.Thread.State = wire.ThreadRunning
		}
	}
	r.fillSQEs(a, lists)
	r.fillCQEs(a, lists)
	for i := range min(int(a.Requests), maxRead) {
		q := &lists.Request[i]
		r.Requests = append(r.Requests, kernelRequest{
			Addr: q.Addr, UserData: q.UserData, FD: q.Fd, Flags: q.Flags, Op: q.Op, Where: q.Where, Multi: q.Multishot != 0,
		})
	}
}

func (r *kernelRing) fillSQEs(a *ringsRing, lists *ringsRingLists) {
	wide := a.Setup&iouring.SetupSQE128 != 0
	for i := 0; i < min(int(a.Sqes), maxRead); i++ {
		q := &lists.Sqes[i]
		e := kernelSQE{Position: a.SqHead + uint32(i), Index: q.Index, Wide: wide}
		for k, word := range q.Raw {
			binary.NativeEndian.PutUint64(e.Raw[8*k:], word)
		}
		if a.Setup&iouring.SetupSQEMixed != 0 && wideOp(e.Raw[0]) {
			e.Wide = true
			i++ // the second half lies in the next slot
		}
		r.SQEs = append(r.SQEs, e)
	}
}

func (r *kernelRing) fillCQEs(a *ringsRing, lists *ringsRingLists) {
	n := min(int(a.Cqes), maxRead)
	for i := 0; i < n; i++ {
		q := &lists.Cqes[i]
		e := kernelCQE{Position: a.CqHead + uint32(i), Wide: a.Setup&iouring.SetupCQE32 != 0}
		for k, word := range q.Raw {
			binary.NativeEndian.PutUint64(e.Raw[8*k:], word)
		}
		flags := binary.NativeEndian.Uint32(e.Raw[12:])
		if a.Setup&iouring.SetupCQEMixed != 0 && flags&cqeFlag32 != 0 && i+1 < n {
			e.Wide = true
			i++ // the second half lies in the next slot
			binary.NativeEndian.PutUint64(e.Raw[16:], lists.Cqes[i].Raw[0])
			binary.NativeEndian.PutUint64(e.Raw[24:], lists.Cqes[i].Raw[1])
		}
		r.CQEs = append(r.CQEs, e)
	}
}

// cqeFlag32 is IORING_CQE_F_32: where entries have either size, this has 32 bytes.
const cqeFlag32 = 1 << 15

// wideOp tells the opcodes that take 128 bytes where entries have either size:
// IORING_OP_NOP128 and IORING_OP_URING_CMD128.
func wideOp(op uint8) bool { return op == 63 || op == 64 }
