package epoll

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
)

// The main goroutine of a child runs on its first thread, the leader of the
// thread group.
func init() {
	if os.Getenv(childEnv) != "" {
		runtime.LockOSThread()
	}
}

// runChild is what the test binary does as another process. It reads commands
// line by line and answers "done" once each has happened.
func runChild(mode string) {
	name, arg, _ := strings.Cut(mode, ":")
	err := errors.New("unknown mode " + mode)
	switch name {
	case "hold": // a new instance with some items
		var h *holder
		if h, err = hold(-1); err == nil {
			err = h.add(5)
		}
		if err == nil {
			err = h.serve()
		}
	case "held": // an instance that came by fork or exec
		var fd int
		if fd, err = strconv.Atoi(arg); err == nil {
			var h *holder
			if h, err = hold(fd); err == nil {
				err = h.serve()
			}
		}
	case "nobtf": // describe, in a mount namespace of its own without BTF
		err = errors.Join(
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("tmpfs", "/sys/kernel/btf", "tmpfs", 0, ""),
		)
		if err == nil {
			err = describeSelf(arg)
		}
	case "describe": // says what the view does in this process
		err = describeSelf(arg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// holder has an epoll instance and does with it as it is told.
type holder struct {
	epfd int
	fds  []int
	in   *bufio.Reader
}

func hold(epfd int) (*holder, error) {
	var err error
	if epfd < 0 {
		// Not close-on-exec: exec keeps it unless told otherwise.
		epfd, err = unix.EpollCreate1(0)
	}
	return &holder{epfd: epfd, in: bufio.NewReader(os.Stdin)}, err
}

func (h *holder) add(n int) error {
	for range n {
		fd, err := unix.Eventfd(0, 0)
		if err != nil {
			return err
		}
		h.fds = append(h.fds, fd)
		if err := unix.EpollCtl(h.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return err
		}
	}
	return nil
}

func (h *holder) serve() error {
	fmt.Println("ready", h.epfd)
	for {
		line, err := h.in.ReadString('\n')
		if err != nil {
			return nil // the test has ended
		}
		word, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, _ := strconv.Atoi(arg)
		if err := h.do(word, arg, n); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
		fmt.Println("done")
	}
}

func (h *holder) do(word, arg string, n int) error {
	switch word {
	case "add":
		return h.add(n)
	case "close":
		return unix.Close(h.epfd)
	case "reopen": // the lowest free number is the one just closed
		if err := unix.Close(h.epfd); err != nil {
			return err
		}
		fd, err := unix.EpollCreate1(0)
		if err == nil && fd != h.epfd {
			err = fmt.Errorf("fd %d instead of %d", fd, h.epfd)
		}
		if err != nil {
			return err
		}
		return h.add(n)
	case "replace": // by another instance, made while the first is alive
		other, err := hold(-1)
		if err != nil {
			return err
		}
		if err := other.add(n); err != nil {
			return err
		}
		return unix.Dup2(other.epfd, h.epfd)
	case "cover": // by a file that is no instance
		return unix.Dup2(h.fds[0], h.epfd)
	case "dup":
		return unix.Dup2(h.epfd, n)
	case "range":
		return unix.CloseRange(uint(h.epfd), uint(h.epfd), 0)
	case "cloexec":
		_, err := unix.FcntlInt(uintptr(h.epfd), unix.F_SETFD, unix.FD_CLOEXEC)
		return err
	case "exec": // by the leader; other threads of the runtime die
		return execSelf(fmt.Sprintf("held:%d", h.epfd))
	case "exec-thread": // by another thread, which becomes the leader
		failed := make(chan error)
		go func() {
			runtime.LockOSThread()
			if unix.Gettid() == unix.Getpid() {
				failed <- errors.New("this is the leader")
				return
			}
			failed <- execSelf(fmt.Sprintf("held:%d", h.epfd))
		}()
		return <-failed
	case "unshare": // a thread gets a table of fds of its own
		unshared := make(chan error)
		go func() {
			runtime.LockOSThread()
			unshared <- unix.Unshare(unix.CLONE_FILES)
			select {}
		}()
		return <-unshared
	case "leader-exit": // the leader ends, another thread serves
		served := make(chan error)
		go func() {
			runtime.LockOSThread()
			fmt.Println("done")
			served <- h.serve()
		}()
		unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
		return <-served
	case "receive": // an fd over the socket n
		buf := make([]byte, 64)
		_, oob, _, _, err := unix.Recvmsg(n, make([]byte, 1), buf, 0)
		if err != nil {
			return err
		}
		msgs, err := unix.ParseSocketControlMessage(buf[:oob])
		if err != nil {
			return err
		}
		fds, err := unix.ParseUnixRights(&msgs[0])
		if err != nil {
			return err
		}
		fmt.Println("fd", fds[0])
	case "exit":
		os.Exit(n)
	default:
		return errors.New("unknown command " + arg)
	}
	return nil
}

func execSelf(mode string) error {
	env := []string{childEnv + "=" + mode}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, childEnv+"=") {
			env = append(env, e)
		}
	}
	return syscall.Exec("/proc/self/exe", []string{"held"}, env)
}

// description is what describeSelf says.
type description struct {
	Err     string
	Tiers   []kernelviz.Tier
	Targets []kernelviz.Target
	Items   int
	Foreign string // what opening an instance of another user's process says
	Missing bool   // it says that there is none
}

// describeSelf opens the view as this process may, looks at an instance of its
// own with three items and tries the one named by other.
func describeSelf(other string) error {
	fmt.Println("ready 0")
	out := json.NewEncoder(os.Stdout)
	d := description{}
	v, err := New(context.Background(), Options{})
	if err != nil {
		return out.Encode(description{Err: err.Error()})
	}
	defer v.Close()
	h, err := hold(-1)
	if err != nil {
		return err
	}
	if err := h.add(3); err != nil {
		return err
	}
	d.Tiers = v.Tiers()
	if d.Targets, err = v.Targets(context.Background()); err != nil {
		return err
	}
	w, err := v.Open(context.Background(), fmt.Sprintf("%d:%d", os.Getpid(), h.epfd))
	if err != nil {
		return err
	}
	defer w.Close()
	s, err := w.Sample(context.Background())
	if err != nil {
		return err
	}
	d.Items = s.Items()
	if foreign, err := v.Open(context.Background(), other); err != nil {
		d.Foreign, d.Missing = err.Error(), errors.Is(err, kernelviz.ErrNotFound)
	} else {
		foreign.Close()
	}
	return out.Encode(d)
}
