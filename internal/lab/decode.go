package lab

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// decoder reads one lab.yaml, and the texts that belong to it.
type decoder struct {
	reader
	loader *loader
	lab    *Lab
	words  *vocabulary
}

func (d *decoder) decode(root *node) {
	l := d.lab
	f, ok := d.fields(root, "a lab", "format", "id", "title", "summary", "minutes", "needs", "network", "params",
		"workloads", "stage", "terminal", "code", "actions", "steps")
	if !ok {
		return
	}
	d.format(f)
	l.ID = d.id(f)
	l.Title, l.Summary = d.words2(f, "title"), d.words2(f, "summary")
	l.Minutes = f.number(f.need("minutes"), "minutes", 1, 120, 1)
	l.Needs = f.texts("needs", 32)
	for _, need := range l.Needs {
		if !needPattern.MatchString(need) {
			d.fail(f.get("needs"), "%q names no capability; write bpf, tool:strace or root", need)
		}
	}
	l.Network = f.oneOf("network", "host", "own")
	l.Terminal = f.flag("terminal")
	d.params(f.get("params"))
	d.words = newVocabulary(d.loader.facts, l.Params)
	l.words = d.words
	d.code(f.get("code"))
	d.workloads(f)
	d.stage(f.get("stage"))
	d.scripts()
	d.media()
	d.actions(f.get("actions"))
	d.steps(f)
	d.lesson("en")
	d.lesson("zh")
}

// format is the version of the file's shape.
func (d *decoder) format(f fields) {
	v := f.need("format")
	if v == nil {
		return
	}
	if n, ok := v.value.(int); !ok || n != 1 {
		d.fail(v, "format must be 1, not %s; this labserver knows no other", v.what())
	}
}

func (d *decoder) id(f fields) string {
	v := f.need("id")
	id := f.text(v, "id", 64)
	if id != "" && !idPattern.MatchString(id) {
		d.fail(v, "id %q: want 1 to 48 letters a-z, digits and hyphens, the first no hyphen", id)
	}
	return id
}

// words2 reads a short text in two languages that must be there.
func (d *decoder) words2(f fields, key string) Text {
	v := f.need(key)
	if v == nil {
		return Text{}
	}
	t := d.bilingual(v, key, 400)
	for _, s := range []string{t.En, t.Zh} {
		if strings.Contains(strings.TrimSpace(s), "\n") {
			d.fail(v, "%s must be one line", key)
		}
	}
	return Text{En: strings.TrimSpace(t.En), Zh: strings.TrimSpace(t.Zh)}
}

// bilingual reads {en, zh}; zh may be missing.
func (d *decoder) bilingual(n *node, what string, most int) Text {
	f, ok := d.fields(n, what, "en", "zh")
	if !ok {
		return Text{}
	}
	return d.languages(f, most)
}

func (d *decoder) languages(f fields, most int) Text {
	if f.get("zh") == nil {
		d.loader.untranslated = append(d.loader.untranslated,
			Problem{File: d.file, Line: f.n.line, Column: f.n.column, Message: f.what + " has no zh"})
	}
	return Text{En: f.text(f.need("en"), "en", most), Zh: f.text(f.get("zh"), "zh", most)}
}

// prose reads Markdown in two languages and renders it.
func (d *decoder) prose(n *node, what string, inline bool) (Text, HTML) {
	if n == nil {
		return Text{}, HTML{}
	}
	t := d.bilingual(n, what, maxProse)
	return t, d.rendered(n, t, inline)
}

// maxProse bounds a text in lab.yaml, in bytes.
const maxProse = 8 << 10

func (d *decoder) rendered(n *node, t Text, inline bool) HTML {
	return HTML{En: d.render(n.line, n.column, t.En, inline), Zh: d.render(n.line, n.column, t.Zh, inline)}
}

func (d *decoder) params(n *node) {
	if n == nil {
		return
	}
	if n.kind != mapping || len(n.keys) > 32 {
		d.fail(n, "params must be a mapping of at most 32 names to [from, to], not %s", n.what())
		return
	}
	d.lab.Params = make(map[string]Range, len(n.keys))
	for _, k := range n.keys {
		name, _ := k.value.(string)
		if !paramPattern.MatchString(name) {
			d.fail(k, "parameter %q: want letters a-z, digits and _, first a letter", name)
		}
		d.lab.Params[name] = Range{} // that it exists is not in doubt
		v := n.fields[name]
		if v.kind != sequence || len(v.items) != 2 {
			d.fail(v, "%s must be [from, to]", name)
			continue
		}
		from, ok1 := v.items[0].value.(int)
		to, ok2 := v.items[1].value.(int)
		if !ok1 || !ok2 || from > to || from < -1_000_000 || to > 1_000_000 {
			d.fail(v, "%s must be two whole numbers [from, to], from not above to, within a million", name)
			continue
		}
		d.lab.Params[name] = Range{From: from, To: to}
	}
}

