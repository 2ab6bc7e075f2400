package lab

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of a YAML file. The parser's time grows with the square of the depth.
const (
	maxYAML  = 256 << 10
	maxDepth = 64
)

// node is a YAML value with its place. It is what the parser's tree holds once
// anchors, aliases, tags and merges are refused.
type node struct {
	line, column int
	// value is string, int, float64, bool or nil of a scalar; else nil.
	value  any
	kind   nodeKind
	keys   []*node          // of a mapping, in order; value is the name
	fields map[string]*node // of a mapping
	items  []*node          // of a sequence
}

type nodeKind int

const (
	scalar nodeKind = iota
	mapping
	sequence
)

func (n *node) what() string {
	switch n.kind {
	case mapping:
		return "a mapping"
	case sequence:
		return "a list"
	}
	switch v := n.value.(type) {
	case nil:
		return "nothing"
	case string:
		return fmt.Sprintf("the text %q", clip(v, 40))
	case bool:
		return fmt.Sprintf("%t", v)
	default:
		return fmt.Sprintf("the number %v", v)
	}
}

// clip shortens a text for a message.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n]) + "…"
}

// parseYAML reads one document.
func parseYAML(file, source string) (*node, *Problem) {
	fail := func(line, column int, format string, args ...any) (*node, *Problem) {
		return nil, &Problem{File: file, Line: line, Column: column, Message: fmt.Sprintf(format, args...)}
	}
	if line := tooDeep(source); line > 0 {
		return fail(line, 0, "nested deeper than %d levels", maxDepth)
	}
	f, err := parser.ParseBytes([]byte(source), 0)
	if err != nil {
		var syntax *yaml.SyntaxError
		if !errors.As(err, &syntax) || syntax.Token == nil {
			return fail(0, 0, "no YAML: %v", err)
		}
		at := syntax.Token.Position
		message := syntax.Message
		if strings.Contains(lineOf(source, at.Line), ": {{") {
			message += `; a value that begins with {{ must stand in quotes: "{{param.n}}"`
		}
		return fail(at.Line, at.Column, "%s", message)
	}
	if len(f.Docs) == 0 || f.Docs[0].Body == nil {
		return fail(0, 0, "the file is empty")
	}
	if len(f.Docs) > 1 {
		line, column := place(f.Docs[1].Body)
		return fail(line, column, "a second document; a file holds one")
	}
	return convert(file, f.Docs[0].Body)
}

// tooDeep finds the line where nesting passes maxDepth, by brackets and by
// dashes in a row; 0 if it never does. It may count brackets in text, of which
// that many never stay open.
func tooDeep(source string) int {
	open := 0
	for i, line := range strings.Split(source, "\n") {
		for _, c := range line {
			switch c {
			case '[', '{':
				open++
			case ']', '}':
				open = max(open-1, 0)
			}
		}
		indent := len(line) - len(strings.TrimLeft(line, " -?\t"))
		if open > maxDepth || indent > 4*maxDepth {
			return i + 1
		}
	}
	return 0
}

func lineOf(source string, line int) string {
	lines := strings.Split(source, "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	return lines[line-1]
}

// place is where a node begins.
func place(n ast.Node) (line, column int) {
	if n == nil {
		return 0, 0
	}
	var t *token.Token
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return place(n.Values[0].Key)
		}
		t = n.GetToken()
	case *ast.MappingValueNode:
		return place(n.Key)
	default:
		t = n.GetToken()
	}
	if t == nil || t.Position == nil {
		return 0, 0
	}
	return t.Position.Line, t.Position.Column
}

func convert(file string, n ast.Node) (*node, *Problem) {
	out := &node{}
	out.line, out.column = place(n)
	refuse := func(at ast.Node, format string, args ...any) (*node, *Problem) {
		line, column := place(at)
		return nil, &Problem{File: file, Line: line, Column: column, Message: fmt.Sprintf(format, args...)}
	}
	switch n := n.(type) {
	case nil, *ast.NullNode:
	case *ast.StringNode:
		out.value = n.Value
	case *ast.LiteralNode:
		out.value = n.Value.Value
	case *ast.BoolNode:
		out.value = n.Value
	case *ast.FloatNode:
		out.value = n.Value
	case *ast.IntegerNode:
		v, ok := n.Value.(int64)
		if u, isUnsigned := n.Value.(uint64); isUnsigned && u <= math.MaxInt64 {
			v, ok = int64(u), true
		}
		if !ok {
			return refuse(n, "the number %v is too large", n.Value)
		}
		out.value = int(v)
	case *ast.SequenceNode:
		out.kind = sequence
		for _, v := range n.Values {
			item, p := convert(file, v)
			if p != nil {
				return nil, p
			}
			out.items = append(out.items, item)
		}
	case *ast.MappingValueNode:
		return convertMapping(file, out, []*ast.MappingValueNode{n})
	case *ast.MappingNode:
		return convertMapping(file, out, n.Values)
	case *ast.AnchorNode, *ast.AliasNode:
		return refuse(n, "anchors and aliases are not taken")
	case *ast.TagNode:
		return refuse(n, "tags are not taken")
	default:
		return refuse(n, "%s is not taken here", strings.ToLower(n.Type().String()))
	}
	return out, nil
}

