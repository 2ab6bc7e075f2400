package lab

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// A case of testdata/*.txt changes files of the good labs and says what is
// then wrong:
//
//	=== name
//	FILE: old => new           a change; FILE is of the lab, or begins with /
//	FILE + text                a new file; FILE - removes one
//	---
//	the problems, one a line
//
// \n and \t in texts are what they are in Go.
type golden struct {
	name    string
	edits   []string
	problem []string
}

func goldens(t *testing.T, file string) []golden {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []golden
	for _, block := range strings.Split("\n"+string(b), "\n=== ")[1:] {
		head, want, ok := strings.Cut(block+"\n", "\n---\n")
		if !ok {
			t.Fatalf("%s: a case without ---: %.40q", file, block)
		}
		lines := strings.Split(head, "\n")
		g := golden{name: lines[0], edits: lines[1:]}
		for _, line := range strings.Split(want, "\n") {
			if line != "" {
				g.problem = append(g.problem, line)
			}
		}
		out = append(out, g)
	}
	return out
}

func (g *golden) apply(t *testing.T, files fstest.MapFS) {
	t.Helper()
	unescape := strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\0`, "\x00", `\xff`, "\xff", `\e000`, "\ue000")
	path := func(name string) string {
		if rooted, ok := strings.CutPrefix(name, "/"); ok {
			return rooted
		}
		return goodLab + "/" + name
	}
	for _, e := range g.edits {
		if name, text, ok := strings.Cut(e, " + "); ok && !strings.Contains(e, " => ") {
			files[path(name)] = &fstest.MapFile{Data: []byte(unescape.Replace(text))}
			continue
		}
		if name, ok := strings.CutSuffix(e, " -"); ok {
			delete(files, path(name))
			continue
		}
		name, change, ok := strings.Cut(e, ": ")
		old, text, ok2 := strings.Cut(change, " => ")
		f := files[path(name)]
		if !ok || !ok2 || f == nil {
			t.Fatalf("bad edit %q", e)
		}
		old = unescape.Replace(old)
		if strings.Count(string(f.Data), old) != 1 {
			t.Fatalf("edit %q: the old text stands %d times", e, strings.Count(string(f.Data), old))
		}
		f.Data = []byte(strings.Replace(string(f.Data), old, unescape.Replace(text), 1))
	}
}

func testGolden(t *testing.T, file string, find func(fstest.MapFS) []Problem) {
	var updated strings.Builder
	for _, g := range goldens(t, file) {
		updated.WriteString("=== " + g.name + "\n" + strings.Join(append(slices.Clone(g.edits), "---"), "\n") + "\n")
		t.Run(g.name, func(t *testing.T) {
			files := goodFiles(t)
			g.apply(t, files)
			var got []string
			for _, p := range find(files) {
				got = append(got, strings.ReplaceAll(p.Error(), goodLab+"/", ""))
			}
			for _, line := range got {
				updated.WriteString(line + "\n")
			}
			if !*update && !slices.Equal(got, g.problem) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(g.problem, "\n  "))
			}
		})
	}
	if *update {
		if err := os.WriteFile(file, []byte(updated.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBadLabs: each thing that may be wrong with a lab has its message.
func TestBadLabs(t *testing.T) {
	testGolden(t, "testdata/bad.txt", func(files fstest.MapFS) []Problem {
		c := Load(files, testFacts())
		if len(c.Problems) == 0 {
			return []Problem{{File: "nothing", Message: "is wrong"}}
		}
		return c.Problems
	})
}

// TestUntidyLabs: what can be used and is not as it should be.
func TestUntidyLabs(t *testing.T) {
	testGolden(t, "testdata/untidy.txt", func(files fstest.MapFS) []Problem {
		c := Load(files, testFacts())
		return append(c.Problems, Check(files, c)...)
	})
}

func TestGoodLab(t *testing.T) {
	files := goodFiles(t)
	c := Load(files, testFacts())
	for _, p := range append(c.Problems, Check(files, c)...) {
		t.Error(p)
	}
	if len(c.Modules) != 2 || c.Modules[0].ID != "demo" || !c.Modules[1].Planned || c.Modules[1].Requires[0] != "demo" {
		t.Fatalf("modules are %+v", c.Modules)
	}
	l := c.Lab("demo-all")
	if l == nil || c.Lab("nothing") != nil {
		t.Fatalf("lab demo-all is %v", l)
	}
	if l.Number != 1 || l.Module.ID != "demo" || l.Network != "own" || l.Minutes != 20 || !l.Terminal || !slices.Equal(l.Needs, []string{"bpf", "tool:strace"}) {
		t.Errorf("the lab is %+v", l)
	}
	if s := l.Stage; s == nil || s.Of != "puppet" || s.FD != 3 {
		t.Errorf("the stage is %+v", s)
	}
	if l.Code.Starter["util.h"] != "#define BUG 1\n" || l.Code.Solution["util.h"] != "#define BUG 0\n" || len(l.Code.Solution) != 1 || l.Code.Seconds != 30 {
		t.Errorf("the code is %+v", l.Code)
	}
	if l.Scripts["checks/clean.sh"] == "" || len(l.Media["media/wq.svg"]) == 0 {
		t.Error("script or picture is missing")
	}
	var kinds []string
	for _, s := range l.Steps {
		for _, m := range s.Solve {
			kinds = append(kinds, m.Kind)
		}
	}
	if want := []string{"do", "workload", "workload", "wait", "run", "build", "kill"}; !slices.Equal(kinds, want) {
		t.Errorf("moves are %v, want %v", kinds, want)
	}
	if c := l.Steps[1].Check; c.Kind != KindEdge || c.Within != 30*time.Second {
		t.Errorf("check is %+v", c)
	}
	if m := l.Steps[1].Solve[2]; m.Within != 5*time.Second || m.Wait != "len(calls) > 1" {
		t.Errorf("wait is %+v", m)
	}
}

// TestTheOthersStay: a bad lab takes no other with it.
func TestTheOthersStay(t *testing.T) {
	files := goodFiles(t)
	for name, f := range goodFiles(t) {
		if rest, ok := strings.CutPrefix(name, goodLab+"/"); ok {
			files["010-demo/020-second/"+rest] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(string(f.Data), "demo-all", "second"))}
			files["010-demo/030-twin/"+rest] = f
		}
	}
	files["030-broken/module.yaml"] = &fstest.MapFile{Data: []byte("format: 1\nid: [\n")}
	files["030-broken/010-x/lab.yaml"] = &fstest.MapFile{Data: []byte("format: 2\n")}
	c := Load(files, testFacts())
	if c.Lab("second") == nil || c.Lab("demo-all") == nil {
		t.Error("good labs went with the bad ones")
	}
	if p := c.Lab("demo-all").Page("en"); p.Next != "second" || p.Previous != "" || p.Of != 2 {
		t.Errorf("of %d labs the next is %q and the previous %q", p.Of, p.Next, p.Previous)
	}
	var got []string
	for _, p := range c.Problems {
		got = append(got, p.Error())
	}
	want := []string{
		`010-demo/030-twin/lab.yaml: id "demo-all" is that of 010-demo/010-all`,
		"030-broken/module.yaml:2:5: sequence end token ']' not found",
	}
	if !slices.Equal(got, want) {
		t.Errorf("problems are %q, want %q", got, want)
	}
}

// TestHostileFolders: what only a real file system can do to a loader.
func TestHostileFolders(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, goodFiles(t)); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret.md")
	if err := os.WriteFile(secret, []byte("# Secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lesson := filepath.Join(dir, goodLab, "lesson.zh.md")
	if err := os.Remove(lesson); err != nil {
		t.Fatal(err)
	}
	for old, name := range map[string]string{secret: lesson, "/etc": filepath.Join(dir, "010-demo/020-etc"), "/": filepath.Join(dir, "040-root")} {
		if err := os.Symlink(old, name); err != nil {
			t.Fatal(err)
		}
	}
	c := Load(os.DirFS(dir), testFacts())
	var got []string
	for _, p := range c.Problems {
		got = append(got, p.Error())
	}
	want := []string{
		"010-demo/010-all/lesson.zh.md: symbolic links are not followed; copy the file",
		"010-demo/020-etc: symbolic links are not followed; copy the folder",
		"040-root: symbolic links are not followed; copy the folder",
	}
	if !slices.Equal(got, want) {
		t.Errorf("problems are %q, want %q", got, want)
	}
	if c.Lab("demo-all") != nil {
		t.Error("a lab with a link to elsewhere was loaded")
	}
	if c := Load(os.DirFS(filepath.Join(dir, "nowhere")), nil); len(c.Problems) != 1 || c.Problems[0].File != "." {
		t.Errorf("a folder that is not there gives %v", c.Problems)
	}
}

func TestTooMuch(t *testing.T) {
	deep := strings.Repeat("[", 100_000)
	for _, tt := range []struct{ name, file, text, want string }{
		{"yaml", "lab.yaml", strings.Repeat("# x\n", maxYAML/4+1), "lab.yaml: the file has more than 256 KiB"},
		{"lesson", "lesson.en.md", strings.Repeat("x\n", maxText/2+1), "lesson.en.md: the file has more than 48 KiB"},
		{"code", "starter/main.c", strings.Repeat("x\n", maxText/2+1), "starter/main.c: the file has more than 48 KiB"},
		{"brackets", "lab.yaml", "a: " + deep, "lab.yaml:1: nested deeper than 64 levels"},
		{"dashes", "lab.yaml", "\n" + strings.Repeat("- ", 50_000), "lab.yaml:2: nested deeper than 64 levels"},
		{"steps", "lab.yaml", "format: 1\nid: x\ntitle: {en: x}\nsummary: {en: x}\nminutes: 1\nsteps: [" + strings.Repeat("1,", 65) + "]\n",
			"lab.yaml:6:8: steps has 65 elements; at most 64 are taken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := goodFiles(t)
			files[goodLab+"/"+tt.file] = &fstest.MapFile{Data: []byte(tt.text)}
			began := time.Now()
			c := Load(files, testFacts())
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			if !slices.ContainsFunc(c.Problems, func(p Problem) bool { return p.Error() == goodLab+"/"+tt.want }) {
				t.Errorf("problems are %v, want %s", c.Problems, tt.want)
			}
		})
	}
}

func TestDraw(t *testing.T) {
	l := good(t)
	seen := map[int]bool{}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		p := l.Draw(rnd)
		if len(p) != 2 || p["n"] < 5 || p["n"] > 9 || p["k"] != 2 {
			t.Fatalf("drew %v", p)
		}
		seen[p["n"]] = true
	}
	if len(seen) != 5 {
		t.Errorf("of 5 to 9 only %v were drawn", seen)
	}
	a, b := l.Draw(rand.New(rand.NewPCG(3, 3))), l.Draw(rand.New(rand.NewPCG(3, 3)))
	if a["n"] != b["n"] {
		t.Error("one seed gives two draws")
	}
}

func TestSetup(t *testing.T) {
	got, err := good(t).Workloads[0].Actions(map[string]int{"n": 7})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`{"op":"epoll_create"}`, `{"epfd":3,"n":7,"op":"add","what":"eventfd"}`}
	for i := range want {
		if i >= len(got) || string(got[i]) != want[i] {
			t.Errorf("setup is %s, want %s", got, want)
		}
	}
}

func TestUses(t *testing.T) {
	l := good(t)
	for fact, want := range map[string]bool{
		"calls": true, "epoll.nodes": true, "epoll.": true, "puppet.pid": true, "program.": false, "nodes": false, "epoll.scanning": false,
	} {
		if l.Uses(fact) != want {
			t.Errorf("Uses(%q) is %v", fact, !want)
		}
	}
}

func TestTemplate(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ name, path, id string }{
		{"060-mine/010-first", "060-mine/010-first", "mine-first"},
		{"mine/second-one", "060-mine/020-second-one", "mine-second-one"},
		{"060-mine/third", "060-mine/030-third", "mine-third"},
	} {
		got, err := Template(dir, tt.name)
		if err != nil || got != filepath.Join(dir, tt.path) {
			t.Fatalf("%s: %s, %v", tt.name, got, err)
		}
		files := os.DirFS(dir)
		c := Load(files, testFacts())
		for _, p := range append(c.Problems, Check(files, c)...) {
			t.Errorf("%s: %v", tt.name, p)
		}
		if c.Lab(tt.id) == nil {
			t.Errorf("there is no lab %s", tt.id)
		}
	}
	for _, name := range []string{"mine", "mine/../x", "mine/first", "060-mine/Third", "nowhere/x", "../060-x/y", "060-mine/a/b", "/x"} {
		if got, err := Template(dir, name); err == nil {
			t.Errorf("%q gives %s", name, got)
		}
	}
}

func TestStamp(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, goodFiles(t)); err != nil {
		t.Fatal(err)
	}
	english := filepath.Join(dir, goodLab, "lesson.en.md")
	b, err := os.ReadFile(english)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(english, append(b, "\nMore.\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	listed := func() []Problem {
		c := Load(os.DirFS(dir), testFacts())
		return append(c.Problems, Check(os.DirFS(dir), c)...)
	}
	if p := listed(); len(p) != 1 || !p[0].Warning {
		t.Fatalf("the changed text gives %v", p)
	}
	if !loadLab(t, os.DirFS(dir), "demo-all").Page("zh").Stale {
		t.Error("the page does not say that the translation is old")
	}
	for range 2 { // again changes nothing
		if err := Stamp(dir); err != nil {
			t.Fatal(err)
		}
		if p := listed(); len(p) != 0 {
			t.Fatalf("after stamping: %v", p)
		}
	}
	zh, err := os.ReadFile(filepath.Join(dir, goodLab, "lesson.zh.md"))
	if err != nil || strings.Count(string(zh), "<!-- of ") != 1 {
		t.Errorf("the translation is %q, %v", zh, err)
	}
}

// FuzzLoad: whatever a lab.yaml or a lesson holds, loading ends and panics not,
// and what it lets through can be used.
func FuzzLoad(f *testing.F) {
	good := goodFiles(f)
	f.Add(string(good[goodLab+"/lab.yaml"].Data), string(good[goodLab+"/lesson.en.md"].Data))
	for _, seed := range []string{"", "a: *a", "- - -", "{{", "steps: [{check: 'any(1..9999999, true)'}]", "? x\n: y", "\xff", "a: |\n  {{"} {
		f.Add(seed, "# T\n"+seed)
	}
	f.Fuzz(func(t *testing.T, yaml, lesson string) {
		files := fstest.MapFS{}
		for name, file := range good {
			files[name] = file
		}
		files[goodLab+"/lab.yaml"] = &fstest.MapFile{Data: []byte(yaml)}
		files[goodLab+"/lesson.en.md"] = &fstest.MapFile{Data: []byte(lesson)}
		c := Load(files, testFacts())
		Check(files, c)
		for _, m := range c.Modules {
			for _, l := range m.Labs {
				r := NewRun(l, nil, nil, time.Now)
				r.Observe(nil)
				r.Values(nil)
				if _, err := json.Marshal(l.Page("zh")); err != nil {
					t.Error(err)
				}
				for name := range l.Actions {
					_, _ = r.Expand(name, nil) // an error is fine, a panic is not
				}
			}
		}
	})
}
