package lab

import (
	"cmp"
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/yuin/goldmark"

	"kernelviz/internal/kernelviz"
)

// Bounds of what a labs folder holds.
const (
	maxText  = 48 << 10 // a lesson, a script, a file of code
	maxMedia = 1 << 20  // a picture
	maxFiles = 200      // of one lab
	maxSteps = 64
)

var (
	idPattern     = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,47}$`)
	dirPattern    = regexp.MustCompile(`^[0-9]{3}-[a-z0-9][a-z0-9-]{0,47}$`)
	filePattern   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
	paramPattern  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	scriptPattern = regexp.MustCompile(`^checks/[A-Za-z0-9_][A-Za-z0-9_-]{0,59}\.sh$`)
	needPattern   = regexp.MustCompile(`^(?:[a-z][a-z0-9_-]{0,47}|tool:[A-Za-z0-9_][A-Za-z0-9_.+-]{0,47})$`)
)

// Load reads a labs folder. It never fails as a whole: what cannot be read is
// left out, with its problems.
func Load(fsys fs.FS, facts []kernelviz.Fact) *Catalog {
	l := &loader{fsys: fsys, facts: facts, markdown: newMarkdown(), read: fnv.New64a()}
	l.load()
	sortProblems(l.problems)
	return &Catalog{Modules: l.modules, Problems: l.problems, untranslated: l.untranslated}
}

func sortProblems(list []Problem) {
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
}

type loader struct {
	fsys     fs.FS
	facts    []kernelviz.Fact
	markdown goldmark.Markdown
	modules  []*Module
	problems []Problem
	// untranslated are texts that have no Chinese.
	untranslated []Problem
	// read hashes what is read of a lab.
	read hash.Hash64
}

func (l *loader) report(p Problem) { l.problems = append(l.problems, p) }

func (l *loader) load() {
	names, err := l.dirs(".")
	if err != nil {
		l.report(Problem{File: ".", Message: fmt.Sprintf("the labs folder cannot be read: %v", err)})
		return
	}
	ids := map[string]string{} // id of a lab → its dir
	for _, name := range names {
		if m := l.module(name); m != nil {
			l.labs(m, ids)
			l.modules = append(l.modules, m)
		}
	}
	l.link()
}

// dirs lists the folders that are modules or labs by their names.
func (l *loader) dirs(dir string) ([]string, error) {
	entries, err := fs.ReadDir(l.fsys, dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case !dirPattern.MatchString(e.Name()):
		case e.Type()&fs.ModeSymlink != 0:
			l.report(Problem{File: name, Message: "symbolic links are not followed; copy the folder"})
		case e.IsDir():
			names = append(names, name)
		}
	}
	return names, nil
}

// link connects modules and labs with each other.
func (l *loader) link() {
	ids := map[string]*Module{}
	for _, m := range l.modules {
		if first := ids[m.ID]; first != nil {
			l.report(Problem{File: m.Dir + "/module.yaml", Message: fmt.Sprintf("id %q is that of %s", m.ID, first.Dir)})
		}
		ids[m.ID] = m
	}
	var last *Lab
	for _, m := range l.modules {
		for _, id := range m.Requires {
			if ids[id] == nil {
				l.report(Problem{File: m.Dir + "/module.yaml", Message: fmt.Sprintf("requires module %q, which does not exist", id)})
			}
		}
		if m.Planned && len(m.Labs) > 0 {
			l.report(Problem{File: m.Dir + "/module.yaml", Message: "planned is true, and the module has labs"})
		}
		for i, lab := range m.Labs {
			lab.Number = i + 1
			if last != nil {
				lab.previous, last.next = last.ID, lab.ID
			}
			last = lab
		}
	}
}

func (l *loader) module(dir string) *Module {
	file := dir + "/module.yaml"
	before := len(l.problems)
	source, ok := l.yaml(file)
	if !ok {
		return nil
	}
	root, p := parseYAML(file, source)
	if p != nil {
		l.report(*p)
		return nil
	}
	d := &decoder{reader: reader{file: file, lines: strings.Split(source, "\n"), report: l.report}, loader: l}
	m := &Module{Dir: dir}
	f, ok := d.fields(root, "a module", "format", "id", "title", "summary", "requires", "planned")
	if !ok {
		return nil
	}
	d.format(f)
	m.ID = d.id(f)
	m.Title, m.Summary = d.words2(f, "title"), d.words2(f, "summary")
	m.Requires = f.texts("requires", 16)
	m.Planned = f.flag("planned")
	if len(l.problems) > before {
		return nil
	}
	return m
}

// yaml reads a YAML file.
func (l *loader) yaml(file string) (string, bool) {
	info, err := fs.Stat(l.fsys, file)
	if err != nil {
		l.report(Problem{File: file, Message: "the file is missing"})
		return "", false
	}
	if info.IsDir() {
		l.report(Problem{File: file, Message: "this is a folder"})
		return "", false
	}
	return l.text(file, maxYAML)
}

// text reads a text of at most most bytes, with lines that end in \n.
func (l *loader) text(file string, most int) (string, bool) {
	b, ok := l.bytes(file, most)
	if !ok {
		return "", false
	}
	if !utf8.Valid(b) {
		l.report(Problem{File: file, Message: "the file is not UTF-8"})
		return "", false
	}
	text := normal(string(b))
	if i := strings.IndexByte(text, 0); i >= 0 {
		l.report(Problem{File: file, Line: strings.Count(text[:i], "\n") + 1, Message: "the file has a zero byte"})
		return "", false
	}
	return text, true
}

// normal is a text without byte order mark, with lines that end in \n.
func normal(text string) string {
	return strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n")
}

func (l *loader) bytes(file string, most int) ([]byte, bool) {
	f, err := l.fsys.Open(file)
	if err != nil {
		l.report(Problem{File: file, Message: fmt.Sprintf("the file cannot be read: %v", err)})
		return nil, false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err != nil {
		l.report(Problem{File: file, Message: fmt.Sprintf("the file cannot be read: %v", err)})
		return nil, false
	}
	if len(b) > most {
		l.report(Problem{File: file, Message: fmt.Sprintf("the file has more than %d KiB", most>>10)})
		return nil, false
	}
	fmt.Fprintln(l.read, file, len(b))
	l.read.Write(b)
	return b, true
}

// labs loads the labs of a module.
func (l *loader) labs(m *Module, ids map[string]string) {
	dirs, err := l.dirs(m.Dir)
	if err != nil {
		l.report(Problem{File: m.Dir, Message: fmt.Sprintf("the folder cannot be read: %v", err)})
		return
	}
	for _, dir := range dirs {
		lab := l.lab(dir)
		if lab == nil {
			continue
		}
		if first := ids[lab.ID]; first != "" {
			l.report(Problem{File: dir + "/lab.yaml", Message: fmt.Sprintf("id %q is that of %s", lab.ID, first)})
			continue
		}
		ids[lab.ID] = dir
		lab.Module = m
		m.Labs = append(m.Labs, lab)
	}
}

// lab loads one lab; nil if it has problems.
func (l *loader) lab(dir string) (lab *Lab) {
	before := len(l.problems)
	// The libraries below read what strangers wrote.
	defer func() {
		if r := recover(); r != nil {
			l.report(Problem{File: dir, Message: fmt.Sprintf("reading the lab failed: %v", r)})
			lab = nil
		}
	}()
	l.read.Reset()
	file := dir + "/lab.yaml"
	files, ok := l.walk(dir)
	if !ok {
		return nil
	}
	if !slices.Contains(files, "lab.yaml") {
		l.report(Problem{File: file, Message: "the file is missing"})
		return nil
	}
	source, ok := l.text(file, maxYAML)
	if !ok {
		return nil
	}
	root, p := parseYAML(file, source)
	if p != nil {
		l.report(*p)
		return nil
	}
	d := &decoder{
		reader: reader{file: file, lines: strings.Split(source, "\n"), report: l.report},
		loader: l,
		lab:    &Lab{Dir: dir, files: files, lessons: map[string]*lesson{}},
	}
	d.decode(root)
	if len(l.problems) > before {
		return nil
	}
	d.lab.print = l.read.Sum64()
	return d.lab
}

// walk lists the regular files of a lab, by their paths in it.
func (l *loader) walk(dir string) (files []string, ok bool) {
	ok = true
	err := fs.WalkDir(l.fsys, dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			return nil
		case e.Type()&fs.ModeSymlink != 0:
			l.report(Problem{File: name, Message: "symbolic links are not followed; copy the file"})
			ok = false
		case !e.Type().IsRegular():
			l.report(Problem{File: name, Message: "this is no regular file"})
			ok = false
		default:
			files = append(files, strings.TrimPrefix(name, dir+"/"))
		}
		if len(files) > maxFiles {
			return fmt.Errorf("more than %d files", maxFiles)
		}
		return nil
	})
	if err != nil {
		l.report(Problem{File: dir, Message: fmt.Sprintf("the folder cannot be read: %v", err)})
		return nil, false
	}
	return files, ok
}
