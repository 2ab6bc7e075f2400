package sandbox

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one child with all that it spawns. Its methods may be called
// concurrently.
type Process struct {
	name   string
	cmd    *exec.Cmd
	cell   cell
	limits Limits
	log    *slog.Logger
	done   chan struct{} // closed when nothing of it is left

	mu     sync.Mutex
	killed string // why we killed it; empty if we did not
	end    End    // valid once done is closed
}

// End tells how a child ended.
type End struct {
	Code   int    // exit status; -1 if a signal ended it
	Signal string // "SIGKILL"; empty if it exited
	Reason string // for people: "exit status 2", "killed: deadline of 2s passed"
}

// PID is the process id of the first process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// maxPIDs bounds what PIDs returns.
const maxPIDs = 8192

// PIDs returns the process ids of the child and of all that it spawned, in
// order, at most 8192 of them; none once it has ended.
func (p *Process) PIDs() ([]int, error) {
	select {
	case <-p.done:
		return nil, nil
	default:
	}
	pids, err := p.cell.pids(maxPIDs)
	if err != nil {
		return nil, fmt.Errorf("listing the processes of sandbox %s: %w", p.name, err)
	}
	slices.Sort(pids)
	return pids, nil
}

// Name is the name it was started with.
func (p *Process) Name() string { return p.name }

// Done is closed when the child and all it spawned are gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait returns how the child ended, after all that it spawned is gone.
func (p *Process) Wait(ctx context.Context) (End, error) {
	select {
	case <-p.done:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.end, nil
	case <-ctx.Done():
		return End{}, ctx.Err()
	}
}

// Kill kills the child and all it spawned, as one, and returns when they are
// gone. The reason is kept for people ("stopped from the page"). Killing what
// has ended is no error.
func (p *Process) Kill(reason string) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	p.blame(reason)
	if err := p.cell.kill(p.PID()); err != nil {
		return fmt.Errorf("killing sandbox %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(2 * emptyIn):
		return fmt.Errorf("sandbox %s did not end within %v of being killed", p.name, 2*emptyIn)
	}
}

// blame keeps the first reason.
func (p *Process) blame(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed == "" {
		p.killed = reason
	}
}

// watch lives as long as the child.
func (s *Sandbox) watch(ctx context.Context, p *Process, deadline time.Duration) {
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		waitExit(p.PID())
	}()
	var late <-chan time.Time
	if deadline > 0 {
		timer := time.NewTimer(deadline)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-exited:
	case <-late:
		p.blame(fmt.Sprintf("deadline of %v passed", deadline))
	case <-ctx.Done():
		p.blame("cancelled: " + context.Cause(ctx).Error())
	}
	if err := p.cell.kill(p.PID()); err != nil {
		s.log.Error("killing sandbox", "name", p.name, "error", err)
		_ = p.cmd.Process.Kill()
	}
	<-exited
	// The first process is a zombie still, so its pid and group are its own.
	oom := p.cell.ended()
	if err := p.cell.remove(p.PID()); err != nil {
		s.log.Error("removing sandbox", "name", p.name, "error", err)
	}
	p.finish(oom)
	s.release(p)
	close(p.done)
}

// waitExit returns when the process has ended, and leaves it to be reaped.
func waitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}

func (p *Process) finish(oom string) {
	err := p.cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	state := p.cmd.ProcessState
	if state == nil {
		p.end = End{Code: -1, Reason: fmt.Sprintf("ended unseen: %v", err)}
		return
	}
	p.end = End{Code: state.ExitCode(), Reason: state.String()}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		p.end.Signal = unix.SignalName(status.Signal())
		p.end.Reason = "killed by " + p.end.Signal
		if why := p.limits.explain(status.Signal()); why != "" {
			p.end.Reason += ": " + why
		}
	}
	switch {
	case p.killed != "":
		p.end.Reason = "killed: " + p.killed
	case oom != "":
		p.end.Reason = oom
	}
}
