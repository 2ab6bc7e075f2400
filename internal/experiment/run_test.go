package experiment

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/kernelviz/syscalls"
	"kernelviz/internal/sandbox"
	"kernelviz/internal/workload/trial"
)

func variant(t *testing.T, r *Result, id string) VariantResult {
	t.Helper()
	for _, v := range r.Series[0].Variants {
		if v.ID == id {
			return v
		}
	}
	t.Fatalf("no variant %s in %+v", id, r.Series)
	return VariantResult{}
}

func comparison(t *testing.T, r *Result, variant, metric string) Comparison {
	t.Helper()
	for _, c := range r.Series[0].Comparisons {
		if c.Variant == variant && c.Metric == metric {
			return c
		}
	}
	t.Fatalf("no comparison of %s by %s in %+v", variant, metric, r.Series[0].Comparisons)
	return Comparison{}
}

// TestRun: one variant does twice as much, which every figure says.
func TestRun(t *testing.T) {
	want, err := ParseWant("ratio in 1.9 .. 2.1")
	if err != nil {
		t.Fatal(err)
	}
	claim := Claim{ID: "T1", Experiment: "test", Parts: []Part{{Series: "only", Variant: "twice", Against: "once", Metric: "ops", Want: want}}}
	f := newFixture(t, func(c *Config) { c.Claims = []Claim{claim, {ID: "T2", Experiment: "other"}} })
	var mu sync.Mutex
	var told []Progress
	begun := int64(0)
	r := f.run(t, t.Context(), define("once", "twice"), Options{
		Begun:    func(run int64) { begun = run },
		Progress: func(p Progress) { mu.Lock(); told = append(told, p); mu.Unlock() },
	})
	if r.State != StateDone || r.Problem != "" || r.Trials != 10 || r.Run != 1 || begun != 1 || r.Format != 1 || r.Version != "test" {
		t.Errorf("result %+v", r)
	}
	for id, ops := range map[string]float64{"once": 1000, "twice": 2000} {
		v := variant(t, r, id)
		s := v.Metrics["ops"]
		if len(s.Values) != 5 || s.Median != ops || s.Min != ops || s.Max != ops || s.Spread != 0 || s.Rounds != nil || v.Failed != 0 {
			t.Errorf("%s: %+v", id, v)
		}
		if cpu := v.Metrics["cpu"]; cpu.Median <= 0 || cpu.Median > 5 {
			t.Errorf("%s: CPU time %+v", id, cpu)
		}
		if len(v.Notes) != 1 || v.Notes[0].Code != "remark" {
			t.Errorf("%s: notes %+v", id, v.Notes)
		}
	}
	if c := comparison(t, r, "twice", "ops"); c.Ratio != 2 || c.Low != 2 || c.High != 2 || !c.Clear || c.Level != 0.9375 {
		t.Errorf("comparison %+v", c)
	}
	if len(r.Verdicts) != 1 || r.Verdicts[0].Verdict != Holds || r.Verdicts[0].Claim != "T1" {
		t.Errorf("verdicts %+v", r.Verdicts)
	}
	if r.Machine.Kernel == "" || r.Machine.CPUs == 0 || r.Machine.Memory == 0 || r.Machine.Disk == "" {
		t.Errorf("machine %+v", r.Machine)
	}
	mu.Lock()
	defer mu.Unlock()
	last := told[len(told)-1]
	if len(told) == 0 || last.Total != 12 || last.Run != 1 || last.Experiment != "test" {
		t.Errorf("%d times told, last %+v", len(told), last)
	}
	if most := 2 + int(r.Seconds/progressGap.Seconds()); len(told) > most {
		t.Errorf("progress was told %d times in %.2f s, at most %d are allowed", len(told), r.Seconds, most)
	}
	var stored Result
	if err := json.Unmarshal(f.store.last, &stored); err != nil || stored.Trials != 10 || f.store.kept[1] != StateDone {
		t.Errorf("stored %s, %v", f.store.last, err)
	}
}

// fakeCounter counts 1000 calls of each kind and what the conversation is made
// of.
type fakeCounter struct {
	mu     sync.Mutex
	open   int
	failed error
	of     []counted // what was asked for
}

type counted struct {
	cgroup string
	pids   []int
}

type fakeCount struct{ c *fakeCounter }

func (c *fakeCounter) Count(cgroup string, pids []int) (Count, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of = append(c.of, counted{cgroup, pids})
	if c.failed != nil {
		return nil, c.failed
	}
	c.open++
	return fakeCount{c}, nil
}

func (fakeCount) Read() (map[string]uint64, uint64, error) {
	return map[string]uint64{"getppid": 1000, "readv": 2, "writev": 4}, 1006, nil
}

