package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"kernelviz/internal/experiment"
	"kernelviz/internal/sandbox"
	"kernelviz/internal/store"
	"kernelviz/internal/workload/trial"
)

const testClaims = `format: 1
claims:
  - {id: E1, section: epoll, text: {en: a, zh: 一}, means: {en: b, zh: 二}, lesson: one}
  - {id: B1, section: mesh, text: {en: a, zh: 一}, means: {en: b, zh: 二}, later: mesh}
  - id: T1
    section: tuning
    text: {en: a, zh: 一}
    means: {en: b, zh: 二}
    experiment: quick
    parts: [{series: s, variant: twice, against: once, want: ratio >= 1.9}]
  - id: T2
    section: tuning
    text: {en: a, zh: 一}
    means: {en: b, zh: 二}
    experiment: impossible
    parts: [{series: s, variant: twice, against: once, want: ratio >= 1.9}]
  - id: T3
    section: tuning
    text: {en: a, zh: 一}
    means: {en: b, zh: 二}
    experiment: endless
    parts: [{series: s, variant: twice, against: once, want: ratio >= 1.9}]
`

// testExperiment is an experiment of two variants: the second does twice as much.
func testExperiment(id string) experiment.Definition {
	return experiment.Definition{
		Info: experiment.Info{
			ID: id, Seconds: 1, Quick: 1, Metrics: []experiment.Metric{{ID: "ops"}},
			Series: []experiment.Series{{ID: "s", Baseline: "once", Quick: true, Variants: []experiment.Variant{{ID: "once"}, {ID: "twice"}}}},
		},
		Rounds: 5, QuickRounds: 5, Limit: time.Minute,
		Plan: func(_, variant, _ string, _ bool) (experiment.Plan, error) {
			return experiment.Plan{Roles: []experiment.Role{{Spec: trial.Spec{Role: "worker"}}}}, nil
		},
		Measure: func(t experiment.Trial) (map[string]float64, error) {
			return map[string]float64{"ops": float64(t.Roles["worker"].Report.Ops)}, nil
		},
	}
}

// playTrial is the process of a trial.
func playTrial() error {
	work := func(s trial.Spec) (trial.Work, error) { return testWork{s}, nil }
	return trial.Serve(map[string]func(trial.Spec) (trial.Work, error){"quick/worker": work, "endless/worker": work})
}

type testWork struct{ spec trial.Spec }

func (testWork) Prepare() (any, error) { return nil, nil }
func (testWork) Close() error          { return nil }

func (w testWork) Run(map[string]json.RawMessage) (trial.Report, error) {
	if w.spec.Experiment == "endless" {
		time.Sleep(time.Hour)
	}
	return trial.Report{Ops: map[string]uint64{"once": 10, "twice": 20}[w.spec.Variant]}, nil
}

// withExperiments lets the server run experiments of its own.
func withExperiments(t *testing.T) func(*Options) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	box, err := sandbox.New(sandbox.Config{Log: log, Guardian: []string{"/proc/self/exe", "workload", "guardian"}})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Memory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	claims, err := experiment.LoadClaims(fstest.MapFS{
		experiment.ClaimsFile: {Data: []byte(testClaims)}, "010-a/module.yaml": {Data: []byte("id: mesh")}, "010-a/010-b/lab.yaml": {Data: []byte("id: one")},
	})
	if err != nil {
		t.Fatal(err)
	}
	impossible, full := testExperiment("impossible"), testExperiment("full")
	impossible.Needs = func(context.Context, string, bool) []experiment.Missing {
		return []experiment.Missing{{Name: "io_uring", Reason: "it is disabled", Fix: "enable it"}}
	}
	full.Needs = func(_ context.Context, dir string, _ bool) []experiment.Missing {
		return experiment.NeedDisk(dir, 1<<60)
	}
	dir := t.TempDir()
	t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("files are left: %v, %v", left, err)
		}
	})
	return func(o *Options) {
		o.Sandbox = box
		o.Experiments = &ExperimentOptions{
			Runner: experiment.NewRunner(experiment.Config{
				Box: box, Log: log, Dir: dir, Command: []string{"/proc/self/exe", "play-trial"}, Store: db, Claims: claims,
			}),
			Experiments: []experiment.Definition{testExperiment("quick"), testExperiment("endless"), impossible, full},
			Claims:      claims,
			Results:     db,
		}
	}
}

