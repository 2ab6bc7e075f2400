package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/go-chi/chi/v5"

	"kernelviz/internal/experiment"
	"kernelviz/internal/store"
)

// ExperimentOptions let a server run experiments. All must be set.
type ExperimentOptions struct {
	Runner      *experiment.Runner
	Experiments []experiment.Definition
	Claims      []experiment.Claim
	Results     RunStore
}

// RunStore is where results of experiments are kept.
type RunStore interface {
	// Runs are the runs that have ended, by experiment, newest first.
	Runs(ctx context.Context) (map[string][]store.Run, error)
	// RunResult is an experiment.Result in JSON; store.ErrNoRun if there is none.
	RunResult(ctx context.Context, experiment string, run int64) ([]byte, error)
	// ForgetRun forgets it; store.ErrNoRun if there is none.
	ForgetRun(ctx context.Context, experiment string, run int64) error
}

// Messages about experiments.
type (
	experimentMessage struct {
		Type  string `json:"type"`
		Ref   int64  `json:"ref"`
		ID    string `json:"id"`
		Quick bool   `json:"quick"`
	}
	cancelMessage struct {
		Type string `json:"type"`
		Ref  int64  `json:"ref"`
		Run  int64  `json:"run"`
	}
	progressMessage struct {
		Type     string              `json:"type"`
		Progress experiment.Progress `json:"progress"`
	}
	resultMessage struct {
		Type   string             `json:"type"`
		Result *experiment.Result `json:"result"`
	}
	begunMessage struct {
		Type   string `json:"type"`
		Ref    int64  `json:"ref"`
		ID     string `json:"id"`
		Result runRef `json:"result"`
	}
	runRef struct {
		Run int64 `json:"run"`
	}
)

// experiments is the side of a server that runs experiments.
type experiments struct {
	hub *hub
	ExperimentOptions

	mu      sync.Mutex
	current *currentRun // nil while none runs
}

// currentRun is the run that runs now.
type currentRun struct {
	run    int64
	cancel context.CancelFunc
	ended  chan struct{} // closed when nothing of it is left
}

var errExperimentsOff = &Problem{"experiments_off", "This server runs no experiments.", "start labserver without --no-workloads"}

// handleExperiment carries out the messages about experiments.
func (h *hub) handleExperiment(c *client, msg control) {
	x := h.experiments
	switch m := msg.(type) {
	case *experimentMessage:
		if !h.mayExperiment(c, m.Ref) {
			return
		}
		d, ok := x.find(m.ID)
		if !ok {
			c.refuse(m.Ref, "", unknownExperiment(m.ID))
			return
		}
		h.spawn(func() { x.run(c, m, d) })
	case *cancelMessage:
		if !h.mayExperiment(c, m.Ref) {
			return
		}
		h.spawn(func() { x.end(c, m) })
	}
}

// mayExperiment tells whether the page may run experiments, and answers it if
// not.
func (h *hub) mayExperiment(c *client, ref int64) bool {
	if c.scope == scopeLearner && h.experiments == nil {
		c.refuse(ref, "", errExperimentsOff)
		return false
	}
	return h.mayDrive(c, ref)
}

func (x *experiments) find(id string) (experiment.Definition, bool) {
	i := slices.IndexFunc(x.Experiments, func(d experiment.Definition) bool { return d.Info.ID == id })
	if i < 0 {
		return experiment.Definition{}, false
	}
	return x.Experiments[i], true
}

func unknownExperiment(id string) *Problem {
	return problemf("unknown_experiment", "labserver experiment list", "there is no experiment %.60q", id)
}

