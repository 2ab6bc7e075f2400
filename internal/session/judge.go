package session

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"time"

	"kernelviz/internal/sandbox"
)

// Bounds of a shell check.
const (
	scriptEvery    = time.Second
	scriptDeadline = 10 * time.Second
	scriptSays     = 4 << 10 // bytes of its standard output that are kept
	scriptFailed   = 2       // status of a check that is broken
)

// judge is what the loop keeps between two looks.
type judge struct {
	terminals, program slow
	next               time.Time // of the shell check
	busy               bool      // a shell check runs; guarded by Session.mu
}

// judgeByScript runs the open step's shell check, if it has one, about once a
// second, beside the loop.
func (s *Session) judgeByScript() {
	s.mu.Lock()
	script, ok := s.run.Shell()
	if !ok || s.judge.busy || time.Now().Before(s.judge.next) || s.closed {
		s.mu.Unlock()
		return
	}
	s.judge.busy = true
	s.started++
	name := s.name + "-check-" + itoa(s.started)
	env := s.shellEnv()
	s.mu.Unlock()
	s.loops.Go(func() {
		code, said := s.runScript(name, script, env)
		s.mu.Lock()
		s.judge.busy, s.judge.next = false, time.Now().Add(scriptEvery)
		changed := s.run.Judged(script, code, said)
		s.mark()
		s.mu.Unlock()
		if changed {
			s.save()
		}
		s.tell()
	})
}

// runScript runs one check in the sandbox, as the learner.
func (s *Session) runScript(name, script string, env []string) (code int, said string) {
	out, err := os.CreateTemp(s.manager.options.Scratch, "check-")
	if err != nil {
		return scriptFailed, err.Error()
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd := exec.Command("/bin/sh", "-c", s.lab.Scripts[script])
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, out, out
	cmd.Env = append(os.Environ(), env...)
	u := s.manager.options.User
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	p, err := s.manager.options.Box.Start(ctx, cmd, sandbox.Options{
		Name: name, Deadline: scriptDeadline, User: &u, Network: s.networkOf(),
		Limits: sandbox.Limits{Processes: 64, Memory: 256 << 20, CPU: 1, FileSize: 1 << 20},
	})
	if err != nil {
		return scriptFailed, "the check could not be started: " + err.Error()
	}
	end, err := p.Wait(s.ctx)
	if err != nil {
		return scriptFailed, err.Error()
	}
	said = readHead(out)
	if end.Code < 0 {
		return scriptFailed, "the check " + end.Reason
	}
	return end.Code, said
}

func readHead(f *os.File) string {
	buf := make([]byte, scriptSays)
	n, _ := f.ReadAt(buf, 0)
	return strings.TrimSpace(string(bytes.ToValidUTF8(buf[:n], []byte("\uFFFD"))))
}
