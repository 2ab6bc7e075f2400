package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is where the numbers come from, and how busy it is.
type machine struct {
	Kernel string    `json:"kernel"`
	CPU    string    `json:"cpu"`
	CPUs   int       `json:"cpus"`
	Load   float64   `json:"load"` // average of one minute
	At     time.Time `json:"at"`
	// Stolen and Total are clock ticks since boot, of all CPUs.
	Stolen uint64 `json:"stolen"`
	Total  uint64 `json:"total"`
}

// busyLoad per CPU is where numbers begin to suffer.
const busyLoad = 0.5

// lookAtMachine leaves empty what cannot be read.
func lookAtMachine() machine {
	m := machine{CPU: "unknown CPU", CPUs: runtime.NumCPU(), At: time.Now()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = "Linux " + unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
	}
	if model, ok := lineOf("/proc/cpuinfo", "model name"); ok {
		_, name, _ := strings.Cut(model, ":")
		m.CPU = strings.TrimSpace(name)
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		first, _, _ := strings.Cut(string(b), " ")
		m.Load, _ = strconv.ParseFloat(first, 64)
	}
	if line, ok := lineOf("/proc/stat", "cpu "); ok {
		fields := strings.Fields(line)[1:]
		// user nice system idle iowait irq softirq steal; guest is in user.
		for i := range min(len(fields), 8) {
			n, _ := strconv.ParseUint(fields[i], 10, 64)
			m.Total += n
			if i == 7 {
				m.Stolen = n
			}
		}
	}
	return m
}

// lineOf is the first line of a file with the prefix.
func lineOf(path, prefix string) (string, bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasPrefix(s.Text(), prefix) {
			return s.Text(), true
		}
	}
	return "", false
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d CPUs, %s, %s; load %.2f before", m.Kernel, m.CPUs, m.CPU, runtime.Version(), m.Load)
}

// warning says that others use the machine; empty if it is quiet.
func (m machine) warning() string {
	if m.Load <= busyLoad*float64(m.CPUs) {
		return ""
	}
	return fmt.Sprintf("the machine is busy (load %.2f on %d CPUs): times are too long and spreads too wide; ratios suffer less", m.Load, m.CPUs)
}

// since says how the machine fared.
func (m machine) since(before machine) string {
	text := fmt.Sprintf("load %.2f after %.0f s", m.Load, m.At.Sub(before.At).Seconds())
	if m.Total > before.Total {
		text += fmt.Sprintf("; %.1f %% of CPU time stolen by the host", 100*float64(m.Stolen-before.Stolen)/float64(m.Total-before.Total))
	}
	return text
}
