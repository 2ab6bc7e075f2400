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

// method is one way to find the ready ones.
type method interface {
	name() string
	// fds are what it watches.
	fds() []int
	// serve finds those that are ready, at least one, and handles each. It
	// returns how many there were.
	serve(handle func(fd int) error) (int, error)
}

// measure runs the methods in turn, round by round: what disturbs the machine
// disturbs all three.
func measure(n, active, rounds int) (Result, error) {
	// The items of an instance are called back when their file is read, which
	// select and poll must not pay for: epoll has descriptors of its own.
	plain, err := eventfds(n)
	defer closeAll(plain)
	if err != nil {
		return Result{}, err
	}
	watched, err := eventfds(n)
	defer closeAll(watched)
	if err != nil {
		return Result{}, err
	}
	ep, err := newEpoll(watched)
	if err != nil {
		return Result{}, err
	}
	defer ep.close()
	methods := []method{newSelect(plain), newPoll(plain), ep}
	clock := clockCost()
	costs := make([][]float64, len(methods))
	end := time.Now().Add(most)
	var r Result
	for round := range warmUp + rounds {
		if done := round - warmUp; done > 0 && time.Now().After(end) {
			r.Stopped = control.Errorf("too_slow", "made %d of %d rounds in %v", done, rounds, most)
			break
		}
		for i, m := range methods {
			cost, err := once(m, active, round, clock)
			if err != nil {
				return Result{}, fmt.Errorf("%s: %w", m.name(), err)
			}
			if round >= warmUp {
				costs[i] = append(costs[i], cost)
			}
		}
	}
	for i, m := range methods {
		slices.Sort(costs[i])
		r.Runs = append(r.Runs, Row{
			Method: m.name(), N: n, Active: active, Rounds: len(costs[i]),
			Low: quantile(costs[i], 1), US: quantile(costs[i], 2), High: quantile(costs[i], 3),
		})
	}
	return r, nil
}

// quantile is the q-th quarter of what is sorted.
func quantile(sorted []float64, q int) float64 { return sorted[(len(sorted)-1)*q/4] }

// once makes descriptors ready and measures the CPU time until all are served,
// in microseconds an event. Making them ready is not measured.
func once(m method, active, round int, clock int64) (float64, error) {
	fds := m.fds()
	spent, events := int64(0), 0
	for pass := 0; events < atLeast; pass++ {
		// Spread over all of them, elsewhere in each pass.
		start := (round*7919 + pass*104_729) % len(fds)
		for k := range active {
			fd := fds[(start+k*(len(fds)/active))%len(fds)]
			if err := ring(fd); err != nil {
				return 0, err
			}
		}
		before := threadCPU()
		for served := 0; served < active; {
			n, err := m.serve(handle)
			if err != nil {
				return 0, err
			}
			served += n
		}
		spent += max(0, threadCPU()-before-clock)
		events += active
	}
	return float64(spent) / 1000 / float64(events), nil
}

// clockCost is what a look at the clock adds to what it measures, in ns.
func clockCost() int64 {
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

func eventfds(n int) ([]int, error) {
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

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
