package lab

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kernelviz/internal/kernelviz"
)

// clock is a clock that a test moves.
type clock struct{ t time.Time }

func newClock() *clock                { return &clock{time.Unix(1_000_000, 0)} }
func (c *clock) now() time.Time       { return c.t }
func (c *clock) pass(d time.Duration) { c.t = c.t.Add(d) }

func nodes(n int) kernelviz.Facts { return kernelviz.Facts{"epoll.nodes": n} }

func calls(names ...string) []map[string]any {
	out := []map[string]any{}
	for _, n := range names {
		out = append(out, map[string]any{"name": n, "result": 0})
	}
	return out
}

// short puts the states of steps into a line: "done open! locked". A ! means
// that the check holds, ~ that it is stale, % that it is late.
func short(r *Run) string {
	var out []string
	for _, s := range r.Steps() {
		word := s.State
		if s.Holds {
			word += "!"
		}
		if s.Stale {
			word += "~"
		}
		if s.Late {
			word += "%"
		}
		out = append(out, word)
	}
	return strings.Join(out, " ")
}

func wantState(t *testing.T, r *Run, when, want string) {
	t.Helper()
	if got := short(r); got != want {
		t.Errorf("%s: %q, want %q", when, got, want)
	}
}

// step writes a step without what the judge does not need.
func step(id, rest string) string {
	return "  - id: " + id + "\n    title: {en: " + id + "}\n    solve: []\n" + rest
}

