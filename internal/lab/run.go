package lab

import (
	"fmt"
	"strings"
	"time"

	"kernelviz/internal/kernelviz"
)

// Run is one attempt at a lab: it judges the steps by the facts that it is
// shown. It is not safe for concurrent use.
//
// A step opens when the one before is done; it is armed when its prediction is
// answered right, or at once. Arming raises Generation: whoever publishes lists
// of events counts from there, and the facts of the next Observe must have been
// collected after that.
type Run struct {
	lab    *Lab
	params map[string]int
	now    func() time.Time
	steps  []*stepRun
	// generation counts armings.
	generation int
	// facts are those of the latest Observe; nil before the first.
	facts kernelviz.Facts
	// before is that of the step armed last; nil before the first.
	before map[string]any
}

// stepRun is a step in an attempt.
type stepRun struct {
	step *Step
	// opened tells that the step before has been done; it stays when that one
	// flips back.
	opened bool
	done   bool
	// kept tells that it was done in an earlier run and has not held in this
	// one: the lab's processes are new, so that it does not hold means nothing.
	kept bool
	// armed tells that it is being judged; before are the facts of that time.
	armed  bool
	before map[string]any

	holds bool // the check now
	// unheld tells that the check has been false since the step was armed.
	unheld  bool
	started time.Time // of the first action since; zero if none
	late    bool

	shown []int // indexes of hints, in the order shown

	answered bool
	right    bool
	choice   string
	fd       int
	why      HTML

	said   string
	failed bool // said is the check's failure
}

// Kept is what outlives a run of a step.
type Kept struct {
	Step     string
	Done     bool
	Shown    int    // hints shown
	Choice   string // the latest answer
	FD       int    // the latest answer, where a node was asked for
	Answered bool
	Right    bool
}

// StepState is a step as the page gets it: State.steps of docs/protocol.md.
type StepState struct {
	ID         string      `json:"id"`
	State      string      `json:"state"` // locked, predict, open or done
	Holds      bool        `json:"holds"`
	Stale      bool        `json:"stale"`
	Late       bool        `json:"late"`
	Shown      int         `json:"shown"`
	More       bool        `json:"more"` // another hint can be shown now
	Hints      []HTML      `json:"hints"`
	Prediction *Prediction `json:"prediction"`
	Said       string      `json:"said"`
}

// Prediction is the latest answer to a question.
type Prediction struct {
	Choice string `json:"choice"`
	FD     int    `json:"fd"`
	Right  bool   `json:"right"`
	Why    HTML   `json:"why"`
}

// The states of a step.
const (
	StateLocked  = "locked"
	StatePredict = "predict"
	StateOpen    = "open"
	StateDone    = "done"
)

// NewRun begins or continues an attempt. What was kept of steps that the lab no
// longer has is dropped.
func NewRun(l *Lab, params map[string]int, kept []Kept, now func() time.Time) *Run {
	r := &Run{lab: l, params: params, now: now}
	for _, s := range l.Steps {
		r.steps = append(r.steps, &stepRun{step: s})
	}
	for _, k := range kept {
		if s := r.find(k.Step); s != nil {
			s.restore(k)
		}
	}
	for i, s := range r.steps {
		s.opened = s.done || i == 0 || r.steps[i-1].done
	}
	return r
}

func (s *stepRun) restore(k Kept) {
	s.done, s.kept = k.Done, k.Done
	if p := s.step.Predict; p != nil && k.Answered {
		s.answered, s.right, s.choice, s.fd = true, k.Right, k.Choice, k.FD
		s.why = p.whyOf(k)
	}
	// Which of the hints with `when` were shown is not kept: those without
	// come first.
	for _, always := range []bool{true, false} {
		for i, h := range s.step.Hints {
			if len(s.shown) < k.Shown && (h.when == nil) == always {
				s.shown = append(s.shown, i)
			}
		}
	}
}

// whyOf is the explanation of a kept answer. The tree that a node was clicked
// in is gone, so a wrong one gets the explanation for all.
func (p *Predict) whyOf(k Kept) HTML {
	for _, c := range p.Choices {
		if c.ID == k.Choice {
			return c.why
		}
	}
	switch {
	case p.Node == nil:
		return HTML{}
	case k.Right:
		return p.Node.why
	}
	return p.Node.otherwise
}

func (r *Run) find(id string) *stepRun {
	for _, s := range r.steps {
		if s.step.ID == id {
			return s
		}
	}
	return nil
}

// Generation is raised whenever a step is armed or armed again.
func (r *Run) Generation() int { return r.generation }

// Done tells that every step is done.
func (r *Run) Done() bool {
	for _, s := range r.steps {
		if !s.done {
			return false
		}
	}
	return true
}

func (r *Run) env(f kernelviz.Facts, s *stepRun) map[string]any {
	before := r.before
	if s != nil {
		before = s.before
	}
	return r.lab.words.environment(f, r.params, before)
}

