package experiment

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestQuantiles(t *testing.T) {
	tests := []struct {
		values []float64
		want   Summary
	}{
		{[]float64{5}, Summary{Median: 5, Low: 5, High: 5, Min: 5, Max: 5}},
		{[]float64{3, 1, 2, 4, 5}, Summary{Median: 3, Low: 2, High: 4, Min: 1, Max: 5, Spread: 1.0 / 3}},
		{[]float64{4, 1, 2, 3}, Summary{Median: 2.5, Low: 1.75, High: 3.25, Min: 1, Max: 4, Spread: 0.3}},
		{[]float64{0, 0, 0}, Summary{}},
		{[]float64{-1, 0, 1}, Summary{Low: -0.5, High: 0.5, Min: -1, Max: 1, Spread: 1}},
	}
	for _, test := range tests {
		got := summarise(test.values)
		if !slices.Equal(got.Values, test.values) {
			t.Errorf("the order of the trials was changed: %v", got.Values)
		}
		for _, f := range []struct {
			name      string
			got, want float64
		}{
			{"median", got.Median, test.want.Median}, {"low", got.Low, test.want.Low}, {"high", got.High, test.want.High},
			{"min", got.Min, test.want.Min}, {"max", got.Max, test.want.Max}, {"spread", got.Spread, test.want.Spread},
		} {
			if math.Abs(f.got-f.want) > 1e-12 {
				t.Errorf("%v: %s %v, want %v", test.values, f.name, f.got, f.want)
			}
		}
	}
}

// TestOrder: ranks and levels as tables of the sign test have them.
func TestOrder(t *testing.T) {
	tests := []struct {
		n, k  int
		level float64
	}{
		{1, 1, 0}, {2, 1, 0.5}, {3, 1, 0.75}, {4, 1, 0.875}, {5, 1, 0.9375}, {6, 1, 0.96875}, {7, 1, 0.984375}, {8, 1, 0.9921875},
		{9, 2, 0.9609375}, {10, 2, 0.978515625}, {15, 4, 0.96484375}, {20, 6, 0.958610534667969}, {30, 10, 0.957226},
	}
	for _, test := range tests {
		k, level := order(test.n)
		if k != test.k || math.Abs(level-test.level) > 1e-6 {
			t.Errorf("n = %d: rank %d, level %.6f, want %d, %.6f", test.n, k, level, test.k, test.level)
		}
	}
}

func TestRatios(t *testing.T) {
	nan := math.NaN()
	tests := []struct {
		variant, baseline, want []float64 // want as ratios
	}{
		{[]float64{2, 4}, []float64{1, 1}, []float64{2, 4}},
		{[]float64{2, 4, 6}, []float64{1, 1}, []float64{2, 4}},
		{[]float64{nan, 4}, []float64{1, 1}, []float64{4}},
		{[]float64{2, 4}, []float64{1, nan}, []float64{2}},
		{[]float64{0, 5}, []float64{0, 0}, []float64{1}},
		{[]float64{0}, []float64{5}, []float64{0}},
		{[]float64{-1}, []float64{5}, nil},
		{nil, []float64{5}, nil},
	}
	for _, test := range tests {
		var got []float64
		for _, l := range ratios(test.variant, test.baseline) {
			got = append(got, math.Round(math.Exp(l)*1e9)/1e9)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%v / %v = %v, want %v", test.variant, test.baseline, got, test.want)
		}
	}
}

func TestCompare(t *testing.T) {
	logs := func(ratios ...float64) []float64 {
		for i, r := range ratios {
			ratios[i] = math.Log(r)
		}
		return ratios
	}
	floor := math.Log(1.03)
	tests := []struct {
		name  string
		logs  []float64
		exact bool
		clear bool
		why   string
	}{
		{"clearly less", logs(0.5, 0.52, 0.48, 0.51, 0.5), false, true, ""},
		{"clearly more", logs(1.5, 1.52, 1.48, 1.51, 1.5), false, true, ""},
		{"less than the noise floor", logs(1.01, 1.02, 1.01, 1.02, 1.01), false, false, "tie"},
		{"both ways", logs(0.5, 1.5, 0.7, 1.4, 1.1), false, false, "noise"},
		{"a little of it beyond", logs(0.98, 0.9, 0.9, 0.9, 0.9), false, false, "noise"},
		{"few", logs(0.5, 0.5, 0.5, 0.5), false, false, "few"},
		{"few and noisy", logs(0.5, 1.5), false, false, "few"},
		{"exact", logs(0.5), true, true, ""},
		{"exact, a little", logs(1.0001), true, true, ""},
		{"exact, the same", logs(1), true, false, "tie"},
		{"zero of something", []float64{math.Inf(-1), math.Inf(-1), math.Inf(-1), math.Inf(-1), math.Inf(-1)}, false, true, ""},
	}
	for _, test := range tests {
		c, ok := compare(test.logs, floor, test.exact)
		if test.why == "noise" {
			if n, _ := compare(test.logs, 5, false); n.Clear || n.Why != "noise" {
				t.Errorf("%s on a noisy machine: %+v", test.name, n)
			}
		}
		if !ok || c.Clear != test.clear || c.Why != test.why || math.IsNaN(c.Ratio) || c.Low > c.Ratio || c.Ratio > c.High {
			t.Errorf("%s: %+v, want clear %t, why %q", test.name, c, test.clear, test.why)
		}
	}
	if _, ok := compare(nil, floor, false); ok {
		t.Error("nothing was compared")
	}
}

func TestFloor(t *testing.T) {
	least := math.Log1p(noiseFloor)
	tests := []struct {
		name     string
		baseline []float64
		want     float64
	}{
		{"quiet", []float64{1, 1, 1, 1, 1}, least},
		{"few", []float64{1, 2, 1}, least},
		{"odd and even differ", []float64{1, 2, 1, 2, 1}, math.Log(2)},
		{"failed trials", []float64{1, math.NaN(), 1, 2, 1, 2}, math.Log(2)},
		{"zeros", []float64{0, 0, 0, 0}, least},
	}
	for _, test := range tests {
		if got := floorOf(test.baseline); math.Abs(got-test.want) > 1e-12 {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

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