func (c fakeCount) Close() {
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	c.c.open--
}

func TestCountedRound(t *testing.T) {
	counter := &fakeCounter{}
	f := newFixture(t, func(c *Config) { c.Counter = counter })
	r := f.run(t, t.Context(), define("once", "twice"), Options{Quick: true})
	v := variant(t, r, "once")
	if s := v.Metrics["calls"]; len(s.Values) != 1 || s.Median != 1000 {
		t.Errorf("calls %+v", s)
	}
	if want := map[string]float64{"getppid": 1000, "writev": 3}; len(v.Syscalls) != 2 || v.Syscalls["getppid"] != want["getppid"] || v.Syscalls["writev"] != want["writev"] {
		t.Errorf("system calls %v, want %v", v.Syscalls, want)
	}
	if c := comparison(t, r, "twice", "calls"); c.Ratio != 1 || c.Clear || c.Why != "tie" || c.Level != 1 {
		t.Errorf("comparison %+v", c)
	}
	if counter.open != 0 {
		t.Errorf("%d counts are still open", counter.open)
	}
	if r.Trials != 4 || !hasWarning(r, "quick") || hasWarning(r, "uncounted") {
		t.Errorf("%d trials, warnings %+v", r.Trials, r.Warnings)
	}
}

func TestCounterThatFails(t *testing.T) {
	counter := &fakeCounter{failed: errors.New("the program does not load")}
	f := newFixture(t, func(c *Config) { c.Counter = counter })
	r := f.run(t, t.Context(), define("once"), Options{Quick: true})
	v := variant(t, r, "once")
	if r.State != StateDone || r.Trials != 2 || v.Failed != 1 || !strings.Contains(v.Notes[0].Text+v.Notes[len(v.Notes)-1].Text, "the program does not load") {
		t.Errorf("%+v", r)
	}
}

