package iouring

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Register is the system call io_uring_register.
func (r *Ring) Register(op uint32, arg unsafe.Pointer, n uint32) error {
	if errno := RawRegister(r.fd, op, arg, n); errno != 0 {
		return fmt.Errorf("io_uring_register(%d, %s): %w", r.fd, RegisterName(op), errno)
	}
	return nil
}

// RawRegister is Register of any ring's fd; the errno is 0 if it succeeded.
func RawRegister(fd int, op uint32, arg unsafe.Pointer, n uint32) syscall.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(fd), uintptr(op), uintptr(arg), uintptr(n), 0, 0)
	return errno
}

// RegisterFiles makes fds the registered files: an SQE with FlagFixedFile has
// an index into them as FD. -1 leaves a slot empty.
func (r *Ring) RegisterFiles(fds []int32) error {
	if len(fds) == 0 {
		return fmt.Errorf("io_uring_register(%d): no files: %w", r.fd, syscall.EINVAL)
	}
	return r.Register(RegisterFiles, unsafe.Pointer(&fds[0]), uint32(len(fds)))
}

// UnregisterFiles takes them back.
func (r *Ring) UnregisterFiles() error { return r.Register(UnregisterFiles, nil, 0) }

// RegisterBuffers pins memory (outside the Go heap: see Memory) for READ_FIXED
// and WRITE_FIXED, which have an index into it as BufIndex.
func (r *Ring) RegisterBuffers(buffers [][]byte) error {
	if len(buffers) == 0 {
		return fmt.Errorf("io_uring_register(%d): no buffers: %w", r.fd, syscall.EINVAL)
	}
	iovecs := Iovecs(buffers)
	return r.Register(RegisterBuffers, unsafe.Pointer(&iovecs[0]), uint32(len(iovecs)))
}

// Iovecs are the addresses and lengths of memory outside the Go heap.
func Iovecs(buffers [][]byte) []unix.Iovec {
	iovecs := make([]unix.Iovec, len(buffers))
	for i, b := range buffers {
		iovecs[i].Base = unsafe.SliceData(b)
		iovecs[i].SetLen(len(b))
	}
	return iovecs
}

// UnregisterBuffers takes them back.
func (r *Ring) UnregisterBuffers() error { return r.Register(UnregisterBuffers, nil, 0) }

// BufReg is struct io_uring_buf_reg, the argument of RegisterPbufRing and
// UnregisterPbufRing.
type BufReg struct {
	RingAddr    uint64
	RingEntries uint32
	Group       uint16
	Flags       uint16
	Resv        [3]uint64
}

// BufRing is a ring of provided buffers (struct io_uring_buf_ring), from which
// the kernel takes one for each completion of a request with FlagBufferSelect.
// Since Linux 5.19.
type BufRing struct {
	ring  *Ring
	group uint16
	mem   []byte
	bufs  []Buf
	free  func()
	tail  uint16 // as Add has advanced it
}

// NewBufRing is the memory of a ring of entries buffers (a power of two up to
// 32768); it has none yet. Register tells the kernel of it.
func NewBufRing(entries int) (*BufRing, error) {
	if entries < 1 || entries > 1<<15 || entries&(entries-1) != 0 {
		return nil, fmt.Errorf("a ring of %d provided buffers, which must be a power of two up to 32768: %w", entries, syscall.EINVAL)
	}
	mem, free, err := Memory(entries * int(unsafe.Sizeof(Buf{})))
	if err != nil {
		return nil, err
	}
	return &BufRing{mem: mem, free: free, bufs: unsafe.Slice((*Buf)(unsafe.Pointer(&mem[0])), entries)}, nil
}

// Reg is the argument that registers it as a group.
func (b *BufRing) Reg(group uint16) BufReg {
	return BufReg{RingAddr: uint64(uintptr(unsafe.Pointer(&b.mem[0]))), RingEntries: uint32(len(b.bufs)), Group: group}
}

// RegisterBufRing makes a ring of entries provided buffers as group.
func (r *Ring) RegisterBufRing(group uint16, entries int) (*BufRing, error) {
	b, err := NewBufRing(entries)
	if err != nil {
		return nil, err
	}
	reg := b.Reg(group)
	if err := r.Register(RegisterPbufRing, unsafe.Pointer(&reg), 1); err != nil {
		b.Free()
		return nil, err
	}
	b.ring, b.group = r, group
	return b, nil
}

// Add puts a buffer into the ring; the kernel sees it after Publish. It must
// lie outside the Go heap. There is room for as many as were not given back.
func (b *BufRing) Add(buffer []byte, id uint16) {
	// Not *slot = Buf{…}: the tail lies over Resv of the first.
	slot := &b.bufs[int(b.tail)&(len(b.bufs)-1)]
	slot.Addr = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(buffer))))
	slot.Len = uint32(len(buffer))
	slot.ID = id
	b.tail++
}

// Publish lets the kernel see all that were added.
func (b *BufRing) Publish() {
	// The tail is the upper half of the word that starts with the first's ID; this
	// process writes both halves. A store of the whole word is a release, which
	// sync/atomic has for no 16 bits.
	word := (*uint32)(unsafe.Add(unsafe.Pointer(&b.mem[0]), 12))
	atomic.StoreUint32(word, uint32(b.bufs[0].ID)|uint32(b.tail)<<16)
}

// Tail is the tail as it will be after Publish.
func (b *BufRing) Tail() uint16 { return b.tail }

// Entries is how many buffers it has room for.
func (b *BufRing) Entries() int { return len(b.bufs) }

// Unregister takes the group back from the kernel and frees the ring.
func (b *BufRing) Unregister() error {
	reg := BufReg{Group: b.group}
	if err := b.ring.Register(UnregisterPbufRing, unsafe.Pointer(&reg), 1); err != nil {
		return err
	}
	b.Free()
	return nil
}

// Free frees the memory of a ring that the kernel does not know any more.
func (b *BufRing) Free() { b.free() }

// Probe is what the kernel says it knows: struct io_uring_probe.
type Probe struct {
	Last      uint8 // the highest operation
	supported [256]bool
}

// Supports reports whether the kernel knows the operation.
func (p *Probe) Supports(op uint8) bool { return p.supported[op] }

// Probe asks the kernel for the operations it knows. Since Linux 5.6.
func (r *Ring) Probe() (*Probe, error) {
	var arg struct {
		last, length uint8
		resv         uint16
		resv2        [3]uint32
		ops          [256]struct {
			op, resv uint8
			flags    uint16
			resv2    uint32
		}
	}
	if err := r.Register(RegisterProbe, unsafe.Pointer(&arg), uint32(len(arg.ops))); err != nil {
		return nil, err
	}
	p := &Probe{Last: arg.last}
	const opSupported = 1 << 0
	for _, op := range arg.ops[:arg.length] {
		p.supported[op.op] = op.flags&opSupported != 0
	}
	return p, nil
}
