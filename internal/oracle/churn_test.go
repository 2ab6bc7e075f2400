package oracle

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/epoll"
	"kernelviz/internal/workload"
	"kernelviz/internal/workload/churn"
	"kernelviz/internal/workload/control"
)

func tell(t *testing.T, p *workload.Process, a churn.Action) churn.Result {
	t.Helper()
	var r churn.Result
	if err := ask(t.Context(), p, a, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func ask(ctx context.Context, p *workload.Process, action, result any) error {
	data, err := json.Marshal(action)
	if err != nil {
		return err
	}
	answer, err := p.Do(ctx, data)
	if err != nil {
		return fmt.Errorf("%s: %w", data, err)
	}
	return control.Decode(answer, result)
}

// knownItems are what the churn knows to be in its instance, by fd.
func knownItems(t *testing.T, p *workload.Process) []churn.Item {
	t.Helper()
	answer, err := p.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var s churn.State
	if err := control.Decode(answer, &s); err != nil {
		t.Fatal(err)
	}
	return s.Items
}

// churnOps are the random changes of each run, and churnRuns the number of
// quiescent points among them.
const (
	churnOps  = 1_000_000
	churnRuns = 5
)

// A million random ADD, MOD, DEL, close, close_range, dup2 and passed fds,
// watched at full speed: whatever is called whole obeys the definition of a
// red-black tree, and between the runs nothing differs from what the kernel
// lists and from what the process knows.
func TestChurn(t *testing.T) {
	for _, threads := range []int{1, 4} {
		t.Run(fmt.Sprintf("threads=%d", threads), func(t *testing.T) {
			eachView(t, epoll.Options{NoTransitions: threads == 1}, func(t *testing.T, v *epoll.View) {
				watchChurn(t, v, threads)
			})
		})
	}
}

func watchChurn(t *testing.T, v *epoll.View, threads int) {
	proc := startWorkload(t, "churn")
	r := tell(t, proc, churn.Action{Op: "setup", Items: 300 * threads, Threads: threads, Seed: 7})
	i := Instance{PID: proc.PID(), FD: r.EpFD}
	p := open(t, v, i)
	p.sample(t)
	var whole, instant, marked, done int
	var last kernelviz.Truth
	kinds := map[string]int{}
	for range churnRuns {
		ran := make(chan error, 1)
		var r churn.Result
		go func() { ran <- ask(t.Context(), proc, churn.Action{Op: "run", Ops: churnOps / churnRuns}, &r) }()
		for running := true; running; {
			select {
			case err := <-ran:
				if err != nil {
					t.Fatal(err)
				}
				running = false
			default:
			}
			s, err := p.watch.Sample(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			p.show(t, s)
			last = s.Truth()
			if last.Whole != p.whole || last.Instant != p.instant {
				t.Fatalf("the frame says whole %t, one instant %t; the truth is %+v", p.whole, p.instant, last)
			}
			// A frame that is not whole shows the last one that was.
			if _, err := p.order(); err != nil {
				t.Fatalf("sample %d, whole %t: %v", last.Samples, p.whole, err)
			}
			switch {
			case !last.Whole:
				marked++
			case last.Instant:
				instant++
			default:
				whole++
			}
		}
		for kind, n := range r.Kinds {
			kinds[kind] += n
		}
		done += r.Ops
		quiescent(t, p, i, proc)
	}
	if done != churnOps {
		t.Errorf("%d changes were made", done)
	}
	t.Logf("%d changes (%v): %d samples, %d one instant, %d whole, %d marked; %d torn reads were read again",
		done, kinds, last.Samples, instant, whole, marked, last.Torn)
	if uint64(marked) != last.Marked || instant+whole == 0 {
		t.Errorf("%d samples were marked, the truth says %d of %d", marked, last.Marked, last.Samples)
	}
}

// quiescent compares picture, fdinfo and the process's own knowledge.
func quiescent(t *testing.T, p *page, i Instance, proc *workload.Process) {
	t.Helper()
	p.sample(t)
	if !p.whole || !p.instant {
		t.Fatalf("nobody changes the instance: whole %t, one instant %t", p.whole, p.instant)
	}
	listed, err := i.Items()
	if err != nil {
		t.Fatal(err)
	}
	if d := p.differs(listed); d != "" {
		t.Fatalf("at a quiescent point: %s", d)
	}
	order, err := p.order()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(order, func(a, b node) int { return cmp.Compare(a.fd, b.fd) })
	known := knownItems(t, proc)
	if len(known) != len(order) {
		t.Fatalf("%d items, the process knows %d", len(order), len(known))
	}
	for k, want := range known {
		if n := order[k]; n.fd != want.FD || n.events != want.Events || n.data != want.Data {
			t.Fatalf("item %+v, the process knows %+v", n, want)
		}
	}
}

// forest is how a million items come about: no process may have that many
// files, but many may share an instance.
const (
	forestChildren = 56
	forestItems    = 18_000
)

// An instance with more than a million items, of 57 processes: the count, the
// order and the parents are right, and no run holds a CPU for long.
func TestMillionItems(t *testing.T) {
	needsRoot(t)
	proc := startWorkload(t, "churn")
	tell(t, proc, churn.Action{Op: "setup", Items: 5})
	began := time.Now()
	r := tell(t, proc, churn.Action{Op: "forest", Children: forestChildren, Items: forestItems})
	want := 5 + forestChildren*forestItems
	if r.Items != want {
		t.Fatalf("%d items were made, want %d", r.Items, want)
	}
	t.Logf("%d items planted in %v", want, time.Since(began).Round(time.Millisecond))
	i := Instance{PID: proc.PID(), FD: r.EpFD}
	eachView(t, epoll.Options{NoTransitions: true}, func(t *testing.T, v *epoll.View) {
		p := open(t, v, i)
		s, err := p.watch.Sample(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		truth := s.Truth()
		if s.Items() != want || !truth.Whole || !s.Glyphs() {
			t.Fatalf("%d items, %+v", s.Items(), truth)
		}
		listed, err := i.Items()
		if err != nil {
			t.Fatal(err)
		}
		nodes := s.(*epoll.Snapshot).Show(v.Tiers()).Nodes
		if len(listed) != want || len(nodes) != want {
			t.Fatalf("fdinfo lists %d items, %d are shown", len(listed), len(nodes))
		}
		for k, w := range listed {
			n := &nodes[k]
			if int(n.FD) != w.FD || n.Mask != w.Events || n.Data != w.Data {
				t.Fatalf("item %d is %+v; fdinfo has %+v", k, n, w)
			}
		}
		for _, vp := range []kernelviz.Viewport{{}, {Lo: 500_000, Hi: 500_200}, {Lo: 0, Hi: 1 << 19, Px: 4000}} {
			sections, rows, key := s.AppendSections(nil, vp, nil)
			if !key || rows > 2+2000+3+2000 || len(sections) > 512<<10 {
				t.Errorf("%+v: %d rows, %d bytes", vp, rows, len(sections))
			}
		}
		longest := longestRun(t, v, i)
		t.Logf("read in %v, no run longer than %v; checked in %v", truth.Read, longest, truth.Check)
		if longest > 3*time.Millisecond {
			t.Errorf("a run holds a CPU for %v", longest)
		}
	})
}

// longestRun is the longest of the runs that one snapshot takes, in the best of
// a few snapshots: where others run too, each may be interrupted.
func longestRun(t *testing.T, v *epoll.View, i Instance) time.Duration {
	t.Helper()
	w, err := v.Stopwatch(t.Context(), fmt.Sprintf("%d:%d", i.PID, i.FD))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var runs []time.Duration
	for range 5 {
		r, err := w.Read(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r.Longest)
	}
	return slices.Min(runs)
}
