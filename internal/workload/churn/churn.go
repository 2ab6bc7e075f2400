// Package churn is a process that changes an epoll instance as fast as it can,
// for tests and benchmarks of whoever watches: random calls from several
// threads up to a quiescent point, a tight loop that measures its own CPU
// time, or an instance with a million items. Like the puppet it makes plain
// system calls only, and its instance is the only one of the process.
package churn

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

// Action is one thing to do.
//
//	{"op":"setup","items":1000,"threads":2,"seed":7}  an instance with so many eventfds; first of all
//	{"op":"run","ops":100000}                         random calls; answered at the quiescent point after them
//	{"op":"adddel","ms":1000}                         ADD and DEL of one fd at full speed
//	{"op":"getppid","ms":1000}                        a call that has nothing to do with epoll, at full speed
//	{"op":"forest","children":56,"items":18000}       that many items from each child that inherits the instance
type Action struct {
	Op       string `json:"op"`
	Items    int    `json:"items,omitempty"`
	Threads  int    `json:"threads,omitempty"`
	Seed     uint64 `json:"seed,omitempty"`
	Ops      int    `json:"ops,omitempty"`
	MS       int    `json:"ms,omitempty"`
	Children int    `json:"children,omitempty"`
}

// Bounds of an action.
const (
	maxItems    = 18_000 // RLIMIT_NOFILE is often 20,000
	maxThreads  = 4
	maxOps      = 50_000_000
	maxMS       = 120_000
	maxChildren = 64
)

// Result is what an action did. Zero fields do not apply to it.
type Result struct {
	EpFD  int            `json:"epfd"`
	Items int            `json:"items"`           // in the instance, after it
	Ops   int            `json:"ops"`             // system calls of the loop
	Kinds map[string]int `json:"kinds,omitempty"` // how often each kind of change was made
	CPU   int64          `json:"cpu_ns"`          // CLOCK_THREAD_CPUTIME_ID of the loop; of run the sum of its threads
	Wall  int64          `json:"wall_ns"`
}

// State is what must be in the instance at a quiescent point.
type State struct {
	EpFD   int    `json:"epfd"`
	Items  []Item `json:"items"`  // of the process itself, by fd
	Forest int    `json:"forest"` // items that children added
}

// Item is one item of the instance.
type Item struct {
	FD     int    `json:"fd"`     // of the key; it may be closed, or another file by now
	Events uint32 `json:"events"` // as the kernel keeps them: with EPOLLERR and EPOLLHUP
	Data   uint64 `json:"data"`
}

// memoryLimit is where the garbage collector sets in; see package puppet.
const memoryLimit = 384 << 20

// Main is the life of the workload. It returns when its control line ends.
// Its arguments are for the children that it starts.
func Main(args []string) error {
	if len(args) > 0 {
		return limb(args)
	}
	if err := control.Quiet("churn"); err != nil {
		return fmt.Errorf("churn: %w", err)
	}
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	// Threads never yield, so each needs a processor of the Go scheduler.
	runtime.GOMAXPROCS(maxThreads + 2)
	runtime.LockOSThread()
	return control.Serve(control.FD(0), control.NewOut(control.FD(1)), &churn{epfd: -1})
}

type churn struct {
	epfd   int // -1 before setup
	pools  []*pool
	forest []child
	grown  int // items that children added
}

var ops = map[string]func(*churn, *Action) (Result, error){
	"setup":   (*churn).setup,
	"run":     (*churn).run,
	"adddel":  (*churn).addDel,
	"getppid": (*churn).getppid,
	"forest":  (*churn).plant,
}

// Do carries out one action.
func (c *churn) Do(data json.RawMessage) (any, error) {
	var a Action
	if err := control.Decode(data, &a); err != nil {
		return nil, control.Errorf("bad_action", "the action does not fit: %v", err)
	}
	do := ops[a.Op]
	if do == nil {
		return nil, control.Errorf("unknown_op", "unknown op %q; churn knows setup, run, adddel, getppid, forest", a.Op)
	}
	if (a.Op == "setup") != (c.epfd < 0) {
		return nil, control.Errorf("bad_action", "setup comes first, and once")
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	r, err := do(c, &a)
	if err != nil {
		return nil, err
	}
	r.EpFD, r.Items = c.epfd, len(c.items())+c.grown
	return r, nil
}

func (a *Action) check() error {
	var wrong []string
	for _, v := range []struct {
		name       string
		value, max int
	}{
		{"items", a.Items, maxItems}, {"threads", a.Threads, maxThreads}, {"ops", a.Ops, maxOps},
		{"ms", a.MS, maxMS}, {"children", a.Children, maxChildren},
	} {
		if v.value < 0 || v.value > v.max {
			wrong = append(wrong, fmt.Sprintf("%s is %d, want 0 to %d", v.name, v.value, v.max))
		}
	}
	if len(wrong) > 0 {
		return control.Errorf("bad_action", "%s", strings.Join(wrong, "; "))
	}
	return nil
}

func (c *churn) setup(a *Action) (Result, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return Result{}, fmt.Errorf("epoll_create1: %w", err)
	}
	c.epfd = epfd
	threads := max(a.Threads, 1)
	for n := range threads {
		size := a.Items / threads
		if n < a.Items%threads {
			size++
		}
		p, err := newPool(epfd, size, a.Seed, uint64(n))
		if err != nil {
			return Result{}, err
		}
		c.pools = append(c.pools, p)
	}
	return Result{}, nil
}

// run shares the calls among the threads and waits for all of them.
func (c *churn) run(a *Action) (Result, error) {
	r := Result{Kinds: map[string]int{}}
	wall := now()
	done := make(chan spent, len(c.pools))
	for n, p := range c.pools {
		share := a.Ops / len(c.pools)
		if n < a.Ops%len(c.pools) {
			share++
		}
		go func() { done <- p.run(share) }()
	}
	var failed error
	for range c.pools {
		s := <-done
		r.Ops += s.ops
		r.CPU += s.cpu
		for kind, n := range s.kinds {
			r.Kinds[changes[kind].name] += n
		}
		if s.err != nil {
			failed = s.err
		}
	}
	r.Wall = now() - wall
	return r, failed
}

func (c *churn) State() any {
	return State{EpFD: c.epfd, Items: c.items(), Forest: c.grown}
}
