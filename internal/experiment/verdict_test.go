package experiment

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func TestParseWant(t *testing.T) {
	good := []struct {
		text      string
		low, high float64
		ratio     bool
	}{
		{"ratio <= 0.77", math.Inf(-1), 0.77, true},
		{"ratio >= 1.3", 1.3, math.Inf(1), true},
		{"ratio in 0.9 .. 1.1", 0.9, 1.1, true},
		{"value == 32", 32, 32, false},
		{"value <= 0", math.Inf(-1), 0, false},
		{"  value   >=  -1 ", -1, math.Inf(1), false},
	}
	for _, test := range good {
		w, err := ParseWant(test.text)
		if err != nil || w.low != test.low || w.high != test.high || w.ratio != test.ratio {
			t.Errorf("%q: %+v, %v", test.text, w, err)
			continue
		}
		data, err := json.Marshal(w)
		var back Want
		if err != nil || json.Unmarshal(data, &back) != nil || back != w || string(data) != `"`+w.String()+`"` && !strings.Contains(string(data), `\u003`) {
			t.Errorf("%q became %s, %v", test.text, data, err)
		}
	}
	bad := []string{
		"", "ratio", "ratio <=", "ratio < 0.5", "ratio <= x", "ratio <= 0.5 0.6", "ratio == ", "share <= 0.5", "ratio <= NaN", "ratio <= Inf",
		"ratio in 1.1 .. 0.9", "ratio in 0.9 1.1", "ratio in 0.9 ..", "ratio <= 0", "ratio >= -1", "ratio <= 0.99", "ratio >= 1", "ratio >= 1.02", "ratio .. <= 0.5",
	}
	for _, text := range bad {
		if w, err := ParseWant(text); err == nil {
			t.Errorf("%q was taken: %+v", text, w)
		}
	}
}

// measured makes a result of one series in which a needs 100 and the variants
// what their values say.
func measured(values map[string][]float64) *Result {
	s := SeriesResult{ID: "s", Baseline: "a"}
	for _, id := range []string{"a", "b", "c", "d"} {
		if values[id] != nil {
			s.Variants = append(s.Variants, VariantResult{ID: id, Metrics: map[string]Summary{"m": summarise(values[id])}})
		}
	}
	return &Result{Series: []SeriesResult{s}}
}

