package epoll

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
)

// bpfHeld counts what this process holds of the kernel's BPF objects: programs,
// maps, links and iterators by fd, and maps by mapping. Nothing is pinned, so
// what no process holds is gone.
func bpfHeld(t testing.TB) map[string]int {
	t.Helper()
	runtime.GC() // unmaps what the library keeps of closed maps
	out := map[string]int{}
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fds {
		link, err := os.Readlink(f)
		if err == nil && strings.Contains(link, "bpf") {
			out[link]++
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if i := strings.Index(line, "anon_inode:bpf"); i >= 0 {
			out["mapping of "+strings.TrimSpace(line[i:])]++
		}
	}
	return out
}

// programIDs are those of our programs that are loaded now.
func programIDs(t testing.TB, colls ...*ebpf.Collection) map[string]ebpf.ProgramID {
	t.Helper()
	out := map[string]ebpf.ProgramID{}
	for _, c := range colls {
		for name, p := range c.Programs {
			info, err := p.Info()
			if err != nil {
				t.Fatal(err)
			}
			id, ok := info.ID()
			if !ok {
				t.Fatal("this kernel gives programs no ids")
			}
			out[name] = id
		}
	}
	return out
}

// awaitUnloaded waits until the kernel has none of these programs. They are
// freed after a grace period.
func awaitUnloaded(t testing.TB, ids map[string]ebpf.ProgramID) {
	t.Helper()
	end := time.Now().Add(deadline)
	for name, id := range ids {
		for {
			p, err := ebpf.NewProgramFromID(id)
			if errors.Is(err, os.ErrNotExist) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			p.Close()
			if time.Now().After(end) {
				t.Fatalf("program %s (id %d) is still loaded", name, id)
			}
			runtime.Gosched()
		}
	}
}

// Nobody watches: nothing is attached and nothing but discovery is loaded. The
// view is closed: nothing is left at all.
func TestCloseLeavesNothing(t *testing.T) {
	for _, tier := range []string{TierKfunc, TierProbeRead} {
		t.Run(tier, func(t *testing.T) {
			needs(t, tier)
			before, openBefore := bpfHeld(t), openFiles(t)
			v, err := New(context.Background(), Options{Kernel: kernelInfo(t), Tier: tier})
			if err != nil {
				t.Fatal(err)
			}
			idle := bpfHeld(t)
			discovery := programIDs(t, v.probe.discovery)

			ep, other := newInstance(t), newInstance(t)
			fd := ep.addEventfds(t, 3)[0]
			var watches []kernelviz.Watch
			for _, name := range []string{ep.name(), ep.name(), other.name()} {
				w, err := v.Open(context.Background(), name)
				if err != nil {
					t.Fatal(err)
				}
				ring(t, fd)
				if _, err := w.Sample(context.Background()); err != nil {
					t.Fatal(err)
				}
				watches = append(watches, w)
			}
			v.tracer.mu.Lock()
			watching := programIDs(t, v.probe.walker.coll, v.tracer.coll)
			v.tracer.mu.Unlock()
			if len(watching) < 3 || fmt.Sprint(bpfHeld(t)) == fmt.Sprint(idle) {
				t.Fatalf("while three watch, only %v is loaded", watching)
			}
			for i, w := range watches {
				if i > 0 {
					// The others are still served.
					if _, err := w.Sample(context.Background()); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
			}
			awaitUnloaded(t, watching)
			awaitHeld(t, idle)

			// Again, and with the target dying under it.
			w, err := v.Open(context.Background(), other.name())
			if err != nil {
				t.Fatal(err)
			}
			other.close()
			if _, err := w.Sample(context.Background()); !errors.Is(err, kernelviz.ErrGone) {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
			awaitUnloaded(t, discovery)
			awaitHeld(t, before)
			ep.close()
			unix.Close(fd)
			if n := openFiles(t); n > openBefore+3 { // the other eventfds of the test
				t.Errorf("%d files are open, %d were before", n, openBefore)
			}
		})
	}
}

// awaitHeld waits until this process holds no more than it did: the bell's
// goroutine closes its fds in its own time, the collector unmaps in its own.
func awaitHeld(t testing.TB, want map[string]int) {
	t.Helper()
	end := time.Now().Add(deadline)
	for {
		got := bpfHeld(t)
		more := false
		for what, n := range got {
			more = more || n > want[what]
		}
		if !more {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("held: %v, want %v", got, want)
		}
		runtime.Gosched()
	}
}

func openFiles(t testing.TB) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// Watching again and again costs nothing that stays.
func TestWatchingAgainLeaksNothing(t *testing.T) {
	eachTracedTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		ep.addEventfds(t, 3)
		once := func() {
			w, err := v.Open(context.Background(), ep.name())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Sample(context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
		once()
		idle, files, goroutines := bpfHeld(t), openFiles(t), runtime.NumGoroutine()
		for range 4 {
			once()
		}
		awaitHeld(t, idle)
		end := time.Now().Add(deadline)
		for openFiles(t) > files || runtime.NumGoroutine() > goroutines {
			if time.Now().After(end) {
				t.Fatalf("%d files (were %d), %d goroutines (were %d)", openFiles(t), files, runtime.NumGoroutine(), goroutines)
			}
			runtime.Gosched()
		}
	})
}

// A snapshot may outlive its watch and its view: frames are made of it all the
// same, only what would have to be looked up anew is missing.
func TestSnapshotOutlivesItsView(t *testing.T) {
	needs(t, TierProbeRead)
	v, err := New(context.Background(), Options{Kernel: kernelInfo(t), NoTransitions: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{100, kernelviz.MaxWhole + 1} {
		ep := newInstance(t)
		ep.addEventfds(t, n)
		w, err := v.Open(context.Background(), ep.name())
		if err != nil {
			t.Fatal(err)
		}
		s := sample(t, w)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			out, _, key := s.AppendSections(nil, kernelviz.Viewport{Lo: 10, Hi: 60, Px: 1200}, nil)
			if !key || len(out) == 0 {
				t.Error("no frame")
			}
		}()
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}
