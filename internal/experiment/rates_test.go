//go:build !race

package experiment

import (
	"math"
	"math/rand/v2"
	"testing"
)

// machine is a simulated machine: what a trial that takes 1 on a quiet one
// gives.
type machine struct {
	name string
	// trial gives the figure of a trial at that place in time; true is what the
	// variant needs.
	trial func(r *rand.Rand, at int, truth float64) float64
}

func machines() []machine {
	lognormal := func(sigma float64) func(*rand.Rand, int, float64) float64 {
		return func(r *rand.Rand, _ int, truth float64) float64 { return truth * math.Exp(sigma*r.NormFloat64()) }
	}
	return []machine{
		{"quiet", lognormal(0.01)},
		{"5 % noise", lognormal(0.05)},
		{"30 % noise", lognormal(0.30)},
		{"heavy tail", func(r *rand.Rand, _ int, truth float64) float64 {
			// Now and then something else runs: Pareto with a shape of 1.2 has no variance.
			v := truth * math.Exp(0.05*r.NormFloat64())
			if r.Float64() < 0.2 {
				v *= math.Pow(1-r.Float64(), -1/1.2)
			}
			return v
		}},
		{"coarse clock", func(r *rand.Rand, _ int, truth float64) float64 {
			// Ties: the figure comes in steps of a tenth.
			return math.Max(math.Round(10*truth*math.Exp(0.05*r.NormFloat64()))/10, 0.1)
		}},
		{"drifting", func(r *rand.Rand, at int, truth float64) float64 {
			return truth * (1 + 0.02*float64(at)) * math.Exp(0.05*r.NormFloat64())
		}},
		{"a step in the middle", func(r *rand.Rand, at int, truth float64) float64 {
			if at >= 9 {
				truth *= 1.5
			}
			return truth * math.Exp(0.05*r.NormFloat64())
		}},
	}
}

// simulate runs an experiment of two variants on a simulated machine, as the
// runner would: in turns, the first of a round being last in the next.
func simulate(r *rand.Rand, m machine, rounds int, effect float64) *Result {
	a, b := make([]float64, rounds), make([]float64, rounds)
	for round := range rounds {
		first, second := 2*round, 2*round+1
		if round%2 == 1 {
			first, second = second, first
		}
		a[round], b[round] = m.trial(r, first, 1), m.trial(r, second, effect)
	}
	return &Result{Series: []SeriesResult{{ID: "s", Baseline: "a", Variants: []VariantResult{
		{ID: "a", Metrics: map[string]Summary{"m": summarise(a)}},
		{ID: "b", Metrics: map[string]Summary{"m": summarise(b)}},
	}}}}
}

// verdictOf is the verdict of a claim that b needs so much of what a needs.
func verdictOf(t *testing.T, r *Result, want string) string {
	t.Helper()
	w, err := ParseWant(want)
	if err != nil {
		t.Fatal(err)
	}
	claim := Claim{ID: "T1", Experiment: "x", Parts: []Part{{Series: "s", Variant: "b", Against: "a", Metric: "m", Want: w}}}
	return Judge(claim, r, Info{ID: "x", Metrics: []Metric{{ID: "m"}}}).Verdict
}

// runs of each simulation. Shares of that many are known to within about one
// percent, which the margins below allow for: three standard errors.
const runs = 4000

func margin(p float64) float64 { return 3 * math.Sqrt(p*(1-p)/runs) }

// TestErrorRates: claims that are not true are found to hold seldom, and true
// ones that stand out from the noise are found to hold.
func TestErrorRates(t *testing.T) {
	for _, rounds := range []int{5, 7, 9} {
		for _, m := range machines() {
			r := rand.New(rand.NewPCG(uint64(rounds), 7))
			holds, clear, both := 0, 0, 0
			for range runs {
				res := simulate(r, m, rounds, 1)
				if verdictOf(t, res, "ratio <= 0.97") == Holds {
					holds++
				}
				if verdictOf(t, res, "ratio <= 0.97") == Holds || verdictOf(t, res, "ratio >= 1.0310") == Holds {
					both++
				}
				s := &res.Series[0]
				base := s.values("a", "m")
				if c, ok := compare(ratios(s.values("b", "m"), base), floorOf(base), false); ok && c.Clear {
					clear++
				}
			}
			const most = 0.05
			if share := float64(holds) / runs; share > most {
				t.Errorf("%s, %d rounds: a claim without effect held in %.2f %% of the runs", m.name, rounds, 100*share)
			}
			// Both ways together it is one less the level of the interval.
			_, level := order(rounds)
			for what, n := range map[string]int{"held one way or the other": both, "was clear": clear} {
				if share := float64(n) / runs; share > 1-level+margin(1-level) {
					t.Errorf("%s, %d rounds: no effect %s in %.2f %% of the runs, level %.4f", m.name, rounds, what, 100*share, level)
				}
			}
		}
	}
}

