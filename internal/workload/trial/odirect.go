package trial

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
)

// odirectWork reads pages of the file of WritePages past the page cache, in an
// order that looks random and has no page twice, for a while.
type odirectWork struct {
	dir     string
	size    int64
	limit   time.Duration
	depth   int  // requests in flight
	uring   bool // else pread, with one
	start   uint64
	fd      int
	ring    *iouring.Ring
	buf     []byte // a page for each request in flight
	free    func() // of buf
	spare   []uint32
	began   []int64 // when the request of a buffer was made, in ns of now
	zero    time.Time
	latency histogram
}

// newODirect makes the role "reader". Parameters: "bytes", the size of the
// file, a power of two; "depth", how many reads are in flight (pread has one
// whatever it says); "ms", how long it goes on, unless all pages are read.
func newODirect(s Spec) (Work, error) {
	if s.Variant != "pread" && s.Variant != "uring" {
		return nil, fmt.Errorf("odirect: unknown variant %.80q; known are pread, uring", s.Variant)
	}
	size, err := param(s, "bytes", chunk, 1<<40)
	if err != nil {
		return nil, err
	}
	if bits.OnesCount64(uint64(size)) != 1 {
		return nil, fmt.Errorf("odirect: %d bytes are no power of two", size)
	}
	depth, err := param(s, "depth", 1, 4096)
	if err != nil {
		return nil, err
	}
	ms, err := param(s, "ms", 1, 60_000)
	if err != nil {
		return nil, err
	}
	w := &odirectWork{
		dir: s.Dir, size: size, limit: time.Duration(ms) * time.Millisecond, depth: int(depth), uring: s.Variant == "uring", fd: -1,
		// Elsewhere each time: what was just read may lie in a cache of the disk.
		start: rand.Uint64(),
	}
	if !w.uring {
		w.depth = 1
	}
	return w, nil
}

func (w *odirectWork) Prepare() (any, error) {
	var err error
	if w.fd, err = openPages(w.dir, w.size, unix.O_DIRECT); err != nil {
		return nil, err
	}
	// Each direct read would look for pages of it that are cached.
	if err := unix.Fadvise(w.fd, 0, w.size, unix.FADV_DONTNEED); err != nil {
		return nil, fmt.Errorf("taking the file out of the page cache: %w", err)
	}
	if w.buf, w.free, err = iouring.Memory(w.depth * PageSize); err != nil {
		return nil, err
	}
	w.began = make([]int64, w.depth)
	w.spare = make([]uint32, w.depth)
	for i := range w.spare {
		w.spare[i] = uint32(i)
	}
	if !w.uring {
		return nil, nil
	}
	w.ring, err = iouring.Setup(uint32(w.depth), &iouring.Params{})
	return nil, err
}

func (w *odirectWork) Run(map[string]json.RawMessage) (Report, error) {
	loud, err := quiet()
	if err != nil {
		return Report{}, err
	}
	defer loud()
	w.zero = time.Now()
	run := w.pread
	if w.uring {
		run = w.keep
	}
	done, err := run()
	if err != nil {
		return Report{}, err
	}
	seconds := float64(w.now()) / 1e9
	return Report{
		Seconds: seconds, Bytes: done * PageSize, Ops: done,
		Metrics: map[string]float64{"p50_us": w.latency.quantile(0.5) / 1000, "p99_us": w.latency.quantile(0.99) / 1000},
	}, nil
}

func (w *odirectWork) now() int64 { return int64(time.Since(w.zero)) }

// page is which page is read as number i: each once while i runs through as
// many numbers as there are pages.
func (w *odirectWork) page(i uint64) uint64 {
	width := bits.TrailingZeros64(uint64(w.size / PageSize))
	mask := uint64(1)<<width - 1
	x := (i + w.start) & mask
	// Both steps can be undone modulo a power of two: different of different.
	for range 2 {
		x = x * 0x9e3779b97f4a7c15 & mask
		x ^= x >> max(width/2, 1)
	}
	return x
}

func (w *odirectWork) total() uint64 { return uint64(w.size / PageSize) }

