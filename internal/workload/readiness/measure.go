package readiness

import (
	"fmt"
	"slices"
	"time"

	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

const (
	// warmUp is how many rounds are made first and not counted.
	warmUp = 3
	// atLeast is how many events a round has: it repeats itself where fewer are
	// active, since one event is not much longer than the look at the clock.
	atLeast = 32
)

// measure runs the methods in turn, round by round: what disturbs the machine
// disturbs all three.
func measure(n, active, rounds int) (Result, error) {
	// The items of an instance are called back when their file is read, which
	// select and poll must not pay for: epoll has descriptors of its own.
	plain, err := Eventfds(n)
	defer CloseAll(plain)
	if err != nil {
		return Result{}, err
	}
	watched, err := Eventfds(n)
	defer CloseAll(watched)
	if err != nil {
		return Result{}, err
	}
	ep, err := NewEpoll(watched)
	if err != nil {
		return Result{}, err
	}
	defer ep.Close()
	methods := []Method{NewSelect(plain), NewPoll(plain), ep}
	clock := ClockCost()
	costs := make([][]float64, len(methods))
	end := time.Now().Add(most)
	var r Result
	for round := range warmUp + rounds {
		if done := round - warmUp; done > 0 && time.Now().After(end) {
			r.Stopped = control.Errorf("too_slow", "made %d of %d rounds in %v", done, rounds, most)
			break
		}
		for i, m := range methods {
			cost, err := Once(m, active, round, clock)
			if err != nil {
				return Result{}, fmt.Errorf("%s: %w", m.Name(), err)
			}
			if round >= warmUp {
				costs[i] = append(costs[i], float64(cost.Serving)/1000/float64(cost.Events))
			}
		}
	}
	for i, m := range methods {
		slices.Sort(costs[i])
		r.Runs = append(r.Runs, Row{
			Method: m.Name(), N: n, Active: active, Rounds: len(costs[i]),
			Low: quantile(costs[i], 1), US: quantile(costs[i], 2), High: quantile(costs[i], 3),
		})
	}
	return r, nil
}

// quantile is the q-th quarter of what is sorted.
func quantile(sorted []float64, q int) float64 { return sorted[(len(sorted)-1)*q/4] }

// Cost is what some events cost this thread in CPU time, in ns.
type Cost struct {
	Events  int
	Serving int64 // from the question which are ready until all are served
	All     int64 // with making them ready
}

// Add adds another cost.
func (c *Cost) Add(other Cost) {
	c.Events += other.Events
	c.Serving += other.Serving
	c.All += other.All
}

// Once makes descriptors ready, so many at a time, and lets the method serve
// them until none is ready; again where they are few. Which ones depends on the
// round. clock is ClockCost. The caller has locked the goroutine to its thread.
func Once(m Method, active, round int, clock int64) (Cost, error) {
	fds := m.FDs()
	var c Cost
	for pass := 0; c.Events < atLeast; pass++ {
		// Spread over all of them, elsewhere in each pass.
		start := (round*7919 + pass*104_729) % len(fds)
		begin := threadCPU()
		for k := range active {
			fd := fds[(start+k*(len(fds)/active))%len(fds)]
			if err := ring(fd); err != nil {
				return Cost{}, err
			}
		}
		before := threadCPU()
		for served := 0; served < active; {
			n, err := m.Serve(handle)
			if err != nil {
				return Cost{}, err
			}
			served += n
		}
		after := threadCPU()
		c.Serving += max(0, after-before-clock)
		c.All += max(0, after-begin-2*clock)
		c.Events += active
	}
	return c, nil
}

// ClockCost is what a look at the clock adds to what it measures, in ns.
func ClockCost() int64 {
	var costs []int64
	for range 101 {
		before := threadCPU()
		costs = append(costs, threadCPU()-before)
	}
	slices.Sort(costs)
	return costs[len(costs)/2]
}

// threadCPU is the CPU time of this thread, in ns.
func threadCPU() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0 // the clock exists on every Linux
	}
	return t.Nano()
}

// Eventfds makes that many, not ready. Those that it made before an error are
// returned with it; the caller closes them.
func Eventfds(n int) ([]int, error) {
	fds := make([]int, 0, n)
	for range n {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return fds, fmt.Errorf("eventfd2, number %d: %w", len(fds)+1, err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// CloseAll closes descriptors.
func CloseAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
