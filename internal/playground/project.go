package playground

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Project is what a learner wrote and how it is to be compiled and run.
type Project struct {
	Name     string            // lower-case letters, digits and hyphens, at most 40
	Language string            // c or go
	Files    map[string]string // text by name; no directories
	Flags    []string          // of the compiler
	Args     []string          // of the program
	Seconds  int               // the program is killed after that; 0 is 60, at most 900
}

// Bounds of a project.
const (
	maxFiles       = 16
	maxFile        = 48 << 10 // bytes
	maxSeconds     = 900
	defaultSeconds = 60
)

var (
	nameRE = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)
	// No separator, no leading dot or hyphen: such a name stays in its directory
	// and is no option of a compiler.
	fileRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
)

// FileError is why a file is refused.
type FileError struct {
	File   string
	Reason string
}

func (e *FileError) Error() string { return fmt.Sprintf("file %.80q: %s", e.File, e.Reason) }

func (p *Project) check() error {
	if !nameRE.MatchString(p.Name) {
		return fmt.Errorf("bad name of a program %.80q: want at most 40 lower-case letters, digits and hyphens", p.Name)
	}
	if p.Language != "c" && p.Language != "go" {
		return fmt.Errorf("language %.80q cannot be compiled here: want c or go", p.Language)
	}
	if p.Seconds < 0 || p.Seconds > maxSeconds {
		return fmt.Errorf("a program cannot have %d seconds: want at most %d", p.Seconds, maxSeconds)
	}
	for _, f := range p.Flags {
		// Without the hyphen it would be one more file to compile.
		if !strings.HasPrefix(f, "-") {
			return fmt.Errorf("%.80q is no flag of a compiler: it does not begin with a hyphen", f)
		}
	}
	return p.checkFiles()
}

func (p *Project) checkFiles() error {
	if len(p.Files) > maxFiles {
		return fmt.Errorf("%d files are too many: at most %d", len(p.Files), maxFiles)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		if !fileRE.MatchString(name) {
			return &FileError{name, "bad name: want 1 to 64 letters, digits, dots, hyphens and underscores, no directory, the first a letter, digit or underscore"}
		}
		if size := len(p.Files[name]); size > maxFile {
			return &FileError{name, fmt.Sprintf("it has %d bytes; at most %d are compiled", size, maxFile)}
		}
	}
	if len(p.sources()) == 0 {
		return fmt.Errorf("there is nothing to compile: no file ends in .%s", p.Language)
	}
	return nil
}

// sources are the files that the compiler is given, in order.
func (p *Project) sources() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(p.Files)), func(name string) bool {
		return !strings.HasSuffix(name, "."+p.Language)
	})
}

func (p *Project) deadline() time.Duration {
	if p.Seconds == 0 {
		return defaultSeconds * time.Second
	}
	return time.Duration(p.Seconds) * time.Second
}
