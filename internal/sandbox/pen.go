package sandbox

import "syscall"

// pen is a way to keep the descendants of a child together and to kill them as
// one.
type pen interface {
	// open makes the place for one child.
	open(name string, l Limits) (cell, error)
	// guardArgs tells Guard, in another process, what to kill and remove.
	guardArgs() []string
	// remove kills whatever is left of this server's children.
	remove() error
}

// cell is the place of one child.
type cell interface {
	// attr prepares the start of the first process.
	attr(a *syscall.SysProcAttr)
	// env is added to its environment.
	env() []string
	// pids lists the processes of the cell, at most so many.
	pids(most int) ([]int, error)
	// cpuTime is what the processes of the cell have used.
	cpuTime() (CPUTime, error)
	// kill kills every process of the cell, whose first process had that pid.
	// It may be called often.
	kill(pid int) error
	// remove waits until the killed are gone and removes the cell.
	remove(pid int) error
	// ended explains an end that the exit status does not show; else empty.
	ended() string
}
