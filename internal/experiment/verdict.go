package experiment

import "math"

// Judge says what a run says of a claim that rests on its experiment. It reads
// nothing but its arguments. What was not measured, as quick runs leave some
// series out, may hold or not, like what is unclear: nothing follows from it.
func Judge(c Claim, r *Result, info Info) ClaimVerdict {
	v := ClaimVerdict{Claim: c.ID, Parts: []PartTest{}}
	counts := map[string]int{}
	var all, undecided []tested
	for _, p := range c.Parts {
		t := test(p, r, info)
		all = append(all, t)
		v.Parts = append(v.Parts, t.PartTest)
		counts[t.Outcome]++
		if t.Why != "" {
			undecided = append(undecided, t)
		}
	}
	holding := joinWhens(wholly(all))
	switch {
	case counts[outcomeHolds] == len(all) && len(all) > 0:
		v.Verdict = Holds
	case counts[outcomeNot] == len(all) && len(all) > 0:
		v.Verdict = DoesNotHold
	case counts[outcomeHolds] > 0 && (counts[outcomeNot] > 0 || holding != (Text{})):
		// Whatever the rest is: that it holds in part stands.
		v.Verdict = HoldsInPart
		v.When = holding
	default:
		v.Verdict = NoVerdict
	}
	v.Reason = reason(all, info)
	v.Why, v.Because = because(undecided, r, info)
	return v
}

// wholly are the parts that hold, without those under whose condition another
// does not.
func wholly(parts []tested) []tested {
	broken := map[Text]bool{}
	for _, t := range parts {
		if t.Outcome != outcomeHolds {
			broken[t.when] = true
		}
	}
	var out []tested
	for _, t := range parts {
		if !broken[t.when] {
			out = append(out, t)
		}
	}
	return out
}

// test judges one part.
func test(p Part, r *Result, info Info) tested {
	metric := p.Metric
	if metric == "" && len(info.Metrics) > 0 {
		metric = info.Metrics[0].ID
	}
	exact := info.metric(metric).Exact
	t := tested{
		PartTest: PartTest{Series: p.Series, Variant: p.Variant, Against: p.Against, Metric: metric, Want: p.Want.String(), Outcome: outcomeMissing},
		when:     p.When, exact: exact,
	}
	if t.Why, t.failing = r.lacks(p, metric, info); t.Why != "" {
		return t
	}
	s := r.series(p.Series)
	values := s.values(p.Variant, metric)
	var in interval
	if p.Want.ratio {
		others := s.values(p.Against, metric)
		logs := ratios(values, others)
		c, ok := compare(logs, 0, exact)
		if !ok {
			t.Why = WhyFew
			return t
		}
		in, t.Rounds = interval{c.Ratio, c.Low, c.High, c.Level}, len(logs)
		t.own, t.other = summarise(finite(values)).Median, summarise(finite(others)).Median
	} else {
		values = finite(values)
		in, t.Rounds = medianInterval(values), len(values)
		if exact {
			s := summarise(values)
			in.low, in.high = s.Min, s.Max
		}
	}
	t.Ratio, t.Low, t.High = in.median, in.low, in.high
	t.Outcome = p.Want.outcome(in.low, in.high)
	switch {
	case t.Rounds < fewest && !exact:
		t.Outcome, t.Why = outcomeUnclear, WhyFew
	case t.Outcome == outcomeUnclear:
		t.Why = WhyNoise
	}
	return t
}

// lacks tells why a run has not what a part needs, and of which variant; empty
// where it has.
func (r *Result) lacks(p Part, metric string, info Info) (why, variant string) {
	s := r.series(p.Series)
	if s == nil {
		if r.Quick && info.leftOut(p.Series) {
			return WhyQuick, ""
		}
		return WhyAbsent, p.Variant
	}
	for _, id := range []string{p.Variant, p.Against} {
		if id == "" || len(finite(s.values(id, metric))) > 0 {
			continue
		}
		v := s.variant(id)
		switch {
		case v == nil:
			return WhyAbsent, id
		case len(v.Metrics) == 0 && v.Failed > 0:
			return WhyFailed, id
		case len(v.Syscalls) == 0 && info.metric(metric).Exact:
			return WhyUncounted, id
		}
		return WhyAbsent, id
	}
	return "", ""
}

// leftOut tells whether quick runs leave a series out.
func (i Info) leftOut(series string) bool {
	for _, s := range i.Series {
		if s.ID == series {
			return !s.Quick
		}
	}
	return false
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

func (r *Result) series(id string) *SeriesResult {
	for i := range r.Series {
		if r.Series[i].ID == id {
			return &r.Series[i]
		}
	}
	return nil
}

// warned tells whether the result has a warning of that code.
func (r *Result) warned(code string) bool {
	for _, w := range r.Warnings {
		if w.Code == code {
			return true
		}
	}
	return false
}

func (s *SeriesResult) variant(id string) *VariantResult {
	for i := range s.Variants {
		if s.Variants[i].ID == id {
			return &s.Variants[i]
		}
	}
	return nil
}

// values are those of a variant by round, with NaN for trials that failed.
func (s *SeriesResult) values(variant, metric string) []float64 {
	if v := s.variant(variant); v != nil {
		return v.byRound(metric)
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
