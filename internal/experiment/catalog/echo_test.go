package catalog

import (
	"strings"
	"testing"

	"kernelviz/internal/experiment"
	"kernelviz/internal/workload/trial"
)

func TestEchoPlan(t *testing.T) {
	d := Echo()
	for _, s := range d.Info.Series {
		for _, quick := range []bool{false, true} {
			p, err := d.Plan(s.ID, "uring", "", quick)
			if err != nil || len(p.Roles) != 2 || p.Veth {
				t.Fatalf("%s: %+v, %v", s.ID, p, err)
			}
			server, load := p.Roles[0], p.Roles[1]
			if server.Spec.Role != "server" || load.Spec.Role != "load" || !server.Count || load.Count {
				t.Errorf("%s: %+v", s.ID, p)
			}
			if server.Spec.Params["conns"] != s.X || load.Spec.Params["conns"] != s.X || load.Spec.Params["messages"] < 30 {
				t.Errorf("%s: %+v", s.ID, p)
			}
		}
	}
	if _, err := d.Plan("conns-7", "uring", "", false); err == nil {
		t.Error("a plan for no series")
	}
}

func TestEchoMeasure(t *testing.T) {
	roles := func(served uint64) map[string]experiment.RoleReport {
		return map[string]experiment.RoleReport{
			"server": {
				Report: trial.Report{Seconds: 9, Ops: served}, CPU: 0.5,
				Syscalls: map[string]uint64{"read": 1000, "write": 1000, "epoll_pwait": 100, "futex": 77},
			},
			"load": {Report: trial.Report{Seconds: 2, Ops: 1000}, CPU: 0.7},
		}
	}
	got, err := Echo().Measure(experiment.Trial{Variant: "epoll", Roles: roles(1000)})
	if err != nil {
		t.Fatal(err)
	}
	sameMetrics(t, "timed", got, map[string]float64{"cpu_us_per_msg": 500, "msgs_per_s": 500})
	if got, err = Echo().Measure(experiment.Trial{Variant: "epoll", Roles: roles(1000), Counted: true}); err != nil {
		t.Fatal(err)
	}
	sameMetrics(t, "counted", got, map[string]float64{"syscalls_per_msg": 2.1})
	if _, err := Echo().Measure(experiment.Trial{Roles: roles(999)}); err == nil || !strings.Contains(err.Error(), "999") {
		t.Errorf("a message that was lost: %v", err)
	}
	if _, err := Echo().Measure(experiment.Trial{}); err == nil {
		t.Error("figures of a trial without a report")
	}
}

func TestEchoNeedsFiles(t *testing.T) {
	if got := filesMissing(2000); got != nil {
		t.Errorf("%+v", got)
	}
	got := filesMissing(1024)
	if len(got) != 1 || !strings.Contains(got[0].Reason, "1024 files") || !strings.Contains(got[0].Fix, "ulimit") {
		t.Errorf("%+v", got)
	}
}
