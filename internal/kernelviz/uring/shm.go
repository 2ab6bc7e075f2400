package uring

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz/kernel"
)

// layoutFlags are the setup flags that change where things lie.
const layoutFlags = iouring.SetupSQE128 | iouring.SetupCQE32 | iouring.SetupNoSQArray | iouring.SetupCQEMixed | iouring.SetupSQEMixed

// learnLayout asks this kernel where things lie in a ring of that shape, by
// making one: io_uring_setup answers with the offsets. They differ between
// kernels and between shapes.
func learnLayout(s shape) (layout, error) {
	p := iouring.Params{CQEntries: s.cqEntries, Flags: s.setup&layoutFlags | iouring.SetupCQSize}
	asked := p
	fd, errno := iouring.RawSetup(s.sqEntries, &p)
	if errno != 0 {
		err := iouring.Explain(errno, s.sqEntries, &asked)
		return layout{}, fmt.Errorf("making a ring of %d and %d entries to learn its layout: %w", s.sqEntries, s.cqEntries, err)
	}
	unix.Close(fd)
	if p.SQEntries != s.sqEntries || p.CQEntries != s.cqEntries {
		return layout{}, fmt.Errorf("asked for a ring of %d and %d entries and got %d and %d", s.sqEntries, s.cqEntries, p.SQEntries, p.CQEntries)
	}
	l := layout{
		sqHead: p.SQOff.Head, sqTail: p.SQOff.Tail, sqMask: p.SQOff.RingMask, sqEntries: p.SQOff.RingEntries,
		sqFlags: p.SQOff.Flags, sqDropped: p.SQOff.Dropped, array: p.SQOff.Array,
		cqHead: p.CQOff.Head, cqTail: p.CQOff.Tail, cqMask: p.CQOff.RingMask, cqEntries: p.CQOff.RingEntries,
		cqFlags: p.CQOff.Flags, cqOverflow: p.CQOff.Overflow, cqes: p.CQOff.CQEs,
	}
	cqe, sqe := iouring.CQESize, iouring.SQESize
	if s.setup&iouring.SetupCQE32 != 0 {
		cqe *= 2
	}
	if s.setup&iouring.SetupSQE128 != 0 {
		sqe *= 2
	}
	l.ringBytes = int(l.cqes) + cqe*int(s.cqEntries)
	if s.setup&iouring.SetupNoSQArray == 0 {
		l.ringBytes = max(l.ringBytes, int(l.array)+4*int(s.sqEntries))
	}
	l.sqeBytes = sqe * int(s.sqEntries)
	return l, nil
}

// agrees checks a layout against this kernel's BTF: two witnesses.
func (l *layout) agrees(info *kernel.Info) error {
	for _, f := range []struct {
		path   string
		offset uint32
	}{
		{"sq.head", l.sqHead}, {"sq.tail", l.sqTail}, {"cq.head", l.cqHead}, {"cq.tail", l.cqTail},
		{"sq_ring_mask", l.sqMask}, {"cq_ring_mask", l.cqMask}, {"sq_ring_entries", l.sqEntries}, {"cq_ring_entries", l.cqEntries},
		{"sq_flags", l.sqFlags}, {"cq_flags", l.cqFlags}, {"sq_dropped", l.sqDropped}, {"cq_overflow", l.cqOverflow}, {"cqes", l.cqes},
	} {
		at, ok := info.Offset("io_rings", f.path)
		if !ok || at != int(f.offset) {
			return fmt.Errorf("io_uring_setup says that io_rings.%s lies at byte %d, BTF says %d", f.path, f.offset, at)
		}
	}
	return nil
}

// mapping is the memory of another process's ring, mapped to be read only.
//
// A mapping is a reference to the ring's file: while it lasts, the owner's
// close of its fd does not end the ring, so release must follow the close soon
// (watch.guard). An owner that exits cancels its requests all the same.
type mapping struct {
	memory
	inode                          uint64 // of the ring's file
	sqHead, sqTail, cqHead, cqTail *uint32
	released                       atomic.Bool
}

