package experiment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxFailures is after how many failed trials a variant is left out.
const maxFailures = 2

// Where a result is trusted less.
const (
	busyShare   = 0.25 // of one CPU, used by others
	stealShare  = 0.05 // of one CPU, taken by the hypervisor
	wideSpread  = 0.15 // of the first metric of a variant
	fewCPUs     = 4
	progressGap = 200 * time.Millisecond
)

// run is one run of an experiment.
type run struct {
	r      *Runner
	d      Definition
	o      Options
	dir    string
	rounds int
	series []Series // those that are run
	result *Result
	used   time.Duration // CPU time of trials

	mu       sync.Mutex
	progress Progress
	began    time.Time          // the whole
	trialAt  time.Time          // the trial that runs; zero if none does
	took     map[string]float64 // seconds of the latest trial, by series and variant
	left     []string           // trials that are left, by series and variant
}

// gathered are the trials of one series.
type gathered struct {
	variants []*variantTrials
}

// variantTrials are the trials of one variant.
type variantTrials struct {
	id       string
	timed    map[string]*points // by metric, of measured rounds
	counted  map[string]*points // by metric, of the round in which system calls are counted
	syscalls map[string]float64
	notes    []Warning
	failed   int
}

// points are the values of a metric with their rounds.
type points struct {
	rounds []int
	values []float64
}

func newRun(r *Runner, d Definition, o Options, number int64, started time.Time) *run {
	u := &run{r: r, d: d, o: o, rounds: d.Rounds, took: map[string]float64{}, began: started}
	if o.Quick {
		u.rounds = d.QuickRounds
	}
	for _, s := range d.Info.Series {
		if !o.Quick || s.Quick {
			u.series = append(u.series, s)
		}
	}
	u.result = &Result{
		Format: 1, Run: number, Experiment: d.Info.ID, Quick: o.Quick, Started: started, Version: r.config.Version,
		Machine: machineInfo(r.config.Dir), Series: []SeriesResult{}, Warnings: []Warning{}, Parameters: map[string]any{}, Verdicts: []ClaimVerdict{},
	}
	if d.Parameters != nil {
		maps.Copy(u.result.Parameters, d.Parameters(o.Quick))
	}
	u.result.Parameters["rounds"] = u.rounds
	u.progress = Progress{Run: number, Experiment: d.Info.ID, Phase: "preparing", Left: -1}
	return u
}

// limit is how long the whole may take: several times what it is said to take,
// for a slow machine.
func (u *run) limit() time.Duration {
	seconds := u.d.Info.Seconds
	if u.o.Quick {
		seconds = u.d.Info.Quick
	}
	return 5*time.Duration(seconds)*time.Second + 2*time.Minute
}

// all runs everything and returns what came of it.
func (u *run) all(ctx context.Context) *Result {
	ctx, cancel := context.WithTimeoutCause(ctx, u.limit(), errTooLong)
	defer cancel()
	stop := u.tellProgress()
	defer stop()
	res := u.result
	before, ownBefore := look(u.r.config.Now()), ownCPU()
	err := u.inDir(ctx)
	after := look(u.r.config.Now())
	res.Conditions = conditions(before, after, u.used+ownCPU()-ownBefore)
	res.Seconds = after.at.Sub(before.at).Seconds()
	res.State, res.Problem = u.state(ctx, err)
	u.warn()
	if res.State == StateDone {
		for _, c := range u.r.config.Claims {
			if c.Experiment == u.d.Info.ID {
				res.Verdicts = append(res.Verdicts, Judge(c, res, u.d.Info))
			}
		}
	}
	return res
}

// state puts into words how the run ended.
func (u *run) state(ctx context.Context, err error) (state, problem string) {
	switch {
	case errors.Is(context.Cause(ctx), errTooLong):
		return StateTimedOut, fmt.Sprintf("it was not done after %v, the most a run may take", u.limit())
	case ctx.Err() != nil:
		return StateCancelled, ""
	case err != nil:
		return StateFailed, err.Error()
	case u.result.Trials == 0:
		return StateFailed, "no trial succeeded: " + u.firstNote()
	}
	return StateDone, ""
}

func (u *run) firstNote() string {
	for _, s := range u.result.Series {
		for _, v := range s.Variants {
			for _, n := range v.Notes {
				if n.Code == "failed" {
					return n.Text
				}
			}
		}
	}
	return "there are none"
}

