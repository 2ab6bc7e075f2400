package puppet

import (
	"cmp"
	"encoding/json"
	"fmt"

	"kernelviz/internal/workload/control"
	"kernelviz/internal/workload/puppet/oracle"

	"golang.org/x/sys/unix"
)

// State is what the puppet knows by having done it.
type State = oracle.State

// Action is one thing to do, in the shape of docs/protocol.md. Which fields an
// op takes is in the table there; others must be absent.
type Action struct {
	Op        string   `json:"op"`
	EpFD      *int     `json:"epfd,omitempty"`
	FD        *int     `json:"fd,omitempty"`
	What      string   `json:"what,omitempty"`
	N         *int     `json:"n,omitempty"`
	Ctl       string   `json:"ctl,omitempty"`
	Events    []string `json:"events,omitempty"`
	Data      *uint64  `json:"data,omitempty"`
	MaxEvents *int     `json:"maxevents,omitempty"`
	Timeout   *int     `json:"timeout,omitempty"` // ms; -1 is for ever
	Thread    *int     `json:"thread,omitempty"`
	First     *int     `json:"first,omitempty"`
	Last      *int     `json:"last,omitempty"`
}

// Result is what an action did.
type Result struct {
	Seqs []uint64 `json:"seqs"` // of its calls, in order
	FDs  []int    `json:"fds"`  // made by it; of a pair the end that is read
	// Stopped tells why fewer were made than asked for; what was made stays.
	Stopped *control.Error `json:"stopped,omitempty"`
}

// Bounds of an action.
const (
	maxN       = 10_000
	maxEvents  = 10_000
	maxThreads = 16
	// maxUnread is how many bytes op write leaves to be read: buffers never fill,
	// so that writers stay writable (package oracle).
	maxUnread = 64
	maxRead   = 4096
	maxFD     = 1 << 30
)

// op is an action that the puppet knows.
type op struct {
	control.Op
	maxN int // bound of n; 0 is maxN
	run  func(*Puppet, *Action) error
}

var ops = []op{
	{Op: control.NewOp("epoll_create"), run: (*Puppet).doEpollCreate},
	{Op: control.NewOp("make", "what", "n?"), run: (*Puppet).doMake},
	{Op: control.NewOp("add", "epfd", "what", "n?", "events?"), run: (*Puppet).doAdd},
	{Op: control.NewOp("ctl", "epfd", "ctl", "fd", "events?", "data?"), run: (*Puppet).doCtl},
	{Op: control.NewOp("ready", "fd"), run: (*Puppet).doReady},
	{Op: control.NewOp("drain", "fd"), run: (*Puppet).doDrain},
	{Op: control.NewOp("write", "fd", "n?"), maxN: maxUnread, run: (*Puppet).doWrite},
	{Op: control.NewOp("read", "fd", "n?"), maxN: maxRead, run: (*Puppet).doRead},
	{Op: control.NewOp("wait", "epfd", "maxevents?", "timeout?", "thread?"), run: (*Puppet).doWait},
	{Op: control.NewOp("close", "fd"), run: (*Puppet).doClose},
	{Op: control.NewOp("close_range", "first", "last"), run: (*Puppet).doCloseRange},
	{Op: control.NewOp("dup", "fd"), run: (*Puppet).doDup},
	{Op: control.NewOp("dup_add", "epfd", "fd", "n?", "events?"), run: (*Puppet).doDupAdd},
	{Op: control.NewOp("fork"), run: (*Puppet).doFork},
	{Op: control.NewOp("reap"), run: (*Puppet).doReap},
	{Op: control.NewOp("cycle"), run: (*Puppet).doCycle},
}

// parse decodes an action strictly and finds its op.
func parse(data json.RawMessage) (*Action, *op, error) {
	known := make([]control.Op, 0, len(ops))
	for i := range ops {
		known = append(known, ops[i].Op)
	}
	var a Action
	i, err := control.Pick(data, "the puppet", known, &a)
	if err != nil {
		return nil, nil, err
	}
	if err := a.check(&ops[i]); err != nil {
		return nil, nil, err
	}
	return &a, &ops[i], nil
}

func (a *Action) check(o *op) error {
	return control.Check(
		control.Bound{Name: "n", Value: a.N, Min: 1, Max: cmp.Or(o.maxN, maxN)},
		control.Bound{Name: "epfd", Value: a.EpFD, Min: -1, Max: maxFD},
		control.Bound{Name: "fd", Value: a.FD, Min: -1, Max: maxFD},
		control.Bound{Name: "first", Value: a.First, Min: 0, Max: maxFD},
		control.Bound{Name: "last", Value: a.Last, Min: 0, Max: maxFD},
		control.Bound{Name: "maxevents", Value: a.MaxEvents, Min: -1, Max: maxEvents},
		control.Bound{Name: "timeout", Value: a.Timeout, Min: -1, Max: 1<<31 - 1},
		control.Bound{Name: "thread", Value: a.Thread, Min: 1, Max: maxThreads},
	)
}

// mask reads names of events.
func mask(names []string) (uint32, error) {
	var m uint32
	for _, s := range names {
		bit := bitOf(s)
		if bit == 0 {
			return 0, control.Errorf("bad_action", "unknown event %q; known are %s", s, eventList())
		}
		m |= bit
	}
	return m, nil
}

func bitOf(s string) uint32 {
	for _, n := range eventNames {
		if n.text == s {
			return n.value
		}
	}
	return 0
}

func eventList() string {
	var names []string
	for _, n := range eventNames {
		names = append(names, n.text)
	}
	return control.List(names)
}

// errNotOurs keeps the puppet's own line out of reach: fds 0 to 2.
func errNotOurs(fd int) error {
	return &control.Error{
		Code:    "not_ours",
		Message: fmt.Sprintf("fd %d is the puppet's line to the server", fd),
		Fix:     "use an fd that the puppet made, 3 or above",
	}
}

func ctlOp(s string) (int, error) {
	switch s {
	case "add":
		return unix.EPOLL_CTL_ADD, nil
	case "mod":
		return unix.EPOLL_CTL_MOD, nil
	case "del":
		return unix.EPOLL_CTL_DEL, nil
	}
	return 0, control.Errorf("bad_action", "unknown ctl %q; known are add, mod, del", s)
}
