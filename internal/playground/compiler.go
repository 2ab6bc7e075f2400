package playground

import (
	"os"
	"os/exec"
	"path/filepath"
)

// step is one command of a build.
type step struct {
	path string
	args []string
	env  []string
}

// compiler says how a language is compiled.
type compiler struct {
	name  string
	steps []step
	parse func(output string) []Diagnostic
	extra map[string]string // files of ours beside the sources, by name
}

// lineBuffer makes standard output of C programs line-buffered although it is
// a pipe, so that a learner sees each line when it is printed. stdbuf does the
// same by LD_PRELOAD, which children inherit and static programs ignore; a pty
// would make echo, signals and line ends of a terminal part of the lesson.
const lineBuffer = `#include <stdio.h>
__attribute__((constructor)) static void kernelviz_line_buffer(void) { setvbuf(stdout, NULL, _IOLBF, 0); }
`

// lineBufferFile is its name, which no file of a learner has.
const lineBufferFile = ".line-buffer.c"

// cCompiler is gcc, else clang.
func cCompiler(p *Project, dir string) (*compiler, error) {
	c := &compiler{parse: parseC, extra: map[string]string{lineBufferFile: lineBuffer}}
	path, err := exec.LookPath("gcc")
	only := []string{"-fmax-errors=100", "-fno-diagnostics-show-caret"}
	c.name = "gcc"
	if err != nil {
		path, err = exec.LookPath("clang")
		only = []string{"-ferror-limit=100", "-fno-caret-diagnostics"}
		c.name = "clang"
	}
	if err != nil {
		return nil, &ToolError{Tool: "gcc", Fix: "sudo apt install gcc"}
	}
	args := append([]string{"-std=gnu17", "-O1", "-g", "-Wall", "-Wextra", "-fdiagnostics-color=never"}, only...)
	args = append(args, "-o", filepath.Join(dir, programFile))
	args = append(append(args, p.sources()...), lineBufferFile)
	// Flags last: libraries are searched for what the files before them lack.
	c.steps = []step{{path: path, args: append(args, p.Flags...), env: environment(dir)}}
	return c, nil
}

// goCompiler compiles with what is installed and nothing from the network.
func goCompiler(p *Project, dir, cache string) (*compiler, error) {
	path, err := exec.LookPath("go")
	if err != nil {
		return nil, &ToolError{Tool: "go", Fix: "sudo apt install golang-go"}
	}
	env := environment(dir,
		"GOFLAGS=-mod=mod", "GOPROXY=off", "GOTOOLCHAIN=local", "GOENV=off", "GOWORK=off", "CGO_ENABLED=0",
		"GOCACHE="+cache, "GOPATH="+filepath.Join(dir, tmpDir, "gopath"),
		// Threads count as processes: a machine with many CPUs must not use them up.
		"GOMAXPROCS=4",
	)
	if root := os.Getenv("GOROOT"); root != "" {
		env = append(env, "GOROOT="+root)
	}
	c := &compiler{name: "go", parse: parseGo}
	if _, ok := p.Files["go.mod"]; !ok {
		// The go command knows which version of the language it speaks.
		c.steps = append(c.steps, step{path: path, args: []string{"mod", "init", "program"}, env: env})
	}
	args := []string{"build", "-p=2", "-buildvcs=false", "-gcflags=-e", "-o", filepath.Join(dir, programFile)}
	c.steps = append(c.steps, step{path: path, args: append(append(args, p.Flags...), "."), env: env})
	return c, nil
}
