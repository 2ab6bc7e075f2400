package experiment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"kernelviz/internal/sandbox"
)

// Store keeps results.
type Store interface {
	// BeginRun returns the number of a run that begins now.
	BeginRun(ctx context.Context, experiment string, started time.Time, quick bool) (int64, error)
	// KeepRun keeps how it ended; result is a Result in JSON.
	KeepRun(ctx context.Context, run int64, state string, seconds float64, result []byte) error
}

// Config is what NewRunner needs. Box and Log must be set.
type Config struct {
	Box *sandbox.Sandbox
	Log *slog.Logger
	// Dir is a directory of the runner's own: what experiments write lies below
	// it and is removed after each. Who made it by sandbox.Scratch removes it, so
	// that a killed server's is swept by the next.
	Dir     string
	Command []string // of the workload trial; nil is this binary's
	Counter Counter  // nil: system calls are not counted, which results say
	Store   Store    // nil: results are not kept, and have no number
	Claims  []Claim  // that results are judged by
	Version string   // of kernelviz
	Now     func() time.Time
}

// Runner runs experiments, one at a time. Its methods may be called
// concurrently.
type Runner struct {
	config Config
	bench  bench // used by the one that runs

	mu      sync.Mutex
	running *Progress // nil while none runs
}

// NewRunner makes one.
func NewRunner(c Config) *Runner {
	if c.Command == nil {
		c.Command = []string{"/proc/self/exe", "workload", "trial"}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Runner{config: c, bench: bench{box: c.Box, command: c.Command, counter: c.Counter}}
}

// Options of a run.
type Options struct {
	Quick bool
	// Begun is called once when the run has begun, with its number.
	Begun func(run int64)
	// Progress is called at most five times a second, never at the same time as
	// itself.
	Progress func(Progress)
}

// The states of a run.
const (
	StateDone      = "done"
	StateCancelled = "cancelled"
	StateFailed    = "failed"
	StateTimedOut  = "timed out"
)

var errTooLong = errors.New("the run took longer than it may")

// Describe is d.Info with what this machine lacks for it: nothing where at
// least a quick run can be made. A full one may be refused all the same.
func (r *Runner) Describe(ctx context.Context, d Definition) Info {
	info := d.Info
	info.Missing = r.missing(ctx, d, false)
	if len(info.Missing) > 0 && len(r.missing(ctx, d, true)) == 0 {
		info.Missing = []Missing{}
	}
	return info
}

// Machine says what results of this runner come from.
func (r *Runner) Machine() MachineInfo { return machineInfo(r.config.Dir) }

func (r *Runner) missing(ctx context.Context, d Definition, quick bool) []Missing {
	missing := needNamespaces()
	if d.Needs != nil {
		missing = append(missing, d.Needs(ctx, r.config.Dir, quick)...)
	}
	return missing
}

// Running tells how far the run is that runs now; false if none does.
func (r *Runner) Running() (Progress, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running == nil {
		return Progress{}, false
	}
	return *r.running, true
}

// take makes this run the one that runs.
func (r *Runner) take(p Progress) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running != nil {
		return false
	}
	r.running = &p
	return true
}

func (r *Runner) free() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = nil
}

// Run runs an experiment until it is done or ctx ends, which cancels it: its
// processes are killed, its files removed, and what was measured is returned
// with the state "cancelled". It refuses with ErrBusy or a *MissingError, before
// anything has begun. Any other error is one of keeping the result, which is
// returned all the same.
func (r *Runner) Run(ctx context.Context, d Definition, o Options) (*Result, error) {
	if !r.take(Progress{Experiment: d.Info.ID, Phase: "preparing", Left: -1}) {
		return nil, ErrBusy
	}
	defer r.free()
	if missing := r.missing(ctx, d, o.Quick); len(missing) > 0 {
		return nil, &MissingError{d.Info.ID, missing}
	}
	started := r.config.Now()
	number := int64(0)
	if r.config.Store != nil {
		var err error
		if number, err = r.config.Store.BeginRun(ctx, d.Info.ID, started, o.Quick); err != nil {
			return nil, fmt.Errorf("beginning experiment %s: %w", d.Info.ID, err)
		}
	}
	if o.Begun != nil {
		o.Begun(number)
	}
	r.config.Log.Info("experiment begins", "experiment", d.Info.ID, "run", number, "quick", o.Quick)
	run := newRun(r, d, o, number, started)
	result := run.all(ctx)
	r.config.Log.Info("experiment ended", "experiment", d.Info.ID, "run", number, "state", result.State, "problem", result.Problem, "seconds", result.Seconds)
	return result, r.keep(ctx, result)
}

// keep stores the result, also of a run that was cancelled.
func (r *Runner) keep(ctx context.Context, result *Result) error {
	if r.config.Store == nil {
		return nil
	}
	data, err := json.Marshal(result)
	if err == nil {
		err = r.config.Store.KeepRun(context.WithoutCancel(ctx), result.Run, result.State, result.Seconds, data)
	}
	if err != nil {
		return fmt.Errorf("keeping the result of experiment %s, run %d: %w", result.Experiment, result.Run, err)
	}
	return nil
}

// scratch makes a directory for the files of one run.
func (r *Runner) scratch(id string) (string, error) {
	if r.config.Dir == "" {
		return "", errors.New("there is no directory for files of experiments")
	}
	if err := os.MkdirAll(r.config.Dir, 0o711); err != nil {
		return "", fmt.Errorf("making a directory for files: %w", err)
	}
	dir, err := os.MkdirTemp(r.config.Dir, filepath.Base(id)+"-")
	if err != nil {
		return "", fmt.Errorf("making a directory for files: %w", err)
	}
	return dir, nil
}
