package sandbox

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Network is a network namespace with nothing but a loopback, which is up. It
// has no name and is gone when the Network is closed and no child is in it.
// Its methods may be called concurrently.
type Network struct {
	mu sync.Mutex // held while fd is used, so that Close does not give its number away
	fd int        // the namespace; -1 once closed
}

// NewNetwork makes one. It needs CAP_SYS_ADMIN. The caller closes it.
func NewNetwork() (*Network, error) {
	type made struct {
		fd  int
		err error
	}
	result := make(chan made)
	apart(func() {
		fd, err := makeNetwork()
		result <- made{fd, err}
	})
	m := <-result
	if errors.Is(m.err, unix.EPERM) {
		return nil, fmt.Errorf("making a network namespace: %w: it needs CAP_SYS_ADMIN; run as root", m.err)
	}
	if m.err != nil {
		return nil, fmt.Errorf("making a network namespace: %w", m.err)
	}
	return &Network{fd: m.fd}, nil
}

func makeNetwork() (int, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return -1, fmt.Errorf("unshare: %w", err)
	}
	if err := raiseLoopback(); err != nil {
		return -1, fmt.Errorf("setting loopback up: %w", err)
	}
	return openThreadNet()
}

// openThreadNet opens the network namespace of the calling thread.
func openThreadNet() (int, error) {
	const path = "/proc/thread-self/ns/net"
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening %s: %w", path, err)
	}
	return fd, nil
}

// Close gives the namespace back. Children in it keep it until they end.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fd < 0 {
		return nil
	}
	err := unix.Close(n.fd)
	n.fd = -1
	return err
}

// errStray is when the thread cannot leave a namespace it entered.
var errStray = errors.New("the sandbox's thread is in a network namespace that it cannot leave: restart the server")

// in runs f, which must run on this thread, in the network namespace n: a
// child that f starts is born in it.
func (t *thread) in(n *Network, f func() error) error {
	if t.stray {
		return errStray
	}
	if n == nil {
		return f()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fd < 0 {
		return errors.New("the network namespace has been closed")
	}
	home, err := openThreadNet()
	if err != nil {
		return err
	}
	defer unix.Close(home)
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the network namespace: %w: it needs CAP_SYS_ADMIN; run as root", err)
	}
	err = f()
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		t.stray = true
		return errors.Join(err, fmt.Errorf("%w: %w", errStray, back))
	}
	return err
}