// TestJudging: what becomes of two steps as the number of nodes changes.
func TestJudging(t *testing.T) {
	type look struct {
		nodes int
		want  string
	}
	next := step("next", "    check: epoll.nodes > 100\n")
	for _, tt := range []struct {
		name, check string
		looks       []look
	}{
		{"edge is done when it becomes true", "epoll.nodes > 3", []look{
			{3, "open locked"}, {3, "open locked"}, {4, "done! open"}, {2, "done! open"},
		}},
		{"edge that holds from the start must become true anew", "epoll.nodes > 3", []look{
			{5, "open!~ locked"}, {6, "open!~ locked"}, {3, "open locked"}, {4, "done! open"},
		}},
		{"edge compares with when it was armed", "epoll.nodes == before.epoll.nodes + 2", []look{
			{5, "open locked"}, {6, "open locked"}, {7, "done! open"},
		}},
		{"level is done while it is true", "{expr: epoll.nodes > 3, kind: level}", []look{
			{3, "open locked"}, {4, "done! open"}, {3, "open open"}, {4, "done! open"},
		}},
		{"level that holds from the start is done at the next look", "{expr: epoll.nodes > 3, kind: level}", []look{
			{5, "open! locked"}, {5, "done! open"},
		}},
		{"level flips back, the later one keeps what it has", "{expr: epoll.nodes > 3, kind: level}", []look{
			{0, "open locked"}, {4, "done! open"}, {101, "done! done!"}, {3, "open done!"}, {4, "done! done!"},
		}},
		{"level flips back, the later one can still be done", "{expr: epoll.nodes != 5, kind: level}", []look{
			{5, "open locked"}, {4, "done! open"}, {5, "open open"}, {101, "done! done!"},
		}},
		{"a check that throws says so and breaks nothing", "epoll.ready_fds[epoll.nodes] == 1 || epoll.nodes > 3", []look{
			{0, "open locked"}, {1, "open locked"},
		}},
		{"a fact that nobody publishes is zero", "epoll.ready == 0 && epoll.nodes == 4 && !epoll.scanning && len(calls) == 0 && program.output == ''", []look{
			{0, "open locked"}, {4, "done! open"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check := "    check: " + tt.check + "\n"
			if !strings.HasPrefix(tt.check, "{") {
				check = "    check: \"" + tt.check + "\"\n"
			}
			r := NewRun(labOf(t, step("a", check)+next), nil, nil, newClock().now)
			wantState(t, r, "before the first look", "open locked")
			for i, l := range tt.looks {
				was := short(r)
				changed := r.Observe(nodes(l.nodes))
				wantState(t, r, fmt.Sprintf("look %d", i+1), l.want)
				if was != short(r) && !changed {
					t.Errorf("look %d changed %q to %q and does not say so", i+1, was, short(r))
				}
				if i > 0 && tt.looks[i-1] == l && r.Observe(nodes(l.nodes)) {
					t.Errorf("look %d: nothing changes, yet it says so", i+1)
				}
			}
			allDone := strings.Count(short(r), "done") == 2
			if r.Done() != allDone {
				t.Errorf("Done is %v with %q", r.Done(), short(r))
			}
		})
	}
}

func TestCheckThatThrows(t *testing.T) {
	r := NewRun(labOf(t, step("a", "    check: epoll.ready_fds[0] == 7\n")), nil, nil, newClock().now)
	r.Observe(nil)
	r.Observe(nil)
	said := r.Steps()[0].Said
	if !strings.HasPrefix(said, "the check failed: index out of range") || strings.Contains(said, "\n") {
		t.Errorf("it says %q", said)
	}
	r.Observe(kernelviz.Facts{"epoll.ready_fds": []int{6}})
	if said := r.Steps()[0].Said; said != "" {
		t.Errorf("a check that works again still says %q", said)
	}
	r.Observe(kernelviz.Facts{"epoll.ready_fds": []int{7}})
	wantState(t, r, "then", "done!")
	// Wrong types and endless ranges are errors, too.
	for _, check := range []string{"epoll.nodes + 1 > 1", "any(1..90000000, # > 99999999)", "repeat('x', 900000) == ''"} {
		r := NewRun(labOf(t, step("a", "    check: \""+check+"\"\n")), nil, nil, newClock().now)
		r.Observe(kernelviz.Facts{"epoll.nodes": "many"})
		r.Observe(kernelviz.Facts{"epoll.nodes": "many"})
		if s := r.Steps()[0]; s.State != StateOpen || !strings.HasPrefix(s.Said, "the check failed: ") {
			t.Errorf("%s: %+v", check, s)
		}
	}
}

// TestGeneration: every arming raises it, and what the facts still have of
// events from before does not finish the next step.
func TestGeneration(t *testing.T) {
	two := "    check: count(calls, .name == 'epoll_wait') >= 2\n"
	r := NewRun(labOf(t, step("a", two)+step("b", two)+step("c", "    check: {expr: len(calls) > 0, kind: level}\n")), nil, nil, newClock().now)
	if r.Generation() != 0 {
		t.Error("armed before the first look")
	}
	with := func(names ...string) kernelviz.Facts { return kernelviz.Facts{"calls": calls(names...)} }
	r.Observe(with())
	if r.Generation() != 1 {
		t.Errorf("generation is %d after the first arming", r.Generation())
	}
	r.Observe(with("epoll_wait", "epoll_wait"))
	if r.Generation() != 2 {
		t.Errorf("generation is %d after the second arming", r.Generation())
	}
	wantState(t, r, "the old events are still there", "done! open!~ locked")
	r.Observe(with("epoll_wait"))
	wantState(t, r, "events count anew", "done! open locked")
	r.Observe(with("epoll_wait", "epoll_wait"))
	wantState(t, r, "a level step is not done by old events", "done! done! open!")
	r.Observe(with())
	wantState(t, r, "nor later", "done! done! open")
	r.Observe(with("read"))
	wantState(t, r, "but by new ones", "done! done! done!")
}

func TestRetry(t *testing.T) {
	r := NewRun(labOf(t, step("a", "    check: epoll.nodes == before.epoll.nodes + 2\n")+step("b", "    check: \"true\"\n")), nil, nil, newClock().now)
	r.Observe(nodes(5))
	r.Observe(nodes(6))
	if err := r.Retry("a", nodes(6)); err != nil {
		t.Fatal(err)
	}
	if r.Generation() != 2 {
		t.Errorf("generation is %d", r.Generation())
	}
	r.Observe(nodes(7))
	wantState(t, r, "7 is 5 + 2, but counted from 6", "open locked")
	r.Observe(nodes(8))
	wantState(t, r, "8 is 6 + 2", "done! open!~")
	for step, want := range map[string]string{"a": "is done", "x": "no step", "b": ""} {
		if err := r.Retry(step, nodes(8)); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("retry of %s: %v, want %q", step, err, want)
		}
	}
}

