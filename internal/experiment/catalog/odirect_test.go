package catalog

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kernelviz/internal/experiment"
	"kernelviz/internal/workload/trial"
)

func TestODirectDefinition(t *testing.T) {
	d := ODirect()
	var all, quick []string
	for _, s := range d.Info.Series {
		all = append(all, s.ID)
		if s.Quick {
			quick = append(quick, s.ID)
		}
		p, err := d.Plan(s.ID, "uring", "", false)
		if err != nil || len(p.Roles) != 1 || p.Roles[0].Spec.Params["depth"] != s.X {
			t.Errorf("%s: plan %+v, %v; want depth %v", s.ID, p, err, s.X)
		}
	}
	if got := strings.Join(all, " "); got != "qd-1 qd-2 qd-4 qd-8 qd-16 qd-32 qd-64 qd-128" {
		t.Error(got)
	}
	if got := strings.Join(quick, " "); got != "qd-1 qd-8 qd-32 qd-128" {
		t.Error(got)
	}
	if _, err := d.Plan("deep", "uring", "", false); err == nil {
		t.Error("a plan for no depth")
	}
}

func TestODirectMeasure(t *testing.T) {
	r := experiment.RoleReport{
		Report: trial.Report{Seconds: 0.5, Bytes: 1e9, Ops: 250_000, Metrics: map[string]float64{"p50_us": 80, "p99_us": 90}}, CPU: 0.25,
	}
	got, err := ODirect().Measure(experiment.Trial{Variant: "uring", Roles: map[string]experiment.RoleReport{"reader": r}})
	if err != nil {
		t.Fatal(err)
	}
	sameMetrics(t, "uring", got, map[string]float64{"gb_per_s": 2, "cpu_per_gb": 0.25, "iops": 500_000, "p50_us": 80, "p99_us": 90})
	if _, err := ODirect().Measure(experiment.Trial{}); err == nil {
		t.Error("figures of a trial without a report")
	}
}

// Files in memory are refused even by a kernel that opens them with O_DIRECT.
func TestODirectNeedsADisk(t *testing.T) {
	const dir = "/dev/shm"
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
		t.Skip("host only: there is no tmpfs in " + dir)
	}
	got := needDirect(dir)
	if len(got) != 1 || !strings.Contains(got[0].Reason, "tmpfs") || !strings.Contains(got[0].Fix, "--experiment-dir") {
		t.Errorf("%+v", got)
	}
	got = needDirect("/nowhere")
	if len(got) != 1 || !strings.Contains(got[0].Reason, "/nowhere") {
		t.Errorf("%+v", got)
	}
}

func TestODirectLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	for _, m := range needDirect(dir) {
		t.Log(m.Reason)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("files %v, %v", files, err)
	}
}
