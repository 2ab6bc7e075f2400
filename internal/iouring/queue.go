package iouring

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The two queues are read and written by this process and by the kernel (or its
// SQPOLL thread) at once. Who writes an entry publishes it with a release store
// of the tail; who has read one gives it back with a release store of the head;
// the other side reads that word with acquire. Package sync/atomic is
// sequentially consistent, which is more than both.

// Next is the next free SQE, zeroed, with its index in sq_array; nil if the
// submission queue is full. The kernel sees it after Flush.
func (r *Ring) Next() *SQE {
	if r.next-atomic.LoadUint32(r.sqHead) >= r.sqEntries {
		return nil
	}
	i := r.next & r.sqMask
	slot := r.slot(i)
	clear(slot)
	if r.sqArray != nil {
		r.sqArray[i] = i
	}
	r.next++
	return (*SQE)(unsafe.Pointer(&slot[0]))
}

func (r *Ring) slot(i uint32) []byte {
	at := uint64(i) * uint64(r.sqeSize)
	return r.sqes[at : at+uint64(r.sqeSize)]
}

// SQEAt is the SQE at an index of the array, taken modulo its size.
func (r *Ring) SQEAt(i uint32) *SQE {
	return (*SQE)(unsafe.Pointer(&r.slot(i & r.sqMask)[0]))
}

// SQArray is the ring of indices, nil with SetupNoSQArray. It is shared memory.
func (r *Ring) SQArray() []uint32 { return r.sqArray }

// Flush publishes what Next has given out and returns how many SQEs it was.
func (r *Ring) Flush() int {
	n := r.next - r.published
	atomic.StoreUint32(r.sqTail, r.next)
	r.published = r.next
	return int(n)
}

// Enter is the system call io_uring_enter; it returns how many SQEs the kernel
// took. The error is the errno, unwrapped, as callers tell EINTR, EAGAIN, EBUSY
// and ETIME apart.
func (r *Ring) Enter(submit, wait, flags uint32) (int, error) {
	n, errno := RawEnter(r.fd, submit, wait, flags)
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}

// RawEnter is Enter of any ring's fd; the errno is 0 if it succeeded.
func RawEnter(fd int, submit, wait, flags uint32) (int, syscall.Errno) {
	const sigset = 8 // size of the signal mask that is not given, as liburing passes it
	n, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(wait), uintptr(flags), 0, sigset)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// Submit publishes all SQEs and enters the kernel to have them taken, and to
// sleep until wait completions are in the queue. It returns how many were
// taken: fewer than all after one that the kernel refused, without
// SetupSubmitAll. With SetupSQPoll the thread takes them, and the kernel is
// entered only to wake it or to wait.
func (r *Ring) Submit(wait uint32) (int, error) {
	r.Flush()
	n := r.published - r.submitted
	var flags uint32
	if wait > 0 || r.params.Flags&(SetupIOPoll|SetupDeferTaskrun) != 0 {
		flags |= EnterGetevents
	}
	if r.params.Flags&SetupSQPoll != 0 {
		r.submitted = r.published
		// The thread sets NEED_WAKEUP, then looks at the tail once more. Flush's
		// store of the tail must be seen before this load: both are sequentially
		// consistent, so no full barrier besides is needed.
		if r.SQFlags()&SQNeedWakeup != 0 {
			flags |= EnterSQWakeup
		}
		if flags == 0 {
			return int(n), nil
		}
		if _, err := r.enter(n, wait, flags); err != nil {
			return int(n), err
		}
		return int(n), nil
	}
	if r.SQFlags()&(SQCQOverflow|SQTaskrun) != 0 {
		flags |= EnterGetevents
	}
	if n == 0 && flags == 0 {
		return 0, nil
	}
	took, err := r.enter(n, wait, flags)
	r.submitted += uint32(took)
	return took, err
}

// enter goes on after a signal.
func (r *Ring) enter(submit, wait, flags uint32) (int, error) {
	for {
		n, err := r.Enter(submit, wait, flags)
		if err == nil {
			return n, nil
		}
		if err != syscall.EINTR {
			return n, fmt.Errorf("io_uring_enter(%d, %d, %d, %s): %w", r.fd, submit, wait, EnterNames(flags), err)
		}
	}
}

// Peek is the oldest completion that was not given back, if there is one.
func (r *Ring) Peek() (CQE, bool) {
	head := *r.cqHead // written by this process only
	if head == atomic.LoadUint32(r.cqTail) {
		return CQE{}, false
	}
	return *r.cqeAt(head), true
}

// PeekExtra is the second half of the completion that Peek gives, with
// SetupCQE32.
func (r *Ring) PeekExtra() (extra [2]uint64, ok bool) {
	head := *r.cqHead
	if r.cqeSize == CQESize || head == atomic.LoadUint32(r.cqTail) {
		return extra, false
	}
	return *(*[2]uint64)(unsafe.Add(unsafe.Pointer(r.cqeAt(head)), CQESize)), true
}

func (r *Ring) cqeAt(position uint32) *CQE {
	return (*CQE)(unsafe.Add(r.cqes, uintptr(position&r.cqMask)*uintptr(r.cqeSize)))
}

// CQEAt is the completion at a position from CQHead to CQTail.
func (r *Ring) CQEAt(position uint32) CQE { return *r.cqeAt(position) }

// Advance gives n completions back to the kernel, no more than CQPending.
func (r *Ring) Advance(n int) { atomic.AddUint32(r.cqHead, uint32(n)) }

// Reap hands every completion that is in the queue to f, in order, then gives
// them all back at once. It returns how many there were. Completions that the
// queue had no room for come after the next io_uring_enter.
func (r *Ring) Reap(f func(CQE)) int {
	head, tail := *r.cqHead, atomic.LoadUint32(r.cqTail)
	if tail-head > r.cqEntries {
		tail = head + r.cqEntries // cq.head was written over: never read more than there is
	}
	for at := head; at != tail; at++ {
		f(*r.cqeAt(at))
	}
	atomic.StoreUint32(r.cqHead, tail)
	return int(tail - head)
}

// SQHead is sq.head, which the kernel advances when it has taken an SQE.
func (r *Ring) SQHead() uint32 { return atomic.LoadUint32(r.sqHead) }

// SQTail is sq.tail as it was last published.
func (r *Ring) SQTail() uint32 { return atomic.LoadUint32(r.sqTail) }

// SQNext is what sq.tail will be after Flush.
func (r *Ring) SQNext() uint32 { return r.next }

// SQFlags is the word of SQNeedWakeup, SQCQOverflow and SQTaskrun.
func (r *Ring) SQFlags() uint32 { return atomic.LoadUint32(r.sqFlags) }

// SQDropped counts SQEs that the kernel passed over for a bad index in sq_array.
func (r *Ring) SQDropped() uint32 { return atomic.LoadUint32(r.sqDropped) }

// SQPending is how many SQEs are published and not taken.
func (r *Ring) SQPending() int { return int(r.SQTail() - r.SQHead()) }

// SQEntries is the size of the submission queue, a power of two.
func (r *Ring) SQEntries() uint32 { return r.sqEntries }

// CQHead is cq.head, which this process advances.
func (r *Ring) CQHead() uint32 { return atomic.LoadUint32(r.cqHead) }

// CQTail is cq.tail, which the kernel advances.
func (r *Ring) CQTail() uint32 { return atomic.LoadUint32(r.cqTail) }

// CQFlags is the word of CQEventfdDisabled; 0 on a kernel that has none.
func (r *Ring) CQFlags() uint32 {
	if r.cqFlags == nil {
		return 0
	}
	return atomic.LoadUint32(r.cqFlags)
}

// CQOverflow counts completions that are lost for good: with FeatNodrop only
// those that the kernel had no memory for.
func (r *Ring) CQOverflow() uint32 { return atomic.LoadUint32(r.cqOverflow) }

// CQPending is how many completions are in the queue.
func (r *Ring) CQPending() int { return int(r.CQTail() - r.CQHead()) }

// CQEntries is the size of the completion queue, a power of two.
func (r *Ring) CQEntries() uint32 { return r.cqEntries }

// Unget takes back the SQE that Next gave out last, before Flush.
func (r *Ring) Unget() {
	if r.next != r.published {
		r.next--
	}
}
