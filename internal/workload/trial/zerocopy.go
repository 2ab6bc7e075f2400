package trial

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"kernelviz/internal/iouring"
	"kernelviz/internal/workload/control"
	"kernelviz/internal/workload/herd"

	"golang.org/x/sys/unix"
)

// The experiment zerocopy: a sender takes the first "size" bytes of a file of
// WritePages, which has "file" bytes, out of the page cache and sends them over
// one TCP connection, "chunk" bytes a call; a receiver reads it all and looks at every page. With "veth" 1 they are
// in two network namespaces. The socket is as it is made, without TCP_NODELAY,
// TCP_CORK or MSG_MORE: what goes together in a segment is TCP's own decision in
// all variants, and no advantage of one.
const (
	// zerocopyWindow is how much the receiver reads at a time, at most.
	zerocopyWindow = 256 << 10
	zerocopyMost   = 8 << 30
	// zerocopyGood is the receiver's answer when all is there.
	zerocopyGood = 'G'
)

// ZerocopyMiB is the multiple that the size of the file must be, in bytes.
const ZerocopyMiB = 1 << 20

// zerocopySaid is what the receiver says with ready.
type zerocopySaid struct {
	Address [4]byte `json:"address"`
	Port    int     `json:"port"`
}

// zerocopySizes are the parameters of both roles.
type zerocopySizes struct {
	file, size, chunk int64
	veth              bool
}

func newZerocopySizes(s Spec) (zerocopySizes, error) {
	size, err := param(s, "size", ZerocopyMiB, zerocopyMost)
	if err != nil {
		return zerocopySizes{}, err
	}
	file, err := param(s, "file", size, zerocopyMost)
	if err != nil {
		return zerocopySizes{}, err
	}
	chunk, err := param(s, "chunk", PageSize, ZerocopyMiB)
	if err != nil {
		return zerocopySizes{}, err
	}
	if size%ZerocopyMiB != 0 || ZerocopyMiB%chunk != 0 {
		return zerocopySizes{}, fmt.Errorf("zerocopy: %d bytes in chunks of %d: the size is no multiple of 1 MiB, or 1 MiB none of the chunk", size, chunk)
	}
	veth, err := param(s, "veth", 0, 1)
	if err != nil {
		return zerocopySizes{}, err
	}
	if !slices.Contains(zerocopyVariants(), s.Variant) {
		return zerocopySizes{}, fmt.Errorf("zerocopy: unknown variant %.80q; known are %s", s.Variant, control.List(zerocopyVariants()))
	}
	return zerocopySizes{file: file, size: size, chunk: chunk, veth: veth == 1}, nil
}

// zerocopyReceiver is the role "receiver", the same for all variants.
type zerocopyReceiver struct {
	zerocopySizes
	listener, conn int
	window         []byte
	free           func()
	restore        func()
	reads          uint64
}

// newZerocopyReceiver makes the role "receiver".
func newZerocopyReceiver(s Spec) (Work, error) {
	sizes, err := newZerocopySizes(s)
	if err != nil {
		return nil, err
	}
	return &zerocopyReceiver{zerocopySizes: sizes, listener: -1, conn: -1}, nil
}

func (r *zerocopyReceiver) Prepare() (any, error) {
	var err error
	if r.restore, err = quiet(); err != nil {
		return nil, err
	}
	if r.window, r.free, err = iouring.Memory(zerocopyWindow); err != nil {
		return nil, err
	}
	at := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if r.veth {
		at.Addr = [4]byte{10, 77, 0, 2} // side 1 of experiment.Plan.Veth
	}
	if r.listener, err = herd.Listen(at, false, 0); err != nil {
		return nil, fmt.Errorf("listening at %v: %w", at.Addr, err)
	}
	return zerocopySaid{Address: at.Addr, Port: at.Port}, nil
}

func (r *zerocopyReceiver) Run(map[string]json.RawMessage) (Report, error) {
	var err error
	if r.conn, _, err = unix.Accept4(r.listener, unix.SOCK_CLOEXEC); err != nil {
		return Report{}, fmt.Errorf("accept: %w", err)
	}
	begin := time.Now()
	if err := r.receive(); err != nil {
		return Report{}, err
	}
	took := time.Since(begin)
	if _, err := (control.FD(r.conn)).Write([]byte{zerocopyGood}); err != nil {
		return Report{}, fmt.Errorf("telling the sender that all is there: %w", err)
	}
	return Report{Seconds: took.Seconds(), Bytes: uint64(r.size), Ops: r.reads}, nil
}

