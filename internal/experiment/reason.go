package experiment

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Why a part has no outcome, and so a claim perhaps no verdict.
const (
	WhyFailed    = "failed"    // no trial of a variant succeeded
	WhyUncounted = "uncounted" // the round in which system calls are counted is missing
	WhyAbsent    = "absent"    // the run has no such figure
	WhyFew       = "few"       // fewer than `fewest` rounds can be compared
	WhyNoise     = "noise"     // the interval lies on both sides of the bound
	WhyQuick     = "quick"     // quick runs leave the series out
)

// whys are in the order in which they matter. What only a quick run lacks comes
// last: where a verdict has that, a full run gives the rest.
func whys() []string {
	return []string{WhyFailed, WhyUncounted, WhyAbsent, WhyFew, WhyNoise, WhyQuick}
}

// tested is a part with what it needs to be told.
type tested struct {
	PartTest
	when       Text
	own, other float64 // of an exact metric: what was counted
	exact      bool
	failing    string // the variant that Why is about
}

// reason tells what was measured, one sentence for each metric. It is empty
// where nothing was.
func reason(parts []tested, info Info) Text {
	parts = slices.DeleteFunc(slices.Clone(parts), func(t tested) bool { return t.Outcome == outcomeMissing })
	var en, zh []string
	for _, of := range together(parts, func(a, b tested) bool { return a.Metric == b.Metric }) {
		m := info.metric(of[0].Metric)
		if apart(of) {
			for i := range of {
				of[i].when = Text{}
			}
		}
		var clausesEn, clausesZh []string
		for _, g := range together(of, func(a, b tested) bool { return a.Variant == b.Variant && a.Against == b.Against }) {
			c := clause(g, m, info)
			clausesEn, clausesZh = append(clausesEn, c.En), append(clausesZh, c.Zh)
		}
		en = append(en, m.Label.En+": "+strings.Join(clausesEn, "; ")+".")
		zh = append(zh, m.Label.Zh+"："+strings.Join(clausesZh, "；")+"。")
	}
	return Text{strings.Join(en, " "), strings.Join(zh, "")}
}

// apart tells that it takes no conditions to tell these parts apart: all are of
// one series, and no two compare the same.
func apart(parts []tested) bool {
	seen := map[[2]string]bool{}
	for _, t := range parts {
		pair := [2]string{t.Variant, t.Against}
		if seen[pair] || t.Series != parts[0].Series {
			return false
		}
		seen[pair] = true
	}
	return len(parts) > 1
}

// together cuts a list where neighbours are not alike.
func together(parts []tested, alike func(a, b tested) bool) [][]tested {
	var out [][]tested
	for i, t := range parts {
		if i == 0 || !alike(parts[i-1], t) {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], t)
	}
	return out
}

// clause tells of parts that compare the same two variants, or are about the
// same one.
func clause(parts []tested, m Metric, info Info) Text {
	variant, against := label(info, parts[0].Series, parts[0].Variant), label(info, parts[0].Series, parts[0].Against)
	verb := map[string]string{"lower": "needs", "higher": "gives"}[m.Better]
	if verb == "" {
		verb = "has"
	}
	compared := variant.Zh
	if parts[0].Against == "" {
		verb = "comes to"
	} else {
		compared = chinese(variant.Zh, "与", against.Zh, "相比")
	}
	var en, zh []string
	for i, t := range parts {
		than := ""
		if i == 0 {
			than = against.En
		}
		f := t.figure(m, than, against)
		when := t.when
		if when.En != "" {
			when.En = " " + when.En
		}
		en, zh = append(en, f[0].En+when.En+f[1].En), append(zh, when.Zh+f[0].Zh+f[1].Zh)
	}
	return Text{variant.En + " " + verb + " " + strings.Join(en, ", "), compared + "，" + strings.Join(zh, "，")}
}

// figure is what was measured of a part and, in brackets, its interval. than is
// what it is compared with, empty where that was said.
func (t tested) figure(m Metric, than string, against Text) [2]Text {
	if t.Against == "" {
		v, l, h := Figure(t.Ratio, t.Low, t.High)
		unit := m.Unit
		if m.counts() || unit != "" && strings.Contains(m.Label.En, unit) {
			unit = "" // the label says it
		}
		return [2]Text{{with(grouped(v), unit), "为 " + with(v, unit)}, bracket(l, h)}
	}
	much, less := "much", "less"
	if m.counts() {
		much, less = "many", "fewer"
	}
	as := " as " + than
	if than == "" {
		as = ""
	}
	if t.exact && t.Low == t.High && t.Ratio > 0 && t.Ratio < 0.1 {
		v, _, _ := Figure(inverse(t.Ratio), inverse(t.Ratio), inverse(t.Ratio))
		own, other := rounded(t.own, 0), rounded(t.other, 0)
		return [2]Text{{
			fmt.Sprintf("%s where %s needs %s, %s times %s", grouped(own), against.En, grouped(other), grouped(v), less),
			fmt.Sprintf("%s 次对 %s 次，是它的 1/%s", own, other, v),
		}}
	}
	if t.Ratio > 0 && t.Ratio < 0.1 && t.Low > 0 {
		v, l, h := Figure(inverse(t.Ratio), inverse(t.High), inverse(t.Low))
		if than != "" {
			than = " than " + than
		}
		return [2]Text{{fmt.Sprintf("%s times %s%s", grouped(v), less, than), "只有它的 1/" + v}, {bracket(l, h).En, bracket("1/"+h, "1/"+l).Zh}}
	}
	v, l, h := Figure(t.Ratio, t.Low, t.High)
	return [2]Text{{fmt.Sprintf("%s times as %s%s", grouped(v), much, as), "是它的 " + v + " 倍"}, bracket(l, h)}
}

