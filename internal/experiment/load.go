package experiment

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// ClaimsFile is the file of the claims in the labs folder.
const ClaimsFile = "claims.yaml"

const (
	maxClaims = 256 << 10 // bytes
	maxWords  = 600       // bytes of a text
)

var claimID = regexp.MustCompile(`^[A-Z][0-9]{1,2}[a-z]?$`)

// claimSections are the article's, in its order.
var claimSections = []string{"epoll", "tuning", "uring", "mesh", "road"}

// The shape of claims.yaml.
type (
	claimsYAML struct {
		Format int         `yaml:"format"`
		Claims []claimYAML `yaml:"claims"`
	}
	claimYAML struct {
		ID         string     `yaml:"id"`
		Section    string     `yaml:"section"`
		Text       Text       `yaml:"text"`
		Means      Text       `yaml:"means"`
		Experiment string     `yaml:"experiment"`
		Lesson     string     `yaml:"lesson"`
		Later      string     `yaml:"later"`
		See        []string   `yaml:"see"`
		Parts      []partYAML `yaml:"parts"`
	}
	partYAML struct {
		Series  string `yaml:"series"`
		Variant string `yaml:"variant"`
		Against string `yaml:"against"`
		Metric  string `yaml:"metric"`
		Want    string `yaml:"want"`
		When    Text   `yaml:"when"`
	}
)

// claimsLoader reads one file. It goes on after a problem, so that an author
// sees all of them at once.
type claimsLoader struct {
	file   string
	ids    ids
	tree   *ast.File
	errors []error
}

// ids are those that a labs folder has.
type ids struct{ modules, labs []string }

// LoadClaims reads the claims from a labs folder, which must have the labs and
// modules that they name. The error names every problem with file and line.
func LoadClaims(fsys fs.FS) ([]Claim, error) {
	data, err := fs.ReadFile(fsys, ClaimsFile)
	if err != nil {
		return nil, fmt.Errorf("reading the claims: %w", err)
	}
	if len(data) > maxClaims {
		return nil, fmt.Errorf("%s: the file has more than %d KiB", ClaimsFile, maxClaims>>10)
	}
	l := &claimsLoader{file: ClaimsFile}
	if l.ids, err = idsOf(fsys); err != nil {
		return nil, err
	}
	if l.tree, err = parser.ParseBytes(data, 0); err != nil {
		return nil, l.placed(err)
	}
	root := body(l.tree)
	if root == nil {
		return nil, fmt.Errorf("%s:1: the file is empty", l.file)
	}
	var f claimsYAML
	if err := yaml.NodeToValue(root, &f, yaml.Strict()); err != nil {
		return nil, l.placed(err)
	}
	if f.Format != 1 {
		l.fail("$.format", "format must be 1, not %d; this labserver knows no other", f.Format)
	}
	if len(f.Claims) == 0 {
		l.fail("$", "there are no claims")
	}
	var claims []Claim
	seen := map[string]bool{}
	for i, c := range f.Claims {
		at := fmt.Sprintf("$.claims[%d]", i)
		if seen[c.ID] {
			l.fail(at+".id", "claim %s stands twice", c.ID)
		}
		seen[c.ID] = true
		claims = append(claims, l.claim(at, c))
	}
	if len(l.errors) > 0 {
		return nil, errors.Join(l.errors...)
	}
	return claims, nil
}

func body(f *ast.File) ast.Node {
	if len(f.Docs) == 0 || f.Docs[0].Body == nil {
		return nil
	}
	return f.Docs[0].Body
}

// idsOf finds the modules and labs of a folder. A lab that has some other
// problem is there all the same.
func idsOf(fsys fs.FS) (found ids, err error) {
	for pattern, into := range map[string]*[]string{"*/module.yaml": &found.modules, "*/*/lab.yaml": &found.labs} {
		files, err := fs.Glob(fsys, pattern)
		if err != nil {
			return found, fmt.Errorf("looking for labs: %w", err)
		}
		for _, file := range files {
			data, err := fs.ReadFile(fsys, file)
			if err != nil {
				return found, fmt.Errorf("reading the id of a lab: %w", err)
			}
			var y struct {
				ID string `yaml:"id"`
			}
			if yaml.Unmarshal(data, &y) == nil && y.ID != "" {
				*into = append(*into, y.ID)
			}
		}
	}
	return found, nil
}

// placed is an error of the library with file and line.
func (l *claimsLoader) placed(err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
		return fmt.Errorf("%s:%d: %s", l.file, at.GetToken().Position.Line, at.GetMessage())
	}
	return fmt.Errorf("%s: %w", l.file, err)
}

// fail reports what is wrong at a path of the file, or above it where there is
// no such place.
func (l *claimsLoader) fail(path, format string, args ...any) {
	line := 1
	for at := path; at != ""; {
		p, err := yaml.PathString(at)
		if err == nil {
			if n, err := p.FilterFile(l.tree); err == nil && n.GetToken() != nil && n.GetToken().Position != nil {
				line = firstLine(n)
				break
			}
		}
		i := strings.LastIndexAny(at, ".[")
		if i < 0 {
			break
		}
		at = at[:i]
	}
	l.errors = append(l.errors, fmt.Errorf("%s:%d: %s", l.file, line, fmt.Sprintf(format, args...)))
}