// inDir runs everything with a directory for files, which it removes.
func (u *run) inDir(ctx context.Context) (err error) {
	u.dir, err = u.r.scratch(u.d.Info.ID)
	if err != nil {
		return err
	}
	defer func() {
		u.phase("cleaning up")
		if removeErr := os.RemoveAll(u.dir); removeErr != nil {
			err = errors.Join(err, fmt.Errorf("removing the experiment's files: %w", removeErr))
		}
	}()
	plans, err := u.plan()
	if err != nil {
		return err
	}
	if u.d.Setup != nil {
		if err := u.d.Setup(ctx, u.dir, u.o.Quick); err != nil {
			return fmt.Errorf("preparing experiment %s: %w", u.d.Info.ID, err)
		}
	}
	for _, s := range u.series {
		g, err := u.measure(ctx, s, plans)
		u.result.Series = append(u.result.Series, u.describe(s, g))
		if err != nil {
			return err
		}
	}
	return nil
}

func key(series, variant string) string { return series + "\x00" + variant }

// plan asks for all plans and lists all trials.
func (u *run) plan() (map[string]Plan, error) {
	plans := map[string]Plan{}
	for _, s := range u.series {
		for _, v := range s.Variants {
			p, err := u.d.Plan(s.ID, v.ID, u.dir, u.o.Quick)
			if err != nil {
				return nil, fmt.Errorf("planning %s %s %s: %w", u.d.Info.ID, s.ID, v.ID, err)
			}
			p.Roles = slices.Clone(p.Roles)
			for i := range p.Roles {
				spec := &p.Roles[i].Spec
				spec.Experiment, spec.Series, spec.Variant, spec.Dir = u.d.Info.ID, s.ID, v.ID, u.dir
			}
			plans[key(s.ID, v.ID)] = p
			n := 1 + u.rounds
			if u.counts(p) {
				n++
			}
			for range n {
				u.left = append(u.left, key(s.ID, v.ID))
			}
		}
	}
	u.mu.Lock()
	u.progress.Total = len(u.left)
	u.mu.Unlock()
	return plans, nil
}

// counts tells whether a trial of that plan is run with its calls counted.
func (u *run) counts(p Plan) bool {
	return u.r.config.Counter != nil && wantsCount(p)
}

func wantsCount(p Plan) bool {
	return slices.ContainsFunc(p.Roles, func(r Role) bool { return r.Count })
}

// measure runs the trials of a series: a round that warms up, one in which
// system calls are counted, and the rounds that are timed. What has been
// measured is returned with an error too.
func (u *run) measure(ctx context.Context, s Series, plans map[string]Plan) (*gathered, error) {
	g := &gathered{}
	for _, v := range s.Variants {
		g.variants = append(g.variants, &variantTrials{id: v.ID, timed: map[string]*points{}, counted: map[string]*points{}})
	}
	const warming, counting = -2, -1
	for round := warming; round < u.rounds; round++ {
		phase := "measuring"
		if round == warming {
			phase = "warming up"
		}
		for i := range g.variants {
			// Turned by one each round: none is always first.
			v := g.variants[(i+round-warming)%len(g.variants)]
			plan := plans[key(s.ID, v.id)]
			if round == counting && !u.counts(plan) {
				continue
			}
			if v.failed >= maxFailures {
				u.skip(s.ID, v.id)
				if round >= 0 {
					v.failed++
				}
				continue
			}
			t, err := u.trial(ctx, s.ID, v.id, phase, plan, round == counting)
			if ctx.Err() != nil {
				return g, context.Cause(ctx)
			}
			if err != nil {
				v.failed++
				v.note(Warning{Code: "failed", Text: err.Error()})
				u.r.config.Log.Warn("trial failed", "experiment", u.d.Info.ID, "series", s.ID, "variant", v.id, "round", round, "error", err)
				continue
			}
			if round == warming {
				continue
			}
			if err := v.add(u.d, t, round); err != nil {
				v.failed++
				v.note(Warning{Code: "failed", Text: err.Error()})
				continue
			}
			if round >= 0 {
				u.result.Trials++
			}
		}
	}
	return g, nil
}

