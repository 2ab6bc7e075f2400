package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// loop is a process with one thread that makes system calls as fast as it can,
// for as long as it is told.
type loop struct {
	peer *peer
	fd   int // of its instance; 0 if it has none
}

// What a loop does.
const (
	addDel  = "adddel"  // EPOLL_CTL_ADD and EPOLL_CTL_DEL in turn, on an instance with items
	getppid = "getppid" // the cheapest system call
)

// startLoop starts a loop; an instance gets that many items that stay.
func startLoop(ctx context.Context, kind string, items int) (*loop, error) {
	p, err := startSelf(ctx, "loop", kind, strconv.Itoa(items))
	if err != nil {
		return nil, err
	}
	l := &loop{peer: p}
	if err := p.answer(&l.fd); err != nil {
		p.stop()
		return nil, err
	}
	return l, nil
}

func (l *loop) pid() int       { return l.peer.cmd.Process.Pid }
func (l *loop) target() string { return fmt.Sprintf("%d:%d", l.pid(), l.fd) }
func (l *loop) stop()          { l.peer.stop() }

// cost is what one operation took, in ns.
type cost struct{ cpu, wall float64 }

// run lets the loop run for a while.
func (l *loop) run(d time.Duration) (cost, error) {
	var ops, cpu, wall float64
	if err := l.peer.ask(strconv.FormatInt(d.Nanoseconds(), 10), &ops, &cpu, &wall); err != nil {
		return cost{}, err
	}
	return cost{cpu / ops, wall / ops}, nil
}

// toggled is how many items the ADD/DEL loop takes in turn.
const toggled = 64

// loopChild reads a number of ns from each line, runs for that long and
// answers with the operations made, CPU ns of the thread and ns passed.
func loopChild(args []string) error {
	items, err := number(args, 1)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	step, epfd := func(uint64) unix.Errno {
		_, _, errno := unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
		return errno
	}, 0
	if args[0] == addDel {
		if step, epfd, err = newAddDel(items); err != nil {
			return err
		}
	}
	fmt.Println(epfd)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		ns, err := strconv.ParseInt(in.Text(), 10, 64)
		if err != nil {
			return err
		}
		began, cpu := clock(unix.CLOCK_MONOTONIC), clock(unix.CLOCK_THREAD_CPUTIME_ID)
		ops := uint64(0)
		for clock(unix.CLOCK_MONOTONIC)-began < ns {
			for range 2 * toggled {
				if errno := step(ops); errno != 0 {
					return fmt.Errorf("operation %d: %w", ops, errno)
				}
				ops++
			}
		}
		fmt.Println(ops, clock(unix.CLOCK_THREAD_CPUTIME_ID)-cpu, clock(unix.CLOCK_MONOTONIC)-began)
	}
	return nil
}

// newAddDel makes an instance and the operation that adds and deletes further
// items of it in turn.
func newAddDel(items int) (step func(uint64) unix.Errno, epfd int, err error) {
	if epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, 0, fmt.Errorf("epoll_create1: %w", err)
	}
	var fds [toggled]int
	for i := range items + toggled {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			return nil, 0, fmt.Errorf("eventfd: %w", err)
		}
		fds[i%toggled] = fd
		if i >= items {
			continue
		}
		if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return nil, 0, fmt.Errorf("epoll_ctl: %w", err)
		}
	}
	return func(i uint64) unix.Errno {
		op := unix.EPOLL_CTL_ADD
		if i%2 == 1 {
			op = unix.EPOLL_CTL_DEL
		}
		fd := fds[i/2%toggled]
		return epollCtl(epfd, op, fd)
	}, epfd, nil
}

func clock(id int32) int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(id, &ts) // fails for a wrong id only
	return ts.Nano()
}
