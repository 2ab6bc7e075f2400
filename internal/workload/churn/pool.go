package churn

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pool is one thread's share of the fds. Threads share the instance and the fd
// table, never an fd.
type pool struct {
	epfd  int
	r     *rand.Rand
	slots []slot
	line  [2]int // a socket pair over which fds are passed
}

// slot is one eventfd and its item, if it has one.
type slot struct {
	fd     int
	in     bool
	events uint32
	data   uint64
}

// spent is what a thread's run cost and did.
type spent struct {
	ops   int
	kinds [len(changes)]int
	cpu   int64
	err   error
}

const newEventfd = unix.EFD_CLOEXEC | unix.EFD_NONBLOCK

func newPool(epfd, size int, seed, thread uint64) (*pool, error) {
	p := &pool{epfd: epfd, r: rand.New(rand.NewPCG(seed, thread)), slots: make([]slot, size)}
	line, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	p.line = line
	for i := range p.slots {
		fd, err := unix.Eventfd(0, newEventfd)
		if err != nil {
			return nil, fmt.Errorf("making eventfd %d of %d: %w", i+1, size, err)
		}
		p.slots[i].fd = fd
		if err := p.add(&p.slots[i]); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// change is one random thing to do to a slot. It makes one system call or a
// few, and leaves the slot as it says.
type change struct {
	name   string
	weight int
	do     func(*pool, *slot) error
}

var changes = [...]change{
	{"ctl", 12, (*pool).toggle},
	{"mod", 4, (*pool).mod},
	{"close", 2, (*pool).reopen},
	{"close_range", 1, (*pool).reopenRange},
	{"dup2", 1, (*pool).replace},
	{"pass", 1, (*pool).pass},
	{"write", 2, (*pool).write},
	{"wait", 1, (*pool).wait},
}

// wheel has each change as often as it weighs.
func wheel() []int {
	var w []int
	for i, c := range changes {
		w = append(w, slices.Repeat([]int{i}, c.weight)...)
	}
	return w
}

// run makes n random changes in a thread of its own.
func (p *pool) run(n int) (s spent) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := threadCPU()
	defer func() { s.cpu = threadCPU() - start }()
	if len(p.slots) == 0 {
		return s
	}
	w := wheel()
	for range n {
		kind := w[p.r.IntN(len(w))]
		if err := changes[kind].do(p, &p.slots[p.r.IntN(len(p.slots))]); err != nil {
			s.err = fmt.Errorf("%s: %w", changes[kind].name, err)
			return s
		}
		s.kinds[kind]++
		s.ops++
	}
	return s
}

func (p *pool) ctl(op int, s *slot) error {
	e := unix.EpollEvent{Events: s.events, Fd: int32(uint32(s.data)), Pad: int32(uint32(s.data >> 32))}
	if err := unix.EpollCtl(p.epfd, op, s.fd, &e); err != nil {
		return fmt.Errorf("epoll_ctl(%d, %d, %d): %w", p.epfd, op, s.fd, err)
	}
	return nil
}

// choose draws another mask and other data for the next ctl.
func (p *pool) choose(s *slot) {
	s.events = unix.EPOLLIN | p.r.Uint32()&(unix.EPOLLOUT|unix.EPOLLPRI|unix.EPOLLRDHUP|unix.EPOLLET)
	s.data = p.r.Uint64()
}

func (p *pool) add(s *slot) error {
	p.choose(s)
	s.in = true
	return p.ctl(unix.EPOLL_CTL_ADD, s)
}

func (p *pool) toggle(s *slot) error {
	if !s.in {
		return p.add(s)
	}
	s.in = false
	return p.ctl(unix.EPOLL_CTL_DEL, s)
}

func (p *pool) mod(s *slot) error {
	if !s.in {
		return nil
	}
	p.choose(s)
	return p.ctl(unix.EPOLL_CTL_MOD, s)
}

// open gives the slot a new file without item.
func (p *pool) open(s *slot) error {
	fd, err := unix.Eventfd(0, newEventfd)
	s.fd, s.in = fd, false
	return err
}

// reopen closes without DEL: the item goes with the file.
func (p *pool) reopen(s *slot) error {
	if err := unix.Close(s.fd); err != nil {
		return err
	}
	return p.open(s)
}

func (p *pool) reopenRange(s *slot) error {
	if err := unix.CloseRange(uint(s.fd), uint(s.fd), 0); err != nil {
		return err
	}
	return p.open(s)
}

// replace puts a new file under the same fd; the old file's item goes.
func (p *pool) replace(s *slot) error {
	fd, err := unix.Eventfd(0, newEventfd)
	if err != nil {
		return err
	}
	s.in = false
	if err := unix.Dup3(fd, s.fd, unix.O_CLOEXEC); err != nil {
		return err
	}
	return unix.Close(fd)
}

// pass sends the fd through a socket and closes it. The item stays while the
// file is on its way, and while the received fd is open.
func (p *pool) pass(s *slot) error {
	if err := unix.Sendmsg(p.line[0], []byte{0}, unix.UnixRights(s.fd), nil, 0); err != nil {
		return fmt.Errorf("sendmsg: %w", err)
	}
	if err := unix.Close(s.fd); err != nil {
		return err
	}
	var data [1]byte
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(p.line[1], data[:], control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return fmt.Errorf("recvmsg: %w", err)
	}
	if n < unix.CmsgLen(4) {
		return fmt.Errorf("recvmsg: %d bytes of control data, want an fd", n)
	}
	got := *(*int32)(unsafe.Pointer(&control[unix.CmsgLen(0)]))
	if err := unix.Close(int(got)); err != nil {
		return err
	}
	return p.open(s)
}

// write makes the item ready.
func (p *pool) write(s *slot) error {
	_, err := unix.Write(s.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return err
}

func (p *pool) wait(*slot) error {
	var events [16]unix.EpollEvent
	_, err := unix.EpollWait(p.epfd, events[:], 0)
	return err
}

// items lists what must be in the instance, by fd.
func (c *churn) items() []Item {
	items := []Item{}
	for _, p := range c.pools {
		for _, s := range p.slots {
			if s.in {
				items = append(items, Item{s.fd, s.events | unix.EPOLLERR | unix.EPOLLHUP, s.data})
			}
		}
	}
	slices.SortFunc(items, func(a, b Item) int { return cmp.Compare(a.FD, b.FD) })
	return items
}
