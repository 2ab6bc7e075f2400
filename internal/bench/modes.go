package main

import (
	"fmt"
	"os"

	"kernelviz/internal/workload"
)

// modes are what this program is when it is its own child.
var modes = map[string]func(args []string) error{
	"viewers": viewersChild,
}

// child lives the life of a workload or of a mode and returns the exit code.
func child(kind, name string, args []string) int {
	live := modes[name]
	if kind == "workload" {
		live = func(args []string) error { return workload.Main(name, args) }
	}
	if live == nil {
		fmt.Fprintf(os.Stderr, "bench child: no mode %q\n", name)
		return 2
	}
	if err := live(args); err != nil {
		fmt.Fprintf(os.Stderr, "bench %s %s: %v\n", kind, name, err)
		return 1
	}
	return 0
}
