// Package lab is a lab as data: its folder read strictly (Load), its texts
// rendered (Page), and one learner's attempt at it judged by facts (Run). It
// starts nothing and watches nothing: package session does that and hands it
// the facts.
package lab

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Text is a text in both languages. An empty Zh falls back to En.
type Text struct {
	En string `json:"en"`
	Zh string `json:"zh"`
}

// In is the text in a language, English where there is no other.
func (t Text) In(lang string) string {
	if lang == "zh" && t.Zh != "" {
		return t.Zh
	}
	return t.En
}

// Problem is what is wrong with a lab, at a place in one of its files.
type Problem struct {
	File    string // from the labs folder: "010-epoll/020-growing/lab.yaml"
	Line    int    // from 1; 0 if the problem is the whole file
	Column  int    // from 1; 0 if the problem is the whole line
	Message string
	// Warning marks what is listed and fails nothing: a translation that is
	// older than its English text.
	Warning bool
}

func (p Problem) Error() string {
	switch {
	case p.Line == 0:
		return fmt.Sprintf("%s: %s", p.File, p.Message)
	case p.Column == 0:
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// Catalog is all that a labs folder holds. It is immutable.
type Catalog struct {
	Modules  []*Module
	Problems []Problem // sorted by file and place

	untranslated []Problem // texts that have no Chinese
}

// Lab is the lab of that id, nil if there is none.
func (c *Catalog) Lab(id string) *Lab {
	for _, m := range c.Modules {
		for _, l := range m.Labs {
			if l.ID == id {
				return l
			}
		}
	}
	return nil
}

// Module is a row of labs about one thing.
type Module struct {
	ID             string
	Dir            string // in the labs folder: "010-epoll"
	Title, Summary Text
	Requires       []string // ids of modules
	Planned        bool     // announced, has no labs yet
	Labs           []*Lab   // in order
}

// Lab is one lab. It is immutable.
type Lab struct {
	ID             string
	Dir            string // in the labs folder: "010-epoll/020-growing"
	Module         *Module
	Number         int // in its module, from 1
	Title, Summary Text
	Minutes        int
	Needs          []string
	Network        string // "host" or "own"
	Params         map[string]Range
	Workloads      []*Workload
	Stage          *Stage // nil: none
	Terminal       bool
	Code           *Code // nil: no editor
	Actions        map[string]*Action
	Steps          []*Step
	// Scripts are the checks/*.sh, by their path in the lab.
	Scripts map[string]string
	// Media are the pictures, by their path in the lab: "media/wq.svg".
	Media map[string][]byte

	actionNames      []string // in the order of lab.yaml
	previous, next   string   // ids in the order of the catalog; empty at the ends
	words            *vocabulary
	values           []*expression // live values, by number
	lessons          map[string]*lesson
	hasZh, zhIsStale bool
	english          string   // hash of lesson.en.md
	sources          []string // of every expression
	print            uint64   // hash of all that was read: equal if nothing changed
	files            []string // everything in its folder, by path in the lab
	references       []reference
	pictures         []string // shown by its texts, by path in the lab
}

// afterName matches what a name that goes on ends with.
var afterName = regexp.MustCompile(`[A-Za-z0-9_.]$`)

// Uses tells that an expression of the lab names a fact, or one that begins so:
// "program.fds", "terminal.".
func (l *Lab) Uses(fact string) bool {
	for _, source := range l.sources {
		for rest := source; ; {
			i := strings.Index(rest, fact)
			if i < 0 {
				break
			}
			if head := strings.TrimSuffix(rest[:i], "before."); !afterName.MatchString(head) {
				return true
			}
			rest = rest[i+len(fact):]
		}
	}
	return false
}

// Range is what a parameter is drawn from, both ends included.
type Range struct{ From, To int }

// Draw draws the parameters of an attempt.
func (l *Lab) Draw(rnd *rand.Rand) map[string]int {
	drawn := make(map[string]int, len(l.Params))
	names := make([]string, 0, len(l.Params))
	for name := range l.Params {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p := l.Params[name]
		drawn[name] = p.From + rnd.IntN(p.To-p.From+1)
	}
	return drawn
}

// Workload is a process that the lab starts.
type Workload struct {
	Name  string
	Setup []json.RawMessage // actions, as written; Actions fills in the parameters

	setup []*value
	words *vocabulary
}

// Stage says what the stage shows.
type Stage struct {
	View string `json:"view"` // "epoll" or "uring"
	Of   string `json:"of"`   // name of a workload, or "program"
	FD   int    `json:"fd"`   // of the workload; 0 for a program
}

// Code is what the editor offers.
type Code struct {
	Language          string // "c" or "go"
	Files             []string
	Args, Flags       []string
	Seconds           int
	Starter, Solution map[string]string // texts by file; Solution has those that differ
}

// The kinds of action.
const (
	KindWorkload = "workload"
	KindRun      = "run"
	KindType     = "type"
	KindOpen     = "open"
	KindFocus    = "focus"
	KindTab      = "tab"
	KindBuild    = "build"
	KindKill     = "kill"
)

// Action is something that text and steps offer.
type Action struct {
	Name     string
	Kind     string
	Workload string          // of a KindWorkload: who does it
	Do       json.RawMessage // and what, as written
	Command  string          // of a KindRun or KindType, as written
	File     string          // of a KindOpen
	Line     int             // of a KindOpen; 0 if it names none
	Tab      string          // of a KindTab: tree, lists, rings, timeline, struct or table

	do      *value
	command *template
	focus   *expression
	text    string // what it does, with {{number}} for live values
}

// Button is an action in a step.
type Button struct {
	Action string
	Label  Text
}

// The kinds of check.
const (
	KindEdge  = "edge"
	KindLevel = "level"
	KindShell = "shell"
)

// Condition is what a step asks of the kernel: its check.
type Condition struct {
	Kind   string
	Expr   string        // empty for KindShell
	Shell  string        // path in the lab; for KindShell only
	Within time.Duration // 0: no limit

	expr *expression
}

// Step is one thing to do in a lab.
type Step struct {
	ID      string
	Title   Text
	Text    Text // Markdown as written; empty if none
	Do      []Button
	Predict *Predict // nil: none
	Check   Condition
	Hints   []Hint
	Solve   []Move

	text HTML
}

// Predict is a question that is answered before the step begins.
type Predict struct {
	Question Text
	Choices  []Choice        // empty if a node is asked for
	Node     *NodePrediction // nil if a choice is asked for

	question HTML
}

// Choice is one answer.
type Choice struct {
	ID        string
	Text, Why Text
	Right     bool

	text, why HTML
}

// NodePrediction asks for a node of the tree.
type NodePrediction struct {
	right     *expression // of item
	wrong     []wrongNode
	otherwise HTML
	why       HTML
}

type wrongNode struct {
	when *expression // of item
	why  HTML
}

// Hint is one hint.
type Hint struct {
	Text Text

	when *expression // nil: always
	text HTML
}

// HTML is a text in both languages, rendered: safe HTML, in which live values
// are <output> elements.
type HTML struct {
	En string `json:"en"`
	Zh string `json:"zh"`
}

// The kinds of move.
const (
	MoveDo       = "do"
	MoveWorkload = "workload"
	MoveRun      = "run"
	MoveBuild    = "build"
	MoveKill     = "kill"
	MoveWait     = "wait"
)

// Move is one part of a step's solution.
type Move struct {
	Kind     string
	Action   string          // of a MoveDo: name of the action
	Workload string          // of a MoveWorkload
	Do       json.RawMessage // of a MoveWorkload, as written
	Command  string          // of a MoveRun, as written
	Build    string          // of a MoveBuild: "solution"
	Wait     string          // of a MoveWait: the expression
	Within   time.Duration   // of a MoveWait: the longest that it may take

	do      *value
	command *template
	wait    *expression
}