func TestWithin(t *testing.T) {
	lab := labOf(t, step("a", "    check: {expr: epoll.nodes >= before.epoll.nodes + 2, within: 10s}\n"))
	c := newClock()
	r := NewRun(lab, nil, nil, c.now)
	r.Observe(nodes(0))
	c.pass(time.Hour)
	r.Observe(nodes(0))
	wantState(t, r, "time does not run before the first action", "open")
	r.Acted()
	c.pass(9 * time.Second)
	r.Acted() // not the first
	r.Observe(nodes(1))
	wantState(t, r, "in time", "open")
	c.pass(2 * time.Second)
	if !r.Observe(nodes(1)) {
		t.Error("becoming late is a change")
	}
	wantState(t, r, "too late", "open%")
	r.Observe(nodes(2))
	wantState(t, r, "true, but late", "open!%")
	generation := r.Generation()
	r.Acted()
	if r.Generation() != generation+1 {
		t.Error("starting again arms the step again")
	}
	wantState(t, r, "the next action starts again, from 2", "open")
	r.Observe(nodes(3))
	c.pass(9 * time.Second)
	r.Observe(nodes(4))
	wantState(t, r, "in time now", "done!")

	// The action itself may be what is late: nobody looked in between.
	c = newClock()
	r = NewRun(lab, nil, nil, c.now)
	r.Observe(nodes(0))
	r.Acted()
	r.Observe(nodes(1))
	c.pass(time.Minute)
	r.Acted()
	r.Observe(nodes(2))
	wantState(t, r, "one more after a minute", "open")
}

func TestWithinOfALevel(t *testing.T) {
	c := newClock()
	r := NewRun(labOf(t, step("a", "    check: {expr: epoll.nodes >= 2, kind: level, within: 10s}\n")), nil, nil, c.now)
	r.Observe(nodes(0))
	r.Acted()
	c.pass(11 * time.Second)
	r.Observe(nodes(2))
	wantState(t, r, "too late", "open!%")
	r.Acted()
	r.Observe(nodes(2))
	wantState(t, r, "started again", "done!")
	c.pass(time.Hour)
	r.Observe(nodes(2))
	wantState(t, r, "done does not become late", "done!")
	r.Observe(nodes(1))
	c.pass(time.Hour)
	r.Observe(nodes(1))
	wantState(t, r, "flipped back, time waits for an action", "open")
}

func TestShell(t *testing.T) {
	r := NewRun(labOf(t, step("a", "    check: epoll.nodes > 1\n")+step("b", "    check: {shell: checks/a.sh}\n")+step("c", "    check: epoll.nodes > 3\n")), nil, nil, newClock().now)
	r.Observe(nodes(0))
	if s, ok := r.Shell(); ok {
		t.Errorf("%s is to run while the step is locked", s)
	}
	if r.Judged("checks/a.sh", 0, "") {
		t.Error("a locked step was judged")
	}
	r.Observe(nodes(2))
	if s, ok := r.Shell(); !ok || s != "checks/a.sh" {
		t.Errorf("script is %q, %v", s, ok)
	}
	for _, tt := range []struct {
		code       int
		said, want string
	}{
		{1, " one is missing\n", "one is missing"},
		{2, "no such file", "the check checks/a.sh is broken (exit status 2): no such file"},
		{-1, "killed", "the check checks/a.sh is broken (exit status -1): killed"},
		{1, strings.Repeat("x", 9999), strings.Repeat("x", maxSaid) + "…"},
	} {
		if !r.Judged("checks/a.sh", tt.code, tt.said) || r.Steps()[1].Said != tt.want {
			t.Errorf("exit status %d: says %q, want %q", tt.code, r.Steps()[1].Said, tt.want)
		}
		if r.Judged("checks/a.sh", tt.code, tt.said) {
			t.Errorf("exit status %d twice is a change", tt.code)
		}
	}
	wantState(t, r, "not yet", "done! open locked")
	if !r.Judged("checks/a.sh", 0, "well done") {
		t.Error("passing is no change")
	}
	wantState(t, r, "passed", "done! done! open")
	if _, ok := r.Shell(); ok {
		t.Error("the script runs on")
	}
	r.Observe(nodes(4))
	wantState(t, r, "the next step was armed with what was seen last", "done! done! done!")
}

