package session

import (
	"context"
	"fmt"
	"strconv"

	"kernelviz/internal/sandbox"
	"kernelviz/internal/terminal"
)

// Bounds of terminals.
const (
	maxTerminals  = 4
	defaultCols   = 100
	defaultRows   = 28
	terminalTasks = 256
	terminalBytes = 1 << 30
)

// OpenTerminal returns terminal n of the session, 1 to 4, started if it does
// not run. It stays the session's; the caller does not close it.
func (s *Session) OpenTerminal(ctx context.Context, n, cols, rows int) (*terminal.Terminal, error) {
	switch {
	case !s.manager.options.Terminals:
		return nil, ErrTerminalOff
	case !s.lab.Terminal:
		return nil, fmt.Errorf("%w: lab %s has none", ErrTerminalOff, s.lab.ID)
	case n < 1 || n > maxTerminals:
		return nil, fmt.Errorf("%w: terminal %d of 1 to %d", ErrLimit, n, maxTerminals)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if t := s.terminals[n]; t != nil {
		return t.term, nil
	}
	s.started++
	u := s.manager.options.User
	t, err := terminal.Start(s.ctx, s.manager.options.Box, terminal.Options{
		Name:    fmt.Sprintf("%s-term-%d", s.name, s.started),
		Command: s.manager.options.Shell, Dir: s.dir, Env: s.shellEnv(), User: &u, Network: s.network,
		Limits: sandbox.Limits{Processes: terminalTasks, Memory: terminalBytes, CPU: 1, Files: 20_000},
		Cols:   cols, Rows: rows,
	})
	if err != nil {
		return nil, fmt.Errorf("starting terminal %d: %w", n, err)
	}
	sh := &shell{term: t}
	s.terminals[n] = sh
	s.loops.Go(func() { s.attendTerminal(n, sh) })
	s.tellLocked()
	return t, nil
}

// attendTerminal looks at facts when the terminal prints, and forgets it when
// its shell has ended.
func (s *Session) attendTerminal(n int, sh *shell) {
	f := sh.term.Attach(sh.term.End())
	defer f.Close()
	for {
		_, at, _, err := f.Next(s.ctx)
		if err != nil {
			break
		}
		f.Ack(at)
		s.nudge()
	}
	s.mu.Lock()
	if s.terminals[n] == sh {
		delete(s.terminals, n)
	}
	s.mu.Unlock()
	s.nudge()
	s.tell()
}

// shellEnv tells shells and scripts where things are. Held: s.mu.
func (s *Session) shellEnv() []string {
	env := []string{"KV_CODE_DIR=" + s.dir}
	for name, w := range s.works {
		env = append(env, "KV_"+upper(name)+"_PID="+strconv.Itoa(w.process.PID()))
	}
	if s.program.state == programRunning {
		env = append(env, "KV_PROGRAM_PID="+strconv.Itoa(s.program.process.PID()))
	}
	return env
}

func upper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// typeInto types text into a terminal, which is started if need be.
func (s *Session) typeInto(ctx context.Context, n int, text string) error {
	t, err := s.OpenTerminal(ctx, n, defaultCols, defaultRows)
	if err != nil {
		return err
	}
	if _, err := t.Write([]byte(text)); err != nil {
		return fmt.Errorf("typing into terminal %d: %w", n, err)
	}
	return nil
}

// TerminalInput is told of what the learner typed.
func (s *Session) TerminalInput() { s.acted() }
