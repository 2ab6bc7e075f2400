package workload

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"

	"kernelviz/internal/workload/churn"
	"kernelviz/internal/workload/control"
)

func tell(t *testing.T, p *Process, a churn.Action) churn.Result {
	t.Helper()
	data, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := p.Do(t.Context(), data)
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	var r churn.Result
	if err := control.Decode(answer, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func churnState(t *testing.T, p *Process) churn.State {
	t.Helper()
	answer, err := p.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var s churn.State
	if err := control.Decode(answer, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

var tfdRE = regexp.MustCompile(`tfd:\s+(\d+) events:\s+([0-9a-f]+) data:\s+([0-9a-f]+)`)

// kernelItems reads the items from /proc/PID/fdinfo/EPFD (fs/eventpoll.c,
// ep_show_fdinfo).
func kernelItems(t *testing.T, pid, epfd int) map[churn.Item]int {
	t.Helper()
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, epfd))
	if err != nil {
		t.Fatal(err)
	}
	items := map[churn.Item]int{}
	for _, m := range tfdRE.FindAllStringSubmatch(string(info), -1) {
		fd, err1 := strconv.Atoi(m[1])
		events, err2 := strconv.ParseUint(m[2], 16, 32)
		data, err3 := strconv.ParseUint(m[3], 16, 64)
		if err1 != nil || err2 != nil || err3 != nil {
			t.Fatalf("fdinfo line %q", m[0])
		}
		items[churn.Item{FD: fd, Events: uint32(events), Data: data}]++
	}
	return items
}

func TestChurnKnowsItsItems(t *testing.T) {
	for _, threads := range []int{1, 4} {
		t.Run(fmt.Sprintf("threads=%d", threads), func(t *testing.T) {
			p := start(t, "churn")
			r := tell(t, p, churn.Action{Op: "setup", Items: 500, Threads: threads, Seed: 42})
			if r.Items != 500 {
				t.Fatalf("setup made %+v", r)
			}
			for range 3 {
				r = tell(t, p, churn.Action{Op: "run", Ops: 30_000})
				if r.Ops != 30_000 || r.CPU <= 0 || len(r.Kinds) != 8 {
					t.Fatalf("run did %+v", r)
				}
				want := churnState(t, p).Items
				got := kernelItems(t, p.PID(), r.EpFD)
				if len(got) != len(want) || len(want) == 0 || len(want) == 500 {
					t.Fatalf("kernel has %d items, churn knows %d", len(got), len(want))
				}
				for _, it := range want {
					if got[it] != 1 {
						t.Fatalf("item %+v is in the kernel %d times", it, got[it])
					}
				}
			}
		})
	}
}

func TestChurnIsSeeded(t *testing.T) {
	run := func(seed uint64) string {
		p := start(t, "churn")
		tell(t, p, churn.Action{Op: "setup", Items: 100, Seed: seed})
		tell(t, p, churn.Action{Op: "run", Ops: 5000})
		return fmt.Sprint(churnState(t, p).Items)
	}
	a, b, c := run(1), run(1), run(2)
	if a != b {
		t.Error("the same seed gave another state")
	}
	if a == c {
		t.Error("another seed gave the same state")
	}
}

func TestAddDelMeasuresItself(t *testing.T) {
	p := start(t, "churn")
	tell(t, p, churn.Action{Op: "setup", Items: 10})
	r := tell(t, p, churn.Action{Op: "adddel", MS: 100})
	t.Logf("%d calls, %d ns CPU each", r.Ops, r.CPU/int64(r.Ops))
	if r.Ops < 1000 || r.CPU <= 0 || r.Wall < 100e6 || r.CPU > r.Wall || r.Items != 10 {
		t.Errorf("result = %+v", r)
	}
	if r := tell(t, p, churn.Action{Op: "getppid", MS: 20}); r.Ops < 1000 || r.CPU <= 0 {
		t.Errorf("result = %+v", r)
	}
}

func TestForest(t *testing.T) {
	p := start(t, "churn")
	tell(t, p, churn.Action{Op: "setup", Items: 5})
	r := tell(t, p, churn.Action{Op: "forest", Children: 3, Items: 1000})
	if r.Items != 3005 || churnState(t, p).Forest != 3000 {
		t.Fatalf("result = %+v", r)
	}
	n := 0
	for _, times := range kernelItems(t, p.PID(), r.EpFD) {
		n += times
	}
	if n != 3005 {
		t.Errorf("the kernel has %d items", n)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.PID(), p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range regexp.MustCompile(`\d+`).FindAllString(string(children), -1) {
		eventually(t, "child "+pid+" gone", func() bool {
			cmdline, err := os.ReadFile("/proc/" + pid + "/cmdline")
			return err != nil || len(cmdline) == 0 // a zombie has none
		})
	}
}

func TestChurnRefuses(t *testing.T) {
	p := start(t, "churn")
	for _, action := range []string{
		`{"op":"run","ops":1}`, `{"op":"setup","items":18001}`, `{"op":"setup","threads":5}`, `{"op":"x"}`, `{"op":"setup","fd":1}`,
	} {
		if _, err := p.Do(t.Context(), []byte(action)); err == nil {
			t.Errorf("%s was taken", action)
		}
	}
	tell(t, p, churn.Action{Op: "setup"})
	if _, err := p.Do(t.Context(), []byte(`{"op":"setup"}`)); err == nil {
		t.Error("a second setup was taken")
	}
}
