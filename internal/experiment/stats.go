package experiment

import (
	"math"
	"slices"
)

// The statistics assume nothing of the distribution of a trial's figures, which
// has a heavy tail on any machine that does something else besides, and that
// the machine may drift during a run:
//
//   - A variant is described by median and quartiles.
//   - A comparison pairs the trials by round, so that a drift slower than a
//     round cancels, and takes the ratio of each pair. Reported is the median
//     ratio with the interval between two order statistics of the ratios, whose
//     confidence the binomial distribution gives exactly: the inversion of the
//     sign test (Conover, Practical Nonparametric Statistics, 3.2; Hollander and
//     Wolfe, Nonparametric Statistical Methods, 3.6). It assumes only that rounds
//     are independent. With ties it covers more than it says, never less.
//   - Five rounds reach 93.75 %, six or more 95 %.
//   - A difference is clear where the interval excludes 1 by more than the noise
//     floor: what the baseline differs from itself in this run, at least 3 %.

// wantedLevel is the confidence that intervals have where the number of rounds
// allows it.
const wantedLevel = 0.95

// fewest pairs that a clear difference or a verdict may rest on: with four, one
// in eight intervals misses.
const fewest = 5

// noiseFloor is the least difference that is taken for one.
const noiseFloor = 0.03

// summarise describes the trials of a variant. There must be one.
func summarise(values []float64) Summary {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	s := Summary{
		Values: values,
		Median: quantile(sorted, 0.5),
		Low:    quantile(sorted, 0.25),
		High:   quantile(sorted, 0.75),
		Min:    sorted[0],
		Max:    sorted[len(sorted)-1],
	}
	switch half := (s.High - s.Low) / 2; {
	case half == 0:
	case s.Median == 0:
		s.Spread = 1
	default:
		s.Spread = half / math.Abs(s.Median)
	}
	return s
}

// quantile interpolates between order statistics (Hyndman and Fan, definition
// 7).
func quantile(sorted []float64, p float64) float64 {
	at := p * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	if math.IsInf(sorted[i], 0) {
		return sorted[i] // the logarithm of a ratio of 0
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// interval is a confidence interval of a median.
type interval struct {
	median, low, high float64
	level             float64 // that it has: wantedLevel or more, or the best that this many values allow
}

// medianInterval is that of the distribution that the values were drawn from.
// There must be one value.
func medianInterval(values []float64) interval {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	n := len(sorted)
	k, level := order(n)
	return interval{quantile(sorted, 0.5), sorted[k-1], sorted[n-k], level}
}

// order is the rank from either end of the order statistics that enclose the
// median of a distribution with at least wantedLevel, or the outermost; and the
// level that they have: P(k <= B <= n-k) with B binomial (n, 1/2).
func order(n int) (k int, level float64) {
	tail := math.Ldexp(1, -n) // P(B <= k-1)
	term := tail              // P(B = k-1)
	k, level = 1, 1-2*tail
	for {
		term *= float64(n-k+1) / float64(k)
		next := 1 - 2*(tail+term)
		if next < wantedLevel {
			return k, level
		}
		tail += term
		k, level = k+1, next
	}
}

// ratios pairs the trials of a variant with those of the baseline by round. A
// pair with a baseline of 0 has no ratio and is left out; two zeros are equal.
// NaN stands for a trial that failed.
func ratios(variant, baseline []float64) []float64 {
	var logs []float64
	for i := range min(len(variant), len(baseline)) {
		v, b := variant[i], baseline[i]
		switch {
		case math.IsNaN(v) || math.IsNaN(b) || v < 0 || b < 0:
		case v == b:
			logs = append(logs, 0)
		case b > 0:
			logs = append(logs, math.Log(v/b)) // of 0 it is -Inf, which sorts first
		}
	}
	return logs
}

// compare compares a variant with the baseline by the logarithms of their
// ratios. floor is the noise floor as a logarithm; it is nothing for counts
// that are exact.
func compare(logs []float64, floor float64, exact bool) (c Comparison, ok bool) {
	if len(logs) == 0 {
		return Comparison{}, false
	}
	in := medianInterval(logs)
	least := math.Log1p(noiseFloor)
	if exact {
		least = 0
		in.low, in.high, in.level, floor = slices.Min(logs), slices.Max(logs), 1, 0
	}
	c = Comparison{Ratio: math.Exp(in.median), Low: math.Exp(in.low), High: math.Exp(in.high), Level: in.level}
	switch {
	case in.low > floor || in.high < -floor:
		c.Clear = exact || len(logs) >= fewest
		if !c.Clear {
			c.Why = "few"
		}
	case in.low >= -least && in.high <= least:
		c.Why = "tie"
	case len(logs) < fewest && !exact:
		c.Why = "few"
	default:
		c.Why = "noise"
	}
	return c, true
}

// floorOf is the noise floor of a series, as a logarithm: how much the medians
// of the baseline's odd and even trials differ, an A/A comparison, and at
// least noiseFloor.
func floorOf(baseline []float64) float64 {
	least := math.Log1p(noiseFloor)
	var halves [2][]float64
	for i, v := range baseline {
		if !math.IsNaN(v) && v > 0 {
			halves[i%2] = append(halves[i%2], v)
		}
	}
	if len(halves[1]) < 2 {
		return least
	}
	for _, h := range halves {
		slices.Sort(h)
	}
	return max(least, math.Abs(math.Log(quantile(halves[0], 0.5)/quantile(halves[1], 0.5))))
}
