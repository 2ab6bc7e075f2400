// Package readiness is a process that measures what it costs to find the ready
// ones among many descriptors: the same server with select, with poll and with
// epoll. It makes plain system calls only.
package readiness

import (
	"encoding/json"
	"fmt"
	"time"

	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

// Bounds of an action, and what the state keeps.
const (
	maxN      = 9000 // twice as many descriptors are opened
	maxRounds = 200
	maxRows   = 192 // 64 runs of three methods
	most      = 20 * time.Second
)

// Action is one thing to do, in the shape of docs/protocol.md.
type Action struct {
	Op     string `json:"op"`
	N      *int   `json:"n,omitempty"`
	Active *int   `json:"active,omitempty"`
	Rounds *int   `json:"rounds,omitempty"`
}

// Row is what one method cost in one run: microseconds of CPU an event.
type Row struct {
	Seq    int     `json:"seq"` // from 1
	Method string  `json:"method"`
	N      int     `json:"n"`      // descriptors watched
	Active int     `json:"active"` // of those, made ready in each round
	Rounds int     `json:"rounds"`
	US     float64 `json:"us"`   // median of the rounds
	Low    float64 `json:"low"`  // first quartile
	High   float64 `json:"high"` // third quartile
}

// Result is what one run measured: a row for each method.
type Result struct {
	Runs []Row `json:"runs"`
	// Stopped tells why fewer rounds were made than asked for.
	Stopped *control.Error `json:"stopped,omitempty"`
}

// State is what was measured so far, the latest 192 rows.
type State struct {
	Runs []Row `json:"runs"`
}

var ops = []control.Op{control.NewOp("run", "n?", "active?", "rounds?")}

// Main is the life of the workload.
func Main() error { return control.Run("readiness", &Readiness{rows: []Row{}}) }

// Readiness carries out actions.
type Readiness struct{ rows []Row }

// Do carries out one action.
func (r *Readiness) Do(data json.RawMessage) (any, error) {
	var a Action
	if _, err := control.Pick(data, "readiness", ops, &a); err != nil {
		return nil, err
	}
	if err := control.Check(control.Bound{Name: "n", Value: a.N, Min: 1, Max: maxN}); err != nil {
		return nil, err
	}
	n := control.Or(a.N, 1000)
	err := control.Check(
		control.Bound{Name: "active", Value: a.Active, Min: 1, Max: n},
		control.Bound{Name: "rounds", Value: a.Rounds, Min: 1, Max: maxRounds},
	)
	if err != nil {
		return nil, err
	}
	if err := room(n); err != nil {
		return nil, err
	}
	res, err := measure(n, control.Or(a.Active, min(10, n)), control.Or(a.Rounds, 30))
	if err != nil {
		return nil, fmt.Errorf("measuring %d descriptors: %w", n, err)
	}
	for i := range res.Runs {
		res.Runs[i].Seq = 1
		if have := len(r.rows); have > 0 {
			res.Runs[i].Seq = r.rows[have-1].Seq + 1
		}
		r.rows = append(r.rows, res.Runs[i])
	}
	r.rows = r.rows[max(0, len(r.rows)-maxRows):]
	return res, nil
}

// State tells what was measured.
func (r *Readiness) State() any { return State{Runs: r.rows} }

// room refuses what the limit of open files does not allow.
func room(n int) error {
	const others = 16 // the control line, the instance, and some to spare
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("getrlimit: %w", err)
	}
	if need := uint64(2*n + others); need > l.Cur {
		return &control.Error{
			Code:    "emfile",
			Message: fmt.Sprintf("%d descriptors need %d open files, %d are allowed (RLIMIT_NOFILE)", n, need, l.Cur),
			Fix:     "measure fewer, or raise the limit (ulimit -n) before the server starts",
		}
	}
	return nil
}
