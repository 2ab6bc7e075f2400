package trial

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
)

// What a completion is of: the upper byte of its user data. Below lie the
// buffer (24 bits) and the connection (32 bits).
const (
	ofAccept = iota + 1
	ofReceive
	ofSend
	ofClose
)

const (
	// echoBuffer is the size of a provided buffer in bytes.
	echoBuffer = 4 * EchoSize
	// echoGroup is the id of the provided buffers.
	echoGroup = 1
)

// echoUring is the server by io_uring: one multishot accept, on each connection
// one multishot receive into buffers that the kernel picks, and a send of that
// same buffer. It enters the kernel once for all that it has to say, and waits
// there for at least one completion.
type echoUring struct {
	echoCount
	deferred bool // IORING_SETUP_DEFER_TASKRUN
	locked   bool // Prepare has bound the goroutine to its thread
	listener int
	ring     *iouring.Ring
	owed     int // requests that are published and not taken
	bufs     *iouring.BufRing
	// mem holds the buffers, one after another. Like bufs it ends with the
	// process: the kernel may use it until the ring is gone.
	mem   []byte
	bytes uint64
	ended int // connections
}

func (e *echoUring) Prepare() (any, error) {
	// IORING_SETUP_SINGLE_ISSUER binds the ring to the thread that makes it.
	runtime.LockOSThread()
	e.locked = true
	var said echoSaid
	var err error
	// Blocking: with O_NONBLOCK, requests end with EAGAIN where they would wait.
	if e.listener, said, err = echoListen(0); err != nil {
		return nil, err
	}
	// Each connection has a receive, a send or a close to ask for at a time; and
	// at most one message, whose buffer is free again before the next comes.
	entries := uint32(1) << bits.Len32(uint32(min(2*e.conns, iouring.MaxEntries/2)))
	p := iouring.Params{}
	if e.deferred {
		p.Flags = iouring.SetupSingleIssuer | iouring.SetupDeferTaskrun
	}
	if e.ring, err = iouring.Setup(max(entries, 64), &p); err != nil {
		return nil, err
	}
	count := 1 << bits.Len(uint(2*e.conns))
	e.bufs, err = e.ring.RegisterBufRing(echoGroup, min(count, 1<<15))
	if errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("this kernel has no rings of provided buffers, which Linux has since 5.19: %w", err)
	}
	if err != nil {
		return nil, err
	}
	if e.mem, _, err = iouring.Memory(e.bufs.Entries() * echoBuffer); err != nil {
		return nil, err
	}
	for id := range e.bufs.Entries() {
		e.bufs.Add(e.buffer(id), uint16(id))
	}
	e.bufs.Publish()
	return said, nil
}

func (e *echoUring) buffer(id int) []byte {
	return e.mem[id*echoBuffer:][:echoBuffer]
}

func (e *echoUring) Run(map[string]json.RawMessage) (Report, error) {
	loud, err := quiet()
	if err != nil {
		return Report{}, err
	}
	defer loud()
	began := time.Now()
	if err := e.accept(); err != nil {
		return Report{}, err
	}
	for e.ended < e.conns {
		if err := e.enter(1); err != nil {
			return Report{}, err
		}
		var wrong error
		e.ring.Reap(func(c iouring.CQE) {
			if wrong == nil {
				wrong = e.complete(c)
			}
		})
		if wrong != nil {
			return Report{}, wrong
		}
		e.bufs.Publish()
	}
	return Report{Seconds: time.Since(began).Seconds(), Bytes: e.bytes, Ops: e.bytes / EchoSize}, nil
}

// enter tells the kernel of all requests and waits for completions.
func (e *echoUring) enter(wait uint32) error {
	e.owed += e.ring.Flush()
	flags := uint32(0)
	if wait > 0 {
		flags = iouring.EnterGetevents
	}
	took, errno := rawEnter(e.ring, uint32(e.owed), wait, flags)
	e.owed -= int(took)
	// EBUSY and EAGAIN pass when completions are taken.
	if errno != 0 && errno != unix.EINTR && errno != unix.EBUSY && errno != unix.EAGAIN {
		return fmt.Errorf("io_uring_enter, %d to submit: %w", e.owed, errno)
	}
	return nil
}

