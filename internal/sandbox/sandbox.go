// Package sandbox keeps what the server spawns together, bounded and mortal:
// every child lives in a cgroup of ours and dies with it, by Kill, by its
// deadline, with the server's Close, and also when the server is killed with
// SIGKILL. Where cgroups cannot be used the package falls back to process
// groups and a mark in the environment, and says so.
//
// Layout: CGROUP2/kernelviz/PID-STARTTIME/NAME, one directory per server and
// one cgroup per child.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"regexp"
	"sync"
	"time"
)

// Errors where callers choose.
var (
	ErrName   = errors.New("bad sandbox name")
	ErrExists = errors.New("sandbox of that name is running")
	ErrClosed = errors.New("sandbox is closed")
)

// Config is what New needs.
type Config struct {
	Log *slog.Logger
	// Guardian is the command that ends in Guard: the server's own binary with
	// "workload", "guardian". Empty means none: what Pdeathsig does not reach
	// then outlives a killed server until the next one sweeps.
	Guardian []string
	// Cgroup2 is where cgroup v2 is mounted; empty means to look it up in
	// /proc/self/mountinfo.
	Cgroup2 string
}

// Sandbox starts children and ends them. Its methods may be called
// concurrently.
type Sandbox struct {
	log      *slog.Logger
	id       identity
	pen      pen        // where children are kept together
	reason   string     // why that pen
	fix      string     // what would give a better one; empty if it is the best
	limits   []Limit    // what bounds a child here
	thread   *thread    // parent thread of every child: Pdeathsig is tied to it
	guardian *guardian  // nil if none was asked for
	mu       sync.Mutex // guards children and closed
	children map[string]*Process
	closed   bool
}

// New sweeps what dead servers left, makes this server's directory and starts
// the guardian. The caller closes the Sandbox.
func New(cfg Config) (*Sandbox, error) {
	id, err := self()
	if err != nil {
		return nil, fmt.Errorf("identifying this process: %w", err)
	}
	s := &Sandbox{log: cfg.Log, id: id, children: map[string]*Process{}}
	s.choosePen(cfg.Cgroup2)
	s.thread = startThread()
	if len(cfg.Guardian) > 0 {
		s.guardian, err = startGuardian(cfg.Guardian, s.pen.guardArgs(), cfg.Log)
		if err != nil {
			s.thread.stop()
			return nil, errors.Join(fmt.Errorf("starting guardian: %w", err), s.pen.remove())
		}
	}
	return s, nil
}

func (s *Sandbox) choosePen(mount string) {
	c, reason, fix := openCgroup(mount, s.id, s.log)
	s.reason, s.fix = reason, fix
	if c != nil {
		s.pen, s.limits = c, c.limits()
		return
	}
	m := &marked{id: s.id}
	m.sweep(s.log)
	s.pen, s.limits = m, rlimitsOnly("no cgroup v2")
}

// Options are the bounds of one child.
type Options struct {
	// Name is the child's cgroup, unique among running children: lower-case
	// letters, digits and hyphens.
	Name string
	// Deadline is when the child is killed, counted from its start; 0 is never.
	Deadline time.Duration
	// NetNS gives the child a network namespace of its own, with loopback up.
	// It needs CAP_SYS_ADMIN.
	NetNS bool
	// Network is the network namespace that the child is born in; several
	// children may share one. nil is the server's own.
	Network *Network
	// User is whom the child runs as, with HOME, USER, LOGNAME and SHELL where
	// the command's environment has none; nil is the server's own user.
	User   *User
	Limits Limits
}

var nameRE = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Start runs cmd in a cgroup of its own until it exits, is killed, its
// deadline passes or ctx ends. When the first process exits, all that it
// spawned is killed too. Standard streams of cmd should be files or nil;
// the caller must not call cmd.Wait or use cmd.StdoutPipe.
func (s *Sandbox) Start(ctx context.Context, cmd *exec.Cmd, opts Options) (*Process, error) {
	if !nameRE.MatchString(opts.Name) {
		return nil, fmt.Errorf("%w %q: want lower-case letters, digits and hyphens", ErrName, opts.Name)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if opts.NetNS && opts.Network != nil {
		return nil, fmt.Errorf("starting %s in sandbox %s: NetNS and Network exclude each other", cmd.Path, opts.Name)
	}
	if err := opts.User.check(); err != nil {
		return nil, fmt.Errorf("starting %s in sandbox %s: %w", cmd.Path, opts.Name, err)
	}
	p := &Process{name: opts.Name, cmd: cmd, limits: opts.Limits, done: make(chan struct{}), log: s.log}
	if err := s.reserve(p); err != nil {
		return nil, err
	}
	if err := s.spawn(p, opts); err != nil {
		s.release(p)
		return nil, fmt.Errorf("starting %s in sandbox %s: %w", cmd.Path, opts.Name, err)
	}
	go s.watch(ctx, p, opts.Deadline)
	return p, nil
}

func (s *Sandbox) reserve(p *Process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.children[p.name] != nil {
		return fmt.Errorf("%w: %s", ErrExists, p.name)
	}
	s.children[p.name] = p
	return nil
}

func (s *Sandbox) release(p *Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.children, p.name)
}

// Close kills every child, removes the server's directory and ends the
// guardian.
func (s *Sandbox) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	var running []*Process
	for _, p := range s.children {
		running = append(running, p)
	}
	s.mu.Unlock()

	var errs []error
	for _, p := range running {
		errs = append(errs, p.Kill("the server stopped"))
	}
	errs = append(errs, s.pen.remove())
	if s.guardian != nil {
		errs = append(errs, s.guardian.stop())
	}
	s.thread.stop()
	return errors.Join(errs...)
}

// waitFor polls done, which must become true by itself, for at most limit.
func waitFor(limit time.Duration, done func() bool) bool {
	end := time.Now().Add(limit)
	for wait := 100 * time.Microsecond; !done(); wait = min(2*wait, 10*time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(wait)
	}
	return true
}
