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
				{ID: "old", Metrics: map[string]experiment.Summary{"cpu": {Median: 2, Spread: 0.1}, "calls": {Median: 1048576}}},
				{ID: "new", Metrics: map[string]experiment.Summary{"cpu": {Median: 1.234, Spread: 0.2}}, Notes: []experiment.Warning{{Code: "copied", Text: "all of it"}}},
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
		"race: Which wins?", "over loopback (lo)", "CPU [s]", "old *", "2 ±10%", "1048576", "1.23 ±20%", "0.617 (0.5–1.2) noise", "new: copied: all of it",
		"T1  holds in part (with 4 KiB)", "claim: It is faster.", "holds means: less CPU", "measured: so it is", "warning: others were busy",
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
