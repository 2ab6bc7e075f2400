package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/lab"
	"kernelviz/internal/sandbox"
	"kernelviz/internal/store"
	"kernelviz/internal/terminal"
	"kernelviz/internal/workload"
)

const (
	// lookEvery is the pace at which facts are collected; what the kernel
	// reports, a call or output comes at once, but not sooner than lookGap.
	lookEvery = 50 * time.Millisecond
	lookGap   = 8 * time.Millisecond
	// lookShare is the largest share of time spent looking, as 1/lookShare.
	lookShare = 10

	actTimeout   = 30 * time.Second
	stageWithin  = 2 * time.Second // that the stage shows new processes
	stateTimeout = 5 * time.Second
	setupTimeout = 20 * time.Second
)

// Session is one learner in one lab. Its methods may be called concurrently.
type Session struct {
	manager *Manager
	lab     *lab.Lab
	learner string
	name    string // prefix of everything that it starts, unique in this server

	begun  chan struct{} // closed when begin has returned
	wake   chan struct{} // something happened: look at once. Capacity 1
	ctx    context.Context
	cancel context.CancelFunc
	loops  sync.WaitGroup

	saving sync.Mutex // held while the store is written; before mu
	laying sync.Mutex // held while a file of the learner's code is written

	mu        sync.Mutex
	followers int
	leaving   *time.Timer // closes the session; nil while it is followed
	closed    bool
	attempt   store.Attempt
	drawn     map[string]int // parameters of the attempt
	run       *lab.Run
	kept      map[string]lab.Kept // as the store has it
	answers   []answer            // not yet in the store
	facts     kernelviz.Facts     // the latest
	looks     int                 // times that facts were collected
	armed     int                 // lab.Run.Generation that the marks below belong to
	armedAt   time.Duration       // CLOCK_MONOTONIC of that
	problem   string
	storeFail string
	dir       string           // scratch directory: drafts lie here, terminals begin here
	network   *sandbox.Network // nil: the host's
	works     map[string]*work
	started   int // processes started, for names that are never used again
	stage     stage
	program   program
	terminals map[int]*shell
	judge     judge
	hearers   map[*Hearer]struct{}
}

type answer struct {
	step, choice string
	fd           int
	right        bool
}

func newSession(m *Manager, l *lab.Lab, learner string, number int) *Session {
	ctx, cancel := context.WithCancel(context.Background())
	return &Session{
		manager: m, lab: l, learner: learner,
		name:  fmt.Sprintf("lab%d", number),
		begun: make(chan struct{}), wake: make(chan struct{}, 1),
		ctx: ctx, cancel: cancel,
		followers: 1,
		kept:      make(map[string]lab.Kept), facts: make(kernelviz.Facts),
		works: make(map[string]*work), terminals: make(map[int]*shell),
		hearers: make(map[*Hearer]struct{}),
	}
}

// begin finds the attempt and starts what the lab needs. A session that cannot
// start a workload begins all the same, with a problem that says so.
func (s *Session) begin(ctx context.Context) error {
	if missing := s.manager.Missing(s.lab); len(missing) > 0 {
		return &NeedsError{Lab: s.lab.ID, Missing: missing}
	}
	if err := s.beginAttempt(ctx); err != nil {
		return err
	}
	o := &s.manager.options
	var err error
	if s.dir, err = scratchDir(o.Scratch, s.name, s.lab.ID, o.User); err != nil {
		return fmt.Errorf("making its directory: %w", err)
	}
	if s.lab.Network == "own" {
		if s.network, err = sandbox.NewNetwork(); err != nil {
			return fmt.Errorf("making its network namespace: %w", err)
		}
	}
	if err := s.layOutCode(ctx); err != nil {
		return err
	}
	s.startWorkloads(ctx)
	// The first look comes before anybody can act: a step that is armed compares
	// with what it saw.
	s.lookOnce()
	s.loops.Go(s.look)
	return nil
}

