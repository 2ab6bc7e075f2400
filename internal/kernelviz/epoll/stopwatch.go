package epoll

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kernelviz/internal/kernelviz"
)

// Reading is one snapshot of an instance with the time it took.
type Reading struct {
	Items int
	// Kernel is the time inside the BPF program, all runs together, on
	// bpf_ktime_get_ns; Longest is the longest run, for which it held a CPU.
	Kernel, Longest time.Duration
	// Read is the wall time until the capture is copied out; Model until it is
	// also checked: every invariant, with nothing known from before.
	Read, Model time.Duration
	// Whole and Instant are as in kernelviz.Truth.
	Whole, Instant bool
}

// Stopwatch measures snapshots of one instance, one try each and without the
// frames that a watch makes of them. It is not safe for concurrent use.
type Stopwatch struct {
	probe  *probe
	target discoverTarget
}

// Stopwatch loads what a watch of the instance would load. name is "PID:FD".
// The caller closes the Stopwatch.
func (v *View) Stopwatch(ctx context.Context, name string) (*Stopwatch, error) {
	if v.probe == nil {
		return nil, errors.New("snapshots are measured in the BPF tiers only")
	}
	pid, fd, err := parseName(name)
	if err != nil {
		return nil, err
	}
	t, err := v.find(ctx, pid, fd)
	if err != nil {
		return nil, err
	}
	if err := v.probe.acquire(); err != nil {
		return nil, err
	}
	return &Stopwatch{probe: v.probe, target: t}, nil
}

// Read makes a snapshot; with instant also the second pass that proves it to
// be one instant.
func (s *Stopwatch) Read(ctx context.Context, instant bool) (Reading, error) {
	began := time.Now()
	var c capture
	if err := s.probe.snapshot(ctx, &s.target, instant, &c); err != nil {
		return Reading{}, fmt.Errorf("measuring a snapshot: %w", err)
	}
	read := time.Since(began)
	t := buildTree(&c)
	return Reading{
		Items:  len(c.nodes),
		Kernel: time.Duration(c.args.Spent), Longest: c.longest,
		Read: read, Model: time.Since(began),
		Whole:   t.broken == kernelviz.BrokenNone && c.args.BadLinks == 0,
		Instant: instant && c.args.Changed == 0,
	}, nil
}

// Close gives back what was loaded.
func (s *Stopwatch) Close() { s.probe.release() }
