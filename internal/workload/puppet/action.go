package puppet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

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
)

// op is an action that the puppet knows.
type op struct {
	name   string
	fields []string // taken, beside op
	needs  []string // of those, the ones that must be there
	maxN   int      // bound of n; 0 is maxN
	run    func(*Puppet, *Action) error
}

var ops = []op{
	{name: "epoll_create", run: (*Puppet).doEpollCreate},
	{name: "make", fields: []string{"what", "n"}, needs: []string{"what"}, run: (*Puppet).doMake},
	{name: "add", fields: []string{"epfd", "what", "n", "events"}, needs: []string{"epfd", "what"}, run: (*Puppet).doAdd},
	{name: "ctl", fields: []string{"epfd", "ctl", "fd", "events", "data"}, needs: []string{"epfd", "ctl", "fd"}, run: (*Puppet).doCtl},
	{name: "ready", fields: []string{"fd"}, needs: []string{"fd"}, run: (*Puppet).doReady},
	{name: "drain", fields: []string{"fd"}, needs: []string{"fd"}, run: (*Puppet).doDrain},
	{name: "write", fields: []string{"fd", "n"}, needs: []string{"fd"}, maxN: maxUnread, run: (*Puppet).doWrite},
	{name: "read", fields: []string{"fd", "n"}, needs: []string{"fd"}, maxN: maxRead, run: (*Puppet).doRead},
	{name: "wait", fields: []string{"epfd", "maxevents", "timeout", "thread"}, needs: []string{"epfd"}, run: (*Puppet).doWait},
	{name: "close", fields: []string{"fd"}, needs: []string{"fd"}, run: (*Puppet).doClose},
	{name: "dup", fields: []string{"fd"}, needs: []string{"fd"}, run: (*Puppet).doDup},
	{name: "dup_add", fields: []string{"epfd", "fd", "n", "events"}, needs: []string{"epfd", "fd"}, run: (*Puppet).doDupAdd},
	{name: "cycle", run: (*Puppet).doCycle},
}

// parse decodes an action strictly and finds its op.
func parse(data json.RawMessage) (*Action, *op, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, nil, control.Errorf("bad_action", "the action is not a JSON object: %v", err)
	}
	var a Action
	if err := control.Decode(data, &a); err != nil {
		return nil, nil, control.Errorf("bad_action", "the action does not fit: %v", err)
	}
	o := findOp(a.Op)
	if o == nil {
		return nil, nil, control.Errorf("unknown_op", "unknown op %q; the puppet knows %s", a.Op, opNames())
	}
	for name := range fields {
		if name != "op" && !slices.Contains(o.fields, name) {
			return nil, nil, control.Errorf("bad_action", "op %s has no field %q; it takes %s", o.name, name, list(o.fields))
		}
	}
	for _, name := range o.needs {
		if v, ok := fields[name]; !ok || string(v) == "null" {
			return nil, nil, control.Errorf("bad_action", "op %s needs field %q", o.name, name)
		}
	}
	if err := a.check(o); err != nil {
		return nil, nil, err
	}
	return &a, o, nil
}

func (a *Action) check(o *op) error {
	for _, v := range []struct {
		name     string
		value    *int
		min, max int
	}{
		{"n", a.N, 1, cmp.Or(o.maxN, maxN)},
		{"epfd", a.EpFD, -1, 1 << 30},
		{"fd", a.FD, -1, 1 << 30},
		{"maxevents", a.MaxEvents, -1, maxEvents},
		{"timeout", a.Timeout, -1, 1<<31 - 1},
		{"thread", a.Thread, 1, maxThreads},
	} {
		if v.value != nil && (*v.value < v.min || *v.value > v.max) {
			return control.Errorf("bad_action", "%s is %d, want %d to %d", v.name, *v.value, v.min, v.max)
		}
	}
	return nil
}

func findOp(name string) *op {
	for i := range ops {
		if ops[i].name == name {
			return &ops[i]
		}
	}
	return nil
}

func opNames() string {
	var names []string
	for _, o := range ops {
		names = append(names, o.name)
	}
	return list(names)
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
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
	return list(names)
}

func or(p *int, missing int) int {
	if p == nil {
		return missing
	}
	return *p
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
