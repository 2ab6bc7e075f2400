package lab

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Check looks for what Load does not mind: files that belong to nothing, texts
// that lack a language, links that lead nowhere, translations that are older
// than their English text. c must be what Load made of fsys.
func Check(fsys fs.FS, c *Catalog) []Problem {
	k := &checker{fsys: fsys, catalog: c, problems: slices.Clone(c.untranslated)}
	k.root()
	for _, m := range c.Modules {
		if len(m.Labs) == 0 && !m.Planned && len(c.Problems) == 0 {
			k.add(m.Dir+"/module.yaml", "the module has no labs; say planned: true until it has")
		}
		for _, l := range m.Labs {
			k.lab(l)
		}
	}
	sortProblems(k.problems)
	return k.problems
}

type checker struct {
	fsys     fs.FS
	catalog  *Catalog
	problems []Problem
}

func (k *checker) add(file, format string, args ...any) {
	k.problems = append(k.problems, Problem{File: file, Message: fmt.Sprintf(format, args...)})
}

// rootFiles may lie beside the modules.
var rootFiles = []string{"embed.go", "claims.yaml", "README.md"}

// root looks for strays beside modules and labs.
func (k *checker) root() {
	for _, e := range k.entries(".") {
		if dirPattern.MatchString(e.Name()) && e.IsDir() {
			k.module(e.Name())
			continue
		}
		if !slices.Contains(rootFiles, e.Name()) {
			k.add(e.Name(), "this is no module (010-name/) and does not belong here")
		}
	}
}

func (k *checker) entries(dir string) []fs.DirEntry {
	entries, err := fs.ReadDir(k.fsys, dir)
	if err != nil {
		k.add(dir, "the folder cannot be read: %v", err)
	}
	return entries
}

func (k *checker) module(dir string) {
	for _, e := range k.entries(dir) {
		name := path.Join(dir, e.Name())
		if e.Name() != "module.yaml" && (!e.IsDir() || !dirPattern.MatchString(e.Name())) {
			k.add(name, "this is neither module.yaml nor a lab (010-name/) and does not belong here")
		}
	}
}

func (k *checker) lab(l *Lab) {
	k.strays(l)
	k.code(l)
	for _, r := range l.references {
		if k.catalog.Lab(r.lab) == nil {
			k.problems = append(k.problems, Problem{File: r.file, Line: r.line, Column: r.column, Message: fmt.Sprintf("there is no lab %q", r.lab)})
		}
	}
	for _, lang := range []string{"en", "zh"} {
		text := l.lessons[lang]
		if text == nil {
			k.add(l.Dir+"/lesson."+lang+".md", "the file is missing")
			continue
		}
		if want := l.Title.In(lang); text.title != want {
			k.problems = append(k.problems, Problem{File: text.file, Line: text.at, Message: fmt.Sprintf("the title is %q; lab.yaml has %q", text.title, want)})
		}
	}
	if l.lessons["zh"] == nil {
		return
	}
	k.compare(l.lessons["en"], l.lessons["zh"])
	if l.zhIsStale {
		k.problems = append(k.problems, Problem{
			File: l.lessons["zh"].file, Line: 1, Warning: true,
			Message: "the English text has changed since this was made from it; bring it up to date, then run labs check --stamp",
		})
	}
}

// strays looks for files of a lab that belong to nothing.
func (k *checker) strays(l *Lab) {
	used := map[string]bool{}
	for _, s := range l.Steps {
		used[s.Check.Shell] = true
	}
	for _, name := range l.files {
		dir, base := path.Split(name)
		file := path.Join(l.Dir, name)
		switch {
		case name == "lab.yaml" || name == "lesson.en.md" || name == "lesson.zh.md":
		case (dir == "starter/" || dir == "solution/") && l.Code != nil && slices.Contains(l.Code.Files, base):
		case dir == "starter/" || dir == "solution/":
			k.add(file, "code.files of lab.yaml does not list it")
		case dir == "checks/" && used[name]:
		case dir == "checks/":
			k.add(file, "no step has this check")
		case dir == "media/" && slices.Contains(l.pictures, name):
		case dir == "media/":
			k.add(file, "no text shows it")
		default:
			k.add(file, "this file does not belong here")
		}
	}
}

func (k *checker) code(l *Lab) {
	if l.Code == nil {
		return
	}
	for _, name := range l.Code.Files {
		if text, ok := l.Code.Solution[name]; ok && text == l.Code.Starter[name] {
			k.add(path.Join(l.Dir, "solution", name), "it is the same as starter/%s; a solution holds only what differs", name)
		}
	}
	builds := slices.ContainsFunc(l.Steps, func(s *Step) bool {
		return slices.ContainsFunc(s.Solve, func(m Move) bool { return m.Kind == MoveBuild })
	})
	if builds && len(l.Code.Solution) == 0 {
		k.add(l.Dir+"/solution", "a step builds the solution, and there is none")
	}
}

// compare holds a translation against its English text.
func (k *checker) compare(en, zh *lesson) {
	if a, b := en.anchors(), zh.anchors(); !slices.Equal(a, b) {
		k.add(zh.file, "the anchors differ from the English text: %s; want %s", list(b), list(a))
	}
	for _, name := range en.actions {
		if !slices.Contains(zh.actions, name) {
			k.add(zh.file, "the English text offers the action %q, this one does not", name)
		}
	}
	for _, name := range zh.actions {
		if !slices.Contains(en.actions, name) {
			k.add(zh.file, "this text offers the action %q, the English one does not", name)
		}
	}
}

// anchors are the places of steps and structs, in order.
func (l *lesson) anchors() []string {
	var out []string
	for _, p := range l.parts {
		switch {
		case p.Step != "":
			out = append(out, "step "+p.Step)
		case p.Struct != nil:
			out = append(out, strings.TrimSpace("struct "+p.Struct.Name+" "+strings.Join(p.Struct.Marked, ",")+" "+p.Struct.Note))
		}
	}
	return out
}

// Stamp writes into every translation below a labs folder which English text
// it belongs to now.
func Stamp(dir string) error {
	english, err := filepath.Glob(filepath.Join(dir, "*", "*", "lesson.en.md"))
	if err != nil {
		return err
	}
	for _, file := range english {
		if err := stamp(file, filepath.Join(filepath.Dir(file), "lesson.zh.md")); err != nil {
			return fmt.Errorf("stamping: %w", err)
		}
	}
	return nil
}

func stamp(english, translation string) error {
	en, err := os.ReadFile(english)
	if err != nil {
		return err
	}
	zh, err := os.ReadFile(translation)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	text := normal(string(zh))
	if first, rest, ok := strings.Cut(text, "\n"); ok && strings.HasPrefix(first, "<!--") {
		text = rest
	}
	text = "<!-- of " + textHash(normal(string(en))) + " -->\n" + text
	if text == string(zh) {
		return nil
	}
	return os.WriteFile(translation, []byte(text), 0o644)
}
