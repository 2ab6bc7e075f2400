package main

import (
	"math"
	"slices"
)

// series is measurements of one thing in one unit.
type series []float64

// at is the value below which the share q of the measurements lie, by linear
// interpolation. It is NaN for an empty series.
func (s series) at(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	place := q * float64(len(sorted)-1)
	i := int(place)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (place-float64(i))*(sorted[i+1]-sorted[i])
}

// over divides pairwise: s and base were measured in turn, in the same rounds.
func (s series) over(base series) series {
	out := make(series, 0, len(s))
	for i := range min(len(s), len(base)) {
		out = append(out, s[i]/base[i])
	}
	return out
}

// times multiplies all by a factor.
func (s series) times(factor float64) series {
	out := make(series, len(s))
	for i, v := range s {
		out[i] = factor * v
	}
	return out
}
