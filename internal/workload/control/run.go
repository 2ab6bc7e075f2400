package control

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// memoryLimit is where the garbage collector sets in, in bytes. Its scavenger
// sleeps on a timer, at which an epoll instance of the runtime may appear.
const memoryLimit = 384 << 20

// Run is the life of a workload whose control line is on descriptors 0 and 1:
// the main thread answers requests until the line ends.
func Run(name string, h Handler) error {
	if err := Quiet(name); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	runtime.LockOSThread()
	return Serve(FD(0), NewOut(FD(1)), h)
}
