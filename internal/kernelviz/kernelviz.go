// Package kernelviz is the vocabulary that every view of the kernel shares:
// what can be watched (Target), how it is read (Tier), what was seen (Snapshot)
// and how far it can be trusted (Truth).
//
// Data flows one way: a View discovers targets and opens a Watch on one of
// them; the Watch samples the kernel into an immutable Snapshot; a Snapshot
// writes itself as rows of a wire frame and as facts for checks. The package
// knows nothing of HTTP, websockets or lessons.
package kernelviz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind numbers a view in the header of a frame. A number is never reused.
type Kind uint8

// The kinds of view.
const (
	KindEpoll Kind = 1
	KindUring Kind = 2
)

// ErrGone is returned by Watch.Sample when the kernel object no longer exists
// under the name it was opened with: its process died or its fd was closed.
var ErrGone = errors.New("target is gone")

// ErrNotFound is returned by View.Open when there is no such object.
var ErrNotFound = errors.New("no such target")

// Topic names one kernel object of one view, as it stands in a URL and in
// every control message: "epoll/1234:5".
type Topic struct {
	View string // name of the view, "epoll"
	Name string // name of the object within the view, "1234:5"
}

// ParseTopic reads "view/name".
func ParseTopic(s string) (Topic, error) {
	view, name, ok := strings.Cut(s, "/")
	if !ok || view == "" || name == "" {
		return Topic{}, fmt.Errorf("topic %q: want VIEW/NAME, for example epoll/1234:5", s)
	}
	return Topic{View: view, Name: name}, nil
}

func (t Topic) String() string { return t.View + "/" + t.Name }

// Target is one kernel object that a view can show.
type Target struct {
	View     string `json:"view"`
	Name     string `json:"name"` // unique within the view, "1234:5"
	PID      int    `json:"pid"`  // thread group id in the initial pid namespace
	Comm     string `json:"comm"`
	FD       int    `json:"fd"`
	Instance uint32 `json:"instance"` // small stable id of the kernel object; equal where processes share it, 0 if unknown
	Items    int    `json:"items"`    // what the object holds now; -1 if unknown
}

// Tier is one way of reading the kernel, best first in View.Tiers.
type Tier struct {
	Name   string `json:"name"`           // "bpf-kfunc"
	Label  string `json:"label"`          // "BPF, kfunc reads"
	Chosen bool   `json:"chosen"`         // exactly one tier of a view is chosen
	Reason string `json:"reason"`         // why it is, or is not, used on this machine
	Code   string `json:"code,omitempty"` // stable name of the reason, for translation; empty if it has none
	Fix    string `json:"fix,omitempty"`  // the command or step that would give it; empty if none
}

// Truth says how a snapshot was made and how far it can be trusted. It travels
// with every frame and the page shows it under every picture.
type Truth struct {
	Tier     int           // index into View.Tiers
	Whole    bool          // every invariant of the view held
	Broken   Broken        // the first invariant that did not hold; BrokenNone if Whole
	Instant  bool          // proved to be the state at one instant (double collect), not only legal
	At       time.Duration // CLOCK_MONOTONIC time when the read ended
	Read     time.Duration // time spent in the kernel on the reads of this sample, retries included
	Check    time.Duration // time spent checking and building the model
	Samples  uint64        // samples since the watch was opened
	Torn     uint64        // snapshots that broke an invariant since then, and were read again
	Marked   uint64        // samples that no retry made whole
	Lost     uint64        // transitions counted in the kernel but lost on their way
	Cost     float64       // share of one CPU spent on watching this target, lately
	Attached bool          // event programs are attached to the kernel for this watch
}

// Broken names an invariant that a snapshot did not meet. The numbers are part
// of the wire format.
type Broken uint8

// BrokenNone means that all invariants held. A view defines its own from 1.
const BrokenNone Broken = 0

