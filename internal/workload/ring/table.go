package ring

import (
	"cmp"
	"maps"
	"slices"

	"kernelviz/internal/iouring"
)

// Kinds of a file.
const (
	kindEventfd  = "eventfd"
	kindPipe     = "pipe"
	kindUnix     = "unix"
	kindTCP      = "tcp"
	kindListener = "listener"
	kindFile     = "file"
)

// table is what the puppet has open besides its rings, by fd. Each file has one
// fd.
type table map[int]*file

// file is an open file that the puppet made.
type file struct {
	fd      int
	kind    string
	peer    *file // the other end; nil if there is none or it is closed
	writer  bool  // the end of a pipe that is written to
	unread  int   // bytes written, less those known to be read; of an eventfd its count
	port    uint16
	clients []*file // of a listener: connections that no completion has told of
}

func (t table) add(fd int, kind string) *file {
	f := &file{fd: fd, kind: kind}
	t[fd] = f
	return f
}

// pair records two connected fds. Of a pipe, a is the read end.
func (t table) pair(a, b int, kind string) {
	fa, fb := t.add(a, kind), t.add(b, kind)
	fa.peer, fb.peer = fb, fa
	fb.writer = kind == kindPipe
}

func (t table) close(fd int) {
	f := t[fd]
	if f == nil {
		return
	}
	if f.peer != nil {
		f.peer.peer = nil
	}
	delete(t, fd)
}

// accepted records the connection that the oldest of f's clients has made.
func (t table) accepted(f *file, fd int) {
	made := t.add(fd, kindTCP)
	if f == nil || len(f.clients) == 0 {
		return
	}
	client := f.clients[0]
	f.clients = f.clients[1:]
	if t[client.fd] == client {
		made.peer, client.peer = client, made
	}
}

// reader is the file that gets what is written to f.
func (f *file) reader() *file {
	if f.kind == kindEventfd {
		return f
	}
	return f.peer
}

// got records that n bytes were written that f has to be read.
func (f *file) got(n int) {
	if f.kind == kindEventfd {
		n = 1
	}
	f.unread += n
}

// took records that n bytes were read from f.
func (f *file) took(n int) {
	switch f.kind {
	case kindEventfd:
		f.unread = 0
	case kindFile:
	default:
		f.unread -= n // below 0 until the completion of the write is read too
	}
}

func (f *file) readable() bool {
	switch {
	case f.kind == kindFile, f.unread > 0:
		return true
	case f.kind == kindListener:
		return len(f.clients) > 0
	case f.kind == kindEventfd || f.writer:
		return false
	}
	return f.peer == nil // the end of what is written
}

// State is what is known, in the shape of docs/protocol.md.
type State struct {
	Rings     []Ring   `json:"rings"`               // by fd
	FDs       []FD     `json:"fds"`                 // by fd, without the rings
	Threads   []Thread `json:"threads"`             // by thread
	Surprises int      `json:"surprises"`           // what differed from what was foretold
	Surprised string   `json:"surprised,omitempty"` // the latest of them
}

// Ring is one ring.
type Ring struct {
	FD        int       `json:"fd"`
	SQEntries uint32    `json:"sq_entries"`
	CQEntries uint32    `json:"cq_entries"`
	Flags     []string  `json:"flags"` // IORING_SETUP_* without the prefix
	SQTail    uint32    `json:"sq_tail"`
	CQHead    uint32    `json:"cq_head"`
	Queued    []Request `json:"queued"`
	InFlight  []Request `json:"inflight"`
	Reaped    int       `json:"reaped"`              // completions, over the ring's life
	Lost      uint32    `json:"lost"`                // completions that the kernel had no room for
	Dropped   uint32    `json:"dropped"`             // bad indices that it passed over
	Thread    int       `json:"thread"`              // that its calls are made in
	Scribbled string    `json:"scribbled,omitempty"` // what op scribble wrote over
}

// Request is one SQE that was queued.
type Request struct {
	UserData  uint64 `json:"user_data"`
	What      string `json:"what"`
	FD        int    `json:"fd"` // -1 none
	Multishot bool   `json:"multishot,omitempty"`
}

// FD is one open file.
type FD struct {
	FD       int    `json:"fd"`
	Kind     string `json:"kind"`
	Peer     int    `json:"peer"`     // fd of the other end; 0 if none
	Readable bool   `json:"readable"` // something was written that no read and no completion that was reaped has taken
}

// Thread is one thread that was asked for.
type Thread struct {
	Thread  int `json:"thread"`
	TID     int `json:"tid"`
	Waiting int `json:"waiting"` // fd of the ring it sleeps in; 0 if it is idle
}

// State tells what the puppet knows.
func (p *Puppet) State() any {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := State{Rings: []Ring{}, FDs: []FD{}, Threads: []Thread{}}
	for _, fd := range slices.Sorted(maps.Keys(p.rings)) {
		s.Rings = append(s.Rings, p.ringState(p.rings[fd]))
	}
	for fd, f := range p.files {
		peer := 0
		if f.peer != nil {
			peer = f.peer.fd
		}
		s.FDs = append(s.FDs, FD{FD: fd, Kind: f.kind, Peer: peer, Readable: f.readable()})
	}
	slices.SortFunc(s.FDs, func(a, b FD) int { return cmp.Compare(a.FD, b.FD) })
	for n, w := range p.workers {
		if w == nil {
			continue
		}
		t := Thread{Thread: n, TID: w.tid}
		if w.asleep != nil {
			t.Waiting = w.asleep.fd
		}
		s.Threads = append(s.Threads, t)
	}
	s.Surprises, s.Surprised = p.surprises, p.surprised
	return s
}

func (p *Puppet) ringState(g *instance) Ring {
	g.sync(p)
	lost := g.ring.CQOverflow()
	if g.ring.SQDropped() != g.dropped {
		p.surprise("ring %d: sq_dropped is %d, not %d", g.fd, g.ring.SQDropped(), g.dropped)
		g.dropped = g.ring.SQDropped()
	}
	flags := iouring.SetupList(g.params.Flags)
	if flags == nil {
		flags = []string{}
	}
	r := Ring{
		FD: g.fd, SQEntries: g.params.SQEntries, CQEntries: g.params.CQEntries, Flags: flags,
		SQTail: g.ring.SQNext(), CQHead: g.ring.CQHead(),
		Queued: requests(g.queued), InFlight: requests(g.inflight),
		Reaped: g.reaped, Lost: lost, Dropped: g.dropped, Thread: g.thread, Scribbled: g.scribbled,
	}
	if g.scribbled == "cq.head" {
		r.CQHead = g.was
	}
	return r
}

func requests(list []*request) []Request {
	all := make([]Request, 0, len(list))
	for _, q := range list {
		all = append(all, Request{UserData: q.userData, What: q.what, FD: q.fd, Multishot: q.multishot})
	}
	return all
}
