package playground

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"kernelviz/internal/sandbox"
)

// Names in a build's directory.
const (
	sourceDir   = "src"
	tmpDir      = "tmp"
	programFile = "program"
)

// compilerLimits bound the compiler and all that it starts.
var compilerLimits = sandbox.Limits{Processes: 64, Memory: 1 << 30, FileSize: 256 << 20}

const (
	compileTime = 60 * time.Second
	maxSaid     = 256 << 10 // bytes of a compiler's output that are read
)

// Binary is a program that was compiled. It lives until 32 newer ones are
// there, or the playground is closed.
type Binary struct {
	playground *Playground
	project    Project
	name       string // of its directory
	dir        string

	mu       sync.Mutex
	programs []*Program // those that were started and may run
}

// Build compiles a project. What the compiler says are diagnostics and no
// error; if it finds an error there is no binary. A compiler that is missing is
// a *ToolError, a file that cannot be taken a *FileError.
func (p *Playground) Build(ctx context.Context, project Project) (*Binary, []Diagnostic, error) {
	if err := project.check(); err != nil {
		return nil, nil, err
	}
	name, err := p.next(project.Name, "b")
	if err != nil {
		return nil, nil, err
	}
	b := &Binary{playground: p, project: project, name: name, dir: filepath.Join(p.dir, name)}
	c, err := b.compiler()
	if err != nil {
		return nil, nil, err
	}
	found, err := b.build(ctx, c)
	if err == nil && !hasError(found) {
		err = p.keep(b)
	}
	if err != nil || hasError(found) {
		p.discard(name)
		return nil, found, err
	}
	return b, found, nil
}

func (b *Binary) compiler() (*compiler, error) {
	if b.project.Language == "go" {
		return goCompiler(&b.project, b.dir, filepath.Join(b.playground.dir, goCache))
	}
	return cCompiler(&b.project, b.dir)
}

func (b *Binary) build(ctx context.Context, c *compiler) ([]Diagnostic, error) {
	if err := b.layOut(c.extra); err != nil {
		return nil, fmt.Errorf("laying out the files of %s: %w", b.project.Name, err)
	}
	var all []Diagnostic
	for _, s := range c.steps {
		said, end, err := b.run(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("running %s: %w", c.name, err)
		}
		all = append(all, c.parse(said)...)
		if end.Code != 0 && !hasError(all) {
			all = append(all, unexplained(c.name, end, said))
		}
		if end.Code != 0 {
			break
		}
		if len(all) > 0 && c.name == "go" {
			all = nil // go build succeeded: these were remarks
		}
	}
	for i := range all {
		if all[i].File == "" { // the linker, or the compiler itself
			all[i].File = b.project.sources()[0]
		}
	}
	return all[:min(len(all), maxDiagnostics)], nil
}

// unexplained is a failure without a line that says error.
func unexplained(tool string, end sandbox.End, said string) Diagnostic {
	text := tool + " failed: " + end.Reason
	if said = strings.TrimSpace(said); said != "" {
		text += "\n" + said[max(0, len(said)-maxText/2):]
	}
	return Diagnostic{Severity: "error", Text: clip(text)}
}

// layOut writes the files. The directory is the learner's only when all is
// written.
func (b *Binary) layOut(extra map[string]string) error {
	p := b.playground
	if err := p.root.Mkdir(b.name, 0o700); err != nil {
		return err
	}
	root, err := p.root.OpenRoot(b.name)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, dir := range []string{sourceDir, tmpDir} {
		if err := root.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	for _, files := range []map[string]string{b.project.Files, extra} {
		for name, text := range files {
			path := filepath.Join(sourceDir, name)
			if err := root.WriteFile(path, []byte(text), 0o600); err != nil {
				return err
			}
			if err := p.give(root, path); err != nil {
				return err
			}
		}
	}
	for _, dir := range []string{sourceDir, tmpDir, "."} {
		if err := p.give(root, dir); err != nil {
			return err
		}
	}
	return nil
}

// run runs one command to its end and returns what it said.
func (b *Binary) run(ctx context.Context, s step) (string, sandbox.End, error) {
	p := b.playground
	name, err := p.next(b.project.Name, "c")
	if err != nil {
		return "", sandbox.End{}, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return "", sandbox.End{}, err
	}
	defer r.Close()
	cmd := p.bounded(compilerLimits, s.path, s.args...)
	cmd.Dir = filepath.Join(b.dir, sourceDir)
	cmd.Env = s.env
	cmd.Stdout, cmd.Stderr = w, w
	box, err := p.box.Start(ctx, cmd, sandbox.Options{
		Name: name, Deadline: compileTime, Network: p.nowhere, User: p.user, Limits: compilerLimits,
	})
	w.Close()
	if cause := cause(ctx); err != nil && cause != nil {
		return "", sandbox.End{}, cause
	}
	if err != nil {
		return "", sandbox.End{}, err
	}
	go endRead(r, box.Done())
	// A compiler that goes on is not kept from its end by a full pipe.
	said, err := io.ReadAll(io.LimitReader(r, maxSaid))
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	<-box.Done()
	end, _ := box.Wait(context.Background())
	if cause := cause(ctx); cause != nil && end.Code != 0 {
		return "", end, cause
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return "", end, fmt.Errorf("reading what it says: %w", err)
	}
	return string(said), end, nil
}
