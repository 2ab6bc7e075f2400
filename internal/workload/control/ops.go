package control

import (
	"encoding/json"
	"slices"
	"strings"
)

// Op is an action that a workload knows.
type Op struct {
	Name   string
	Fields []string // taken, beside op
	Needs  []string // of those, the ones that must be there
}

// NewOp is an op with its fields; a field that may be missing has a question
// mark behind its name.
func NewOp(name string, fields ...string) Op {
	o := Op{Name: name}
	for _, f := range fields {
		f, optional := strings.CutSuffix(f, "?")
		o.Fields = append(o.Fields, f)
		if !optional {
			o.Needs = append(o.Needs, f)
		}
	}
	return o
}

// Pick decodes an action strictly into a and returns which of the ops it is.
// who is the workload, for people.
func Pick(data json.RawMessage, who string, ops []Op, a any) (int, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return 0, Errorf("bad_action", "the action is not a JSON object: %v", err)
	}
	if err := Decode(data, a); err != nil {
		return 0, Errorf("bad_action", "the action does not fit: %v", err)
	}
	name := ""
	if raw, ok := fields["op"]; ok {
		if err := json.Unmarshal(raw, &name); err != nil {
			return 0, Errorf("bad_action", "op does not fit: %v", err)
		}
	}
	i := slices.IndexFunc(ops, func(o Op) bool { return o.Name == name })
	if i < 0 {
		return 0, Errorf("unknown_op", "unknown op %q; %s knows %s", name, who, opNames(ops))
	}
	o := &ops[i]
	for name := range fields {
		if name != "op" && !slices.Contains(o.Fields, name) {
			return 0, Errorf("bad_action", "op %s has no field %q; it takes %s", o.Name, name, List(o.Fields))
		}
	}
	for _, name := range o.Needs {
		if v, ok := fields[name]; !ok || string(v) == "null" {
			return 0, Errorf("bad_action", "op %s needs field %q", o.Name, name)
		}
	}
	return i, nil
}

func opNames(ops []Op) string {
	var names []string
	for _, o := range ops {
		names = append(names, o.Name)
	}
	return List(names)
}

// List joins names for people.
func List(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Bound is a number of an action, nil if it is not there, and what it may be.
type Bound struct {
	Name     string
	Value    *int
	Min, Max int
}

// Check returns the first number that is out of its bounds.
func Check(bounds ...Bound) error {
	for _, b := range bounds {
		if b.Value != nil && (*b.Value < b.Min || *b.Value > b.Max) {
			return Errorf("bad_action", "%s is %d, want %d to %d", b.Name, *b.Value, b.Min, b.Max)
		}
	}
	return nil
}

// Or is the number, or what stands for one that is not there.
func Or(p *int, missing int) int {
	if p == nil {
		return missing
	}
	return *p
}
