package lab

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"

	"kernelviz/internal/kernelviz"
)

// Bounds of an expression: labs run beside a page that is drawn 30 times a
// second, so none may take long.
const (
	maxExpression = 2 << 10
	maxNodes      = 500
	// maxNesting is how many predicates may stand in each other:
	// any(a, any(b, …)) are two. Lists have up to 4,096 elements.
	maxNesting = 2
	// maxMemory is the number of elements that an expression may make.
	maxMemory = 100_000
)

// itemsFact is the list whose elements a node prediction speaks of.
const itemsFact = "epoll.items"

// vocabulary is what expressions may name, made of facts and parameters.
type vocabulary struct {
	facts  []kernelviz.Fact
	params map[string]Range
	types  types.Map // facts, before and param
	item   types.Map // of itemsFact; nil if there is no such fact
	names  []string  // every dotted name
	fields []string  // of elements of lists
}

func newVocabulary(facts []kernelviz.Fact, params map[string]Range) *vocabulary {
	v := &vocabulary{facts: facts, params: params, types: types.Map{}}
	before := types.Map{}
	for _, f := range facts {
		put(v.types, f.Name, typeOf(f))
		v.names = append(v.names, f.Name)
		if isScalar(f.Type) {
			put(before, f.Name, typeOf(f))
			v.names = append(v.names, "before."+f.Name)
		}
		for _, field := range f.Fields {
			if !slices.Contains(v.fields, field.Name) {
				v.fields = append(v.fields, field.Name)
			}
		}
		if f.Name == itemsFact {
			v.item = elementType(f)
		}
	}
	param := types.Map{}
	for name := range params {
		param[name] = types.Int
		v.names = append(v.names, "param."+name)
	}
	slices.Sort(v.names)
	v.types["before"], v.types["param"] = before, param
	return v
}

// put sets a dotted name in nested maps.
func put(m types.Map, name string, t types.Type) {
	head, rest, dotted := strings.Cut(name, ".")
	if !dotted {
		m[head] = t
		return
	}
	inner, ok := m[head].(types.Map)
	if !ok {
		inner = types.Map{}
		m[head] = inner
	}
	put(inner, rest, t)
}

func isScalar(t kernelviz.FactType) bool {
	switch t {
	case kernelviz.FactBool, kernelviz.FactInt, kernelviz.FactFloat, kernelviz.FactString:
		return true
	}
	return false
}

func typeOf(f kernelviz.Fact) types.Type {
	switch f.Type {
	case kernelviz.FactBool:
		return types.Bool
	case kernelviz.FactInt:
		return types.Int
	case kernelviz.FactFloat:
		return types.Float64
	case kernelviz.FactString:
		return types.String
	case kernelviz.FactInts:
		return types.Array(types.Int)
	case kernelviz.FactStrings:
		return types.Array(types.String)
	case kernelviz.FactList:
		return types.Array(elementType(f))
	}
	return types.Any
}

func elementType(f kernelviz.Fact) types.Map {
	m := types.Map{}
	for _, field := range f.Fields {
		m[field.Name] = typeOf(field)
	}
	return m
}

// zero is the value of a fact that nobody publishes now.
func zero(t kernelviz.FactType) any {
	switch t {
	case kernelviz.FactBool:
		return false
	case kernelviz.FactInt:
		return 0
	case kernelviz.FactFloat:
		return 0.0
	case kernelviz.FactString:
		return ""
	case kernelviz.FactInts:
		return []int{}
	case kernelviz.FactStrings:
		return []string{}
	}
	return []map[string]any{}
}

// environment nests facts as expressions name them.
func (v *vocabulary) environment(f kernelviz.Facts, params map[string]int, before map[string]any) map[string]any {
	env := make(map[string]any, 16)
	for i := range v.facts {
		fact := &v.facts[i]
		value, ok := f[fact.Name]
		if !ok {
			value = zero(fact.Type)
		}
		set(env, fact.Name, value)
	}
	drawn := make(map[string]any, len(v.params))
	for name, r := range v.params {
		n, ok := params[name]
		if !ok {
			n = r.From
		}
		drawn[name] = n
	}
	env["param"] = drawn
	if before == nil {
		before = v.scalars(nil)
	}
	env["before"] = before
	return env
}

// scalars nests those facts that `before` has.
func (v *vocabulary) scalars(f kernelviz.Facts) map[string]any {
	env := make(map[string]any, 16)
	for i := range v.facts {
		fact := &v.facts[i]
		if !isScalar(fact.Type) {
			continue
		}
		value, ok := f[fact.Name]
		if !ok {
			value = zero(fact.Type)
		}
		set(env, fact.Name, value)
	}
	return env
}

func set(m map[string]any, name string, value any) {
	head, rest, dotted := strings.Cut(name, ".")
	if !dotted {
		m[head] = value
		return
	}
	inner, ok := m[head].(map[string]any)
	if !ok {
		inner = map[string]any{}
		m[head] = inner
	}
	set(inner, rest, value)
}

// expression is an expression that fits the vocabulary.
type expression struct {
	source  string
	program *vm.Program
}

// badExpression says what is wrong with an expression, and where in it.
type badExpression struct {
	line, column int // from 0
	message      string
	word         string // the name that is not known; empty if it is something else
}

// wants are what an expression may be asked to give.
type wants int

const (
	wantBool wants = iota
	wantInt
	wantAny
)

// noise are the functions that would make the same facts give another answer.
var noise = []string{"now", "date", "duration", "timezone"}

