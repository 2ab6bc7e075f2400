package churn

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

// child is a process that inherited the instance. Its items live as long as it
// does: it ends when its input does, at the latest with us.
type child struct{ pid, in, out int }

// inherited is where a child finds the instance, and where it keeps it.
const inherited = 3

// plant starts children one after another, each of which adds so many eventfds
// of its own to our instance: one process cannot have a million files.
func (c *churn) plant(a *Action) (Result, error) {
	var planted []child
	for range a.Children {
		ch, err := c.fork(a.Items)
		if err != nil {
			return Result{}, fmt.Errorf("child %d of %d: %w", len(planted)+1, a.Children, err)
		}
		c.forest = append(c.forest, ch)
		planted = append(planted, ch)
	}
	r := Result{}
	for i, ch := range planted {
		n, err := ch.grown()
		if err != nil {
			return r, fmt.Errorf("child %d of %d (pid %d): %w", i+1, a.Children, ch.pid, err)
		}
		c.grown += n
		r.Ops += n
	}
	return r, nil
}

// fork starts a child with pipes to it, by plain system calls.
func (c *churn) fork(items int) (child, error) {
	var in, out [2]int
	if err := unix.Pipe2(in[:], unix.O_CLOEXEC); err != nil {
		return child{}, fmt.Errorf("pipe2: %w", err)
	}
	defer unix.Close(in[0])
	if err := unix.Pipe2(out[:], unix.O_CLOEXEC); err != nil {
		unix.Close(in[1])
		return child{}, fmt.Errorf("pipe2: %w", err)
	}
	defer unix.Close(out[1])
	// Where the sandbox has no cgroup the child dies by this; see also limb.
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	args := append(append([]string{}, os.Args...), "--items", strconv.Itoa(items))
	pid, err := syscall.ForkExec("/proc/self/exe", args, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{uintptr(in[0]), uintptr(out[1]), 2, uintptr(c.epfd)},
		Sys:   attr,
	})
	if err != nil {
		unix.Close(in[1])
		unix.Close(out[0])
		return child{}, fmt.Errorf("starting it: %w", err)
	}
	return child{pid: pid, in: in[1], out: out[0]}, nil
}

// grown waits until the child has added its items and returns how many.
func (ch child) grown() (int, error) {
	line, err := control.NewLines(control.FD(ch.out), 256).Next()
	if err != nil {
		return 0, fmt.Errorf("it ended before it had added its items: %w", err)
	}
	return strconv.Atoi(string(line))
}

// limb is the life of a child: it adds its items to the inherited instance,
// says how many, and keeps them until its input ends.
func limb(args []string) error {
	if len(args) != 2 || args[0] != "--items" {
		return fmt.Errorf("unexpected arguments %q", args)
	}
	items, err := strconv.Atoi(args[1])
	if err != nil || items < 0 || items > maxItems {
		return fmt.Errorf("--items %q: want 0 to %d", args[1], maxItems)
	}
	for n := range items {
		fd, err := unix.Eventfd(0, newEventfd)
		if err != nil {
			return fmt.Errorf("making eventfd %d of %d: %w", n+1, items, err)
		}
		e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
		if err := unix.EpollCtl(inherited, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
			return fmt.Errorf("adding item %d of %d: %w", n+1, items, err)
		}
	}
	if _, err := control.FD(1).Write([]byte(strconv.Itoa(items) + "\n")); err != nil {
		return err
	}
	var b [1]byte
	_, _ = control.FD(0).Read(b[:]) // nothing is ever written
	return nil
}
