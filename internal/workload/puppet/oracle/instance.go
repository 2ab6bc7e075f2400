package oracle

import (
	"container/list"
	"slices"

	"golang.org/x/sys/unix"
)

// instance is a struct eventpoll.
type instance struct {
	file    *file
	items   map[key]*item
	ready   *list.List // of *item: rdllist
	known   bool       // ready is certain
	waiting int        // threads in epoll_wait
	rung    int        // callbacks of the running system call
	raced   bool       // several callbacks raced with a waiting thread: see Table.watch
	racers  int        // threads that waited then
}

// key orders the tree: struct epoll_filefd.
type key struct {
	file *file
	fd   int
}

// item is a struct epitem.
type item struct {
	key
	ep     *instance
	events uint32
	data   uint64
	link   *list.Element // in ep.ready; nil if not linked
}

// privateBits say how, not what, to report: EP_PRIVATE_BITS.
const privateBits = unix.EPOLLWAKEUP | unix.EPOLLONESHOT | unix.EPOLLET | unix.EPOLLEXCLUSIVE

func newInstance(f *file) *instance {
	return &instance{file: f, items: map[key]*item{}, ready: list.New(), known: true}
}

// Add records a successful EPOLL_CTL_ADD. It reports whether the item went on
// the ready list at once.
func (t *Table) Add(epfd, fd int, events uint32, data uint64) bool {
	ep, k, ok := t.find(epfd, fd)
	if !ok {
		return false
	}
	defer t.watch()()
	it := &item{key: k, ep: ep, events: events | unix.EPOLLERR | unix.EPOLLHUP, data: data}
	ep.items[k] = it
	// add_wait_queue puts at the head, add_wait_queue_exclusive at the tail.
	if events&unix.EPOLLEXCLUSIVE != 0 {
		k.file.items = append(k.file.items, it)
	} else {
		k.file.items = slices.Insert(k.file.items, 0, it)
	}
	it.enlistIfReady()
	return it.link != nil
}

// Mod records a successful EPOLL_CTL_MOD. An item that is on the ready list
// stays there until epoll_wait finds that it is not ready.
func (t *Table) Mod(epfd, fd int, events uint32, data uint64) {
	ep, k, ok := t.find(epfd, fd)
	if !ok || ep.items[k] == nil {
		return
	}
	defer t.watch()()
	it := ep.items[k]
	it.events, it.data = events|unix.EPOLLERR|unix.EPOLLHUP, data
	it.enlistIfReady()
}

// Del records a successful EPOLL_CTL_DEL.
func (t *Table) Del(epfd, fd int) {
	ep, k, ok := t.find(epfd, fd)
	if ok && ep.items[k] != nil {
		ep.items[k].remove()
	}
}

func (t *Table) find(epfd, fd int) (*instance, key, bool) {
	e, f := t.fds[epfd], t.fds[fd]
	if e == nil || e.ep == nil || f == nil {
		return nil, key{}, false
	}
	return e.ep, key{f, fd}, true
}

func (it *item) enlistIfReady() {
	if it.poll() == 0 || it.link != nil {
		return
	}
	it.link = it.ep.ready.PushBack(it)
	it.ep.rung++
	it.ep.file.wake(unix.EPOLLIN, one) // ep_poll_safewake
}

// callback is ep_poll_callback. It reports whether the wake-up was of use to
// somebody, which ends the search for exclusive waiters.
func (it *item) callback(flags uint32) bool {
	exclusive := it.events&unix.EPOLLEXCLUSIVE != 0
	if it.events&^privateBits == 0 || flags != 0 && flags&it.events == 0 {
		return !exclusive
	}
	it.ep.rung++
	if it.link == nil {
		it.link = it.ep.ready.PushBack(it)
	}
	it.ep.file.wake(unix.EPOLLIN, one)
	if !exclusive {
		return true
	}
	inOut := flags & (unix.EPOLLIN | unix.EPOLLOUT)
	return it.ep.waiting > 0 && (inOut == 0 || inOut&it.events == inOut)
}

// poll is ep_item_poll.
func (it *item) poll() uint32 { return it.file.poll() & it.events }

func (it *item) remove() {
	it.unlink()
	delete(it.ep.items, it.key)
	i := slices.Index(it.file.items, it)
	it.file.items = slices.Delete(it.file.items, i, i+1)
}

func (it *item) unlink() {
	if it.link != nil {
		it.ep.ready.Remove(it.link)
		it.link = nil
	}
}

func (ep *instance) clear() {
	for _, it := range ep.items {
		it.remove()
	}
}

// poll is __ep_eventpoll_poll, for an instance watched by another: it drops
// items that are not ready from the list until it meets one that is.
func (ep *instance) poll() bool {
	for ep.ready.Len() > 0 {
		it := ep.ready.Front().Value.(*item)
		if it.poll() != 0 {
			return true
		}
		it.unlink()
	}
	return false
}