// beginAttempt takes up the current attempt where it was left.
func (s *Session) beginAttempt(ctx context.Context) error {
	attempt, steps, err := s.manager.options.Store.Current(ctx, s.learner, s.lab.ID, func() map[string]int {
		return s.lab.Draw(seeded())
	})
	if err != nil {
		return fmt.Errorf("reading progress: %w", err)
	}
	var kept []lab.Kept
	clear(s.kept)
	for _, st := range steps {
		k := lab.Kept{
			Step: st.Step, Done: st.Done, Shown: st.Shown,
			Choice: st.Choice, FD: st.FD, Answered: st.Answered, Right: st.Right,
		}
		kept = append(kept, k)
		s.kept[k.Step] = k
	}
	// A lab that was changed since may have parameters that were not drawn then.
	drawn := s.lab.Draw(seeded())
	for name := range drawn {
		if v, ok := attempt.Params[name]; ok {
			drawn[name] = v
		}
	}
	s.attempt, s.drawn = attempt, drawn
	s.run = lab.NewRun(s.lab, drawn, kept, s.manager.options.Now)
	return nil
}

// params are the parameters of the attempt.
func (s *Session) params() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drawn
}

// join counts one more follower.
func (s *Session) join() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followers++
	if s.leaving != nil {
		s.leaving.Stop()
		s.leaving = nil
	}
}

// Leave counts one follower less. The session ends a while after the last.
func (s *Session) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followers--
	if s.followers == 0 && !s.closed && s.leaving == nil {
		s.leaving = time.AfterFunc(s.manager.options.Linger, s.leave)
	}
}

func (s *Session) leave() {
	s.manager.mu.Lock()
	s.mu.Lock()
	if s.followers > 0 || s.closed {
		s.mu.Unlock()
		s.manager.mu.Unlock()
		return
	}
	s.mu.Unlock()
	delete(s.manager.sessions, key{s.learner, s.lab.ID})
	s.manager.mu.Unlock()
	s.Close()
}

// Close ends all that the session started and returns when it is gone.
func (s *Session) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.loops.Wait()
		return
	}
	s.closed = true
	if s.leaving != nil {
		s.leaving.Stop()
	}
	s.mu.Unlock()
	s.manager.forget(s)
	s.cancel()
	s.stopAll()
	s.loops.Wait()
	s.save()
	s.closeStage()
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.hearers {
		h.end()
	}
	clear(s.hearers)
	if s.network != nil {
		if err := s.network.Close(); err != nil {
			s.log().Warn("closing a lab's network", "lab", s.lab.ID, "error", err)
		}
	}
	if s.dir != "" {
		if err := os.RemoveAll(filepath.Dir(s.dir)); err != nil {
			s.log().Warn("removing a lab's files", "lab", s.lab.ID, "error", err)
		}
	}
}

// stopAll kills workloads, terminals and program. No lock is held meanwhile.
func (s *Session) stopAll() {
	s.mu.Lock()
	works := maps.Clone(s.works)
	shells := maps.Clone(s.terminals)
	s.mu.Unlock()
	var stopping sync.WaitGroup
	for _, w := range works {
		stopping.Go(func() { s.warn("stopping a workload", w.process.Stop()) })
	}
	for _, t := range shells {
		stopping.Go(func() { s.warn("closing a terminal", t.term.Close()) })
	}
	stopping.Go(func() { s.warn("stopping a program", s.Kill("the lab was closed")) })
	stopping.Wait()
}

// Lab is the lab that is taken.
func (s *Session) Lab() *lab.Lab { return s.lab }

// LearnerName is who takes it.
func (s *Session) LearnerName() string { return s.learner }

func (s *Session) log() *slog.Logger { return s.manager.options.Log }

func (s *Session) warn(doing string, err error) {
	if err != nil {
		s.log().Warn(doing, "lab", s.lab.ID, "error", err)
	}
}

