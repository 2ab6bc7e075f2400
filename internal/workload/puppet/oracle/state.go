package oracle

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"
)

// State is what is known, in the shape of docs/protocol.md.
type State struct {
	FDs     []FD       `json:"fds"`     // by fd
	Epolls  []Instance `json:"epolls"`  // by fd
	Threads []Thread   `json:"threads"` // by thread; those in epoll_wait
	// Child is the process that holds a copy of the fds as they were when it was
	// forked; 0 if there is none.
	Child int `json:"child,omitempty"`
	// Surprises counts the epoll_waits that returned something else than was
	// foretold.
	Surprises int `json:"surprises"`
}

// FD is one open fd.
type FD struct {
	FD       int   `json:"fd"`
	Kind     Kind  `json:"kind"`
	Peer     int   `json:"peer"`     // fd of the other end; 0 if none
	Readable bool  `json:"readable"` // read would not give EAGAIN; of epoll: epoll_wait would not sleep
	In       []int `json:"in"`       // epoll fds that have an item with this file and fd
}

// Instance is one epoll instance.
type Instance struct {
	FD         int   `json:"fd"`         // the lowest fd that refers to it
	Items      []int `json:"items"`      // fd numbers of its items, ascending; an fd may be closed and the item still there
	Ready      []int `json:"ready"`      // fd numbers of rdllist, first to last
	ReadyKnown bool  `json:"readyKnown"` // Ready is certain
}

// Thread is one thread that waits.
type Thread struct {
	Thread  int `json:"thread"`
	TID     int `json:"tid"`
	Waiting int `json:"waiting"` // epfd that it was called with; 0 if it is idle
}

// State returns what is known now.
func (t *Table) State() State {
	names := t.names()
	s := State{FDs: []FD{}, Epolls: []Instance{}, Threads: []Thread{}, Surprises: t.wrong}
	for fd, f := range t.fds {
		s.FDs = append(s.FDs, FD{
			FD: fd, Kind: f.kind, Peer: names[f.peer],
			Readable: f.readable(),
			In:       f.in(fd, names),
		})
		if f.ep != nil && names[f] == fd {
			s.Epolls = append(s.Epolls, f.ep.state(fd))
		}
	}
	for n, w := range t.waits {
		s.Threads = append(s.Threads, Thread{Thread: n, TID: w.tid, Waiting: w.epfd})
	}
	slices.SortFunc(s.FDs, func(a, b FD) int { return cmp.Compare(a.FD, b.FD) })
	slices.SortFunc(s.Epolls, func(a, b Instance) int { return cmp.Compare(a.FD, b.FD) })
	slices.SortFunc(s.Threads, func(a, b Thread) int { return cmp.Compare(a.Thread, b.Thread) })
	return s
}

// names gives each file its lowest fd.
func (t *Table) names() map[*file]int {
	names := make(map[*file]int, len(t.fds))
	for fd, f := range t.fds {
		if n, ok := names[f]; !ok || fd < n {
			names[f] = fd
		}
	}
	return names
}

func (f *file) in(fd int, names map[*file]int) []int {
	in := []int{}
	for _, it := range f.items {
		if n, ok := names[it.ep.file]; ok && it.fd == fd {
			in = append(in, n)
		}
	}
	slices.Sort(in)
	return in
}

// readable looks without touching: polling an instance changes its list.
func (f *file) readable() bool {
	if f.ep == nil {
		return f.poll()&(unix.EPOLLIN|unix.EPOLLHUP) != 0
	}
	for it := range f.ep.each {
		if it.file.ep != nil && it.file.readable() || it.file.ep == nil && it.poll() != 0 {
			return true
		}
	}
	return false
}

func (ep *instance) state(fd int) Instance {
	s := Instance{FD: fd, Items: make([]int, 0, len(ep.items)), Ready: []int{}, ReadyKnown: ep.known}
	for k := range ep.items {
		s.Items = append(s.Items, k.fd)
	}
	slices.Sort(s.Items)
	for it := range ep.each {
		s.Ready = append(s.Ready, it.fd)
	}
	return s
}
