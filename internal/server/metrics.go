package server

import (
	"bytes"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// metrics are what /metrics shows. Labels are views and kinds of events, never
// pids, fds or topics: their number must not grow with what is watched.
type metrics struct {
	registry registry

	viewers *gauge
	running *gauge // workloads

	stale    *counter
	halved   *counter
	rejected *counter

	// Why the server disconnected a page.
	closedSlow, closedGarbage *counter
	// Why a request was refused.
	refusedHost, refusedToken, refusedOrigin *counter
}

func newMetrics(version string) *metrics {
	m := new(metrics)
	r := &m.registry
	r.gaugeFunc("kernelviz_build_info", "1, labelled with the version.", label("version", version), func() float64 { return 1 })
	m.viewers = r.gauge("kernelviz_viewers", "Pages connected.", "")
	m.running = r.gauge("kernelviz_workloads", "Workloads running.", "")
	m.stale = r.counter("kernelviz_clients_stale_total", "Times that a page's queue was full and emptied.", "")
	m.halved = r.counter("kernelviz_clients_halved_total", "Times that a slow page's rate was halved.", "")
	m.rejected = r.counter("kernelviz_messages_rejected_total", "Control messages answered with an error.", "")

	closed := func(reason string) *counter {
		return r.counter("kernelviz_clients_closed_total", "Pages disconnected by the server.", label("reason", reason))
	}
	m.closedSlow, m.closedGarbage = closed("slow"), closed("garbage")
	refused := func(reason string) *counter {
		return r.counter("kernelviz_requests_refused_total", "Requests without the right Host, token or Origin.", label("reason", reason))
	}
	m.refusedHost, m.refusedToken, m.refusedOrigin = refused("host"), refused("token"), refused("origin")
	addProcess(r, time.Now())
	return m
}

// viewMetrics are the metrics of one view.
type viewMetrics struct {
	sent, bytes, dropped, unchanged, torn *counter
	sample, encode                        *histogram
	rooms, cost                           *gauge
}

func (m *metrics) view(name string) *viewMetrics {
	r := &m.registry
	view := label("view", name)
	seconds := []float64{10e-6, 25e-6, 100e-6, 250e-6, 1e-3, 2.5e-3, 10e-3, 25e-3, 100e-3, 250e-3, 1, 2.5}
	return &viewMetrics{
		rooms:     r.gauge("kernelviz_watches", "Kernel objects being watched.", view),
		sent:      r.counter("kernelviz_frames_sent_total", "Frames written to pages.", view),
		bytes:     r.counter("kernelviz_frame_bytes_sent_total", "Bytes of frames written to pages.", view),
		dropped:   r.counter("kernelviz_frames_dropped_total", "Frames dropped because a page was slow.", view),
		unchanged: r.counter("kernelviz_frames_unchanged_total", "Frames not sent because nothing had changed.", view),
		sample:    r.histogram("kernelviz_sample_seconds", "Time to read one snapshot from the kernel and check it.", view, seconds),
		encode:    r.histogram("kernelviz_encode_seconds", "Time to make one frame.", view, seconds),
		cost:      r.gauge("kernelviz_probe_cost_cpus", "CPUs spent in the kernel on probes, as the view reports it.", view),
		torn:      r.counter("kernelviz_snapshots_torn_total", "Snapshots sent marked as not whole.", view),
	}
}

// addProcess adds what is usual about a process, under the usual names.
func addProcess(r *registry, started time.Time) {
	r.gaugeFunc("go_goroutines", "Goroutines.", "", func() float64 { return float64(runtime.NumGoroutine()) })
	r.gaugeFunc("process_start_time_seconds", "When it started, since the epoch.", "", func() float64 { return float64(started.Unix()) })
	r.gaugeFunc("process_cpu_seconds", "CPU time used.", "", func() float64 {
		var u unix.Rusage
		if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
			return 0
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	})
	r.gaugeFunc("process_resident_memory_bytes", "Resident memory.", "", func() float64 {
		b, err := os.ReadFile("/proc/self/statm")
		fields := bytes.Fields(b)
		if err != nil || len(fields) < 2 {
			return 0
		}
		pages, _ := strconv.ParseFloat(string(fields[1]), 64)
		return pages * float64(os.Getpagesize())
	})
	r.gaugeFunc("process_open_fds", "File descriptors open.", "", func() float64 {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return 0
		}
		return float64(len(fds))
	})
}

func (m *metrics) serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_ = m.registry.write(w) // the reader may leave
}