// nudge makes the session look at once.
func (s *Session) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// look is the session's loop: it collects facts and lets the steps judge them,
// until the session ends.
func (s *Session) look() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-timer.C:
		case <-s.wake:
			if !s.pause(lookGap - time.Since(last)) {
				return
			}
		}
		last = time.Now()
		s.lookOnce()
		timer.Reset(max(lookEvery, lookShare*time.Since(last)))
	}
}

func (s *Session) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-s.ctx.Done():
		return false
	}
}

// lookOnce collects the facts and judges them.
func (s *Session) lookOnce() {
	s.mu.Lock()
	armed := s.armed
	s.mu.Unlock()
	view := s.sampleStage()
	own := s.collect()
	maps.Copy(own, view)
	s.mu.Lock()
	if s.armed != armed {
		// A step was armed meanwhile: these lists hold what came before.
		s.mu.Unlock()
		s.nudge()
		return
	}
	s.sinceArmed(own)
	changed := s.run.Observe(own)
	s.facts = own
	s.looks++
	rearmed := s.mark()
	s.mu.Unlock()
	if rearmed {
		// What came before the step was armed is not to be judged again.
		s.nudge()
	}
	s.judgeByScript()
	if changed {
		s.save()
	}
	s.tell()
}

// save writes what the store lacks. What cannot be written stays to be written
// with the next change, and the page says so.
func (s *Session) save() {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	if s.run == nil { // it never began
		s.mu.Unlock()
		return
	}
	attempt := s.attempt.ID
	var changed []lab.Kept
	for _, k := range s.run.Kept() {
		if s.kept[k.Step] != k {
			changed = append(changed, k)
		}
	}
	answers := s.answers
	s.mu.Unlock()
	if len(changed) == 0 && len(answers) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stateTimeout)
	defer cancel()
	db := s.manager.options.Store
	var err error
	written := 0
	for _, a := range answers {
		if err = db.AddAnswer(ctx, attempt, a.step, a.choice, a.fd, a.right); err != nil {
			break
		}
		written++
	}
	var done []lab.Kept
	for _, k := range changed {
		if err != nil {
			break
		}
		err = db.SaveStep(ctx, attempt, store.Step{
			Step: k.Step, Done: k.Done, DoneAt: s.manager.options.Now(), Shown: k.Shown,
			Choice: k.Choice, FD: k.FD, Answered: k.Answered, Right: k.Right,
		})
		if err == nil {
			done = append(done, k)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attempt.ID != attempt {
		return // reset meanwhile
	}
	s.answers = s.answers[written:]
	for _, k := range done {
		s.kept[k.Step] = k
	}
	s.storeFail = ""
	if err != nil {
		s.storeFail = "progress could not be kept: " + err.Error()
		s.log().Warn("keeping progress", "lab", s.lab.ID, "error", err)
	}
}

// Predict answers the prediction of a step.
func (s *Session) Predict(step, choice string, fd int) error {
	s.mu.Lock()
	err := s.run.Predict(step, choice, fd, s.facts)
	if err == nil {
		for _, k := range s.run.Kept() {
			if k.Step == step {
				s.answers = append(s.answers, answer{step, choice, fd, k.Right})
			}
		}
	}
	s.mark()
	s.mu.Unlock()
	return s.afterwards(err)
}

// Hint shows one more hint of a step.
func (s *Session) Hint(step string) error {
	s.mu.Lock()
	err := s.run.Hint(step, s.facts)
	s.mu.Unlock()
	return s.afterwards(err)
}

// Retry arms a step again.
func (s *Session) Retry(step string) error {
	s.mu.Lock()
	err := s.run.Retry(step, s.facts)
	s.mark()
	s.mu.Unlock()
	return s.afterwards(err)
}

func (s *Session) afterwards(err error) error {
	if err != nil {
		return err
	}
	s.save()
	s.nudge()
	s.tell()
	return nil
}

// Done is what an action gives back.
type Done struct {
	FD       *int            `json:"fd,omitempty"`       // to be focused
	Terminal int             `json:"terminal,omitempty"` // that was typed into
	Result   json.RawMessage `json:"result,omitempty"`   // of the workload
}

// ErrAction is wrapped for an action that the lab does not have, or that is the
// page's to carry out.
var ErrAction = errors.New("no such action")

// Act carries out an action of the lab.
func (s *Session) Act(ctx context.Context, name string) (Done, error) {
	a := s.lab.Actions[name]
	if a == nil {
		return Done{}, fmt.Errorf("%w %.60q in lab %s", ErrAction, name, s.lab.ID)
	}
	s.mu.Lock()
	e, err := s.run.Expand(name, s.facts)
	s.mu.Unlock()
	if err != nil {
		return Done{}, fmt.Errorf("action %s: %w", name, err)
	}
	return s.act(ctx, a.Kind, a.Workload, e)
}

func (s *Session) act(ctx context.Context, kind, workloadName string, e lab.Expanded) (Done, error) {
	switch kind {
	case "workload":
		s.acted()
		result, err := s.do(ctx, workloadName, e.Do)
		s.nudge()
		return Done{Result: result}, err
	case "run", "type":
		s.acted()
		text := e.Command
		if kind == "run" {
			text += "\r"
		}
		return Done{Terminal: 1}, s.typeInto(ctx, 1, text)
	case "focus":
		return Done{FD: &e.FD}, nil
	}
	return Done{}, fmt.Errorf("%w: %s is for the page", ErrAction, kind)
}

// acted tells the steps that the learner did something.
func (s *Session) acted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run.Acted()
	s.mark() // a step that was late is armed again: what follows counts
}

