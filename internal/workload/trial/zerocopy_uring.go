package trial

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"kernelviz/internal/iouring"

	"golang.org/x/sys/unix"
)

// Requests of one batch are linked, so that the stream keeps its order: each
// begins when the one before is done. One system call submits the batch and
// waits for all of it.

// uringBatch is how many chunks a batch has: 32 KiB or more.
func uringBatch(chunk int64) int { return int(max(1, min(8, 64<<10/chunk))) }

func newSendRing() (*iouring.Ring, error) {
	p := iouring.Params{Flags: iouring.SetupSingleIssuer | iouring.SetupDeferTaskrun | iouring.SetupSubmitAll | iouring.SetupCQSize, CQEntries: 1024}
	return iouring.Setup(64, &p)
}

// uringSend reads into a buffer and sends that, as READ linked to SEND: two
// copies, fewer calls.
type uringSend struct {
	ring   *iouring.Ring
	buffer []byte
	free   func()
	batch  int
}

func (w *uringSend) prepare(s *zerocopySender) error {
	w.batch = uringBatch(s.chunk)
	var err error
	if w.buffer, w.free, err = iouring.Memory(w.batch * int(s.chunk)); err != nil {
		return err
	}
	w.ring, err = newSendRing()
	return err
}

func (w *uringSend) send(s *zerocopySender) error {
	for at := int64(0); at < s.size; {
		n := int(min(int64(w.batch), (s.size-at)/s.chunk))
		for i := range n {
			off := int64(i) * s.chunk
			memory := uint64(uintptr(unsafe.Pointer(&w.buffer[off])))
			read, send := w.ring.Next(), w.ring.Next()
			if read == nil || send == nil {
				return errors.New("the submission queue is full")
			}
			*read = iouring.SQE{
				Op: iouring.OpRead, Flags: iouring.FlagLink, FD: int32(s.fd), Off: uint64(at + off), Addr: memory, Len: uint32(s.chunk),
			}
			*send = iouring.SQE{
				Op: iouring.OpSend, FD: int32(s.conn), Addr: memory, Len: uint32(s.chunk), OpFlags: unix.MSG_WAITALL | unix.MSG_NOSIGNAL,
			}
			if i < n-1 {
				send.Flags = iouring.FlagLink
			}
		}
		if err := w.complete(2*n, s.chunk, at); err != nil {
			return err
		}
		at += int64(n) * s.chunk
	}
	return nil
}

// complete waits for so many completions, each of a whole chunk.
func (w *uringSend) complete(n int, chunk, at int64) error {
	for n > 0 {
		if err := enterRing(w.ring, uint32(n)); err != nil {
			return err
		}
		for {
			c, ok := w.ring.Peek()
			if !ok {
				break
			}
			w.ring.Advance(1)
			n--
			if int64(c.Res) != chunk {
				return fmt.Errorf("a READ or SEND of the batch at byte %d: %w", at, short(c.Res, chunk))
			}
		}
	}
	return nil
}

// short is the error of a request that did not take all.
func short(res int32, want int64) error {
	if res < 0 {
		return syscall.Errno(-res)
	}
	return fmt.Errorf("took %d of %d bytes", res, want)
}

func (w *uringSend) finish(*zerocopySender) error { return nil }

func (w *uringSend) close() error {
	var err error
	if w.ring != nil {
		err = w.ring.Close()
	}
	if w.free != nil {
		w.free()
	}
	return err
}

// uringSendZC sends the mapped file with SEND_ZC. Every request has two
// completions: it is done; the kernel needs the memory no more.
type uringSendZC struct {
	mapped
	completions
	ring  *iouring.Ring
	usage uint16 // flags of the requests: the second completion tells whether it copied
	batch int
	wait  int    // requests that are not done
	lent  uint64 // second completions to come
	chunk int64
}

func (w *uringSendZC) prepare(s *zerocopySender) error {
	w.batch, w.chunk = uringBatch(s.chunk), s.chunk
	var err error
	if w.ring, err = newSendRing(); err != nil {
		return err
	}
	p, err := w.ring.Probe()
	if err != nil {
		return fmt.Errorf("asking which requests this kernel knows: %w", err)
	}
	if !p.Supports(iouring.OpSendZC) {
		return errors.New("this kernel has no IORING_OP_SEND_ZC: it is there since Linux 6.0")
	}
	tells, err := knowsSendZC(s.conn, iouring.SendZCReportUsage)
	if tells {
		w.usage = iouring.SendZCReportUsage
	}
	return err
}

