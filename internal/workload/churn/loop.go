package churn

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// addDel adds and removes one fd at full speed. Ops counts the epoll_ctl calls.
func (c *churn) addDel(a *Action) (Result, error) {
	fd, err := unix.Eventfd(0, newEventfd)
	if err != nil {
		return Result{}, fmt.Errorf("eventfd2: %w", err)
	}
	defer unix.Close(fd)
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	return loop(a.MS, 2, func() error {
		if err := unix.EpollCtl(c.epfd, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
			return fmt.Errorf("epoll_ctl ADD: %w", err)
		}
		if err := unix.EpollCtl(c.epfd, unix.EPOLL_CTL_DEL, fd, nil); err != nil {
			return fmt.Errorf("epoll_ctl DEL: %w", err)
		}
		return nil
	})
}

func (c *churn) getppid(a *Action) (Result, error) {
	return loop(a.MS, 1, func() error {
		unix.RawSyscallNoError(unix.SYS_GETPPID, 0, 0, 0)
		return nil
	})
}

// loop repeats once, which makes calls system calls, for ms of wall time. It
// looks at the clock every 128 rounds.
func loop(ms, calls int, once func() error) (Result, error) {
	var r Result
	cpu, wall := threadCPU(), now()
	end := wall + int64(ms)*int64(time.Millisecond)
	for now() < end {
		for range 128 {
			if err := once(); err != nil {
				return r, err
			}
		}
		r.Ops += 128 * calls
	}
	r.CPU, r.Wall = threadCPU()-cpu, now()-wall
	return r, nil
}

// now is the time in ns. It is no system call (vDSO).
func now() int64 { return time.Now().UnixNano() }

// threadCPU is the CPU time of this thread, in ns.
func threadCPU() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0 // the clock exists on every Linux
	}
	return t.Nano()
}