// known are the workloads that publish facts: those with NAME.running.
func (d *decoder) known() []string {
	var names []string
	for _, f := range d.loader.facts {
		if name, ok := strings.CutSuffix(f.Name, ".running"); ok && name != "program" {
			names = append(names, name)
		}
	}
	return names
}

func (d *decoder) workloads(f fields) {
	known := d.known()
	for _, n := range f.list("workloads", 8) {
		w, ok := d.fields(n, "a workload", "name", "setup")
		if !ok {
			continue
		}
		name := w.text(w.need("name"), "name", 64)
		switch {
		case name == "":
			continue
		case !slices.Contains(known, name):
			d.fail(w.get("name"), "unknown workload %q; known are %s", name, list(known))
			continue
		case d.lab.workload(name) != nil:
			d.fail(w.get("name"), "workload %q stands twice", name)
			continue
		}
		// Nothing runs yet when the setup is done, so no fact has a value.
		inSetup := *d
		inSetup.words = newVocabulary(nil, d.lab.Params)
		out := &Workload{Name: name, words: inSetup.words}
		for _, a := range w.list("setup", 64) {
			if a.kind != mapping {
				d.fail(a, "an action must be a mapping such as {op: epoll_create}, not %s", a.what())
				continue
			}
			out.Setup = append(out.Setup, a.raw())
			out.setup = append(out.setup, inSetup.value(a))
		}
		d.lab.Workloads = append(d.lab.Workloads, out)
	}
}

func (l *Lab) workload(name string) *Workload {
	for _, w := range l.Workloads {
		if w.Name == name {
			return w
		}
	}
	return nil
}

func (l *Lab) workloadNames() []string {
	var names []string
	for _, w := range l.Workloads {
		names = append(names, w.Name)
	}
	return names
}

func (d *decoder) stage(n *node) {
	if n == nil {
		return
	}
	f, ok := d.fields(n, "stage", "view", "of", "fd")
	if !ok {
		return
	}
	s := &Stage{View: "epoll", Of: f.text(f.need("of"), "of", 64)}
	if f.get("view") != nil {
		s.View = f.oneOf("view", "epoll", "uring")
	}
	switch {
	case s.Of == "":
		return
	case s.Of == "program":
		if d.lab.Code == nil {
			d.fail(f.get("of"), "the stage is of the program, and the lab has no code")
		}
		if f.get("fd") != nil {
			d.fail(f.get("fd"), "the stage of a program takes no fd: it shows the first object of its view")
		}
	case d.lab.workload(s.Of) == nil:
		d.fail(f.get("of"), "the lab has no workload %q; it has %s", s.Of, list(d.lab.workloadNames()))
	default:
		s.FD = f.number(f.need("fd"), "fd", 3, 1<<20, 3)
	}
	d.lab.Stage = s
}

func (d *decoder) code(n *node) {
	if n == nil {
		return
	}
	f, ok := d.fields(n, "code", "language", "files", "args", "flags", "seconds")
	if !ok {
		return
	}
	c := &Code{
		Language: f.oneOf("language", "c", "go"),
		Args:     f.texts("args", 32), Flags: f.texts("flags", 32),
		Seconds: f.number(f.get("seconds"), "seconds", 1, 600, 60),
		Starter: map[string]string{}, Solution: map[string]string{},
	}
	for _, name := range f.texts("files", 16) {
		switch {
		case !filePattern.MatchString(name):
			d.fail(f.get("files"), "file name %q: want letters, digits, _, . and -, at most 64, no folder", name)
		case slices.Contains(c.Files, name):
			d.fail(f.get("files"), "file %q stands twice", name)
		default:
			c.Files = append(c.Files, name)
		}
	}
	if len(c.Files) == 0 {
		d.fail(n, "code has no files")
	}
	for _, name := range c.Files {
		if !slices.Contains(d.lab.files, "starter/"+name) {
			d.fail(n, "starter/%s is missing", name)
			continue
		}
		if text, ok := d.loader.text(path.Join(d.lab.Dir, "starter", name), maxText); ok {
			c.Starter[name] = text
		}
		if !slices.Contains(d.lab.files, "solution/"+name) {
			continue
		}
		if text, ok := d.loader.text(path.Join(d.lab.Dir, "solution", name), maxText); ok {
			c.Solution[name] = text
		}
	}
	d.lab.Code = c
}