// receive reads until the sender ends, and looks at the stamps of every page.
func (r *zerocopyReceiver) receive() error {
	at, have := int64(0), 0 // of the file, of the window
	for {
		n, errno := rawRecv(r.conn, r.window[have:])
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return fmt.Errorf("recv after %d of %d bytes: %w", at+int64(have), r.size, errno)
		}
		r.reads++
		have += n
		if n > 0 && have < len(r.window) {
			continue
		}
		for p := 0; p+PageSize <= have; p += PageSize {
			if page := r.window[p : p+PageSize]; !stamped(page, uint64(at)/PageSize+uint64(p/PageSize)) {
				return fmt.Errorf("receiving: %w", wrongPage(page, uint64(at)/PageSize+uint64(p/PageSize)))
			}
		}
		at += int64(have)
		have = 0
		if n > 0 {
			continue
		}
		if at != r.size {
			return fmt.Errorf("the sender ended after %d of %d bytes", at, r.size)
		}
		return nil
	}
}

func (r *zerocopyReceiver) Close() error {
	closeOpen(r.conn, r.listener)
	if r.free != nil {
		r.free()
	}
	if r.restore != nil {
		r.restore()
	}
	return nil
}

func rawRecv(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0)
	return int(n), errno
}

// zerocopySender is the role "sender".
type zerocopySender struct {
	zerocopySizes
	dir     string
	way     zerocopyWay
	fd      int // of the file
	conn    int
	restore func()
}

// zerocopyWay is one way to get a file from the page cache into a socket.
type zerocopyWay interface {
	// prepare makes buffers.
	prepare(s *zerocopySender) error
	// send sends all of the file.
	send(s *zerocopySender) error
	// finish waits until the kernel needs the memory no more.
	finish(s *zerocopySender) error
	close() error
}

// newZerocopySender makes the role "sender".
func newZerocopySender(s Spec) (Work, error) {
	sizes, err := newZerocopySizes(s)
	if err != nil {
		return nil, err
	}
	return &zerocopySender{zerocopySizes: sizes, way: newZerocopyWay(s.Variant), fd: -1, conn: -1, dir: s.Dir}, nil
}

func (s *zerocopySender) Prepare() (any, error) {
	var err error
	if s.restore, err = quiet(); err != nil {
		return nil, err
	}
	if s.fd, err = openPages(s.dir, s.file, 0); err != nil {
		return nil, err
	}
	if err := warm(s.fd, s.file); err != nil {
		return nil, err
	}
	if s.conn, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	// Machines differ in their default, and BBR's pacing costs CPU time.
	if err := unix.SetsockoptString(s.conn, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic"); err != nil {
		if err := unix.SetsockoptString(s.conn, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno"); err != nil {
			return nil, fmt.Errorf("TCP_CONGESTION: %w", err)
		}
	}
	return nil, s.way.prepare(s)
}

func (s *zerocopySender) Run(peers map[string]json.RawMessage) (Report, error) {
	var said zerocopySaid
	if err := json.Unmarshal(peers["receiver"], &said); err != nil {
		return Report{}, fmt.Errorf("reading where the receiver is from %.80q: %w", peers["receiver"], err)
	}
	if err := unix.Connect(s.conn, &unix.SockaddrInet4{Addr: said.Address, Port: said.Port}); err != nil {
		return Report{}, fmt.Errorf("connecting to the receiver at %v: %w", said.Address, err)
	}
	begin := time.Now()
	err := s.way.send(s)
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return Report{}, err
	}
	took := time.Since(begin)
	r := Report{Seconds: took.Seconds(), Bytes: uint64(s.size), Ops: uint64(s.size / s.chunk)}
	if c, ok := s.way.(interface{ copied() (copies, all uint64) }); ok {
		copies, all := c.copied()
		s.tell(&r, copies, all)
	}
	return r, nil
}

// end ends the stream and waits for the receiver's answer.
func (s *zerocopySender) end() error {
	if err := unix.Shutdown(s.conn, unix.SHUT_WR); err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	if err := s.way.finish(s); err != nil {
		return err
	}
	var b [1]byte
	for {
		n, errno := rawRead(s.conn, b[:])
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return fmt.Errorf("waiting for the receiver's answer: %w", errno)
		case n != 1 || b[0] != zerocopyGood:
			return errors.New("the receiver did not get what was sent: see what it says")
		}
		return nil
	}
}

// tell reports how many completions said that the kernel copied after all.
func (s *zerocopySender) tell(r *Report, copies, all uint64) {
	if all == 0 {
		return
	}
	r.Metrics = map[string]float64{"copied": float64(copies) / float64(all)}
	if copies > 0 {
		r.Notes = append(r.Notes, Note{
			Code: "copied",
			Text: fmt.Sprintf("%d of %d completions say that the kernel copied the data after all.", copies, all),
			Zh:   fmt.Sprintf("%d 个完成通知中有 %d 个说明内核最终还是复制了数据。", all, copies),
		})
	}
}

func (s *zerocopySender) Close() error {
	err := s.way.close()
	closeOpen(s.conn, s.fd)
	if s.restore != nil {
		s.restore()
	}
	return err
}
