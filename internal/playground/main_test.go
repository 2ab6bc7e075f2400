package playground

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kernelviz/internal/sandbox"
)

const deadline = 30 * time.Second

// The test binary plays the sandbox's guardian.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "play-guardian" {
		if err := sandbox.Guard(os.Stdin, os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// learner is whom programs run as: not root where we may choose.
func learner() *sandbox.User {
	if os.Geteuid() != 0 {
		return nil
	}
	return &sandbox.User{UID: 65534, GID: 65534, Name: "nobody", Home: "/nonexistent", Shell: "/bin/sh"}
}

func newBox(t testing.TB) *sandbox.Sandbox {
	t.Helper()
	box, err := sandbox.New(sandbox.Config{
		Log:      slog.New(slog.NewTextHandler(t.Output(), nil)),
		Guardian: []string{"/proc/self/exe", "play-guardian"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	return box
}

func newPlayground(t testing.TB) *Playground {
	t.Helper()
	return open(t, newBox(t), filepath.Join(passable(t), "programs"))
}

func open(t testing.TB, box *sandbox.Sandbox, dir string) *Playground {
	t.Helper()
	p, err := New(Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Box: box, User: learner(), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// passable is a temporary directory that other users may pass through.
func passable(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func inC(text string) Project {
	return Project{Name: "test", Language: "c", Files: map[string]string{"main.c": text}}
}

// start compiles a project without remarks and starts it.
func start(t *testing.T, p *Playground, project Project) *Program {
	t.Helper()
	b, found, err := p.Build(t.Context(), project)
	if err != nil || b == nil || len(found) > 0 {
		t.Fatalf("build: %v, %+v, %v", b, found, err)
	}
	r, err := b.Start(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// await waits for the program's end.
func await(t *testing.T, r *Program) {
	t.Helper()
	select {
	case <-r.Done():
	case <-time.After(deadline):
		data, _, _, _ := r.Output(0)
		t.Fatalf("it did not end within %v; it said %q", deadline, data)
	}
}

// awaitOutput waits until the program has written something.
func awaitOutput(t *testing.T, r *Program, text string) {
	t.Helper()
	late := time.After(deadline)
	for {
		data, _, _, changed := r.Output(0)
		if strings.Contains(string(data), text) {
			return
		}
		if changed == nil {
			t.Fatalf("it ended (%s) without %q; it said %q", r.Ended(), text, data)
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("no %q within %v; it said %q", text, deadline, data)
		}
	}
}

// ran is what a program wrote until its end.
func ran(t *testing.T, r *Program) string {
	t.Helper()
	await(t, r)
	data, _, _, _ := r.Output(0)
	return string(data)
}
