package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound one child and all it spawns. Zero means no limit.
type Limits struct {
	Processes int           // tasks at once; needs the pids controller
	Memory    int64         // bytes; without the memory controller RLIMIT_DATA of each process
	CPU       float64       // CPUs, 1.5 is one and a half; needs the cpu controller
	Files     uint64        // open files of each process, RLIMIT_NOFILE
	FileSize  int64         // bytes that a file may grow to, RLIMIT_FSIZE
	CPUTime   time.Duration // CPU time of each process, RLIMIT_CPU; whole seconds, rounded up
}

// Limit tells how one limit is enforced on this machine.
type Limit struct {
	Name   string `json:"name"`          // "processes", "memory", "cpu", "files", "file size", "CPU time"
	By     string `json:"by"`            // "pids.max", "RLIMIT_DATA"; empty if it is not enforced
	Reason string `json:"reason"`        // why so
	Fix    string `json:"fix,omitempty"` // what would enforce it better
}

var controllers = []string{"pids", "memory", "cpu"}

// delegate hands the controllers that the root offers down to the children of
// dir, and returns those that arrived. The root itself is not ours to change.
func delegate(top, dir string) map[string]bool {
	for _, at := range []string{top, dir} {
		for _, c := range controllers {
			// Fails where the parent does not offer it; the result is read below.
			_ = os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte("+"+c), 0)
		}
	}
	data, _ := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	enabled := strings.Fields(string(data))
	has := map[string]bool{}
	for _, c := range controllers {
		has[c] = slices.Contains(enabled, c)
	}
	return has
}

// writeCgroup sets the limits whose controllers exist.
func (l Limits) writeCgroup(dir string, has map[string]bool) error {
	var errs []error
	set := func(controller, file, value string) {
		if !has[controller] {
			return
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0); err != nil {
			errs = append(errs, fmt.Errorf("setting %s to %s: %w", file, value, err))
		}
	}
	if l.Processes > 0 {
		set("pids", "pids.max", strconv.Itoa(l.Processes))
	}
	if l.Memory > 0 {
		set("memory", "memory.max", strconv.FormatInt(l.Memory, 10))
	}
	if l.CPU > 0 {
		const period = 100_000 // us, the kernel's default
		set("cpu", "cpu.max", fmt.Sprintf("%d %d", int(l.CPU*period), period))
	}
	return errors.Join(errs...)
}

// setRlimits bounds one process; what it starts inherits them.
func (l Limits) setRlimits(pid int, memory bool) error {
	between := func(what int, name string, value, hard uint64) error {
		err := unix.Prlimit(pid, what, &unix.Rlimit{Cur: value, Max: hard}, nil)
		if err == unix.EPERM {
			// Only root may raise it: the child keeps the lower one it has.
			return nil
		}
		if err != nil {
			return fmt.Errorf("setting %s to %d: %w", name, value, err)
		}
		return nil
	}
	set := func(what int, name string, value uint64) error { return between(what, name, value, value) }
	errs := []error{set(unix.RLIMIT_CORE, "RLIMIT_CORE", 0)}
	if l.Files > 0 {
		errs = append(errs, set(unix.RLIMIT_NOFILE, "RLIMIT_NOFILE", l.Files))
	}
	if memory && l.Memory > 0 {
		errs = append(errs, set(unix.RLIMIT_DATA, "RLIMIT_DATA", uint64(l.Memory)))
	}
	if l.FileSize > 0 {
		errs = append(errs, set(unix.RLIMIT_FSIZE, "RLIMIT_FSIZE", uint64(l.FileSize)))
	}
	if s := l.cpuSeconds(); s > 0 {
		// SIGXCPU tells why; SIGKILL follows at the hard limit for who ignores it.
		errs = append(errs, between(unix.RLIMIT_CPU, "RLIMIT_CPU", s, s+1))
	}
	return errors.Join(errs...)
}

func (l Limits) cpuSeconds() uint64 { return uint64((l.CPUTime + time.Second - 1) / time.Second) }

// explain tells which limit a signal stands for; empty if none.
func (l Limits) explain(sig unix.Signal) string {
	switch {
	case sig == unix.SIGXCPU && l.CPUTime > 0:
		return fmt.Sprintf("it used up its %d s of CPU time", l.cpuSeconds())
	case sig == unix.SIGXFSZ && l.FileSize > 0:
		return fmt.Sprintf("a file would have grown beyond %d bytes", l.FileSize)
	}
	return ""
}

func (c *cgroupPen) limits() []Limit {
	out := rlimitsOnly("")
	for i, controller := range controllers {
		if c.has[controller] {
			out[i].By, out[i].Reason, out[i].Fix = controller+".max", "cgroup controller "+controller, ""
			continue
		}
		out[i].Reason = "controller " + controller + " is not enabled for children of " + c.root + out[i].Reason
		out[i].Fix = "echo +" + controller + " > " + c.root + "/cgroup.subtree_control (on a host that gives " + controller +
			" to cgroup v1: boot with systemd.unified_cgroup_hierarchy=1)"
	}
	return out
}

// rlimitsOnly describes the limits without controllers, in the order of
// controllers. RLIMIT_NPROC is of no use: it does not bind root and counts all
// processes of the user (kernel/fork.c, copy_process).
func rlimitsOnly(why string) []Limit {
	return []Limit{
		{Name: "processes", Reason: why + "; not limited"},
		{Name: "memory", By: "RLIMIT_DATA", Reason: why + "; each process is limited, not their sum"},
		{Name: "cpu", Reason: why + "; not limited but by the deadline"},
		{Name: "files", By: "RLIMIT_NOFILE", Reason: "limit of each process"},
		{Name: "file size", By: "RLIMIT_FSIZE", Reason: "limit of each file"},
		{Name: "CPU time", By: "RLIMIT_CPU", Reason: "limit of each process"},
	}
}
