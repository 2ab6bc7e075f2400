package workload

import (
	"fmt"
	"slices"
	"testing"

	"kernelviz/internal/workload/herd"
)

// TestHerd: a level-triggered listening socket in many instances wakes all of
// them; EPOLLEXCLUSIVE and SO_REUSEPORT wake one.
func TestHerd(t *testing.T) {
	p := start(t, "herd")
	const workers, connections = 8, 100
	for i, c := range []struct {
		mode     string
		min, max float64 // switches
	}{
		{"shared", 0.7 * workers, 1.5 * workers},
		{"exclusive", 0.9, 3},
		{"reuseport", 0.9, 3},
		{"oneinstance", 0.9, 1.5 * workers},
	} {
		r := answer[herd.Run](t, p, `{"op":"run","mode":"%s","workers":%d,"connections":%d}`, c.mode, workers, connections)
		t.Logf("%+v", r)
		if r.Seq != i+1 || r.Mode != c.mode || r.Workers != workers || r.Connections != connections || r.Stopped != nil {
			t.Errorf("run: %+v", r)
		}
		if r.Switches < c.min || r.Switches > c.max {
			t.Errorf("%s: %.2f switches a connection, want %.1f to %.1f", c.mode, r.Switches, c.min, c.max)
		}
		if r.Returns < 1 || r.Returns > workers || r.Empty < r.Returns-1.01 || r.Empty > r.Returns {
			t.Errorf("%s: %.2f returns and %.2f empty accepts a connection", c.mode, r.Returns, r.Empty)
		}
	}
}

func TestHerdKeepsItsRuns(t *testing.T) {
	p := start(t, "herd")
	if s := stateOf[herd.State](t, p); s.Runs == nil || len(s.Runs) != 0 {
		t.Errorf("at first: %+v", s)
	}
	open := openFDs(t, p.PID())
	for range 70 {
		answer[herd.Run](t, p, `{"op":"run","mode":"oneinstance","workers":2,"connections":1}`)
	}
	s := stateOf[herd.State](t, p)
	if len(s.Runs) != 64 || s.Runs[0].Seq != 7 || s.Runs[63].Seq != 70 {
		t.Errorf("%d runs, from %d to %d", len(s.Runs), s.Runs[0].Seq, s.Runs[len(s.Runs)-1].Seq)
	}
	// The defaults, and the most.
	if r := answer[herd.Run](t, p, `{"op":"run","mode":"exclusive"}`); r.Workers != 16 || r.Connections != 200 {
		t.Errorf("defaults: %+v", r)
	}
	if r := answer[herd.Run](t, p, `{"op":"run","mode":"reuseport","workers":64,"connections":20}`); r.Workers != 64 || r.Connections != 20 {
		t.Errorf("64 workers: %+v", r)
	}
	// Nothing stays behind of a run.
	if now := openFDs(t, p.PID()); fmt.Sprint(now) != fmt.Sprint(open) {
		t.Errorf("open are %v, before the runs %v", now, open)
	}
}

func TestHerdRefuses(t *testing.T) {
	p := start(t, "herd")
	refuses(t, p, map[string]string{
		`{"op":"race"}`:                                    `unknown_op: unknown op "race"; herd knows run`,
		`{"op":"run"}`:                                     `bad_action: op run needs field "mode"`,
		`{"op":"run","mode":"mixed"}`:                      `bad_action: unknown mode "mixed"; known are shared, exclusive, reuseport, oneinstance`,
		`{"op":"run","mode":"shared","workers":65}`:        `bad_action: workers is 65, want 1 to 64`,
		`{"op":"run","mode":"shared","workers":0}`:         `bad_action: workers is 0, want 1 to 64`,
		`{"op":"run","mode":"shared","connections":2001}`:  `bad_action: connections is 2001, want 1 to 2000`,
		`{"op":"run","mode":"shared","n":1}`:               `bad_action: the action does not fit: json: unknown field "n"`,
		`{"op":"run","mode":"shared","workers":"sixteen"}`: `bad_action: the action does not fit: json: cannot unmarshal string into Go struct field Action.workers of type int`,
	})
}

func TestNames(t *testing.T) {
	if got := Names(); !slices.Equal(got, []string{"puppet", "ring"}) {
		t.Errorf("the page may start %v", got)
	}
	got := LabNames()
	slices.Sort(got)
	if !slices.Equal(got, []string{"clients", "herd", "puppet", "readiness", "ring"}) {
		t.Errorf("a lab may start %v", got)
	}
}
