package server

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Metrics in the Prometheus text format, version 0.0.4. The usual client
// library is not linked because of the protocol buffers that come with it:
// their package opens the executable before main begins, by which the Go
// runtime opens an epoll instance, and the workloads, which are this binary
// too, must not have one of their own beside those that they show.

// registry is an ordered set of metric families.
type registry struct {
	mu       sync.Mutex
	families []*family
}

// family is the metrics of one name, which differ in their labels.
type family struct {
	name, help, kind string
	series           []series
}

type series struct {
	labels string // `view="epoll"`; empty if there are none
	write  func(w io.Writer, name, labels string)
}

// add registers a metric. The families of one name have one help and kind.
func (r *registry) add(name, help, kind, labels string, write func(w io.Writer, name, labels string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.families {
		if f.name == name {
			f.series = append(f.series, series{labels, write})
			return
		}
	}
	r.families = append(r.families, &family{name, help, kind, []series{{labels, write}}})
}

// label is one label with its value, as it stands between the braces.
func label(name, value string) string {
	escape := strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	return name + `="` + escape.Replace(value) + `"`
}

func (r *registry) write(to io.Writer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := bufio.NewWriter(to)
	for _, f := range r.families {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
		for _, s := range f.series {
			s.write(w, f.name, s.labels)
		}
	}
	return w.Flush()
}

func sample(w io.Writer, name, labels string, value float64) {
	if labels != "" {
		labels = "{" + labels + "}"
	}
	fmt.Fprintf(w, "%s%s %s\n", name, labels, strconv.FormatFloat(value, 'g', -1, 64))
}

// counter only rises.
type counter struct{ n atomic.Uint64 }

func (r *registry) counter(name, help, labels string) *counter {
	c := new(counter)
	r.add(name, help, "counter", labels, func(w io.Writer, name, labels string) {
		sample(w, name, labels, float64(c.n.Load()))
	})
	return c
}

func (c *counter) Inc()         { c.n.Add(1) }
func (c *counter) Add(n uint64) { c.n.Add(n) }

// gauge rises and falls.
type gauge struct{ bits atomic.Uint64 }

func (r *registry) gauge(name, help, labels string) *gauge {
	g := new(gauge)
	r.gaugeFunc(name, help, labels, g.value)
	return g
}

func (r *registry) gaugeFunc(name, help, labels string, value func() float64) {
	r.add(name, help, "gauge", labels, func(w io.Writer, name, labels string) { sample(w, name, labels, value()) })
}

func (g *gauge) value() float64 { return math.Float64frombits(g.bits.Load()) }
func (g *gauge) Inc()           { g.Add(1) }
func (g *gauge) Dec()           { g.Add(-1) }

func (g *gauge) Add(v float64) {
	for {
		old := g.bits.Load()
		if g.bits.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// histogram counts observations by size.
type histogram struct {
	bounds []float64       // upper, rising; the last bucket has none
	counts []atomic.Uint64 // one more than bounds
	sum    gauge
}

func (r *registry) histogram(name, help, labels string, bounds []float64) *histogram {
	h := &histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
	r.add(name, help, "histogram", labels, h.write)
	return h
}

func (h *histogram) Observe(v float64) {
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(v)
}

func (h *histogram) write(w io.Writer, name, labels string) {
	comma := ""
	if labels != "" {
		comma = ","
	}
	var total uint64
	for i := range h.counts {
		total += h.counts[i].Load()
		bound := "+Inf"
		if i < len(h.bounds) {
			bound = strconv.FormatFloat(h.bounds[i], 'g', -1, 64)
		}
		sample(w, name+"_bucket", labels+comma+label("le", bound), float64(total))
	}
	sample(w, name+"_sum", labels, h.sum.value())
	sample(w, name+"_count", labels, float64(total))
}
