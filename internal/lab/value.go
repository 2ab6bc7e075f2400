package lab

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// template is a text in which {{expression}} stands for a value.
type template struct {
	parts []templatePart
}

type templatePart struct {
	literal string
	expr    *expression // nil: literal
}

// split cuts a text at its {{expressions}}. visit is called for every
// expression, with its place in bytes; a {{ without }} ends with an error.
func split(source string, literal func(string), visit func(expr string, at int)) error {
	at := 0
	for {
		i := strings.Index(source[at:], "{{")
		if i < 0 {
			literal(source[at:])
			return nil
		}
		literal(source[at : at+i])
		at += i + 2
		end := strings.Index(source[at:], "}}")
		if end < 0 {
			return fmt.Errorf("{{ without }}")
		}
		visit(strings.TrimSpace(source[at:at+end]), at)
		at += end + 2
	}
}

// template compiles a text of a YAML file. In setup, only parameters may stand
// in it.
func (d *decoder) template(n *node, source string) *template {
	t := &template{}
	err := split(source,
		func(s string) {
			if s != "" {
				t.parts = append(t.parts, templatePart{literal: s})
			}
		},
		func(s string, _ int) { t.parts = append(t.parts, templatePart{expr: d.compile(n, s, wantAny, false)}) })
	if err != nil {
		d.fail(n, "%v", err)
	}
	return t
}

// eval fills a template in. A template that is one expression keeps its type.
func (t *template) eval(env map[string]any) (any, error) {
	if len(t.parts) == 1 && t.parts[0].expr != nil {
		return t.parts[0].expr.eval(env)
	}
	return t.text(env)
}

func (t *template) text(env map[string]any) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.expr == nil {
			b.WriteString(p.literal)
			continue
		}
		v, err := p.expr.eval(env)
		if err != nil {
			return "", fmt.Errorf("{{%s}}: %w", p.expr.source, err)
		}
		b.WriteString(show(v))
	}
	return b.String(), nil
}

// commandLine fills in a line for a terminal. Only what the author wrote may hold
// control characters, such as the end of a line.
func (t *template) commandLine(env map[string]any) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.expr == nil {
			b.WriteString(p.literal)
			continue
		}
		v, err := p.expr.eval(env)
		if err != nil {
			return "", fmt.Errorf("{{%s}}: %w", p.expr.source, err)
		}
		b.WriteString(strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return -1
			}
			return r
		}, show(v)))
	}
	return b.String(), nil
}

// shown is the template with {{number}} for each live value.
func (t *template) shown(l *Lab) string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.expr == nil {
			b.WriteString(p.literal)
			continue
		}
		fmt.Fprintf(&b, "{{%d}}", l.live(p.expr))
	}
	return b.String()
}

// value is a JSON value with templates in its texts.
type value struct {
	scalar   any // where it is none of the others
	template *template
	keys     []string
	fields   map[string]*value
	items    []*value
	isList   bool
}

// value reads an action's JSON out of a YAML value.
func (d *decoder) value(n *node) *value {
	switch n.kind {
	case mapping:
		v := &value{fields: make(map[string]*value, len(n.keys))}
		for _, k := range n.keys {
			name, _ := k.value.(string)
			v.keys = append(v.keys, name)
			v.fields[name] = d.value(n.fields[name])
		}
		return v
	case sequence:
		v := &value{isList: true}
		for _, item := range n.items {
			v.items = append(v.items, d.value(item))
		}
		return v
	}
	if s, ok := n.value.(string); ok {
		if len(s) > maxText {
			d.fail(n, "the text has %d bytes; at most %d are taken", len(s), maxText)
			return &value{}
		}
		if strings.Contains(s, "{{") {
			return &value{template: d.template(n, s)}
		}
	}
	return &value{scalar: n.value}
}

// eval fills the value in.
func (v *value) eval(env map[string]any) (any, error) {
	switch {
	case v.template != nil:
		out, err := v.template.eval(env)
		if err != nil && len(v.template.parts) == 1 && v.template.parts[0].expr != nil {
			return nil, fmt.Errorf("{{%s}}: %w", v.template.parts[0].expr.source, err)
		}
		return out, err
	case v.isList:
		out := make([]any, 0, len(v.items))
		for _, item := range v.items {
			x, err := item.eval(env)
			if err != nil {
				return nil, err
			}
			out = append(out, x)
		}
		return out, nil
	case v.fields != nil:
		out := make(map[string]any, len(v.fields))
		for name, field := range v.fields {
			x, err := field.eval(env)
			if err != nil {
				return nil, err
			}
			out[name] = x
		}
		return out, nil
	}
	return v.scalar, nil
}

func (v *value) json(env map[string]any) (json.RawMessage, error) {
	out, err := v.eval(env)
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}

// raw is the value as JSON, with its templates as they were written.
func (n *node) raw() json.RawMessage {
	out, err := json.Marshal(n.plain())
	if err != nil {
		return nil // NaN or infinity; the workload will refuse it
	}
	return out
}

func (n *node) plain() any {
	switch n.kind {
	case mapping:
		out := make(map[string]any, len(n.keys))
		for name, field := range n.fields {
			out[name] = field.plain()
		}
		return out
	case sequence:
		out := make([]any, 0, len(n.items))
		for _, item := range n.items {
			out = append(out, item.plain())
		}
		return out
	}
	return n.value
}

// shown is the value in one line: "add epfd=3 what=eventfd n={{2}}".
func (v *value) shown(l *Lab) string {
	switch {
	case v.template != nil:
		return v.template.shown(l)
	case v.isList:
		parts := make([]string, 0, len(v.items))
		for _, item := range v.items {
			parts = append(parts, item.shown(l))
		}
		return strings.Join(parts, "|")
	case v.fields != nil:
		var parts []string
		if op := v.fields["op"]; op != nil {
			parts = append(parts, op.shown(l))
		}
		for _, k := range v.keys {
			if k != "op" {
				parts = append(parts, k+"="+v.fields[k].shown(l))
			}
		}
		return strings.Join(parts, " ")
	}
	return fmt.Sprint(v.scalar)
}