// firstLine is where a node begins: a mapping's own token is its first colon.
func firstLine(n ast.Node) int {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	return n.GetToken().Position.Line
}

func (l *claimsLoader) claim(at string, c claimYAML) Claim {
	out := Claim{
		ID: c.ID, Text: l.text(at+".text", c.Text), Means: l.text(at+".means", c.Means), Section: c.Section,
		Experiment: c.Experiment, Lesson: c.Lesson, Later: c.Later, See: c.See, Parts: []Part{},
	}
	if !claimID.MatchString(c.ID) {
		l.fail(at+".id", "id %q: want the article's, such as T3, and a letter where it is one of several: T3b", c.ID)
	}
	if !slices.Contains(claimSections, c.Section) {
		l.fail(at+".section", "section %q is none of %s", c.Section, strings.Join(claimSections, ", "))
	}
	ways := 0
	for _, is := range []bool{c.Experiment != "", c.Lesson != "", c.Later != ""} {
		if is {
			ways++
		}
	}
	if ways != 1 {
		l.fail(at, "claim %s must have exactly one of experiment, lesson and later", c.ID)
	}
	if c.Later != "" && !slices.Contains(l.ids.modules, c.Later) {
		l.fail(at+".later", "there is no module %q; there are %s", c.Later, list(l.ids.modules))
	}
	if c.Lesson != "" {
		l.lab(at+".lesson", c.Lesson)
	}
	for i, id := range c.See {
		l.lab(fmt.Sprintf("%s.see[%d]", at, i), id)
	}
	if (c.Experiment != "") != (len(c.Parts) > 0) {
		l.fail(at, "claim %s must have parts if, and only if, an experiment tests it", c.ID)
	}
	for i, p := range c.Parts {
		out.Parts = append(out.Parts, l.part(fmt.Sprintf("%s.parts[%d]", at, i), p, len(c.Parts) > 1))
	}
	return out
}

// lab checks that there is one of that id.
func (l *claimsLoader) lab(at, id string) {
	if !slices.Contains(l.ids.labs, id) {
		l.fail(at, "there is no lab %q; labserver labs list shows those there are", id)
	}
}

// list joins names for a message.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// part reads one; of several, each says what it stands for.
func (l *claimsLoader) part(at string, p partYAML, several bool) Part {
	out := Part{Series: p.Series, Variant: p.Variant, Against: p.Against, Metric: p.Metric}
	if p.Series == "" || p.Variant == "" {
		l.fail(at, "a part needs series and variant")
	}
	w, err := ParseWant(p.Want)
	if err != nil {
		l.fail(at+".want", "%v", err)
	}
	if err == nil && w.ratio != (p.Against != "") {
		l.fail(at+".want", "%q: a ratio needs against, and a value has none", p.Want)
	}
	out.Want = w
	if several || p.When != (Text{}) {
		out.When = l.text(at+".when", p.When)
	}
	return out
}

// text checks a text in two languages.
func (l *claimsLoader) text(at string, t Text) Text {
	for _, w := range []struct{ lang, text string }{{"en", t.En}, {"zh", t.Zh}} {
		switch {
		case strings.TrimSpace(w.text) == "":
			l.fail(at, "%s has no %s", at[strings.LastIndex(at, ".")+1:], w.lang)
		case len(w.text) > maxWords:
			l.fail(at+"."+w.lang, "the text has %d bytes; at most %d are taken", len(w.text), maxWords)
		}
	}
	return Text{strings.TrimSpace(t.En), strings.TrimSpace(t.Zh)}
}

// CheckClaims holds claims against the experiments that there are: every one
// that a claim names must exist, with its series, variants and metric.
func CheckClaims(claims []Claim, experiments []Definition) error {
	var errs []error
	for _, c := range claims {
		fail := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s: claim %s: %s", ClaimsFile, c.ID, fmt.Sprintf(format, args...)))
		}
		if c.Experiment == "" {
			continue
		}
		i := slices.IndexFunc(experiments, func(d Definition) bool { return d.Info.ID == c.Experiment })
		if i < 0 {
			fail("there is no experiment %q", c.Experiment)
			continue
		}
		for _, p := range c.Parts {
			if err := experiments[i].Info.has(p); err != nil {
				fail("%v", err)
			}
		}
	}
	return errors.Join(errs...)
}

// has tells what of a part the experiment does not have.
func (i Info) has(p Part) error {
	at := slices.IndexFunc(i.Series, func(s Series) bool { return s.ID == p.Series })
	if at < 0 {
		var ids []string
		for _, s := range i.Series {
			ids = append(ids, s.ID)
		}
		return fmt.Errorf("%s has no series %q; it has %s", i.ID, p.Series, strings.Join(ids, ", "))
	}
	for _, variant := range []string{p.Variant, p.Against} {
		if variant == "" || slices.ContainsFunc(i.Series[at].Variants, func(v Variant) bool { return v.ID == variant }) {
			continue
		}
		var ids []string
		for _, v := range i.Series[at].Variants {
			ids = append(ids, v.ID)
		}
		return fmt.Errorf("series %s of %s has no variant %q; it has %s", p.Series, i.ID, variant, strings.Join(ids, ", "))
	}
	if p.Metric != "" && !slices.ContainsFunc(i.Metrics, func(m Metric) bool { return m.ID == p.Metric }) {
		return fmt.Errorf("%s has no metric %q", i.ID, p.Metric)
	}
	return nil
}