const choices = `    check: epoll.nodes > before.epoll.nodes
    predict:
      question: {en: Q}
      choices:
        - {id: x, text: {en: X}, why: {en: "Not x, of {{param.n}}."}}
        - {id: y, text: {en: Y}, why: {en: Yes.}, right: true}
`

func TestPredictChoice(t *testing.T) {
	r := NewRun(labOf(t, step("a", choices)+step("b", choices)), nil, nil, newClock().now)
	r.Observe(nodes(1))
	r.Observe(nodes(2))
	wantState(t, r, "what happens before the answer does not count", "predict locked")
	if r.Generation() != 0 {
		t.Error("armed before the answer")
	}
	for _, tt := range []struct{ step, choice, want string }{
		{"a", "z", `no answer "z"`}, {"b", "y", "not open"}, {"c", "y", "no step"}, {"a", "", `no answer ""`},
	} {
		if err := r.Predict(tt.step, tt.choice, 0, nodes(2)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("answer %q to %s: %v, want %s", tt.choice, tt.step, err, tt.want)
		}
	}
	if err := r.Retry("a", nodes(2)); err == nil {
		t.Error("a step without an answer was armed")
	}
	if err := r.Predict("a", "x", 0, nodes(2)); err != nil {
		t.Fatal(err)
	}
	wantState(t, r, "a wrong answer", "predict locked")
	p := r.Steps()[0].Prediction
	if p == nil || p.Right || p.Choice != "x" || p.Why.En != `<p>Not x, of <output data-value="0"></output>.</p>` {
		t.Errorf("prediction is %+v", p)
	}
	if err := r.Predict("a", "y", 0, nodes(2)); err != nil {
		t.Fatal(err)
	}
	wantState(t, r, "the right answer", "open locked")
	if p := r.Steps()[0].Prediction; !p.Right || p.Why.En != "<p>Yes.</p>" {
		t.Errorf("prediction is %+v", p)
	}
	if err := r.Predict("a", "x", 0, nodes(2)); err != nil || !r.Steps()[0].Prediction.Right {
		t.Errorf("an answer after the right one: %v, %+v", err, r.Steps()[0].Prediction)
	}
	r.Observe(nodes(3))
	wantState(t, r, "done", "done! predict")
}

func TestPredictNode(t *testing.T) {
	r := NewRun(labOf(t, step("a", `    check: epoll.nodes > before.epoll.nodes
    predict:
      question: {en: Q}
      node:
        right: item.fd == epoll.root + param.n
        wrong: [{when: item.red, en: Red.}, {when: "item.fd == before.epoll.root", en: Before.}]
        otherwise: {en: Other.}
        why: {en: Right.}
`)), map[string]int{"n": 3}, nil, newClock().now)
	f := kernelviz.Facts{"epoll.root": 5, "epoll.items": []map[string]any{
		{"fd": 4, "red": true}, {"fd": 5, "red": false}, {"fd": 8, "red": true},
	}}
	r.Observe(f)
	for _, tt := range []struct {
		fd  int
		why string
	}{{4, "<p>Red.</p>"}, {5, "<p>Other.</p>"}, {8, "<p>Right.</p>"}} {
		if err := r.Predict("a", "", tt.fd, f); err != nil {
			t.Fatal(err)
		}
		if p := r.Steps()[0].Prediction; p.FD != tt.fd || p.Why.En != tt.why || p.Right != (tt.fd == 8) {
			t.Errorf("fd %d: %+v, want %s", tt.fd, p, tt.why)
		}
		if tt.fd == 4 {
			if err := r.Predict("a", "", 77, f); err == nil || !strings.Contains(err.Error(), "fd 77") {
				t.Errorf("a node that is not there: %v", err)
			}
		}
	}
	wantState(t, r, "answered", "open")
}

