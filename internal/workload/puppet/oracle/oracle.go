// Package oracle predicts what the kernel's epoll instances hold, from the
// calls that were made and never from the kernel: which items are in which
// instance, which of them are on the ready list and in which order, and what
// epoll_wait returns. Views of the kernel are checked against it, and it checks
// itself: an instance whose epoll_wait returned something else is marked as
// not known until a later call makes it certain again.
//
// The rules are those of fs/eventpoll.c and of the poll functions of the
// watched files (fs/eventfd.c, fs/pipe.c, fs/timerfd.c, net/unix/af_unix.c,
// net/ipv4/tcp.c, net/core/datagram.c). Not safe for concurrent use.
package oracle

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// Kind is what an fd refers to.
type Kind string

// The kinds.
const (
	Epoll   Kind = "epoll"
	Eventfd Kind = "eventfd"
	Timerfd Kind = "timerfd"
	Pipe    Kind = "pipe" // either end
	UDP     Kind = "udp"
	TCP     Kind = "tcp"
	Unix    Kind = "unix"
	File    Kind = "file" // cannot be polled: epoll_ctl refuses it with EPERM
)

// Table is the fd table of one process with all that hangs on it.
type Table struct {
	fds   map[int]*file
	child map[int]*file // the fds of the child; nil if there is none
	waits map[int]*wait // by thread
	wrong int           // epoll_waits that returned something else than foretold
}

// New returns the table of a process that has nothing open.
func New() *Table {
	return &Table{fds: map[int]*file{}, waits: map[int]*wait{}}
}

// file is an open file description, struct file.
type file struct {
	kind    Kind
	refs    int       // fds and running epoll_waits that hold it
	writer  bool      // the write end of a pipe
	pending int       // bytes or ticks to be read; the count of an eventfd
	peer    *file     // the other end; nil if there is none
	hungUp  bool      // the peer is closed
	aborted bool      // and what we had sent it was unread: the connection is dead
	reset   bool      // of which the next read tells by ECONNRESET
	items   []*item   // that watch it, in the order a wake-up visits them
	ep      *instance // of an epoll file
}

// Open records a new fd of a kind without peer.
func (t *Table) Open(fd int, kind Kind) {
	f := &file{kind: kind, refs: 1}
	if kind == Epoll {
		f.ep = newInstance(f)
	}
	t.fds[fd] = f
}

// Pair records two connected fds. Of a pipe, a is the read end.
func (t *Table) Pair(a, b int, kind Kind) {
	t.Open(a, kind)
	t.Open(b, kind)
	fa, fb := t.fds[a], t.fds[b]
	fa.peer, fb.peer = fb, fa
	fb.writer = kind == Pipe
}

// Dup records that fd is another name of old.
func (t *Table) Dup(old, fd int) {
	f := t.fds[old]
	if f == nil {
		return
	}
	f.refs++
	t.fds[fd] = f
}

// Closed tells what a close left and took with it.
type Closed struct {
	Survives bool // items with that fd number stay: another fd keeps the file
	Removed  int  // items that went with the file
	InUse    bool // an instance that a thread waits in: it goes when that returns
}

// Close records that fd was closed.
func (t *Table) Close(fd int) Closed { return t.CloseRange(fd, fd) }

// CloseRange records that all fds from first to last were closed by one call.
func (t *Table) CloseRange(first, last int) Closed {
	defer t.watch()()
	var c Closed
	in, refs := map[int]*file{}, map[*file]int{}
	for fd, f := range t.fds {
		if fd >= first && fd <= last {
			in[fd] = f
			refs[f]++
		}
	}
	for fd, f := range in {
		for _, it := range f.items {
			c.Survives = c.Survives || it.fd == fd && f.refs > refs[f]
		}
		c.InUse = c.InUse || f.ep != nil && f.ep.waiting > 0 && f.refs == refs[f]+f.ep.waiting
		delete(t.fds, fd)
	}
	c.Removed = release(in)
	return c
}

// release drops the references of fds that one call, or an exit, closes in
// ascending order. The files are released when that is done, the last first
// (task_work_run). It returns how many items went with them.
func release(fds map[int]*file) (removed int) {
	refs := map[*file]int{}
	for _, f := range fds {
		refs[f]++
	}
	for _, fd := range slices.Backward(slices.Sorted(maps.Keys(fds))) {
		f := fds[fd]
		if refs[f] == 0 {
			continue // done, with a higher fd of it
		}
		if f.refs == refs[f] {
			removed += len(f.items)
		}
		f.refs -= refs[f] - 1
		refs[f] = 0
		f.put()
	}
	return removed
}

