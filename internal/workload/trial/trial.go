// Package trial is the workload that experiments measure: one process does one
// part of one trial, told over its standard input and output, one JSON value a
// line:
//
//	→ {"experiment":"zerocopy","series":"lo-65536","variant":"sendfile","role":"sender",…}   Spec
//	← {"ready":{"port":41022}}               it has prepared; nothing runs until it is told
//	→ {"go":{"receiver":{"port":41022}}}     what the roles started before it said with ready
//	← {"report":{"seconds":1.2,"bytes":…}}   or {"error":"…"}
//
// After its report it sleeps in a read until its input ends: whoever measures
// reads its CPU time and its system calls meanwhile, and nothing of starting
// and ending the process is in them. Between ready and report it makes no
// system call that is not part of the work, as far as Go's runtime lets it.
package trial

import "encoding/json"

// Spec is what one process of a trial is to do.
type Spec struct {
	Experiment string             `json:"experiment"`
	Series     string             `json:"series"`
	Variant    string             `json:"variant"`
	Role       string             `json:"role"`
	Params     map[string]float64 `json:"params"` // sizes and counts
	Dir        string             `json:"dir"`    // for files; made and removed by the experiment
}

// Report is what one process did between go and report.
type Report struct {
	Seconds float64            `json:"seconds"` // wall time of the work
	Bytes   uint64             `json:"bytes"`
	Ops     uint64             `json:"ops"` // requests, reads, connections: what the experiment counts
	Metrics map[string]float64 `json:"metrics,omitempty"`
	Notes   []Note             `json:"notes,omitempty"`
}

// Note is something to know about a trial: "copied" where MSG_ZEROCOPY copied.
type Note struct {
	Code string `json:"code"`
	Text string `json:"text"`         // English
	Zh   string `json:"zh,omitempty"` // Chinese
}

// Work is one role of one variant. Run is called once, after Prepare; Close
// always.
type Work interface {
	// Prepare does all that is not to be measured. What it returns is sent with
	// ready, for the roles that start later; it may be nil.
	Prepare() (said any, err error)
	// Run does the work. peers are what the roles started before said, by name.
	Run(peers map[string]json.RawMessage) (Report, error)
	Close() error
}