func TestHints(t *testing.T) {
	l := good(t)
	r := NewRun(l, map[string]int{"n": 5}, nil, newClock().now)
	r.Observe(nodes(3))
	shown := func() []string {
		var out []string
		for _, h := range r.Steps()[0].Hints {
			out = append(out, h.En)
		}
		return out
	}
	more := func(n int, want ...string) {
		t.Helper()
		err := r.Hint("grow", nodes(n))
		got := shown()
		for i := range got {
			got[i] = got[i][:min(len(got[i]), 9)]
		}
		if !slices.Equal(got, want) || r.Steps()[0].Shown != len(want) {
			t.Errorf("%v, hints are %q, want %q", err, got, want)
		}
	}
	more(3, "<p>First ")
	more(3, "<p>First ", "<p>Last h")
	if err := r.Hint("grow", nodes(3)); err == nil {
		t.Error("a hint that does not apply is offered")
	}
	for n, want := range map[int]bool{3: false, 41: true} {
		r.Observe(nodes(n))
		if st := r.Steps()[0]; st.State != StateDone && st.More != want {
			t.Errorf("with %d nodes another hint is offered: %v, want %v", n, st.More, want)
		}
	}
	r.Observe(nodes(3))
	more(41, "<p>First ", "<p>Last h", "<p>More t")
	if err := r.Hint("grow", nodes(41)); err == nil {
		t.Error("there is one hint more than there are")
	}
	if err := r.Hint("keep", nodes(3)); err == nil {
		t.Error("a locked step gives hints")
	}
	again := NewRun(l, nil, r.Kept(), newClock().now)
	if n := again.Steps()[0].Shown; n != 3 {
		t.Errorf("of 3 hints %d were kept", n)
	}
}

func TestKept(t *testing.T) {
	l := labOf(t, step("a", choices)+step("b", "    check: {expr: epoll.nodes > 1, kind: level}\n")+step("c", choices)+step("d", choices))
	r := NewRun(l, nil, nil, newClock().now)
	r.Observe(nodes(0))
	if err := r.Predict("a", "y", 0, nodes(0)); err != nil {
		t.Fatal(err)
	}
	r.Observe(nodes(2))
	r.Observe(nodes(2))
	if err := r.Predict("c", "x", 0, nodes(2)); err != nil {
		t.Fatal(err)
	}
	wantState(t, r, "before", "done! done! predict locked")
	kept := r.Kept()
	want := []Kept{
		{Step: "a", Done: true, Choice: "y", Answered: true, Right: true}, {Step: "b", Done: true}, {Step: "c", Choice: "x", Answered: true},
	}
	if !slices.Equal(kept, want) {
		t.Errorf("kept %+v, want %+v", kept, want)
	}
	r = NewRun(l, nil, append(kept, Kept{Step: "gone", Done: true}), newClock().now)
	wantState(t, r, "again, nothing seen yet", "done done predict locked")
	if p := r.Steps()[2].Prediction; p == nil || p.Choice != "x" || p.Why.En == "" {
		t.Errorf("the prediction is %+v", p)
	}
	r.Observe(nodes(0))
	wantState(t, r, "a new process has no nodes: what is done stays", "done done predict locked")
	r.Observe(nodes(2))
	r.Observe(nodes(0))
	wantState(t, r, "once it held again it may flip back", "done open predict locked")

	r.Observe(nodes(2))
	r.Renew()
	r.Observe(nodes(0))
	wantState(t, r, "a fresh start in the same run is the same", "done done predict locked")
}

// TestRenewArms: after a fresh start an open step counts from there.
func TestRenewArms(t *testing.T) {
	r := NewRun(labOf(t, step("a", "    check: epoll.nodes > before.epoll.nodes\n")), nil, nil, newClock().now)
	r.Observe(nodes(5))
	r.Renew()
	r.Observe(nodes(1))
	if r.Generation() != 2 {
		t.Errorf("generation is %d", r.Generation())
	}
	r.Observe(nodes(2))
	wantState(t, r, "one more than at the start", "done!")
}

