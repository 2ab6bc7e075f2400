// Package catalog lists the experiments. One is written here as a Definition,
// in a file of its own, and its processes as a work of package trial.
package catalog

import "kernelviz/internal/experiment"

// All are the experiments in the order in which people are shown them.
func All() []experiment.Definition {
	return []experiment.Definition{
		Syscalls(),
		ODirect(),
		Zerocopy(),
		Echo(),
		Readiness(),
		Herd(),
	}
}
