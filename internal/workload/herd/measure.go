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
)

// flock is the workers of a run with what they wait in.
type flock struct {
	listeners []int
	instances []int
	stop      int // eventfd in every instance: readable when the workers shall end
	address   *unix.SockaddrInet4
	workers   []*worker
	threads   *Threads
	alive     sync.WaitGroup
}

func measure(mode string, workers, connections int) (r Run, err error) {
	f := &flock{stop: -1}
	defer f.close()
	if err := f.open(mode, workers); err != nil {
		return r, err
	}
	for i := range workers {
		w := &worker{
			epfd: f.instances[i%len(f.instances)], listener: f.listeners[i%len(f.listeners)], tid: make(chan int, 1),
		}
		f.workers = append(f.workers, w)
		f.alive.Add(1)
		go w.work(&f.alive)
	}
	end := time.Now().Add(most)
	if f.threads, err = f.watch(); err != nil {
		return r, err
	}
	before, err := f.threads.Asleep(patience)
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
		if err := Connect(f.address, patience); err != nil {
			return r, fmt.Errorf("connection %d of %d: %w", r.Connections+1, connections, err)
		}
		after, err = f.threads.Asleep(patience)
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
		fd, err := Listen(f.address, listeners > 1, unix.SOCK_NONBLOCK)
		if err != nil {
			return err
		}
		f.listeners = append(f.listeners, fd)
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

// watch waits until all workers run.
func (f *flock) watch() (*Threads, error) {
	var tids []int
	for _, w := range f.workers {
		tids = append(tids, <-w.tid)
	}
	return WatchThreads(unix.Getpid(), tids)
}

// close ends the workers, then closes what they waited in.
func (f *flock) close() {
	if f.stop >= 0 {
		_, _ = control.FD(f.stop).Write([]byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	f.alive.Wait()
	if f.threads != nil {
		f.threads.Close()
	}
	for _, fd := range append(append(f.instances, f.listeners...), f.stop) {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
