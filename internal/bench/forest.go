package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// grove is how many items one process adds: a process may open 20,000 files
// where nobody raised the limit.
const grove = 18_000

// forest is one instance with many items, held by processes that share it.
type forest struct {
	peer *peer
	fd   int
}

// growForest makes an instance with n eventfds.
func growForest(ctx context.Context, n int) (*forest, error) {
	p, err := startSelf(ctx, "forest", strconv.Itoa(n))
	if err != nil {
		return nil, err
	}
	f := &forest{peer: p}
	if err := p.answer(&f.fd); err != nil {
		p.stop()
		return nil, fmt.Errorf("growing a tree of %s items: %w", grouped(n), err)
	}
	return f, nil
}

// target is the name of the instance, "PID:FD".
func (f *forest) target() string { return fmt.Sprintf("%d:%d", f.peer.cmd.Process.Pid, f.fd) }

func (f *forest) stop() { f.peer.stop() }

// forestChild makes an instance, lets children fill it with n items, says its
// fd and stays until its input ends.
func forestChild(args []string) error {
	n, err := number(args, 0)
	if err != nil {
		return err
	}
	epfd, err := unix.EpollCreate1(0) // inherited
	if err != nil {
		return fmt.Errorf("epoll_create1: %w", err)
	}
	shared := os.NewFile(uintptr(epfd), "epoll")
	defer shared.Close()
	var grown []*bufio.Reader
	for left := n; left > 0; left -= grove {
		cmd := exec.Command("/proc/self/exe", "child", "grove", strconv.Itoa(min(left, grove)))
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		cmd.ExtraFiles = []*os.File{shared}
		cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		grown = append(grown, bufio.NewReader(out))
	}
	for _, r := range grown {
		if _, err := r.ReadString('\n'); err != nil {
			return errors.New("a child could not add its items")
		}
	}
	fmt.Println(epfd)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// groveChild adds n eventfds to the instance it inherits as fd 3.
func groveChild(args []string) error {
	n, err := number(args, 0)
	if err != nil {
		return err
	}
	for range n {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			return fmt.Errorf("eventfd: %w", err)
		}
		if err := unix.EpollCtl(3, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return fmt.Errorf("epoll_ctl: %w", err)
		}
	}
	fmt.Println("grown")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
