package wire

import "encoding/binary"

// Sections of an io_uring frame (kernelviz.KindUring), besides SectionTruth.
// Every list stands whole in a key frame, and in a delta frame whenever it
// differs from the base; a section without rows says that the list is empty.
const (
	SectionRing     SectionType = 20 // one RingRow, always
	SectionSQE      SectionType = 21 // SQERow, from sq.head to sq.tail, at most MaxList
	SectionCQE      SectionType = 22 // CQERow, from cq.head to cq.tail, at most MaxList
	SectionRequest  SectionType = 23 // RequestRow: requests that the kernel holds, oldest first, at most MaxList
	SectionWorker   SectionType = 24 // WorkerRow: SQPOLL thread, then io-wq workers
	SectionResource SectionType = 25 // ResourceRow: registered files, then buffers, at most MaxList
	SectionLife     SectionType = 26 // LifeRow, since the base or the last second, oldest first
)

// What of a ring this tier can see, as bits of RingRow.Seen. What is not seen
// is drawn as unknown, never as nothing.
const (
	SeenHeads     uint32 = 1 << iota // sq.head, sq.tail, cq.head, cq.tail and the flags word
	SeenSQEs                         // pending SQEs, decoded
	SeenCQEs                         // unread CQEs
	SeenCached                       // the kernel's own cached_sq_head and cached_cq_tail
	SeenRequests                     // SectionRequest: armed polls and what life events told
	SeenThread                       // the SQPOLL thread
	SeenWorkers                      // io-wq workers
	SeenResources                    // registered files and buffers
	SeenOverflow                     // length of cq_overflow_list
	SeenLives                        // request lives: tracepoints are attached
	SeenInFlight                     // RingRow.InFlight
)

// RingRow, 144 bytes: struct io_ring_ctx as a whole.
type RingRow struct {
	ID           uint32 // 0: small id of the io_ring_ctx
	SQEntries    uint32 // 4
	CQEntries    uint32 // 8
	Setup        uint32 // 12: IORING_SETUP_* it was made with
	SQHead       uint32 // 16: io_rings.sq.head, written by the kernel
	SQTail       uint32 // 20: io_rings.sq.tail, written by the owner
	CQHead       uint32 // 24: io_rings.cq.head, written by the owner
	CQTail       uint32 // 28: io_rings.cq.tail, written by the kernel
	CachedSQHead uint32 // 32: ctx.cached_sq_head: SQEs that the kernel has taken, published or not
	CachedCQTail uint32 // 36: ctx.cached_cq_tail
	SQFlags      uint32 // 40: IORING_SQ_NEED_WAKEUP 1, CQ_OVERFLOW 2, TASKRUN 4
	CQFlags      uint32 // 44: IORING_CQ_EVENTFD_DISABLED 1
	SQDropped    uint32 // 48: SQEs dropped for a bad index in sq_array
	CQOverflow   uint32 // 52: completions lost for good
	OverflowList uint32 // 56: completions kept on cq_overflow_list until there is room
	InFlight     int32  // 60: requests submitted and not yet completed; -1 unknown
	Seen         uint32 // 64: Seen*
	Requests     uint32 // 68: requests known, of which SectionRequest may list the first MaxList
	Armed        uint32 // 72: of them armed on a poll wait queue
	Files        uint32 // 76: registered files (slots)
	Buffers      uint32 // 80: registered buffers (slots)
	ThreadPID    uint32 // 84: SQPOLL thread, 0 none
	ThreadCPU    int32  // 88: it last ran on, or is bound to; -1 unknown
	ThreadIdle   uint32 // 92: ms it spins before it sleeps
	ThreadTotal  uint64 // 96: µs it has run for, if this kernel counts it
	ThreadWork   uint64 // 104: µs of them it found work
	Owner        uint32 // 112: pid whose fd is watched
	Owners       uint16 // 116: processes that have the ring open
	ThreadState  uint8  // 118: Thread*
	Gone         uint8  // 119: 1 the owner unmapped or scribbled the ring; see Broken
	Submitted    uint64 // 120: SQEs taken since the watch was opened
	Completed    uint64 // 128: CQEs posted since the watch was opened
	Features     uint32 // 136: IORING_FEAT_*; 0 unknown
	Allocated    uint32 // 140: ctx.nr_req_allocated; 0 if this kernel has none
}

// RingRowSize is the size in bytes of a RingRow.
const RingRowSize = 144

// States of a thread.
const (
	ThreadNone uint8 = iota
	ThreadRunning
	ThreadAsleep
	ThreadUnknown
)

