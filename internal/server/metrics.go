package server

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics are what /metrics shows. Labels are views and kinds of events, never
// pids, fds or topics: their number must not grow with what is watched.
type metrics struct {
	registry *prometheus.Registry

	viewers   prometheus.Gauge
	rooms     *prometheus.GaugeVec   // view
	sent      *prometheus.CounterVec // view
	bytes     *prometheus.CounterVec // view
	dropped   *prometheus.CounterVec // view
	unchanged *prometheus.CounterVec // view
	sample    *prometheus.HistogramVec
	encode    *prometheus.HistogramVec
	cost      *prometheus.GaugeVec
	torn      *prometheus.CounterVec

	stale    prometheus.Counter
	halved   prometheus.Counter
	closed   *prometheus.CounterVec // reason
	refused  *prometheus.CounterVec // reason
	rejected prometheus.Counter
	running  prometheus.Gauge
}

func newMetrics(version string) *metrics {
	byView := []string{"view"}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "kernelviz", Name: name, Help: help})
	}
	gauges := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "kernelviz", Name: name, Help: help}, byView)
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "kernelviz", Name: name, Help: help})
	}
	counters := func(name, help string, labels []string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "kernelviz", Name: name, Help: help}, labels)
	}
	seconds := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "kernelviz", Name: name, Help: help,
			Buckets: prometheus.ExponentialBuckets(10e-6, 4, 10), // 10 µs to 2.6 s
		}, byView)
	}
	m := &metrics{
		registry:  prometheus.NewRegistry(),
		viewers:   gauge("viewers", "Pages connected."),
		rooms:     gauges("watches", "Kernel objects being watched."),
		sent:      counters("frames_sent_total", "Frames written to pages.", byView),
		bytes:     counters("frame_bytes_sent_total", "Bytes of frames written to pages.", byView),
		dropped:   counters("frames_dropped_total", "Frames dropped because a page was slow.", byView),
		unchanged: counters("frames_unchanged_total", "Frames not made because nothing had changed.", byView),
		sample:    seconds("sample_seconds", "Time to read one snapshot from the kernel and check it."),
		encode:    seconds("encode_seconds", "Time to make one frame."),
		cost:      gauges("probe_cost_cpus", "CPUs spent in the kernel on probes, as the views report it."),
		torn:      counters("snapshots_torn_total", "Snapshots sent marked as not whole.", byView),
		stale:     counter("clients_stale_total", "Times that a page's queue was full and emptied."),
		halved:    counter("clients_halved_total", "Times that a slow page's rate was halved."),
		closed:    counters("clients_closed_total", "Pages disconnected by the server.", []string{"reason"}),
		refused:   counters("requests_refused_total", "Requests without the right token, Host or Origin.", []string{"reason"}),
		rejected:  counter("messages_rejected_total", "Control messages answered with an error."),
		running:   gauge("workloads", "Workloads running."),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "kernelviz", Name: "build_info", Help: "1, labelled with the version.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	m.registry.MustRegister(info, m.viewers, m.rooms, m.sent, m.bytes, m.dropped, m.unchanged, m.sample, m.encode,
		m.cost, m.torn, m.stale, m.halved, m.closed, m.refused, m.rejected, m.running,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// viewMetrics are the metrics of one view with the label resolved, for the
// paths that run for every frame.
type viewMetrics struct {
	sent, bytes, dropped, unchanged, torn prometheus.Counter
	sample, encode                        prometheus.Observer
	rooms, cost                           prometheus.Gauge
}

func (m *metrics) view(name string) *viewMetrics {
	return &viewMetrics{
		sent:      m.sent.WithLabelValues(name),
		bytes:     m.bytes.WithLabelValues(name),
		dropped:   m.dropped.WithLabelValues(name),
		unchanged: m.unchanged.WithLabelValues(name),
		torn:      m.torn.WithLabelValues(name),
		sample:    m.sample.WithLabelValues(name),
		encode:    m.encode.WithLabelValues(name),
		rooms:     m.rooms.WithLabelValues(name),
		cost:      m.cost.WithLabelValues(name),
	}
}