// knowsSendZC tells whether the kernel takes SEND_ZC with that flag, by sending
// nothing on a socket that is not connected. Linux 6.0 and 6.1 do not tell
// whether they copied. The ring is one for this, because a request that is
// refused may still have its second completion.
func knowsSendZC(fd int, flag uint16) (bool, error) {
	ring, err := newSendRing()
	if err != nil {
		return false, err
	}
	defer ring.Close()
	memory, free, err := iouring.Memory(PageSize)
	if err != nil {
		return false, err
	}
	defer free()
	*ring.Next() = iouring.SQE{
		Op: iouring.OpSendZC, IOPrio: flag, FD: int32(fd), Addr: uint64(uintptr(unsafe.Pointer(&memory[0]))), Len: 1,
		OpFlags: unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL,
	}
	if err := enterRing(ring, 1); err != nil {
		return false, err
	}
	c, _ := ring.Peek()
	if c.Res >= 0 {
		return false, fmt.Errorf("a trial of SEND_ZC on a socket that is not connected: sent %d bytes", c.Res)
	}
	return syscall.Errno(-c.Res) != unix.EINVAL, nil
}

func (w *uringSendZC) send(s *zerocopySender) error {
	if err := w.open(s); err != nil {
		return err
	}
	most := lentLimit(s.chunk)
	for at := int64(0); at < s.size; {
		n := int(min(int64(w.batch), (s.size-at)/s.chunk))
		if err := w.submit(s, at, n); err != nil {
			return fmt.Errorf("SEND_ZC of the batch at byte %d: %w", at, err)
		}
		at += int64(n) * s.chunk
		for w.lent >= most {
			if err := w.reap(); err != nil {
				return err
			}
		}
	}
	return nil
}

// submit sends n chunks from that byte on and waits until that is done; the
// kernel may still need the memory.
func (w *uringSendZC) submit(s *zerocopySender, at int64, n int) error {
	for i := range n {
		sqe := w.ring.Next()
		if sqe == nil {
			return errors.New("the submission queue is full")
		}
		*sqe = iouring.SQE{
			Op: iouring.OpSendZC, IOPrio: w.usage, FD: int32(s.conn),
			Addr: uint64(uintptr(unsafe.Pointer(&w.memory[at+int64(i)*s.chunk]))), Len: uint32(s.chunk),
			OpFlags: unix.MSG_WAITALL | unix.MSG_NOSIGNAL,
		}
		if i < n-1 {
			sqe.Flags = iouring.FlagLink
		}
	}
	w.wait = n
	var first error
	for w.wait > 0 {
		if err := w.reap(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// reap waits for a completion and takes all that are there.
func (w *uringSendZC) reap() error {
	// All that must come come at once, if no memory comes back meanwhile.
	if err := enterRing(w.ring, uint32(max(1, w.wait))); err != nil {
		w.wait = 0
		return err
	}
	var first error
	for {
		c, ok := w.ring.Peek()
		if !ok {
			return first
		}
		w.ring.Advance(1)
		if c.Flags&iouring.CQEFNotif != 0 {
			if w.lent == 0 {
				return errors.New("SEND_ZC completed twice") // or its request failed: the first error says why
			}
			w.lent--
			if w.usage != 0 {
				w.all++
				if uint32(c.Res)&iouring.NotifUsageZCCopied != 0 {
					w.copies++
				}
			}
			continue
		}
		w.wait--
		if c.More() {
			w.lent++
		}
		if int64(c.Res) != w.chunk && first == nil {
			first = short(c.Res, w.chunk)
		}
	}
}

func (w *uringSendZC) finish(*zerocopySender) error {
	for w.lent > 0 {
		if err := w.reap(); err != nil {
			return err
		}
	}
	return w.mapped.close()
}

func (w *uringSendZC) close() error {
	var err error
	if w.ring != nil {
		err = w.ring.Close()
	}
	return errors.Join(err, w.mapped.close())
}
