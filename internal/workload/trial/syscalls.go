package trial

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
)

// sampled is how many pages there are to one that is looked at: a prime, so
// that it is another place of every ring's buffers each time round.
const sampled = 61

// readWay is a variant of syscalls: one way to read a file.
type readWay struct {
	block   int    // bytes of a read
	entries uint32 // of the ring, which has as many buffers; 0: pread
	sqpoll  bool
}

func readWays() map[string]readWay {
	return map[string]readWay{
		"pread-4k":   {block: PageSize},
		"pread-128k": {block: 128 << 10},
		"ring-256":   {block: PageSize, entries: 256},
		"ring-32768": {block: PageSize, entries: iouring.MaxEntries},
		"sqpoll-256": {block: PageSize, entries: 256, sqpoll: true},
	}
}

const (
	// sqIdle is how long the thread of SQPOLL spins with nothing to do, in ms.
	sqIdle = 100
	// stuck is how long SQPOLL may give nothing.
	stuck = 10 * time.Second
)

// errStuck is what a hang becomes.
var errStuck = errors.New("no read has completed for 10 s")

// syscallsWork reads the file of WritePages once, from the page cache, in order.
type syscallsWork struct {
	readWay
	dir  string
	size int64
	fd   int
	ring *iouring.Ring
	buf  []byte
	free func() // of buf
}

// newSyscalls makes the role "reader". Its parameter "bytes" is the size of the
// file.
func newSyscalls(s Spec) (Work, error) {
	way, ok := readWays()[s.Variant]
	if !ok {
		return nil, fmt.Errorf("syscalls: unknown variant %.80q", s.Variant)
	}
	size, err := param(s, "bytes", chunk, 1<<40)
	if err != nil {
		return nil, err
	}
	if size%chunk != 0 {
		return nil, fmt.Errorf("syscalls: %d bytes are no multiple of 1 MiB", size)
	}
	return &syscallsWork{readWay: way, dir: s.Dir, size: size, fd: -1}, nil
}

func (w *syscallsWork) Prepare() (any, error) {
	var err error
	if w.fd, err = openPages(w.dir, w.size, 0); err != nil {
		return nil, err
	}
	if err := warm(w.fd, w.size); err != nil {
		return nil, err
	}
	if w.buf, w.free, err = iouring.Memory(max(1, int(w.entries)) * w.block); err != nil {
		return nil, err
	}
	if w.entries == 0 {
		return nil, nil
	}
	p := iouring.Params{}
	if w.sqpoll {
		p.Flags, p.SQThreadIdle = iouring.SetupSQPoll, sqIdle
	}
	w.ring, err = iouring.Setup(w.entries, &p)
	return nil, err
}

func (w *syscallsWork) Run(map[string]json.RawMessage) (Report, error) {
	loud, err := quiet()
	if err != nil {
		return Report{}, err
	}
	defer loud()
	read := w.pread
	switch {
	case w.sqpoll:
		read = w.poll
	case w.entries > 0:
		read = w.batches
	}
	began := time.Now()
	if err := read(); err != nil {
		return Report{}, err
	}
	r := Report{Seconds: time.Since(began).Seconds(), Bytes: uint64(w.size), Ops: uint64(w.size) / uint64(w.block)}
	if w.sqpoll {
		r.Notes = atLeast3()
		// Its thread would spin on while the CPU time is read.
		err = w.ring.Close()
	}
	return r, err
}

// pread reads with one system call for each block.
func (w *syscallsWork) pread() error {
	for off := int64(0); off < w.size; off += int64(w.block) {
		n, _, errno := unix.RawSyscall6(unix.SYS_PREAD64, uintptr(w.fd), uintptr(unsafe.Pointer(&w.buf[0])), uintptr(w.block), uintptr(off), 0, 0)
		if errno != 0 {
			return fmt.Errorf("pread of %d bytes at %d: %w", w.block, off, errno)
		}
		if int(n) != w.block {
			return fmt.Errorf("pread of %d bytes at %d gave %d", w.block, off, n)
		}
		if err := look(w.buf, uint64(off)/PageSize); err != nil {
			return err
		}
	}
	return nil
}

// look checks the pages of a block, as many as are sampled.
func look(block []byte, first uint64) error {
	ahead := first % sampled
	if ahead != 0 {
		ahead = sampled - ahead
	}
	for at := ahead * PageSize; at < uint64(len(block)); at += sampled * PageSize {
		if page := block[at : at+PageSize]; !stamped(page, first+at/PageSize) {
			return wrongPage(page, first+at/PageSize)
		}
	}
	return nil
}

