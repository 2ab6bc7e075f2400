package iouring

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unsupported are the flags whose rings this package does not know how to
// read: entries of two sizes, no fd, no tail.
const unsupported = SetupRegisteredFDOnly | SetupCQEMixed | SetupSQEMixed | SetupSQRewind

// Ring is an io_uring that this process made and has mapped. It is not safe
// for concurrent use, except that Enter may sleep in one thread while others
// use the queues.
//
// With SetupSingleIssuer (and so SetupDeferTaskrun) the kernel binds the ring
// to the thread that made it: the caller must hold runtime.LockOSThread from
// Setup to Close. Memory that requests point to must not be the Go heap's or
// stack's: see Memory.
type Ring struct {
	fd     int
	params Params
	maps   []Mapping

	sqHead, sqTail, sqFlags, sqDropped *uint32
	sqMask, sqEntries                  uint32
	sqArray                            []uint32 // nil with SetupNoSQArray
	sqes                               []byte
	sqeSize                            uint32

	cqHead, cqTail, cqOverflow, cqFlags *uint32
	cqMask, cqEntries                   uint32
	cqes                                unsafe.Pointer
	cqeSize                             uint32

	// next is the tail as Next has advanced it; published <= next <= sq.head + sqEntries.
	next uint32
	// published is what Flush has last written to sq.tail.
	published uint32
	// submitted are those of published that Submit has told the kernel of.
	submitted uint32
}

// Mapping is a range of memory that a ring lives in.
type Mapping struct {
	Name   string // "rings", "sq", "cq" or "sqes"
	Mem    []byte
	Offset uint64 // of mmap; not with SetupNoMmap
	Own    bool   // memory of this process (SetupNoMmap), not a mapping of the fd
}

// Setup makes a ring with entries (rounded up to a power of two) submission
// entries and maps it. It fills in p as the kernel does; flags, idle time and
// number of completion entries are read from it. The error wraps ErrDisabled,
// ErrBlocked or the errno.
func Setup(entries uint32, p *Params) (*Ring, error) {
	own, err := Prepare(entries, p)
	if err != nil {
		return nil, err
	}
	asked := *p
	fd, errno := RawSetup(entries, p)
	if errno != 0 {
		release(own)
		return nil, Explain(errno, entries, &asked)
	}
	r, err := Map(fd, p, own)
	if err != nil {
		_ = unix.Close(fd)
		release(own)
		return nil, err
	}
	return r, nil
}

// Prepare is the part of Setup before the system call: with SetupNoMmap it
// makes the memory for Map and notes its address in p; else it does nothing.
func Prepare(entries uint32, p *Params) ([]Mapping, error) {
	if f := p.Flags & unsupported; f != 0 {
		return nil, fmt.Errorf("io_uring_setup: %s is not supported here: %w", SetupNames(f), syscall.EINVAL)
	}
	if p.Flags&SetupNoMmap == 0 {
		return nil, nil
	}
	if entries == 0 || entries > MaxEntries {
		return nil, fmt.Errorf("io_uring_setup: %d entries, which must be 1 to %d: %w", entries, MaxEntries, syscall.EINVAL)
	}
	sq := ceilPow2(entries)
	cq := 2 * sq
	if p.Flags&SetupCQSize != 0 {
		cq = ceilPow2(min(p.CQEntries, 2*MaxEntries))
	}
	// struct io_rings comes before the entries; it has never been larger than this.
	const head = 1024
	rings, freeRings, err := Memory(head + int(cq)*int(cqeSize(p.Flags)) + int(sq)*4)
	if err != nil {
		return nil, err
	}
	sqes, _, err := Memory(int(sq) * int(sqeSize(p.Flags)))
	if err != nil {
		freeRings()
		return nil, err
	}
	p.CQOff.UserAddr = uint64(uintptr(unsafe.Pointer(&rings[0])))
	p.SQOff.UserAddr = uint64(uintptr(unsafe.Pointer(&sqes[0])))
	return []Mapping{{Name: "rings", Mem: rings, Own: true}, {Name: "sqes", Mem: sqes, Own: true}}, nil
}

// RawSetup is the system call io_uring_setup and nothing else.
func RawSetup(entries uint32, p *Params) (fd int, errno syscall.Errno) {
	n, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), 0
}

// Map is the part of Setup after the system call: it maps the ring of fd, which
// io_uring_setup made with p. The ring owns fd and own from then on; where it
// fails they are still the caller's.
func Map(fd int, p *Params, own []Mapping) (*Ring, error) {
	r := &Ring{fd: fd, params: *p, sqeSize: sqeSize(p.Flags), cqeSize: cqeSize(p.Flags)}
	var sq, cq []byte
	if p.Flags&SetupNoMmap != 0 {
		r.maps = own
		sq, cq, r.sqes = own[0].Mem, own[0].Mem, own[1].Mem
	} else {
		var err error
		if sq, cq, err = r.mapAll(); err != nil {
			release(r.maps)
			return nil, err
		}
	}
	if err := r.locate(sq, cq); err != nil {
		if p.Flags&SetupNoMmap == 0 {
			release(r.maps)
		}
		return nil, err
	}
	r.next = atomic.LoadUint32(r.sqTail)
	r.published, r.submitted = r.next, r.next
	return r, nil
}

