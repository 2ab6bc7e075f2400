// Package experiment measures variants of one program against each other on
// this machine and says what follows: interleaved trials, medians and spread,
// a ratio with its confidence interval, CPU time from the cgroup, system calls
// counted in the kernel; and no verdict where noise exceeds the effect.
package experiment

import "time"

// Text is a text in the two languages of the page.
type Text struct {
	En string `json:"en"`
	Zh string `json:"zh"`
}

// Info describes an experiment before it is run.
type Info struct {
	ID       string    `json:"id"` // "syscalls"
	Title    Text      `json:"title"`
	Question Text      `json:"question"` // one sentence
	About    Text      `json:"about"`    // what is done, how long, what to mind; plain text, paragraphs by blank lines
	Seconds  int       `json:"seconds"`  // about how long a run takes
	Quick    int       `json:"quick"`    // the same of a quick run
	Series   []Series  `json:"series"`   // the comparisons it is made of, at least one
	Metrics  []Metric  `json:"metrics"`  // the first is the one that verdicts use unless a claim says otherwise
	Missing  []Missing `json:"missing"`  // what this machine lacks; empty if at least a quick run can be made
}

// Series is one comparison: variants that do the same work, at one setting
// ("64 KiB, loopback"). Ratios are taken within a series.
type Series struct {
	ID       string    `json:"id"` // unique in the experiment: "lo-65536"
	Label    Text      `json:"label"`
	Variants []Variant `json:"variants"`
	Baseline string    `json:"baseline"` // id of the variant that ratios are to
	Quick    bool      `json:"quick"`    // it is part of a quick run
	// X is the value on the axis where the series of an experiment form a curve
	// (queue depth, active descriptors); NaN is not allowed, 0 where it is none.
	X float64 `json:"x"`
}

// Variant is one way to do the work of a series.
type Variant struct {
	ID    string `json:"id"` // the same way has the same id in all series: "pread-4k"
	Label Text   `json:"label"`
}

// Metric is a figure that every trial gives.
type Metric struct {
	ID     string `json:"id"` // "cpu_per_gb"
	Label  Text   `json:"label"`
	Unit   string `json:"unit"`   // "s/GB", "calls", "µs"
	Better string `json:"better"` // "lower", "higher" or "" where neither is
	Exact  bool   `json:"exact"`  // a count that does not vary by noise
}

// Missing is something that an experiment needs and this machine lacks.
type Missing struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	Fix    string `json:"fix"`
}

// Progress tells how far a run is. It is sent at most a few times a second.
type Progress struct {
	Run        int64   `json:"run"`
	Experiment string  `json:"experiment"`
	Phase      string  `json:"phase"` // "preparing", "warming up", "measuring", "cleaning up"
	Series     string  `json:"series"`
	Variant    string  `json:"variant"`
	Done       int     `json:"done"` // trials, warm-up counted
	Total      int     `json:"total"`
	Elapsed    float64 `json:"elapsed"` // seconds
	Left       float64 `json:"left"`    // seconds, estimated; -1 unknown
}

// Result is one run of an experiment. It is what is stored and exported.
type Result struct {
	Format     int            `json:"format"` // 1
	Run        int64          `json:"run"`    // number in the store; 0 if it is not kept
	Experiment string         `json:"experiment"`
	Quick      bool           `json:"quick"`
	Started    time.Time      `json:"started"`
	Seconds    float64        `json:"seconds"`
	State      string         `json:"state"` // "done", "cancelled", "failed", "timed out"
	Problem    string         `json:"problem,omitempty"`
	Version    string         `json:"version"` // of kernelviz
	Machine    MachineInfo    `json:"machine"`
	Conditions Conditions     `json:"conditions"`
	Series     []SeriesResult `json:"series"`
	Warnings   []Warning      `json:"warnings"`
	Parameters map[string]any `json:"parameters"` // sizes, rounds: what was run
	Runner     float64        `json:"runner"`     // CPU seconds of the runner itself while trials ran
	Trials     int            `json:"trials"`     // that were measured
	Verdicts   []ClaimVerdict `json:"verdicts"`   // of the claims that this experiment tests
}

// MachineInfo says where a result comes from.
type MachineInfo struct {
	Kernel  string `json:"kernel"`
	Machine string `json:"machine"` // "x86_64"
	CPU     string `json:"cpu"`     // model name
	CPUs    int    `json:"cpus"`
	Memory  uint64 `json:"memory"` // bytes
	Disk    string `json:"disk,omitempty"`
}

