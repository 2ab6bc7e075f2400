package playground

import (
	"path"
	"regexp"
	"strconv"
	"strings"
)

// Diagnostic is what a compiler says, docs/protocol.md.
type Diagnostic struct {
	File     string `json:"file"`     // as the learner named it; a path if it is of the system
	Line     int    `json:"line"`     // 0 if the compiler names none
	Column   int    `json:"column"`   // in bytes, from 1; 0 if the compiler names none
	Severity string `json:"severity"` // error, warning or note
	Text     string `json:"text"`
}

// Bounds of what a compiler may say.
const (
	maxDiagnostics = 100
	maxText        = 2000 // bytes of one diagnostic
)

var (
	// main.c:3:5: error: expected ';' before 'return'
	cLine = regexp.MustCompile(`^([^:\s][^:]*):(\d+)(?::(\d+))?: (fatal error|error|warning|note): (.+)$`)
	// gcc: fatal error: Killed signal terminated program cc1
	cTool = regexp.MustCompile(`^(?:[^:\s]*/)?(?:gcc|clang|cc1|as|collect2|ld|lto1)[^:\s]*: (?:fatal error|error): (.+)$`)
	// /tmp/kv/main.c:3: undefined reference to `f'
	// main.c:(.text+0x5): undefined reference to `f'
	ldLine = regexp.MustCompile(`^(?:\S*/)?(?:ld[^:\s]*: )?([^:\s][^:]*):(?:(\d+)|\([^)]*\)):(?:\([^)]*\):)? (.+)$`)
	// /usr/bin/ld: cannot find -lnothing: No such file or directory
	ldTool = regexp.MustCompile(`^(?:\S*/)?ld[^:\s]*: (.+)$`)
	// ./main.go:5:2: undefined: x
	goLine = regexp.MustCompile(`^(?:\./)?([^:\s][^:]*\.go):(\d+)(?::(\d+))?: (.+)$`)
)

// parseC reads the text form of gcc and clang, and of the linker after them,
// strictly: what is none of these lines is context, which is left out.
func parseC(output string) []Diagnostic {
	var all []Diagnostic
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\r\n")
		if m := cLine.FindStringSubmatch(line); m != nil {
			all = add(all, Diagnostic{File: m[1], Line: number(m[2]), Column: number(m[3]), Severity: severity(m[4]), Text: m[5]})
		} else if m := cTool.FindStringSubmatch(line); m != nil {
			if !strings.HasPrefix(m[1], "ld returned") && !strings.HasPrefix(m[1], "linker command failed") {
				all = add(all, Diagnostic{Severity: "error", Text: m[1]})
			}
		} else if d, ok := parseLinker(line); ok {
			all = add(all, d)
		}
	}
	return all
}

// linkerErrors are what a line of the linker is told from its context by.
var linkerErrors = []string{"undefined reference", "multiple definition", "cannot find", "undefined symbol", "duplicate symbol", "relocation"}

// parseLinker reads a line of ld; it knows the line of the source where the
// object has debug information.
func parseLinker(line string) (Diagnostic, bool) {
	d := Diagnostic{Severity: "error"}
	if m := ldLine.FindStringSubmatch(line); m != nil {
		d.File, d.Line, d.Text = path.Base(m[1]), number(m[2]), m[3]
		if strings.HasSuffix(d.File, ".o") {
			d.File = "" // a temporary name
		}
	} else if m := ldTool.FindStringSubmatch(line); m != nil {
		d.Text = m[1]
	}
	for _, known := range linkerErrors {
		if strings.Contains(d.Text, known) {
			return d, true
		}
	}
	return Diagnostic{}, false
}

// parseGo reads what go build prints. Lines that begin with a tab go on with
// the diagnostic before.
func parseGo(output string) []Diagnostic {
	var all []Diagnostic
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\r\n")
		switch m := goLine.FindStringSubmatch(line); {
		case m != nil:
			all = add(all, Diagnostic{File: m[1], Line: number(m[2]), Column: number(m[3]), Severity: "error", Text: m[4]})
		case strings.HasPrefix(line, "\t") && len(all) > 0:
			last := &all[len(all)-1]
			last.Text = clip(last.Text + "\n" + strings.TrimSpace(line))
		case line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "go: creating new go.mod") ||
			strings.HasPrefix(line, "go: to add module requirements"):
		case strings.HasPrefix(line, "\t"):
		default: // the linker and the go command name no file
			all = add(all, Diagnostic{Severity: "error", Text: line})
		}
	}
	return all
}

func add(all []Diagnostic, d Diagnostic) []Diagnostic {
	if len(all) == maxDiagnostics {
		return all
	}
	d.Text = clip(d.Text)
	return append(all, d)
}

func clip(text string) string {
	if len(text) > maxText {
		text = text[:maxText] + "…"
	}
	return strings.ToValidUTF8(text, "?")
}

func severity(s string) string { return strings.TrimPrefix(s, "fatal ") }

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

func hasError(all []Diagnostic) bool {
	for _, d := range all {
		if d.Severity == "error" {
			return true
		}
	}
	return false
}
