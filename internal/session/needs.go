package session

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"kernelviz/internal/lab"
)

// Missing is one thing that a lab needs and this machine does not have.
type Missing struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	Fix    string `json:"fix"`
}

// NeedsError says what a lab lacks here.
type NeedsError struct {
	Lab     string
	Missing []Missing
}

func (e *NeedsError) Error() string {
	var parts []string
	for _, m := range e.Missing {
		parts = append(parts, m.Name+" ("+m.Reason+")")
	}
	return fmt.Sprintf("lab %s needs what this machine lacks: %s", e.Lab, strings.Join(parts, "; "))
}

// Unwrap makes it an ErrNeeds.
func (e *NeedsError) Unwrap() error { return ErrNeeds }

// Fix is what gives all of it.
func (e *NeedsError) Fix() string {
	var parts []string
	for _, m := range e.Missing {
		if m.Fix != "" && !slices.Contains(parts, m.Fix) {
			parts = append(parts, m.Fix)
		}
	}
	return strings.Join(parts, "; ")
}

// packages are those of Debian and Ubuntu whose name is not the program's.
var packages = map[string]string{"ss": "iproute2", "go": "golang-go", "redis-cli": "redis-tools"}

// Missing lists what a lab needs and this machine lacks.
func (m *Manager) Missing(l *lab.Lab) []Missing {
	missing := []Missing{}
	for _, need := range l.Needs {
		if x, ok := m.lacks(need); ok {
			missing = append(missing, x)
		}
	}
	o := &m.options
	if l.Stage != nil && m.view(l.Stage.View) == nil {
		missing = append(missing, Missing{l.Stage.View, "this server has no view of that name", "labserver doctor"})
	}
	if l.Code != nil && o.Playground == nil {
		missing = append(missing, Missing{"code", ErrCodeOff.Error(), "start labserver without --no-code"})
	}
	if l.Terminal && !o.Terminals && needsTerminal(l) {
		missing = append(missing, Missing{"terminal", ErrTerminalOff.Error(), "start labserver without --no-terminal"})
	}
	return missing
}

// needsTerminal tells whether a lab cannot be done without its terminal.
func needsTerminal(l *lab.Lab) bool { return l.Uses("terminal.") || l.Uses("tracing.") }

func (m *Manager) lacks(need string) (Missing, bool) {
	if tool, ok := strings.CutPrefix(need, "tool:"); ok {
		if hasTool(tool) {
			return Missing{}, false
		}
		name := tool
		if p := packages[tool]; p != "" {
			name = p
		}
		return Missing{tool, "not installed", "sudo apt install " + name}, true
	}
	if need == "root" {
		if os.Geteuid() == 0 && m.options.User.UID == 0 {
			return Missing{}, false
		}
		return Missing{"root", "the terminal of this lab must be root's", "run labserver from a root shell: sudo -i"}, true
	}
	c, ok := m.options.Kernel.Capability(need)
	switch {
	case !ok:
		return Missing{need, "labserver knows no such capability", "labserver doctor"}, true
	case !c.OK:
		return Missing{need, c.Reason, c.Fix}, true
	}
	return Missing{}, false
}

// hasTool looks where a learner's shell does, and where Debian puts what only
// root is thought to need.
func hasTool(name string) bool {
	if _, err := exec.LookPath(name); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/go/bin"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}
