package experiment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"kernelviz/internal/sandbox"
	"kernelviz/internal/workload/control"
	"kernelviz/internal/workload/trial"
)

// maxLine bounds a line of a trial's process, and maxTail what is kept of what
// it writes to standard error, in bytes.
const (
	maxLine = 1 << 20
	maxTail = 2048
)

// process is one role of a trial.
type process struct {
	role  Role
	box   *sandbox.Process
	in    *os.File
	said  chan said // what it says, in order; closed when it says no more
	done  sync.WaitGroup
	tail  tail
	pipes []*os.File // that it writes to

	mu    sync.Mutex
	count Count // nil unless its system calls are counted

	// What it had used when it was told to go.
	cpu      time.Duration
	switches uint64
}

// said is one message of a process, or why there is none; with its report what
// it had used by then.
type said struct {
	trial.Message
	err      error
	cpu      time.Duration
	switches uint64
	syscalls map[string]uint64
	runner   time.Duration // what this process itself had used by then
}

// startProcess starts one in a cell of its own and tells it what to do.
func startProcess(ctx context.Context, box *sandbox.Sandbox, command []string, name string, role Role, network *sandbox.Network, limit time.Duration) (*process, error) {
	cmd := exec.Command(command[0], command[1:]...)
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, inR.Close(), inW.Close())
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, inR.Close(), inW.Close(), outR.Close(), outW.Close())
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, errW
	p := &process{role: role, in: inW, said: make(chan said, 4), pipes: []*os.File{outR, errR}}
	p.box, err = box.Start(ctx, cmd, sandbox.Options{Name: name, Deadline: limit, Network: network, Limits: limits()})
	err = errors.Join(err, inR.Close(), outW.Close(), errW.Close())
	if err != nil {
		return nil, errors.Join(err, inW.Close(), outR.Close(), errR.Close())
	}
	p.done.Go(func() {
		defer errR.Close()
		_, _ = io.Copy(&p.tail, errR)
	})
	p.done.Go(func() { p.listen(outR) })
	if err := p.send(role.Spec); err != nil {
		return nil, errors.Join(err, p.end(0))
	}
	return p, nil
}

// limits bound a process of a trial. Memory has none: the pages of files that
// it reads count as its own.
func limits() sandbox.Limits { return sandbox.Limits{Processes: 1024, Files: 20_000} }

func (p *process) send(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("telling %s: %w", p.role.Spec.Role, err)
	}
	return nil
}

// listen takes what the process says until it ends.
func (p *process) listen(out *os.File) {
	defer out.Close()
	defer close(p.said)
	lines := control.NewLines(out, maxLine)
	for {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		s := said{err: err}
		if err == nil {
			s.err = control.Decode(line, &s.Message)
		}
		if s.err == nil && s.Report != nil {
			s.runner = ownCPU() // what follows costs a trial nothing that is over
			s.err = p.used(&s)
		}
		select {
		case p.said <- s:
		default:
			// Nobody waits for so much: it says what it was not asked for.
			_ = p.box.Kill("it said more than it was asked for")
			return
		}
		if err != nil {
			return
		}
	}
}

// begin notes what it has used so far.
func (p *process) begin() error {
	var s said
	if err := p.used(&s); err != nil {
		return err
	}
	p.cpu, p.switches = s.cpu, s.switches
	return nil
}

// counting makes count that of the process, which closes it.
func (p *process) counting(c Count) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count = c
}

// used reads what the process has used since it was started.
func (p *process) used(s *said) error {
	p.mu.Lock()
	count := p.count
	p.mu.Unlock()
	if count != nil {
		calls, _, err := count.Read()
		if err != nil {
			return fmt.Errorf("counting the system calls of %s: %w", p.role.Spec.Role, err)
		}
		s.syscalls = calls
	}
	t, err := p.box.CPUTime()
	if err != nil {
		return err
	}
	s.cpu = t.Used
	pids, err := p.box.PIDs()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		s.switches += switches(pid)
	}
	return nil
}

// switches are the voluntary context switches of the threads of a process.
func switches(pid int) uint64 {
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/status")
	if err != nil {
		return 0
	}
	total := uint64(0)
	for _, status := range tasks {
		n, _ := strconv.ParseUint(field(status, "voluntary_ctxt_switches", ":"), 10, 64)
		total += n
	}
	return total
}

// hear waits for the next message.
func (p *process) hear(ctx context.Context) (said, error) {
	select {
	case s, ok := <-p.said:
		if ok && s.err == nil && s.Error != "" {
			return s, fmt.Errorf("%s failed: %s", p.role.Spec.Role, s.Error)
		}
		if ok && s.err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return said{}, context.Cause(ctx)
		}
		if ok {
			return said{}, fmt.Errorf("%s said what cannot be understood: %w%s", p.role.Spec.Role, s.err, p.words())
		}
		return said{}, p.ended(ctx)
	case <-ctx.Done():
		return said{}, context.Cause(ctx)
	}
}

// ended tells how it ended before it was done.
func (p *process) ended(ctx context.Context) error {
	end, err := p.box.Wait(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%s ended before it had reported: %s%s", p.role.Spec.Role, end.Reason, p.words())
}

// words is what it wrote to standard error.
func (p *process) words() string {
	if t := p.tail.String(); t != "" {
		return "; it wrote: " + t
	}
	return ""
}

// end closes the process's input, gives it a while to put things away, and
// kills what is left.
func (p *process) end(patience time.Duration) error {
	err := p.in.Close()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.box.Done():
	case <-timer.C:
		err = errors.Join(err, p.box.Kill("the trial is over"))
	}
	for _, f := range p.pipes {
		// What escaped from the sandbox, where there are no cgroups, may hold
		// the other end.
		_ = f.SetReadDeadline(time.Now().Add(time.Second))
	}
	p.done.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count != nil {
		p.count.Close()
	}
	return err
}

// tail keeps the end of a stream.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - maxTail; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(bytes.TrimSpace(t.buf)), "�")
}
