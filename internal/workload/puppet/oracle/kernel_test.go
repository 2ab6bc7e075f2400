package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// life does random calls on the kernel and records them in a table.
type life struct {
	t     *testing.T
	r     *rand.Rand
	table *Table
	fds   []int
	log   []string // what was done, for a failure
	waits int      // that returned something
	child int      // process that holds a copy of the fds; 0 if there is none
	forks int
}

func (l *life) logf(format string, args ...any) { l.log = append(l.log, fmt.Sprintf(format, args...)) }

func (l *life) pick(ok func(Kind) bool) (int, bool) {
	var some []int
	for _, fd := range l.fds {
		if ok(l.table.Kind(fd)) {
			some = append(some, fd)
		}
	}
	if len(some) == 0 {
		return 0, false
	}
	return some[l.r.IntN(len(some))], true
}

func isEpoll(k Kind) bool { return k == Epoll }
func isAny(Kind) bool     { return true }
func isPair(k Kind) bool  { return k == Pipe || k == Unix || k == TCP || k == UDP }

func (l *life) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatalf("%v after\n%v", err, l.log)
	}
}

func (l *life) make() {
	kind := []Kind{Epoll, Eventfd, Timerfd, Pipe, Unix, UDP, TCP}[l.r.IntN(7)]
	instances := 0
	for _, fd := range l.fds {
		if l.table.Kind(fd) == Epoll {
			instances++
		}
	}
	if kind == Epoll && instances >= 3 {
		return
	}
	var fds []int
	var err error
	switch kind {
	case Epoll:
		fds = make([]int, 1)
		fds[0], err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	case Eventfd:
		fds = make([]int, 1)
		fds[0], err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	case Timerfd:
		fds = make([]int, 1)
		fds[0], err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	case Pipe:
		fds = make([]int, 2)
		err = unix.Pipe2(fds, unix.O_NONBLOCK|unix.O_CLOEXEC)
	case Unix:
		var p [2]int
		p, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		fds = p[:]
	case UDP:
		fds = l.udpPair()
	case TCP:
		fds = l.tcpPair()
	}
	l.must(err)
	if len(fds) == 1 {
		l.table.Open(fds[0], kind)
	} else {
		l.table.Pair(fds[0], fds[1], kind)
	}
	l.fds = append(l.fds, fds...)
	l.logf("make %s %v", kind, fds)
}

func (l *life) bound(kind int) (int, *unix.SockaddrInet4) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	l.must(err)
	l.must(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	sa, err := unix.Getsockname(fd)
	l.must(err)
	return fd, sa.(*unix.SockaddrInet4)
}

func (l *life) udpPair() []int {
	a, sa := l.bound(unix.SOCK_DGRAM | unix.SOCK_NONBLOCK)
	b, sb := l.bound(unix.SOCK_DGRAM | unix.SOCK_NONBLOCK)
	l.must(unix.Connect(a, sb))
	l.must(unix.Connect(b, sa))
	return []int{a, b}
}

func (l *life) tcpPair() []int {
	listener, sa := l.bound(unix.SOCK_STREAM)
	defer unix.Close(listener)
	l.must(unix.Listen(listener, 1))
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	l.must(err)
	l.must(unix.Connect(client, sa))
	l.must(unix.SetNonblock(client, true))
	server, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	l.must(err)
	return []int{server, client}
}

func (l *life) mask() uint32 {
	var m uint32
	for _, bit := range []uint32{unix.EPOLLIN, unix.EPOLLIN, unix.EPOLLOUT, unix.EPOLLRDHUP, unix.EPOLLET, unix.EPOLLONESHOT, unix.EPOLLRDNORM, unix.EPOLLPRI} {
		if l.r.IntN(3) == 0 {
			m |= bit
		}
	}
	return m
}

func (l *life) ctl() {
	epfd, ok1 := l.pick(isEpoll)
	fd, ok2 := l.pick(isAny)
	if !ok1 || !ok2 {
		return
	}
	op := []int{unix.EPOLL_CTL_ADD, unix.EPOLL_CTL_ADD, unix.EPOLL_CTL_ADD, unix.EPOLL_CTL_MOD, unix.EPOLL_CTL_DEL}[l.r.IntN(5)]
	events := l.mask()
	if op == unix.EPOLL_CTL_ADD && l.r.IntN(6) == 0 {
		events = unix.EPOLLEXCLUSIVE | unix.EPOLLIN | events&(unix.EPOLLOUT|unix.EPOLLET)
	}
	data := uint64(l.r.Uint32())
	ev := unix.EpollEvent{Events: events, Fd: int32(uint32(data))}
	err := unix.EpollCtl(epfd, op, fd, &ev)
	l.logf("ctl %d op %d fd %d events %#x data %d: %v", epfd, op, fd, events, data, err)
	if err != nil {
		return
	}
	switch op {
	case unix.EPOLL_CTL_ADD:
		l.table.Add(epfd, fd, events, data)
	case unix.EPOLL_CTL_MOD:
		l.table.Mod(epfd, fd, events, data)
	case unix.EPOLL_CTL_DEL:
		l.table.Del(epfd, fd)
	}
}