// Observe judges the open steps by the facts as they are now.
func (r *Run) Observe(f kernelviz.Facts) (changed bool) {
	r.facts = f
	var env map[string]any
	for i, s := range r.steps {
		if !s.opened && i > 0 && r.steps[i-1].done {
			s.opened = true
			changed = true
		}
		if !s.opened {
			break
		}
		if env == nil {
			env = r.env(f, nil)
		}
		if s.arming() {
			r.arm(s, f, env)
			changed = true
			continue // what f has of events is from before
		}
		changed = r.judge(s, f, env) || changed
	}
	return changed
}

// arming tells that the step waits to be armed.
func (s *stepRun) arming() bool {
	return s.opened && !s.armed && !s.done && (s.step.Predict == nil || s.right)
}

// arm begins to judge a step. env is f's, its `before` is replaced.
func (r *Run) arm(s *stepRun, f kernelviz.Facts, env map[string]any) {
	r.generation++
	s.before = r.lab.words.scalars(f)
	r.before = s.before
	s.armed, s.late, s.started = true, false, time.Time{}
	s.said, s.failed = "", false
	s.holds = false
	if e := s.step.Check.expr; e != nil {
		env["before"] = s.before
		s.holds, _ = e.holds(env) // the next Observe says what fails
	}
	s.unheld = !s.holds
}

// judge evaluates the check of a step that is armed, or was done before.
func (r *Run) judge(s *stepRun, f kernelviz.Facts, env map[string]any) (changed bool) {
	changed = r.passes(s)
	e, level := s.step.Check.expr, s.step.Check.Kind == KindLevel
	if e == nil || s.done && !level || !s.done && !s.armed {
		return changed
	}
	if s.before == nil {
		s.before = r.lab.words.scalars(f) // kept from an earlier run
	}
	env["before"] = s.before
	holds, err := e.holds(env)
	if err != nil {
		return s.say("the check failed: "+err.Error(), true) || changed
	}
	if s.failed {
		changed = s.say("", false) || changed
	}
	if holds != s.holds {
		s.holds, changed = holds, true
	}
	if !holds {
		if !s.unheld {
			s.unheld, changed = true, true
		}
		if s.done && !s.kept {
			// It may hold again, with its time from the next action on.
			s.done, s.armed, s.started, s.late = false, true, time.Time{}, false
			changed = true
		}
		return changed
	}
	s.kept = false
	if !s.done && !s.late && (level || s.unheld) {
		s.done, changed = true, true
	}
	return changed
}

// passes looks at the clock: whether time has run out for an open step.
func (r *Run) passes(s *stepRun) (changed bool) {
	within := s.step.Check.Within
	if within == 0 || s.late || s.done || !s.armed || s.started.IsZero() || r.now().Sub(s.started) <= within {
		return false
	}
	s.late = true
	return true
}

// maxSaid bounds what a check says, in characters.
const maxSaid = 400

func (s *stepRun) say(text string, failed bool) (changed bool) {
	text = clip(strings.TrimSpace(text), maxSaid)
	changed = s.said != text
	s.said, s.failed = text, failed
	return changed
}

// Acted tells that the learner is about to do something: it starts the time of
// an open step with `within`. One that is late is armed again, so call it
// before the action is carried out.
func (r *Run) Acted() {
	for _, s := range r.steps {
		if s.step.Check.Within == 0 || !s.armed || s.done {
			continue
		}
		r.passes(s)
		if s.late {
			r.arm(s, r.facts, r.env(r.facts, nil))
		}
		if s.started.IsZero() {
			s.started = r.now()
		}
	}
}

// Shell is the script, by its path in the lab, that judges an open step now.
func (r *Run) Shell() (script string, ok bool) {
	for _, s := range r.steps {
		if s.step.Check.Kind == KindShell && s.armed && !s.done {
			return s.step.Check.Shell, true
		}
	}
	return "", false
}

// Judged takes the result of a script: 0 pass, 1 not yet, all else broken.
func (r *Run) Judged(script string, code int, said string) (changed bool) {
	for _, s := range r.steps {
		if s.step.Check.Shell != script || s.step.Check.Kind != KindShell || !s.armed || s.done {
			continue
		}
		changed = r.passes(s)
		holds := code == 0
		changed = changed || holds != s.holds
		s.holds = holds
		switch {
		case code == 1 || holds && s.late:
			changed = s.say(said, false) || changed
		case holds:
			s.done, changed = true, true
			s.say("", false)
		default:
			changed = s.say(fmt.Sprintf("the check %s is broken (exit status %d): %s", script, code, said), false) || changed
		}
		if s.done && r.facts != nil {
			r.Observe(r.facts) // opens the next step
		}
		return changed
	}
	return false
}

// Predict takes an answer to the question of a step: the id of a choice, or the
// fd of a node. A right answer arms the step.
func (r *Run) Predict(step, choice string, fd int, f kernelviz.Facts) error {
	s := r.find(step)
	switch {
	case s == nil:
		return fmt.Errorf("the lab has no step %q", step)
	case s.step.Predict == nil:
		return fmt.Errorf("step %q asks nothing", step)
	case !s.opened:
		return fmt.Errorf("step %q is not open yet", step)
	case s.right:
		return nil // answered already: it stays right
	}
	right, why, err := r.answer(s.step.Predict, choice, fd, f)
	if err != nil {
		return err
	}
	s.answered, s.right, s.why, s.choice, s.fd = true, right, why, choice, fd
	if s.step.Predict.Node != nil {
		s.choice = ""
	} else {
		s.fd = 0
	}
	if s.arming() {
		r.arm(s, f, r.env(f, nil))
	}
	return nil
}

