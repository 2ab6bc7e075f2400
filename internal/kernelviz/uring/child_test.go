package uring

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
)

// runChild is what the test binary does as another process. It reads commands
// line by line and answers "done" once each has happened.
func runChild(mode string) {
	runtime.LockOSThread()
	name, arg, _ := strings.Cut(mode, ":")
	h := &holder{in: bufio.NewReader(os.Stdin)}
	var err error
	switch name {
	case "hold": // a new ring; the argument has its setup flags
		var flags uint64
		if flags, err = strconv.ParseUint(arg, 0, 32); err == nil {
			err = h.setup(uint32(flags))
		}
	case "describe": // says what the view does in this process
		err = describeSelf(arg)
		if err == nil {
			os.Exit(0)
		}
	case "held": // the ring that came as fd 3
		h.fd = 3
	default:
		err = fmt.Errorf("unknown mode %q", mode)
	}
	if err == nil {
		err = h.serve()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// holder has a ring and does with it as it is told.
type holder struct {
	in   *bufio.Reader
	fd   int
	ring *iouring.Ring // nil if it came from another process
	pair [2]int        // of sockets
	mem  []byte
	next uint64 // user_data
}

func (h *holder) setup(flags uint32) (err error) {
	p := iouring.Params{Flags: flags, SQThreadIdle: 20}
	if h.ring, err = iouring.Setup(8, &p); err != nil {
		return err
	}
	h.fd = h.ring.FD()
	if h.mem, _, err = iouring.Memory(4096); err != nil {
		return err
	}
	// Before 6.4 a read of a pipe ends in io-wq once there is something: a
	// socket can be read without waiting in every kernel.
	h.pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	return err
}

func (h *holder) serve() error {
	fmt.Println("ready", h.fd)
	for {
		line, err := h.in.ReadString('\n')
		if err != nil {
			return nil // the test has ended
		}
		word, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, _ := strconv.Atoi(arg)
		if err := h.do(word, n); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
		fmt.Println("done")
	}
}

// queue writes n SQEs of a kind.
func (h *holder) queue(n int, e iouring.SQE) error {
	for range n {
		at := h.ring.Next()
		if at == nil {
			return fmt.Errorf("the SQ is full")
		}
		h.next++
		e.UserData = h.next
		*at = e
	}
	h.ring.Flush()
	return nil
}

func (h *holder) read() iouring.SQE {
	return iouring.SQE{Op: iouring.OpRead, FD: int32(h.pair[0]), Addr: uint64(uintptr(unsafe.Pointer(&h.mem[0]))), Len: 1, Off: ^uint64(0)}
}

func (h *holder) do(word string, n int) error {
	switch word {
	case "nop":
		return h.queue(n, iouring.SQE{Op: iouring.OpNOP})
	case "read": // of a socket without data
		return h.queue(n, h.read())
	case "submit":
		_, err := h.ring.Submit(uint32(n))
		return err
	case "write": // into the other socket
		_, err := unix.Write(h.pair[1], make([]byte, n))
		return err
	case "reap":
		h.ring.Reap(func(iouring.CQE) {})
	case "loop": // n rounds of NOPs at full speed
		for range n {
			if err := h.queue(4, iouring.SQE{Op: iouring.OpNOP}); err != nil {
				return err
			}
			if _, err := h.ring.Submit(4); err != nil {
				return err
			}
			h.ring.Reap(func(iouring.CQE) {})
		}
	case "close": // what a correct owner does: its mappings and the fd
		return h.close()
	case "reopen": // the lowest free number is the one just closed
		fd, flags := h.fd, h.ring.Params().Flags
		if err := h.close(); err != nil {
			return err
		}
		p := iouring.Params{Flags: flags}
		ring, err := iouring.Setup(8, &p)
		if err != nil {
			return err
		}
		if ring.FD() != fd {
			return fmt.Errorf("fd %d instead of %d", ring.FD(), fd)
		}
		h.ring = ring
	case "cover": // by a file that is no ring
		return unix.Dup2(h.pair[0], h.fd)
	case "dup":
		return unix.Dup2(h.fd, n)
	case "scribble":
		h.scribble(n)
	case "leader-exit": // the leader ends, another thread serves
		served := make(chan error)
		runtime.GOMAXPROCS(4) // the scheduler never learns that this thread is gone
		go func() {
			runtime.LockOSThread()
			fmt.Println("done")
			served <- h.serve()
		}()
		unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
		return <-served
	case "exit":
		os.Exit(n)
	default:
		return fmt.Errorf("unknown command")
	}
	return nil
}

func (h *holder) close() error {
	h.ring.Unmap()
	return unix.Close(h.fd)
}

// scribble writes the same word all over the memory of the ring.
func (h *holder) scribble(n int) {
	for _, m := range h.ring.Memory() {
		words := unsafe.Slice((*uint32)(unsafe.Pointer(&m.Mem[0])), len(m.Mem)/4)
		for i := range words {
			words[i] = uint32(n)
		}
	}
}
