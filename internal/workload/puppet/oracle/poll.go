package oracle

import "golang.org/x/sys/unix"

// Masks as the kernel's poll functions combine them.
const (
	pollIn  = unix.EPOLLIN | unix.EPOLLRDNORM
	pollOut = unix.EPOLLOUT | unix.EPOLLWRNORM
)

// poll returns what the file's poll function returns now. Send buffers are
// taken to have space: the puppet never fills one.
func (f *file) poll() uint32 {
	switch f.kind {
	case Epoll:
		if f.ep.poll() {
			return pollIn
		}
		return 0
	case Eventfd:
		return unix.EPOLLOUT | when(f.pending > 0, unix.EPOLLIN)
	case Timerfd:
		return when(f.pending > 0, unix.EPOLLIN)
	case Pipe:
		if f.writer {
			return pollOut | when(f.hungUp, unix.EPOLLERR)
		}
		return when(f.pending > 0, pollIn) | when(f.hungUp, unix.EPOLLHUP)
	case Unix:
		return pollOut | unix.EPOLLWRBAND | when(f.pending > 0, pollIn) |
			when(f.hungUp, pollIn|unix.EPOLLRDHUP|unix.EPOLLHUP) | when(f.reset, unix.EPOLLERR)
	case TCP:
		// An aborted connection is closed both ways (tcp_done).
		return pollOut | when(f.pending > 0, pollIn) |
			when(f.hungUp, pollIn|unix.EPOLLRDHUP) |
			when(f.aborted, unix.EPOLLHUP) | when(f.reset, unix.EPOLLERR)
	case UDP:
		return pollOut | unix.EPOLLWRBAND | when(f.pending > 0, pollIn)
	}
	return 0
}

func when(cond bool, mask uint32) uint32 {
	if cond {
		return mask
	}
	return 0
}

// peerClosed tells f that the other end, gone, was released.
func (f *file) peerClosed(gone *file) {
	switch f.kind {
	case Pipe:
		f.hungUp = true
	case Unix, TCP:
		f.hungUp = true
		f.aborted = gone.pending > 0
		f.reset = f.aborted
	default:
		return
	}
	f.wake(0, all)
}

// reach says how many exclusive waiters a wake-up takes.
type reach bool

const (
	one reach = false
	all reach = true
)

// wake calls back the items that watch f, as __wake_up_common does: those that
// are not exclusive, and of the exclusive ones until one was of use. key 0
// means "anything may have happened".
func (f *file) wake(key uint32, r reach) {
	for _, it := range f.items {
		used := it.callback(key)
		if used && it.events&unix.EPOLLEXCLUSIVE != 0 && r == one {
			return
		}
	}
}
