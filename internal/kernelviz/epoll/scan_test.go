package epoll

import (
	"errors"
	"os"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz/wire"
)

// trap is a page of memory on which whoever touches it sleeps until it is
// released (userfaultfd(2)): the thread that copies events to user space is
// held in the middle of its scan, with ep->mtx locked.
type trap struct {
	fd   int
	page []byte
}

// The calls of include/uapi/linux/userfaultfd.h that are used.
const (
	uffdAPI      = 0xc018aa3f
	uffdRegister = 0xc020aa00
	uffdZeropage = 0xc020aa04
)

func newTrap(t testing.TB) *trap {
	t.Helper()
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK, 0, 0)
	if errno != 0 {
		t.Fatalf("userfaultfd: %v", errno)
	}
	u := &trap{fd: int(fd)}
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	u.page = page
	t.Cleanup(func() {
		unix.Close(u.fd) // wakes whoever still sleeps on it
		if err := unix.Munmap(page); err != nil {
			t.Error(err)
		}
	})
	u.call(t, uffdAPI, &[3]uint64{0xaa, 0, 0})
	u.call(t, uffdRegister, &[4]uint64{u.start(), uint64(len(page)), 1, 0})
	return u
}

func (u *trap) start() uint64 { return uint64(uintptr(unsafe.Pointer(&u.page[0]))) }

func (u *trap) call(t testing.TB, request uintptr, arg any) {
	t.Helper()
	var p unsafe.Pointer
	switch a := arg.(type) {
	case *[3]uint64:
		p = unsafe.Pointer(a)
	case *[4]uint64:
		p = unsafe.Pointer(a)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(u.fd), request, uintptr(p)); errno != 0 {
		t.Fatalf("userfaultfd, request %#x: %v", request, errno)
	}
}

// caught waits until a thread sleeps on the page.
func (u *trap) caught(t testing.TB) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(u.fd), Events: unix.POLLIN}}, int(deadline.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n != 1 {
			t.Fatalf("nobody touched the page: %d, %v", n, err)
		}
		break
	}
	if _, err := unix.Read(u.fd, make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
}

func (u *trap) release(t testing.TB) {
	t.Helper()
	u.call(t, uffdZeropage, &[4]uint64{u.start(), uint64(len(u.page)), 0, 0})
}

// wait calls epoll_wait with its events in the page, once.
func (u *trap) wait(epfd, maxEvents int) <-chan []int {
	out := make(chan []int, 1)
	go func() {
		events := unsafe.Slice((*unix.EpollEvent)(unsafe.Pointer(&u.page[0])), maxEvents)
		n, err := unix.EpollWait(epfd, events, 0)
		var fds []int
		for i := 0; err == nil && i < n; i++ {
			fds = append(fds, int(events[i].Fd))
		}
		out <- fds
	}()
	return out
}

// While ep_send_events copies, the list is its own and what becomes ready goes
// to ovflist.
func TestScanInProgress(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fds := ep.addEventfds(t, 6)
		a, b, c, d, e, quiet := fds[0], fds[1], fds[2], fds[3], fds[4], fds[5]
		w := watchOf(t, v, ep)
		for _, fd := range []int{a, b, c} {
			ring(t, fd)
		}
		checkReady(t, wholeSample(t, w), []int32{int32(a), int32(b), int32(c)})
		u := newTrap(t)
		delivered := u.wait(ep.fd, 8)
		u.caught(t)

		s := wholeSample(t, w)
		if s.instance.Scanning != 1 || s.instance.Locked != 1 || s.instance.Ready != 0 || s.instance.Overflow != 0 || len(s.overflow) != 0 {
			t.Errorf("a scan begins: %+v", s.instance)
		}
		// a is taken off already, b and c wait their turn.
		checkFlags(t, s, map[int]uint32{a: 0, b: wire.NodeDelivering, c: wire.NodeDelivering, d: 0, e: 0, quiet: 0})
		if s.instance.Delivering != 2 {
			t.Errorf("%d items are being delivered, want 2", s.instance.Delivering)
		}
		for _, fd := range []int{d, e, c} {
			ring(t, fd)
		}
		s = wholeSample(t, w)
		var over []int
		for _, r := range s.overflow {
			over = append(over, int(r.FD))
		}
		// The chain grows at its head.
		if !slices.Equal(over, []int{c, e, d}) || s.instance.Overflow != 3 || s.instance.Ready != 0 {
			t.Errorf("overflow list is %v (%d), want %v", over, s.instance.Overflow, []int{c, e, d})
		}
		checkFlags(t, s, map[int]uint32{
			a: 0, b: wire.NodeDelivering, c: wire.NodeDelivering | wire.NodeOverflow, d: wire.NodeOverflow, e: wire.NodeOverflow, quiet: 0,
		})

		u.release(t)
		if got := <-delivered; !slices.Equal(got, []int{a, b, c}) {
			t.Fatalf("epoll_wait gives %v, want %v", got, []int{a, b, c})
		}
		s = wholeSample(t, w)
		// ep_done_scan puts what came meanwhile first, in the order it came.
		checkReady(t, s, []int32{int32(d), int32(e), int32(a), int32(b), int32(c)})
		if s.instance.Locked != 0 || s.instance.Delivering != 0 {
			t.Errorf("the scan has ended: %+v", s.instance)
		}
	})
}

func checkFlags(t testing.TB, s *Snapshot, want map[int]uint32) {
	t.Helper()
	for _, n := range s.nodes {
		if got := n.Flags &^ wire.NodeBlack; got != want[int(n.FD)] {
			t.Errorf("fd %d has flags %#x, want %#x", n.FD, got, want[int(n.FD)])
		}
	}
}
