package workload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"kernelviz/internal/sandbox"
	"kernelviz/internal/workload/control"
	"kernelviz/internal/workload/puppet"
)

// What the server forwards between page and workload (docs/protocol.md).
type (
	Action = puppet.Action
	Result = puppet.Result
	State  = puppet.State
	Call   = control.Call
	Error  = control.Error
)

// ErrEnded is wrapped where a workload cannot answer because it is gone.
var ErrEnded = errors.New("workload has ended")

// Options say how a workload is started.
type Options struct {
	// ID names its sandbox, unique among those that run: "puppet-1".
	ID string
	// Deadline is when it is killed, counted from its start; 0 is never.
	Deadline time.Duration
	// Network is the network namespace that it lives in; nil is the server's.
	Network *sandbox.Network
	// Command is what is executed with the name of the workload added; nil is
	// this binary with "workload".
	Command []string
}

// Process is a running workload. Its methods may be called concurrently.
type Process struct {
	name string
	box  *sandbox.Process
	log  *Log
	in   *os.File      // its standard input
	turn chan struct{} // holds one token: requests are answered one by one
	tail *tail         // the end of what it wrote to standard error
	done chan struct{} // closed when it is gone and all that it wrote is read

	mu      sync.Mutex
	nextID  uint64
	waiting map[uint64]chan control.Message // by request
	broken  error                           // why its output could not be understood
}

// Start starts the workload of that name in a sandbox of its own. ctx bounds
// its life.
func Start(ctx context.Context, box *sandbox.Sandbox, name string, opts Options) (*Process, error) {
	k, err := find(name)
	if err != nil {
		return nil, err
	}
	command := opts.Command
	if command == nil {
		command = []string{"/proc/self/exe", "workload"}
	}
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], name)...)
	pipes, err := connect(cmd)
	if err != nil {
		return nil, fmt.Errorf("making pipes for workload %s: %w", name, err)
	}
	p := &Process{
		name: name, log: newLog(), in: pipes.in, tail: &tail{},
		turn: make(chan struct{}, 1), done: make(chan struct{}), waiting: map[uint64]chan control.Message{},
	}
	p.box, err = box.Start(ctx, cmd, sandbox.Options{
		Name: opts.ID, Deadline: opts.Deadline, Network: opts.Network, Limits: k.limits,
	})
	pipes.closeChild()
	if err != nil {
		pipes.closeParent()
		return nil, fmt.Errorf("starting workload %s: %w", name, err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { p.listen(pipes.out) })
	reading.Go(func() { p.keepTail(pipes.err) })
	go func() {
		<-p.box.Done()
		reading.Wait()
		close(p.done)
	}()
	return p, nil
}

// Name is the name of the workload, "puppet".
func (p *Process) Name() string { return p.name }

// PID is its process id.
func (p *Process) PID() int { return p.box.PID() }

// Log holds its latest system calls.
func (p *Process) Log() *Log { return p.log }

// Done is closed when it and all it started are gone and its last calls are in
// the Log.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended tells for people how it ended; empty while it runs.
func (p *Process) Ended() string {
	select {
	case <-p.done:
	default:
		return ""
	}
	end, err := p.box.Wait(context.Background())
	if err != nil {
		return err.Error()
	}
	parts := []string{end.Reason}
	if said := p.tail.String(); said != "" {
		parts = append(parts, said)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != nil {
		parts = append(parts, p.broken.Error())
	}
	return strings.Join(parts, "; ")
}

// Stop kills the workload and all that it started.
func (p *Process) Stop() error { return p.box.Kill("stopped") }

// Do carries out one action and returns its result, both in the workload's own
// JSON shape. A refusal is an *Error; where the workload is gone the error
// wraps ErrEnded. If ctx ends first, the action may still be carried out.
func (p *Process) Do(ctx context.Context, action json.RawMessage) (json.RawMessage, error) {
	return p.ask(ctx, control.Request{Do: action})
}

// State returns what the workload knows by having done it.
func (p *Process) State(ctx context.Context) (json.RawMessage, error) {
	return p.ask(ctx, control.Request{State: true})
}

// Act is Do of a puppet, with its types.
func (p *Process) Act(ctx context.Context, a Action) (Result, error) {
	data, err := json.Marshal(a)
	if err != nil {
		return Result{}, err
	}
	answer, err := p.Do(ctx, data)
	if err != nil {
		return Result{}, err
	}
	var r Result
	return r, control.Decode(answer, &r)
}

// Knows is State of a puppet, with its type.
func (p *Process) Knows(ctx context.Context) (State, error) {
	answer, err := p.State(ctx)
	if err != nil {
		return State{}, err
	}
	var s State
	return s, control.Decode(answer, &s)
}

// ask sends one request and waits for its answer. The workload takes one at a
// time, so that a slow action cannot fill the pipe.
func (p *Process) ask(ctx context.Context, req control.Request) (json.RawMessage, error) {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.Done():
		return nil, p.errEnded()
	}
	answer := p.expect(&req)
	line, err := json.Marshal(req)
	if err == nil && len(line) > control.MaxRequest {
		err = control.Errorf("too_long", "the action has %d bytes, at most %d are taken", len(line), control.MaxRequest)
	}
	if err != nil {
		p.forget(req.ID)
		<-p.turn
		return nil, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		p.forget(req.ID)
		<-p.turn
		return nil, fmt.Errorf("%w: %w", p.errEnded(), err)
	}
	got := make(chan control.Message, 1)
	go func() {
		// The turn passes on when the answer is here, even if nobody waits.
		defer func() { <-p.turn }()
		select {
		case m := <-answer:
			got <- m
		case <-p.Done():
			p.forget(req.ID)
		}
	}()
	select {
	case m := <-got:
		if m.Error != nil {
			return nil, m.Error
		}
		return m.Result, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.Done():
		return nil, p.errEnded()
	}
}

func (p *Process) errEnded() error {
	if why := p.Ended(); why != "" {
		return fmt.Errorf("%w (%s): %s", ErrEnded, p.name, why)
	}
	return fmt.Errorf("%w (%s)", ErrEnded, p.name)
}

func (p *Process) expect(req *control.Request) <-chan control.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nextID++
	req.ID = p.nextID
	answer := make(chan control.Message, 1)
	p.waiting[req.ID] = answer
	return answer
}

func (p *Process) forget(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, id)
}

// listen takes the workload's messages until its output ends. What cannot be
// understood ends the workload.
func (p *Process) listen(out *os.File) {
	defer out.Close()
	defer p.in.Close()
	lines := control.NewLines(out, control.MaxMessage)
	for {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil {
			err = p.take(line)
		}
		if err != nil {
			p.fail(fmt.Errorf("reading from workload %s: %w", p.name, err))
			return
		}
	}
}

func (p *Process) take(line []byte) error {
	var m control.Message
	if err := control.Decode(line, &m); err != nil {
		return err
	}
	if len(m.Calls) > 0 {
		p.log.add(m.Calls)
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if answer := p.waiting[m.ID]; answer != nil {
		delete(p.waiting, m.ID)
		answer <- m
	}
	return nil
}

func (p *Process) fail(err error) {
	p.mu.Lock()
	p.broken = err
	p.mu.Unlock()
	_ = p.box.Kill("its output could not be understood")
}