// run runs an experiment to its end. The page that asked is answered when it
// has begun; all pages are told how far it is and what came of it.
func (x *experiments) run(c *client, m *experimentMessage, d experiment.Definition) {
	ctx, cancel := context.WithCancel(x.hub.ctx)
	defer cancel()
	var current *currentRun
	result, err := x.Runner.Run(ctx, d, experiment.Options{
		Quick: m.Quick,
		Begun: func(run int64) {
			current = &currentRun{run, cancel, make(chan struct{})}
			x.mu.Lock()
			x.current = current
			x.mu.Unlock()
			c.send(encode(begunMessage{"done", m.Ref, d.Info.ID, runRef{run}}))
		},
		Progress: func(p experiment.Progress) { x.tell(encode(progressMessage{"progress", p})) },
	})
	x.mu.Lock()
	if x.current == current { // else the next one runs already
		x.current = nil
	}
	x.mu.Unlock()
	if result == nil {
		c.refuse(m.Ref, "", asProblem("running experiment "+d.Info.ID, err))
		return
	}
	if err != nil {
		x.hub.log.Error("an experiment's result is lost when this server ends", "error", err)
		result.Warnings = append(result.Warnings, experiment.Warning{Code: "unkept", Text: err.Error()})
	}
	message := encode(resultMessage{"result", result})
	x.tell(nil) // progress that is still to be written would come after it
	for _, page := range x.hub.everyone() {
		page.send(message)
	}
	close(current.ended)
}

// tell tells all pages how far a run is: only the newest is any use.
func (x *experiments) tell(message []byte) {
	for _, page := range x.hub.everyone() {
		page.sendLatest(listProgress, message)
	}
}

// end cancels a run, and answers when nothing of it is left.
func (x *experiments) end(c *client, m *cancelMessage) {
	x.mu.Lock()
	current := x.current
	x.mu.Unlock()
	if current == nil || current.run != m.Run {
		c.refuse(m.Ref, "", problemf(CodeGone, "", "run %d does not run", m.Run))
		return
	}
	current.cancel()
	<-current.ended
	c.send(encode(doneMessage{Type: "done", Ref: m.Ref}))
}

// experimentList is what GET /api/v1/experiments gives.
type experimentList struct {
	Experiments []experiment.Info      `json:"experiments"`
	Running     *experiment.Progress   `json:"running"`
	Runs        map[string][]store.Run `json:"runs"`
}

func (s *Server) apiExperiments(w http.ResponseWriter, r *http.Request) {
	x := s.hub.experiments
	if x == nil {
		writeRefusal(w, r, http.StatusNotFound, errExperimentsOff)
		return
	}
	runs, err := x.Results.Runs(r.Context())
	if err != nil {
		writeRefusal(w, r, http.StatusInternalServerError, asProblem("reading the runs of experiments", err))
		return
	}
	out := experimentList{Experiments: []experiment.Info{}, Runs: runs}
	for _, d := range x.Experiments {
		out.Experiments = append(out.Experiments, x.Runner.Describe(r.Context(), d))
	}
	if p, running := x.Runner.Running(); running {
		out.Running = &p
	}
	writeJSON(w, http.StatusOK, out)
}

// runOf finds which run a request is about, or answers it.
func (s *Server) runOf(w http.ResponseWriter, r *http.Request) (x *experiments, id string, run int64, ok bool) {
	x = s.hub.experiments
	if x == nil {
		writeRefusal(w, r, http.StatusNotFound, errExperimentsOff)
		return nil, "", 0, false
	}
	id = chi.URLParam(r, "id")
	if _, known := x.find(id); !known {
		writeRefusal(w, r, http.StatusNotFound, unknownExperiment(id))
		return nil, "", 0, false
	}
	run, err := strconv.ParseInt(chi.URLParam(r, "run"), 10, 64)
	if err != nil || run <= 0 {
		writeRefusal(w, r, http.StatusBadRequest, problemf(CodeBadMessage, "", "%.40q is no number of a run", chi.URLParam(r, "run")))
		return nil, "", 0, false
	}
	return x, id, run, true
}

