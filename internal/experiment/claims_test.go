package experiment

import (
	"testing"
	"time"
)

func TestStand(t *testing.T) {
	here := MachineInfo{Kernel: "6.18", CPU: "x", CPUs: 2}
	result := func(run int64, quick bool, verdict string, m MachineInfo) *Result {
		return &Result{
			Run: run, Quick: quick, Started: time.Unix(run, 0), Machine: m,
			Verdicts: []ClaimVerdict{
				{Claim: "T9", Verdict: Holds, Parts: []PartTest{{Outcome: outcomeHolds}}},
				{Claim: "T1", Verdict: verdict, Parts: []PartTest{{Outcome: outcomeUnclear}}},
			},
		}
	}
	nothing := func(run int64, quick bool) *Result {
		r := result(run, quick, NoVerdict, here)
		r.Verdicts[1].Parts = []PartTest{{Outcome: outcomeMissing, Why: WhyQuick}, {Outcome: outcomeMissing, Why: WhyQuick}}
		return r
	}
	lacks := []Missing{{Name: "io_uring", Reason: "it is disabled"}}
	older := here
	older.Kernel = "6.1"
	measured := Claim{ID: "T1", Experiment: "x"}
	tests := []struct {
		name    string
		claim   Claim
		runs    []*Result
		missing []Missing
		status  string
		run     int64
		verdict string
		stale   bool
	}{
		{"a lesson", Claim{ID: "T1", Lesson: "l"}, nil, nil, StatusLesson, 0, "", false},
		{"later", Claim{ID: "T1", Later: "mesh"}, nil, nil, StatusLater, 0, "", false},
		{"no run", measured, nil, nil, StatusNotMeasured, 0, "", false},
		{"no run, and none can be", measured, nil, lacks, StatusCannot, 0, "", false},
		{"a run", measured, []*Result{result(3, false, DoesNotHold, here)}, nil, StatusMeasured, 3, DoesNotHold, false},
		{"a run, and none can be now", measured, []*Result{result(3, false, Holds, here)}, lacks, StatusMeasured, 3, Holds, false},
		{"the first is trusted", measured, []*Result{result(3, false, Holds, here), result(4, true, DoesNotHold, here)}, nil, StatusMeasured, 3, Holds, false},
		{"the first says nothing", measured, []*Result{nothing(3, false), result(4, true, Holds, here)}, nil, StatusMeasured, 4, Holds, false},
		{"none says anything", measured, []*Result{nothing(3, false), nothing(4, true)}, nil, StatusMeasured, 3, NoVerdict, false},
		{"of another kernel", measured, []*Result{result(3, false, Holds, older)}, nil, StatusMeasured, 3, Holds, true},
		{"of another claim", Claim{ID: "T2", Experiment: "x"}, []*Result{result(3, false, Holds, here)}, nil, StatusNotMeasured, 0, "", false},
	}
	for _, test := range tests {
		s := Stand(test.claim, test.runs, test.missing, here)
		verdict := ""
		if s.Verdict != nil {
			verdict = s.Verdict.Verdict
		}
		if s.Status != test.status || s.Run != test.run || verdict != test.verdict || s.Stale != test.stale || len(s.Missing) != 0 && test.status != StatusCannot {
			t.Errorf("%s: %+v with %q", test.name, s, verdict)
		}
	}
}
