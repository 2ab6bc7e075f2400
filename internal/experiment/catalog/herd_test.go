package catalog

import (
	"math"
	"testing"

	"kernelviz/internal/experiment"
	"kernelviz/internal/workload/trial"
)

func TestHerdDefinition(t *testing.T) {
	d := Herd()
	series, quick, variants := ids(t, d)
	same(t, "series", series, "workers-4 workers-16 workers-64")
	same(t, "quick series", quick, "workers-4 workers-16 workers-64")
	same(t, "variants", variants, "default exclusive reuseport accept uring-accept uring-multishot")
	if d.Info.Metrics[0].ID != "switches_per_conn" || d.Info.Series[0].Baseline != "default" {
		t.Errorf("%+v", d.Info)
	}
	for _, s := range d.Info.Series {
		p, err := d.Plan(s.ID, "accept", "", true)
		if err != nil || len(p.Roles) != 2 || p.Roles[0].Spec.Role != "workers" || p.Roles[1].Spec.Role != "clients" || p.Roles[1].Count {
			t.Fatalf("%s: %+v, %v", s.ID, p, err)
		}
		for _, r := range p.Roles {
			if g := r.Spec.Params; g["workers"] != s.X || g["connections"] != 200 {
				t.Errorf("%s: %v", s.ID, g)
			}
		}
	}
	if _, err := d.Plan("workers-5", "accept", "", false); err == nil {
		t.Error("a plan for no series")
	}
}

func TestHerdMeasure(t *testing.T) {
	roles := func(accepted uint64, switches float64) map[string]experiment.RoleReport {
		return map[string]experiment.RoleReport{
			"workers": {Report: trial.Report{Ops: accepted, Metrics: map[string]float64{"cpu": 0.01, "busiest": 0.25}}},
			"clients": {Report: trial.Report{Ops: 200, Metrics: map[string]float64{"switches": switches}}},
		}
	}
	measure := Herd().Measure
	got, err := measure(experiment.Trial{Roles: roles(200, 900)})
	if err != nil {
		t.Fatal(err)
	}
	got["cpu_us_per_conn"] = math.Round(got["cpu_us_per_conn"]*1e6) / 1e6
	sameMetrics(t, "timed", got, map[string]float64{"switches_per_conn": 4.5, "cpu_us_per_conn": 50, "busiest": 0.25})
	if got, err = measure(experiment.Trial{Roles: roles(200, 900), Counted: true}); err != nil || len(got) != 0 {
		t.Errorf("counted: %v, %v", got, err)
	}
	for _, r := range []map[string]experiment.RoleReport{roles(199, 900), roles(200, 0), nil} {
		if _, err := measure(experiment.Trial{Roles: r}); err == nil {
			t.Errorf("figures of %v", r)
		}
	}
}
