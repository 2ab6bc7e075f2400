package experiment

import (
	"fmt"
	"math"
	"strings"
)

// Judge says what a run says of a claim that rests on its experiment. It reads
// nothing but its arguments. A claim that has a part in a series that was not
// run, as quick runs leave some out, is judged by the others.
func Judge(c Claim, r *Result, info Info) ClaimVerdict {
	v := ClaimVerdict{Claim: c.ID, Parts: []PartTest{}}
	counts := map[string]int{}
	var holding []Part
	for _, p := range c.Parts {
		t := test(p, r, info)
		v.Parts = append(v.Parts, t)
		counts[t.Outcome]++
		if t.Outcome == outcomeHolds {
			holding = append(holding, p)
		}
	}
	tested := len(v.Parts) - counts[outcomeMissing]
	switch {
	case tested == 0:
		v.Verdict = NotMeasured
	case counts[outcomeHolds] == tested:
		v.Verdict = Holds
	case counts[outcomeNot] == tested:
		v.Verdict = DoesNotHold
	case counts[outcomeHolds] > 0 && (counts[outcomeNot] > 0 || joinWhens(holding) != (Text{})):
		// What is unclear may hold or not: that it holds in part stands.
		v.Verdict = HoldsInPart
		v.When = joinWhens(holding)
	default:
		v.Verdict = NoVerdict
	}
	v.Reason = reason(v, c, info)
	return v
}

// test judges one part.
func test(p Part, r *Result, info Info) PartTest {
	metric := p.Metric
	if metric == "" && len(info.Metrics) > 0 {
		metric = info.Metrics[0].ID
	}
	t := PartTest{Series: p.Series, Variant: p.Variant, Against: p.Against, Metric: metric, Want: p.Want.String(), Outcome: outcomeMissing}
	exact := info.exact(metric)
	s := r.series(p.Series)
	if s == nil {
		return t
	}
	values := s.values(p.Variant, metric)
	var in interval
	var n int
	if p.Want.ratio {
		logs := ratios(values, s.values(p.Against, metric))
		c, ok := compare(logs, 0, exact)
		if !ok {
			return t
		}
		in, n = interval{c.Ratio, c.Low, c.High, c.Level}, len(logs)
	} else {
		values = finite(values)
		if len(values) == 0 {
			return t
		}
		in, n = medianInterval(values), len(values)
		if exact {
			s := summarise(values)
			in.low, in.high = s.Min, s.Max
		}
	}
	t.Ratio, t.Low, t.High = in.median, in.low, in.high
	t.Outcome = p.Want.outcome(in.low, in.high)
	if n < fewest && !exact {
		t.Outcome = outcomeUnclear
	}
	return t
}

func finite(values []float64) []float64 {
	var out []float64
	for _, v := range values {
		if !math.IsNaN(v) {
			out = append(out, v)
		}
	}
	return out
}

func (i Info) exact(metric string) bool {
	for _, m := range i.Metrics {
		if m.ID == metric {
			return m.Exact
		}
	}
	return false
}

func (r *Result) series(id string) *SeriesResult {
	for i := range r.Series {
		if r.Series[i].ID == id {
			return &r.Series[i]
		}
	}
	return nil
}

// values are those of a variant by round, with NaN for trials that failed.
func (s *SeriesResult) values(variant, metric string) []float64 {
	for _, v := range s.Variants {
		if v.ID == variant {
			return v.byRound(metric)
		}
	}
	return nil
}

// byRound are the values of a metric by round, with NaN for trials that failed.
func (v *VariantResult) byRound(metric string) []float64 {
	s, ok := v.Metrics[metric]
	if !ok || s.Rounds == nil {
		return s.Values
	}
	var out []float64
	for i, round := range s.Rounds {
		for len(out) < round {
			out = append(out, math.NaN())
		}
		out = append(out, s.Values[i])
	}
	return out
}

// joinWhens says under which conditions a claim holds.
func joinWhens(parts []Part) Text {
	var en, zh []string
	seen := map[Text]bool{}
	for _, p := range parts {
		if p.When == (Text{}) || seen[p.When] {
			continue
		}
		seen[p.When] = true
		en, zh = append(en, p.When.En), append(zh, p.When.Zh)
	}
	return Text{strings.Join(en, "; "), strings.Join(zh, "；")}
}

// reason is one sentence with the numbers.
func reason(v ClaimVerdict, c Claim, info Info) Text {
	if v.Verdict == NotMeasured {
		return Text{"The run gave nothing that this claim could be judged by.", "这次运行没有得到可用来判断这一说法的数据。"}
	}
	var en, zh []string
	for i, t := range v.Parts {
		if t.Outcome == outcomeMissing {
			continue
		}
		when := c.Parts[i].When
		variant := label(info, t.Series, t.Variant)
		if t.Against == "" {
			en = append(en, fmt.Sprintf("%s %s%s", variant.En, number(t.Ratio), after(when.En)))
			zh = append(zh, fmt.Sprintf("%s%s为 %s", before(when.Zh), variant.Zh, number(t.Ratio)))
			continue
		}
		against := label(info, t.Series, t.Against)
		en = append(en, fmt.Sprintf("%s / %s = %s (%s to %s)%s", variant.En, against.En, number(t.Ratio), number(t.Low), number(t.High), after(when.En)))
		zh = append(zh, fmt.Sprintf("%s%s / %s = %s（%s 至 %s）", before(when.Zh), variant.Zh, against.Zh, number(t.Ratio), number(t.Low), number(t.High)))
	}
	return Text{strings.Join(en, "; ") + ".", strings.Join(zh, "；") + "。"}
}

func after(when string) string {
	if when == "" {
		return ""
	}
	return " " + when
}

func before(when string) string {
	if when == "" {
		return ""
	}
	return when + "："
}

// label is what people are shown of a variant.
func label(info Info, series, variant string) Text {
	for _, s := range info.Series {
		if s.ID != series {
			continue
		}
		for _, v := range s.Variants {
			if v.ID == variant {
				return v.Label
			}
		}
	}
	return Text{variant, variant}
}

// number writes a figure with three digits that count, and counts whole.
func number(v float64) string {
	switch {
	case v == math.Trunc(v) && math.Abs(v) < 1e15:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
