package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"kernelviz/internal/sandbox"
	"kernelviz/internal/workload"
	"kernelviz/internal/workload/churn"
	"kernelviz/internal/workload/control"
)

// churner is a churn workload with one instance.
type churner struct {
	process *workload.Process
	epfd    int
}

// startChurn starts one whose instance has n items.
func (e *env) startChurn(ctx context.Context, n int) (*churner, error) {
	e.started++
	p, err := workload.Start(ctx, e.box, "churn", workload.Options{ID: fmt.Sprintf("churn-%d", e.started)})
	if err != nil {
		return nil, err
	}
	c := &churner{process: p}
	if err := c.grow(ctx, n); err != nil {
		c.stop()
		return nil, fmt.Errorf("making an instance of %s items: %w", grouped(n), err)
	}
	return c, nil
}

// grove is how many items one process adds; churn takes no more, as a process
// may often open no more than 20,000 files.
const grove = 18_000

// grow makes the instance; children add what one process cannot hold.
func (c *churner) grow(ctx context.Context, n int) error {
	steps := []churn.Action{{Op: "setup", Items: n}}
	if n > grove {
		steps = []churn.Action{{Op: "setup"}, {Op: "forest", Children: n / grove, Items: grove}}
		if rest := n % grove; rest > 0 {
			steps = append(steps, churn.Action{Op: "forest", Children: 1, Items: rest})
		}
	}
	for _, a := range steps {
		r, err := c.do(ctx, a)
		if err != nil {
			return err
		}
		c.epfd = r.EpFD
	}
	return nil
}

func (c *churner) do(ctx context.Context, a churn.Action) (churn.Result, error) {
	data, err := json.Marshal(a)
	if err != nil {
		return churn.Result{}, err
	}
	answer, err := c.process.Do(ctx, data)
	if err != nil {
		return churn.Result{}, err
	}
	var r churn.Result
	return r, control.Decode(answer, &r)
}

// cost is what one operation took, in ns.
type cost struct{ cpu, wall float64 }

// loop lets it make one kind of call at full speed for a while.
func (c *churner) loop(ctx context.Context, op string) func(time.Duration) (cost, error) {
	return func(d time.Duration) (cost, error) {
		r, err := c.do(ctx, churn.Action{Op: op, MS: int(d.Milliseconds())})
		if err != nil {
			return cost{}, err
		}
		return cost{float64(r.CPU) / float64(r.Ops), float64(r.Wall) / float64(r.Ops)}, nil
	}
}

// target is the name of the instance, "PID:FD".
func (c *churner) target() string { return fmt.Sprintf("%d:%d", c.process.PID(), c.epfd) }

func (c *churner) stop() { _ = c.process.Stop() }

// newSandbox holds what the benches start. What it logs is about what it could
// not end.
func newSandbox() (*sandbox.Sandbox, error) {
	return sandbox.New(sandbox.Config{
		Log:      slog.Default(),
		Guardian: []string{"/proc/self/exe", "workload", "guardian"},
	})
}