// next is a free request.
func (e *echoUring) next(kind uint64, buffer int, fd int32) (*iouring.SQE, error) {
	s := e.ring.Next()
	for try := 0; s == nil; try++ {
		if try == 100 {
			return nil, fmt.Errorf("the submission queue stays full, with %d requests that the kernel does not take", e.owed)
		}
		if err := e.enter(0); err != nil {
			return nil, err
		}
		s = e.ring.Next()
	}
	s.FD = fd
	s.UserData = kind<<56 | uint64(buffer)<<32 | uint64(uint32(fd))
	return s, nil
}

func (e *echoUring) accept() error {
	s, err := e.next(ofAccept, 0, int32(e.listener))
	if err != nil {
		return err
	}
	s.Op, s.IOPrio, s.OpFlags = iouring.OpAccept, iouring.AcceptMultishot, unix.SOCK_CLOEXEC
	return nil
}

func (e *echoUring) receive(fd int32) error {
	s, err := e.next(ofReceive, 0, fd)
	if err != nil {
		return err
	}
	s.Op, s.IOPrio, s.Flags, s.BufIndex = iouring.OpRecv, iouring.RecvMultishot, iouring.FlagBufferSelect, echoGroup
	return nil
}

func (e *echoUring) send(fd int32, id, n int) error {
	s, err := e.next(ofSend, id, fd)
	if err != nil {
		return err
	}
	s.Op = iouring.OpSend
	s.Addr = uint64(uintptr(unsafe.Pointer(&e.mem[id*echoBuffer])))
	s.Len = uint32(n)
	s.OpFlags = unix.MSG_NOSIGNAL | unix.MSG_WAITALL // MSG_WAITALL: the kernel goes on after a part
	return nil
}

func (e *echoUring) close(fd int32) error {
	s, err := e.next(ofClose, 0, fd)
	if err != nil {
		return err
	}
	s.Op = iouring.OpClose
	return nil
}

// complete does what follows a completion.
func (e *echoUring) complete(c iouring.CQE) error {
	fd, id := int32(uint32(c.UserData)), int(c.UserData>>32&0xff_ffff)
	switch c.UserData >> 56 {
	case ofAccept:
		return e.accepted(c)
	case ofReceive:
		return e.received(c, fd)
	case ofSend:
		if c.Res <= 0 {
			return fmt.Errorf("SEND on connection %d: %w", fd, unix.Errno(-c.Res))
		}
		e.bytes += uint64(c.Res)
		e.bufs.Add(e.buffer(id), uint16(id))
		return nil
	case ofClose:
		if c.Res < 0 {
			return fmt.Errorf("CLOSE of connection %d: %w", fd, unix.Errno(-c.Res))
		}
		e.ended++
		return nil
	}
	return fmt.Errorf("a completion with user data %#x, which nobody asked for", c.UserData)
}

func (e *echoUring) accepted(c iouring.CQE) error {
	if errno := unix.Errno(-c.Res); c.Res < 0 {
		if errno == unix.EINVAL {
			return fmt.Errorf("this kernel has no multishot ACCEPT, which Linux has since 5.19: %w", errno)
		}
		return fmt.Errorf("ACCEPT: %w", errno)
	}
	if err := e.receive(c.Res); err != nil {
		return err
	}
	if c.More() {
		return nil
	}
	return e.accept()
}

func (e *echoUring) received(c iouring.CQE, fd int32) error {
	if errno := unix.Errno(-c.Res); c.Res < 0 {
		switch errno {
		case unix.ENOBUFS: // none was free; some will be
			return e.receive(fd)
		case unix.EINVAL:
			return fmt.Errorf("this kernel has no multishot RECV, which Linux has since 6.0: %w", errno)
		}
		return fmt.Errorf("RECV on connection %d: %w", fd, errno)
	}
	id, picked := c.Buffer()
	if c.Res == 0 {
		if picked {
			e.bufs.Add(e.buffer(int(id)), id)
		}
		return e.close(fd)
	}
	if !picked {
		return fmt.Errorf("RECV on connection %d gave %d bytes without a buffer", fd, c.Res)
	}
	if err := e.send(fd, int(id), int(c.Res)); err != nil {
		return err
	}
	if c.More() {
		return nil
	}
	return e.receive(fd)
}

func (e *echoUring) Close() error {
	var err error
	if e.ring != nil {
		err = e.ring.Close()
	}
	closeOpen(e.listener)
	if e.locked {
		runtime.UnlockOSThread()
	}
	return err
}
