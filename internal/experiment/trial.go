package experiment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"kernelviz/internal/sandbox"
	"kernelviz/internal/workload/trial"
)

const (
	// reportWithin is how long the other roles have once the last has reported.
	reportWithin = 10 * time.Second
	// endWithin is how long a process may take to put things away.
	endWithin = 2 * time.Second
)

// A limitError is when a trial took longer than it may.
type limitError struct{ limit time.Duration }

func (e *limitError) Error() string {
	return fmt.Sprintf("it took longer than its limit of %v", e.limit)
}

// bench runs trials.
type bench struct {
	box     *sandbox.Sandbox
	command []string
	counter Counter // nil: none counts
	seq     int     // of trials, for names
}

// cost is what a trial cost besides what it measured.
type cost struct {
	trial  time.Duration // CPU time of its processes, from start to end
	runner time.Duration // CPU time of this process while they worked
}

// run runs one trial.
func (b *bench) run(ctx context.Context, d Definition, plan Plan, counted bool) (t Trial, c cost, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.Limit, &limitError{d.Limit})
	defer cancel()
	if len(plan.Roles) == 0 {
		return t, c, errors.New("its plan has no roles")
	}
	b.seq++
	sides, closeSides, err := networks(plan.Veth)
	if err != nil {
		return t, c, err
	}
	defer func() { err = errors.Join(err, closeSides()) }()

	var procs []*process
	defer func() {
		patience := endWithin
		if err != nil {
			patience = 0
		}
		for _, p := range procs {
			if used, cpuErr := p.box.CPUTime(); cpuErr == nil {
				c.trial += used.Used
			}
		}
		for _, p := range procs {
			err = errors.Join(err, p.end(patience))
		}
	}()
	for i, role := range plan.Roles {
		if role.Side < 0 || role.Side >= len(sides) {
			return t, c, fmt.Errorf("role %s is on side %d of %d", role.Spec.Role, role.Side, len(sides))
		}
		name := fmt.Sprintf("trial-%d-%d", b.seq, i)
		// The sandbox's own deadline is for a runner that hangs.
		p, err := startProcess(ctx, b.box, b.command, name, role, sides[role.Side], d.Limit+time.Minute)
		if err != nil {
			return t, c, fmt.Errorf("starting %s: %w", role.Spec.Role, err)
		}
		procs = append(procs, p)
	}
	peers := make([]map[string]json.RawMessage, len(procs)) // what each is told of those before it
	known := map[string]json.RawMessage{}
	for i, p := range procs {
		s, err := p.hear(ctx)
		if err != nil {
			return t, c, err
		}
		if s.Ready == nil {
			return t, c, fmt.Errorf("%s reported before it was told to begin", p.role.Spec.Role)
		}
		peers[i] = make(map[string]json.RawMessage, len(known))
		for name, said := range known {
			peers[i][name] = said
		}
		known[p.role.Spec.Role] = s.Ready
	}
	for _, p := range procs {
		if counted && p.role.Count {
			pids, err := p.box.PIDs()
			if err != nil {
				return t, c, err
			}
			count, err := b.counter.Count(p.box.Cgroup(), pids)
			if err != nil {
				return t, c, fmt.Errorf("counting system calls: %w", err)
			}
			p.counting(count)
		}
		if err := p.begin(); err != nil {
			return t, c, err
		}
	}
	before := ownCPU()
	for i, p := range procs {
		if err := p.send(trial.Go{Go: peers[i]}); err != nil {
			return t, c, err
		}
	}
	t, after, err := b.reports(ctx, procs)
	c.runner = max(after-before, 0)
	t.Counted = counted
	return t, c, err
}

// reports waits for the last role and then for the others. runner is the CPU
// time of this process when the last report came.
func (b *bench) reports(ctx context.Context, procs []*process) (t Trial, runner time.Duration, err error) {
	t = Trial{Roles: make(map[string]RoleReport, len(procs))}
	last := procs[len(procs)-1]
	// One that fails ends the trial: the others would wait for it.
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	type heard struct {
		p   *process
		s   said
		err error
	}
	all := make(chan heard, len(procs))
	for _, p := range procs {
		go func() {
			s, err := p.hear(ctx)
			all <- heard{p, s, err}
		}()
	}
	var grace <-chan time.Time
	for range procs {
		select {
		case h := <-all:
			err := h.err
			if err == nil && h.s.Report == nil {
				err = fmt.Errorf("%s said twice that it is ready", h.p.role.Spec.Role)
			}
			if err != nil {
				fail(err)
				return t, runner, err
			}
			runner = max(runner, h.s.runner)
			t.Roles[h.p.role.Spec.Role] = h.p.report(h.s)
			if h.p == last {
				t.Seconds = h.s.Report.Seconds
				timer := time.NewTimer(reportWithin)
				defer timer.Stop()
				grace = timer.C
			}
		case <-grace:
			err := fmt.Errorf("%d of %d roles had not reported %v after %s had", len(procs)-len(t.Roles), len(procs), reportWithin, last.role.Spec.Role)
			fail(err)
			return t, runner, err
		}
	}
	return t, runner, nil
}

// report is what the process did between go and its report.
func (p *process) report(s said) RoleReport {
	r := RoleReport{Report: *s.Report, CPU: max((s.cpu - p.cpu).Seconds(), 0)}
	if s.switches > p.switches {
		r.Switches = s.switches - p.switches
	}
	if s.syscalls != nil {
		trial.Overhead(s.syscalls)
		r.Syscalls = s.syscalls
	}
	return r
}

// networks makes the network namespaces of a trial.
func networks(veth bool) ([]*sandbox.Network, func() error, error) {
	if veth {
		pair, err := sandbox.NewPair()
		if err != nil {
			return nil, nil, err
		}
		return pair.Sides[:], pair.Close, nil
	}
	n, err := sandbox.NewNetwork()
	if err != nil {
		return nil, nil, err
	}
	return []*sandbox.Network{n}, n.Close, nil
}