// trial runs one and keeps count of it.
func (u *run) trial(ctx context.Context, series, variant, phase string, plan Plan, counted bool) (Trial, error) {
	u.mu.Lock()
	u.progress.Phase, u.progress.Series, u.progress.Variant = phase, series, variant
	u.trialAt = u.r.config.Now()
	u.mu.Unlock()
	t, c, err := u.r.bench.run(ctx, u.d, plan, counted)
	t.Series, t.Variant = series, variant
	u.used += c.trial
	if !counted && phase == "measuring" {
		u.result.Runner += c.runner.Seconds()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.took[key(series, variant)] = u.r.config.Now().Sub(u.trialAt).Seconds()
	u.trialAt = time.Time{}
	u.finish(series, variant)
	return t, err
}

// skip leaves a trial out.
func (u *run) skip(series, variant string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.finish(series, variant)
}

// finish takes one trial off those that are left. The caller holds u.mu.
func (u *run) finish(series, variant string) {
	u.progress.Done++
	if i := slices.Index(u.left, key(series, variant)); i >= 0 {
		u.left = slices.Delete(u.left, i, i+1)
	}
}

// add takes in what a trial gave.
func (v *variantTrials) add(d Definition, t Trial, round int) error {
	for _, r := range t.Roles {
		for _, n := range r.Report.Notes {
			v.note(Warning{n.Code, n.Text, n.Zh})
		}
	}
	metrics, err := d.Measure(t)
	if err != nil {
		return err
	}
	into := v.timed
	if t.Counted {
		into, round = v.counted, 0
		v.syscalls = map[string]float64{}
		for _, r := range t.Roles {
			for name, n := range r.Syscalls {
				v.syscalls[name] += float64(n)
			}
		}
	}
	for id, value := range metrics {
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return fmt.Errorf("metric %s is %v", id, value)
		}
		p := into[id]
		if p == nil {
			p = &points{}
			into[id] = p
		}
		p.rounds, p.values = append(p.rounds, round), append(p.values, value)
	}
	return nil
}

// note keeps each kind of note once.
func (v *variantTrials) note(n Warning) {
	if !slices.ContainsFunc(v.notes, func(w Warning) bool { return w.Code == n.Code }) {
		v.notes = append(v.notes, n)
	}
}

// pick is where the values of a metric come from.
func (v *variantTrials) pick(m Metric) *points {
	first, second := v.timed[m.ID], v.counted[m.ID]
	if m.Exact {
		first, second = second, first
	}
	if first != nil {
		return first
	}
	return second
}

// describe turns the trials of a series into its result.
func (u *run) describe(s Series, g *gathered) SeriesResult {
	out := SeriesResult{ID: s.ID, X: s.X, Baseline: s.Baseline, Variants: []VariantResult{}, Comparisons: []Comparison{}}
	for _, v := range g.variants {
		vr := VariantResult{ID: v.id, Metrics: map[string]Summary{}, Syscalls: v.syscalls, Notes: v.notes, Failed: v.failed}
		if vr.Syscalls == nil {
			vr.Syscalls = map[string]float64{}
		}
		for _, m := range u.d.Info.Metrics {
			p := v.pick(m)
			if p == nil {
				continue
			}
			sum := summarise(p.values)
			for i, round := range p.rounds {
				if i != round {
					sum.Rounds = p.rounds
				}
			}
			vr.Metrics[m.ID] = sum
		}
		out.Variants = append(out.Variants, vr)
	}
	for _, m := range u.d.Info.Metrics {
		baseline := out.values(s.Baseline, m.ID)
		floor := floorOf(baseline)
		for _, v := range out.Variants {
			if v.ID == s.Baseline {
				continue
			}
			c, ok := compare(ratios(v.byRound(m.ID), baseline), floor, m.Exact)
			if !ok || math.IsInf(c.High, 0) {
				continue
			}
			c.Variant, c.Metric = v.ID, m.ID
			out.Comparisons = append(out.Comparisons, c)
		}
	}
	return out
}

