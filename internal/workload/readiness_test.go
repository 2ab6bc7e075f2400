package workload

import (
	"fmt"
	"testing"

	"kernelviz/internal/workload/readiness"

	"golang.org/x/sys/unix"
)

func costs(t *testing.T, r readiness.Result) map[string]float64 {
	t.Helper()
	us := map[string]float64{}
	for _, row := range r.Runs {
		if row.US <= 0 || row.Low > row.US || row.High < row.US {
			t.Errorf("row %+v", row)
		}
		us[row.Method] = row.US
	}
	if len(us) != 3 || us["select"] == 0 || us["poll"] == 0 || us["epoll"] == 0 {
		t.Fatalf("rows %+v", r.Runs)
	}
	return us
}

// TestReadiness: who asks about all pays for all; who is told does not. It is
// the active part that decides, not the number.
func TestReadiness(t *testing.T) {
	p := start(t, "readiness")
	few := costs(t, answer[readiness.Result](t, p, `{"op":"run","n":2000,"active":1,"rounds":20}`))
	t.Logf("1 of 2000: %v", few)
	if few["epoll"]*3 > few["poll"] || few["epoll"]*3 > few["select"] {
		t.Errorf("1 of 2000 active: %v us an event; epoll is not three times cheaper", few)
	}
	all := costs(t, answer[readiness.Result](t, p, `{"op":"run","n":2000,"active":2000,"rounds":20}`))
	t.Logf("2000 of 2000: %v", all)
	if all["epoll"]*3 < all["poll"] || all["poll"]*3 < all["epoll"] {
		t.Errorf("all active: %v us an event; want about the same", all)
	}
	if few["poll"] < 10*all["poll"] {
		t.Errorf("poll costs %.2f us an event for 1 of 2000, %.2f for all", few["poll"], all["poll"])
	}
}

func TestReadinessKeepsItsRows(t *testing.T) {
	p := start(t, "readiness")
	if s := stateOf[readiness.State](t, p); s.Runs == nil || len(s.Runs) != 0 {
		t.Errorf("at first: %+v", s)
	}
	open := openFDs(t, p.PID())
	for range 70 {
		answer[readiness.Result](t, p, `{"op":"run","n":3,"active":2,"rounds":1}`)
	}
	s := stateOf[readiness.State](t, p)
	if len(s.Runs) != 192 || s.Runs[0].Seq != 19 || s.Runs[191].Seq != 210 || s.Runs[0].Method != "select" || s.Runs[191].Rounds != 1 {
		t.Errorf("%d rows, first %+v, last %+v", len(s.Runs), s.Runs[0], s.Runs[len(s.Runs)-1])
	}
	r := answer[readiness.Result](t, p, `{"op":"run"}`)
	if row := r.Runs[2]; row.N != 1000 || row.Active != 10 || row.Rounds != 30 || r.Stopped != nil {
		t.Errorf("defaults: %+v", r)
	}
	if now := openFDs(t, p.PID()); fmt.Sprint(now) != fmt.Sprint(open) {
		t.Errorf("open are %v, before the runs %v", now, open)
	}
}

func TestReadinessOutOfFiles(t *testing.T) {
	p := start(t, "readiness")
	if err := unix.Prlimit(p.PID(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1000, Max: 1000}, nil); err != nil {
		t.Fatal(err)
	}
	refuses(t, p, map[string]string{
		`{"op":"run","n":1000}`: `emfile: 1000 descriptors need 2016 open files, 1000 are allowed (RLIMIT_NOFILE); measure fewer, or raise the limit (ulimit -n) before the server starts`,
	})
	answer[readiness.Result](t, p, `{"op":"run","n":100,"rounds":1}`) // and it goes on
}

func TestReadinessMost(t *testing.T) {
	p := start(t, "readiness")
	if limit := fileLimit(t, p.PID()); limit < 18_016 {
		t.Skipf("host only: needs 18,016 open files, has %d: ulimit -Hn", limit)
	}
	us := costs(t, answer[readiness.Result](t, p, `{"op":"run","n":9000,"active":10,"rounds":10}`))
	t.Logf("10 of 9000: %v", us)
	if us["select"] < us["epoll"] {
		t.Errorf("10 of 9000 active: %v us an event", us)
	}
}

func TestReadinessRefuses(t *testing.T) {
	p := start(t, "readiness")
	refuses(t, p, map[string]string{
		`{"op":"walk"}`:                    `unknown_op: unknown op "walk"; readiness knows run`,
		`{"op":"run","n":9001}`:            `bad_action: n is 9001, want 1 to 9000`,
		`{"op":"run","n":0}`:               `bad_action: n is 0, want 1 to 9000`,
		`{"op":"run","n":10,"active":11}`:  `bad_action: active is 11, want 1 to 10`,
		`{"op":"run","n":10,"active":0}`:   `bad_action: active is 0, want 1 to 10`,
		`{"op":"run","n":10,"rounds":201}`: `bad_action: rounds is 201, want 1 to 200`,
		`{"op":"run","method":"select"}`:   `bad_action: the action does not fit: json: unknown field "method"`,
		`"run"`:                            `bad_action: the action is not a JSON object: json: cannot unmarshal string into Go value of type map[string]json.RawMessage`,
	})
}