// Append appends the row.
func (r RingRow) Append(dst []byte) []byte {
	le := binary.LittleEndian
	for _, v := range [...]uint32{
		r.ID, r.SQEntries, r.CQEntries, r.Setup, r.SQHead, r.SQTail, r.CQHead, r.CQTail, r.CachedSQHead, r.CachedCQTail,
		r.SQFlags, r.CQFlags, r.SQDropped, r.CQOverflow, r.OverflowList, uint32(r.InFlight), r.Seen, r.Requests, r.Armed,
		r.Files, r.Buffers, r.ThreadPID, uint32(r.ThreadCPU), r.ThreadIdle,
	} {
		dst = le.AppendUint32(dst, v)
	}
	dst = le.AppendUint64(dst, r.ThreadTotal)
	dst = le.AppendUint64(dst, r.ThreadWork)
	dst = le.AppendUint32(dst, r.Owner)
	dst = le.AppendUint16(dst, r.Owners)
	dst = append(dst, r.ThreadState, r.Gone)
	dst = le.AppendUint64(dst, r.Submitted)
	dst = le.AppendUint64(dst, r.Completed)
	dst = le.AppendUint32(dst, r.Features)
	return le.AppendUint32(dst, r.Allocated)
}

// SQERow, 64 bytes: a struct io_uring_sqe that the kernel has not taken yet.
type SQERow struct {
	Position uint32 // 0: the value of the counter: sq.head ≤ Position < sq.tail (mod 2^32)
	Index    uint32 // 4: where it lies in the SQE array: sq_array[Position & mask]; entries or more: a bad index
	Op       uint8  // 8: IORING_OP_*
	Flags    uint8  // 9: IOSQE_*
	IOPrio   uint16 // 10: flags of accept, send and receive
	FD       int32  // 12
	Off      uint64 // 16
	Addr     uint64 // 24
	Len      uint32 // 32
	OpFlags  uint32 // 36: rw_flags, poll32_events, msg_flags, …
	UserData uint64 // 40
	BufIndex uint16 // 48: or buf_group
	Wide     uint8  // 50: 1 the SQE has 128 bytes; 51 zero
	SpliceFD int32  // 52: splice_fd_in, file_index, …
	Addr3    uint64 // 56
}

// SQERowSize is the size in bytes of a SQERow.
const SQERowSize = 64

// Append appends the row.
func (r SQERow) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, r.Position)
	dst = le.AppendUint32(dst, r.Index)
	dst = append(dst, r.Op, r.Flags)
	dst = le.AppendUint16(dst, r.IOPrio)
	dst = le.AppendUint32(dst, uint32(r.FD))
	dst = le.AppendUint64(dst, r.Off)
	dst = le.AppendUint64(dst, r.Addr)
	dst = le.AppendUint32(dst, r.Len)
	dst = le.AppendUint32(dst, r.OpFlags)
	dst = le.AppendUint64(dst, r.UserData)
	dst = le.AppendUint16(dst, r.BufIndex)
	dst = append(dst, r.Wide, 0)
	dst = le.AppendUint32(dst, uint32(r.SpliceFD))
	return le.AppendUint64(dst, r.Addr3)
}

// CQERow, 40 bytes: a struct io_uring_cqe that the owner has not read yet.
type CQERow struct {
	Position uint32    // 0: cq.head ≤ Position < cq.tail (mod 2^32); it lies at Position & mask
	Res      int32     // 4: result, or -errno
	UserData uint64    // 8
	Flags    uint32    // 16: IORING_CQE_F_*; the buffer id in the upper 16 bits
	Wide     uint32    // 20: 1 the CQE has 32 bytes
	Extra    [2]uint64 // 24
}

// CQERowSize is the size in bytes of a CQERow.
const CQERowSize = 40

// Append appends the row; Extra, the second half of a wide CQE, stands at 24.
func (r CQERow) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, r.Position)
	dst = le.AppendUint32(dst, uint32(r.Res))
	dst = le.AppendUint64(dst, r.UserData)
	dst = le.AppendUint32(dst, r.Flags)
	dst = le.AppendUint32(dst, r.Wide)
	dst = le.AppendUint64(dst, r.Extra[0])
	return le.AppendUint64(dst, r.Extra[1])
}

// Where a request is.
const (
	RequestSubmitted uint8 = iota // taken from the SQ, not known where since
	RequestArmed                  // on the wait queue of its file (poll)
	RequestPunted                 // given to io-wq
	RequestTaskWork               // task work is queued for its submitter
	RequestTimeout                // on timeout_list
)

// Flags of a request.
const (
	RequestMultishot  uint8 = 1 << iota
	RequestLinked           // the next request waits for it
	RequestSeenArmed        // it was armed at some time of its life
	RequestSeenPunted       // it was in io-wq at some time of its life
)

// RequestRow, 40 bytes: a struct io_kiocb that the kernel holds.
type RequestRow struct {
	ID       uint32 // 0: small id, never used again within a watch; as LifeRow.Request
	Op       uint8  // 4: IORING_OP_*
	Where    uint8  // 5: Request*
	Flags    uint8  // 6: Request*; 7 zero
	Since    uint64 // 8: CLOCK_MONOTONIC of its submission, or when it was first seen
	UserData uint64 // 16
	Moved    uint64 // 24: CLOCK_MONOTONIC when it came to Where
	FD       int32  // 32: -1 unknown
	Posted   uint32 // 36: CQEs that it has posted already (multishot)
}

// RequestRowSize is the size in bytes of a RequestRow.
const RequestRowSize = 40