// apiRun gives a result as a file: a browser that is asked to save it names it
// so.
func (s *Server) apiRun(w http.ResponseWriter, r *http.Request) {
	x, id, run, ok := s.runOf(w, r)
	if !ok {
		return
	}
	result, err := x.Results.RunResult(r.Context(), id, run)
	if err != nil {
		refuseRun(w, r, id, run, err)
		return
	}
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=\"kernelviz-%s-%d.json\"", id, run))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(result)
}

func refuseRun(w http.ResponseWriter, r *http.Request, id string, run int64, err error) {
	if errors.Is(err, store.ErrNoRun) {
		writeRefusal(w, r, http.StatusNotFound, problemf(CodeNotFound, "pick one from the list", "experiment %s has no run %d", id, run))
		return
	}
	writeRefusal(w, r, http.StatusInternalServerError, asProblem("reading a run", err))
}

func (s *Server) apiForgetRun(w http.ResponseWriter, r *http.Request) {
	x, id, run, ok := s.runOf(w, r)
	if !ok {
		return
	}
	if scopeOf(r) != scopeLearner {
		writeRefusal(w, r, http.StatusForbidden, problemf(CodeForbidden, "open the learner's URL", "this page was opened to look, not to drive"))
		return
	}
	if err := x.Results.ForgetRun(r.Context(), id, run); err != nil {
		refuseRun(w, r, id, run, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) apiClaims(w http.ResponseWriter, r *http.Request) {
	x := s.hub.experiments
	if x == nil {
		writeRefusal(w, r, http.StatusNotFound, errExperimentsOff)
		return
	}
	claims, err := x.standings(r.Context())
	if err != nil {
		writeRefusal(w, r, http.StatusInternalServerError, asProblem("reading the runs of experiments", err))
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"claims": claims})
}

// standings are the claims with what is known of each on this machine.
func (x *experiments) standings(ctx context.Context) ([]experiment.Claim, error) {
	runs, err := x.Results.Runs(ctx)
	if err != nil {
		return nil, err
	}
	latest := map[string][]*experiment.Result{} // by experiment, the one to trust first
	missing := map[string][]experiment.Missing{}
	for _, d := range x.Experiments {
		id := d.Info.ID
		missing[id] = x.Runner.Describe(ctx, d).Missing
		for _, run := range trusted(runs[id]) {
			data, err := x.Results.RunResult(ctx, id, run)
			if err != nil {
				return nil, err
			}
			r := new(experiment.Result)
			if err := json.Unmarshal(data, r); err != nil {
				x.hub.log.Warn("the result of a run cannot be read", "experiment", id, "run", run, "error", err)
				continue
			}
			latest[id] = append(latest[id], r)
		}
	}
	out := make([]experiment.Claim, 0, len(x.Claims))
	for _, c := range x.Claims {
		c.Standing = experiment.Stand(c, latest[c.Experiment], missing[c.Experiment], x.Runner.Machine())
		out = append(out, c)
	}
	return out, nil
}

// trusted are the runs that claims are judged by, the best first: the newest
// full one, then the newest quick one.
func trusted(runs []store.Run) []int64 {
	var best []int64
	for _, quick := range []bool{false, true} {
		i := slices.IndexFunc(runs, func(r store.Run) bool { return r.State == experiment.StateDone && r.Quick == quick })
		if i >= 0 {
			best = append(best, runs[i].Run)
		}
	}
	return best
}

// experimentProblem puts errors of experiments into words and codes.
func experimentProblem(err error) (*Problem, bool) {
	var missing *experiment.MissingError
	switch {
	case errors.As(err, &missing):
		code := "missing"
		if missing.Disk() {
			code = "disk_full"
		}
		return &Problem{code, err.Error(), missing.Fix()}, true
	case errors.Is(err, experiment.ErrBusy):
		return &Problem{CodeBusy, "another experiment is running: they would measure each other", "wait until it is done, or cancel it"}, true
	}
	return nil, false
}