func TestJudge(t *testing.T) {
	part := func(variant, against, want, when string) Part {
		w, err := ParseWant(want)
		if err != nil {
			t.Fatal(err)
		}
		p := Part{Series: "s", Variant: variant, Against: against, Metric: "m", Want: w}
		if when != "" {
			p.When = Text{"with " + when, when + "时"}
		}
		return p
	}
	values := map[string][]float64{
		"a": {100, 101, 99, 100, 100},
		"b": {50, 51, 49, 50, 50},      // half
		"c": {150, 151, 149, 150, 150}, // half as much again
		"d": {50, 150, 70, 130, 100},   // who knows
	}
	info := Info{ID: "x", Metrics: []Metric{{ID: "m"}}, Series: []Series{{ID: "s", Variants: []Variant{
		{"a", Text{"the old way", "旧法"}}, {"b", Text{"the new way", "新法"}}, {"c", Text{"c", "c"}}, {"d", Text{"d", "d"}},
	}}}}
	tests := []struct {
		name    string
		parts   []Part
		verdict string
		when    string
		reason  string
	}{
		{"all hold", []Part{part("b", "a", "ratio <= 0.77", ""), part("a", "c", "ratio <= 0.77", "c")}, Holds, "", "the new way / the old way = 0.5 (0.495 to 0.505)"},
		{"none holds", []Part{part("c", "a", "ratio <= 0.77", "1"), part("a", "b", "ratio <= 0.77", "2")}, DoesNotHold, "", "c / the old way = 1.5"},
		{"one of two", []Part{part("b", "a", "ratio <= 0.77", "1"), part("c", "a", "ratio <= 0.77", "2")}, HoldsInPart, "with 1", "with 2"},
		{"two of three", []Part{part("b", "a", "ratio <= 0.77", "1"), part("c", "a", "ratio <= 0.77", "2"), part("a", "c", "ratio <= 0.77", "3")}, HoldsInPart, "with 1; with 3", ""},
		{"the same condition twice", []Part{part("b", "a", "ratio <= 0.77", "1"), part("b", "c", "ratio <= 0.77", "1"), part("c", "a", "ratio <= 0.77", "2")}, HoldsInPart, "with 1", ""},
		{"unclear", []Part{part("d", "a", "ratio <= 0.77", "")}, NoVerdict, "", "d / the old way = 1 "},
		{"unclear and not", []Part{part("d", "a", "ratio <= 0.77", "1"), part("c", "a", "ratio <= 0.77", "2")}, NoVerdict, "", ""},
		{"holds and unclear, with conditions", []Part{part("b", "a", "ratio <= 0.77", "1"), part("d", "a", "ratio <= 0.77", "2")}, HoldsInPart, "with 1", ""},
		{"holds and unclear, without", []Part{part("b", "a", "ratio <= 0.77", ""), part("d", "a", "ratio <= 0.77", "")}, NoVerdict, "", ""},
		{"about the same", []Part{part("a", "a", "ratio in 0.9 .. 1.1", "")}, Holds, "", ""},
		{"not the same", []Part{part("b", "a", "ratio in 0.9 .. 1.1", "")}, DoesNotHold, "", ""},
		{"a value", []Part{part("b", "", "value <= 60", "")}, Holds, "", "the new way 50"},
		{"a value that is too high", []Part{part("b", "", "value <= 40", "")}, DoesNotHold, "", ""},
		{"a series that was not run", []Part{part("b", "a", "ratio <= 0.77", "1"), {Series: "other", Variant: "b", Against: "a"}}, Holds, "", ""},
		{"a variant that failed", []Part{part("z", "a", "ratio <= 0.77", "1")}, NotMeasured, "", "nothing"},
		{"the first metric", []Part{{Series: "s", Variant: "b", Against: "a", Want: part("b", "a", "ratio <= 0.77", "").Want}}, Holds, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := Judge(Claim{ID: "T9", Parts: test.parts}, measured(values), info)
			if v.Claim != "T9" || v.Verdict != test.verdict || v.When.En != test.when || len(v.Parts) != len(test.parts) {
				t.Errorf("%+v, want %q when %q", v, test.verdict, test.when)
			}
			if !strings.Contains(v.Reason.En, test.reason) || v.Reason.En == "" || v.Reason.Zh == "" {
				t.Errorf("reason %+v, want %q", v.Reason, test.reason)
			}
			if _, err := json.Marshal(v); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("exact counts need one round", func(t *testing.T) {
		exact := info
		exact.Metrics = []Metric{{ID: "m", Exact: true}}
		r := measured(map[string][]float64{"a": {1048576}, "b": {32}})
		c := Claim{ID: "U2", Parts: []Part{part("b", "a", "ratio in 0.000030517 .. 0.000030518", ""), part("b", "", "value == 32", "")}}
		if v := Judge(c, r, exact); v.Verdict != Holds {
			t.Errorf("%+v", v)
		}
		r = measured(map[string][]float64{"a": {1048576}, "b": {33}})
		if v := Judge(c, r, exact); v.Verdict != DoesNotHold {
			t.Errorf("%+v", v)
		}
	})
	t.Run("failed trials keep the pairs", func(t *testing.T) {
		r := measured(map[string][]float64{"a": {10, 20, 30, 40, 50, 60}, "b": {5, 15, 20, 25, 30}})
		b := r.Series[0].Variants[1].Metrics["m"]
		b.Rounds = []int{0, 2, 3, 4, 5}
		r.Series[0].Variants[1].Metrics["m"] = b
		v := Judge(Claim{ID: "T9", Parts: []Part{part("b", "a", "ratio in 0.49 .. 0.51", "")}}, r, info)
		if v.Verdict != Holds {
			t.Errorf("%+v", v)
		}
	})
}