// warn says why the result is to be trusted less.
func (u *run) warn() {
	res := u.result
	add := func(code, en, zh string) { res.Warnings = append(res.Warnings, Warning{code, en, zh}) }
	if u.o.Quick {
		left := len(u.d.Info.Series) - len(u.series)
		en, zh := "A quick run: fewer or shorter trials than in a full one", "快速运行：试验比完整运行少或短"
		if left > 0 {
			en += fmt.Sprintf(", and %d of %d series left out", left, len(u.d.Info.Series))
			zh += fmt.Sprintf("，%d 个系列中有 %d 个没有测", len(u.d.Info.Series), left)
		}
		add("quick", en+".", zh+"。")
	}
	if n := res.Machine.CPUs; n < fewCPUs {
		add("few_cpus",
			fmt.Sprintf("This machine has %s: the processes of a trial, and threads of the kernel that work for them, compete for CPU time.", plural(n, "CPU", "CPUs")),
			fmt.Sprintf("本机只有 %d 个 CPU：同一次试验的各个进程，以及为它们工作的内核线程，会互相争用 CPU。", n))
	}
	if c := res.Conditions; c.Others > busyShare {
		add("busy",
			fmt.Sprintf("Other processes used %.0f %% of one CPU on average during the run.", 100*c.Others),
			fmt.Sprintf("运行期间，其他进程平均占用了一个 CPU 的 %.0f%%。", 100*c.Others))
	}
	if c := res.Conditions; c.Steal > stealShare {
		add("steal",
			fmt.Sprintf("The hypervisor gave %.0f %% of one CPU to others during the run.", 100*c.Steal),
			fmt.Sprintf("运行期间，虚拟机管理程序把一个 CPU 的 %.0f%% 分给了别的虚拟机。", 100*c.Steal))
	}
	failed := 0
	for _, s := range res.Series {
		for _, v := range s.Variants {
			failed += v.Failed
		}
	}
	if wide := u.wide(); len(wide) > 0 {
		first := wide[0]
		add("spread",
			fmt.Sprintf("The trials of %s spread by more than %.0f %%; most those of %s (%s): %.0f %%.", plural(len(wide), "variant", "variants"), 100*wideSpread, first.variant.En, first.series.En, 100*first.spread),
			fmt.Sprintf("有 %d 组试验的离散程度超过 %.0f%%，最大的是%s（%s）：%.0f%%。", len(wide), 100*wideSpread, strings.TrimPrefix(chinese("是", first.variant.Zh), "是"), first.series.Zh, 100*first.spread))
	}
	if failed > 0 {
		add("failed",
			fmt.Sprintf("%s failed; the notes of their variants say why.", plural(failed, "trial", "trials")),
			fmt.Sprintf("有 %d 次试验失败，原因见相应做法的备注。", failed))
	}
	if u.r.config.Counter == nil {
		add("uncounted",
			"System calls were not counted: this kernel does not let BPF programs count them; labserver doctor says why.",
			"没有对系统调用计数：此内核不允许 BPF 程序计数，原因见 labserver doctor。")
	}
}

// widely is a variant whose trials spread widely.
type widely struct {
	series, variant Text
	spread          float64
}

// wide are those by the first metric, the widest first.
func (u *run) wide() []widely {
	var out []widely
	if len(u.d.Info.Metrics) == 0 {
		return nil
	}
	for _, s := range u.result.Series {
		for _, v := range s.Variants {
			if sum, ok := v.Metrics[u.d.Info.Metrics[0].ID]; ok && sum.Spread > wideSpread {
				out = append(out, widely{u.d.Info.seriesLabel(s.ID), label(u.d.Info, s.ID, v.ID), sum.Spread})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b widely) int { return cmp.Compare(b.spread, a.spread) })
	return out
}

// phase tells what is done besides trials.
func (u *run) phase(p string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.progress.Phase, u.progress.Series, u.progress.Variant = p, "", ""
}

// tellProgress tells how far the run is until stop is called.
func (u *run) tellProgress() (stop func()) {
	tell := func() {
		p := u.now()
		u.r.mu.Lock()
		u.r.running = &p
		u.r.mu.Unlock()
		if u.o.Progress != nil {
			u.o.Progress(p)
		}
	}
	tell()
	ended, quit := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(progressGap)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				tell()
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
		tell()
	}
}

// now is the progress at this moment.
func (u *run) now() Progress {
	u.mu.Lock()
	defer u.mu.Unlock()
	p, now := u.progress, u.r.config.Now()
	p.Elapsed = now.Sub(u.began).Seconds()
	p.Left = u.estimate(now)
	return p
}

// estimate is the time left, in seconds: by the latest trial of each variant,
// and of those that have had none by the mean of the others; before there is
// any by what the experiment says of itself. The caller holds u.mu.
func (u *run) estimate(now time.Time) float64 {
	if len(u.took) == 0 {
		whole := u.d.Info.Seconds
		if u.o.Quick {
			whole = u.d.Info.Quick
		}
		if whole == 0 {
			return -1
		}
		return max(float64(whole)-now.Sub(u.began).Seconds(), 0)
	}
	mean := 0.0
	for _, s := range u.took {
		mean += s / float64(len(u.took))
	}
	left := 0.0
	for _, k := range u.left {
		if s, ok := u.took[k]; ok {
			left += s
		} else {
			left += mean
		}
	}
	if !u.trialAt.IsZero() {
		left = max(left-now.Sub(u.trialAt).Seconds(), 0)
	}
	return left
}
