package playground

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const hello = `#include <stdio.h>
int main(void) { printf("hello, %s\n", "world"); return 0; }
`

func TestHelloWorld(t *testing.T) {
	r := start(t, newPlayground(t), inC(hello))
	if got := ran(t, r); got != "hello, world\n" {
		t.Errorf("it said %q", got)
	}
	if end, ok := r.End(); !ok || end.Code != 0 || r.Ended() != "exit status 0" {
		t.Errorf("it ended %+v, %q", end, r.Ended())
	}
	if _, _, _, changed := r.Output(0); changed != nil {
		t.Error("more output is promised after the end")
	}
}

func TestDiagnosticsOfC(t *testing.T) {
	p := newPlayground(t)
	tests := []struct {
		name  string
		files map[string]string
		flags []string
		want  Diagnostic // the text is a part of it
		built bool
	}{
		{"error", map[string]string{"main.c": "int main(void)\n{\n\treturn x;\n}\n"}, nil,
			Diagnostic{"main.c", 3, 16, "error", "undeclared"}, false},
		{"error in another file", map[string]string{"main.c": "int main(void) { return 0; }\n", "util.c": "\nint f(void) { return }\n"}, nil,
			Diagnostic{"util.c", 2, 22, "error", "expected expression"}, false},
		{"error in a header", map[string]string{"main.c": "#include \"util.h\"\nint main(void) { return 0; }\n", "util.h": "int x = ;\n"}, nil,
			Diagnostic{"util.h", 1, 0, "error", "expected"}, false},
		{"warning", map[string]string{"main.c": "int main(void)\n{\n\tint unused;\n\treturn 0;\n}\n"}, nil,
			Diagnostic{"main.c", 3, 13, "warning", "unused variable"}, true},
		{"fatal error", map[string]string{"main.c": "#include <no-such.h>\nint main(void) { return 0; }\n"}, nil,
			Diagnostic{"main.c", 1, 10, "error", "no-such.h: No such file or directory"}, false},
		{"linker, at its line", map[string]string{"main.c": "int nowhere(void);\nint main(void)\n{\n\treturn nowhere();\n}\n"}, nil,
			Diagnostic{"main.c", 4, 0, "error", "undefined reference to `nowhere'"}, false},
		{"linker, no main", map[string]string{"main.c": "int f(void) { return 0; }\n"}, nil,
			Diagnostic{"main.c", 0, 0, "error", "undefined reference to `main'"}, false},
		{"linker, no library", map[string]string{"main.c": "int main(void) { return 0; }\n"}, []string{"-lnothing"},
			Diagnostic{"main.c", 0, 0, "error", "cannot find -lnothing"}, false},
		{"flag", map[string]string{"main.c": "int main(void) { return 0; }\n"}, []string{"-fno-such-flag"},
			Diagnostic{"main.c", 0, 0, "error", "no-such-flag"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			project := Project{Name: "test", Language: "c", Files: tt.files, Flags: tt.flags}
			b, found, err := p.Build(t.Context(), project)
			if err != nil {
				t.Fatal(err)
			}
			if (b != nil) != tt.built {
				t.Errorf("built: %v, want %v; %+v", b != nil, tt.built, found)
			}
			has(t, found, tt.want)
		})
	}
}

// has looks for a diagnostic. Columns are looked at where the test names one:
// gcc and clang point to different ends of things.
func has(t *testing.T, found []Diagnostic, want Diagnostic) {
	t.Helper()
	if !slices.ContainsFunc(found, func(d Diagnostic) bool {
		return d.File == want.File && d.Line == want.Line && (want.Column == 0 || d.Column == want.Column) &&
			d.Severity == want.Severity && strings.Contains(d.Text, want.Text)
	}) {
		t.Errorf("diagnostics %+v, want %+v", found, want)
	}
}

func TestAtMostAHundredDiagnostics(t *testing.T) {
	var b strings.Builder
	b.WriteString("int main(void)\n{\n")
	for i := range 500 {
		fmt.Fprintf(&b, "\tint a%d;\n", i)
	}
	b.WriteString("}\n")
	bin, found, err := newPlayground(t).Build(t.Context(), inC(b.String()))
	if err != nil || bin == nil || len(found) != maxDiagnostics {
		t.Errorf("%d diagnostics, %v, %v; want %d and a program", len(found), bin, err, maxDiagnostics)
	}
}