// Fork records that a child got a copy of all fds.
func (t *Table) Fork() {
	t.child = maps.Clone(t.fds)
	for _, f := range t.child {
		f.refs++
	}
}

// Reap records that the child is gone.
func (t *Table) Reap() {
	defer t.watch()()
	release(t.child)
	t.child = nil
}

// FDs lists the fds, ascending.
func (t *Table) FDs() []int { return slices.Sorted(maps.Keys(t.fds)) }

// HungUp lists the fds of connections that the other end has closed.
func (t *Table) HungUp() []int {
	var fds []int
	for fd, f := range t.fds {
		if f.kind == TCP && f.hungUp {
			fds = append(fds, fd)
		}
	}
	return fds
}

// put drops a reference; the last one releases the file as __fput does: first
// its items, then what the file itself does on release.
func (f *file) put() {
	f.refs--
	if f.refs > 0 {
		return
	}
	for len(f.items) > 0 {
		f.items[0].remove()
	}
	if f.ep != nil {
		f.ep.clear()
	}
	if p := f.peer; p != nil {
		p.peer = nil
		p.peerClosed(f)
	}
}

// Kind returns what fd is; empty if it is not open.
func (t *Table) Kind(fd int) Kind {
	if f := t.fds[fd]; f != nil {
		return f.kind
	}
	return ""
}

// Pending is how many bytes or ticks fd has to be read.
func (t *Table) Pending(fd int) int {
	if f := t.fds[fd]; f != nil {
		return f.pending
	}
	return 0
}

// Watched reports whether an instance has an item for fd's file.
func (t *Table) Watched(fd int) bool {
	f := t.fds[fd]
	return f != nil && len(f.items) > 0
}

// WriteEnd reports whether fd is the end of a pipe that is written to.
func (t *Table) WriteEnd(fd int) bool {
	f := t.fds[fd]
	return f != nil && f.writer
}

// Peer returns the lowest fd of the other end; ok is false if there is none or
// it is closed.
func (t *Table) Peer(fd int) (peer int, ok bool) {
	f := t.fds[fd]
	if f == nil || f.peer == nil {
		return 0, false
	}
	return t.lowest(f.peer)
}

func (t *Table) lowest(f *file) (fd int, ok bool) {
	for n, g := range t.fds {
		if g == f && (!ok || n < fd) {
			fd, ok = n, true
		}
	}
	return fd, ok
}

// Wrote records that n bytes, or a count of n, were written to fd.
func (t *Table) Wrote(fd, n int) {
	defer t.watch()()
	f := t.fds[fd]
	if f == nil {
		return
	}
	switch f.kind {
	case Eventfd:
		f.pending += n
		f.wake(unix.EPOLLIN, one)
	case Pipe, Unix, TCP, UDP:
		f.sent(n)
	}
}

func (f *file) sent(n int) {
	p := f.peer
	if f.kind == UDP {
		// loopback_xmit orphans the packet: the sender has space again.
		f.wake(pollOut|unix.EPOLLWRBAND, one)
	}
	if p == nil {
		return
	}
	p.pending += n
	if p.kind == Pipe {
		p.wake(pollIn, one)
		return
	}
	p.wake(pollIn|unix.EPOLLPRI|unix.EPOLLRDBAND, one) // sock_def_readable
}

// Fired records that the timer was armed anew and has expired once.
func (t *Table) Fired(fd int) {
	defer t.watch()()
	if f := t.fds[fd]; f != nil {
		f.pending = 1
		f.wake(unix.EPOLLIN, one)
	}
}

// Read records that n bytes were read from fd, or all that a counter held.
func (t *Table) Read(fd, n int) {
	defer t.watch()()
	f := t.fds[fd]
	if f == nil {
		return
	}
	switch f.kind {
	case Eventfd:
		f.pending = 0
		f.wake(unix.EPOLLOUT, one)
	case Timerfd:
		f.pending = 0
	default:
		f.pending -= n
		if f.kind == Unix && f.peer != nil {
			for range n { // of each message, which the puppet makes of one byte
				f.peer.wake(pollOut|unix.EPOLLWRBAND, one) // unix_write_space
			}
		}
	}
}

// ReadReset records that a read of fd gave the pending error of the socket,
// which clears it.
func (t *Table) ReadReset(fd int) {
	if f := t.fds[fd]; f != nil {
		f.reset = false
	}
}