// compile checks an expression against the vocabulary. With item it may speak
// of an element of epoll.items.
func (v *vocabulary) compile(source string, want wants, item bool) (*expression, *badExpression) {
	switch {
	case len(source) > maxExpression:
		return nil, &badExpression{message: fmt.Sprintf("the expression has %d bytes; at most %d are taken", len(source), maxExpression)}
	case strings.TrimSpace(source) == "":
		return nil, &badExpression{message: "the expression is empty"}
	}
	env := v.types
	if item {
		env = types.Map{"item": v.item}
		for name, t := range v.types {
			env[name] = t
		}
	}
	options := []expr.Option{expr.Env(env), expr.MaxNodes(maxNodes)}
	for _, name := range noise {
		options = append(options, expr.DisableBuiltin(name))
	}
	switch want {
	case wantBool:
		options = append(options, expr.AsBool())
	case wantInt:
		options = append(options, expr.AsInt())
	}
	program, err := expr.Compile(source, options...)
	if err != nil {
		return nil, v.explain(source, err)
	}
	node := program.Node()
	if nesting(node) > maxNesting {
		return nil, &badExpression{message: fmt.Sprintf("predicates stand in each other more than %d deep", maxNesting)}
	}
	return &expression{source: source, program: program}, nil
}

var unknownName = regexp.MustCompile(`^unknown (?:name|field) (\S+)`)

// explain puts an error of the compiler into the words of labs.
func (v *vocabulary) explain(source string, err error) *badExpression {
	var at *file.Error
	if !errors.As(err, &at) {
		message := err.Error()
		if rest, ok := strings.CutPrefix(message, "expected bool, but got "); ok {
			message = "a check must be true or false; this is " + kindWords(rest)
		} else if rest, ok := strings.CutPrefix(message, "expected int, but got "); ok {
			message = "this must be an fd, a whole number; it is " + kindWords(rest)
		}
		return &badExpression{message: message}
	}
	bad := &badExpression{line: max(at.Line-1, 0), column: at.Column, message: at.Message}
	m := unknownName.FindStringSubmatch(at.Message)
	if m == nil {
		return bad
	}
	path, after := dotted(source, bad.line, bad.column, m[1])
	bad.word = path
	if strings.HasPrefix(after, "(") && !strings.Contains(path, ".") {
		bad.message = "unknown function " + path
		return bad
	}
	if field, ok := strings.CutPrefix(path, "."); ok {
		bad.message = "unknown field " + field + suggestion(field, v.fields)
		return bad
	}
	if head, name, ok := strings.Cut(path, "."); ok && head == "param" {
		bad.message = "unknown parameter " + name + suggestion(path, v.names)
		return bad
	}
	bad.column = max(bad.column-len([]rune(path))+len([]rune(m[1])), 0)
	bad.message = "unknown fact " + path
	if name, ok := strings.CutPrefix(path, "before."); ok && slices.Contains(v.names, name) {
		bad.message += "; before holds no lists"
		return bad
	}
	bad.message += suggestion(path, v.names)
	return bad
}

func suggestion(name string, known []string) string {
	if near := nearest(name, known); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// dotted is the whole dotted name that ends at a place, and what follows it. It
// begins with a dot where it is a field of an element.
func dotted(source string, line, column int, name string) (path, after string) {
	lines := strings.Split(source, "\n")
	if line >= len(lines) {
		return name, ""
	}
	runes := []rune(lines[line])
	if column > len(runes) {
		return name, ""
	}
	begin := column
	for begin > 0 && (runes[begin-1] == '.' || runes[begin-1] == '_' || isWord(runes[begin-1])) {
		begin--
	}
	end := min(column+len([]rune(name)), len(runes))
	return string(runes[begin:column]) + name, strings.TrimSpace(string(runes[end:]))
}

func isWord(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

func kindWords(kind string) string {
	switch kind {
	case "int", "float64":
		return "a number"
	case "string":
		return "a text"
	case "bool":
		return "true or false"
	}
	return "a " + kind
}

// nesting is how many predicates stand in each other.
func nesting(n ast.Node) int {
	var found predicates
	ast.Walk(&n, &found)
	deepest := 0
	for _, p := range found {
		deepest = max(deepest, 1+nesting(p.Node))
	}
	return deepest
}

type predicates []*ast.PredicateNode

func (p *predicates) Visit(n *ast.Node) {
	if node, ok := (*n).(*ast.PredicateNode); ok {
		*p = append(*p, node)
	}
}

// eval evaluates in an environment. What an expression throws is an error.
func (e *expression) eval(env map[string]any) (any, error) {
	machine := vm.VM{MemoryBudget: maxMemory}
	out, err := machine.Run(e.program, env)
	if err != nil {
		var at *file.Error
		if errors.As(err, &at) {
			return nil, errors.New(at.Message)
		}
		return nil, err
	}
	return out, nil
}

func (e *expression) holds(env map[string]any) (bool, error) {
	out, err := e.eval(env)
	if err != nil {
		return false, err
	}
	b, ok := out.(bool)
	if !ok {
		return false, fmt.Errorf("it gave %v, which is neither true nor false", out)
	}
	return b, nil
}

// maxShown bounds a live value on the page, in characters.
const maxShown = 200

// show puts a value into words.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "–"
	case string:
		return clip(v, maxShown)
	case float64:
		return showFloat(v)
	case []int, []string, []any, []map[string]any:
		r := reflect.ValueOf(v)
		var parts []string
		for i := range min(r.Len(), 32) {
			parts = append(parts, show(r.Index(i).Interface()))
		}
		if r.Len() > 32 {
			parts = append(parts, "…")
		}
		return clip(strings.Join(parts, ", "), maxShown)
	}
	return clip(fmt.Sprint(v), maxShown)
}

// showFloat gives three significant digits, or all of a large number's whole part.
func showFloat(v float64) string {
	if math.Abs(v) >= 100 {
		return strconv.FormatFloat(math.Round(v), 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