// arrived waits until the kernel has delivered what was sent to fd.
func (l *life) arrived(fd int, events int16) {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, 5000)
	l.must(err)
	if n != 1 {
		l.t.Fatalf("nothing arrived at fd %d after\n%v", fd, l.log)
	}
}

func (l *life) ready() {
	fd, ok := l.pick(func(k Kind) bool { return k != Epoll })
	if !ok {
		return
	}
	switch kind := l.table.Kind(fd); {
	case kind == Eventfd:
		_, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		l.must(err)
		l.table.Wrote(fd, 1)
	case kind == Timerfd:
		l.must(unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Value: unix.Timespec{Nsec: 1}}, nil))
		l.arrived(fd, unix.POLLIN)
		l.table.Fired(fd)
	case isPair(kind):
		peer, ok := l.table.Peer(fd)
		if !ok || l.table.WriteEnd(fd) || kind == UDP && l.table.Pending(fd) > 0 {
			return // of a second datagram nobody can tell when it has arrived
		}
		_, err := unix.Write(peer, []byte("x"))
		l.must(err)
		l.arrived(fd, unix.POLLIN)
		l.table.Wrote(peer, 1)
		for end := time.Now().Add(5 * time.Second); kind == TCP; {
			n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
			l.must(err)
			if n == l.table.Pending(fd) {
				break
			}
			if time.Now().After(end) {
				l.t.Fatalf("%d bytes arrived at fd %d, want %d", n, fd, l.table.Pending(fd))
			}
		}
	}
	l.logf("ready %d", fd)
}

// more writes several times, without waiting for a reader.
func (l *life) more() {
	fd, ok := l.pick(func(k Kind) bool { return k == Eventfd || k == Pipe || k == Unix })
	if !ok {
		return
	}
	data, to := []byte("x"), fd
	if l.table.Kind(fd) == Eventfd {
		data = []byte{1, 0, 0, 0, 0, 0, 0, 0}
	} else if to, ok = l.table.Peer(fd); !ok || l.table.WriteEnd(fd) || l.table.Pending(fd) > 20 {
		return
	}
	n := 2 + l.r.IntN(4)
	for range n {
		_, err := unix.Write(to, data)
		l.must(err)
		l.table.Wrote(to, 1)
	}
	l.logf("%d writes for %d", n, fd)
}

// read leaves something behind, mostly.
func (l *life) read() {
	fd, ok := l.pick(func(k Kind) bool { return k != Epoll })
	if !ok {
		return
	}
	size := 1 + l.r.IntN(3)
	if k := l.table.Kind(fd); k == Eventfd || k == Timerfd {
		size = 8
	}
	n, err := unix.Read(fd, make([]byte, size))
	l.logf("read %d size %d: %d %v", fd, size, n, err)
	if err == unix.ECONNRESET {
		l.table.ReadReset(fd)
	}
	if err == nil {
		l.table.Read(fd, n)
	}
}

func (l *life) drain() {
	fd, ok := l.pick(func(k Kind) bool { return k != Epoll })
	if !ok {
		return
	}
	size := 4096
	if k := l.table.Kind(fd); k == Eventfd || k == Timerfd {
		size = 8
	}
	b := make([]byte, size)
	for {
		n, err := unix.Read(fd, b)
		l.logf("read %d: %d %v", fd, n, err)
		if err == unix.ECONNRESET {
			l.table.ReadReset(fd)
			continue
		}
		if err != nil || n == 0 {
			return
		}
		l.table.Read(fd, n)
	}
}

func (l *life) close() {
	if l.r.IntN(3) > 0 {
		return
	}
	fd, ok := l.pick(isAny)
	if !ok {
		return
	}
	kind := l.table.Kind(fd)
	before := l.table.HungUp()
	l.must(unix.Close(fd))
	c := l.table.Close(fd)
	l.logf("close %d (%s): %+v", fd, kind, c)
	l.fds = slices.DeleteFunc(l.fds, func(n int) bool { return n == fd })
	l.seen(before)
}