// TestPower: an effect of 30 % is found at 5 % noise, also in five rounds and
// on a machine that drifts.
func TestPower(t *testing.T) {
	found := map[string]bool{"quiet": true, "5 % noise": true, "drifting": true}
	for _, rounds := range []int{5, 7, 9} {
		for _, m := range machines() {
			if !found[m.name] {
				continue
			}
			r := rand.New(rand.NewPCG(uint64(rounds), 8))
			holds, not, clear := 0, 0, 0
			for range runs {
				res := simulate(r, m, rounds, 0.7)
				if verdictOf(t, res, "ratio <= 0.87") == Holds {
					holds++
				}
				if verdictOf(t, res, "ratio <= 0.5") == DoesNotHold {
					not++
				}
				s := &res.Series[0]
				base := s.values("a", "m")
				if c, ok := compare(ratios(s.values("b", "m"), base), floorOf(base), false); ok && c.Clear {
					clear++
				}
			}
			for what, n := range map[string]int{"a true claim held": holds, "a claim of 50 % did not hold": not, "it was clear": clear} {
				if share := float64(n) / runs; share < 0.95 {
					t.Errorf("%s, %d rounds, effect of 30 %%: %s in %.2f %% of the runs", m.name, rounds, what, 100*share)
				}
			}
		}
	}
}

// TestNoVerdictInNoise: where noise exceeds the effect, the verdict is refused
// rather than wrong.
func TestNoVerdictInNoise(t *testing.T) {
	for _, rounds := range []int{5, 7} {
		m := machine{"50 % noise", func(r *rand.Rand, _ int, truth float64) float64 { return truth * math.Exp(0.5*r.NormFloat64()) }}
		r := rand.New(rand.NewPCG(uint64(rounds), 9))
		verdicts := map[string]int{}
		for range runs {
			verdicts[verdictOf(t, simulate(r, m, rounds, 0.9), "ratio <= 0.95")]++
		}
		if share := float64(verdicts[NoVerdict]) / runs; share < 0.9 {
			t.Errorf("%d rounds: no verdict in %.1f %% of the runs: %v", rounds, 100*share, verdicts)
		}
		if share := float64(verdicts[DoesNotHold]) / runs; share > 0.05 {
			t.Errorf("%d rounds: a true claim was denied in %.1f %% of the runs", rounds, 100*share)
		}
	}
	// Fewer than five rounds allow none, however large the effect.
	r := rand.New(rand.NewPCG(1, 10))
	for range 100 {
		if v := verdictOf(t, simulate(r, machines()[0], 4, 0.1), "ratio <= 0.5"); v != NoVerdict {
			t.Fatalf("four rounds gave %q", v)
		}
	}
}

// TestCoverage: the interval holds the true ratio as often as it says.
func TestCoverage(t *testing.T) {
	for _, rounds := range []int{2, 4, 5, 6, 7, 9, 10, 15} {
		for _, m := range machines() {
			if m.name == "coarse clock" {
				continue // what the clock rounds to has no ratio of 0.8 as its median
			}
			r := rand.New(rand.NewPCG(uint64(rounds), 11))
			holds := 0
			level := 0.0
			const truth = 0.8
			for range runs {
				s := &simulate(r, m, rounds, truth).Series[0]
				c, ok := compare(ratios(s.values("b", "m"), s.values("a", "m")), 0, false)
				if !ok {
					t.Fatal("nothing was compared")
				}
				if level = c.Level; c.Low <= truth && truth <= c.High {
					holds++
				}
			}
			if share := float64(holds) / runs; share < level-margin(level) {
				t.Errorf("%s, %d rounds: the interval held the truth in %.2f %% of the runs, level %.2f %%", m.name, rounds, 100*share, 100*level)
			}
		}
	}
}
