package uring

import (
	"fmt"

	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// Shown is a snapshot for people and scripts: `labserver show uring`.
type Shown struct {
	Ring         uint32          `json:"ring"`
	Setup        []string        `json:"setup"` // without the prefix IORING_SETUP_
	SQ           ShownQueue      `json:"sq"`
	CQ           ShownQueue      `json:"cq"`
	CachedSQHead uint32          `json:"cached_sq_head"` // the kernel's own
	CachedCQTail uint32          `json:"cached_cq_tail"`
	SQDropped    uint32          `json:"sq_dropped"`
	CQOverflow   uint32          `json:"cq_overflow"`   // lost for good
	OverflowList uint32          `json:"overflow_list"` // kept until there is room
	InFlight     int32           `json:"inflight"`      // -1 unknown
	Armed        uint32          `json:"armed"`
	Files        uint32          `json:"files"`
	Buffers      uint32          `json:"buffers"`
	Thread       *ShownThread    `json:"sqpoll,omitempty"`
	Workers      []ShownThread   `json:"workers"` // io-wq
	SQEs         []ShownSQE      `json:"sqes"`
	CQEs         []ShownCQE      `json:"cqes"`
	Requests     []ShownRequest  `json:"requests"`
	Resources    []ShownResource `json:"resources"`
	Unseen       []string        `json:"unseen,omitempty"` // what this tier cannot see of this ring
	Truth        ShownTruth      `json:"truth"`
}

// ShownQueue is one of the two queues.
type ShownQueue struct {
	Entries uint32   `json:"entries"`
	Head    uint32   `json:"head"`
	Tail    uint32   `json:"tail"`
	Pending uint32   `json:"pending"` // tail − head
	Flags   []string `json:"flags"`   // NEED_WAKEUP, CQ_OVERFLOW, TASKRUN; EVENTFD_DISABLED
}

// ShownThread is a kernel thread that works for the ring.
type ShownThread struct {
	TID    uint32 `json:"tid"`
	Comm   string `json:"comm"`
	State  string `json:"state"` // "running", "asleep" or "unknown"
	CPU    int32  `json:"cpu"`
	TimeNS uint64 `json:"time_ns"` // CPU time
}

// ShownSQE is a pending SQE.
type ShownSQE struct {
	Position uint32 `json:"position"`
	Index    uint32 `json:"index"`
	Bad      bool   `json:"bad,omitempty"` // the index lies outside of the array
	Op       string `json:"op"`            // "READ"
	FD       int32  `json:"fd"`
	Off      uint64 `json:"off"`
	Addr     uint64 `json:"addr"` // in the owner
	Len      uint32 `json:"len"`
	UserData uint64 `json:"user_data"`
	Flags    string `json:"flags"`
}

// ShownCQE is an unread CQE.
type ShownCQE struct {
	Position uint32 `json:"position"`
	UserData uint64 `json:"user_data"`
	Res      int32  `json:"res"`
	Error    string `json:"error,omitempty"` // name of -res
	Flags    string `json:"flags"`
}

// ShownRequest is a request that the kernel holds.
type ShownRequest struct {
	Op        string `json:"op"`
	UserData  uint64 `json:"user_data"`
	Where     string `json:"where"` // "submitted", "armed", "punted", "task_work" or "timeout"
	FD        int32  `json:"fd"`    // -1 unknown
	Multishot bool   `json:"multishot,omitempty"`
	Posted    uint32 `json:"posted,omitempty"`
}

// ShownResource is a registered file or buffer.
type ShownResource struct {
	Kind string `json:"kind"` // "file" or "buffer"
	Slot uint32 `json:"slot"`
	Name string `json:"name,omitempty"`
	Addr uint64 `json:"addr,omitempty"`
	Len  uint64 `json:"len,omitempty"`
}

// ShownTruth says how far the snapshot can be trusted.
type ShownTruth struct {
	Tier    string `json:"tier"`
	Whole   bool   `json:"whole"`
	Broken  string `json:"broken,omitempty"`
	Instant bool   `json:"instant"`
	Torn    uint64 `json:"torn"`
	Lost    uint64 `json:"lost"`
	ReadNS  int64  `json:"read_ns"`
	CheckNS int64  `json:"check_ns"`
}

// brokenText is indexed by kernelviz.Broken.
var brokenText = [...]string{
	"", "a part of the ring could not be read", "ring_mask was not ring_entries − 1", "ring_entries was not that of the io_ring_ctx",
	"sq.tail was more than a queue's length ahead of sq.head", "cq.tail was more than a queue's length ahead of cq.head",
	"sq.head was not where the kernel's cached_sq_head allows", "sq.tail was behind what the kernel has taken",
	"cq.tail was ahead of the kernel's cached_cq_tail",
}

// seenWords names the bits of RingRow.Seen, from the lowest.
var seenWords = []string{
	"heads", "sqes", "cqes", "cached", "requests", "thread", "workers", "resources", "overflow", "lives", "inflight",
}

// threadWords is indexed by wire.Thread*.
var threadWords = [...]string{"", "running", "asleep", "unknown"}

// Show puts the snapshot into words.
func (s *Snapshot) Show(tiers []kernelviz.Tier) Shown {
	r := &s.ring
	out := Shown{
		Ring: r.ID, Setup: iouring.SetupList(r.Setup),
		SQ:           ShownQueue{Entries: r.SQEntries, Head: r.SQHead, Tail: r.SQTail, Pending: r.SQTail - r.SQHead, Flags: []string{}},
		CQ:           ShownQueue{Entries: r.CQEntries, Head: r.CQHead, Tail: r.CQTail, Pending: r.CQTail - r.CQHead, Flags: []string{}},
		CachedSQHead: r.CachedSQHead, CachedCQTail: r.CachedCQTail, SQDropped: r.SQDropped, CQOverflow: r.CQOverflow,
		OverflowList: r.OverflowList, InFlight: r.InFlight, Armed: r.Armed, Files: r.Files, Buffers: r.Buffers,
		Workers: []ShownThread{}, SQEs: []ShownSQE{}, CQEs: []ShownCQE{}, Requests: []ShownRequest{}, Resources: []ShownResource{},
		Truth: ShownTruth{
			Tier: tiers[s.truth.Tier].Name, Whole: s.truth.Whole, Instant: s.truth.Instant, Torn: s.truth.Torn, Lost: s.truth.Lost,
			ReadNS: int64(s.truth.Read), CheckNS: int64(s.truth.Check),
		},
	}
	if out.Setup == nil {
		out.Setup = []string{}
	}
	for bit, name := range []string{"NEED_WAKEUP", "CQ_OVERFLOW", "TASKRUN"} {
		if r.SQFlags&(1<<bit) != 0 {
			out.SQ.Flags = append(out.SQ.Flags, name)
		}
	}
	if r.CQFlags&iouring.CQEventfdDisabled != 0 {
		out.CQ.Flags = append(out.CQ.Flags, "EVENTFD_DISABLED")
	}
	if int(s.truth.Broken) < len(brokenText) {
		out.Truth.Broken = brokenText[s.truth.Broken]
	}
	for bit, name := range seenWords {
		if r.Seen&(1<<bit) == 0 {
			out.Unseen = append(out.Unseen, name)
		}
	}
	s.showThreads(&out)
	s.showLists(&out)
	return out
}

func (s *Snapshot) showThreads(out *Shown) {
	for i := range s.workers {
		w := &s.workers[i]
		t := ShownThread{TID: w.TID, Comm: text(w.Comm[:]), State: threadWords[w.State], CPU: w.CPU, TimeNS: w.Time}
		if w.Kind == wire.WorkerSQPoll {
			out.Thread = &t
			continue
		}
		out.Workers = append(out.Workers, t)
	}
	if r := &s.ring; out.Thread == nil && r.ThreadPID != 0 {
		out.Thread = &ShownThread{TID: r.ThreadPID, State: threadWords[r.ThreadState], CPU: r.ThreadCPU, TimeNS: r.ThreadTotal * 1000}
	}
}

func (s *Snapshot) showLists(out *Shown) {
	for i := range s.sqes {
		e := &s.sqes[i]
		out.SQEs = append(out.SQEs, ShownSQE{
			Position: e.Position, Index: e.Index, Bad: e.Index >= s.ring.SQEntries, Op: iouring.OpShort(e.Op), FD: e.FD,
			Off: e.Off, Addr: e.Addr, Len: e.Len, UserData: e.UserData, Flags: iouring.SQEFlagNames(e.Flags),
		})
	}
	for i := range s.cqes {
		e := &s.cqes[i]
		out.CQEs = append(out.CQEs, ShownCQE{
			Position: e.Position, UserData: e.UserData, Res: e.Res, Error: errorName(e.Res), Flags: iouring.CQEFlagNames(e.Flags),
		})
	}
	for i := range s.requests {
		r := &s.requests[i]
		out.Requests = append(out.Requests, ShownRequest{
			Op: iouring.OpShort(r.Op), UserData: r.UserData, Where: whereWords[r.Where], FD: r.FD,
			Multishot: r.Flags&wire.RequestMultishot != 0, Posted: r.Posted,
		})
	}
	kinds := []string{"file", "buffer"}
	for i := range s.resources {
		r := &s.resources[i]
		out.Resources = append(out.Resources, ShownResource{
			Kind: kinds[r.Kind], Slot: r.Slot, Name: text(r.Name[:]), Addr: r.Addr, Len: r.Len,
		})
	}
}

// errorName is the name of a negative result, "ECANCELED"; empty if it is none.
func errorName(res int32) string {
	if res >= 0 || res < -4095 {
		return ""
	}
	if name := unix.ErrnoName(unix.Errno(-res)); name != "" {
		return name
	}
	return fmt.Sprintf("errno %d", -res)
}
