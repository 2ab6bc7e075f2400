package trial

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"kernelviz/internal/iouring"

	"golang.org/x/sys/unix"
)

// zerocopyVariants are the ways of the sender.
func zerocopyVariants() []string {
	return []string{"readwrite", "mmap-write", "sendfile", "splice", "msg-zerocopy", "uring-send", "uring-sendzc"}
}

func newZerocopyWay(variant string) zerocopyWay {
	switch variant {
	case "mmap-write":
		return &mapWrite{}
	case "sendfile":
		return sendFile{}
	case "splice":
		return &splicing{in: -1, out: -1}
	case "msg-zerocopy":
		return &msgZerocopy{}
	case "uring-send":
		return &uringSend{}
	case "uring-sendzc":
		return &uringSendZC{}
	}
	return &readWrite{}
}

// readWrite reads into a buffer and writes that to the socket: two copies.
type readWrite struct {
	buffer []byte
	free   func()
}

func (w *readWrite) prepare(s *zerocopySender) error {
	var err error
	w.buffer, w.free, err = iouring.Memory(int(s.chunk))
	return err
}

func (w *readWrite) send(s *zerocopySender) error {
	for at := int64(0); at < s.size; {
		n, errno := rawRead(s.fd, w.buffer)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 || n == 0 {
			return sendFailed("read", at, errno)
		}
		if err := writeAll(s.conn, w.buffer[:n], at); err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

func (w *readWrite) finish(*zerocopySender) error { return nil }

func (w *readWrite) close() error {
	if w.free != nil {
		w.free()
	}
	return nil
}

// writeAll writes all of b, which begins at that byte of the file.
func writeAll(fd int, b []byte, at int64) error {
	for len(b) > 0 {
		n, errno := rawWrite(fd, b)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return sendFailed("write", at, errno)
		}
		b = b[n:]
		at += int64(n)
	}
	return nil
}

// sendFailed says which call failed where; errno 0 is the end of the file.
func sendFailed(call string, at int64, errno unix.Errno) error {
	if errno == 0 {
		return fmt.Errorf("%s at byte %d: %w", call, at, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%s at byte %d: %w", call, at, errno)
}

// mapped is the file in memory, for as long as it is sent: its mapping and its
// page faults are part of the work.
type mapped struct{ memory []byte }

func (m *mapped) open(s *zerocopySender) error {
	var err error
	if m.memory, err = unix.Mmap(s.fd, 0, int(s.size), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("mmap of %d bytes of the file: %w", s.size, err)
	}
	return nil
}

func (m *mapped) close() error {
	if m.memory == nil {
		return nil
	}
	if err := unix.Munmap(m.memory); err != nil {
		return fmt.Errorf("munmap: %w", err)
	}
	m.memory = nil
	return nil
}

// mapWrite writes to the socket out of the mapped file: one copy.
type mapWrite struct{ mapped }

func (w *mapWrite) prepare(*zerocopySender) error { return nil }

func (w *mapWrite) send(s *zerocopySender) error {
	if err := w.open(s); err != nil {
		return err
	}
	for at := int64(0); at < s.size; at += s.chunk {
		if err := writeAll(s.conn, w.memory[at:at+s.chunk], at); err != nil {
			return err
		}
	}
	return w.mapped.close()
}

func (w *mapWrite) finish(*zerocopySender) error { return nil }

// sendFile gives the socket the pages of the page cache.
type sendFile struct{}

func (sendFile) prepare(*zerocopySender) error { return nil }

func (sendFile) send(s *zerocopySender) error {
	for at := int64(0); at < s.size; {
		// To the end of the chunk: a short call is gone on with, so that all
		// chunks begin where those of others do.
		want := s.chunk - at%s.chunk
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDFILE, uintptr(s.conn), uintptr(s.fd), uintptr(unsafe.Pointer(&at)), uintptr(want), 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 || n == 0 {
			return sendFailed("sendfile", at, errno)
		}
	}
	return nil
}

func (sendFile) finish(*zerocopySender) error { return nil }
func (sendFile) close() error                 { return nil }

// splicing moves pages into a pipe and out of it to the socket.
type splicing struct{ in, out int } // ends of the pipe

func (w *splicing) prepare(s *zerocopySender) error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("pipe2: %w", err)
	}
	w.out, w.in = p[0], p[1]
	if _, err := unix.FcntlInt(uintptr(w.in), unix.F_SETPIPE_SZ, int(max(s.chunk, 64<<10))); err != nil {
		return fmt.Errorf("making the pipe as large as a chunk (%d bytes): %w; see fs.pipe-max-size", s.chunk, err)
	}
	return nil
}

func (w *splicing) send(s *zerocopySender) error {
	for at := int64(0); at < s.size; {
		want := s.chunk - at%s.chunk
		n, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(s.fd), uintptr(unsafe.Pointer(&at)), uintptr(w.in), 0,
			uintptr(want), unix.SPLICE_F_MOVE)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 || n == 0 {
			return sendFailed("splice into the pipe", at, errno)
		}
		for left := n; left > 0; {
			n, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(w.out), 0, uintptr(s.conn), 0, left, unix.SPLICE_F_MOVE)
			if errno == unix.EINTR {
				continue
			}
			if errno != 0 || n == 0 {
				return sendFailed("splice out of the pipe", at-int64(left), errno)
			}
			left -= n
		}
	}
	return nil
}

