package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/kernelviz/uring"
	"kernelviz/internal/workload"
)

// rings measures what being watched costs the owner of a ring, and what one
// look at a ring costs us.
func rings(ctx context.Context, e *env, r *report) error {
	info, err := kernel.Probe(ctx)
	if err != nil {
		return err
	}
	if c, ok := info.Capability(kernel.IOUring); ok && !c.OK {
		return fmt.Errorf("%w: %s", errMissing, c.Reason)
	}
	shared, err := startRingWatcher(ctx, info, false)
	if err != nil {
		return err
	}
	defer shared.close()
	lives, err := startRingWatcher(ctx, info, true)
	if err != nil {
		return err
	}
	defer lives.close()
	owner, err := e.startRing(ctx)
	if err != nil {
		return err
	}
	defer owner.stop()

	while := func(w *watcher) func(func() error) error {
		return func(f func() error) error { return w.while(ctx, owner.target(), f) }
	}
	segment := pick(e, time.Second, 300*time.Millisecond)
	e.say("  the owner of a ring")
	r.of("watched: NOPs at full speed through a ring of 64")
	err = compare(r, pick(e, 15, 3), segment, owner.spin(ctx), []way{
		{"watched by shared memory", while(shared), segment, 1.02},
		{"watched with request lives", while(lives), cycle, 1.5},
	})
	if err != nil {
		return err
	}
	e.say("  one look")
	r.of("one look at the heads and tails of that ring")
	return peeks(ctx, e, r, info, owner)
}

func startRingWatcher(ctx context.Context, info *kernel.Info, lives bool) (*watcher, error) {
	view, err := uring.New(ctx, uring.Options{Kernel: info, NoLives: !lives})
	if err != nil {
		return nil, err
	}
	return serveView(ctx, info, view)
}

// peeks measures Peek: four words of the memory that the ring's owner and the
// kernel share.
func peeks(ctx context.Context, e *env, r *report, info *kernel.Info, owner *spinner) error {
	view, err := uring.New(ctx, uring.Options{Kernel: info, NoLives: true})
	if err != nil {
		return err
	}
	defer view.Close()
	watch, err := view.Open(ctx, owner.target())
	if err != nil {
		return err
	}
	defer watch.Close()
	peeker, ok := watch.(interface {
		Peek() (sqHead, sqTail, cqHead, cqTail uint32)
	})
	if !ok {
		return fmt.Errorf("%w: the ring is not read from shared memory here", errMissing)
	}
	const many = 2_000_000
	var one series
	var sink uint32
	for range pick(e, 40, 10) {
		began := time.Now()
		for range many {
			a, b, c, d := peeker.Peek()
			sink += a ^ b ^ c ^ d
		}
		one = append(one, float64(time.Since(began))/many)
	}
	_ = sink
	r.hold("a sample", nanoseconds, one, "p50", 10)
	var whole series
	for range pick(e, 2000, 200) {
		began := time.Now()
		if _, err := watch.Sample(ctx); err != nil {
			return err
		}
		whole = append(whole, float64(time.Since(began)))
	}
	r.add("a whole snapshot, kernel side included", nanoseconds, whole)
	return nil
}

// spinner is a ring puppet that pushes NOPs through one ring.
type spinner struct {
	process *workload.Process
	fd      int
}

func (e *env) startRing(ctx context.Context) (*spinner, error) {
	e.started++
	p, err := workload.Start(ctx, e.box, "ring", workload.Options{ID: fmt.Sprintf("ring-%d", e.started)})
	if err != nil {
		return nil, err
	}
	s := &spinner{process: p}
	answer, err := p.Do(ctx, json.RawMessage(`{"op":"setup","entries":64}`))
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("making a ring: %w", err)
	}
	var made struct {
		FDs []int `json:"fds"`
	}
	if err := json.Unmarshal(answer, &made); err != nil || len(made.FDs) != 1 {
		s.stop()
		return nil, fmt.Errorf("making a ring: answer %s", answer)
	}
	s.fd = made.FDs[0]
	return s, nil
}

// spin lets it push NOPs for a while; what is measured is its own CPU time a NOP.
func (s *spinner) spin(ctx context.Context) func(time.Duration) (cost, error) {
	return func(d time.Duration) (cost, error) {
		answer, err := s.process.Do(ctx, json.RawMessage(fmt.Sprintf(`{"op":"spin","ring":%d,"seconds":%g}`, s.fd, d.Seconds())))
		if err != nil {
			return cost{}, err
		}
		var result struct {
			Spin struct {
				Ops     float64 `json:"ops"`
				CPU     float64 `json:"cpu"`
				Seconds float64 `json:"seconds"`
			} `json:"spin"`
		}
		if err := json.Unmarshal(answer, &result); err != nil {
			return cost{}, fmt.Errorf("answer %s of the ring puppet: %w", answer, err)
		}
		did := result.Spin
		if did.Ops == 0 {
			return cost{}, fmt.Errorf("the ring puppet did nothing in %v: %s", d, answer)
		}
		return cost{1e9 * did.CPU / did.Ops, 1e9 * did.Seconds / did.Ops}, nil
	}
}

func (s *spinner) target() string { return fmt.Sprintf("%d:%d", s.process.PID(), s.fd) }

func (s *spinner) stop() { _ = s.process.Stop() }
