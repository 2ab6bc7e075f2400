// Package workload starts the processes that labs observe and speaks with
// them. A workload is this same binary, executed again in a sandbox as
// `labserver workload NAME`; it takes actions and tells its system calls over
// its standard input and output (package control).
package workload

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"kernelviz/internal/sandbox"
	"kernelviz/internal/workload/churn"
	"kernelviz/internal/workload/clients"
	"kernelviz/internal/workload/herd"
	"kernelviz/internal/workload/puppet"
	"kernelviz/internal/workload/readiness"
	"kernelviz/internal/workload/ring"
	"kernelviz/internal/workload/trial"
)

// ErrUnknown is wrapped where there is no workload of that name.
var ErrUnknown = errors.New("unknown workload")

// kind is an entry of the registry.
type kind struct {
	name   string
	page   bool // may be started from the page
	lab    bool // may be started by a lab
	main   func(args []string) error
	limits sandbox.Limits
}

func kinds() []kind {
	return []kind{
		{
			name: "puppet", page: true, lab: true, main: noArgs(puppet.Main),
			limits: sandbox.Limits{Processes: 64, Memory: 1 << 30, CPU: 1, Files: 20_000},
		},
		{
			name: "ring", page: true, lab: true, main: noArgs(ring.Main),
			limits: sandbox.Limits{Processes: 64, Memory: 1 << 30, CPU: 2, Files: 20_000},
		},
		{
			name: "clients", lab: true, main: noArgs(clients.Main),
			limits: sandbox.Limits{Processes: 64, Memory: 2 << 30, CPU: 1, Files: 20_000},
		},
		{
			name: "herd", lab: true, main: noArgs(herd.Main),
			limits: sandbox.Limits{Processes: 128, Memory: 1 << 30, CPU: 2, Files: 20_000},
		},
		{
			name: "readiness", lab: true, main: noArgs(readiness.Main),
			limits: sandbox.Limits{Processes: 64, Memory: 1 << 30, CPU: 1, Files: 20_000},
		},
		{
			name: "churn", main: churn.Main,
			limits: sandbox.Limits{Processes: 4096, Memory: 4 << 30, Files: 20_000},
		},
		{name: "trial", main: noArgs(trial.Main)},   // started by package experiment
		{name: "holder", main: noArgs(puppet.Hold)}, // the puppet's child
		{name: "guardian", main: func(args []string) error { return sandbox.Guard(os.Stdin, args) }},
	}
}

// noArgs is for workloads that are told everything over the control line.
func noArgs(main func() error) func([]string) error {
	return func(args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unexpected arguments %q", args)
		}
		return main()
	}
}

// Names lists the workloads that the page may start.
func Names() []string { return namesOf(func(k kind) bool { return k.page }) }

// LabNames lists the workloads that a lab may start.
func LabNames() []string { return namesOf(func(k kind) bool { return k.lab }) }

func namesOf(which func(kind) bool) []string {
	var names []string
	for _, k := range kinds() {
		if which(k) {
			names = append(names, k.name)
		}
	}
	return names
}

func find(name string) (kind, error) {
	all := kinds()
	i := slices.IndexFunc(all, func(k kind) bool { return k.name == name })
	if i >= 0 {
		return all[i], nil
	}
	var names []string
	for _, k := range all {
		names = append(names, k.name)
	}
	return kind{}, fmt.Errorf("%w %q; known are %s", ErrUnknown, name, strings.Join(names, ", "))
}

// Main is the child's side: the life of the workload of that name. It must be
// called before anything in the process uses timers, files or sockets by the
// packages time, os and net.
func Main(name string, args []string) error {
	k, err := find(name)
	if err != nil {
		return err
	}
	if err := k.main(args); err != nil {
		return fmt.Errorf("workload %s: %w", name, err)
	}
	return nil
}