// pread has one read in flight.
func (w *odirectWork) pread() (uint64, error) {
	now := w.now()
	for i := uint64(0); i < w.total(); i++ {
		page := w.page(i)
		n, _, errno := unix.RawSyscall6(unix.SYS_PREAD64, uintptr(w.fd), uintptr(unsafe.Pointer(&w.buf[0])), PageSize, uintptr(page*PageSize), 0, 0)
		if err := w.check(int(n), errno, 0, page); err != nil {
			return i, err
		}
		then := now
		now = w.now()
		w.latency.add(now - then)
		if now > int64(w.limit) {
			return i + 1, nil
		}
	}
	return w.total(), nil
}

// keep keeps as many reads in flight as depth says: whatever has completed is
// asked for anew, all with one system call that waits for at least one more.
func (w *odirectWork) keep() (uint64, error) {
	asked, done, owed := uint64(0), uint64(0), 0
	most := w.total()
	now := int64(0)
	for done < most {
		for asked < most && len(w.spare) > 0 {
			e := w.ring.Next()
			if e == nil {
				break
			}
			slot := w.spare[len(w.spare)-1]
			w.spare = w.spare[:len(w.spare)-1]
			e.Op, e.FD, e.Len = iouring.OpRead, int32(w.fd), PageSize
			e.Off = w.page(asked) * PageSize
			e.Addr = uint64(uintptr(unsafe.Pointer(&w.buf[int(slot)*PageSize])))
			e.UserData = e.Off | uint64(slot) // a page has room for it
			w.began[slot] = now
			asked++
		}
		owed += w.ring.Flush()
		took, errno := rawEnter(w.ring, uint32(owed), 1, iouring.EnterGetevents)
		owed -= took
		if errno != 0 && errno != unix.EINTR && errno != unix.EAGAIN {
			return done, fmt.Errorf("io_uring_enter, %d to submit: %w", owed, errno)
		}
		now = w.now()
		var wrong error
		done += uint64(w.ring.Reap(func(c iouring.CQE) {
			slot, page := uint32(c.UserData%PageSize), c.UserData/PageSize
			var errno unix.Errno
			if c.Res < 0 {
				errno = unix.Errno(-c.Res)
			}
			if err := w.check(int(c.Res), errno, slot, page); err != nil {
				wrong = err
				return
			}
			w.latency.add(now - w.began[slot])
			w.spare = append(w.spare, slot)
		}))
		if wrong != nil {
			return done, wrong
		}
		if now > int64(w.limit) {
			most = asked // what is in flight comes to its end
		}
	}
	return done, nil
}

// check looks at what a read gave: every one, as the disk is slower than that.
func (w *odirectWork) check(n int, errno unix.Errno, slot uint32, page uint64) error {
	if errno != 0 {
		return fmt.Errorf("O_DIRECT read of page %d: %w", page, errno)
	}
	if n != PageSize {
		return fmt.Errorf("O_DIRECT read of page %d gave %d bytes", page, n)
	}
	if got := w.buf[int(slot)*PageSize:][:PageSize]; !stamped(got, page) {
		return wrongPage(got, page)
	}
	return nil
}

func (w *odirectWork) Close() error {
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

// histogram counts durations in ns; a bucket is an eighth of a power of two.
type histogram struct {
	counts [64 * 8]uint32
	total  uint64
}

func (h *histogram) add(ns int64) {
	h.counts[bucket(uint64(max(ns, 1)))]++
	h.total++
}

// bucket is where a duration is counted.
func bucket(ns uint64) int {
	power := bits.Len64(ns) - 1
	if power < 3 {
		return int(ns)
	}
	return (power-2)*8 + int(ns>>(power-3)&7)
}

// middle is a duration in the middle of a bucket.
func middle(b int) float64 {
	if b < 8 {
		return float64(b)
	}
	width := uint64(1) << (b/8 - 1)
	return float64((uint64(b%8)+8)*width) + float64(width)/2
}

// quantile is the duration that a share q of them does not exceed, 0 without
// any; right to a sixteenth.
func (h *histogram) quantile(q float64) float64 {
	if h.total == 0 {
		return 0
	}
	rest := q * float64(h.total)
	last := 0
	for b, n := range h.counts {
		if n == 0 {
			continue
		}
		last = b
		if rest -= float64(n); rest <= 0 {
			break
		}
	}
	return middle(last)
}
