package session

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/lab"
	"kernelviz/internal/store"
)

const steps = `steps:
  - id: predict
    title: {en: Predict, zh: 预测}
    predict:
      question: {en: How many?, zh: 几个？}
      choices:
        - {id: a, text: {en: Two, zh: 两个}, why: {en: One comes., zh: 来一个。}}
        - {id: b, text: {en: Three, zh: 三个}, right: true}
    do: [{action: add, label: {en: Add, zh: 添加}}]
    check: epoll.nodes == before.epoll.nodes + 1
    solve: [{do: add}]
  - id: event
    title: {en: Add again, zh: 再添加}
    check: any(calls, .name == "epoll_ctl" && .errno == "")
    solve: [{do: add}]
  - id: level
    title: {en: Ready, zh: 就绪}
    check: {expr: "epoll.ready == 1 && puppet.waiting == 0", kind: level}
    solve: [{do: ready}]
`

func stepState(st State, id string) lab.StepState {
	i := slices.IndexFunc(st.Steps, func(s lab.StepState) bool { return s.ID == id })
	return st.Steps[i]
}

// The kernel ticks steps; what came before a step was armed does not count; and
// what was done is there again in the next session.
func TestAttempt(t *testing.T) {
	o := prepare(t)
	o.Linger = time.Millisecond
	m := manage(t, o)
	l := load(t, puppetLab+steps, nil)
	s := openLab(t, m, l)
	eventually(t, s, "the stage", func(st State) bool { return st.Stage != "" && stepState(st, "predict").State == "predict" })

	// An action before the prediction does not pass the step.
	act(t, s, "add")
	if err := s.Predict("predict", "a", 0); err != nil {
		t.Fatal(err)
	}
	if p := stepState(s.State(), "predict").Prediction; p == nil || p.Right || !strings.Contains(p.Why.En, "One comes.") {
		t.Errorf("the wrong answer: %+v", p)
	}
	eventually(t, s, "three nodes", func(State) bool { return s.fact("epoll.nodes") == 3 })
	if err := s.Predict("predict", "b", 0); err != nil {
		t.Fatal(err)
	}
	act(t, s, "add")
	st := eventually(t, s, "the first step", func(st State) bool { return stepState(st, "predict").State == "done" })
	// Its calls were before the second step was armed.
	if got := stepState(st, "event").State; got != "open" {
		t.Errorf("the second step is %s", got)
	}
	act(t, s, "add")
	eventually(t, s, "the second step", func(st State) bool { return stepState(st, "event").State == "done" })
	act(t, s, "ready")
	eventually(t, s, "the level step", func(st State) bool { return stepState(st, "level").State == "done" })

	pid := s.works["puppet"].process.PID()
	s.Leave()
	gone(t, pid)
	<-s.ctx.Done()
	again := openLab(t, m, l)
	st = again.State()
	if a := stepState(st, "predict"); a.State != "done" || a.Prediction == nil || a.Prediction.Choice != "b" {
		t.Errorf("after a restart: %+v", a)
	}
	x, err := m.Export(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Labs) != 1 || len(x.Labs[0].Attempts) != 1 || len(x.Labs[0].Attempts[0].Answers) != 2 {
		t.Errorf("want one attempt with the wrong and the right answer: %+v", x)
	}

	if err := again.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	st = eventually(t, again, "the reset", func(st State) bool { return st.Attempt == 2 && st.Stage != "" })
	if a := stepState(st, "predict"); a.State != "predict" || a.Prediction != nil {
		t.Errorf("after a reset: %+v", a)
	}
}

func (s *Session) fact(name string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.facts[name]
}

// Two pages of one learner share a session, another learner has another.
func TestSharing(t *testing.T) {
	m := manage(t, prepare(t))
	l := load(t, puppetLab+steps, nil)
	a, b := openLab(t, m, l), openLab(t, m, l)
	c, err := m.Open(t.Context(), l, "anna")
	if err != nil {
		t.Fatal(err)
	}
	if a != b || a == c {
		t.Errorf("sessions %p %p, and %p of another learner", a, b, c)
	}
	if _, err := m.Open(t.Context(), l, "../x"); !errors.Is(err, ErrLearner) {
		t.Errorf("a bad name: %v", err)
	}
	a.Leave()
	if a.ctx.Err() != nil {
		t.Error("the session ended although a page follows it")
	}
}

// A workload that dies says how, and can be had anew.
func TestWorkloadDies(t *testing.T) {
	m := manage(t, prepare(t))
	s := openLab(t, m, load(t, puppetLab+steps, nil))
	eventually(t, s, "the stage", func(st State) bool { return st.Stage != "" })
	pid := s.works["puppet"].process.PID()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	st := eventually(t, s, "the problem", func(st State) bool { return st.Problem != "" && st.Stage == "" })
	if !strings.Contains(st.Problem, "puppet has ended") || !strings.Contains(st.Problem, "SIGKILL") || !strings.Contains(st.Problem, "anew") {
		t.Errorf("problem %q", st.Problem)
	}
	if _, err := s.Act(t.Context(), "add"); err == nil {
		t.Error("a dead puppet acts")
	}
	if err := s.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, s, "the new stage", func(st State) bool { return st.Stage != "" && st.Problem == "" })
}

