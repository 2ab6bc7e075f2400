package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"regexp"
	"slices"
	"strings"
)

// lesson is a lesson in one language, rendered.
type lesson struct {
	file    string // from the labs folder
	title   string
	at      int // line of the title, from 1
	parts   []Part
	actions []string // offered by its text, in order, each once
}

var (
	stepAnchor   = regexp.MustCompile(`^::step\{\s*([^{}\s]+)\s*\}\s*$`)
	structAnchor = regexp.MustCompile(`^::struct\{\s*([A-Za-z_][A-Za-z0-9_]{0,63})((?:\s+[a-z]+="[^"{}]*")*)\s*\}\s*$`)
	attribute    = regexp.MustCompile(`([a-z]+)="([^"]*)"`)
	markPattern  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)
	notePattern  = regexp.MustCompile(`^[a-z0-9]+(?:[._-][a-z0-9]+)*$`)
	ofPattern    = regexp.MustCompile(`^<!-- of ([0-9a-f]{12}) -->$`)
)

// textHash is the hash of an English text that its translation names.
func textHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}

// lesson reads lesson.LANG.md. The one in English must be there.
func (d *decoder) lesson(lang string) {
	name := "lesson." + lang + ".md"
	file := path.Join(d.lab.Dir, name)
	if !slices.Contains(d.lab.files, name) {
		if lang == "en" {
			d.report(Problem{File: file, Message: "the file is missing"})
		}
		return
	}
	source, ok := d.loader.text(file, maxText)
	if !ok {
		return
	}
	lines := strings.Split(source, "\n")
	l := &lessonReader{
		decoder: decoder{reader: reader{file: file, lines: lines, report: d.report}, loader: d.loader, lab: d.lab, words: d.words},
		lesson:  lesson{file: file, at: 1},
	}
	i := 0
	if lang == "zh" {
		d.lab.hasZh = true
		i = l.translated(d)
	} else {
		d.lab.english = textHash(source)
	}
	title, ok := strings.CutPrefix(lineAt(lines, i), "# ")
	if !ok {
		l.failAt(i+1, 1, "the first line must be the title: # %s", d.lab.Title.In(lang))
	}
	l.lesson.title = strings.TrimSpace(title)
	l.lesson.at = i + 1
	l.read(i + 1)
	l.compare()
	d.lab.lessons[lang] = &l.lesson
}

func lineAt(lines []string, i int) string {
	if i >= len(lines) {
		return ""
	}
	return lines[i]
}

// lessonReader reads one lesson.
type lessonReader struct {
	decoder
	lesson lesson
	steps  []string // anchors, in order
	at     []int    // their lines, from 1
}

// translated looks at the first line of a translation and returns the line,
// from 0, where the text begins.
func (l *lessonReader) translated(d *decoder) int {
	m := ofPattern.FindStringSubmatch(lineAt(l.lines, 0))
	if m == nil {
		d.lab.zhIsStale = true
		if strings.HasPrefix(lineAt(l.lines, 0), "<!--") {
			return 1
		}
		return 0
	}
	d.lab.zhIsStale = m[1] != d.lab.english
	return 1
}

// read cuts the lesson at its anchors, from a line on, and renders the rest.
func (l *lessonReader) read(from int) {
	begin, fence := from, ""
	for i := from; i < len(l.lines); i++ {
		line := l.lines[i]
		if f := fenceOf(line); f != "" {
			switch {
			case fence == "":
				fence = f
			case strings.HasPrefix(f, fence) && strings.Trim(strings.TrimSpace(line), fence[:1]) == "":
				fence = ""
			}
			continue
		}
		if fence != "" || !strings.HasPrefix(line, "::") {
			continue
		}
		l.prose(begin, i)
		begin = i + 1
		l.anchor(line, i+1)
	}
	l.prose(begin, len(l.lines))
}

// fenceOf is the run of ` or ~ that opens or closes a block of code.
func fenceOf(line string) string {
	trimmed := strings.TrimLeft(line, " ")
	if len(line)-len(trimmed) > 3 {
		return ""
	}
	for _, c := range []string{"`", "~"} {
		if n := len(trimmed) - len(strings.TrimLeft(trimmed, c)); n >= 3 {
			return trimmed[:n]
		}
	}
	return ""
}

func (l *lessonReader) prose(begin, end int) {
	html, actions := l.renderUsing(begin+1, 1, strings.Join(l.lines[begin:end], "\n"), false)
	if html != "" {
		l.lesson.parts = append(l.lesson.parts, Part{HTML: html})
	}
	for _, a := range actions {
		if !slices.Contains(l.lesson.actions, a) {
			l.lesson.actions = append(l.lesson.actions, a)
		}
	}
}

func (l *lessonReader) anchor(line string, number int) {
	if m := stepAnchor.FindStringSubmatch(line); m != nil {
		l.steps = append(l.steps, m[1])
		l.at = append(l.at, number)
		l.lesson.parts = append(l.lesson.parts, Part{Step: m[1]})
		return
	}
	m := structAnchor.FindStringSubmatch(line)
	if m == nil {
		l.failAt(number, 1, `this line is neither ::step{id} nor ::struct{name mark="a,b" note="word"}`)
		return
	}
	s := &StructPart{Name: m[1], Marked: []string{}}
	for _, a := range attribute.FindAllStringSubmatch(m[2], -1) {
		switch key, v := a[1], a[2]; {
		case key == "mark":
			for _, field := range strings.Split(v, ",") {
				field = strings.TrimSpace(field)
				if !markPattern.MatchString(field) {
					l.failAt(number, 1, "mark: %q is no name of a field", field)
				}
				s.Marked = append(s.Marked, field)
			}
		case key == "note" && notePattern.MatchString(v):
			s.Note = v
		case key == "note":
			l.failAt(number, 1, "note: %q is no name of a note", v)
		default:
			l.failAt(number, 1, "::struct takes mark and note, not %q", key)
		}
	}
	l.lesson.parts = append(l.lesson.parts, Part{Struct: s})
}

// compare holds the anchors against the steps of lab.yaml: all, once each, in
// order.
func (l *lessonReader) compare() {
	var want []string
	for _, s := range l.lab.Steps {
		want = append(want, s.ID)
	}
	seen := map[string]bool{}
	for i, id := range l.steps {
		switch {
		case !slices.Contains(want, id):
			l.failAt(l.at[i], 1, "unknown step %q%s", id, suggestion(id, want))
		case seen[id]:
			l.failAt(l.at[i], 1, "step %q stands twice", id)
		}
		seen[id] = true
	}
	missing := false
	for _, id := range want {
		if !seen[id] {
			missing = true
			l.report(Problem{File: l.file, Message: "step " + id + " has no place; write ::step{" + id + "} on a line of its own"})
		}
	}
	if !missing && len(l.steps) == len(want) && !slices.Equal(l.steps, want) {
		l.report(Problem{File: l.file, Message: "the steps stand in the order " + strings.Join(l.steps, ", ") + "; lab.yaml has " + strings.Join(want, ", ")})
	}
}
