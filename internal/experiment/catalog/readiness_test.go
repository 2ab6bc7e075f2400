package catalog

import (
	"strings"
	"testing"

	"kernelviz/internal/experiment"
	"kernelviz/internal/workload/trial"
)

func TestReadinessDefinition(t *testing.T) {
	d := Readiness()
	series, quick, variants := ids(t, d)
	same(t, "series", series, "n9000-a10 n9000-a100 n9000-a900 n9000-a4500 n9000-a9000 n1000-a10 n100-a10")
	same(t, "quick series", quick, "n9000-a10 n9000-a900 n9000-a9000")
	same(t, "variants", variants, "select poll epoll uring-poll")
	if d.Info.Metrics[0].ID != "us_per_event" || d.Info.Series[0].Baseline != "epoll" {
		t.Errorf("%+v", d.Info)
	}
	xs := map[float64]bool{}
	for _, s := range d.Info.Series {
		if s.X > 0 && xs[s.X] {
			t.Errorf("two series at x = %v", s.X)
		}
		xs[s.X] = true
	}
	p, err := d.Plan("n9000-a900", "select", "", true)
	if err != nil || len(p.Roles) != 1 || p.Roles[0].Spec.Role != "server" {
		t.Fatalf("%+v, %v", p, err)
	}
	if g := p.Roles[0].Spec.Params; g["n"] != 9000 || g["active"] != 900 || g["rounds"] < 10 {
		t.Errorf("%v", g)
	}
	if _, err := d.Plan("n1-a1", "select", "", false); err == nil {
		t.Error("a plan for no series")
	}
}

func TestReadinessMeasure(t *testing.T) {
	roles := map[string]experiment.RoleReport{
		"server": {Report: trial.Report{Seconds: 9, Ops: 1000, Metrics: map[string]float64{"serving": 0.5, "all": 0.75}}, CPU: 1},
	}
	got, err := Readiness().Measure(experiment.Trial{Roles: roles})
	if err != nil {
		t.Fatal(err)
	}
	sameMetrics(t, "timed", got, map[string]float64{"us_per_event": 500, "us_with_making": 750})
	if got, err = Readiness().Measure(experiment.Trial{Roles: roles, Counted: true}); err != nil || len(got) != 0 {
		t.Errorf("counted: %v, %v", got, err)
	}
	if _, err := Readiness().Measure(experiment.Trial{}); err == nil {
		t.Error("figures of a trial without a report")
	}
}

func TestReadinessNeedsFiles(t *testing.T) {
	if got := readinessMissing(9064, 9000); got != nil {
		t.Errorf("%+v", got)
	}
	got := readinessMissing(9063, 9000)
	if len(got) != 1 || !strings.Contains(got[0].Reason, "9063 files") || !strings.Contains(got[0].Fix, "ulimit") {
		t.Errorf("%+v", got)
	}
}