func (w *splicing) finish(*zerocopySender) error { return nil }

func (w *splicing) close() error {
	closeOpen(w.in, w.out)
	return nil
}

// completions are what the kernel says of memory that it was lent.
type completions struct{ copies, all uint64 }

func (c *completions) copied() (uint64, uint64) { return c.copies, c.all }

// msgZerocopy sends the mapped file with MSG_ZEROCOPY. The error queue of the
// socket tells when the kernel needs the memory no more, and whether it copied.
type msgZerocopy struct {
	mapped
	completions
	lent   uint64 // calls whose completion was not yet read
	header *unix.Msghdr
	buffer []byte
}

const (
	// lentMost is how many calls may be without completion, and lentBytes how
	// many bytes.
	lentMost  = 64
	lentBytes = 8 << 20
	// lentPatience is how long a completion may take, in ms.
	lentPatience = 10_000
)

func lentLimit(chunk int64) uint64 { return uint64(max(1, min(lentMost, lentBytes/chunk))) }

func (w *msgZerocopy) prepare(s *zerocopySender) error {
	if err := unix.SetsockoptInt(s.conn, unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1); err != nil {
		return fmt.Errorf("SO_ZEROCOPY: %w: MSG_ZEROCOPY is for TCP since Linux 4.14", err)
	}
	w.buffer = make([]byte, 256)
	w.header = &unix.Msghdr{Control: &w.buffer[0]}
	return nil
}

func (w *msgZerocopy) send(s *zerocopySender) error {
	if err := w.open(s); err != nil {
		return err
	}
	most := lentLimit(s.chunk)
	for at := int64(0); at < s.size; at += s.chunk {
		for b := w.memory[at : at+s.chunk]; len(b) > 0; {
			n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.conn), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
				unix.MSG_ZEROCOPY|unix.MSG_NOSIGNAL, 0, 0)
			switch {
			case errno == unix.EINTR:
				continue
			case errno == unix.ENOBUFS && w.lent > 0: // more than optmem_max or RLIMIT_MEMLOCK allow
				if err := w.reap(s.conn, w.lent-1); err != nil {
					return err
				}
				continue
			case errno != 0:
				return sendFailed("send with MSG_ZEROCOPY", at, errno)
			}
			w.lent++
			b = b[n:]
		}
		if w.lent >= most {
			if err := w.reap(s.conn, most/2); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *msgZerocopy) finish(s *zerocopySender) error {
	if err := w.reap(s.conn, 0); err != nil {
		return err
	}
	return w.mapped.close()
}

// reap reads completions until no more than that many calls are without.
func (w *msgZerocopy) reap(fd int, leave uint64) error {
	for w.lent > leave {
		w.header.SetControllen(len(w.buffer))
		_, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(w.header)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if errno == unix.EINTR {
			continue
		}
		if errno == unix.EAGAIN {
			if err := awaitError(fd); err != nil {
				return err
			}
			continue
		}
		if errno != 0 {
			return fmt.Errorf("reading completions of MSG_ZEROCOPY: %w", errno)
		}
		if err := w.take(w.buffer[:w.header.Controllen]); err != nil {
			return err
		}
	}
	return nil
}

// awaitError sleeps until something is in a socket's error queue.
func awaitError(fd int) error {
	fds := [1]unix.PollFd{{Fd: int32(fd)}} // POLLERR is always asked for
	wait := unix.Timespec{Sec: lentPatience / 1000}
	n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), 1, uintptr(unsafe.Pointer(&wait)), 0, 0, 0)
	switch {
	case errno == unix.EINTR:
		return nil
	case errno != 0:
		return fmt.Errorf("poll for completions of MSG_ZEROCOPY: %w", errno)
	case n == 0:
		return fmt.Errorf("no completion of MSG_ZEROCOPY for %d s", lentPatience/1000)
	}
	return nil
}

// take reads one message of the error queue: the calls from..to are done
// (Documentation/networking/msg_zerocopy.rst).
func (w *msgZerocopy) take(message []byte) error {
	const (
		head           = 16 // cmsghdr
		extended       = 16 // sock_extended_err, before the address
		originZerocopy = 5  // SO_EE_ORIGIN_ZEROCOPY
		codeCopied     = 1  // SO_EE_CODE_ZEROCOPY_COPIED
	)
	if len(message) < head+extended {
		return fmt.Errorf("a completion of MSG_ZEROCOPY has %d bytes", len(message))
	}
	e := message[head:]
	if errno, origin := binary.NativeEndian.Uint32(e), e[4]; errno != 0 || origin != originZerocopy {
		return fmt.Errorf("the socket's error queue has something else than a completion: errno %d, origin %d", errno, origin)
	}
	from, to := binary.NativeEndian.Uint32(e[8:]), binary.NativeEndian.Uint32(e[12:])
	n := uint64(to-from) + 1
	if n > w.lent {
		return errors.New("the kernel completes more calls with MSG_ZEROCOPY than were made")
	}
	w.lent -= n
	w.all += n
	if e[6] == codeCopied {
		w.copies += n
	}
	return nil
}
