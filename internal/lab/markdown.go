package lab

import (
	"bytes"
	"fmt"
	"html"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// While Markdown is rendered, a live value stands as openValue, its number and
// closeValue: private-use characters, which no text may have.
const (
	openValue  = "\ue000"
	closeValue = "\ue001"
)

var valueMark = regexp.MustCompile(openValue + "([0-9]+)" + closeValue)

// newMarkdown makes a renderer of CommonMark with tables that writes no HTML
// of the author's.
func newMarkdown() goldmark.Markdown {
	return goldmark.New(
		goldmark.WithExtensions(
			extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute)),
			extension.NewCJK(extension.WithEscapedSpace()),
		),
		goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(links{}, 1))),
	)
}

// links renders links: actions are buttons, the rest opens outside or turns
// the page.
type links struct{}

// RegisterFuncs implements renderer.NodeRenderer.
func (links) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(ast.KindLink, renderLink)
	r.Register(ast.KindAutoLink, renderAutoLink)
}

func renderLink(w util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	destination := string(n.(*ast.Link).Destination)
	action, isAction := strings.CutPrefix(destination, "do:")
	id, isLab := strings.CutPrefix(destination, "lab:")
	var out string
	switch {
	case isAction && entering:
		out = `<button type="button" data-action="` + html.EscapeString(action) + `" class="action">`
	case isAction:
		out = "</button>"
	case !entering:
		out = "</a>"
	case isLab:
		out = `<a href="#/lab/` + html.EscapeString(id) + `">`
	default:
		out = outside(destination)
	}
	_, err := w.WriteString(out)
	return ast.WalkContinue, err
}

func renderAutoLink(w util.BufWriter, source []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	link := n.(*ast.AutoLink)
	if !entering {
		return ast.WalkContinue, nil
	}
	_, err := w.WriteString(outside(string(link.URL(source))) + html.EscapeString(string(link.Label(source))) + "</a>")
	return ast.WalkContinue, err
}

func outside(address string) string {
	if !strings.HasPrefix(address, "https://") {
		return "<a>" // refused where it was read
	}
	return `<a href="` + html.EscapeString(string(util.URLEscape([]byte(address), true))) + `" target="_blank" rel="noopener noreferrer">`
}

// reference is a link to another lab, with its place.
type reference struct {
	file         string
	line, column int
	lab          string
}

// render writes Markdown as HTML. The text begins at a place of d's file; what
// is wrong in it is reported where it stands. An inline text that is one
// paragraph loses its <p>.
func (d *decoder) render(line, column int, source string, inline bool) string {
	out, _ := d.renderUsing(line, column, source, inline)
	return out
}

// renderUsing also tells which actions the text offers.
func (d *decoder) renderUsing(line, column int, source string, inline bool) (out string, actions []string) {
	if strings.TrimSpace(source) == "" {
		return "", nil
	}
	if strings.Contains(source, openValue) || strings.Contains(source, closeValue) {
		d.failAt(line, column, "the text has the private characters U+E000 or U+E001")
		return "", nil
	}
	marked := []byte(d.mark(line, column, source))
	doc := d.loader.markdown.Parser().Parse(text.NewReader(marked))
	m := &markup{d: d, line: line, column: column, source: marked}
	if err := ast.Walk(doc, m.visit); err != nil {
		d.failAt(line, column, "%v", err)
		return "", nil
	}
	var b bytes.Buffer
	if err := d.loader.markdown.Renderer().Render(&b, marked, doc); err != nil {
		d.failAt(line, column, "the text cannot be rendered: %v", err)
		return "", nil
	}
	out = strings.TrimSpace(valueMark.ReplaceAllString(b.String(), `<output data-value="$1"></output>`))
	if inline {
		if body, ok := strings.CutPrefix(out, "<p>"); ok && strings.Count(out, "<p>") == 1 && strings.HasSuffix(body, "</p>") {
			out = strings.TrimSuffix(body, "</p>")
		}
	}
	return out, m.actions
}

// mark puts a mark for each {{expression}}.
func (d *decoder) mark(line, column int, source string) string {
	var b strings.Builder
	err := split(source, func(s string) { b.WriteString(s) }, func(s string, at int) {
		if s == "" {
			whole, _, _ := strings.Cut(source[at-2:], "\n")
			l, c := d.locate(line, column, whole, 0, 0)
			d.failAt(l, c, "{{}} is empty; write { { for two braces")
			return
		}
		e, bad := d.words.compile(s, wantAny, false)
		if bad != nil {
			d.misfit(line, column, s, bad)
			return
		}
		d.lab.sources = append(d.lab.sources, s)
		b.WriteString(openValue + strconv.Itoa(d.lab.live(e)) + closeValue)
	})
	if err != nil {
		l, c := d.locate(line, column, "{{", 0, 0)
		d.failAt(l, c, "%v; write { { for two braces", err)
	}
	return b.String()
}

