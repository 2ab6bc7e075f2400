// Package playground compiles and runs what a learner writes, in C or Go. The
// compiler and the program run in the sandbox as the learner: what the learner
// may not read, #include cannot read either, and no check of names or text
// stands in for that.
package playground

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"kernelviz/internal/sandbox"
)

// Options are what New needs.
type Options struct {
	Log *slog.Logger
	Box *sandbox.Sandbox
	// User is whom compilers and programs run as; nil is the server's own user.
	User *sandbox.User
	// Dir is made for everything that is written. All directories above it must
	// let the user pass through.
	Dir string
}

// Playground compiles programs. Its methods may be called concurrently.
type Playground struct {
	log  *slog.Logger
	box  *sandbox.Sandbox
	user *sandbox.User
	// dir is ours and not the learner's, who could otherwise put a link in the
	// place of a directory that we are about to write to. What is in it is the
	// learner's from the moment it is complete.
	dir  string
	root *os.Root // dir
	now  func() time.Time
	// nowhere is a network namespace for compilers; nil where none can be made.
	nowhere *sandbox.Network

	mu     sync.Mutex
	serial int       // of the last build or run
	builds []*Binary // oldest first
	closed bool
}

// ErrClosed is what a closed playground answers.
var ErrClosed = errors.New("the playground is closed")

// ToolError says that a program is not installed.
type ToolError struct {
	Tool string // gcc
	Fix  string // the command that gives it
}

func (e *ToolError) Error() string {
	return fmt.Sprintf("%s is not installed (it is not in PATH): %s", e.Tool, e.Fix)
}

// New makes the directory. The caller closes the playground before the sandbox.
func New(o Options) (*Playground, error) {
	mode := fs.FileMode(0o700)
	if o.User != nil && o.User.UID != os.Geteuid() {
		mode = 0o711 // the user passes through, to directories with names of ours
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, mode); err != nil {
		return nil, fmt.Errorf("making a directory for programs: %w", err)
	}
	p := &Playground{log: o.Log, box: o.Box, user: o.User, dir: dir, now: time.Now}
	if err := p.furnish(); err != nil {
		return nil, errors.Join(fmt.Errorf("preparing %s: %w", dir, err), p.Close())
	}
	p.nowhere, err = sandbox.NewNetwork()
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, errors.Join(fmt.Errorf("a network namespace for compilers: %w", err), p.Close())
	}
	if err != nil {
		p.log.Info("compilers run in the server's network", "reason", err)
	}
	return p, nil
}

// goCache is the directory of what Go has compiled before.
const goCache = "go-cache"

func (p *Playground) furnish() (err error) {
	if p.root, err = os.OpenRoot(p.dir); err != nil {
		return err
	}
	if err := p.root.Mkdir(goCache, 0o700); err != nil {
		return err
	}
	return p.give(p.root, goCache)
}

// give makes a file or directory of ours the user's. It is opened first: a name
// may have changed its meaning, an open file has not.
func (p *Playground) give(at *os.Root, name string) error {
	if p.user == nil || p.user.UID == os.Geteuid() {
		return nil
	}
	f, err := at.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Chown(p.user.UID, p.user.GID)
}

// Close removes everything that was written. Programs that still run are
// killed.
func (p *Playground) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	builds := p.builds
	p.builds = nil
	p.mu.Unlock()
	var errs []error
	for _, b := range builds {
		for _, r := range b.running() {
			errs = append(errs, r.Kill("the server stopped"))
		}
	}
	if p.nowhere != nil {
		errs = append(errs, p.nowhere.Close())
	}
	if p.root != nil {
		errs = append(errs, p.root.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(p.dir))...)
}

// next gives a name, unique among the directories and sandboxes of this
// playground.
func (p *Playground) next(name, what string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return "", ErrClosed
	}
	p.serial++
	return name + "-" + what + strconv.Itoa(p.serial), nil
}

// maxBuilds is how many builds are kept. One is run when it is made, or never.
const maxBuilds = 32

// keep remembers a build and removes the oldest that nobody runs.
func (p *Playground) keep(b *Binary) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	p.builds = append(p.builds, b)
	for i := 0; len(p.builds) > maxBuilds && i < len(p.builds)-1; {
		if len(p.builds[i].running()) > 0 {
			i++
			continue
		}
		p.discard(p.builds[i].name)
		p.builds = append(p.builds[:i], p.builds[i+1:]...)
	}
	return nil
}

// discard removes a build's directory.
func (p *Playground) discard(name string) {
	if err := p.root.RemoveAll(name); err != nil {
		p.log.Warn("removing a program", "directory", name, "error", err)
	}
}

// environment is that of compilers and programs. dir is the build's directory.
func environment(dir string, more ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + filepath.Join(dir, tmpDir), "LC_ALL=C.UTF-8",
	}, more...)
}

// cause is why a context ended, nil if it has not.
func cause(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}