// TestExactCounts: the kernel counts every call of the work and no other.
func TestExactCounts(t *testing.T) {
	f := newFixture(t, nil) // skips without root
	info, err := kernel.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := syscalls.New(f.config.Log, ebpf.CollectionOptions{Cache: info.Cache()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f = newFixture(t, func(cfg *Config) { cfg.Counter = KernelCounter(c) })
	for range 3 {
		r := f.run(t, t.Context(), define("once", "twice"), Options{Quick: true})
		for id, want := range map[string]float64{"once": 1000, "twice": 2000} {
			v := variant(t, r, id)
			if got := v.Metrics["calls"].Median; got != want || v.Syscalls["getppid"] != want || v.Syscalls["readv"] != 0 || v.Syscalls["writev"] != 0 {
				t.Errorf("%s: %v calls, %v", id, got, v.Syscalls)
			}
		}
		if c := comparison(t, r, "twice", "calls"); c.Ratio != 2 || !c.Clear {
			t.Errorf("comparison %+v", c)
		}
	}
}

func TestWithoutCounter(t *testing.T) {
	f := newFixture(t, nil)
	r := f.run(t, t.Context(), define("once"), Options{Quick: true})
	if _, ok := variant(t, r, "once").Metrics["calls"]; ok || !hasWarning(r, "uncounted") {
		t.Errorf("%+v", r)
	}
}

// TestWithoutCgroups: CPU time comes from the processes' clocks, system calls
// are counted by process id, and nothing is left all the same.
func TestWithoutCgroups(t *testing.T) {
	counter := &fakeCounter{}
	f := newFixture(t, func(c *Config) {
		box, err := sandbox.New(sandbox.Config{Log: c.Log, Guardian: []string{"/proc/self/exe", "play-guardian"}, Cgroup2: "/nonexistent"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := box.Close(); err != nil {
				t.Error(err)
			}
		})
		c.Box, c.Counter = box, counter
	})
	r := f.run(t, t.Context(), define("burn", "fork"), Options{Quick: true})
	if cpu := variant(t, r, "burn").Metrics["cpu"]; r.State != StateDone || r.Trials != 4 || cpu.Median <= 0 || cpu.Median > 5 {
		t.Errorf("%+v", r)
	}
	for _, of := range counter.of {
		if of.cgroup != "" || len(of.pids) == 0 {
			t.Errorf("counted %+v", of)
		}
	}
	if len(counter.of) != 2 {
		t.Errorf("counted %d processes", len(counter.of))
	}
}

func hasWarning(r *Result, code string) bool {
	return slices.ContainsFunc(r.Warnings, func(w Warning) bool { return w.Code == code })
}

// TestTrialsThatFail: one variant fails, the others are measured all the same.
func TestTrialsThatFail(t *testing.T) {
	tests := []struct{ variant, says string }{
		{"refuse", "no such variant"},
		{"unprepared", "nothing was there"},
		{"crash", "ended before it had reported: "},
		{"exit", "exit status 3; it wrote: giving up"},
		{"garbage", "said what cannot be understood"},
		{"chatty", ""}, // killed as soon as it says too much, however that looks
		{"error", "out of luck"},
		{"hang", "longer than its limit of 1s"},
	}
	for _, test := range tests {
		t.Run(test.variant, func(t *testing.T) {
			f := newFixture(t, nil)
			d := define("once", test.variant)
			d.Limit = 20 * time.Second
			if test.variant == "hang" {
				d.Limit = time.Second
			}
			r := f.run(t, t.Context(), d, Options{Quick: true})
			bad := variant(t, r, test.variant)
			if r.State != StateDone || r.Trials != 2 || len(bad.Metrics) != 0 || bad.Failed == 0 || !hasWarning(r, "failed") {
				t.Errorf("result %+v", r)
			}
			if len(bad.Notes) == 0 || bad.Notes[0].Code != "failed" || !strings.Contains(bad.Notes[0].Text, test.says) {
				t.Errorf("notes %+v, want %q", bad.Notes, test.says)
			}
			if len(r.Series[0].Comparisons) != 0 {
				t.Errorf("compared with nothing: %+v", r.Series[0].Comparisons)
			}
		})
	}
}

func TestAllTrialsFail(t *testing.T) {
	f := newFixture(t, nil)
	r := f.run(t, t.Context(), define("error"), Options{Quick: true})
	if r.State != StateFailed || !strings.Contains(r.Problem, "out of luck") || f.store.kept[1] != StateFailed || len(r.Verdicts) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestTrialThatForksLeavesNothing(t *testing.T) {
	f := newFixture(t, nil)
	if r := f.run(t, t.Context(), define("fork", "file"), Options{Quick: true}); r.State != StateDone || r.Trials != 4 {
		t.Errorf("%+v", r)
	}
}

func TestCancel(t *testing.T) {
	f := newFixture(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d := define("once", "hang")
	d.Setup = func(_ context.Context, dir string, _ bool) error {
		return os.WriteFile(filepath.Join(dir, "data"), []byte("x"), 0o600)
	}
	began := time.Now()
	r := f.run(t, ctx, d, Options{Progress: func(p Progress) {
		if p.Variant == "hang" {
			cancel()
		}
	}})
	if r.State != StateCancelled || r.Problem != "" || f.store.kept[1] != StateCancelled || len(r.Verdicts) != 0 || len(r.Series) != 1 {
		t.Errorf("%+v", r)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to cancel", took)
	}
}

func TestCancelKeepsWhatWasMeasured(t *testing.T) {
	f := newFixture(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d := define("once", "burn")
	d.Rounds = 100
	r := f.run(t, ctx, d, Options{Progress: func(p Progress) {
		if p.Done >= 6 {
			cancel()
		}
	}})
	if n := len(variant(t, r, "once").Metrics["ops"].Values); r.State != StateCancelled || n == 0 || n == 100 {
		t.Errorf("state %s, %d values", r.State, n)
	}
}

func TestCancelInSetup(t *testing.T) {
	f := newFixture(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	d := define("once")
	d.Setup = func(ctx context.Context, dir string, _ bool) error {
		cancel()
		return ctx.Err()
	}
	if r := f.run(t, ctx, d, Options{}); r.State != StateCancelled || len(r.Series) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestBusy(t *testing.T) {
	f := newFixture(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	begun, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		if _, err := f.Run(ctx, define("hang"), Options{Begun: func(int64) { close(begun) }}); err != nil {
			t.Error(err)
		}
	}()
	<-begun
	if _, err := f.Run(t.Context(), define("once"), Options{}); !errors.Is(err, ErrBusy) {
		t.Errorf("a second one: %v", err)
	}
	if p, running := f.Running(); !running || p.Experiment != "test" {
		t.Errorf("running %+v, %t", p, running)
	}
	cancel()
	<-ended
	f.run(t, t.Context(), define("once"), Options{Quick: true})
}

func TestMissing(t *testing.T) {
	f := newFixture(t, nil)
	d := define("once")
	d.Needs = func(_ context.Context, dir string, _ bool) []Missing { return NeedDisk(dir, 1<<60) }
	_, err := f.Run(t.Context(), d, Options{})
	var missing *MissingError
	if !errors.As(err, &missing) || !missing.Disk() || !strings.Contains(err.Error(), "GiB are free") || !strings.Contains(missing.Fix(), "--experiment-dir") {
		t.Errorf("%v", err)
	}
	f.nothingLeft(t)
	if f.store.next != 0 {
		t.Error("a run was begun")
	}
	d.Needs = func(context.Context, string, bool) []Missing { return []Missing{{"io_uring", "disabled", "enable it"}} }
	if _, err := f.Run(t.Context(), d, Options{}); !errors.As(err, &missing) || missing.Disk() {
		t.Errorf("%v", err)
	}
	if info := f.Describe(t.Context(), d); len(info.Missing) != 1 || d.Info.Missing != nil {
		t.Errorf("described %+v", info.Missing)
	}
	d.Needs = func(_ context.Context, _ string, quick bool) []Missing {
		if quick {
			return nil
		}
		return []Missing{{"memory", "too little", "run it with --quick"}}
	}
	if info := f.Describe(t.Context(), d); info.Missing == nil || len(info.Missing) != 0 {
		t.Errorf("a quick run can be made, and it is described with %+v", info.Missing)
	}
	if _, err := f.Run(t.Context(), d, Options{}); !errors.As(err, &missing) {
		t.Errorf("a full run: %v", err)
	}
	if got := NeedDisk(f.dir, 1); got != nil {
		t.Errorf("a byte of disk: %+v", got)
	}
	if got := NeedDisk("/nonexistent", 1); len(got) != 1 {
		t.Errorf("no directory: %+v", got)
	}
}

// TestRoles: a server and a client in two namespaces, of which the client is
// told what the server said.
func TestRoles(t *testing.T) {
	f := newFixture(t, nil)
	d := define("pair")
	d.Plan = func(string, string, string, bool) (Plan, error) {
		return Plan{Veth: true, Roles: []Role{
			{Spec: trial.Spec{Role: "server"}, Side: 0},
			{Spec: trial.Spec{Role: "client"}, Side: 1},
		}}, nil
	}
	d.Measure = func(t Trial) (map[string]float64, error) {
		if len(t.Roles) != 2 || t.Variant != "pair" || t.Series != "only" {
			return nil, fmt.Errorf("trial %+v", t)
		}
		return map[string]float64{"ops": 1}, nil
	}
	if r := f.run(t, t.Context(), d, Options{Quick: true}); r.State != StateDone || r.Trials != 2 {
		t.Errorf("%+v", r)
	}
	d.Plan = func(string, string, string, bool) (Plan, error) {
		return Plan{Roles: []Role{{Spec: trial.Spec{Role: "worker"}, Side: 1}}}, nil
	}
	if r := f.run(t, t.Context(), d, Options{Quick: true}); r.State != StateFailed || !strings.Contains(r.Problem, "side 1 of 1") {
		t.Errorf("%+v", r)
	}
}

func TestEveryRoundBeginsWithAnother(t *testing.T) {
	f := newFixture(t, nil)
	d := define("once", "twice", "burn")
	var order []string
	d.Measure = func(t Trial) (map[string]float64, error) {
		order = append(order, t.Variant)
		return map[string]float64{"ops": 1}, nil
	}
	f.run(t, t.Context(), d, Options{Quick: true})
	if len(order) != 6 || order[0] == order[3] || slices.Equal(order[:3], order[3:]) {
		t.Errorf("order %v", order)
	}
}

func TestKilledRunnerLeavesNothing(t *testing.T) {
	f := newFixture(t, nil) // for its checks
	parent := t.TempDir()
	cmd := exec.Command("/proc/self/exe", "play-runner", parent)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	eventually(t, "a trial that runs", func() bool { return len(playing("play-trial")) > 0 })
	if files, _ := filepath.Glob(parent + "/kernelviz-*/test-*/data"); len(files) != 1 {
		t.Fatalf("no file of the run: %v", files)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "no process left", func() bool { return len(playing("play-trial")) == 0 })
	eventually(t, "no cgroup left", func() bool {
		dirs, _ := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/kernelviz/%d-*", cmd.Process.Pid))
		return len(dirs) == 0
	})
	// Its files are swept by the next one.
	if _, err := sandboxScratch(parent); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(fmt.Sprintf("%s/kernelviz-%d-*", parent, cmd.Process.Pid)); len(files) != 0 {
		t.Errorf("left: %v", files)
	}
	f.nothingLeft(t)
}

// TestTimeLimit: a run that takes far longer than it says is ended.
func TestTimeLimit(t *testing.T) {
	f := newFixture(t, nil)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Second, errTooLong)
	defer cancel()
	r := f.run(t, ctx, define("once", "hang"), Options{})
	if r.State != StateTimedOut || f.store.kept[1] != StateTimedOut || r.Problem == "" {
		t.Errorf("%+v", r)
	}
}