// Viewport is the part of a large object that somebody looks at. The zero
// value asks for all of it. It is comparable, so viewers of the same part
// share frames.
type Viewport struct {
	Lo, Hi uint32 // ranks [Lo, Hi); Hi 0 means to the end
	Px     uint16 // width in CSS pixels; 0 means 1280
}

// Facts are the names that checks of lessons may use, with their values:
// bool, int, float64 or string. The names are dotted and begin with the view.
type Facts map[string]any

// View is one way of looking at the kernel. Its methods may be called
// concurrently.
type View interface {
	Kind() Kind
	Name() string // "epoll": the prefix of topics and URLs
	// Tiers lists the ways to read, best first, with the choice and reasons.
	Tiers() []Tier
	// FactList describes the Facts of its snapshots.
	FactList() []Fact
	// Targets lists every object on the machine that can be shown.
	Targets(ctx context.Context) ([]Target, error)
	// Open starts watching the object of that name. It returns an error
	// wrapping ErrNotFound if there is none. The caller closes the Watch.
	Open(ctx context.Context, name string) (Watch, error)
	// Close releases programs and maps. All watches are closed before.
	Close() error
}

// Watch is one object being watched. Sample, Inspect and Close are called from
// one goroutine at a time.
type Watch interface {
	// Target describes the object as it was opened.
	Target() Target
	// Sample reads the object now. An error wrapping ErrGone ends the watch.
	// The snapshot is immutable and stays valid after the next Sample.
	Sample(ctx context.Context) (Snapshot, error)
	// Wake delivers a value when the kernel reported a change, so that the
	// next Sample need not wait for its turn. It may be nil.
	Wake() <-chan struct{}
	// Inspect tells everything about one object in the picture, by its small
	// id; object 0 is the target itself.
	Inspect(ctx context.Context, object string, id uint32) (Detail, error)
	Close() error
}

// Snapshot is what a Watch saw at one time.
type Snapshot interface {
	Truth() Truth
	Facts() Facts
	// Items is the number of things drawn; above MaxWhole a viewport applies.
	Items() int
	// Glyphs tells that frames of this snapshot carry glyphs for a viewport:
	// there are more than MaxWhole items and the tier sees their shape.
	Glyphs() bool
	// AppendSections appends the sections of a frame for the viewport to dst.
	// With a base (an earlier snapshot of the same Watch) only what changed
	// since is written; base nil writes a key frame. It returns the extended
	// slice, the number of rows and whether the frame stands alone.
	AppendSections(dst []byte, vp Viewport, base Snapshot) (out []byte, rows uint32, key bool)
}

// MaxWhole is the number of items up to which a frame carries all of them; the
// page culls. Above it, frames carry glyphs for a Viewport.
const MaxWhole = 4096

// Detail is the inside of one kernel struct: layout from the running kernel's
// BTF, values from its memory.
type Detail struct {
	Object  string  `json:"object"` // "node", "instance", "file", "waiter"
	ID      uint32  `json:"id"`
	Title   string  `json:"title"` // "fd 37"
	Structs []Bytes `json:"structs"`
	Notes   []Note  `json:"notes,omitempty"`
}

// Bytes is one struct of the running kernel with its values.
type Bytes struct {
	Name   string  `json:"name"`   // "struct epitem"
	Size   int     `json:"size"`   // bytes
	Source string  `json:"source"` // "fs/eventpoll.c"
	Fields []Field `json:"fields"`
}

// Field is one member of a kernel struct.
type Field struct {
	Path   string `json:"path"`   // "rbn.__rb_parent_color"
	Type   string `json:"type"`   // "long unsigned int"
	Offset int    `json:"offset"` // bytes from the start of the struct
	Size   int    `json:"size"`   // bytes
	Value  string `json:"value"`  // for people; kernel addresses as small ids
	Note   string `json:"note,omitempty"`
}

// Note is a sentence about the object: a key for translation with its
// parameters.
type Note struct {
	Key  string            `json:"key"`
	Args map[string]string `json:"args,omitempty"`
}