func asViewer(s *running) func(http.Header) {
	return func(h http.Header) { h.Set("Authorization", "Bearer "+string(s.options.Token.Viewer())) }
}

// ran runs the experiment to its end and returns the number of the run.
func (p *tab) ran(id string) int64 {
	p.t.Helper()
	p.send(`{"type":"experiment","ref":7,"id":%q}`, id)
	run := int64(p.message("done")["result"].(map[string]any)["run"].(float64))
	result := p.message("result")["result"].(map[string]any)
	if result["state"] != "done" || result["run"] != float64(run) {
		p.t.Fatalf("result %v", result)
	}
	return run
}

func TestExperimentRuns(t *testing.T) {
	s := start(t, withExperiments(t))
	p, onlooker := s.tab(), s.tab(asViewer(s))
	run := p.ran("quick")
	if m := onlooker.message("result"); m["result"].(map[string]any)["run"] != float64(run) {
		t.Errorf("the other page got %v", m)
	}
	c := s.browser(s.ViewerURL())
	var list experimentList
	s.api(c, "/api/v1/experiments", http.StatusOK, &list)
	if len(list.Experiments) != 4 || list.Running != nil || len(list.Runs["quick"]) != 1 || list.Runs["quick"][0].Run != run || list.Runs["quick"][0].State != "done" {
		t.Errorf("list %+v", list)
	}
	if m := list.Experiments[2].Missing; len(m) != 1 || m[0].Name != "io_uring" {
		t.Errorf("missing %+v", m)
	}
	res, err := c.Get("http://" + s.addr + fmt.Sprintf("/api/v1/experiments/quick/runs/%d", run))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var result experiment.Result
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&result); err != nil || result.Run != run || result.Trials != 10 {
		t.Errorf("%s, %v", body, err)
	}
	if name := res.Header.Get("Content-Disposition"); name != fmt.Sprintf(`attachment; filename="kernelviz-quick-%d.json"`, run) {
		t.Errorf("it is named %q", name)
	}
}

func TestClaimsStand(t *testing.T) {
	s := start(t, withExperiments(t))
	c := s.browser(s.ViewerURL())
	statuses := func() map[string]experiment.Standing {
		var got struct{ Claims []experiment.Claim }
		s.api(c, "/api/v1/claims", http.StatusOK, &got)
		out := map[string]experiment.Standing{}
		for _, c := range got.Claims {
			out[c.ID] = c.Standing
		}
		return out
	}
	want := map[string]string{
		"E1": experiment.StatusLesson, "B1": experiment.StatusLater, "T1": experiment.StatusNotMeasured, "T2": experiment.StatusCannot, "T3": experiment.StatusNotMeasured,
	}
	for id, got := range statuses() {
		if got.Status != want[id] || got.Verdict != nil {
			t.Errorf("%s: %+v, want %q", id, got, want[id])
		}
	}
	run := s.tab().ran("quick")
	if got := statuses()["T1"]; got.Status != experiment.StatusMeasured || got.Verdict.Verdict != experiment.Holds || got.Run != run || got.Stale {
		t.Errorf("after the run: %+v", got)
	}
}

func TestExperimentIsCancelled(t *testing.T) {
	s := start(t, withExperiments(t))
	p := s.tab()
	p.send(`{"type":"experiment","ref":1,"id":"endless","quick":true}`)
	run := int64(p.message("done")["result"].(map[string]any)["run"].(float64))
	for p.message("progress")["progress"].(map[string]any)["variant"] == "" {
	}
	other := s.tab()
	other.send(`{"type":"experiment","ref":2,"id":"quick"}`)
	if m := other.message("error"); m["code"] != CodeBusy || m["ref"] != 2.0 || m["fix"] == "" {
		t.Errorf("a second one: %v", m)
	}
	var list experimentList
	s.api(s.browser(s.URL()), "/api/v1/experiments", http.StatusOK, &list)
	if list.Running == nil || list.Running.Run != run || len(list.Runs["endless"]) != 0 {
		t.Errorf("while it runs: %+v", list)
	}
	other.send(`{"type":"cancel","ref":3,"run":%d}`, run+1)
	if m := other.message("error"); m["code"] != CodeGone {
		t.Errorf("cancelling another run: %v", m)
	}
	other.send(`{"type":"cancel","ref":4,"run":%d}`, run)
	if m := p.message("result")["result"].(map[string]any); m["state"] != "cancelled" || m["run"] != float64(run) {
		t.Errorf("result %v", m)
	}
	if m := other.message("done"); m["ref"] != 4.0 {
		t.Errorf("answer %v", m)
	}
	if p.ran("quick") <= run {
		t.Error("a number was given twice")
	}
}

