package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kernelviz/internal/playground"
)

// States of the learner's program.
const (
	programNone     = "none"
	programBuilding = "building"
	programFailed   = "failed"
	programRunning  = "running"
	programEnded    = "ended"
)

// buildTimeout bounds compiling, whatever the sandbox does.
const buildTimeout = 90 * time.Second

// maxDraft bounds one draft, in bytes.
const maxDraft = 48 << 10

// Errors of code, where callers choose.
var (
	ErrFile = errors.New("no such file")
	ErrLong = errors.New("the text is too long")
	ErrBusy = errors.New("the compiler runs")
)

// program is what became of the learner's code. Guarded by Session.mu.
type program struct {
	run         int // raised with every build
	state       string
	process     *playground.Program // of the last run; nil before the first
	exit        int
	ended       string // how; empty while it runs
	diagnostics []playground.Diagnostic
	drafts      map[string]string // by file
	outMark     int64             // end of the output when the step was armed
	building    bool
}

// mark makes the output count from now.
func (p *program) mark() {
	if p.process != nil {
		p.outMark = p.process.OutputEnd()
	}
}

// since is the output since the mark.
func (p *program) since() string {
	if p.process == nil {
		return ""
	}
	data, _, _, _ := p.process.Output(p.outMark)
	return string(data)
}

// layOutCode reads the drafts and lays the code into the session's directory,
// where the terminal begins.
func (s *Session) layOutCode(ctx context.Context) error {
	s.program.state = programNone
	if s.lab.Code == nil {
		return nil
	}
	drafts, err := s.manager.options.Store.Drafts(ctx, s.learner, s.lab.ID)
	if err != nil {
		return fmt.Errorf("reading drafts: %w", err)
	}
	// A file that the lab no longer has is kept and not shown.
	maps.DeleteFunc(drafts, func(name, _ string) bool { return !slices.Contains(s.lab.Code.Files, name) })
	s.program.drafts = drafts
	for name, text := range s.files() {
		if err := s.layOut(name, text); err != nil {
			return fmt.Errorf("laying out %s: %w", name, err)
		}
	}
	return nil
}

// layOut writes one file, whose name is one of the lab's. The directory belongs
// to the learner, who may have put anything in its place: it is made anew and
// no link is followed.
func (s *Session) layOut(name, text string) error {
	s.laying.Lock()
	defer s.laying.Unlock()
	path := filepath.Join(s.dir, name)
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if u := s.manager.options.User; err == nil && os.Geteuid() == 0 {
		err = f.Chown(u.UID, u.GID)
	}
	return errors.Join(err, f.Close())
}

// files are the drafts, and the starter where there is none.
func (s *Session) files() map[string]string {
	files := maps.Clone(s.lab.Code.Starter)
	maps.Copy(files, s.program.drafts)
	return files
}

// Drafts are the texts that the learner changed, by file.
func (s *Session) Drafts() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.program.drafts)
}

// Draft keeps what the learner wrote. Text equal to the starter is no draft.
func (s *Session) Draft(ctx context.Context, file, text string) error {
	if err := s.hasCode(); err != nil {
		return err
	}
	if !slices.Contains(s.lab.Code.Files, file) {
		return fmt.Errorf("%w %.60q in lab %s; it has %s", ErrFile, file, s.lab.ID, strings.Join(s.lab.Code.Files, ", "))
	}
	if len(text) > maxDraft {
		return fmt.Errorf("%w: %s has %d bytes, at most %d are kept", ErrLong, file, len(text), maxDraft)
	}
	s.mu.Lock()
	s.program.drafts[file] = text
	s.mu.Unlock()
	if err := s.layOut(file, text); err != nil {
		s.warn("laying out "+file, err)
	}
	if err := s.manager.options.Store.SaveDraft(ctx, s.learner, s.lab.ID, file, text); err != nil {
		return fmt.Errorf("keeping the draft of %s: %w", file, err)
	}
	return nil
}

func (s *Session) hasCode() error {
	switch {
	case s.lab.Code == nil:
		return fmt.Errorf("%w: lab %s has no code", ErrCodeOff, s.lab.ID)
	case s.manager.options.Playground == nil:
		return ErrCodeOff
	}
	return nil
}

