package catalog

import (
	"context"
	"errors"
	"strings"
	"testing"

	"kernelviz/internal/experiment"
	"kernelviz/internal/workload/trial"
)

func TestSyscallsDefinition(t *testing.T) {
	d := Syscalls()
	// Claims name these.
	want := []string{"pread-4k", "ring-32768", "ring-256", "sqpoll-256", "pread-128k"}
	if len(d.Info.Series) != 1 || d.Info.Series[0].ID != "read" || d.Info.Series[0].Baseline != "pread-4k" || len(d.Info.Series[0].Variants) != len(want) {
		t.Fatalf("series %+v", d.Info.Series)
	}
	for i, v := range d.Info.Series[0].Variants {
		if v.ID != want[i] {
			t.Errorf("variant %d is %s, want %s", i, v.ID, want[i])
		}
	}
	for quick, bytes := range map[bool]float64{false: 1_048_576 * 4096, true: 65_536 * 4096} {
		p, err := d.Plan("read", "ring-256", "", quick)
		if err != nil || len(p.Roles) != 1 || p.Roles[0].Spec.Params["bytes"] != bytes || !p.Roles[0].Count {
			t.Errorf("quick %v: plan %+v, %v", quick, p, err)
		}
	}
}

func TestSyscallsMeasure(t *testing.T) {
	r := experiment.RoleReport{
		Report: trial.Report{Seconds: 2, Bytes: 4e9, Ops: 1000}, CPU: 1,
		Syscalls: map[string]uint64{"pread64": 1000, "io_uring_enter": 7, "nanosleep": 3},
	}
	roles := map[string]experiment.RoleReport{"reader": r}
	for _, c := range []struct {
		t    experiment.Trial
		want map[string]float64
	}{
		{experiment.Trial{Variant: "pread-4k", Roles: roles, Counted: true}, map[string]float64{"calls": 1000}},
		{experiment.Trial{Variant: "pread-128k", Roles: roles, Counted: true}, map[string]float64{"calls": 1000}},
		{experiment.Trial{Variant: "ring-256", Roles: roles, Counted: true}, map[string]float64{"calls": 7}},
		{experiment.Trial{Variant: "sqpoll-256", Roles: roles, Counted: true}, map[string]float64{"calls": 7}},
		{experiment.Trial{Variant: "ring-256", Roles: roles}, map[string]float64{"cpu_per_gb": 0.25, "gb_per_s": 2}},
	} {
		got, err := Syscalls().Measure(c.t)
		if err != nil {
			t.Fatal(err)
		}
		sameMetrics(t, c.t.Variant, got, c.want)
	}
	if _, err := Syscalls().Measure(experiment.Trial{Variant: "pread-4k"}); err == nil {
		t.Error("figures of a trial without a report")
	}
}

func sameMetrics(t *testing.T, what string, got, want map[string]float64) {
	t.Helper()
	for id, v := range want {
		if got[id] != v {
			t.Errorf("%s: %s is %v, want %v", what, id, got[id], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestSyscallsNeedsMemory(t *testing.T) {
	meminfo := func(available string) string {
		return "MemTotal: 1 kB\nMemAvailable:  " + available + " kB\nBuffers: 3 kB\n"
	}
	for _, c := range []struct {
		info  string
		quick bool
		want  string // in the reason; "" if nothing is missing
	}{
		{meminfo("6291456"), false, ""},
		{meminfo("6291455"), false, "needs 6.0 GiB of free memory, and 6.0 GiB"},
		{meminfo("1048576"), false, "and 1.0 GiB are available"},
		{meminfo("1048576"), true, ""},
		{meminfo("400000"), true, "needs 0.5 GiB"},
		{meminfo("many"), true, "MemAvailable"},
		{"MemTotal: 1 kB\n", true, "no MemAvailable"},
	} {
		got := memoryMissing(c.info, uint64(syscallsSize(c.quick)), c.quick)
		if c.want == "" {
			if len(got) != 0 {
				t.Errorf("%q: %+v", c.info, got)
			}
			continue
		}
		if len(got) != 1 || !strings.Contains(got[0].Reason, c.want) || got[0].Fix == "" {
			t.Errorf("%q: %+v, want %s", c.info, got, c.want)
			continue
		}
		if strings.Contains(got[0].Fix, "--quick") == c.quick && !strings.Contains(c.want, "MemAvail") {
			t.Errorf("quick %v: the remedy is %q", c.quick, got[0].Fix)
		}
	}
}

func TestSyscallsSetupIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Syscalls().Setup(ctx, t.TempDir(), false); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