func TestExperimentRefusals(t *testing.T) {
	s := start(t, withExperiments(t))
	learner, viewer := s.tab(), s.tab(asViewer(s))
	tests := []struct {
		page    *tab
		message string
		code    string
	}{
		{viewer, `{"type":"experiment","ref":1,"id":"quick"}`, CodeForbidden},
		{viewer, `{"type":"cancel","ref":1,"run":1}`, CodeForbidden},
		{learner, `{"type":"experiment","ref":1,"id":"nothing"}`, "unknown_experiment"},
		{learner, `{"type":"experiment","ref":1,"id":"impossible"}`, "missing"},
		{learner, `{"type":"experiment","ref":1,"id":"full"}`, "disk_full"},
		{learner, `{"type":"experiment","ref":1,"id":"quick","fast":true}`, CodeBadMessage},
		{learner, `{"type":"cancel","ref":1,"run":"x"}`, CodeBadMessage},
		{learner, `{"type":"cancel","ref":1,"run":1}`, CodeGone},
	}
	for _, test := range tests {
		test.page.send("%s", test.message)
		if m := test.page.message("error"); m["code"] != test.code || m["ref"] != 1.0 {
			t.Errorf("%s: %v, want %s", test.message, m, test.code)
		}
	}
	run := learner.ran("quick")
	c := s.browser(s.URL())
	var refusal map[string]map[string]string
	for path, want := range map[string]int{
		"/api/v1/experiments/nothing/runs/1":  http.StatusNotFound,
		"/api/v1/experiments/quick/runs/99":   http.StatusNotFound,
		"/api/v1/experiments/endless/runs/1":  http.StatusNotFound,
		"/api/v1/experiments/quick/runs/x":    http.StatusBadRequest,
		"/api/v1/experiments/quick/runs/0":    http.StatusBadRequest,
		"/api/v1/experiments/quick/runs/-1":   http.StatusBadRequest,
		"/api/v1/experiments/quick/runs/9e99": http.StatusBadRequest,
	} {
		s.api(c, path, want, &refusal)
	}
	path := fmt.Sprintf("http://%s/api/v1/experiments/quick/runs/%d", s.addr, run)
	for _, test := range []struct {
		c    *http.Client
		want int
	}{{s.browser(s.ViewerURL()), http.StatusForbidden}, {c, http.StatusNoContent}, {c, http.StatusNotFound}} {
		r, err := http.NewRequest(http.MethodDelete, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := test.c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != test.want {
			t.Errorf("DELETE: %s, want %d", res.Status, test.want)
		}
	}
}

func TestExperimentsOff(t *testing.T) {
	s := start(t, func(*Options) {})
	c := s.browser(s.URL())
	var refusal map[string]map[string]string
	for _, path := range []string{"/api/v1/experiments", "/api/v1/experiments/quick/runs/1", "/api/v1/claims"} {
		s.api(c, path, http.StatusNotFound, &refusal)
		if e := refusal["error"]; e["code"] != "experiments_off" || !strings.Contains(e["fix"], "--no-workloads") {
			t.Errorf("%s: %v", path, refusal)
		}
	}
	p := s.tab()
	p.send(`{"type":"experiment","ref":1,"id":"quick"}`)
	if m := p.message("error"); m["code"] != "experiments_off" {
		t.Errorf("%v", m)
	}
}

// TestServerEndsWithAnExperiment: it is cancelled, and nothing is left of it.
func TestServerEndsWithAnExperiment(t *testing.T) {
	s := start(t, withExperiments(t))
	p := s.tab()
	p.send(`{"type":"experiment","ref":1,"id":"endless"}`)
	p.message("done")
	for p.message("progress")["progress"].(map[string]any)["variant"] == "" {
	}
	// The cleanup of the test ends the server and looks at the directory.
}