func (r *Run) answer(p *Predict, choice string, fd int, f kernelviz.Facts) (right bool, why HTML, err error) {
	if p.Node == nil {
		for _, c := range p.Choices {
			if c.ID == choice {
				return c.Right, c.why, nil
			}
		}
		return false, HTML{}, fmt.Errorf("the question has no answer %q", choice)
	}
	items, _ := f[itemsFact].([]map[string]any)
	for _, item := range items {
		if item["fd"] != fd {
			continue
		}
		env := r.env(f, nil)
		env["item"] = item
		return p.Node.judge(env)
	}
	return false, HTML{}, fmt.Errorf("no node of the tree has fd %d now; click another", fd)
}

// judge says whether the clicked node is the right one, and why or why not.
func (p *NodePrediction) judge(env map[string]any) (right bool, why HTML, err error) {
	right, err = p.right.holds(env)
	if err != nil {
		return false, HTML{}, fmt.Errorf("the question cannot be judged: %w", err)
	}
	if right {
		return true, p.why, nil
	}
	for _, w := range p.wrong {
		if hit, err := w.when.holds(env); err == nil && hit {
			return false, w.why, nil
		}
	}
	return false, p.otherwise, nil
}

// Hint shows one more hint of a step: the first that was not shown and is
// offered now.
func (r *Run) Hint(step string, f kernelviz.Facts) error {
	s := r.find(step)
	switch {
	case s == nil:
		return fmt.Errorf("the lab has no step %q", step)
	case !s.opened:
		return fmt.Errorf("step %q is not open yet", step)
	}
	i := r.nextHint(s, f)
	if i < 0 {
		return fmt.Errorf("step %q has no more hints now", step)
	}
	s.shown = append(s.shown, i)
	return nil
}

// nextHint is the index of the first hint that was not shown and is offered
// now; -1 if there is none.
func (r *Run) nextHint(s *stepRun, f kernelviz.Facts) int {
	var env map[string]any
	for i, h := range s.step.Hints {
		if s.hasShown(i) {
			continue
		}
		if h.when == nil {
			return i
		}
		if env == nil {
			env = r.env(f, nil)
			if s.before != nil {
				env["before"] = s.before
			}
		}
		if offered, err := h.when.holds(env); err == nil && offered {
			return i
		}
	}
	return -1
}

func (s *stepRun) hasShown(i int) bool {
	for _, k := range s.shown {
		if k == i {
			return true
		}
	}
	return false
}

// Retry arms an open step again, from now.
func (r *Run) Retry(step string, f kernelviz.Facts) error {
	s := r.find(step)
	switch {
	case s == nil:
		return fmt.Errorf("the lab has no step %q", step)
	case s.done:
		return fmt.Errorf("step %q is done; reset the lab to do it again", step)
	case !s.opened:
		return fmt.Errorf("step %q is not open yet", step)
	case s.step.Predict != nil && !s.right:
		return fmt.Errorf("step %q asks a question first", step)
	}
	r.arm(s, f, r.env(f, nil))
	return nil
}

func (s *stepRun) state() string {
	switch {
	case s.done:
		return StateDone
	case !s.opened:
		return StateLocked
	case s.step.Predict != nil && !s.right:
		return StatePredict
	}
	return StateOpen
}

// Steps is where every step stands.
func (r *Run) Steps() []StepState {
	out := make([]StepState, 0, len(r.steps))
	for _, s := range r.steps {
		st := StepState{
			ID: s.step.ID, State: s.state(), Holds: s.holds, Late: s.late && !s.done, Said: s.said,
			Stale: s.armed && !s.done && s.holds && !s.unheld && s.step.Check.Kind == KindEdge,
			Shown: len(s.shown), More: s.opened && !s.done && r.nextHint(s, r.facts) >= 0, Hints: make([]HTML, 0, len(s.shown)),
		}
		for _, i := range s.shown {
			st.Hints = append(st.Hints, s.step.Hints[i].text)
		}
		if s.answered {
			st.Prediction = &Prediction{Choice: s.choice, FD: s.fd, Right: s.right, Why: s.why}
		}
		out = append(out, st)
	}
	return out
}

// Renew tells that the lab's processes are new. What is done stays done until
// it has held again; an open step is armed by the next Observe.
func (r *Run) Renew() {
	for _, s := range r.steps {
		s.kept = s.kept || s.done
		s.armed = s.armed && s.done
	}
}

// Kept is what to keep of the run, for NewRun.
func (r *Run) Kept() []Kept {
	var out []Kept
	for _, s := range r.steps {
		if !s.opened {
			continue
		}
		out = append(out, Kept{
			Step: s.step.ID, Done: s.done, Shown: len(s.shown),
			Choice: s.choice, FD: s.fd, Answered: s.answered, Right: s.right,
		})
	}
	return out
}
