package experiment

import (
	"context"
	"time"

	"kernelviz/internal/workload/trial"
)

// Definition is an experiment: what is compared, and how one trial is made and
// turned into figures. Its functions are called from one goroutine.
type Definition struct {
	Info Info
	// Rounds are the measured trials of every variant; one more before them
	// warms up and is not kept. Variants take turns within a round, in an order
	// that changes from round to round.
	Rounds, QuickRounds int
	// Limit ends a trial that takes longer; it has failed then.
	Limit time.Duration
	// Needs tells what this machine lacks for it. dir is where its files would
	// lie. nil: it needs nothing but Linux.
	Needs func(ctx context.Context, dir string, quick bool) []Missing
	// Setup makes what all trials share, in dir; nil if there is nothing. The
	// runner removes dir afterwards, however the run ended.
	Setup func(ctx context.Context, dir string, quick bool) error
	// Plan says which processes a trial is made of.
	Plan func(series, variant, dir string, quick bool) (Plan, error)
	// Measure turns what the processes did into Info.Metrics, by id: of a trial
	// that is Counted those that come from counted system calls, else the others.
	// Where both give a metric, the trials that were not counted are used, and of
	// an exact metric those that were.
	Measure func(t Trial) (map[string]float64, error)
	// Parameters are told in the result.
	Parameters func(quick bool) map[string]any
}

// Plan is the processes of one trial, in the order in which they are started.
// All prepare before the first is told to go; they are told in order too, and
// the trial ends when the last one has reported. The others are then given ten
// seconds to report, which is what a server uses that ends with its clients; one
// that does not has failed.
type Plan struct {
	Roles []Role
	// Veth gives the trial two network namespaces with a veth pair between them,
	// 10.77.0.1 on side 0 and 10.77.0.2 on side 1; else all roles share one
	// namespace, which has nothing but loopback.
	Veth bool
}

// Role is one process of a trial.
type Role struct {
	Spec trial.Spec // Role, Params; the runner fills in the rest
	Side int        // namespace, where there are two
	// Count wants its system calls counted in the kernel. That costs each call
	// about 30 ns, so time is measured in rounds without; see Trial.Counted.
	Count bool
}

// Trial is what one trial gave.
type Trial struct {
	Series, Variant string
	Seconds         float64 // of the last role
	Roles           map[string]RoleReport
	// Counted tells that this was the round in which system calls are counted;
	// its times are not used.
	Counted bool
}

// RoleReport is what one process did and cost.
type RoleReport struct {
	Report trial.Report
	// CPU is the time of its cgroup between ready and report, in seconds;
	// kernel threads that work for it (io-wq, SQPOLL) are included.
	CPU float64
	// Syscalls are those it made meanwhile, by name; nil if not counted.
	Syscalls map[string]uint64
	Switches uint64 // voluntary context switches of its threads
}