func TestExpand(t *testing.T) {
	r := NewRun(good(t), map[string]int{"n": 7, "k": 2}, nil, newClock().now)
	f := kernelviz.Facts{"puppet.pid": 4321, "epoll.root": 9, "epoll.nodes": 3}
	for _, tt := range []struct {
		action string
		want   Expanded
	}{
		{"add-some", Expanded{Do: json.RawMessage(`{"epfd":3,"events":["EPOLLIN","EPOLLET"],"n":7,"op":"add","what":"eventfd"}`)}},
		{"look", Expanded{Command: "cat /proc/4321/fdinfo/3"}},
		{"node", Expanded{FD: 9}},
		{"build", Expanded{}},
	} {
		got, err := r.Expand(tt.action, f)
		if err != nil || string(got.Do) != string(tt.want.Do) || got.Command != tt.want.Command || got.FD != tt.want.FD {
			t.Errorf("%s: %s %+v, %v", tt.action, got.Do, got, err)
		}
	}
	if _, err := r.Expand("nothing", f); err == nil {
		t.Error("an action that is not there expands")
	}
	solve := r.lab.Steps[1].Solve
	if got, err := r.ExpandMove(solve[1], f); err != nil || string(got.Do) != `{"epfd":3,"maxevents":2,"op":"wait"}` {
		t.Errorf("move: %s, %v", got.Do, err)
	}
	for n, want := range map[int]bool{1: false, 2: true} {
		ok, err := r.Ready(solve[2], kernelviz.Facts{"calls": calls(make([]string, n)...)})
		if err != nil || ok != want {
			t.Errorf("with %d calls ready is %v, %v", n, ok, err)
		}
	}
	if ok, err := r.Ready(solve[0], nil); !ok || err != nil {
		t.Errorf("a move that waits for nothing: %v, %v", ok, err)
	}
}

// TestCommandTakesNoLines: a value cannot press Enter.
func TestCommandTakesNoLines(t *testing.T) {
	files := goodFiles(t)
	name := goodLab + "/lab.yaml"
	files[name].Data = []byte(strings.Replace(string(files[name].Data), "strace -p {{puppet.pid}}", "echo {{program.output}}", 1))
	r := NewRun(loadLab(t, files, "demo-all"), nil, nil, newClock().now)
	got, err := r.Expand("prepare", kernelviz.Facts{"program.output": "a\nreboot\r\x1b[A"})
	if err != nil || got.Command != "echo areboot[A" {
		t.Errorf("the command is %q, %v", got.Command, err)
	}
}

func TestValues(t *testing.T) {
	l := good(t)
	r := NewRun(l, map[string]int{"n": 7}, nil, newClock().now)
	p := l.Page("en")
	got := r.Values(kernelviz.Facts{"epoll.nodes": 12, "epoll.root": 9, "puppet.pid": 4321})
	want := map[string]string{"epoll.nodes": "12", "param.n + 1": "8", "epoll.root": "9", "puppet.pid": "4321", "param.n": "7"}
	if len(got) != len(p.Values) || len(got) != len(want) {
		t.Fatalf("values %q of %q", got, p.Values)
	}
	for i, source := range p.Values {
		if want[source] != got[i] {
			t.Errorf("%s is %q, want %q", source, got[i], want[source])
		}
	}
}

func TestShow(t *testing.T) {
	for _, tt := range []struct {
		v    any
		want string
	}{
		{true, "true"}, {-1, "-1"}, {"x", "x"}, {nil, "–"}, {1234.567, "1235"}, {1.23456, "1.23"}, {0.0, "0"}, {0.000123456, "0.000123"},
		{[]int{3, 5}, "3, 5"}, {[]int{}, ""}, {[]string{"a", "b"}, "a, b"}, {[]any{1, "x"}, "1, x"},
		{strings.Repeat("字", 999), strings.Repeat("字", maxShown) + "…"},
	} {
		if got := show(tt.v); got != tt.want {
			t.Errorf("%v is shown as %q, want %q", tt.v, got, tt.want)
		}
	}
}