// Conditions are what else the machine did meanwhile.
type Conditions struct {
	LoadBefore float64 `json:"loadBefore"` // 1 minute
	LoadAfter  float64 `json:"loadAfter"`
	// Pressure is the share of the run in which some task waited (PSI some),
	// 0 to 1; -1 where the kernel does not tell.
	CPUPressure    float64 `json:"cpuPressure"`
	IOPressure     float64 `json:"ioPressure"`
	MemoryPressure float64 `json:"memoryPressure"`
	// Others is CPU time spent by others during the run, as a share of one CPU.
	Others float64 `json:"others"`
	Steal  float64 `json:"steal"` // share of one CPU taken by the hypervisor
}

// Warning is a reason to trust a result less.
type Warning struct {
	// Code is "quick", "few_cpus", "busy", "steal", "spread", "failed",
	// "uncounted" or "unkept"; in notes "failed", "few_cpus" or "copied".
	Code string `json:"code"`
	Text string `json:"text"`         // English
	Zh   string `json:"zh,omitempty"` // Chinese; empty where the text is an error's
}

// SeriesResult is what was measured in one series.
type SeriesResult struct {
	ID       string          `json:"id"`
	X        float64         `json:"x"`
	Baseline string          `json:"baseline"`
	Variants []VariantResult `json:"variants"`
	// Comparisons has each variant but the baseline against it, by each metric.
	Comparisons []Comparison `json:"comparisons"`
}

// VariantResult is what one variant gave.
type VariantResult struct {
	ID      string             `json:"id"`
	Metrics map[string]Summary `json:"metrics"`
	// Syscalls are those of the measured part of one trial, by name, counted in
	// the kernel: medians over the trials.
	Syscalls map[string]float64 `json:"syscalls"`
	Notes    []Warning          `json:"notes,omitempty"`
	Failed   int                `json:"failed,omitempty"` // trials that failed
}

// Summary describes the trials of a variant by one metric.
type Summary struct {
	Values []float64 `json:"values"` // in order of the trials
	// Rounds are those of the values, from 0, where a trial failed; else the
	// values are of rounds 0, 1, 2…
	Rounds []int   `json:"rounds,omitempty"`
	Median float64 `json:"median"`
	Low    float64 `json:"low"`  // quartile
	High   float64 `json:"high"` // quartile
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	// Spread is the half-width of the quartiles over the median.
	Spread float64 `json:"spread"`
}

// Comparison is a variant against the baseline of its series by one metric:
// the ratio variant/baseline, from trials paired by round.
type Comparison struct {
	Variant string  `json:"variant"`
	Metric  string  `json:"metric"`
	Ratio   float64 `json:"ratio"` // median
	Low     float64 `json:"low"`   // bounds of the confidence interval
	High    float64 `json:"high"`
	Level   float64 `json:"level"`         // confidence reached: 0.95 or the best that this many trials allow
	Clear   bool    `json:"clear"`         // the interval excludes 1 by more than the noise floor
	Why     string  `json:"why,omitempty"` // why it is not clear: "few", "noise", "tie"
}

// The verdicts.
const (
	Holds       = "holds"
	HoldsInPart = "holds in part"
	DoesNotHold = "does not hold here"
	NoVerdict   = "no verdict" // nothing follows; Why says why
)

// ClaimVerdict is what a run says of a claim.
type ClaimVerdict struct {
	Claim   string     `json:"claim"`         // id in claims.yaml
	Verdict string     `json:"verdict"`       // one of the above
	When    Text       `json:"when"`          // where it holds in part: under which condition
	Reason  Text       `json:"reason"`        // the numbers in a sentence for each metric; empty where nothing was measured
	Why     string     `json:"why,omitempty"` // where a part has no outcome: the cause that matters most, as in PartTest
	Because Text       `json:"because"`       // the same in a sentence for each cause
	Parts   []PartTest `json:"parts"`
}

// PartTest is one comparison that a claim rests on.
type PartTest struct {
	Series  string  `json:"series"`
	Variant string  `json:"variant"`
	Against string  `json:"against"`
	Metric  string  `json:"metric"`
	Want    string  `json:"want"` // "ratio <= 0.77"
	Ratio   float64 `json:"ratio"`
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
	Rounds  int     `json:"rounds"`  // that it rests on
	Outcome string  `json:"outcome"` // "holds", "does not hold", "unclear", "missing"
	// Why it is unclear ("noise", "few") or missing ("quick", "failed",
	// "uncounted", "absent"; "few" where no two trials are of one round).
	Why string `json:"why,omitempty"`
}
