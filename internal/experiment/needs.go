package experiment

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrBusy is returned by Run while another experiment runs.
var ErrBusy = errors.New("another experiment is running")

// MissingError tells what an experiment needs and this machine lacks.
type MissingError struct {
	Experiment string
	Missing    []Missing
}

func (e *MissingError) Error() string {
	var parts []string
	for _, m := range e.Missing {
		parts = append(parts, m.Name+": "+m.Reason)
	}
	return fmt.Sprintf("experiment %s cannot be run here: %s", e.Experiment, strings.Join(parts, "; "))
}

// Fix is what to do about it.
func (e *MissingError) Fix() string {
	var parts []string
	for _, m := range e.Missing {
		if m.Fix != "" {
			parts = append(parts, m.Fix)
		}
	}
	return strings.Join(parts, "; ")
}

// Disk tells that it is room on a disk that lacks, and nothing else.
func (e *MissingError) Disk() bool {
	for _, m := range e.Missing {
		if m.Name != diskName {
			return false
		}
	}
	return len(e.Missing) > 0
}

const diskName = "disk"

// NeedDisk is for Definition.Needs: room for a file of so many bytes in dir,
// and a tenth more for what else is written there meanwhile.
func NeedDisk(dir string, bytes uint64) []Missing {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return []Missing{{diskName, fmt.Sprintf("the free room in %s cannot be read: %v", dir, err), "give a directory with --experiment-dir DIR"}}
	}
	free := st.Bavail * uint64(st.Bsize)
	need := bytes + bytes/10
	if free >= need {
		return nil
	}
	return []Missing{{
		Name:   diskName,
		Reason: fmt.Sprintf("it needs %s in %s, and %s are free", size(need), dir, size(free)),
		Fix:    fmt.Sprintf("free %s, or give a directory on a larger disk with --experiment-dir DIR", size(need-free)),
	}}
}

// needNamespaces is what keeps trials from having a network namespace of their
// own. It is never nil.
func needNamespaces() []Missing {
	effective, err := strconv.ParseUint(field("/proc/self/status", "CapEff", ":"), 16, 64)
	if err != nil || effective&(1<<unix.CAP_SYS_ADMIN) != 0 {
		return []Missing{}
	}
	return []Missing{{
		Name:   "root",
		Reason: "each trial runs in a network namespace of its own, which needs CAP_SYS_ADMIN",
		Fix:    "run labserver as root",
	}}
}

func size(bytes uint64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}
