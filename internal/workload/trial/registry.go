package trial

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrUnknown is wrapped where nothing plays that role.
var ErrUnknown = errors.New("unknown role of an experiment")

// maker makes the work that a Spec asks for. It refuses variants and
// parameters that it does not know.
type maker func(Spec) (Work, error)

// works has one line for each role of each experiment: "EXPERIMENT/ROLE".
func works() map[string]maker {
	return map[string]maker{
		"syscalls/reader":   newSyscalls,
		"odirect/reader":    newODirect,
		"echo/server":       newEchoServer,
		"echo/load":         newEchoLoad,
		"zerocopy/receiver": newZerocopyReceiver,
		"zerocopy/sender":   newZerocopySender,
		"readiness/server":  newReadiness,
		"herd/workers":      newHerdWorkers,
		"herd/clients":      newHerdClients,
	}
}

// find returns the work that the spec asks for.
func find(all map[string]maker, s Spec) (Work, error) {
	key := s.Experiment + "/" + s.Role
	make := all[key]
	if make == nil {
		var known []string
		for k := range all {
			known = append(known, k)
		}
		slices.Sort(known)
		return nil, fmt.Errorf("%w: %.80q; known are %s", ErrUnknown, key, strings.Join(known, ", "))
	}
	return make(s)
}
