package playground

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"kernelviz/internal/sandbox"
)

// bounded is a command that bounds itself before it becomes the program: only
// CAP_SYS_RESOURCE, which containers often lack, lets the sandbox bound a
// process of another user, but everybody may lower their own limits. What
// cannot be set is lower already.
func (p *Playground) bounded(l sandbox.Limits, path string, args ...string) *exec.Cmd {
	var sh strings.Builder
	ulimit := func(option string, value int64) { fmt.Fprintf(&sh, "ulimit -%s %d 2>/dev/null; ", option, value) }
	ulimit("c", 0)
	ulimit("f", l.FileSize/512) // POSIX counts in blocks
	if l.Files > 0 {
		ulimit("n", int64(l.Files))
	}
	by := map[string]string{}
	for _, limit := range p.box.Describe().Limits {
		by[limit.Name] = limit.By
	}
	if by["memory"] != "memory.max" {
		ulimit("d", l.Memory>>10)
	}
	if by["processes"] == "" {
		sh.WriteString(p.boundTasks(l.Processes))
	}
	sh.WriteString(`exec "$@"`)
	return exec.Command("/bin/sh", append([]string{"-c", sh.String(), "sh", path}, args...)...)
}

// boundTasks stands in for the pids controller: RLIMIT_NPROC counts all tasks
// of the user, and does not bind root.
func (p *Playground) boundTasks(most int) string {
	uid := os.Geteuid()
	if p.user != nil {
		uid = p.user.UID
	}
	if uid == 0 {
		return ""
	}
	// dash calls it -p, bash -u.
	return fmt.Sprintf("ulimit -p %[1]d 2>/dev/null || ulimit -u %[1]d 2>/dev/null; ", tasksOf(uid)+most)
}

// tasksOf counts the threads of a user's processes.
func tasksOf(uid int) int {
	dir, err := os.Open("/proc")
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	n := 0
	for _, name := range names {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		status, err := os.ReadFile("/proc/" + name + "/status")
		if err == nil && statusField(string(status), "Uid:") == uid {
			n += max(0, statusField(string(status), "Threads:"))
		}
	}
	return n
}

// statusField is the first number of a line of /proc/PID/status, -1 if there is
// no such line.
func statusField(status, name string) int {
	for line := range strings.Lines(status) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	return -1
}
