package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// spawn starts the first process of p's cell. It is held by ptrace at its
// exec until limits and network are in place, so that not one instruction of
// it runs without them.
func (s *Sandbox) spawn(p *Process, opts Options) error {
	cell, err := s.pen.open(opts.Name, opts.Limits)
	if err != nil {
		return err
	}
	p.cell = cell
	inherited := p.cmd.Env == nil
	env := slices.Clone(p.cmd.Env)
	if inherited {
		env = os.Environ()
	}
	p.cmd.Env = append(opts.User.env(env, inherited), cell.env()...)
	s.thread.do(func() {
		err = s.thread.in(opts.Network, func() error { return s.startHeld(p, opts) })
	})
	if err == nil {
		return nil
	}
	if p.cmd.Process != nil {
		_ = p.cmd.Process.Kill()
		_, _ = p.cmd.Process.Wait()
	}
	return errors.Join(err, cell.remove(0))
}

// startHeld runs on the sandbox's thread.
func (s *Sandbox) startHeld(p *Process, opts Options) error {
	attr := syscall.SysProcAttr{}
	if p.cmd.SysProcAttr != nil {
		attr = *p.cmd.SysProcAttr
	}
	attr.Pdeathsig = syscall.SIGKILL
	attr.Ptrace = true
	if opts.NetNS {
		attr.Cloneflags |= unix.CLONE_NEWNET
	}
	if c := opts.User.credential(); c != nil {
		attr.Credential = c
	}
	p.cell.attr(&attr)
	p.cmd.SysProcAttr = &attr

	err := p.cmd.Start()
	held := err == nil
	if errors.Is(err, unix.EPERM) {
		// This process is traced itself, or a filter forbids ptrace: the limits
		// are then set some microseconds after the start.
		attr.Ptrace = false
		p.cmd = again(p.cmd)
		err = p.cmd.Start()
	}
	if errors.Is(err, unix.EPERM) && opts.NetNS {
		return fmt.Errorf("%w: a network namespace of its own needs CAP_SYS_ADMIN; run as root", err)
	}
	if err != nil {
		return err
	}
	if held {
		if err := awaitExec(p.cmd); err != nil {
			return err
		}
	}
	if err := s.prepare(p.cmd.Process.Pid, opts); err != nil {
		return err
	}
	if held {
		if err := syscall.PtraceDetach(p.cmd.Process.Pid); err != nil {
			return fmt.Errorf("letting the child run: %w", err)
		}
	}
	return nil
}

// again returns a command like one whose start failed: an exec.Cmd can be
// started once.
func again(c *exec.Cmd) *exec.Cmd {
	return &exec.Cmd{
		Path: c.Path, Args: c.Args, Env: c.Env, Dir: c.Dir, SysProcAttr: c.SysProcAttr,
		Stdin: c.Stdin, Stdout: c.Stdout, Stderr: c.Stderr, ExtraFiles: c.ExtraFiles,
	}
}

// awaitExec waits for the stop that PTRACE_TRACEME makes of execve (ptrace(2)).
func awaitExec(cmd *exec.Cmd) error {
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(cmd.Process.Pid, &status, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for the child's exec: %w", err)
		}
		if !status.Stopped() {
			return fmt.Errorf("child ended before it began (status %#x)", status)
		}
		return nil
	}
}

func (s *Sandbox) prepare(pid int, opts Options) error {
	byRlimit := true
	for _, l := range s.limits {
		if l.Name == "memory" {
			byRlimit = l.By == "RLIMIT_DATA"
		}
	}
	if err := opts.Limits.setRlimits(pid, byRlimit); err != nil {
		return err
	}
	if !opts.NetNS {
		return nil
	}
	return raiseLoopbackOf(pid)
}
