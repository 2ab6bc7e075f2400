package experiment

import "kernelviz/internal/kernelviz/syscalls"

// Counter counts system calls in the kernel.
type Counter interface {
	// Count begins to count those of all processes in a cgroup, or where that
	// is empty of the processes with these ids.
	Count(cgroup string, pids []int) (Count, error)
}

// Count is a running count.
type Count interface {
	// Read returns the calls begun since, by name, and their total.
	Read() (byName map[string]uint64, total uint64, err error)
	// Close ends it.
	Close()
}

// KernelCounter counts by BPF.
func KernelCounter(c *syscalls.Counter) Counter { return kernelCounter{c} }

type kernelCounter struct{ c *syscalls.Counter }

func (k kernelCounter) Count(cgroup string, pids []int) (Count, error) {
	of := syscalls.Of{Cgroup: cgroup}
	if cgroup == "" {
		of.PIDs = pids
	}
	return k.c.Start(of)
}
