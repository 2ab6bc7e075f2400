package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/experiment"
	"kernelviz/internal/experiment/catalog"
)

// command carries out a command line in this process.
func command(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestExperimentList(t *testing.T) {
	code, out, errs := command(t.Context(), "experiment", "list", "--json")
	var list []experiment.Info
	if err := json.Unmarshal([]byte(out), &list); code != 0 || err != nil || len(list) != len(catalog.All()) {
		t.Fatalf("%d, %v, %s%s", code, err, out, errs)
	}
	code, out, _ = command(t.Context(), "experiment", "list")
	for _, i := range list {
		if code != 0 || !strings.Contains(out, i.ID) || !strings.Contains(out, i.Question.En) {
			t.Errorf("%d, %s is not in\n%s", code, i.ID, out)
		}
	}
}

func TestExperimentUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"experiment"}, exitUsage, "experiment list or experiment run"},
		{[]string{"experiment", "run"}, exitUsage, "accepts 1 arg"},
		{[]string{"experiment", "run", "everything"}, exitNotFound, "labserver experiment list"},
		{[]string{"experiment", "run", "herd", "--fast"}, exitUsage, "unknown flag"},
		{[]string{"experiment", "run", "herd", "--labs", "/nonexistent"}, exitUsage, "--labs"},
		{[]string{"experiment", "run", "herd", "--experiment-dir", "/nonexistent"}, exitFailure, "no such file"},
	} {
		if len(test.args) > 3 && os.Geteuid() != 0 {
			continue
		}
		code, _, errs := command(t.Context(), test.args...)
		if code != test.code || !strings.Contains(errs, test.says) {
			t.Errorf("%q: %d, %s, want %d with %q", test.args, code, errs, test.code, test.says)
		}
	}
}

func TestExperimentOnASmallDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("guest only: no right to mount: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	code, out, errs := command(t.Context(), "experiment", "run", "syscalls", "--quick", "--experiment-dir", dir)
	if code != exitFailure || out != "" || !strings.Contains(errs, "MiB in "+dir) || !strings.Contains(errs, "try: ") {
		t.Errorf("%d, %s%s", code, out, errs)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestExperimentInterrupted: Ctrl-C prints what was measured and leaves
// nothing.
func TestExperimentInterrupted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
	dir := t.TempDir()
	db := filepath.Join(t.TempDir(), "results.db")
	cmd := labserver("experiment", "run", "readiness", "--quick", "--json", "--experiment-dir", dir, "--db", db)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	files := func() int {
		found, _ := filepath.Glob(dir + "/kernelviz-*/readiness-*")
		return len(found)
	}
	for end := time.Now().Add(20 * time.Second); files() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not begin: %s", errs.String())
		}
	}
	if err := cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	var r experiment.Result
	if cmd.ProcessState.ExitCode() != exitFailure || json.Unmarshal(out.Bytes(), &r) != nil || r.State != experiment.StateCancelled || r.Run != 1 {
		t.Errorf("%v, %s%s", err, out.String(), errs.String())
	}
	if !strings.Contains(errs.String(), "experiment readiness: cancelled") {
		t.Errorf("it says %s", errs.String())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestPrintResult(t *testing.T) {
	series := experiment.Series{
		ID: "lo", Label: experiment.Text{En: "over loopback"}, Baseline: "old",
		Variants: []experiment.Variant{{ID: "old"}, {ID: "new"}},
	}
	info := experiment.Info{
		ID: "race", Question: experiment.Text{En: "Which wins?"}, Series: []experiment.Series{series},
		Metrics: []experiment.Metric{{ID: "cpu", Unit: "s"}, {ID: "calls", Exact: true}},
	}
	r := &experiment.Result{
		Trials: 10, Machine: experiment.MachineInfo{Kernel: "6.18", CPUs: 2, CPU: "x"},
		Series: []experiment.SeriesResult{{
			ID: "lo",
			Variants: []experiment.VariantResult{
				{ID: "old", Metrics: map[string]experiment.Summary{"cpu": {Values: []float64{1.8, 2, 2.2}, Median: 2, Low: 1.8, High: 2.2, Min: 1.8, Max: 2.2, Spread: 0.1}, "calls": {Median: 1048576}}},
				{ID: "new", Metrics: map[string]experiment.Summary{"cpu": {Values: []float64{1, 1.234, 1.5}, Median: 1.234, Low: 1, High: 1.5, Min: 1, Max: 1.5, Spread: 0.2}}, Notes: []experiment.Warning{{Code: "copied", Text: "all of it"}}},
			},
			Comparisons: []experiment.Comparison{{Variant: "new", Metric: "cpu", Ratio: 0.617, Low: 0.5, High: 1.2, Why: "noise"}},
		}},
		Verdicts: []experiment.ClaimVerdict{{Claim: "T1", Verdict: experiment.HoldsInPart, When: experiment.Text{En: "with 4 KiB"}, Reason: experiment.Text{En: "so it is"}}},
		Warnings: []experiment.Warning{{Code: "busy", Text: "others were busy"}},
	}
	claims := []experiment.Claim{{ID: "T1", Text: experiment.Text{En: "It is faster."}, Means: experiment.Text{En: "less CPU"}}}
	var out bytes.Buffer
	if err := printResult(&out, info, claims, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"race: Which wins?", "over loopback (lo)", "cpu", "old *", "2.0 ±10%", "1048576", "1.2 ±20%", "0.62 (0.50–1.20) noise", "new: all of it",
		"T1   holds in part (with 4 KiB)", "claim:       It is faster.", "holds means: less CPU", "measured:    so it is", "warning: others were busy",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestScratchOfExperiments(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	first, err := scratchOf(dir, "", log)
	if err != nil {
		t.Fatal(err)
	}
	// The same directory again, as where TMPDIR is --experiment-dir.
	second, err := scratchOf(dir, first, log)
	if err != nil || second != filepath.Join(first, "experiments") {
		t.Errorf("%s, %v", second, err)
	}
	if _, err := scratchOf(filepath.Join(dir, "none"), first, log); err == nil {
		t.Error("a directory that somebody asked for and that is not there was passed over")
	}
}

// TestStaleClaims: labs check and the server refuse claims that name what is
// not there.
func TestStaleClaims(t *testing.T) {
	claim := func(way string) string {
		return "format: 1\nclaims:\n  - {id: T1, section: tuning, text: {en: a, zh: 一}, means: {en: b, zh: 二}, " + way + "}\n"
	}
	for _, test := range []struct{ way, says string }{
		{"lesson: x-one", ""},
		{"later: x", ""},
		{"lesson: x-two", `claims.yaml:3: there is no lab "x-two"`},
		{"lesson: x-one, see: [x-two]", `claims.yaml:3: there is no lab "x-two"`},
		{"later: tcp", `claims.yaml:3: there is no module "tcp"; there are x`},
		{"experiment: race, parts: [{series: s, variant: v, want: value <= 1}]", `claim T1: there is no experiment "race"`},
		{"experiment: herd, parts: [{series: workers-5, variant: default, want: value <= 1}]", `herd has no series "workers-5"`},
	} {
		files := fstest.MapFS{
			experiment.ClaimsFile:  {Data: []byte(claim(test.way))},
			"010-x/module.yaml":    {Data: []byte("id: x")},
			"010-x/010-a/lab.yaml": {Data: []byte("id: x-one")},
		}
		_, err := loadClaims(files)
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", test.way, err, test.says)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, experiment.ClaimsFile), []byte(claim("lesson: gone")), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := command(t.Context(), "labs", "check", "--static", "--labs", dir)
	if code != exitFailure || !strings.Contains(errs, `claims.yaml:3: there is no lab "gone"`) {
		t.Errorf("%d, %s", code, errs)
	}
}

// TestResultAsText: tables that line up, ratios without exponents, and why there
// is no verdict.
func TestResultAsText(t *testing.T) {
	summary := func(median float64, more ...float64) experiment.Summary {
		return experiment.Summary{Values: append(more, median), Median: median, Low: median * 0.98, High: median * 1.02, Spread: 0.02}
	}
	info := experiment.Info{
		ID:      "race",
		Metrics: []experiment.Metric{{ID: "cpu", Unit: "µs"}, {ID: "calls", Unit: "calls", Exact: true}, {ID: "none"}},
		Series:  []experiment.Series{{ID: "s", Baseline: "slow", Label: experiment.Text{En: "Once"}}},
	}
	r := &experiment.Result{
		Series: []experiment.SeriesResult{{ID: "s", Variants: []experiment.VariantResult{
			{ID: "slow", Metrics: map[string]experiment.Summary{"cpu": summary(123.4, 1), "calls": summary(1048576)}},
			{ID: "fast", Metrics: map[string]experiment.Summary{"cpu": summary(1.5, 1)}, Notes: []experiment.Warning{{Code: "copied", Text: "All was copied."}}},
		}, Comparisons: []experiment.Comparison{
			{Variant: "fast", Metric: "cpu", Ratio: 0.0122, Low: 0.011, High: 0.013, Why: "few"},
		}}},
		Verdicts: []experiment.ClaimVerdict{{Claim: "T1", Verdict: experiment.NoVerdict, Because: experiment.Text{En: "Nobody knows."}}},
		Warnings: []experiment.Warning{{Text: "It was quick."}},
	}
	var out bytes.Buffer
	claims := []experiment.Claim{{ID: "T1", Text: experiment.Text{En: strings.Repeat("word ", 40)}, Means: experiment.Text{En: "Less."}}}
	if err := printResult(&out, info, claims, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"  VARIANT        cpu                          calls\n                  µs  ×                       calls  ×\n  slow *    123 ± 2%                        1048576\n  fast     1.50 ± 2%  1/82 (1/91–1/77) few        -\n  fast: All was copied.\n",
		"  few   too few rounds", "  T1   no verdict\n", "       open:        Nobody knows.\n", "warning: It was quick.\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "word") && len(line) > 101 {
			t.Errorf("too long: %s", line)
		}
	}
	if strings.Contains(out.String(), "measured:") || strings.Contains(out.String(), "  noise ") {
		t.Errorf("it says what there is not:\n%s", out.String())
	}
}
