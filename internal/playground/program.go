package playground

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/sandbox"
)

// Bounds of a program and all that it starts.
const (
	maxTasks  = 64 // processes; threads count
	maxMemory = 512 << 20
	maxOpen   = 20_000
	maxGrown  = 64 << 20 // bytes of a file that it writes
)

// Program is a learner's program that was started. Its methods may be called
// concurrently.
type Program struct {
	box      *sandbox.Process
	output   *output
	deadline time.Duration
	done     chan struct{} // closed when it is gone and all that it wrote is read
}

// Start runs the program in a sandbox of its own. ctx bounds its life; network
// is where it lives, nil the server's own.
func (b *Binary) Start(ctx context.Context, network *sandbox.Network) (*Program, error) {
	p := b.playground
	name, err := p.next(b.project.Name, "r")
	if err != nil {
		return nil, err
	}
	open, err := openLimit()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("a pipe for the output of %s: %w", b.project.Name, err)
	}
	limits := sandbox.Limits{Processes: maxTasks, Memory: maxMemory, CPU: 1, Files: open, FileSize: maxGrown}
	cmd := p.bounded(limits, filepath.Join(b.dir, programFile), b.project.Args...)
	cmd.Dir = filepath.Join(b.dir, sourceDir)
	cmd.Env = environment(b.dir)
	cmd.Stdout, cmd.Stderr = w, w
	run := &Program{output: newOutput(), deadline: b.project.deadline(), done: make(chan struct{})}
	if err = p.own(w); err == nil { // for programs that open /dev/stdout
		run.box, err = p.box.Start(ctx, cmd, sandbox.Options{
			Name: name, Deadline: run.deadline, Network: network, User: p.user, Limits: limits,
		})
	}
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	b.add(run)
	go endRead(r, run.box.Done())
	go func() {
		defer r.Close()
		run.output.fill(r, p.now)
		<-run.box.Done()
		b.remove(run)
		close(run.done)
	}()
	return run, nil
}

// openLimit is the number of files that a program may open: no more than this
// process may, whatever root could raise it to.
func openLimit() (uint64, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("reading RLIMIT_NOFILE: %w", err)
	}
	return min(maxOpen, l.Max), nil
}

func (p *Playground) own(f *os.File) error {
	if p.user == nil || p.user.UID == os.Geteuid() {
		return nil
	}
	return f.Chown(p.user.UID, p.user.GID)
}

func (b *Binary) add(run *Program) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.programs = append(b.programs, run)
}

func (b *Binary) remove(run *Program) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.programs = slices.DeleteFunc(b.programs, func(r *Program) bool { return r == run })
}

func (b *Binary) running() []*Program {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.programs)
}

// PID is the process id of the program's first process.
func (r *Program) PID() int { return r.box.PID() }

// PIDs are the process ids of the program and all that it started.
func (r *Program) PIDs() ([]int, error) { return r.box.PIDs() }

// Done is closed when the program is gone and all that it wrote is there.
func (r *Program) Done() <-chan struct{} { return r.done }

// End is how the program ended; false while it runs.
func (r *Program) End() (sandbox.End, bool) {
	select {
	case <-r.done:
	default:
		return sandbox.End{}, false
	}
	end, err := r.box.Wait(context.Background())
	return end, err == nil
}

// Ended says in words how it ended; empty while it runs.
func (r *Program) Ended() string {
	end, ok := r.End()
	if !ok {
		return ""
	}
	if end.Reason == fmt.Sprintf("killed: deadline of %v passed", r.deadline) {
		// A minute is what the page calls 60 s.
		return fmt.Sprintf("killed: deadline of %ds passed", int(r.deadline.Seconds()))
	}
	return end.Reason
}

// Kill ends the program and all that it started, and returns when it is gone
// and its output complete. To kill what has ended is no error.
func (r *Program) Kill(reason string) error {
	if err := r.box.Kill(reason); err != nil {
		return err
	}
	<-r.done
	return nil
}

// Output is what the program wrote, standard error among it, from a byte on:
// where the data begins and how many bytes before it are no longer kept. changed
// is closed when more comes or the program ends; it is nil when nothing can come
// any more.
func (r *Program) Output(from int64) (data []byte, at, lost int64, changed <-chan struct{}) {
	return r.output.read(from)
}

// OutputEnd is how many bytes it wrote so far.
func (r *Program) OutputEnd() int64 { return r.output.length() }