// Fresh starts the lab's processes anew. Progress stays, and a step that is
// open waits for its change anew.
func (s *Session) Fresh(ctx context.Context) error {
	s.mu.Lock()
	s.run.Renew()
	s.mu.Unlock()
	s.stopAll()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.works = make(map[string]*work)
	s.terminals = make(map[int]*shell)
	s.problem = ""
	s.mu.Unlock()
	s.startWorkloads(ctx)
	s.awaitStage(ctx)
	s.rearm()
	return s.afterwards(nil)
}

// awaitStage waits until the new processes have been looked at, so that steps
// compare with them and not with those before.
func (s *Session) awaitStage(ctx context.Context) {
	h := s.Hear()
	defer h.Close()
	late := time.NewTimer(stageWithin)
	defer late.Stop()
	s.mu.Lock()
	enough := s.looks + 2 // one may have begun before
	s.mu.Unlock()
	for {
		s.mu.Lock()
		shown, looks := s.stage.topic, s.looks
		s.mu.Unlock()
		shows := s.lab.Stage == nil
		if !shows {
			pid, fd, there := s.stageTarget()
			shows = !there && shown == "" || there && strings.HasSuffix(shown, fmt.Sprintf("/%d:%d", pid, fd))
		}
		if !shows {
			enough = looks + 1
		}
		if looks >= enough {
			return
		}
		s.nudge()
		select {
		case <-h.Changed:
		case <-late.C:
			return
		case <-s.ctx.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// rearm arms the first step that is open, if it is armed.
func (s *Session) rearm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.run.Steps() {
		if st.State == "open" {
			_ = s.run.Retry(st.ID, s.facts) // it is open
		}
	}
	s.mark()
}

// Reset forgets the progress of this lab and begins a new attempt.
func (s *Session) Reset(ctx context.Context) error {
	if err := s.manager.options.Store.Reset(ctx, s.learner, s.lab.ID); err != nil {
		return fmt.Errorf("resetting lab %s: %w", s.lab.ID, err)
	}
	s.mu.Lock()
	err := s.beginAttempt(ctx)
	s.answers = nil
	s.armed = 0
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.Fresh(ctx)
}

// work is one workload of the session.
type work struct {
	name    string
	id      string // name of its sandbox, and what pages know it by
	process *workload.Process

	// Guarded by Session.mu.
	state json.RawMessage // the latest; nil before the first
	calls callList
	base  counters // totals when the step was armed
}

// shell is a terminal of the session.
type shell struct {
	term *terminal.Terminal
	mark int64 // its end when the step was armed
}
