package experiment

import (
	"math"
	"testing"
)

func TestFigure(t *testing.T) {
	tests := []struct {
		value, low, high float64
		want             [3]string
	}{
		{0.6234, 0.58, 0.661, [3]string{"0.62", "0.58", "0.66"}},
		{1.5, 1.4752, 1.5251, [3]string{"1.50", "1.48", "1.53"}},
		{116.3, 95.2, 131, [3]string{"120", "100", "130"}},
		{12345, 12000, 13000, [3]string{"12000", "12000", "13000"}},
		{32, 32, 32, [3]string{"32", "32", "32"}},
		{0.5, 0.5, 0.5, [3]string{"0.5", "0.5", "0.5"}},
		{3.0517578e-05, 3.0517578e-05, 3.0517578e-05, [3]string{"0.0000305", "0.0000305", "0.0000305"}},
		{0, 0, 0.2, [3]string{"0.0", "0.0", "0.2"}},
		{1, 0, math.Inf(1), [3]string{"1.00", "0.00", "+Inf"}},
	}
	for _, test := range tests {
		v, l, h := Figure(test.value, test.low, test.high)
		if got := [3]string{v, l, h}; got != test.want {
			t.Errorf("%v (%v to %v): %q, want %q", test.value, test.low, test.high, got, test.want)
		}
	}
}

func TestRatio(t *testing.T) {
	tests := []struct {
		value, low, high float64
		want             [3]string
	}{
		{0.5, 0.4, 0.6, [3]string{"0.50", "0.40", "0.60"}},
		{1.0 / 32768, 1.0 / 32768, 1.0 / 32768, [3]string{"1/32768", "1/32768", "1/32768"}},
		{0.00827, 0.00787, 0.0133, [3]string{"1/120", "1/130", "1/80"}},
		{0, 0, 0.05, [3]string{"0.00", "0.00", "0.05"}},
	}
	for _, test := range tests {
		v, l, h := Ratio(test.value, test.low, test.high)
		if got := [3]string{v, l, h}; got != test.want {
			t.Errorf("%v (%v to %v): %q, want %q", test.value, test.low, test.high, got, test.want)
		}
	}
}

func TestGrouped(t *testing.T) {
	for in, want := range map[string]string{"32768": "32,768", "1048576": "1,048,576", "9000": "9000", "12345.6": "12,345.6", "0.5": "0.5", "": ""} {
		if got := grouped(in); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
}