// Append appends the row.
func (r RequestRow) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, r.ID)
	dst = append(dst, r.Op, r.Where, r.Flags, 0)
	dst = le.AppendUint64(dst, r.Since)
	dst = le.AppendUint64(dst, r.UserData)
	dst = le.AppendUint64(dst, r.Moved)
	dst = le.AppendUint32(dst, uint32(r.FD))
	return le.AppendUint32(dst, r.Posted)
}

// Kinds of a worker.
const (
	WorkerSQPoll    uint8 = iota // the ring's kernel thread, iou-sqp-PID
	WorkerBounded                // io-wq, bounded: regular files
	WorkerUnbounded              // io-wq, unbounded: sockets and pipes
	WorkerIOWQ                   // io-wq, not known which
)

// WorkerRow, 40 bytes: a kernel thread that works for the ring's owner.
type WorkerRow struct {
	TID   uint32   // 0
	Kind  uint8    // 4: Worker*
	State uint8    // 5: Thread*; 6..7 zero
	CPU   int32    // 8: -1 unknown; 12 zero
	Time  uint64   // 16: CPU time, ns
	Comm  [16]byte // 24: NUL-padded
}

// WorkerRowSize is the size in bytes of a WorkerRow.
const WorkerRowSize = 40

// Append appends the row.
func (r WorkerRow) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, r.TID)
	dst = append(dst, r.Kind, r.State, 0, 0)
	dst = le.AppendUint32(dst, uint32(r.CPU))
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint64(dst, r.Time)
	return append(dst, r.Comm[:]...)
}

// Kinds of a resource.
const (
	ResourceFile uint8 = iota
	ResourceBuffer
)

// ResourceRow, 48 bytes: a registered file or buffer.
type ResourceRow struct {
	Slot uint32   // 0: index in the table
	Kind uint8    // 4: Resource*; 5..7 zero
	Addr uint64   // 8: of a buffer, in the owner
	Len  uint64   // 16: of a buffer, bytes
	Name [24]byte // 24: of a file, as fdinfo prints it, shortened; NUL-padded
}

// ResourceRowSize is the size in bytes of a ResourceRow.
const ResourceRowSize = 48

// Append appends the row.
func (r ResourceRow) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, r.Slot)
	dst = append(dst, r.Kind, 0, 0, 0)
	dst = le.AppendUint64(dst, r.Addr)
	dst = le.AppendUint64(dst, r.Len)
	return append(dst, r.Name[:]...)
}

// What happened to a request: one LifeRow each.
const (
	LifeSubmit    uint8 = 1  // io_uring_submit_req: the kernel took the SQE
	LifeArm       uint8 = 2  // io_uring_poll_arm: it waits on its file
	LifePunt      uint8 = 3  // io_uring_queue_async_work: io-wq has it
	LifeTaskWork  uint8 = 4  // io_uring_task_add: its file woke it, task work is queued
	LifeComplete  uint8 = 5  // io_uring_complete: a CQE; of a multishot request there may be many
	LifeOverflow  uint8 = 6  // io_uring_cqe_overflow: the CQ was full
	LifeFail      uint8 = 7  // io_uring_req_failed: the SQE was refused
	LifeLink      uint8 = 8  // io_uring_link: it waits for the request before it
	LifeDefer     uint8 = 9  // io_uring_defer: it waits for all before it (IOSQE_IO_DRAIN)
	LifeCQWait    uint8 = 10 // io_uring_cqring_wait: the owner sleeps until CQEs come; Res is how many
	LifeLocalWork uint8 = 11 // io_uring_local_work_run: DEFER_TASKRUN work was run; Res is how many
)

// LifeRow, 56 bytes: one event in the life of a request.
type LifeRow struct {
	Seq      uint64 // 0: counted in the kernel for this ring; a gap is a loss
	Time     uint64 // 8: CLOCK_MONOTONIC
	UserData uint64 // 16
	Request  uint32 // 24: small id of the request; 0 unknown
	Res      int32  // 28: of LifeComplete, LifeFail, LifeCQWait and LifeLocalWork
	CQEFlags uint32 // 32: of LifeComplete
	TID      uint32 // 36: the thread that was running
	What     uint8  // 40: Life*
	Op       uint8  // 41: IORING_OP_*; 255 unknown
	SQEFlags uint8  // 42: IOSQE_*
	Worker   uint8  // 43: 1 an io-wq worker ran, 2 the SQPOLL thread; 0 another thread
	FD       int32  // 44: -1 unknown
	SubmitAt uint64 // 48: CLOCK_MONOTONIC of the request's submission; 0 unknown
}

// LifeRowSize is the size in bytes of a LifeRow.
const LifeRowSize = 56

// Append appends the row.
func (r LifeRow) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, r.Seq)
	dst = le.AppendUint64(dst, r.Time)
	dst = le.AppendUint64(dst, r.UserData)
	dst = le.AppendUint32(dst, r.Request)
	dst = le.AppendUint32(dst, uint32(r.Res))
	dst = le.AppendUint32(dst, r.CQEFlags)
	dst = le.AppendUint32(dst, r.TID)
	dst = append(dst, r.What, r.Op, r.SQEFlags, r.Worker)
	dst = le.AppendUint32(dst, uint32(r.FD))
	return le.AppendUint64(dst, r.SubmitAt)
}
