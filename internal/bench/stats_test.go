package main

import (
	"math"
	"testing"
)

func TestSeriesAt(t *testing.T) {
	tests := []struct {
		name string
		in   series
		q    float64
		want float64
	}{
		{"one", series{7}, 0.99, 7},
		{"median of two", series{3, 1}, 0.5, 2},
		{"median of three", series{9, 1, 5}, 0.5, 5},
		{"between", series{0, 10, 20, 30}, 0.9, 27},
		{"least", series{4, 2, 8}, 0, 2},
		{"most", series{4, 2, 8}, 1, 8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.in.at(tt.q); math.Abs(got-tt.want) > 1e-9 {
				t.Errorf("at(%g) = %g, want %g", tt.q, got, tt.want)
			}
		})
	}
	if got := (series{}).at(0.5); !math.IsNaN(got) {
		t.Errorf("median of nothing = %g, want NaN", got)
	}
}

func TestSeriesOver(t *testing.T) {
	got := series{2, 9, 5}.over(series{1, 3})
	if len(got) != 2 || got[0] != 2 || got[1] != 3 {
		t.Errorf("got %v, want [2 3]", got)
	}
}

func TestFormat(t *testing.T) {
	tests := []struct {
		unit  unit
		value float64
		want  string
	}{
		{nanoseconds, 42, "42 ns"},
		{nanoseconds, 15_530, "15.5 µs"},
		{nanoseconds, 78_000_000, "78.0 ms"},
		{nanoseconds, 12_500_000_000, "12.5 s"},
		{ratio, 1.0451, "1.045×"},
		{bytes, 65_536, "64.0 KiB"},
		{bytes, 512, "512 B"},
		{bytes, 3 << 20, "3.0 MiB"},
		{count, 1705, "1705"},
		{share, 0.125, "12.5 %"},
	}
	for _, tt := range tests {
		if got := tt.unit.format(tt.value); got != tt.want {
			t.Errorf("%s %g: got %q, want %q", tt.unit, tt.value, got, tt.want)
		}
	}
}

func TestAim(t *testing.T) {
	r := newResult("snapshot", "1 000", "ratio", ratio, series{1, 2, 3, 4, 5})
	for _, tt := range []struct {
		of    string
		limit float64
		met   bool
	}{
		{"p50", 3, true},
		{"p50", 2.9, false},
		{"max", 4.9, false},
		{"p99", 5, true},
	} {
		if got := r.aim(tt.of, tt.limit).Aim.Met; got != tt.met {
			t.Errorf("%s ≤ %g: met %t, want %t", tt.of, tt.limit, got, tt.met)
		}
	}
}
