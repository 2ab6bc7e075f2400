package ring

import (
	"cmp"
	"encoding/json"
	"fmt"

	"kernelviz/internal/workload/control"
)

// Action is one thing to do, in the shape of docs/protocol.md. Which fields an
// op takes is in the table there; others must be absent.
type Action struct {
	Op        string   `json:"op"`
	Ring      *int     `json:"ring,omitempty"`
	Entries   *int     `json:"entries,omitempty"`
	CQEntries *int     `json:"cq_entries,omitempty"`
	Flags     []string `json:"flags,omitempty"`
	Idle      *int     `json:"idle,omitempty"` // ms
	What      string   `json:"what,omitempty"`
	N         *int     `json:"n,omitempty"`
	FD        *int     `json:"fd,omitempty"`
	To        *int     `json:"to,omitempty"` // of splice: the fd that is written to
	Len       *int     `json:"len,omitempty"`
	MS        *int     `json:"ms,omitempty"`
	Target    *uint64  `json:"target,omitempty"` // user_data to cancel
	Link      bool     `json:"link,omitempty"`
	Hardlink  bool     `json:"hardlink,omitempty"`
	Drain     bool     `json:"drain,omitempty"`
	Async     bool     `json:"async,omitempty"`
	Skip      bool     `json:"skip,omitempty"`
	Fixed     bool     `json:"fixed,omitempty"`
	Buffer    *int     `json:"buffer,omitempty"`
	Select    bool     `json:"select,omitempty"`
	UserData  *uint64  `json:"user_data,omitempty"`
	Wait      *int     `json:"wait,omitempty"`
	Thread    *int     `json:"thread,omitempty"`
	Extra     *int     `json:"extra,omitempty"`
	Seconds   *float64 `json:"seconds,omitempty"`
	Batch     *int     `json:"batch,omitempty"`
}

// Result is what an action did.
type Result struct {
	Seqs []uint64     `json:"seqs"`           // of its calls, in order
	FDs  []int        `json:"fds"`            // made by it; of a pair the end that is read
	CQEs []Completion `json:"cqes,omitempty"` // that op reap has read, in order
	Spin *Spin        `json:"spin,omitempty"` // what op spin measured
	// Stopped tells why less was done than asked for; what was done stays.
	Stopped *control.Error `json:"stopped,omitempty"`
}

// Completion is a CQE that was read.
type Completion struct {
	UserData uint64 `json:"user_data"`
	Res      int32  `json:"res"`
	Flags    uint32 `json:"flags"`
}

// Bounds of an action.
const (
	maxRings   = 8
	maxEntries = 4096
	maxIdle    = 2000 // ms
	maxN       = 1000 // files that one action makes
	maxThreads = 16
	maxUnread  = 64 // bytes that op write leaves to be read
	maxRead    = 4096
	maxLen     = 1 << 20
	maxMS      = 600_000
	maxExtra   = 64
	maxSlots   = 1024 // registered files, provided buffers
	maxSpin    = 10   // s
	maxFD      = 1 << 30
)

// op is an action that the puppet knows.
type op struct {
	control.Op
	maxN int // bound of n; 0 is maxN
	run  func(*Puppet, *Action) error
}

