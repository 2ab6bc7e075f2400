package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// peer is a child process that answers commands: one line on its standard
// input, one line on its standard output.
type peer struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	errs strings.Builder
	wait func() error // for its end; may be called more than once
}

// maxAnswer bounds an answer in bytes.
const maxAnswer = 1 << 20

// start runs a command as a peer. It dies with this process.
func start(ctx context.Context, name string, args ...string) (*peer, error) {
	return startIn(ctx, "", name, args...)
}

// startIn runs it in a directory; "" is this process's.
func startIn(ctx context.Context, dir, name string, args ...string) (*peer, error) {
	p := &peer{cmd: exec.CommandContext(ctx, name, args...)}
	p.cmd.Dir = dir
	p.wait = sync.OnceValue(p.cmd.Wait)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Stderr = &p.errs
	p.cmd.WaitDelay = 5 * time.Second
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewScanner(out)
	p.out.Buffer(nil, maxAnswer)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

// startSelf runs a mode of this program (child) as a peer.
func startSelf(ctx context.Context, mode string, args ...string) (*peer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(ctx, self, append([]string{"child", mode}, args...)...)
}

// ask sends a command and scans the answer into values.
func (p *peer) ask(command string, values ...any) error {
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		return fmt.Errorf("asking %s: %w", p.name(), errors.Join(err, p.died()))
	}
	return p.answer(values...)
}

// answer scans the next line into values.
func (p *peer) answer(values ...any) error {
	line, err := p.line()
	if err != nil {
		return err
	}
	if _, err := fmt.Sscan(line, values...); err != nil {
		return fmt.Errorf("answer %q of %s: %w", line, p.name(), err)
	}
	return nil
}

// line is the next line it says.
func (p *peer) line() (string, error) {
	if !p.out.Scan() {
		return "", fmt.Errorf("no answer from %s: %w", p.name(), errors.Join(p.out.Err(), p.died()))
	}
	return p.out.Text(), nil
}

// name is what it was started as; further arguments may hold a token.
func (p *peer) name() string {
	return strings.Join(append([]string{filepath.Base(p.cmd.Path)}, p.cmd.Args[1:min(len(p.cmd.Args), 3)]...), " ")
}

// died waits for the end and says how it came.
func (p *peer) died() error {
	err := p.wait()
	if said := strings.TrimSpace(p.errs.String()); said != "" {
		return fmt.Errorf("%w: %s", errors.Join(err, io.ErrUnexpectedEOF), said)
	}
	return errors.Join(err, io.ErrUnexpectedEOF)
}

// stopWithin is how long a peer has to end by itself.
const stopWithin = 3 * time.Second

// stop ends the peer: by itself when its input ends, or by force.
func (p *peer) stop() {
	_ = p.in.Close()
	kill := time.AfterFunc(stopWithin, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	_ = p.wait()
}