func (d *decoder) scripts() {
	d.lab.Scripts = map[string]string{}
	for _, name := range d.lab.files {
		if !scriptPattern.MatchString(name) {
			continue
		}
		if text, ok := d.loader.text(path.Join(d.lab.Dir, name), maxText); ok {
			d.lab.Scripts[name] = text
		}
	}
}

// mediaTypes are the pictures that a lesson may show, by the ends of their
// names.
var mediaTypes = []string{".svg", ".png", ".jpg", ".webp"}

func (d *decoder) media() {
	d.lab.Media = map[string][]byte{}
	for _, name := range d.lab.files {
		base, ok := strings.CutPrefix(name, "media/")
		if !ok || !filePattern.MatchString(base) || !slices.Contains(mediaTypes, path.Ext(base)) {
			continue
		}
		if b, ok := d.loader.bytes(path.Join(d.lab.Dir, name), maxMedia); ok {
			d.lab.Media[name] = b
		}
	}
}

// kindKeys are the keys of which an action has exactly one, with the kind that
// each makes.
var kindKeys = []struct{ key, kind string }{
	{"do", KindWorkload}, {"run", KindRun}, {"type", KindType}, {"open", KindOpen}, {"focus", KindFocus},
	{"tab", KindTab}, {"build", KindBuild}, {"kill", KindKill},
}

func (d *decoder) actions(n *node) {
	d.lab.Actions = map[string]*Action{}
	if n == nil {
		return
	}
	if n.kind != mapping || len(n.keys) > 128 {
		d.fail(n, "actions must be a mapping of at most 128 names, not %s", n.what())
		return
	}
	for _, k := range n.keys {
		name, _ := k.value.(string)
		if !idPattern.MatchString(name) {
			d.fail(k, "action %q: want letters a-z, digits and hyphens, at most 48", name)
			continue
		}
		if a := d.action(name, n.fields[name]); a != nil {
			d.lab.Actions[name] = a
			d.lab.actionNames = append(d.lab.actionNames, name)
		}
	}
	for _, name := range d.lab.actionNames {
		d.lab.Actions[name].text = d.lab.Actions[name].describe(d.lab)
	}
}

func (d *decoder) action(name string, n *node) *Action {
	f, ok := d.fields(n, "an action", "workload", "do", "run", "type", "open", "line", "focus", "tab", "build", "kill")
	if !ok {
		return nil
	}
	a := &Action{Name: name}
	for _, k := range kindKeys {
		if f.get(k.key) == nil {
			continue
		}
		if a.Kind != "" {
			d.fail(f.get(k.key), "action %q does two things; it may have one of do, run, type, open, focus, tab, build, kill", name)
			return nil
		}
		a.Kind = k.kind
	}
	switch {
	case a.Kind == "":
		d.fail(n, "action %q does nothing; it needs one of do, run, type, open, focus, tab, build, kill", name)
		return nil
	case a.Kind != KindWorkload && f.get("workload") != nil:
		d.fail(f.get("workload"), "workload goes with do only")
	case a.Kind != KindOpen && f.get("line") != nil:
		d.fail(f.get("line"), "line goes with open only")
	}
	switch a.Kind {
	case KindWorkload:
		a.Workload, a.Do, a.do = d.doing(f)
	case KindRun, KindType:
		a.Command, a.command = d.command(f, a.Kind)
	case KindOpen:
		a.File = f.text(f.get("open"), "open", 64)
		a.Line = f.number(f.get("line"), "line", 1, 100_000, 0)
		if d.lab.Code == nil || !slices.Contains(d.lab.Code.Files, a.File) {
			d.fail(f.get("open"), "the lab's code has no file %q", a.File)
		}
	case KindFocus:
		a.focus = d.compile(f.get("focus"), f.text(f.get("focus"), "focus", maxExpression), wantInt, false)
		if d.lab.Stage == nil {
			d.fail(f.get("focus"), "focus needs a stage, and the lab has none")
		}
	case KindTab:
		a.Tab = f.oneOf("tab", "tree", "lists", "rings", "timeline", "struct", "table")
	case KindBuild, KindKill:
		if !f.flag(a.Kind) {
			d.fail(f.get(a.Kind), "%s must be true", a.Kind)
		}
		d.needCode(f.get(a.Kind), a.Kind)
	}
	return a
}

