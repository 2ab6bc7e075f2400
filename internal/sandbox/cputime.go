package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPUTime is what a child and all that it spawned have used of the CPUs since
// its start, in user and kernel mode together. Threads of the kernel that work
// for it (io-wq, SQPOLL) are in it: they are threads of the process.
type CPUTime struct {
	Used time.Duration
	// By names the source: "cpu.stat", the cgroup's, exact to the microsecond;
	// or "process clocks", the sum over the processes that live now: what ended
	// before is not in it.
	By string
}

// CPUTime tells what the child has used so far. It fails once it has ended.
func (p *Process) CPUTime() (CPUTime, error) {
	select {
	case <-p.done:
		return CPUTime{}, fmt.Errorf("reading the CPU time of sandbox %s: it has ended", p.name)
	default:
	}
	t, err := p.cell.cpuTime()
	if err != nil {
		return CPUTime{}, fmt.Errorf("reading the CPU time of sandbox %s: %w", p.name, err)
	}
	return t, nil
}

// Cgroup is the directory of the child's cgroup; empty where there is none. It
// is gone when the child is.
func (p *Process) Cgroup() string {
	if c, ok := p.cell.(*cgroupCell); ok {
		return c.dir
	}
	return ""
}

// cpuTime reads usage_usec, which every cgroup but the root has, also without
// the controller cpu (kernel/cgroup/rstat.c, cgroup_base_stat_cputime_show).
func (c *cgroupCell) cpuTime() (CPUTime, error) {
	data, err := os.ReadFile(filepath.Join(c.dir, "cpu.stat"))
	if err != nil {
		return CPUTime{}, err
	}
	for line := range strings.Lines(string(data)) {
		value, ok := strings.CutPrefix(line, "usage_usec ")
		if !ok {
			continue
		}
		us, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if err != nil {
			return CPUTime{}, fmt.Errorf("cpu.stat: %w", err)
		}
		return CPUTime{time.Duration(us) * time.Microsecond, "cpu.stat"}, nil
	}
	return CPUTime{}, fmt.Errorf("%s/cpu.stat has no usage_usec", c.dir)
}

// cpuTime adds up the clocks of the processes. They are finer than the ticks
// of /proc/PID/stat, and a thread that has ended stays in them.
func (c *markedCell) cpuTime() (CPUTime, error) {
	pids, err := c.pids(maxPIDs)
	if err != nil {
		return CPUTime{}, err
	}
	t := CPUTime{By: "process clocks"}
	for _, pid := range pids {
		var ts unix.Timespec
		if unix.ClockGettime(processClock(pid), &ts) == nil { // else it has just ended
			t.Used += time.Duration(ts.Nano())
		}
	}
	return t, nil
}

// processClock is the CPU-time clock of another process (kernel/time/
// posix-cpu-timers.c, MAKE_PROCESS_CPUCLOCK with CPUCLOCK_SCHED).
func processClock(pid int) int32 { return ^int32(pid)<<3 | 2 }