func TestPathTricks(t *testing.T) {
	p := newPlayground(t)
	for _, name := range []string{
		"", ".", "..", "../main.c", "/etc/passwd", "a/b.c", "./main.c", ".hidden.c", "-o.c", "@args.c", "main.c\x00", "main\n.c",
		"a b.c", "日.c", `a\b.c`, strings.Repeat("a", 64) + ".c", "$HOME.c", "~.c",
	} {
		_, _, err := p.Build(t.Context(), Project{Name: "test", Language: "c", Files: map[string]string{"main.c": hello, name: ""}})
		var bad *FileError
		if !errors.As(err, &bad) || bad.File != name {
			t.Errorf("file %q: %v, want a FileError that names it", name, err)
		}
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != goCache {
		t.Errorf("refused projects left %v, %v", entries, err)
	}
}

func TestRefusedProjects(t *testing.T) {
	p := newPlayground(t)
	many := map[string]string{}
	for i := range maxFiles + 1 {
		many[fmt.Sprintf("f%d.c", i)] = ""
	}
	tests := []struct {
		name    string
		project Project
		want    string
	}{
		{"big file", Project{Name: "t", Language: "c", Files: map[string]string{"big.c": strings.Repeat("x", maxFile+1)}}, `"big.c": it has 49153 bytes`},
		{"many files", Project{Name: "t", Language: "c", Files: many}, "17 files are too many"},
		{"no source", Project{Name: "t", Language: "c", Files: map[string]string{"a.h": ""}}, "no file ends in .c"},
		{"language", Project{Name: "t", Language: "perl", Files: map[string]string{"a.c": ""}}, `language "perl"`},
		{"name", Project{Name: "../t", Language: "c", Files: map[string]string{"a.c": ""}}, `name of a program "../t"`},
		{"seconds", Project{Name: "t", Language: "c", Files: map[string]string{"a.c": ""}, Seconds: 901}, "901 seconds"},
		{"flag", Project{Name: "t", Language: "c", Files: map[string]string{"a.c": ""}, Flags: []string{"/etc/passwd"}}, `"/etc/passwd" is no flag`},
	}
	for _, tt := range tests {
		if _, _, err := p.Build(t.Context(), tt.project); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// The compiler reads as the learner.
func TestIncludeReadsAsTheLearner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to be somebody who may not read: sudo make test")
	}
	p := newPlayground(t)
	secret := filepath.Join(passable(t), "secret")
	if err := os.WriteFile(secret, []byte("the-secret-word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{secret, "/etc/shadow"} {
		for _, line := range []string{`#include "` + path + `"`, `__asm__(".incbin \"` + path + `\"");`} {
			b, found, err := p.Build(t.Context(), inC(line+"\nint main(void) { return 0; }\n"))
			if err != nil || b != nil || !hasError(found) {
				t.Errorf("%s: %v, %+v, %v; want an error of the compiler", line, b, found, err)
			}
			if s := fmt.Sprint(found); !strings.Contains(s, "ermission denied") && !strings.Contains(s, "not found") {
				t.Errorf("%s: %s, want permission denied", line, s)
			}
		}
	}
}

func TestMissingCompiler(t *testing.T) {
	p := newPlayground(t)
	t.Setenv("PATH", "")
	for language, fix := range map[string]string{"c": "sudo apt install gcc", "go": "sudo apt install golang-go"} {
		_, _, err := p.Build(t.Context(), Project{Name: "test", Language: language, Files: map[string]string{"main." + language: ""}})
		var missing *ToolError
		if !errors.As(err, &missing) || missing.Fix != fix || !strings.Contains(err.Error(), fix) {
			t.Errorf("%s: %v, want a ToolError with %q", language, err, fix)
		}
	}
}

// A compiler that does not end is killed with its context.
func TestBuildIsCancelled(t *testing.T) {
	p := newPlayground(t)
	// A file that includes itself twice takes 2^200 steps.
	project := Project{Name: "test", Language: "c", Files: map[string]string{"main.c": "#if __INCLUDE_LEVEL__ < 199\n#include \"main.c\"\n#include \"main.c\"\n#endif\n"}}
	stop := errors.New("the page went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for { // until the compiler runs
			if entries, _ := os.ReadDir(p.dir); len(entries) > 1 {
				cancel(stop)
				return
			}
		}
	}()
	if _, _, err := p.Build(ctx, project); !errors.Is(err, stop) {
		t.Errorf("build: %v, want %v", err, stop)
	}
}

func TestOldBuildsAreRemoved(t *testing.T) {
	p := newPlayground(t)
	first := start(t, p, inC("#include <unistd.h>\nint main(void) { pause(); return 0; }\n"))
	for range maxBuilds + 2 {
		b := &Binary{playground: p, project: inC(""), name: "x"}
		var err error
		if b.name, err = p.next("old", "b"); err != nil {
			t.Fatal(err)
		}
		if err := p.root.Mkdir(b.name, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := p.keep(b); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) != maxBuilds+1 || !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "test-") }) {
		t.Errorf("directories %v, want %d with the one whose program runs, and Go's", names, maxBuilds)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.Done():
	default:
		t.Error("a program survived Close")
	}
	if _, err := os.Stat(p.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", p.dir, err)
	}
	if _, _, err := p.Build(t.Context(), inC(hello)); !errors.Is(err, ErrClosed) {
		t.Errorf("Build after Close: %v", err)
	}
}