// doing reads workload and do.
func (d *decoder) doing(f fields) (name string, raw []byte, v *value) {
	name = f.text(f.need("workload"), "workload", 64)
	if name != "" && d.lab.workload(name) == nil {
		d.fail(f.get("workload"), "the lab has no workload %q; it has %s", name, list(d.lab.workloadNames()))
	}
	do := f.get("do")
	if do.kind != mapping {
		d.fail(do, "do must be a mapping such as {op: add, epfd: 3, what: eventfd}, not %s", do.what())
		return name, nil, nil
	}
	return name, do.raw(), d.value(do)
}

// command reads a line for the terminal.
func (d *decoder) command(f fields, key string) (string, *template) {
	n := f.get(key)
	text := f.text(n, key, 4<<10)
	if text == "" {
		return "", nil
	}
	if !d.lab.Terminal {
		d.fail(n, "%s needs the terminal; say terminal: true", key)
	}
	return text, d.template(n, text)
}

func (d *decoder) needCode(n *node, what string) {
	if d.lab.Code == nil {
		d.fail(n, "%s needs code, and the lab has none", what)
	}
}

func (a *Action) describe(l *Lab) string {
	switch a.Kind {
	case KindWorkload:
		if a.do != nil {
			return a.Workload + ": " + a.do.shown(l)
		}
	case KindRun, KindType:
		if a.command != nil {
			return strings.TrimSpace(a.command.shown(l))
		}
	case KindOpen:
		if a.Line > 0 {
			return fmt.Sprintf("%s:%d", a.File, a.Line)
		}
		return a.File
	case KindFocus:
		if a.focus != nil {
			return fmt.Sprintf("fd {{%d}}", l.live(a.focus))
		}
	case KindTab:
		return a.Tab
	}
	return ""
}

// within reads a duration; a missing one is 0.
func (d *decoder) within(f fields) time.Duration {
	n := f.get("within")
	if n == nil {
		return 0
	}
	s, _ := n.value.(string)
	t, err := time.ParseDuration(s)
	if err != nil || t < 100*time.Millisecond || t > 10*time.Minute {
		d.fail(n, "within must be a time from 100ms to 10m, such as 30s, not %s", n.what())
		return 0
	}
	return t
}

// compile checks an expression that stands in the YAML file.
func (d *decoder) compile(n *node, source string, want wants, item bool) *expression {
	if strings.TrimSpace(source) == "" {
		return nil // reported where it was read
	}
	e, bad := d.words.compile(source, want, item)
	if bad == nil {
		d.lab.sources = append(d.lab.sources, source)
		return e
	}
	if d.words.facts == nil && strings.HasPrefix(bad.message, "unknown fact") {
		bad.message += "; setup may use param only: no fact has a value yet"
	}
	d.misfit(n.line, n.column, source, bad)
	return nil
}

// misfit reports what is wrong with an expression that stands at or after a
// place of the file.
func (r *reader) misfit(line, column int, source string, bad *badExpression) {
	l, c := r.locate(line, column, source, bad.line, bad.column)
	if l == line && c == column && bad.word != "" {
		// A folded text stands otherwise in the file; the name does not.
		l, c = r.locate(line, column, bad.word, 0, 0)
	}
	r.failAt(l, c, "%s", bad.message)
}

// locate finds the place of a part of a text, by looking for the text in the
// file from a place on. Where the file writes it otherwise (folded, or with
// escapes), the place is all that is known.
func (r *reader) locate(line, column int, text string, partLine, partColumn int) (int, int) {
	parts := strings.Split(text, "\n")
	if line < 1 || partLine >= len(parts) {
		return line, column
	}
	first := strings.TrimRight(parts[0], " ")
	for i := line - 1; i < len(r.lines) && i < line+200; i++ {
		from := 0
		if i == line-1 {
			from = min(len(string([]rune(r.lines[i])[:min(max(column-1, 0), len([]rune(r.lines[i])))])), len(r.lines[i]))
		}
		at := strings.Index(r.lines[i][from:], first)
		if at < 0 {
			continue
		}
		if partLine == 0 {
			return i + 1, len([]rune(r.lines[i][:from+at])) + partColumn + 1
		}
		if i+partLine < len(r.lines) {
			if indent := strings.Index(r.lines[i+partLine], parts[partLine]); indent >= 0 {
				return i + partLine + 1, len([]rune(r.lines[i+partLine][:indent])) + partColumn + 1
			}
		}
		break
	}
	return line, column
}