func (l *life) closeRange() {
	fd, ok := l.pick(isAny)
	if !ok || l.r.IntN(6) > 0 {
		return
	}
	last := fd // between them lie only fds of ours
	for slices.Contains(l.fds, last+1) && last < fd+3 {
		last++
	}
	before := l.table.HungUp()
	l.must(unix.CloseRange(uint(fd), uint(last), 0))
	c := l.table.CloseRange(fd, last)
	l.fds = slices.DeleteFunc(l.fds, func(n int) bool { return n >= fd && n <= last })
	l.seen(before)
	l.logf("close_range %d %d: %+v", fd, last, c)
}

// seen waits until connections have seen that their other end was closed.
func (l *life) seen(before []int) {
	for _, fd := range l.table.HungUp() {
		if !slices.Contains(before, fd) {
			l.arrived(fd, unix.POLLRDHUP)
		}
	}
}

// fork makes a child with a copy of the fds, or ends it.
func (l *life) fork() {
	if l.r.IntN(8) > 0 {
		return
	}
	if l.child != 0 {
		before := l.table.HungUp()
		l.reap()
		l.table.Reap()
		l.seen(before)
		l.logf("reap")
		return
	}
	files := []uintptr{0, 1, 2}
	for _, fd := range l.table.FDs() {
		for len(files) < fd {
			files = append(files, ^uintptr(0))
		}
		files = append(files, uintptr(fd))
	}
	pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "60"}, &syscall.ProcAttr{Files: files})
	l.must(err)
	l.child = pid
	l.forks++
	l.table.Fork()
	l.logf("fork with %v", l.table.FDs())
}

func (l *life) reap() {
	l.must(unix.Kill(l.child, unix.SIGKILL))
	_, err := unix.Wait4(l.child, nil, 0, nil)
	l.must(err)
	l.child = 0
}

func (l *life) dup() {
	if fd, ok := l.pick(isAny); ok {
		n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		l.must(err)
		l.table.Dup(fd, n)
		l.fds = append(l.fds, n)
		l.logf("dup %d: %d", fd, n)
	}
}

func (l *life) wait() {
	epfd, ok := l.pick(isEpoll)
	if !ok {
		return
	}
	maxevents := 1 + l.r.IntN(4)
	if l.r.IntN(2) == 0 {
		maxevents = 64
	}
	buf := make([]unix.EpollEvent, maxevents)
	l.table.WaitBegins(1, 1, epfd, maxevents)
	n, err := unix.EpollWait(epfd, buf, 0)
	l.must(err)
	got := []Event{}
	for _, e := range buf[:n] {
		got = append(got, Event{e.Events, uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32})
	}
	if n > 0 {
		l.waits++
	}
	before := l.state(epfd)
	l.table.WaitEnded(1, got, false)
	l.logf("wait %d max %d: %v", epfd, maxevents, got)
	if l.table.wrong > 0 {
		for _, line := range l.log {
			l.t.Log(line)
		}
		l.t.Fatalf("the kernel returned %v; foretold from ready list %v", got, before)
	}
}

func (l *life) state(epfd int) []string {
	var out []string
	for it := range l.table.fds[epfd].ep.each {
		out = append(out, fmt.Sprintf("fd %d events %#x data %d poll %#x", it.fd, it.events, it.data, it.file.poll()))
	}
	return out
}

// TestForetellsEpollWait makes the kernel do thousands of random calls; every
// epoll_wait must return what the table says, in that order.
func TestForetellsEpollWait(t *testing.T) {
	seeds, steps := 60, 400
	if testing.Short() {
		seeds = 10
	}
	waits, forks := 0, 0
	for seed := range seeds {
		l := &life{t: t, r: rand.New(rand.NewPCG(uint64(seed), 7)), table: New()}
		for range steps {
			[]func(){l.make, l.ctl, l.ctl, l.ctl, l.ready, l.ready, l.more, l.read, l.read, l.drain, l.close, l.closeRange, l.fork, l.dup, l.wait, l.wait}[l.r.IntN(16)]()
		}
		for _, ep := range l.table.State().Epolls {
			if !ep.ReadyKnown {
				t.Errorf("seed %d: ready list of %d is not known", seed, ep.FD)
			}
		}
		if l.child != 0 {
			l.reap()
		}
		for _, fd := range l.fds {
			unix.Close(fd)
		}
		forks += l.forks
		waits += l.waits
	}
	if waits < seeds*10 {
		t.Errorf("only %d waits returned anything: the test proves little", waits)
	}
	if forks < seeds {
		t.Errorf("only %d forks: the test proves little", forks)
	}
}