func convertMapping(file string, out *node, values []*ast.MappingValueNode) (*node, *Problem) {
	out.kind = mapping
	out.fields = make(map[string]*node, len(values))
	for _, v := range values {
		line, column := place(v.Key)
		fail := func(message string) (*node, *Problem) {
			return nil, &Problem{File: file, Line: line, Column: column, Message: message}
		}
		key, ok := v.Key.(*ast.StringNode)
		if !ok {
			return fail("a key must be a plain word")
		}
		if first, twice := out.fields[key.Value]; twice {
			return fail(fmt.Sprintf("key %q stands twice, first with a value at line %d", key.Value, first.line))
		}
		value, p := convert(file, v.Value)
		if p != nil {
			return nil, p
		}
		if value.line == 0 {
			value.line, value.column = line, column
		}
		out.keys = append(out.keys, &node{line: line, column: column, value: key.Value})
		out.fields[key.Value] = value
	}
	return out, nil
}

// reader decodes one YAML file. It goes on after a problem, so that an author
// sees all of them at once.
type reader struct {
	file   string
	lines  []string
	report func(Problem)
}

func (r *reader) fail(n *node, format string, args ...any) {
	r.failAt(n.line, n.column, format, args...)
}

func (r *reader) failAt(line, column int, format string, args ...any) {
	r.report(Problem{File: r.file, Line: line, Column: column, Message: fmt.Sprintf(format, args...)})
}

// fields reads a mapping that has no other keys than those known. It reports
// what does not fit; ok tells that there is a mapping to look into.
func (r *reader) fields(n *node, what string, known ...string) (f fields, ok bool) {
	if n.kind != mapping {
		r.fail(n, "%s must be a mapping with %s, not %s", what, list(known), n.what())
		return fields{}, false
	}
	for _, k := range n.keys {
		name, _ := k.value.(string)
		if slices.Contains(known, name) {
			continue
		}
		if near := nearest(name, known); near != "" {
			r.fail(k, "unknown key %q in %s; did you mean %q?", name, what, near)
			continue
		}
		r.fail(k, "unknown key %q in %s; it takes %s", name, what, list(known))
	}
	return fields{r: r, n: n, what: what}, true
}

// fields are those of one mapping.
type fields struct {
	r    *reader
	n    *node
	what string
}

// get is the value of a key, nil if the key is not there.
func (f fields) get(key string) *node { return f.n.fields[key] }

// need is the value of a key that must be there.
func (f fields) need(key string) *node {
	v := f.get(key)
	if v == nil {
		f.r.fail(f.n, "%s has no %q", f.what, key)
	}
	return v
}

// text reads a string of 1 to max bytes; a missing one is "".
func (f fields) text(v *node, key string, most int) string {
	if v == nil {
		return ""
	}
	s, ok := v.value.(string)
	switch {
	case !ok:
		f.r.fail(v, "%s must be a text, not %s", key, v.what())
	case strings.TrimSpace(s) == "":
		f.r.fail(v, "%s is empty", key)
	case len(s) > most:
		f.r.fail(v, "%s has %d bytes; at most %d are taken", key, len(s), most)
		return ""
	}
	return s
}

// number reads an int within bounds; a missing one is missing.
func (f fields) number(v *node, key string, least, most, missing int) int {
	if v == nil {
		return missing
	}
	i, ok := v.value.(int)
	switch {
	case !ok:
		f.r.fail(v, "%s must be a whole number, not %s", key, v.what())
		return missing
	case i < least || i > most:
		f.r.fail(v, "%s is %d, want %d to %d", key, i, least, most)
		return missing
	}
	return i
}

// flag reads a bool; a missing one is false.
func (f fields) flag(key string) bool {
	v := f.get(key)
	if v == nil {
		return false
	}
	b, ok := v.value.(bool)
	if !ok {
		f.r.fail(v, "%s must be true or false, not %s", key, v.what())
	}
	return b
}

// oneOf reads a word out of a few; a missing one is the first.
func (f fields) oneOf(key string, words ...string) string {
	v := f.get(key)
	if v == nil {
		return words[0]
	}
	s, ok := v.value.(string)
	if !ok || !slices.Contains(words, s) {
		f.r.fail(v, "%s must be %s, not %s", key, strings.Join(words, " or "), v.what())
		return words[0]
	}
	return s
}

// list reads a list of at most n; a missing one is empty.
func (f fields) list(key string, most int) []*node {
	v := f.get(key)
	if v == nil {
		return nil
	}
	if v.kind != sequence {
		f.r.fail(v, "%s must be a list, not %s", key, v.what())
		return nil
	}
	if len(v.items) > most {
		f.r.fail(v, "%s has %d elements; at most %d are taken", key, len(v.items), most)
		return nil
	}
	return v.items
}

// texts reads a list of strings.
func (f fields) texts(key string, most int) []string {
	var out []string
	for _, v := range f.list(key, most) {
		s, ok := v.value.(string)
		if !ok {
			f.r.fail(v, "%s must hold texts, not %s; numbers stand in quotes", key, v.what())
			continue
		}
		if len(s) > maxText || strings.ContainsRune(s, 0) {
			f.r.fail(v, "a text in %s is too long or has a zero byte", key)
			continue
		}
		out = append(out, s)
	}
	return out
}

// list names things for a message.
func list(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// nearest is the name that was probably meant; "" if none is near.
func nearest(name string, known []string) string {
	best, distance := "", max(1, len(name)/3)+1
	for _, k := range known {
		if d := editDistance(name, k); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// editDistance counts the letters to insert, delete, replace or swap.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