// live numbers a live value of the lab; the same expression has one number.
func (l *Lab) live(e *expression) int {
	if e == nil {
		return 0 // reported where it was compiled
	}
	for i, known := range l.values {
		if known.source == e.source {
			return i
		}
	}
	l.values = append(l.values, e)
	return len(l.values) - 1
}

// markup looks through a parsed text for what labs do not take.
type markup struct {
	d            *decoder
	line, column int
	source       []byte
	actions      []string
}

func (m *markup) fail(needle, format string, args ...any) {
	line, column := m.d.locate(m.line, m.column, needle, 0, 0)
	m.d.failAt(line, column, format, args...)
}

func (m *markup) visit(n ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	switch n := n.(type) {
	case *ast.RawHTML:
		at := ""
		if n.Segments.Len() > 0 {
			s := n.Segments.At(0)
			at = string(s.Value(m.source))
		}
		m.fail(at, "HTML is not taken: %s; write &lt; for a plain <", clip(at, 40))
	case *ast.HTMLBlock:
		at := ""
		if n.Lines().Len() > 0 {
			s := n.Lines().At(0)
			at = strings.TrimSpace(string(s.Value(m.source)))
		}
		m.fail(at, "HTML is not taken: %s; write &lt; for a plain <", clip(at, 40))
	case *ast.Text:
		if n.SoftLineBreak() && m.joins(n.Segment.Stop) {
			n.SetSoftLineBreak(false)
		}
	case *ast.Link:
		m.link(string(n.Destination), string(n.Title))
	case *ast.AutoLink:
		m.link(string(n.URL(m.source)), "")
	case *ast.Image:
		m.image(n)
	case *ast.FencedCodeBlock:
		if n.Info != nil && bytes.Contains(n.Info.Value(m.source), []byte(openValue)) {
			m.fail("```", "a live value cannot stand in the first line of a code block")
		}
	}
	return ast.WalkContinue, nil
}

// joins tells that the end of a line at a place is none to the reader: a
// browser shows it as a space, and Chinese has none between characters.
// goldmark's own way with this also joins English words before a link.
func (m *markup) joins(at int) bool {
	const marks = "*_~`[]"
	before, _ := utf8.DecodeLastRuneInString(strings.TrimRight(string(m.source[:at]), marks+" "))
	after, _ := utf8.DecodeRuneInString(strings.TrimLeft(string(m.source[at:]), marks+" \r\n"))
	const quotes = "“”‘’…—" // as wide as what stands beside them
	switch {
	case isWide(before):
		return isWide(after) || strings.ContainsRune(quotes, after)
	case isWide(after):
		return strings.ContainsRune(quotes, before)
	}
	return false
}

func isWide(r rune) bool {
	return unicode.Is(unicode.Han, r) || r >= '\u3000' && r <= '\u303f' || r >= '\uff00' && r <= '\uffef'
}

func (m *markup) link(destination, title string) {
	if strings.Contains(destination+title, openValue) {
		m.fail("](", "a live value cannot stand in a link's address or title")
		return
	}
	needle := destination
	if name, ok := strings.CutPrefix(destination, "do:"); ok {
		if m.d.lab.Actions[name] == nil {
			m.fail(needle, "unknown action %q%s", name, suggestion(name, m.d.lab.actionNames))
		}
		m.actions = append(m.actions, name)
		return
	}
	if id, ok := strings.CutPrefix(destination, "lab:"); ok {
		if !idPattern.MatchString(id) {
			m.fail(needle, "%q is no id of a lab", id)
			return
		}
		line, column := m.d.locate(m.line, m.column, needle, 0, 0)
		m.d.lab.references = append(m.d.lab.references, reference{file: m.d.file, line: line, column: column, lab: id})
		return
	}
	if !strings.HasPrefix(destination, "https://") || strings.ContainsAny(destination, " \t\"<>") {
		m.fail(needle, "a link goes to https://…, lab:ID or do:ACTION, not to %q", clip(destination, 60))
	}
}

// image lets a picture of the lab's media folder through.
func (m *markup) image(n *ast.Image) {
	name := string(n.Destination)
	if strings.Contains(name+string(n.Title), openValue) || hasValue(n, m.source) {
		m.fail("![", "a live value cannot stand in a picture's description or address")
		return
	}
	if _, ok := m.d.lab.Media[name]; !ok || path.Clean(name) != name {
		m.fail(name, "there is no picture %q; pictures lie in media/ and end in %s", clip(name, 60), strings.Join(mediaTypes, ", "))
		return
	}
	m.d.lab.pictures = append(m.d.lab.pictures, name)
	n.Destination = fmt.Appendf(nil, "/api/v1/labs/%s/%s", m.d.lab.ID, name)
}

// hasValue tells that a live value stands in a node's text.
func hasValue(n ast.Node, source []byte) bool {
	found := false
	_ = ast.Walk(n, func(c ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, ok := c.(*ast.Text); ok && entering && bytes.Contains(t.Segment.Value(source), []byte(openValue)) {
			found = true
		}
		return ast.WalkContinue, nil
	})
	return found
}
