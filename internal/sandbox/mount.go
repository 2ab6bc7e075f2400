package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

var errNoCgroup2 = errors.New("cgroup v2 is not mounted")

// findCgroup2 returns where cgroup v2 is mounted: /sys/fs/cgroup, or
// /sys/fs/cgroup/unified on hybrid hosts. The format is proc(5),
// /proc/PID/mountinfo.
func findCgroup2() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if at, ok := cgroup2Mount(lines.Text()); ok {
			return at, nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("reading /proc/self/mountinfo: %w", err)
	}
	return "", errNoCgroup2
}

func cgroup2Mount(line string) (string, bool) {
	mount, fs, ok := strings.Cut(line, " - ")
	fields := strings.Fields(mount)
	if !ok || len(fields) < 5 || !strings.HasPrefix(fs, "cgroup2 ") {
		return "", false
	}
	return unescapeMount.Replace(fields[4]), true
}

var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
