package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// unit says what the numbers of a series are.
type unit string

const (
	nanoseconds unit = "ns"
	ratio       unit = "ratio"
	bytes       unit = "bytes"
	count       unit = "count"
	share       unit = "share" // of one, shown as per cent
)

// format writes a value for people, with three significant digits or so.
func (u unit) format(v float64) string {
	switch u {
	case nanoseconds:
		return scaled(v, 1000, "ns", "µs", "ms", "s")
	case bytes:
		return scaled(v, 1024, "B", "KiB", "MiB", "GiB")
	case ratio:
		return fmt.Sprintf("%.3f×", v)
	case share:
		return fmt.Sprintf("%.1f %%", 100*v)
	}
	return fmt.Sprintf("%.0f", v)
}

func scaled(v, step float64, names ...string) string {
	i := 0
	for math.Abs(v) >= step && i < len(names)-1 {
		v /= step
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%.0f %s", v, names[0])
	}
	return fmt.Sprintf("%.1f %s", v, names[i])
}

// result is one line of the table.
type result struct {
	Bench string `json:"bench"`
	Case  string `json:"case"` // "1,000 items"
	What  string `json:"what"` // "in the kernel, warm"
	Unit  unit   `json:"unit"`
	N     int    `json:"n"` // measurements

	Min    float64 `json:"min"`
	P10    float64 `json:"p10"`
	Median float64 `json:"median"`
	P90    float64 `json:"p90"`
	P95    float64 `json:"p95"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`

	Aim *aim `json:"aim,omitempty"`
}

// aim is what the result is held against.
type aim struct {
	Of    string  `json:"of"` // "p50", "p95", "p99" or "max"
	Limit float64 `json:"limit"`
	Met   bool    `json:"met"`
}

func newResult(bench, cas, what string, u unit, s series) result {
	return result{
		Bench: bench, Case: cas, What: what, Unit: u, N: len(s),
		Min: s.at(0), P10: s.at(0.1), Median: s.at(0.5), P90: s.at(0.9), P95: s.at(0.95), P99: s.at(0.99), Max: s.at(1),
	}
}

// aim holds the result against a limit of its p50, p95, p99 or max.
func (r result) aim(of string, limit float64) result {
	got := map[string]float64{"p50": r.Median, "p95": r.P95, "p99": r.P99, "max": r.Max}[of]
	r.Aim = &aim{Of: of, Limit: limit, Met: got <= limit}
	return r
}

// report collects what one bench finds.
type report struct {
	bench string
	cas   string // of the results that follow
	rows  []result
	notes []string
}

// of sets the case of the results that follow.
func (r *report) of(format string, args ...any) { r.cas = fmt.Sprintf(format, args...) }

func (r *report) add(what string, u unit, s series) *result {
	r.rows = append(r.rows, newResult(r.bench, r.cas, what, u, s))
	return &r.rows[len(r.rows)-1]
}

// hold adds a result that has an aim.
func (r *report) hold(what string, u unit, s series, of string, limit float64) {
	row := r.add(what, u, s)
	*row = row.aim(of, limit)
}

// note adds a sentence below the table.
func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r *report) print(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "\tp10\tmedian\tp90\tp99\tmax\tn\t aim\n")
	cas := ""
	for _, row := range r.rows {
		if row.Case != cas {
			cas = row.Case
			// A line of its own, without cells, ends the columns above it.
			fmt.Fprintf(out, "%s\t\t\t\t\t\t\t\n", leftAligned(cas, width(r.rows)))
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t %s\n", leftAligned("  "+row.What, width(r.rows)),
			row.Unit.format(row.P10), row.Unit.format(row.Median), row.Unit.format(row.P90),
			row.Unit.format(row.P99), row.Unit.format(row.Max), row.N, row.Aim.text(row.Unit))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, n := range r.notes {
		fmt.Fprintf(w, "  note: %s\n", n)
	}
	return nil
}

// width is the number of runes of the longest first cell.
func width(rows []result) int {
	n := 0
	for _, r := range rows {
		n = max(n, len([]rune(r.What))+2, len([]rune(r.Case)))
	}
	return n
}

func leftAligned(s string, width int) string {
	return s + strings.Repeat(" ", width-len([]rune(s)))
}

func (a *aim) text(u unit) string {
	if a == nil {
		return ""
	}
	verdict := "missed"
	if a.Met {
		verdict = "met"
	}
	return fmt.Sprintf("%s ≤ %s: %s", a.Of, u.format(a.Limit), verdict)
}
