package lab

import (
	"encoding/json"
	"fmt"

	"kernelviz/internal/kernelviz"
)

// Expanded is an action or a move with its {{expressions}} filled in.
type Expanded struct {
	Do      json.RawMessage // for a workload
	Command string          // for the terminal
	FD      int             // to focus
}

// Values are the live values of the lab, in the order of Page.Values.
func (r *Run) Values(f kernelviz.Facts) []string {
	out := make([]string, 0, len(r.lab.values))
	if len(r.lab.values) == 0 {
		return out
	}
	env := r.env(f, nil)
	for _, e := range r.lab.values {
		v, err := e.eval(env)
		if err != nil {
			v = nil // such as the first element of a list that is empty now
		}
		out = append(out, show(v))
	}
	return out
}

// Expand fills in an action of the lab.
func (r *Run) Expand(action string, f kernelviz.Facts) (Expanded, error) {
	a := r.lab.Actions[action]
	if a == nil {
		return Expanded{}, fmt.Errorf("the lab has no action %q", action)
	}
	out, err := r.expand(a.do, a.command, f)
	if err != nil {
		return Expanded{}, fmt.Errorf("action %q: %w", action, err)
	}
	if a.focus == nil {
		return out, nil
	}
	v, err := a.focus.eval(r.env(f, nil))
	if err != nil {
		return Expanded{}, fmt.Errorf("action %q: {{%s}}: %w", action, a.focus.source, err)
	}
	fd, ok := v.(int)
	if !ok {
		return Expanded{}, fmt.Errorf("action %q: {{%s}} gave %v, which is no fd", action, a.focus.source, v)
	}
	out.FD = fd
	return out, nil
}

// ExpandMove fills in a move of a solution that is not an action.
func (r *Run) ExpandMove(m Move, f kernelviz.Facts) (Expanded, error) {
	return r.expand(m.do, m.command, f)
}

func (r *Run) expand(do *value, command *template, f kernelviz.Facts) (out Expanded, err error) {
	if do != nil {
		if out.Do, err = do.json(r.env(f, nil)); err != nil {
			return Expanded{}, err
		}
	}
	if command != nil {
		if out.Command, err = command.commandLine(r.env(f, nil)); err != nil {
			return Expanded{}, err
		}
	}
	return out, nil
}

// Ready tells that what a move waits for holds; one that waits for nothing is
// ready.
func (r *Run) Ready(m Move, f kernelviz.Facts) (bool, error) {
	if m.wait == nil {
		return true, nil
	}
	ok, err := m.wait.holds(r.env(f, nil))
	if err != nil {
		return false, fmt.Errorf("waiting for %q: %w", m.Wait, err)
	}
	return ok, nil
}

// Actions are the actions of the setup, for these parameters.
func (w *Workload) Actions(params map[string]int) ([]json.RawMessage, error) {
	env := w.words.environment(nil, params, nil)
	out := make([]json.RawMessage, 0, len(w.setup))
	for i, v := range w.setup {
		action, err := v.json(env)
		if err != nil {
			return nil, fmt.Errorf("setup of %s, action %d: %w", w.Name, i+1, err)
		}
		out = append(out, action)
	}
	return out, nil
}
