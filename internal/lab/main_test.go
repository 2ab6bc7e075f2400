package lab

import (
	"flag"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"kernelviz/internal/kernelviz"
)

var update = flag.Bool("update", false, "write the golden files")

// testFacts are a small vocabulary with every type.
func testFacts() []kernelviz.Fact {
	const (
		b, i, f, s = kernelviz.FactBool, kernelviz.FactInt, kernelviz.FactFloat, kernelviz.FactString
		ints, list = kernelviz.FactInts, kernelviz.FactList
	)
	return []kernelviz.Fact{
		{Name: "epoll.nodes", Type: i}, {Name: "epoll.root", Type: i}, {Name: "epoll.ready", Type: i},
		{Name: "epoll.ready_fds", Type: ints}, {Name: "epoll.scanning", Type: b},
		{Name: "epoll.items", Type: list, Fields: []kernelviz.Fact{{Name: "fd", Type: i}, {Name: "red", Type: b}, {Name: "events", Type: s}}},
		{Name: "calls", Type: list, Fields: []kernelviz.Fact{{Name: "name", Type: s}, {Name: "result", Type: i}}},
		{Name: "puppet.running", Type: b}, {Name: "puppet.pid", Type: i},
		{Name: "herd.running", Type: b}, {Name: "herd.cost", Type: f},
		{Name: "program.running", Type: b}, {Name: "program.output", Type: s},
		{Name: "terminal.words", Type: kernelviz.FactStrings},
	}
}

// goodFiles are the files of testdata/good, in memory.
func goodFiles(t testing.TB) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	good := os.DirFS("testdata/good")
	err := fs.WalkDir(good, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(good, name)
		files[name] = &fstest.MapFile{Data: b}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

const goodLab = "010-demo/010-all"

// good loads the lab of testdata/good.
func good(t testing.TB) *Lab {
	t.Helper()
	return loadLab(t, goodFiles(t), "demo-all")
}

func loadLab(t testing.TB, files fs.FS, id string) *Lab {
	t.Helper()
	c := Load(files, testFacts())
	for _, p := range c.Problems {
		t.Error(p)
	}
	l := c.Lab(id)
	if l == nil {
		t.Fatalf("there is no lab %s", id)
	}
	return l
}

// labOf loads a lab of these steps, in YAML, with a stage of a puppet.
func labOf(t testing.TB, steps string) *Lab {
	t.Helper()
	lesson := "# T\n"
	for line := range strings.Lines(steps) {
		if id, ok := strings.CutPrefix(line, "  - id: "); ok {
			lesson += "::step{" + strings.TrimSpace(id) + "}\n"
		}
	}
	const head = `format: 1
id: t
title: {en: "T"}
summary: {en: "S"}
minutes: 1
params: {n: [3, 3]}
workloads: [{name: puppet}]
stage: {of: puppet, fd: 3}
steps:
`
	return loadLab(t, fstest.MapFS{
		"010-m/module.yaml":        {Data: []byte("format: 1\nid: m\ntitle: {en: M}\nsummary: {en: S}\n")},
		"010-m/010-t/lab.yaml":     {Data: []byte(head + steps)},
		"010-m/010-t/lesson.en.md": {Data: []byte(lesson)},
		"010-m/010-t/checks/a.sh":  {Data: []byte("exit 1\n")},
	}, "t")
}