func (r *Ring) mapAll() (sq, cq []byte, err error) {
	p := &r.params
	sqLen := uint64(p.SQOff.Array) + 4*uint64(p.SQEntries)
	if p.Flags&SetupNoSQArray != 0 {
		// sq_off.array is 0 and the kernel's mapping ends with the CQEs.
		sqLen = uint64(max(p.SQOff.Head, p.SQOff.Tail, p.SQOff.RingMask, p.SQOff.RingEntries, p.SQOff.Flags, p.SQOff.Dropped)) + 4
	}
	cqLen := uint64(p.CQOff.CQEs) + uint64(r.cqeSize)*uint64(p.CQEntries)
	if p.Features&FeatSingleMmap != 0 {
		sq, err = r.mmap("rings", max(sqLen, cqLen), OffSQRing)
		cq = sq
	} else if sq, err = r.mmap("sq", sqLen, OffSQRing); err == nil {
		cq, err = r.mmap("cq", cqLen, OffCQRing)
	}
	if err == nil {
		r.sqes, err = r.mmap("sqes", uint64(r.sqeSize)*uint64(p.SQEntries), OffSQEs)
	}
	return sq, cq, err
}

func (r *Ring) mmap(name string, size, offset uint64) ([]byte, error) {
	mem, err := unix.Mmap(r.fd, int64(offset), int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("mapping %s (%d bytes at %#x) of ring %d: %w", name, size, offset, r.fd, err)
	}
	r.maps = append(r.maps, Mapping{Name: name, Mem: mem, Offset: offset})
	return mem, nil
}

// locate finds the words by the kernel's offsets, none of which it believes
// beyond the memory.
func (r *Ring) locate(sq, cq []byte) error {
	var bad error
	word := func(mem []byte, off uint32, name string) *uint32 {
		if off%4 != 0 || uint64(off)+4 > uint64(len(mem)) {
			bad = fmt.Errorf("ring %d: the kernel puts %s at %d of %d bytes", r.fd, name, off, len(mem))
			return new(uint32)
		}
		return (*uint32)(unsafe.Pointer(&mem[off]))
	}
	p := &r.params
	r.sqHead, r.sqTail = word(sq, p.SQOff.Head, "sq.head"), word(sq, p.SQOff.Tail, "sq.tail")
	r.sqFlags, r.sqDropped = word(sq, p.SQOff.Flags, "sq_flags"), word(sq, p.SQOff.Dropped, "sq_dropped")
	r.sqMask, r.sqEntries = *word(sq, p.SQOff.RingMask, "sq_ring_mask"), *word(sq, p.SQOff.RingEntries, "sq_ring_entries")
	r.cqHead, r.cqTail = word(cq, p.CQOff.Head, "cq.head"), word(cq, p.CQOff.Tail, "cq.tail")
	r.cqOverflow = word(cq, p.CQOff.Overflow, "cq_overflow")
	if p.CQOff.Flags != 0 { // since 5.8
		r.cqFlags = word(cq, p.CQOff.Flags, "cq_flags")
	}
	r.cqMask, r.cqEntries = *word(cq, p.CQOff.RingMask, "cq_ring_mask"), *word(cq, p.CQOff.RingEntries, "cq_ring_entries")
	if bad != nil {
		return bad
	}
	switch {
	case r.sqEntries != p.SQEntries || r.sqMask != r.sqEntries-1,
		r.cqEntries != p.CQEntries || r.cqMask != r.cqEntries-1,
		uint64(len(r.sqes)) < uint64(r.sqEntries)*uint64(r.sqeSize),
		uint64(len(cq)) < uint64(p.CQOff.CQEs)+uint64(r.cqEntries)*uint64(r.cqeSize):
		return fmt.Errorf("ring %d: %d of %d entries do not agree with io_uring_setup's %d and %d",
			r.fd, r.sqEntries, r.cqEntries, p.SQEntries, p.CQEntries)
	}
	r.cqes = unsafe.Pointer(&cq[p.CQOff.CQEs])
	if p.Flags&SetupNoSQArray == 0 {
		last := uint64(p.SQOff.Array) + 4*uint64(r.sqEntries)
		if last > uint64(len(sq)) {
			return fmt.Errorf("ring %d: the kernel puts sq_array at %d of %d bytes", r.fd, p.SQOff.Array, len(sq))
		}
		r.sqArray = unsafe.Slice((*uint32)(unsafe.Pointer(&sq[p.SQOff.Array])), r.sqEntries)
	}
	return nil
}

// Close unmaps and closes the ring. The kernel cancels what is in flight, which
// may end after Close has returned: free memory that requests point to only
// when their completions were reaped.
func (r *Ring) Close() error {
	if r.fd < 0 {
		return nil
	}
	err := unix.Close(r.fd)
	r.Unmap()
	if err != nil {
		return fmt.Errorf("closing a ring: %w", err)
	}
	return nil
}

// Unmap gives the memory back without closing the fd, which is the caller's
// then. No other method may be called after it but Close, which does nothing.
func (r *Ring) Unmap() {
	r.fd = -1
	release(r.maps)
	r.maps = nil
}

func release(maps []Mapping) {
	for _, m := range maps {
		_ = unix.Munmap(m.Mem)
	}
}

// FD is the ring's file descriptor, -1 when it is closed.
func (r *Ring) FD() int { return r.fd }

// Params are those that io_uring_setup answered with.
func (r *Ring) Params() Params { return r.params }

// Memory is the memory the ring lives in, in the order it was mapped. It is the
// ring's own: it ends with Close, and the kernel writes to it at any time.
func (r *Ring) Memory() []Mapping { return r.maps }

func sqeSize(flags uint32) uint32 {
	if flags&SetupSQE128 != 0 {
		return 2 * SQESize
	}
	return SQESize
}

func cqeSize(flags uint32) uint32 {
	if flags&SetupCQE32 != 0 {
		return 2 * CQESize
	}
	return CQESize
}

func ceilPow2(n uint32) uint32 {
	p := uint32(1)
	for p < n {
		p *= 2
	}
	return p
}
