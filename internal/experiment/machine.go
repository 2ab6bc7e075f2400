package experiment

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machineInfo says where a result comes from; dir is where files lie.
func machineInfo(dir string) MachineInfo {
	m := MachineInfo{CPUs: runtime.NumCPU(), Disk: diskOf(dir)}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel, m.Machine = unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
	}
	m.CPU = field("/proc/cpuinfo", "model name", ":")
	kib, _ := strconv.ParseUint(strings.TrimSuffix(field("/proc/meminfo", "MemTotal", ":"), " kB"), 10, 64)
	m.Memory = kib << 10
	return m
}

// field is the value of the first line "name sep value" of a file.
func field(file, name, sep string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		key, value, ok := strings.Cut(line, sep)
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// diskOf tells the file system that dir lies in and the device under it: "ext4
// on /dev/vda1" (proc_pid_mountinfo(5)).
func diskOf(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	best, disk := -1, ""
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 2 {
			continue
		}
		at := f[4]
		if inside := at == "/" || dir == at || strings.HasPrefix(dir, at+"/"); inside && len(at) >= best {
			best, disk = len(at), g[0]+" on "+g[1]
		}
	}
	return disk
}

// moment is what the machine has counted up to now.
type moment struct {
	at       time.Time
	load     float64
	pressure [3]time.Duration // cpu, io, memory: time in which some task waited; -1 unknown
	busy     time.Duration    // of all CPUs, without steal
	steal    time.Duration
}

// tick is what /proc/stat counts in: USER_HZ, which is 100 on every
// architecture that Go runs on.
const tick = 10 * time.Millisecond

func look(now time.Time) moment {
	m := moment{at: now}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		if f := strings.Fields(string(data)); len(f) > 0 {
			m.load, _ = strconv.ParseFloat(f[0], 64)
		}
	}
	for i, of := range []string{"cpu", "io", "memory"} {
		m.pressure[i] = pressure("/proc/pressure/" + of)
	}
	if data, err := os.ReadFile("/proc/stat"); err == nil {
		m.busy, m.steal = busy(string(data))
	}
	return m
}

// pressure reads the total of the line "some" (Documentation/accounting/psi.rst).
func pressure(file string) time.Duration {
	data, err := os.ReadFile(file)
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "some" {
			continue
		}
		total, ok := strings.CutPrefix(f[len(f)-1], "total=")
		us, err := strconv.ParseInt(total, 10, 64)
		if ok && err == nil {
			return time.Duration(us) * time.Microsecond
		}
	}
	return -1
}

// busy adds up the first line of /proc/stat: user nice system idle iowait irq
// softirq steal, guests being part of user.
func busy(stat string) (busy, steal time.Duration) {
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	for i, text := range f {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			continue
		}
		switch i {
		case 1, 2, 3, 6, 7:
			busy += time.Duration(n) * tick
		case 8:
			steal = time.Duration(n) * tick
		}
	}
	return busy, steal
}

// conditions are what the machine did between two moments, of which ours was
// that much CPU time.
func conditions(a, b moment, ours time.Duration) Conditions {
	wall := b.at.Sub(a.at).Seconds()
	c := Conditions{LoadBefore: a.load, LoadAfter: b.load}
	if wall <= 0 {
		return c
	}
	shares := []*float64{&c.CPUPressure, &c.IOPressure, &c.MemoryPressure}
	for i, s := range shares {
		*s = -1
		if a.pressure[i] >= 0 && b.pressure[i] >= a.pressure[i] {
			*s = min((b.pressure[i]-a.pressure[i]).Seconds()/wall, 1)
		}
	}
	c.Others = max((b.busy-a.busy-ours).Seconds()/wall, 0)
	c.Steal = max((b.steal-a.steal).Seconds()/wall, 0)
	return c
}

// ownCPU is what this process has used.
func ownCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
