package experiment

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Want is what a part of a claim asks of a measurement:
//
//	ratio <= 0.77            the variant needs at most 77 % of the other
//	ratio >= 1.3             at least 1.3 times as much
//	ratio in 0.9 .. 1.1      about the same
//	ratio == 1/32768         exactly that, of counts
//	value == 1048576         the value itself; also <=, >=, in
//
// An inequality decides with the whole confidence interval: it holds if all of
// it lies on the right side of the bound, does not hold if all of it lies on the
// wrong side, and is unclear in between.
type Want struct {
	ratio    bool    // of two variants; else the value of one
	low      float64 // the bounds of what is wanted; -Inf, +Inf where open
	high     float64
	original string
}

// floorOfWants is how near 1 a bound of a ratio may lie: closer, no machine
// that people have tells the difference from none.
const floorOfWants = 0.03

// roundOff is how much a ratio of counts may differ from what is wanted: it
// has been a logarithm.
const roundOff = 1e-9

// parseBound reads a number or a fraction of two.
func parseBound(text string) (float64, error) {
	over, under, fraction := strings.Cut(text, "/")
	v, err := strconv.ParseFloat(over, 64)
	if err != nil || !fraction {
		return v, err
	}
	by, err := strconv.ParseFloat(under, 64)
	return v / by, err
}

// ParseWant reads one.
func ParseWant(s string) (Want, error) {
	fail := func(why string) (Want, error) {
		return Want{}, fmt.Errorf(`want %q: %s; write "ratio <= 0.77", "ratio in 0.9 .. 1.1" or "value == 32"`, s, why)
	}
	f := strings.Fields(s)
	if len(f) < 3 {
		return fail("too short")
	}
	w := Want{low: math.Inf(-1), high: math.Inf(1), original: strings.Join(f, " ")}
	switch f[0] {
	case "ratio":
		w.ratio = true
	case "value":
	default:
		return fail("it begins with neither ratio nor value")
	}
	var bounds []float64
	for _, text := range f[2:] {
		if text == ".." {
			continue
		}
		v, err := parseBound(text)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return fail(strconv.Quote(text) + " is no number")
		}
		bounds = append(bounds, v)
	}
	switch {
	case f[1] == "<=" && len(f) == 3:
		w.high = bounds[0]
	case f[1] == ">=" && len(f) == 3:
		w.low = bounds[0]
	case f[1] == "==" && len(f) == 3 && w.ratio:
		w.low, w.high = bounds[0]*(1-roundOff), bounds[0]*(1+roundOff)
	case f[1] == "==" && len(f) == 3:
		w.low, w.high = bounds[0], bounds[0]
	case f[1] == "in" && len(f) == 5 && f[3] == ".." && bounds[0] < bounds[1]:
		w.low, w.high = bounds[0], bounds[1]
	default:
		return fail("it has no bound that can be read")
	}
	for _, b := range bounds {
		if w.ratio && b <= 0 {
			return fail("a ratio is above 0")
		}
		if w.ratio && f[1] != "in" && math.Abs(math.Log(b)) < math.Log1p(floorOfWants)-1e-9 {
			return fail("a bound so near 1 cannot be told from no difference")
		}
	}
	return w, nil
}

func (w Want) String() string { return w.original }

// MarshalText and UnmarshalText make it a text in JSON.
func (w Want) MarshalText() ([]byte, error) { return []byte(w.original), nil }

// UnmarshalText reads one.
func (w *Want) UnmarshalText(b []byte) error {
	parsed, err := ParseWant(string(b))
	if err != nil {
		return err
	}
	*w = parsed
	return nil
}

// The outcomes of a part.
const (
	outcomeHolds   = "holds"
	outcomeNot     = "does not hold"
	outcomeUnclear = "unclear"
	outcomeMissing = "missing"
)

// outcome judges the confidence interval low…high of what was measured.
func (w Want) outcome(low, high float64) string {
	switch {
	case low >= w.low && high <= w.high:
		return outcomeHolds
	case low > w.high || high < w.low:
		return outcomeNot
	}
	return outcomeUnclear
}