// Build compiles what the learner wrote and, if asked to, runs it. It returns
// when it is compiled: errors of the compiler are diagnostics, not an error.
func (s *Session) Build(ctx context.Context, run bool) error {
	s.acted()
	s.mu.Lock()
	var files map[string]string
	if s.lab.Code != nil {
		files = s.files()
	}
	s.mu.Unlock()
	return s.buildFiles(ctx, files, run)
}

// buildSolution is Build of the starter with the solution over it.
func (s *Session) buildSolution(ctx context.Context) error {
	if s.lab.Code == nil {
		return ErrCodeOff
	}
	files := maps.Clone(s.lab.Code.Starter)
	maps.Copy(files, s.lab.Code.Solution)
	return s.buildFiles(ctx, files, true)
}

func (s *Session) buildFiles(ctx context.Context, files map[string]string, run bool) error {
	if err := s.hasCode(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed || s.program.building {
		s.mu.Unlock()
		return ErrBusy
	}
	s.program.building = true
	s.mu.Unlock()
	err := s.build(ctx, files, run)
	s.mu.Lock()
	s.program.building = false
	if s.program.state == programBuilding { // it failed, or was not to run
		s.program.state = programNone
		if err != nil {
			s.program.state = programFailed
		}
	}
	s.mu.Unlock()
	s.nudge()
	s.tell()
	return err
}

func (s *Session) build(ctx context.Context, files map[string]string, run bool) error {
	if err := s.Kill("a newer version is built"); err != nil {
		return err
	}
	s.mu.Lock()
	p := &s.program
	p.run++
	p.state, p.ended, p.diagnostics = programBuilding, "", nil
	name := fmt.Sprintf("%s-code-%d", s.name, p.run)
	s.mu.Unlock()
	s.tell()

	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	c := s.lab.Code
	binary, found, err := s.manager.options.Playground.Build(ctx, playground.Project{
		Name: name, Language: c.Language, Files: files, Flags: c.Flags, Args: c.Args, Seconds: c.Seconds,
	})
	s.mu.Lock()
	p.diagnostics = found
	if err == nil && binary == nil {
		p.state = programFailed
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("compiling: %w", err)
	}
	if binary == nil || !run {
		return nil
	}
	process, err := binary.Start(s.ctx, s.networkOf())
	if err != nil {
		return fmt.Errorf("starting the program: %w", err)
	}
	s.mu.Lock()
	p.process, p.state, p.outMark = process, programRunning, 0
	s.mu.Unlock()
	s.loops.Go(func() { s.attend(process) })
	return nil
}

// attend tells of the program's output and end.
func (s *Session) attend(process *playground.Program) {
	at := int64(0)
	for {
		_, _, _, changed := process.Output(at)
		at = process.OutputEnd()
		s.nudge()
		s.tell()
		select {
		case <-changed:
			if !s.pause(20 * time.Millisecond) {
				return
			}
		case <-process.Done():
			s.programEnded(process)
			return
		}
	}
}

func (s *Session) programEnded(process *playground.Program) {
	end, _ := process.End()
	s.mu.Lock()
	if s.program.process == process && s.program.state == programRunning {
		s.program.state, s.program.exit, s.program.ended = programEnded, end.Code, process.Ended()
	}
	s.mu.Unlock()
	s.nudge()
	s.tell()
}

// Kill ends the program, if one runs.
func (s *Session) Kill(reason string) error {
	s.mu.Lock()
	process := s.program.process
	s.mu.Unlock()
	if process == nil {
		return nil
	}
	if err := process.Kill(reason); err != nil {
		return fmt.Errorf("stopping the program: %w", err)
	}
	return nil
}

// programPIDs are the processes of the program that runs.
func (s *Session) programPIDs() []int {
	s.mu.Lock()
	process, running := s.program.process, s.program.state == programRunning
	s.mu.Unlock()
	if !running {
		return nil
	}
	pids, err := process.PIDs()
	if err != nil {
		return nil // it has ended
	}
	return pids
}

// Output is what the program of a run wrote, from a byte on: where the data
// begins and how many bytes before it were thrown away. run is the newest.
func (s *Session) Output(from int64) (run int, data []byte, at, lost int64) {
	s.mu.Lock()
	run, process := s.program.run, s.program.process
	building := s.program.state == programBuilding || s.program.state == programFailed
	s.mu.Unlock()
	if process == nil || building {
		return run, nil, 0, 0
	}
	data, at, lost, _ = process.Output(from)
	return run, data, at, lost
}