// batches fills the ring, has all of it read by one system call, takes all
// completions and begins again.
func (w *syscallsWork) batches() error {
	total := uint64(w.size) / uint64(w.block)
	for done := uint64(0); done < total; {
		batch := uint32(min(uint64(w.entries), total-done))
		for i := range batch {
			w.ask(w.ring.Next(), i, done+uint64(i))
		}
		w.ring.Flush()
		for submit, wait := batch, batch; wait > 0; {
			took, errno := rawEnter(w.ring, submit, wait, iouring.EnterGetevents)
			if errno != 0 && errno != unix.EINTR {
				return fmt.Errorf("io_uring_enter, %d to submit: %w", submit, errno)
			}
			submit -= uint32(took)
			n, err := w.reap(done + uint64(batch))
			if err != nil {
				return err
			}
			wait -= uint32(n)
		}
		done += uint64(batch)
	}
	return nil
}

// ask fills in the request for a block, into buffer slot.
func (w *syscallsWork) ask(e *iouring.SQE, slot uint32, block uint64) {
	e.Op = iouring.OpRead
	e.FD = int32(w.fd)
	e.Off = block * uint64(w.block)
	e.Addr = uint64(uintptr(unsafe.Pointer(&w.buf[int(slot)*w.block])))
	e.Len = uint32(w.block)
	e.UserData = block<<16 | uint64(slot)
}

// reap takes all completions there are; blocks from end on were never asked for.
func (w *syscallsWork) reap(end uint64) (int, error) {
	var wrong error
	n := w.ring.Reap(func(c iouring.CQE) {
		if wrong == nil {
			_, wrong = w.complete(c, end)
		}
	})
	return n, wrong
}

// complete looks at what a request gave and returns its buffer.
func (w *syscallsWork) complete(c iouring.CQE, end uint64) (slot uint32, err error) {
	slot = uint32(c.UserData & 0xffff)
	block := c.UserData >> 16
	if block >= end || slot >= w.entries {
		return 0, fmt.Errorf("a completion for block %d and buffer %d, which nobody asked for", block, slot)
	}
	if c.Res < 0 {
		return 0, fmt.Errorf("READ of %d bytes at %d: %w", w.block, block*uint64(w.block), unix.Errno(-c.Res))
	}
	if int(c.Res) != w.block {
		return 0, fmt.Errorf("READ of %d bytes at %d gave %d", w.block, block*uint64(w.block), c.Res)
	}
	return slot, look(w.buf[int(slot)*w.block:][:w.block], block*uint64(w.block)/PageSize)
}

// poll leaves the reading to the kernel's thread and enters the kernel only to
// wake that up. It never waits: all completions can have been taken before the
// thread publishes sq.head, and then the ring is full with nothing in flight.
func (w *syscallsWork) poll() error {
	free := make([]uint32, w.entries)
	for i := range free {
		free[i] = uint32(i)
	}
	total := uint64(w.size) / uint64(w.block)
	asked, done := uint64(0), uint64(0)
	last := time.Now()
	for idle := 0; done < total; {
		for asked < total && len(free) > 0 {
			e := w.ring.Next()
			if e == nil {
				break
			}
			w.ask(e, free[len(free)-1], asked)
			free = free[:len(free)-1]
			asked++
		}
		// Only what is new needs a thread that is awake: the flag stands until one
		// that was woken runs.
		if w.ring.Flush() > 0 && w.ring.SQFlags()&iouring.SQNeedWakeup != 0 {
			if _, errno := rawEnter(w.ring, 0, 0, iouring.EnterSQWakeup); errno != 0 && errno != unix.EINTR {
				return fmt.Errorf("io_uring_enter, to wake the thread: %w", errno)
			}
		}
		var wrong error
		n := w.ring.Reap(func(c iouring.CQE) {
			slot, err := w.complete(c, asked)
			if err != nil {
				wrong = err
				return
			}
			free = append(free, slot)
		})
		if wrong != nil {
			return wrong
		}
		done += uint64(n)
		if n > 0 {
			idle = 0
			continue
		}
		if idle == 0 {
			last = time.Now()
		}
		if idle++; idle%4096 == 0 && time.Since(last) > stuck {
			return fmt.Errorf("%w, %d of %d are done; sq.head %d, sq.tail %d, flags %s", errStuck, done, total,
				w.ring.SQHead(), w.ring.SQTail(), iouring.SQFlagNames(w.ring.SQFlags()))
		}
	}
	return nil
}

// rawEnter is io_uring_enter without Go's scheduler around it: the thread has
// nothing else to do while it waits. What was to be submitted is flushed
// already; took may be fewer.
func rawEnter(r *iouring.Ring, submit, wait, flags uint32) (took int, errno unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.FD()), uintptr(submit), uintptr(wait), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func (w *syscallsWork) Close() error {
	var err error
	if w.ring != nil {
		err = w.ring.Close()
	}
	closeOpen(w.fd)
	if w.free != nil {
		w.free()
	}
	return err
}
