package herd

import (
	"fmt"
	"sync"
	"time"

	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

const (
	// most is how long one run may take, and patience how long the workers may
	// take to accept one connection and fall asleep again.
	most     = 20 * time.Second
	patience = 3 * time.Second
	// step is between two looks, in ns.
	step = 50_000
)

// flock is the workers of a run with what they wait in.
type flock struct {
	listeners []int
	instances []int
	stop      int // eventfd in every instance: readable when the workers shall end
	address   *unix.SockaddrInet4
	workers   []*worker
	alive     sync.WaitGroup
}

func measure(mode string, workers, connections int) (r Run, err error) {
	f := &flock{stop: -1}
	defer f.close()
	if err := f.open(mode, workers); err != nil {
		return r, err
	}
	for i := range workers {
		w := &worker{epfd: f.instances[i%len(f.instances)], listener: f.listeners[i%len(f.listeners)]}
		f.workers = append(f.workers, w)
		f.alive.Add(1)
		go w.work(&f.alive)
	}
	end := time.Now().Add(most)
	before, err := f.asleep(time.Now().Add(patience))
	if err != nil {
		return r, fmt.Errorf("starting %d workers: %w", workers, err)
	}
	after := before
	r = Run{Mode: mode, Workers: workers}
	for r.Connections < connections {
		if time.Now().After(end) {
			r.Stopped = control.Errorf("too_slow", "made %d of %d connections in %v", r.Connections, connections, most)
			break
		}
		if err := f.connect(); err != nil {
			return r, fmt.Errorf("connection %d of %d: %w", r.Connections+1, connections, err)
		}
		after, err = f.asleep(time.Now().Add(patience))
		if err != nil {
			return r, fmt.Errorf("connection %d of %d: %w", r.Connections+1, connections, err)
		}
		r.Connections++
	}
	returns, empty := 0, 0
	for _, w := range f.workers {
		returns += int(w.returns.Load())
		empty += int(w.empty.Load())
	}
	n := float64(max(r.Connections, 1))
	r.Switches, r.Returns, r.Empty = float64(after-before)/n, float64(returns)/n, float64(empty)/n
	return r, nil
}

// open makes the listening sockets and the instances.
func (f *flock) open(mode string, workers int) error {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("eventfd2: %w", err)
	}
	f.stop = stop
	listeners, instances := 1, workers
	switch mode {
	case reuseport:
		listeners = workers
	case oneinstance:
		instances = 1
	}
	f.address = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	for range listeners {
		if err := f.listen(listeners > 1); err != nil {
			return err
		}
	}
	events := uint32(unix.EPOLLIN)
	if mode == exclusive {
		events |= unix.EPOLLEXCLUSIVE
	}
	for i := range instances {
		fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return fmt.Errorf("epoll_create1: %w", err)
		}
		f.instances = append(f.instances, fd)
		if err := add(fd, f.listeners[i%listeners], events, accepts); err != nil {
			return err
		}
		if err := add(fd, f.stop, unix.EPOLLIN, stops); err != nil {
			return err
		}
	}
	return nil
}

func add(epfd, fd int, events uint32, data int32) error {
	e := unix.EpollEvent{Events: events, Fd: data}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		return fmt.Errorf("epoll_ctl ADD: %w", err)
	}
	return nil
}

// listen makes one more listening socket, on the port of the first.
func (f *flock) listen(reuse bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	f.listeners = append(f.listeners, fd)
	if reuse {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fmt.Errorf("SO_REUSEPORT: %w", err)
		}
	}
	if err := unix.Bind(fd, f.address); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if f.address.Port == 0 {
		sa, err := unix.Getsockname(fd)
		if err != nil {
			return fmt.Errorf("getsockname: %w", err)
		}
		f.address.Port = sa.(*unix.SockaddrInet4).Port
	}
	if err := unix.Listen(fd, 128); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// connect makes one connection and waits until a worker has accepted and closed
// it.
func (f *flock) connect() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	// By a RST, so that no thousands of sockets stay in TIME_WAIT.
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return fmt.Errorf("SO_LINGER: %w", err)
	}
	if err := unix.Connect(fd, f.address); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for end := time.Now().Add(patience); ; {
		n, err := unix.Poll(fds, 100)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("poll: %w", err)
		}
		if n > 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("no worker has accepted it within %v", patience)
		}
	}
}

// asleep waits until all workers sleep and returns how many voluntary context
// switches they have made. A thread that has been woken is no more asleep, even
// if it has not yet run; two looks must agree, because one is not an instant.
func (f *flock) asleep(end time.Time) (int, error) {
	last := -1
	for {
		sum, all, err := f.look()
		if err != nil {
			return 0, err
		}
		if all && sum == last {
			return sum, nil
		}
		last = -1
		if all {
			last = sum
		}
		if time.Now().After(end) {
			return 0, fmt.Errorf("the workers did not fall asleep within %v", patience)
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: step}, nil)
	}
}

func (f *flock) look() (switches int, all bool, err error) {
	for _, w := range f.workers {
		tid := int(w.tid.Load())
		if tid == 0 {
			return 0, false, nil // not yet running
		}
		s, err := w.status(tid)
		if err != nil {
			return 0, false, err
		}
		if !s.sleeps {
			return 0, false, nil
		}
		switches += s.switches
	}
	return switches, true, nil
}

// close ends the workers, then closes what they waited in.
func (f *flock) close() {
	if f.stop >= 0 {
		_, _ = control.FD(f.stop).Write([]byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	f.alive.Wait()
	for _, w := range f.workers {
		w.close()
	}
	for _, fd := range append(append(f.instances, f.listeners...), f.stop) {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
