package experiment

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// decimals is how many digits after the point a value with an interval of that
// width may show, negative where it is rounded to tens, hundreds and so on. The
// last digit shown is the first of the width; at least two that count are shown
// and at most four, three where there is no width. The page rounds alike
// (web/src/experiment/numbers.ts).
func decimals(value, width float64) int {
	size := 0
	if value != 0 {
		size = int(math.Floor(math.Log10(math.Abs(value))))
	}
	if !(width > 0) || math.IsInf(width, 0) {
		return 2 - size
	}
	return min(3-size, max(1-size, -int(math.Floor(math.Log10(width)+1e-9))))
}

// rounded writes a value with so many decimals and no exponent.
func rounded(value float64, places int) string {
	if places < 0 {
		unit := math.Pow10(-places)
		value, places = math.Round(value/unit)*unit, 0
	}
	if value == 0 {
		value = 0 // not -0
	}
	return strconv.FormatFloat(value, 'f', min(places, 12), 64)
}

// Figure writes a value and the bounds of its interval, rounded alike and with
// no more digits than the interval allows. A whole number without an interval
// is written as it is.
func Figure(value, low, high float64) (v, l, h string) {
	if low == high && value == math.Trunc(value) && math.Abs(value) < 1e15 {
		return rounded(value, 0), rounded(low, 0), rounded(high, 0)
	}
	places := decimals(value, high-low)
	if low == high && places > 0 {
		// 0.5, not 0.500.
		v = strings.TrimRight(strings.TrimRight(rounded(value, places), "0"), ".")
		return v, v, v
	}
	return rounded(value, places), rounded(low, places), rounded(high, places)
}

// Ratio writes a ratio and its bounds. One below 0.1 is written as a fraction,
// "1/116", whose lower bound is the one with the higher denominator.
func Ratio(ratio, low, high float64) (v, l, h string) {
	if ratio >= 0.1 || low <= 0 {
		return Figure(ratio, low, high)
	}
	v, h, l = Figure(inverse(ratio), inverse(high), inverse(low))
	return "1/" + v, "1/" + l, "1/" + h
}

// inverse of a ratio. That of counts is as good as whole after a logarithm and
// back.
func inverse(ratio float64) float64 {
	v := 1 / ratio
	if whole := math.Round(v); math.Abs(v-whole) < 1e-9*whole {
		return whole
	}
	return v
}

// grouped puts commas between the thousands of a number from five digits on.
func grouped(number string) string {
	whole, rest, point := strings.Cut(number, ".")
	if len(whole) < 5 {
		return number
	}
	var b strings.Builder
	for i, c := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	if point {
		return b.String() + "." + rest
	}
	return b.String()
}

// plural is a count with its noun.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