var (
	// errNoMap: this ring has no memory that can be mapped (IORING_SETUP_NO_MMAP).
	errNoMap = errors.New("the owner gave the ring memory of its own (IORING_SETUP_NO_MMAP): the kernel lets nobody map it")
	// errOtherRing: the fd is no longer the ring that was found.
	errOtherRing = errors.New("the fd is another file by now")
)

// mapRing maps the ring that is fd of process pid. inode is that of the ring's
// file; 0 if it is not known. The descriptor made for it is closed at once.
func mapRing(pid, fd int, inode uint64, s shape, l layout) (*mapping, error) {
	if s.setup&iouring.SetupNoMmap != 0 {
		return nil, errNoMap
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd_open of process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	ring, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd_getfd of fd %d of process %d: %w", fd, pid, err)
	}
	defer unix.Close(ring)
	m := &mapping{memory: memory{shape: s, layout: l}}
	if m.inode, err = ringInode(fmt.Sprintf("/proc/self/fd/%d", ring)); err != nil {
		return nil, err
	}
	if inode != 0 && m.inode != inode {
		return nil, errOtherRing
	}
	if m.ring, err = mapShared(ring, iouring.OffSQRing, l.ringBytes); err != nil {
		return nil, fmt.Errorf("mapping the queues: %w", err)
	}
	if m.sqes, err = mapShared(ring, iouring.OffSQEs, l.sqeBytes); err != nil {
		unmap(m.ring)
		return nil, fmt.Errorf("mapping the SQEs: %w", err)
	}
	at := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&m.ring[offset])) }
	m.sqHead, m.sqTail, m.cqHead, m.cqTail = at(l.sqHead), at(l.sqTail), at(l.cqHead), at(l.cqTail)
	return m, nil
}

// ringInode is the inode of a link to an io_uring instance in /proc.
func ringInode(link string) (uint64, error) {
	name, err := os.Readlink(link)
	if err != nil {
		return 0, err
	}
	if name != ringLink {
		return 0, errOtherRing
	}
	var st unix.Stat_t
	if err := unix.Stat(link, &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}

// ringLink is what /proc/PID/fd/N of a ring points to; before 5.14 there was
// no inode of its own, and the name is the same.
const ringLink = "anon_inode:[io_uring]"

// mapShared maps a part of a ring to be read only: the kernel would give it to
// be written to as well, and then a mistake here could change the owner's ring.
func mapShared(fd int, offset uint64, size int) ([]byte, error) {
	p, err := unix.MmapPtr(fd, int64(offset), nil, uintptr(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), size), nil
}

func unmap(b []byte) {
	if len(b) > 0 {
		_ = unix.MunmapPtr(unsafe.Pointer(&b[0]), uintptr(len(b)))
	}
}

// peek reads the four counters.
func (m *mapping) peek() (sqHead, sqTail, cqHead, cqTail uint32) {
	return atomic.LoadUint32(m.sqHead), atomic.LoadUint32(m.sqTail), atomic.LoadUint32(m.cqHead), atomic.LoadUint32(m.cqTail)
}

// release lets go of the ring. It puts empty pages in its place, in one step
// of the kernel's, so that who reads meanwhile reads zeros and not a fault;
// close must follow. It may be called from any goroutine, repeatedly.
func (m *mapping) release() error {
	if m.released.Swap(true) {
		return nil
	}
	var failed error
	for _, b := range [][]byte{m.ring, m.sqes} {
		_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(&b[0]), uintptr(len(b)), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("letting go of a ring's memory: %w", err))
		}
	}
	return failed
}

// close gives the addresses back. Nobody reads any more.
func (m *mapping) close() {
	unmap(m.ring)
	unmap(m.sqes)
	m.ring, m.sqes = nil, nil
}
