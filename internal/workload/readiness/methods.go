package readiness

import (
	"fmt"
	"math/bits"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls are raw, without the Go scheduler around them: they never block,
// because something is always ready.

// ring makes a descriptor ready.
func ring(fd int) error {
	one := uint64(1)
	if _, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one)), 8); errno != 0 {
		return fmt.Errorf("write: %w", errno)
	}
	return nil
}

// handle is what the server does with a descriptor that is ready.
func handle(fd int) error {
	var count uint64
	if _, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&count)), 8); errno != 0 {
		return fmt.Errorf("read: %w", errno)
	}
	if count != 1 {
		return fmt.Errorf("descriptor %d was made ready %d times, want once", fd, count)
	}
	return nil
}

// Method is one way to find the ready ones among many descriptors.
type Method interface {
	Name() string
	// FDs are what it watches.
	FDs() []int
	// Serve finds those that are ready, at least one, and handles each. It
	// returns how many there were. It does not block if one is ready.
	Serve(handle func(fd int) error) (int, error)
}

// selecting hands over the set and gets the ready ones back in its place. The
// kernel takes sets of any size; FD_SETSIZE is libc's.
type selecting struct {
	all      []int
	set, got []uint64
	size     int // the highest fd, and one
}

// NewSelect watches by pselect6, however high the descriptors are.
func NewSelect(fds []int) Method {
	s := &selecting{all: fds}
	for _, fd := range fds {
		s.size = max(s.size, fd+1)
	}
	s.set = make([]uint64, (s.size+63)/64)
	s.got = make([]uint64, len(s.set))
	for _, fd := range fds {
		s.set[fd/64] |= 1 << (fd % 64)
	}
	return s
}

func (s *selecting) Name() string { return "select" }
func (s *selecting) FDs() []int   { return s.all }

func (s *selecting) Serve(handle func(int) error) (int, error) {
	copy(s.got, s.set)
	n, _, errno := unix.RawSyscall6(unix.SYS_PSELECT6, uintptr(s.size), uintptr(unsafe.Pointer(&s.got[0])), 0, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	left := int(n)
	for i := 0; left > 0 && i < len(s.got); i++ {
		for word := s.got[i]; word != 0; word &= word - 1 {
			if err := handle(i*64 + bits.TrailingZeros64(word)); err != nil {
				return 0, err
			}
			left--
		}
	}
	return int(n), nil
}

// polling hands over the list and looks through it for the ready ones.
type polling struct {
	all  []int
	list []unix.PollFd
}

// NewPoll watches by ppoll.
func NewPoll(fds []int) Method {
	p := &polling{all: fds}
	for _, fd := range fds {
		p.list = append(p.list, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	return p
}

func (p *polling) Name() string { return "poll" }
func (p *polling) FDs() []int   { return p.all }

func (p *polling) Serve(handle func(int) error) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p.list[0])), uintptr(len(p.list)), 0, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	left := int(n)
	for i := 0; left > 0 && i < len(p.list); i++ {
		if p.list[i].Revents == 0 {
			continue
		}
		if err := handle(int(p.list[i].Fd)); err != nil {
			return 0, err
		}
		left--
	}
	return int(n), nil
}

// Epoll gets the ready ones and no others.
type Epoll struct {
	all    []int
	epfd   int
	events []unix.EpollEvent
}

// NewEpoll watches by an epoll instance of its own, level-triggered. The caller
// closes it.
func NewEpoll(fds []int) (*Epoll, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	for _, fd := range fds {
		e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
		if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
			_ = unix.Close(epfd)
			return nil, fmt.Errorf("epoll_ctl ADD: %w", err)
		}
	}
	return &Epoll{all: fds, epfd: epfd, events: make([]unix.EpollEvent, len(fds))}, nil
}

func (e *Epoll) Name() string { return "epoll" }
func (e *Epoll) FDs() []int   { return e.all }

func (e *Epoll) Serve(handle func(int) error) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(e.epfd), uintptr(unsafe.Pointer(&e.events[0])),
		uintptr(len(e.events)), ^uintptr(0), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	for _, event := range e.events[:n] {
		if err := handle(int(event.Fd)); err != nil {
			return 0, err
		}
	}
	return int(n), nil
}

// Close closes the instance.
func (e *Epoll) Close() error { return unix.Close(e.epfd) }
