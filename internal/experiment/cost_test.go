//go:build !race

package experiment

import "testing"

// TestRunnerCost: what the runner itself uses while trials run is next to
// nothing. The issue allows 2 %.
func TestRunnerCost(t *testing.T) {
	f := newFixture(t, nil)
	r := f.run(t, t.Context(), define("work"), Options{Quick: true})
	used := 0.0
	for _, v := range variant(t, r, "work").Metrics["cpu"].Values {
		used += v
	}
	if used < 0.7 || r.Runner <= 0 || r.Runner > 0.02*used {
		t.Errorf("the runner used %.4f s beside %.3f s of trials", r.Runner, used)
	}
}
