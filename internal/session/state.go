package session

import (
	"maps"
	"slices"
	"strconv"

	"kernelviz/internal/lab"
	"kernelviz/internal/playground"
)

// State is all that a page shows of a session, in the shape of
// docs/protocol.md.
type State struct {
	Attempt   int               `json:"attempt"`
	Steps     []lab.StepState   `json:"steps"`
	Stage     string            `json:"stage"` // topic; empty while there is nothing to show
	Workloads map[string]string `json:"workloads"`
	Values    []string          `json:"values"`
	Drafts    map[string]string `json:"drafts,omitzero"` // only for a page that opens the lab
	Program   ProgramState      `json:"program"`
	Terminals []int             `json:"terminals"`
	Problem   string            `json:"problem"`
}

// ProgramState is what became of the learner's code.
type ProgramState struct {
	Run         int                     `json:"run"`
	State       string                  `json:"state"`
	PID         int                     `json:"pid"`
	Ended       string                  `json:"ended"`
	Diagnostics []playground.Diagnostic `json:"diagnostics"`
}

// State is the session now. The caller owns it.
func (s *Session) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.program
	st := State{
		Attempt: s.attempt.Number, Steps: s.run.Steps(), Stage: s.stage.topic,
		Workloads: s.worksLocked(), Values: s.run.Values(s.facts),
		Program:   ProgramState{Run: p.run, State: p.state, Ended: p.ended, Diagnostics: p.diagnostics},
		Terminals: slices.Sorted(maps.Keys(s.terminals)),
		Problem:   s.problem,
	}
	if st.Problem == "" {
		st.Problem = s.manager.options.StoreProblem
	}
	if p.state == programRunning {
		st.Program.PID = p.process.PID()
	}
	if st.Program.Diagnostics == nil {
		st.Program.Diagnostics = []playground.Diagnostic{}
	}
	if st.Terminals == nil {
		st.Terminals = []int{}
	}
	if s.storeFail != "" {
		st.Problem = s.storeFail
	}
	return st
}

// Hearer is woken when the session's state may have changed.
type Hearer struct {
	// Changed delivers a value after changes, and is closed with the session.
	Changed <-chan struct{}

	session *Session
	changed chan struct{} // capacity 1
	ended   bool          // guarded by Session.mu
}

// Hear begins to listen. The caller closes the Hearer.
func (s *Session) Hear() *Hearer {
	c := make(chan struct{}, 1)
	h := &Hearer{Changed: c, session: s, changed: c}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		h.end()
		return h
	}
	s.hearers[h] = struct{}{}
	return h
}

// Close ends the listening.
func (h *Hearer) Close() {
	h.session.mu.Lock()
	defer h.session.mu.Unlock()
	delete(h.session.hearers, h)
}

// end closes Changed. Held: Session.mu.
func (h *Hearer) end() {
	if !h.ended {
		h.ended = true
		close(h.changed)
	}
}

// tell wakes those who listen.
func (s *Session) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tellLocked()
}

func (s *Session) tellLocked() {
	for h := range s.hearers {
		select {
		case h.changed <- struct{}{}:
		default:
		}
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
