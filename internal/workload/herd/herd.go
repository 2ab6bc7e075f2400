// Package herd is a process whose threads all wait for connections to the same
// port, and which counts how many of them each connection wakes: the thundering
// herd. It makes plain system calls only.
//
// What is counted are voluntary context switches. A thread that is woken and
// finds that another has taken the connection goes back to sleep inside
// epoll_wait, so that a count of returns does not see it.
package herd

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"

	"kernelviz/internal/workload/control"
)

// Bounds of an action, and the runs that the state keeps.
const (
	maxWorkers     = 64
	maxConnections = 2000
	maxRuns        = 64
)

// The ways in which workers may wait.
const (
	shared      = "shared"      // each in an instance of its own, with the same listening socket
	exclusive   = "exclusive"   // the same, with EPOLLEXCLUSIVE
	reuseport   = "reuseport"   // each in an instance of its own, with a listening socket of its own (SO_REUSEPORT)
	oneinstance = "oneinstance" // all in the same instance
)

var modes = []string{shared, exclusive, reuseport, oneinstance}

// Action is one thing to do, in the shape of docs/protocol.md.
type Action struct {
	Op          string `json:"op"`
	Mode        string `json:"mode"`
	Workers     *int   `json:"workers,omitempty"`
	Connections *int   `json:"connections,omitempty"`
}

// Run is what was measured. Switches, Returns and Empty are a connection.
type Run struct {
	Seq         int     `json:"seq"` // from 1
	Mode        string  `json:"mode"`
	Workers     int     `json:"workers"`
	Connections int     `json:"connections"` // made one after the other
	Switches    float64 `json:"switches"`    // voluntary context switches of the workers
	Returns     float64 `json:"returns"`     // of epoll_wait with an event
	Empty       float64 `json:"empty"`       // accept4 that gave EAGAIN
	// Stopped tells why fewer connections were made than asked for.
	Stopped *control.Error `json:"stopped,omitempty"`
}

// State is what was measured so far.
type State struct {
	Runs []Run `json:"runs"` // the latest 64, in order
}

var ops = []control.Op{control.NewOp("run", "mode", "workers?", "connections?")}

// Main is the life of the workload.
func Main() error {
	// Workers block without telling the Go scheduler, which would put them to
	// sleep and so be counted: each keeps a processor of it.
	runtime.GOMAXPROCS(maxWorkers + 4)
	return control.Run("herd", &Herd{runs: []Run{}})
}

// Herd carries out actions.
type Herd struct{ runs []Run }

// Do carries out one action.
func (h *Herd) Do(data json.RawMessage) (any, error) {
	var a Action
	if _, err := control.Pick(data, "herd", ops, &a); err != nil {
		return nil, err
	}
	if !slices.Contains(modes, a.Mode) {
		return nil, control.Errorf("bad_action", "unknown mode %q; known are %s", a.Mode, control.List(modes))
	}
	err := control.Check(
		control.Bound{Name: "workers", Value: a.Workers, Min: 1, Max: maxWorkers},
		control.Bound{Name: "connections", Value: a.Connections, Min: 1, Max: maxConnections},
	)
	if err != nil {
		return nil, err
	}
	r, err := measure(a.Mode, control.Or(a.Workers, 16), control.Or(a.Connections, 200))
	collect()
	if err != nil {
		return nil, fmt.Errorf("measuring %s: %w", a.Mode, err)
	}
	r.Seq = 1
	if n := len(h.runs); n > 0 {
		r.Seq = h.runs[n-1].Seq + 1
	}
	h.runs = append(h.runs, r)
	h.runs = h.runs[max(0, len(h.runs)-maxRuns):]
	return r, nil
}

// State tells what was measured.
func (h *Herd) State() any { return State{Runs: h.runs} }

// collect collects garbage, seldom, while no worker is there: a collection
// would wait for one that is blocked for ever.
func collect() {
	const enough = 64 << 20
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > enough {
		runtime.GC()
	}
}