// bracket is an interval, if it has a width.
func bracket(low, high string) Text {
	if low == high {
		return Text{}
	}
	return Text{fmt.Sprintf(" (%s to %s)", grouped(low), grouped(high)), fmt.Sprintf("（%s 至 %s）", low, high)}
}

func with(number, unit string) string {
	if unit == "" {
		return number
	}
	return number + " " + unit
}

// because tells why parts have no outcome: the cause that matters most, and a
// sentence for each cause. Both are empty where all have one.
func because(parts []tested, r *Result, info Info) (string, Text) {
	why := ""
	var en, zh []string
	for _, w := range whys() {
		var of []tested
		for _, t := range parts {
			if t.Why == w {
				of = append(of, t)
			}
		}
		if len(of) == 0 {
			continue
		}
		if why == "" {
			why = w
		}
		s := cause(w, of, r, info)
		en, zh = append(en, s.En), append(zh, s.Zh)
	}
	return why, Text{strings.Join(en, " "), strings.Join(zh, "")}
}

// cause is a sentence on why these parts have no outcome.
func cause(why string, parts []tested, r *Result, info Info) Text {
	when := joinWhens(parts)
	least := parts[0].Rounds
	var en, zh []string // the variants it is about
	for _, t := range parts {
		least = min(least, t.Rounds)
		if l := label(info, t.Series, t.failing); t.failing != "" && !slices.Contains(en, l.En) {
			en, zh = append(en, l.En), append(zh, l.Zh)
		}
	}
	names := Text{strings.Join(en, ", "), strings.Join(zh, "、")}
	inEn, inZh := brackets(when)
	switch why {
	case WhyFailed:
		return Text{"No trial of " + names.En + " succeeded" + inEn + ".", chinese(names.Zh, "的试验没有一次成功") + inZh + "。"}
	case WhyUncounted:
		if r.warned("uncounted") {
			return Text{"It is about a number of system calls, and this kernel does not let BPF programs count them.", "这一论断说的是系统调用次数，而此内核不允许 BPF 程序对系统调用计数。"}
		}
		return Text{"The round that counts the system calls of " + names.En + " failed.", chinese("为", names.Zh, "的系统调用计数的那一轮失败了。")}
	case WhyAbsent:
		return Text{"The run has no such figure of " + names.En + inEn + ".", chinese("这次运行没有", names.Zh, "的这项数据") + inZh + "。"}
	case WhyFew:
		return Text{
			fmt.Sprintf("Only %s can be compared%s; a verdict needs %d.", plural(least, "round", "rounds"), inEn, fewest),
			fmt.Sprintf("只有 %d 轮可以比较%s，下结论至少需要 %d 轮。", least, inZh, fewest),
		}
	case WhyQuick:
		return Text{"A quick run leaves this out" + inEn + "; a full run measures it.", "快速运行不测这一项" + inZh + "，完整运行会测。"}
	}
	return Text{
		"Undecided" + inEn + ": the interval lies on both sides of the bound. More trials or a quieter machine may decide it.",
		"无法判定" + inZh + "：区间跨在界限两侧。增加试验次数，或换一台更空闲的机器，也许能判定。",
	}
}

// brackets puts a condition into brackets, if there is one.
func brackets(when Text) (en, zh string) {
	if when == (Text{}) {
		return "", ""
	}
	return " (" + when.En + ")", "（" + when.Zh + "）"
}

// chinese joins words, with a space where Chinese and other letters meet.
func chinese(words ...string) string {
	out := words[0]
	for _, word := range words[1:] {
		last, _ := utf8.DecodeLastRuneInString(out)
		first, _ := utf8.DecodeRuneInString(word)
		if out != "" && word != "" && (last < utf8.RuneSelf) != (first < utf8.RuneSelf) {
			out += " "
		}
		out += word
	}
	return out
}

// joinWhens lists the conditions of parts, each once.
func joinWhens(parts []tested) Text {
	var en, zh []string
	for _, t := range parts {
		if t.when == (Text{}) || slices.Contains(en, t.when.En) {
			continue
		}
		en, zh = append(en, t.when.En), append(zh, t.when.Zh)
	}
	return Text{strings.Join(en, "; "), strings.Join(zh, "；")}
}

// label is what people are shown of a variant.
func label(info Info, series, variant string) Text {
	for _, s := range info.Series {
		if s.ID != series {
			continue
		}
		for _, v := range s.Variants {
			if v.ID == variant && v.Label != (Text{}) {
				return v.Label
			}
		}
	}
	return Text{variant, variant}
}

// seriesLabel is what people are shown of a series.
func (i Info) seriesLabel(id string) Text {
	for _, s := range i.Series {
		if s.ID == id && s.Label != (Text{}) {
			return s.Label
		}
	}
	return Text{id, id}
}

// counts tells that the metric is a number of things.
func (m Metric) counts() bool { return m.Unit == "calls" || m.Unit == "switches" }

// metric finds one by its id; it has at least a label.
func (i Info) metric(id string) Metric {
	for _, m := range i.Metrics {
		if m.ID == id {
			if m.Label == (Text{}) {
				m.Label = Text{id, id}
			}
			return m
		}
	}
	return Metric{ID: id, Label: Text{id, id}}
}
