package experiment

import (
	"math"
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
