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
		{"ratio <= 1/4", math.Inf(-1), 0.25, true},
		{"value >= 1/4", 0.25, math.Inf(1), false},
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
		"ratio in 1.1 .. 0.9", "ratio in 0.9 1.1", "ratio in 0.9 ..", "ratio <= 0", "ratio >= -1", "ratio <= 0.99", "ratio >= 1", "ratio >= 1.02", "ratio .. <= 0.5", "ratio <= 1/0", "ratio <= 1/", "ratio <= /2", "ratio == 0",
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
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
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
			p.When = Text{"with " + when, when + " 时"}
		}
		return p
	}
	in := func(series string, p Part) Part { p.Series = series; return p }
	of := func(metric string, p Part) Part { p.Metric = metric; return p }
	values := map[string][]float64{
		"a": {100, 101, 99, 100, 100},
		"b": {50, 51, 49, 50, 50},         // half
		"c": {150, 151, 149, 150, 150},    // half as much again
		"d": {50, 150, 70, 130, 100},      // who knows
		"e": {0.8, 0.81, 0.79, 0.8, 0.81}, // less than a hundredth
		"f": {50, 50, 50, 50},             // too few
	}
	info := Info{
		ID: "x",
		Metrics: []Metric{
			{ID: "m", Label: Text{"CPU time", "CPU 时间"}, Unit: "µs", Better: "lower"},
			{ID: "n", Label: Text{"Calls", "调用次数"}, Unit: "calls", Better: "lower", Exact: true},
		},
		Series: []Series{
			{ID: "s", Label: Text{"S", "S"}, Quick: true, Variants: []Variant{
				{"a", Text{"the old way", "旧法"}}, {"b", Text{"the new way", "新法"}}, {"z", Text{"the way that fails", "会失败的方法"}},
			}},
			{ID: "full", Variants: []Variant{{"a", Text{"the old way", "旧法"}}, {"b", Text{"the new way", "新法"}}}},
		},
	}
	tests := []struct {
		name    string
		parts   []Part
		verdict string
		when    string
		why     string
		en      string // of the reason, or of why there is none
		zh      string
	}{
		{"all hold", []Part{part("b", "a", "ratio <= 0.77", "1"), part("a", "c", "ratio <= 0.77", "2")}, Holds, "", "",
			"CPU time: the new way needs 0.50 times as much as the old way (0.49 to 0.50); the old way needs 0.667 times as much as c (0.664 to 0.669).",
			"CPU 时间：新法与旧法相比，是它的 0.50 倍（0.49 至 0.50）；旧法与 c 相比，是它的 0.667 倍（0.664 至 0.669）。"},
		{"much less", []Part{part("e", "a", "ratio <= 0.5", "")}, Holds, "", "",
			"CPU time: e needs 125 times less than the old way (123 to 125).", "CPU 时间：e 与旧法相比，只有它的 1/125（1/125 至 1/123）。"},
		{"much more", []Part{part("a", "e", "ratio <= 0.5", "")}, DoesNotHold, "", "", "the old way needs 125 times as much as e (123 to 125).", "是它的 125 倍"},
		{"none holds", []Part{part("c", "a", "ratio <= 0.77", "1"), part("a", "b", "ratio <= 0.77", "2")}, DoesNotHold, "", "", "c needs 1.50 times as much as the old way", ""},
		{"one of two", []Part{part("b", "a", "ratio <= 0.77", "1"), part("c", "a", "ratio <= 0.77", "2")}, HoldsInPart, "with 1", "", "c needs 1.50 times", ""},
		{"two of three", []Part{part("b", "a", "ratio <= 0.77", "1"), part("c", "a", "ratio <= 0.77", "2"), part("a", "c", "ratio <= 0.77", "3")}, HoldsInPart, "with 1; with 3", "", "", ""},
		{"a condition under which all hold", []Part{part("b", "a", "ratio <= 0.77", "1"), part("b", "c", "ratio <= 0.77", "1"), part("c", "a", "ratio <= 0.77", "2")}, HoldsInPart, "with 1", "", "", ""},
		{"a condition under which one does not", []Part{part("b", "a", "ratio <= 0.77", "1"), part("c", "a", "ratio <= 0.77", "1"), part("b", "c", "ratio <= 0.77", "2")}, HoldsInPart, "with 2", "", "", ""},
		{"said once", []Part{part("b", "a", "ratio <= 0.77", ""), {Series: "s", Variant: "b", Against: "c", Metric: "m", Want: part("b", "a", "ratio <= 0.77", "").Want, When: Text{"against c", "与 c 相比时"}}}, Holds, "", "", "0.333 times as much as c (0.329", "与 c 相比，是它的"},
		{"unclear", []Part{part("d", "a", "ratio <= 0.77", "")}, NoVerdict, "", WhyNoise, "Undecided: the interval lies on both sides", "无法判定：区间跨在界限两侧"},
		{"unclear and not", []Part{part("d", "a", "ratio <= 0.77", "1"), part("c", "a", "ratio <= 0.77", "2")}, NoVerdict, "", WhyNoise, "Undecided (with 1):", "无法判定（1 时）："},
		{"holds and unclear, with conditions", []Part{part("b", "a", "ratio <= 0.77", "1"), part("d", "a", "ratio <= 0.77", "2")}, HoldsInPart, "with 1", WhyNoise, "Undecided (with 2):", ""},
		{"holds and unclear, without", []Part{part("b", "a", "ratio <= 0.77", ""), part("d", "a", "ratio <= 0.77", "")}, NoVerdict, "", WhyNoise, "", ""},
		{"about the same", []Part{part("a", "a", "ratio in 0.9 .. 1.1", "")}, Holds, "", "", "1 times as much", ""},
		{"not the same", []Part{part("b", "a", "ratio in 0.9 .. 1.1", "")}, DoesNotHold, "", "", "", ""},
		{"two conditions", []Part{part("b", "a", "ratio <= 0.77", "1"), part("b", "a", "ratio <= 0.78", "2")}, Holds, "", "", "0.50 times as much as the old way with 1 (0.49 to 0.50), 0.50 times as much with 2 (0.49 to 0.50).", "新法与旧法相比，1 时是它的 0.50 倍（0.49 至 0.50），2 时是它的 0.50 倍"},
		{"a value", []Part{part("b", "", "value <= 60", "1")}, Holds, "", "", "CPU time: the new way comes to 50 µs with 1 (49 to 51).", "CPU 时间：新法，1 时为 50 µs（49 至 51）。"},
		{"a value that is too high", []Part{part("b", "", "value <= 40", "")}, DoesNotHold, "", "", "", ""},
		{"a series that quick runs leave out", []Part{in("full", part("b", "a", "ratio <= 0.77", "1"))}, NoVerdict, "", WhyQuick, "A quick run leaves this out (with 1); a full run measures it.", "快速运行不测这一项（1 时），完整运行会测。"},
		{"holds, the rest left out", []Part{part("b", "a", "ratio <= 0.77", "1"), in("full", part("b", "a", "ratio <= 0.77", "2"))}, HoldsInPart, "with 1", WhyQuick, "out (with 2); a full", ""},
		{"does not hold, the rest left out", []Part{part("c", "a", "ratio <= 0.77", "1"), in("full", part("b", "a", "ratio <= 0.77", "2"))}, NoVerdict, "", WhyQuick, "out (with 2); a full", ""},
		{"noise matters more", []Part{part("d", "a", "ratio <= 0.77", "1"), in("full", part("b", "a", "ratio <= 0.77", "2"))}, NoVerdict, "", WhyNoise, "out (with 2); a full", ""},
		{"a series that was not run", []Part{in("gone", part("b", "a", "ratio <= 0.77", ""))}, NoVerdict, "", WhyAbsent, "The run has no such figure of b.", ""},
		{"a variant that failed", []Part{part("z", "a", "ratio <= 0.77", "1")}, NoVerdict, "", WhyFailed, "No trial of the way that fails succeeded (with 1).", "会失败的方法的试验没有一次成功（1 时）。"},
		{"the other failed", []Part{part("a", "z", "ratio <= 0.77", "")}, NoVerdict, "", WhyFailed, "No trial of the way that fails succeeded.", ""},
		{"a variant that there is not", []Part{part("y", "a", "ratio <= 0.77", "")}, NoVerdict, "", WhyAbsent, "no such figure of y", ""},
		{"too few rounds", []Part{part("f", "a", "ratio <= 0.77", "")}, NoVerdict, "", WhyFew, "Only 4 rounds can be compared; a verdict needs 5.", "只有 4 轮可以比较，下结论至少需要 5 轮。"},
		{"a count that is missing", []Part{of("n", part("b", "a", "ratio == 1/2", ""))}, NoVerdict, "", WhyUncounted, "counts the system calls of the new way failed", ""},
		{"the first metric", []Part{{Series: "s", Variant: "b", Against: "a", Want: part("b", "a", "ratio <= 0.77", "").Want}}, Holds, "", "", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := measured(values)
			r.Quick = true
			r.Series[0].Variants = append(r.Series[0].Variants, VariantResult{ID: "z", Failed: 5})
			v := Judge(Claim{ID: "T9", Parts: test.parts}, r, info)
			if v.Claim != "T9" || v.Verdict != test.verdict || v.When.En != test.when || v.Why != test.why || len(v.Parts) != len(test.parts) {
				t.Errorf("%+v, want %q when %q, why %q", v, test.verdict, test.when, test.why)
			}
			if en := v.Reason.En + v.Because.En; !strings.Contains(en, test.en) || en == "" {
				t.Errorf("%q, want %q", en, test.en)
			}
			if zh := v.Reason.Zh + v.Because.Zh; !strings.Contains(zh, test.zh) || zh == "" {
				t.Errorf("%q, want %q", zh, test.zh)
			}
			if (v.Because != (Text{})) != (test.why != "") {
				t.Errorf("because %+v with why %q", v.Because, v.Why)
			}
			if _, err := json.Marshal(v); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("exact counts need one round", func(t *testing.T) {
		counted := func(a, b float64) *Result {
			r := measured(map[string][]float64{"a": {1}, "b": {1}})
			for i, n := range []float64{a, b} {
				r.Series[0].Variants[i].Metrics["n"] = summarise([]float64{n})
			}
			return r
		}
		c := Claim{ID: "U2", Parts: []Part{of("n", part("b", "a", "ratio == 1/32768", "")), of("n", part("b", "", "value == 32", ""))}}
		v := Judge(c, counted(1048576, 32), info)
		if v.Verdict != Holds || v.Reason.En != "Calls: the new way needs 32 where the old way needs 1,048,576, 32,768 times fewer; the new way comes to 32." {
			t.Errorf("%+v", v)
		}
		if v.Reason.Zh != "调用次数：新法与旧法相比，32 次对 1048576 次，是它的 1/32768；新法，为 32。" {
			t.Errorf("%+v", v.Reason.Zh)
		}
		if v := Judge(c, counted(1048576, 33), info); v.Verdict != DoesNotHold {
			t.Errorf("%+v", v)
		}
		r := measured(values)
		r.Warnings = []Warning{{Code: "uncounted"}}
		if v := Judge(c, r, info); v.Verdict != NoVerdict || v.Why != WhyUncounted || !strings.Contains(v.Because.En, "does not let BPF programs count") {
			t.Errorf("%+v", v)
		}
	})
	t.Run("failed trials keep the pairs", func(t *testing.T) {
		r := measured(map[string][]float64{"a": {10, 20, 30, 40, 50, 60}, "b": {5, 15, 20, 25, 30}})
		b := r.Series[0].Variants[1].Metrics["m"]
		b.Rounds = []int{0, 2, 3, 4, 5}
		r.Series[0].Variants[1].Metrics["m"] = b
		v := Judge(Claim{ID: "T9", Parts: []Part{part("b", "a", "ratio in 0.49 .. 0.51", "")}}, r, info)
		if v.Verdict != Holds || v.Parts[0].Rounds != 5 {
			t.Errorf("%+v", v)
		}
	})
}
