package session

import (
	"slices"
	"testing"
	"time"

	"kernelviz/internal/workload"
)

// A step is not passed by a call that was made before it was armed, however
// late that is reported; a wait that returns later does count.
func TestCallsSinceArming(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	call := func(seq uint64, at time.Duration, pending bool) workload.Call {
		return workload.Call{Seq: seq, Time: began.Add(at).Format(time.RFC3339Nano), Pending: pending}
	}
	const armed = 10 * time.Second
	for _, tt := range []struct {
		name          string
		before, after []workload.Call
		want          []uint64
	}{
		{"made after", nil, []workload.Call{call(1, 11*time.Second, false)}, []uint64{1}},
		{"made before, reported before", []workload.Call{call(1, 9*time.Second, false)}, nil, nil},
		{"made before, reported after", nil, []workload.Call{call(1, 9*time.Second, false)}, nil},
		{"wait that returns", []workload.Call{call(1, time.Second, true)}, []workload.Call{call(1, time.Second, false)}, []uint64{1}},
		{"wait that goes on", nil, []workload.Call{call(1, 9*time.Second, true)}, nil},
		{"wait reported late that returns", nil, []workload.Call{call(1, 9*time.Second, true), call(2, 11*time.Second, false), call(1, 9*time.Second, false)}, []uint64{2, 1}},
		{"wait told twice", []workload.Call{call(1, time.Second, true)}, []workload.Call{call(1, time.Second, false), call(1, time.Second, false)}, []uint64{1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l callList
			l.add(tt.before)
			l.restart(began.Add(armed))
			l.add(tt.after)
			var got []uint64
			for _, c := range l.all {
				got = append(got, c.Seq)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("calls %v, want %v", got, tt.want)
			}
		})
	}
	// A wait outlives two armings.
	var l callList
	l.add([]workload.Call{call(1, 0, true)})
	l.restart(began.Add(armed))
	l.restart(began.Add(armed))
	l.add([]workload.Call{call(1, 0, false)})
	if len(l.all) != 1 {
		t.Errorf("%d calls, want the wait that returned", len(l.all))
	}
}