// Progress that cannot be written is said and written later: nothing is lost.
func TestStoreFails(t *testing.T) {
	o := prepare(t)
	broken, err := store.Memory()
	if err != nil {
		t.Fatal(err)
	}
	m := manage(t, o)
	s := openLab(t, m, load(t, puppetLab+steps, nil))
	good := m.options.Store
	if err := broken.Close(); err != nil {
		t.Fatal(err)
	}
	m.options.Store = broken
	if err := s.Predict("predict", "b", 0); err != nil {
		t.Fatal(err)
	}
	st := s.State()
	if !strings.Contains(st.Problem, "progress could not be kept") {
		t.Errorf("problem %q", st.Problem)
	}
	m.options.Store = good
	if err := s.Hint("predict"); err == nil {
		t.Error("a step without hints gave one")
	}
	s.save()
	x, err := m.Export(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if s.State().Problem != "" || len(x.Labs) != 1 || len(x.Labs[0].Attempts[0].Steps) != 1 {
		t.Errorf("after the store came back: problem %q, kept %+v", s.State().Problem, x)
	}
}

func TestNeeds(t *testing.T) {
	m := manage(t, prepare(t))
	l := load(t, strings.Replace(puppetLab, "minutes: 5\n", "minutes: 5\nneeds: [\"tool:no-such-tool\", btf]\n", 1)+steps, nil)
	_, err := m.Open(t.Context(), l, "")
	var needs *NeedsError
	if !errors.As(err, &needs) || !errors.Is(err, ErrNeeds) || !strings.Contains(err.Error(), "no-such-tool (not installed)") {
		t.Fatalf("%v", err)
	}
	if needs.Fix() != "sudo apt install no-such-tool" {
		t.Errorf("fix %q", needs.Fix())
	}
	if _, err := m.Find("one", ""); !errors.Is(err, ErrClosed) {
		t.Errorf("the lab that could not be opened is open: %v", err)
	}
}

const codeLab = head + `stage: {of: program}
terminal: true
code: {language: c, files: [main.c], seconds: 20}
actions:
  look: {run: "echo pid {{program.pid}}"}
steps:
  - id: run
    title: {en: Run, zh: 运行}
    check: program.running && epoll.nodes == 1
    solve: [{build: solution}]
  - id: type
    title: {en: Type, zh: 键入}
    check: terminal.output contains "pid " + string(program.pid) + "\n"
    solve: [{do: look}]
`

const epollProgram = `#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
int main(void) {
	struct epoll_event e = {.events = EPOLLIN};
	int ep = epoll_create1(0);
	epoll_ctl(ep, EPOLL_CTL_ADD, eventfd(0, 0), &e);
	puts("here");
	return epoll_wait(ep, &e, 1, -1);
}
`

var codeFiles = map[string]string{"starter/main.c": "int main(void) { return x; }\n", "solution/main.c": epollProgram}

// The learner's program is compiled, its instance stands on the stage, drafts
// are kept, and the terminal types.
func TestCode(t *testing.T) {
	o := prepare(t)
	o.Linger = time.Millisecond
	m := manage(t, o)
	l := load(t, codeLab, codeFiles)
	s := openLab(t, m, l)
	if err := s.Build(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	st := s.State()
	if d := st.Program.Diagnostics; st.Program.State != "failed" || len(d) == 0 || d[0].File != "main.c" || d[0].Line != 1 {
		t.Errorf("a program that does not compile: %+v", st.Program)
	}
	for _, bad := range []struct {
		file, text string
		is         error
	}{
		{"../main.c", "x", ErrFile}, {"other.c", "x", ErrFile}, {"main.c", strings.Repeat("x", maxDraft+1), ErrLong},
	} {
		if err := s.Draft(t.Context(), bad.file, bad.text); !errors.Is(err, bad.is) {
			t.Errorf("draft of %s: %v, want %v", bad.file, err, bad.is)
		}
	}
	if err := s.Draft(t.Context(), "main.c", epollProgram); err != nil {
		t.Fatal(err)
	}
	if err := s.Build(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	eventually(t, s, "the program on the stage", func(st State) bool { return st.Stage != "" && stepState(st, "run").State == "done" })
	run, out, _, lost := s.Output(0)
	if run != 2 || string(out) != "here\n" || lost != 0 {
		t.Errorf("output of run %d: %q, %d lost", run, out, lost)
	}
	act(t, s, "look")
	eventually(t, s, "what the terminal printed", func(st State) bool { return stepState(st, "type").State == "done" })

	if err := s.Kill("stopped from the page"); err != nil {
		t.Fatal(err)
	}
	st = eventually(t, s, "the end", func(st State) bool { return st.Program.State == "ended" && st.Stage == "" })
	if !strings.Contains(st.Program.Ended, "stopped from the page") {
		t.Errorf("ended %q", st.Program.Ended)
	}
	s.Leave()
	<-s.ctx.Done()
	if d := openLab(t, m, l).Drafts()["main.c"]; d != epollProgram {
		t.Errorf("the draft after a restart: %q", d)
	}
}

// A step that is late is armed again by the next action: that action counts, and
// none before it.
func TestLateStepIsArmedByTheNextAction(t *testing.T) {
	m := manage(t, prepare(t))
	s := openLab(t, m, load(t, puppetLab+`steps:
  - id: soon
    title: {en: Soon, zh: 快}
    check: {expr: "count(calls, .name == 'epoll_ctl') == 2", within: 1s}
    solve: [{do: add}, {do: add}]
`, nil))
	eventually(t, s, "the stage", func(st State) bool { return st.Stage != "" && stepState(st, "soon").State == "open" })
	act(t, s, "add")
	eventually(t, s, "the step to be late", func(st State) bool { return stepState(st, "soon").Late })
	act(t, s, "add")
	eventually(t, s, "the fourth node", func(State) bool { return s.fact("epoll.nodes") == 4 })
	if got := stepState(s.State(), "soon"); got.State != "open" || got.Late {
		t.Errorf("after one action in time: %+v", got)
	}
	act(t, s, "add")
	eventually(t, s, "the tick", func(st State) bool { return stepState(st, "soon").State == "done" })
}
