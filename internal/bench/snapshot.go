package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz/epoll"
)

//go:embed chase/chase.c
var chaseSource []byte

// snapshot reads instances of four sizes. In each round the pointer chase and
// the snapshots take turns, on one CPU: right after themselves (warm) and after
// other memory was read (cold).
func snapshot(ctx context.Context, e *env, r *report) error {
	chase, err := compileChase(ctx, e)
	if err != nil {
		r.note("no pointer chase to compare with: %v", err)
	}
	view, err := epoll.New(ctx, epoll.Options{NoTransitions: true})
	if err != nil {
		return err
	}
	defer view.Close()

	// The measuring thread stays on one CPU, the same as the chase's.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	cpu := lastCPU(&all)
	one.Set(cpu)
	for _, n := range pick(e, []int{1000, 20_000, 100_000, 1_000_000}, []int{1000, 20_000}) {
		e.say("  %s items", grouped(n))
		f, err := e.startChurn(ctx, n)
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			return err
		}
		err = snapshotOf(ctx, e, r, view, f.target(), n, chase, cpu)
		if back := unix.SchedSetaffinity(0, &all); back != nil {
			err = errors.Join(err, back)
		}
		f.stop()
		if err != nil {
			return fmt.Errorf("%s items: %w", grouped(n), err)
		}
	}
	return nil
}

// timings are the series of one size, warm or cold.
type timings struct{ chase, kernel, read, model, proved, longest series }

func snapshotOf(ctx context.Context, e *env, r *report, view *epoll.View, target string, n int, chase string, cpu int) error {
	watch, err := view.Stopwatch(ctx, target)
	if err != nil {
		return err
	}
	defer watch.Close()
	drop := dropMiB()
	var chaser *peer
	if chase != "" {
		if chaser, err = start(ctx, chase, strconv.Itoa(n), strconv.Itoa(drop), strconv.Itoa(cpu)); err != nil {
			return err
		}
		defer chaser.stop()
	}
	rounds := pick(e, 40, 12)
	if n >= 1_000_000 {
		rounds = pick(e, 12, 5)
	}
	var warm, cold timings
	for range rounds {
		if err := warm.round(ctx, watch, chaser, n, false); err != nil {
			return err
		}
		if chaser == nil {
			continue
		}
		if err := cold.round(ctx, watch, chaser, n, true); err != nil {
			return err
		}
	}
	r.of("%s items", grouped(n))
	for _, c := range []struct {
		name string
		t    *timings
	}{{"warm", &warm}, {"cold", &cold}} {
		if len(c.t.kernel) == 0 {
			continue
		}
		t := c.t
		if len(t.chase) > 0 {
			r.add(c.name+": pointer chase in C", nanoseconds, t.chase)
		}
		r.add(c.name+": snapshot in the kernel", nanoseconds, t.kernel)
		r.add(c.name+": … with the instant proved", nanoseconds, t.proved)
		r.add(c.name+": until Go has a copy", nanoseconds, t.read)
		r.add(c.name+": until Go has a checked model", nanoseconds, t.model)
		if len(t.chase) > 0 {
			r.hold(c.name+": kernel / chase", ratio, t.kernel.over(t.chase), "p50", 1)
			r.hold(c.name+": checked model / chase", ratio, t.model.over(t.chase), "p50", 2.5)
		}
		r.add(c.name+": checked model / kernel", ratio, t.model.over(t.kernel))
	}
	r.hold("longest run of the program", nanoseconds, append(warm.longest, cold.longest...), "max", 2e6)
	if chaser != nil && n == 1000 {
		r.note("cold: after %d MiB of other memory were read; this CPU's last-level cache has %d MiB", drop, lastCache()>>20)
	}
	return nil
}

// round measures everything once.
func (t *timings) round(ctx context.Context, watch *epoll.Stopwatch, chase *peer, n int, cold bool) error {
	prepare := func(again func() error) error {
		if !cold {
			return again() // what it leaves in the caches is the warmth
		}
		var took float64
		return chase.ask("drop", &took)
	}
	if chase != nil {
		var took float64
		if err := prepare(func() error { return chase.ask("chase", &took) }); err != nil {
			return err
		}
		if err := chase.ask("chase", &took); err != nil {
			return err
		}
		t.chase = append(t.chase, took)
	}
	for _, instant := range []bool{false, true} {
		read := func() (epoll.Reading, error) {
			got, err := watch.Read(ctx, instant)
			switch {
			case err != nil:
				return got, err
			case !got.Whole || got.Items != n || instant && !got.Instant:
				return got, fmt.Errorf("a tree of %d items that nobody changes was read as %+v", n, got)
			}
			return got, nil
		}
		if err := prepare(func() error { _, err := read(); return err }); err != nil {
			return err
		}
		got, err := read()
		if err != nil {
			return err
		}
		t.longest = append(t.longest, float64(got.Longest))
		if instant {
			t.proved = append(t.proved, float64(got.Kernel))
			continue
		}
		t.kernel = append(t.kernel, float64(got.Kernel))
		t.read = append(t.read, float64(got.Read))
		t.model = append(t.model, float64(got.Model))
	}
	return nil
}

// compileChase builds the pointer chase.
func compileChase(ctx context.Context, e *env) (string, error) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		return "", errors.New("there is no C compiler (apt-get install gcc)")
	}
	source, program := filepath.Join(e.dir, "chase.c"), filepath.Join(e.dir, "chase")
	if err := os.WriteFile(source, chaseSource, 0o600); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, cc, "-O2", "-o", program, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling it: %w: %s", err, out)
	}
	return program, nil
}

// dropMiB is how much is read to empty the caches: twice the last one, as far
// as a shared machine can bear it.
func dropMiB() int { return min(max(2*lastCache()>>20, 64), 1024) }

// lastCache is the size in bytes of the last-level cache, 0 if unknown.
func lastCache() int {
	for index := 3; index > 0; index-- {
		b, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu0/cache/index%d/size", index))
		if err != nil {
			continue
		}
		kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(string(b)), "K"))
		if err == nil {
			return kib << 10
		}
	}
	return 0
}

func lastCPU(set *unix.CPUSet) int {
	last := 0
	for i := range 1024 {
		if set.IsSet(i) {
			last = i
		}
	}
	return last
}

// grouped writes 1000000 as 1,000,000.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
