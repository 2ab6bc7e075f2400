package lab

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"kernelviz/internal/kernelviz"
)

// TestPage holds the lessons of testdata/good, as the page gets them, against
// files that people have read.
func TestPage(t *testing.T) {
	l := good(t)
	for _, lang := range []string{"en", "zh"} {
		got, err := json.MarshalIndent(l.Page(lang), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append([]byte(regexp.MustCompile(`\\u003c|\\u003e|\\u0026`).ReplaceAllStringFunc(string(got), func(s string) string {
			return map[string]string{`\u003c`: "<", `\u003e`: ">", `\u0026`: "&"}[s]
		})), '\n')
		file := filepath.Join("testdata", "page."+lang+".json")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s differs; look at go test -run TestPage -update", file)
		}
	}
}

// TestPageGivesNothingAway: neither answers nor solutions are on the page.
func TestPageGivesNothingAway(t *testing.T) {
	b, err := json.Marshal(good(t).Page("en"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"First hint", "A node is inserted", "It has no parent", "BUG 0", `"right"`, "item.fd"} {
		if strings.Contains(string(b), secret) {
			t.Errorf("the page has %q", secret)
		}
	}
}

// TestPageIsACopy: the server fills in structs; the next page has none of it.
func TestPageIsACopy(t *testing.T) {
	l := good(t)
	for range 2 {
		found := false
		for _, p := range l.Page("en").Parts {
			if p.Struct == nil {
				continue
			}
			found = true
			if p.Struct.Size != 0 || len(p.Struct.Fields) != 0 {
				t.Fatal("the page has what was filled into another")
			}
			p.Struct.Size, p.Struct.Fields = 120, []StructField{{Path: "rbn"}}
		}
		if !found {
			t.Fatal("the lesson has no struct")
		}
	}
}

func TestFallsBackToEnglish(t *testing.T) {
	files := goodFiles(t)
	delete(files, goodLab+"/lesson.zh.md")
	p := loadLab(t, files, "demo-all").Page("zh")
	if p.Lang != "en" || p.Asked != "zh" || p.Stale || len(p.Parts) == 0 || p.Title != "全部" {
		t.Errorf("lang %q, asked %q, stale %v, %d parts, title %q", p.Lang, p.Asked, p.Stale, len(p.Parts), p.Title)
	}
	if p := good(t).Page("fr"); p.Lang != "en" || p.Asked != "fr" {
		t.Errorf("French gives %q", p.Lang)
	}
}

// TestSafeHTML: whatever a lesson tries, only these elements and attributes
// come out of it, and addresses lead where they may.
func TestSafeHTML(t *testing.T) {
	tag := regexp.MustCompile(`<(/?)([a-zA-Z0-9]+)([^<>]*)>`)
	attr := regexp.MustCompile(`([^\s="]+)="([^"]*)"`)
	elements := " p strong em code pre a button output table thead tbody tr th td ul ol li h1 h2 h3 blockquote img hr br "
	attributes := " href target rel class type data-action data-value align start src alt title "
	for _, text := range []string{
		`[x](https://example.org/"onmouseover="alert(1))`, `[x](<https://example.org/ "onclick=alert(1)>)`,
		`<https://example.org/"onclick=alert(1)>`, `[x](https://example.org 't" onclick="alert(1)')`,
		"```\"><script>alert(1)</script>\nx\n```", "```c\" onclick=\"alert(1)\nx\n```", "`<script>alert(1)</script>`",
		`&lt;script&gt;`, `\<script>alert(1)\</script>`, `[<b>](do:add-one)`, `[x](do:add-one "onclick=alert(1)")`,
		"| <x | b |\n|:-:|---|\n| `a` | [x](lab:demo-all) |", "1. a\n2. b\n\n> **c** *d*\n\n## h\n\n---\na  \nb",
		`![a "onerror="alert(1)](media/wq.svg 'b" onerror="alert(1)')`, `{{program.output}} {{"<script>"}} {{epoll.nodes < 3 ? "<" : ">"}}`,
	} {
		files := goodFiles(t)
		name := goodLab + "/lesson.en.md"
		files[name] = &fstest.MapFile{Data: []byte(strings.Replace(string(files[name].Data), "Done &", text+"\n\nDone &", 1))}
		c := Load(files, testFacts())
		l := c.Lab("demo-all")
		if l == nil {
			continue // refused: that is safe, too
		}
		for _, p := range l.Page("en").Parts {
			rest := p.HTML
			for _, m := range tag.FindAllStringSubmatch(p.HTML, -1) {
				rest = strings.Replace(rest, m[0], "", 1)
				if !strings.Contains(elements, " "+m[2]+" ") {
					t.Errorf("%q makes the element %s", text, m[0])
				}
				if strings.TrimSpace(attr.ReplaceAllString(m[3], "")) != "" {
					t.Errorf("%q makes %s", text, m[0])
				}
				for _, a := range attr.FindAllStringSubmatch(m[3], -1) {
					if !strings.Contains(attributes, " "+a[1]+" ") {
						t.Errorf("%q makes the attribute %s", text, a[0])
					}
					ok := strings.HasPrefix(a[2], "https://") || strings.HasPrefix(a[2], "#/lab/") || strings.HasPrefix(a[2], "/api/v1/labs/demo-all/media/")
					if (a[1] == "href" || a[1] == "src") && !ok {
						t.Errorf("%q leads to %s", text, a[2])
					}
				}
			}
			if strings.ContainsAny(rest, "<>") || strings.Contains(rest, openValue) {
				t.Errorf("%q leaves %q", text, rest)
			}
		}
	}
}

func TestLineBreaks(t *testing.T) {
	for text, want := range map[string]string{
		"and\n[the source](do:add-one)": "and\n<button",
		"中文\n换行":                        "中文换行",
		"中文，\n**粗体**":                   "中文，<strong>粗体",
		"说“好”\n就":                       "说“好”就",
		"a “b”\n“c”":                    "a “b”\n“c”",
		"内核\nepoll":                     "内核\nepoll",
		"see\nthere":                    "see\nthere",
		"中文  \n换行":                      "中文<br>\n换行",
	} {
		files := goodFiles(t)
		name := goodLab + "/lesson.en.md"
		files[name] = &fstest.MapFile{Data: []byte(strings.Replace(string(files[name].Data), "Done &", text, 1))}
		parts := loadLab(t, files, "demo-all").Page("en").Parts
		if got := parts[len(parts)-1].HTML; !strings.Contains(got, want) {
			t.Errorf("%q becomes %q, want %q in it", text, got, want)
		}
	}
}

func TestFactsPage(t *testing.T) {
	got := string(FactsPage([]kernelviz.Fact{
		{Name: "epoll.nodes", Type: kernelviz.FactInt, Doc: "epitems in the tree."},
		{Name: "epoll.items", Type: kernelviz.FactList, Doc: "The items.", Fields: []kernelviz.Fact{{Name: "events", Type: kernelviz.FactString, Doc: "EPOLLIN|EPOLLET."}}},
		{Name: "calls", Type: kernelviz.FactList, Doc: "Calls."},
	}))
	for _, want := range []string{
		"\n## epoll\n\n| fact | value | |\n|---|---|---|\n| `epoll.nodes` | whole number | epitems in the tree. |\n| `epoll.items` | list | The items. |\n",
		"`.events` | text | EPOLLIN\\|EPOLLET. |\n\n## calls\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q:\n%s", want, got)
		}
	}
}
