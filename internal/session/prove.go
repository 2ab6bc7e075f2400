package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"kernelviz/internal/lab"
	"kernelviz/internal/store"
)

// How patient the proof of a lab is.
const (
	// settle is how long a step must stay undone before its solution: several
	// looks at everything, also at what is looked at seldom.
	settle = 600 * time.Millisecond
	// settleScript is the same for a shell check, which runs once a second.
	settleScript = 1500 * time.Millisecond
	// doneWithin is how long a check may take to pass after its solution.
	doneWithin  = 15 * time.Second
	nodesWithin = 10 * time.Second // of a stage to have nodes
	proveLimit  = 5 * time.Minute  // of one lab
)

// Finding is what the proof of a lab found wrong.
type Finding struct {
	Lab, Step string // Step may be empty
	Err       error
}

func (f Finding) Error() string {
	if f.Step == "" {
		return fmt.Sprintf("%s: %v", f.Lab, f.Err)
	}
	return fmt.Sprintf("%s/%s: %v", f.Lab, f.Step, f.Err)
}

// Prove takes a lab through on this kernel, from a fresh start and in order:
// every step fails at first, wrong predictions are told why, the solution makes
// the step pass within its time, and nothing is left behind. Each step that
// passes is told to passed. The options' Store is not used.
func Prove(ctx context.Context, o Options, l *lab.Lab, passed func(step string, took time.Duration)) []Finding {
	return proveWithin(ctx, o, l, passed, doneWithin)
}

func proveWithin(ctx context.Context, o Options, l *lab.Lab, passed func(step string, took time.Duration), patience time.Duration) []Finding {
	ctx, cancel := context.WithTimeout(ctx, proveLimit)
	defer cancel()
	db, err := store.Memory()
	if err != nil {
		return []Finding{{l.ID, "", err}}
	}
	defer closeQuietly(db)
	o.Store = db
	// What the learner's shell does when it starts is not the lab's.
	o.Shell = []string{"bash", "--norc", "--noprofile", "-i"}
	m := NewManager(o)
	defer m.Close()
	s, err := m.Open(ctx, l, DefaultLearner)
	if err != nil {
		return []Finding{{l.ID, "", err}}
	}
	p := prover{session: s, ctx: ctx, patience: patience}
	var findings []Finding
	if problem := s.State().Problem; problem != "" {
		findings = append(findings, Finding{l.ID, "", errors.New(problem)})
	}
	for i, step := range l.Steps {
		if len(findings) > 0 {
			break // what follows has not the state that it needs
		}
		began := time.Now()
		if err := p.step(i, step); err != nil {
			findings = append(findings, Finding{l.ID, step.ID, err})
			continue
		}
		passed(step.ID, time.Since(began))
	}
	m.Close()
	return append(findings, p.leftovers()...)
}

// prover takes one session through.
type prover struct {
	ctx     context.Context
	session *Session
	// patience is how long a check may take to pass after its solution.
	patience time.Duration
}

func (p *prover) step(i int, step *lab.Step) error {
	if st := p.state(i).State; st == "locked" || st == "done" {
		return fmt.Errorf("the step is %s before its turn", st)
	}
	if step.Predict != nil {
		if err := p.predict(i, step); err != nil {
			return err
		}
	}
	if err := p.staysOpen(i, step); err != nil {
		return err
	}
	for n, move := range step.Solve {
		if err := p.move(move); err != nil {
			return fmt.Errorf("solve, move %d: %w", n+1, err)
		}
	}
	if !p.until(p.patience, func() bool { return p.state(i).State == "done" }) {
		st := p.state(i)
		return fmt.Errorf("the check does not pass after the solution: it is %s (holds %v, stale %v, late %v, says %q)%s",
			st.State, st.Holds, st.Stale, st.Late, st.Said, p.shown())
	}
	return nil
}

// shown is what a person needs to see why a check does not pass.
func (p *prover) shown() string {
	s := p.session
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf("\n    stage %q, %s", s.stage.topic, s.numbers())
	if s.lab.Code != nil {
		text += fmt.Sprintf("\n    program %s %s\n    %.400q", s.program.state, s.program.ended, s.program.since())
		for _, d := range s.program.diagnostics {
			text += fmt.Sprintf("\n    %s:%d: %s: %s", d.File, d.Line, d.Severity, d.Text)
		}
	}
	if out, ok := s.facts["terminal.output"].(string); ok && out != "" {
		text += fmt.Sprintf("\n    terminal %.800q", out)
	}
	for name, w := range s.works {
		if n := len(w.calls.all); n > 0 {
			last := w.calls.all[n-1]
			text += fmt.Sprintf("\n    last call of %s: %s %s", name, last.Text, last.Result)
		}
	}
	return text
}

