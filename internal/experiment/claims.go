package experiment

import (
	"slices"
	"time"
)

// What is known of a claim on this machine.
const (
	StatusMeasured    = "measured"              // Verdict is set
	StatusNotMeasured = "not measured yet"      // its experiment has not been run
	StatusLater       = "comes later"           // a module that is planned brings it
	StatusLesson      = "shown by lesson"       // nothing to measure: a lesson lets people see it
	StatusCannot      = "cannot be tested here" // this machine lacks something: Missing
)

// Claim is something that the article says, and how it is tested. Exactly one
// of Experiment, Lesson and Later is set.
type Claim struct {
	ID         string   `json:"id"`      // "T3b"
	Text       Text     `json:"text"`    // the claim in our own words, one or two sentences
	Section    string   `json:"section"` // of the article: "epoll", "tuning", "uring", "mesh", "road"
	Experiment string   `json:"experiment,omitempty"`
	Lesson     string   `json:"lesson,omitempty"` // id of a lab
	Later      string   `json:"later,omitempty"`  // id of the module that brings its experiment
	See        []string `json:"see,omitempty"`    // ids of further labs that show it
	Means      Text     `json:"means"`            // what "holds" means, in words; written before it is run
	Parts      []Part   `json:"parts"`            // the same for the machine; empty without an experiment
	Standing   Standing `json:"standing"`
}

// Part is one comparison that a claim rests on. A claim holds if all of its
// parts do, and in part if some do.
type Part struct {
	Series  string `json:"series"`
	Variant string `json:"variant"`
	Against string `json:"against"` // "" where Want is about the value itself
	Metric  string `json:"metric"`  // "" is the first of the experiment
	Want    Want   `json:"want"`    // "ratio <= 0.77"
	When    Text   `json:"when"`    // the condition that this part stands for: "with blocks of 4 KiB"
}

// Standing is what is known of a claim on this machine.
type Standing struct {
	Status  string        `json:"status"`            // one of the above
	Verdict *ClaimVerdict `json:"verdict"`           // null unless measured
	Run     int64         `json:"run,omitempty"`     // that gave the verdict
	Started time.Time     `json:"started,omitzero"`  // of the run
	Quick   bool          `json:"quick,omitempty"`   // it was a quick one
	Stale   bool          `json:"stale,omitempty"`   // it was made on another kernel or machine
	Missing []Missing     `json:"missing,omitempty"` // where it cannot be tested
}

// Stand tells what is known of a claim on this machine, from runs of its
// experiment that are done, the one to trust first, and what this machine lacks
// for it.
func Stand(c Claim, runs []*Result, missing []Missing, here MachineInfo) Standing {
	switch {
	case c.Lesson != "":
		return Standing{Status: StatusLesson}
	case c.Later != "":
		return Standing{Status: StatusLater}
	}
	var nothing *Standing // of the first run that measured nothing on it
	for _, r := range runs {
		for _, v := range r.Verdicts {
			if v.Claim != c.ID {
				continue
			}
			stale := r.Machine.Kernel != here.Kernel || r.Machine.CPU != here.CPU || r.Machine.CPUs != here.CPUs
			s := Standing{Status: StatusMeasured, Verdict: &v, Run: r.Run, Started: r.Started, Quick: r.Quick, Stale: stale}
			if v.measured() {
				return s
			}
			if nothing == nil {
				nothing = &s
			}
		}
	}
	if nothing != nil {
		return *nothing
	}
	if len(missing) > 0 {
		return Standing{Status: StatusCannot, Missing: missing}
	}
	return Standing{Status: StatusNotMeasured}
}

// measured tells whether the run gave anything on the claim.
func (v ClaimVerdict) measured() bool {
	return slices.ContainsFunc(v.Parts, func(t PartTest) bool { return t.Outcome != outcomeMissing })
}