var ops = []op{
	{Op: control.NewOp("setup", "entries?", "cq_entries?", "flags?", "idle?", "thread?"), run: (*Puppet).doSetup},
	{Op: control.NewOp("make", "what", "n?"), run: (*Puppet).doMake},
	{
		Op: control.NewOp("queue", "ring", "what", "n?", "fd?", "to?", "len?", "ms?", "target?", "link?", "hardlink?",
			"drain?", "async?", "skip?", "fixed?", "buffer?", "select?", "user_data?"),
		maxN: maxEntries, run: (*Puppet).doQueue,
	},
	{Op: control.NewOp("submit", "ring", "n?", "wait?", "thread?"), maxN: maxEntries, run: (*Puppet).doSubmit},
	{Op: control.NewOp("reap", "ring", "n?"), maxN: 2*maxEntries + maxExtra, run: (*Puppet).doReap},
	{Op: control.NewOp("flush", "ring", "thread?"), run: (*Puppet).doFlush},
	{Op: control.NewOp("overflow", "ring", "extra?"), run: (*Puppet).doOverflow},
	{Op: control.NewOp("wakeup", "ring", "thread?"), run: (*Puppet).doWakeup},
	{Op: control.NewOp("register", "ring", "what", "n?"), maxN: maxSlots, run: (*Puppet).doRegister},
	{Op: control.NewOp("unregister", "ring", "what"), run: (*Puppet).doUnregister},
	{Op: control.NewOp("ready", "fd"), run: (*Puppet).doReady},
	{Op: control.NewOp("write", "fd", "n?"), maxN: maxUnread, run: (*Puppet).doWrite},
	{Op: control.NewOp("read", "fd", "n?"), maxN: maxRead, run: (*Puppet).doRead},
	{Op: control.NewOp("drain", "fd"), run: (*Puppet).doDrain},
	{Op: control.NewOp("close", "fd"), run: (*Puppet).doClose},
	{Op: control.NewOp("connect", "fd", "n?"), run: (*Puppet).doConnect},
	{Op: control.NewOp("bad_index", "ring"), run: (*Puppet).doBadIndex},
	{Op: control.NewOp("scribble", "ring", "what"), run: (*Puppet).doScribble},
	{Op: control.NewOp("mend", "ring"), run: (*Puppet).doMend},
	{Op: control.NewOp("spin", "ring", "seconds?", "batch?"), run: (*Puppet).doSpin},
}

// parse decodes an action strictly and finds its op.
func parse(data json.RawMessage) (*Action, *op, error) {
	known := make([]control.Op, 0, len(ops))
	for i := range ops {
		known = append(known, ops[i].Op)
	}
	var a Action
	i, err := control.Pick(data, "the ring puppet", known, &a)
	if err != nil {
		return nil, nil, err
	}
	if err := a.check(&ops[i]); err != nil {
		return nil, nil, err
	}
	return &a, &ops[i], nil
}

func (a *Action) check(o *op) error {
	if a.Seconds != nil && !(*a.Seconds > 0 && *a.Seconds <= maxSpin) {
		return control.Errorf("bad_action", "seconds is %v, want more than 0 and up to %d", *a.Seconds, maxSpin)
	}
	return control.Check(
		control.Bound{Name: "n", Value: a.N, Min: 1, Max: cmp.Or(o.maxN, maxN)},
		control.Bound{Name: "ring", Value: a.Ring, Min: -1, Max: maxFD},
		control.Bound{Name: "entries", Value: a.Entries, Min: 1, Max: maxEntries},
		control.Bound{Name: "cq_entries", Value: a.CQEntries, Min: 1, Max: 2 * maxEntries},
		control.Bound{Name: "idle", Value: a.Idle, Min: 1, Max: maxIdle},
		control.Bound{Name: "fd", Value: a.FD, Min: -1, Max: maxFD},
		control.Bound{Name: "to", Value: a.To, Min: -1, Max: maxFD},
		control.Bound{Name: "len", Value: a.Len, Min: 1, Max: maxLen},
		control.Bound{Name: "ms", Value: a.MS, Min: 0, Max: maxMS},
		control.Bound{Name: "buffer", Value: a.Buffer, Min: 0, Max: maxSlots},
		control.Bound{Name: "wait", Value: a.Wait, Min: 0, Max: 2 * maxEntries},
		control.Bound{Name: "thread", Value: a.Thread, Min: 1, Max: maxThreads},
		control.Bound{Name: "extra", Value: a.Extra, Min: 1, Max: maxExtra},
		control.Bound{Name: "batch", Value: a.Batch, Min: 1, Max: maxEntries},
	)
}

// ours refuses the puppet's own line. An fd that is not open, even -1, is the
// kernel's to refuse.
func ours(fd int) error {
	if fd < 0 || fd > 2 {
		return nil
	}
	return &control.Error{
		Code:    "not_ours",
		Message: fmt.Sprintf("fd %d is the puppet's line to the server", fd),
		Fix:     "use an fd that the puppet made, 3 or above",
	}
}