// numbers are the stage's facts that are single figures.
func (s *Session) numbers() string {
	if s.lab.Stage == nil {
		return "none"
	}
	var all []string
	for name, v := range s.facts {
		if n, ok := v.(int); ok && strings.HasPrefix(name, s.lab.Stage.View+".") {
			all = append(all, fmt.Sprintf("%s %d", name, n))
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// predict answers wrong first, then right.
func (p *prover) predict(i int, step *lab.Step) error {
	if st := p.state(i).State; st != "predict" {
		return fmt.Errorf("the step is %s, but its prediction is not answered", st)
	}
	if step.Predict.Node != nil {
		return p.predictNode(i, step)
	}
	right := ""
	for _, c := range step.Predict.Choices {
		if c.Right {
			right = c.ID
			continue
		}
		if err := p.answer(i, step, c.ID, 0, false); err != nil {
			return err
		}
	}
	return p.answer(i, step, right, 0, true)
}

// answer gives an answer and looks how it is judged.
func (p *prover) answer(i int, step *lab.Step, choice string, fd int, right bool) error {
	if err := p.session.Predict(step.ID, choice, fd); err != nil {
		return fmt.Errorf("answering %q: %w", choice, err)
	}
	a := p.state(i).Prediction
	if a == nil || a.Right != right {
		return fmt.Errorf("answer %q (fd %d) is judged %+v, want right %v", choice, fd, a, right)
	}
	if !right && (a.Why.En == "" || a.Why.Zh == "") {
		return fmt.Errorf("answer %q (fd %d) is wrong and not told why in both languages", choice, fd)
	}
	return nil
}

// predictNode clicks the nodes of the stage one by one: wrong ones are told
// why, and one is right.
func (p *prover) predictNode(i int, step *lab.Step) error {
	var fds []int
	found := p.until(nodesWithin, func() bool {
		fds = fds[:0]
		p.session.mu.Lock()
		items, _ := p.session.facts["epoll.items"].([]map[string]any)
		for _, item := range items {
			if fd, ok := item["fd"].(int); ok {
				fds = append(fds, fd)
			}
		}
		p.session.mu.Unlock()
		return len(fds) > 0
	})
	if !found {
		return errors.New("there is no node on the stage to click")
	}
	wrong := 0
	var rightFD []int
	for _, fd := range fds {
		if p.state(i).State != "predict" {
			break
		}
		if err := p.session.Predict(step.ID, "", fd); err != nil {
			return fmt.Errorf("clicking fd %d: %w", fd, err)
		}
		a := p.state(i).Prediction
		switch {
		case a == nil:
			return fmt.Errorf("a click on fd %d is not judged", fd)
		case a.Right:
			rightFD = append(rightFD, fd)
		case a.Why.En == "" || a.Why.Zh == "":
			return fmt.Errorf("fd %d is wrong and not told why in both languages", fd)
		default:
			wrong++
		}
	}
	if len(rightFD) == 0 {
		return fmt.Errorf("none of %d nodes is right", wrong)
	}
	return nil
}

// staysOpen makes sure that the step is not done by itself.
func (p *prover) staysOpen(i int, step *lab.Step) error {
	patience := settle
	if step.Check.Kind == lab.KindShell {
		patience = settleScript
	}
	if p.until(patience, func() bool { return p.state(i).State == "done" }) {
		return errors.New("the check passes before the solution: a step must fail at first")
	}
	st := p.state(i)
	switch {
	case st.Stale:
		return errors.New("the check holds before the solution: compare with before.NAME, or ask for something new")
	case st.State != "open":
		return fmt.Errorf("the step is %s, want open", st.State)
	}
	return nil
}

// move carries out one move of a solution.
func (p *prover) move(m lab.Move) error {
	s := p.session
	switch m.Kind {
	case lab.MoveWait:
		return p.wait(m)
	case lab.MoveBuild:
		if err := s.buildSolution(p.ctx); err != nil {
			return err
		}
		s.acted()
		if s.State().Program.State == programFailed {
			return fmt.Errorf("the solution does not compile%s", p.shown())
		}
		return nil
	case lab.MoveKill:
		return s.Kill("solved")
	case lab.MoveDo:
		done, err := s.Act(p.ctx, m.Action)
		return refused(done, err)
	}
	s.mu.Lock()
	e, err := s.run.ExpandMove(m, s.facts)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	done, err := s.act(p.ctx, m.Kind, m.Workload, e)
	return refused(done, err)
}

// wait waits until the move's expression holds.
func (p *prover) wait(m lab.Move) error {
	s := p.session
	var failed error
	ok := p.until(m.Within, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		var holds bool
		holds, failed = s.run.Ready(m, s.facts)
		return holds
	})
	if !ok {
		return fmt.Errorf("waiting for %s: not within %v (%v)%s", m.Wait, m.Within, failed, p.shown())
	}
	return nil
}

// refused is an error for an action that did less than it was asked to.
func refused(d Done, err error) error {
	if err == nil {
		if why := stopped(d.Result); why != "" {
			err = errors.New(why)
		}
	}
	return err
}

func (p *prover) state(i int) lab.StepState { return p.session.State().Steps[i] }

// until waits for a condition, looking whenever the session changed.
func (p *prover) until(limit time.Duration, cond func() bool) bool {
	h := p.session.Hear()
	defer h.Close()
	late := time.NewTimer(limit)
	defer late.Stop()
	again := time.NewTicker(lookEvery)
	defer again.Stop()
	for !cond() {
		select {
		case <-h.Changed:
		case <-again.C:
		case <-late.C:
			return cond()
		case <-p.ctx.Done():
			return false
		}
	}
	return true
}

// leftovers looks for what the lab should have taken with it.
func (p *prover) leftovers() []Finding {
	s := p.session
	var out []Finding
	if left := s.manager.options.Box.Running(s.name + "-"); len(left) > 0 {
		out = append(out, Finding{s.lab.ID, "", fmt.Errorf("left behind: %v", left)})
	}
	if _, err := os.Stat(s.dir); err == nil {
		out = append(out, Finding{s.lab.ID, "", fmt.Errorf("left behind: the directory %s", s.dir)})
	}
	return out
}
