// Package archtest holds the rooms of the repository to their one direction:
//
//	cmd → server → session → {lab, experiment, playground, store, terminal} → {workload, sandbox}
//	    → kernelviz/{epoll, process, …} → kernelviz/{kernel, wire} → kernelviz
//
// and of the page to: draw → scene → model → wire. It has no code of its own.
package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// A room is a directory with all below it that is not a room itself.
type room struct {
	dir   string
	floor int // a room may import rooms of lower floors
	// besides are the rooms of the same floor that it may import.
	besides []string
}

var rooms = []room{
	{dir: "internal/kernelviz", floor: 0},
	{dir: "internal/kernelviz/kernel", floor: 1},
	{dir: "internal/kernelviz/wire", floor: 1},
	{dir: "internal/iouring", floor: 0}, // the ABI, for the view as for workloads
	{dir: "internal/kernelviz/epoll", floor: 2},
	{dir: "internal/kernelviz/process", floor: 2},
	{dir: "internal/kernelviz/uring", floor: 2},
	{dir: "internal/kernelviz/syscalls", floor: 2},
	{dir: "internal/kernelviz/redirect", floor: 2},
	{dir: "internal/kernelviz/tcp", floor: 2},
	{dir: "internal/sandbox", floor: 3},
	{dir: "internal/workload", floor: 3, besides: []string{"internal/sandbox"}},
	{dir: "internal/lab", floor: 4},
	{dir: "internal/experiment", floor: 4},
	{dir: "internal/playground", floor: 4},
	{dir: "internal/store", floor: 4},
	{dir: "internal/terminal", floor: 4},
	{dir: "labs", floor: 4}, // the labs that are built in, embedded
	{dir: "web", floor: 4},  // the built page, embedded
	{dir: "internal/session", floor: 5},
	{dir: "internal/server", floor: 6},
	{dir: "cmd", floor: 7},
}

// benches are rooms for tests and tools: they may import any room, and only
// tests and other benches may import them.
var benches = []string{"internal/archtest", "internal/oracle", "internal/vmtest", "internal/bench", "scripts"}

// noHTTP are the rooms that know nothing of how their work reaches a page.
var noHTTP = []string{"internal/kernelviz", "internal/workload", "internal/sandbox", "internal/lab", "internal/session"}

func TestImportsPointDown(t *testing.T) {
	seen := 0
	for file, imports := range goImports(t) {
		seen++
		from := path.Dir(file)
		test := strings.HasSuffix(file, "_test.go")
		if inside(benches, from) {
			continue
		}
		i := roomOf(from)
		if i < 0 {
			t.Errorf("%s: no room is known for this directory: add it to archtest with its floor", file)
			continue
		}
		for _, imp := range imports {
			if inside(noHTTP, from) && !test && (imp == "net/http" || strings.Contains(imp, "websocket")) {
				t.Errorf("%s imports %s: this room must not know how its work reaches a page", file, imp)
			}
			to, ok := strings.CutPrefix(imp, "kernelviz/")
			if !ok || test && inside(benches, to) {
				continue
			}
			if err := allowed(rooms[i], to); err != "" {
				t.Errorf("%s imports %s: %s", file, imp, err)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d files were looked at", seen)
	}
}

// allowed says why a room may not import a directory, "" if it may.
func allowed(from room, to string) string {
	j := roomOf(to)
	switch {
	case inside(benches, to):
		return "that is for tests only"
	case j < 0:
		return "no room is known for that directory"
	case rooms[j].dir == from.dir || rooms[j].floor < from.floor || slices.Contains(from.besides, rooms[j].dir):
		return ""
	case rooms[j].floor == from.floor:
		return "rooms of one floor do not know each other"
	}
	return "imports point down: " + rooms[j].dir + " lies above " + from.dir
}

func TestAllowed(t *testing.T) {
	tests := []struct {
		from, to string
		ok       bool
	}{
		{"cmd/labserver", "internal/server", true},
		{"internal/server", "cmd/labserver", false},
		{"internal/server", "internal/session", true},
		{"internal/session", "internal/lab", true},
		{"internal/session", "internal/server", false},
		{"internal/lab", "internal/session", false},
		{"internal/kernelviz/epoll", "internal/kernelviz/wire", true},
		{"internal/kernelviz/wire", "internal/kernelviz", true},
		{"internal/kernelviz", "internal/kernelviz/wire", false},
		{"internal/kernelviz/epoll", "internal/kernelviz/uring", false},
		{"internal/kernelviz/kernel", "internal/kernelviz/wire", false},
		{"internal/workload/puppet", "internal/workload/control", true},
		{"internal/workload/puppet", "internal/sandbox", true},
		{"internal/sandbox", "internal/workload", false},
		{"internal/sandbox", "internal/vmtest", false},
		{"internal/sandbox", "internal/nowhere", false},
	}
	for _, tt := range tests {
		i := roomOf(tt.from)
		if i < 0 {
			t.Fatalf("%s is in no room", tt.from)
		}
		if why := allowed(rooms[i], tt.to); (why == "") != tt.ok {
			t.Errorf("%s → %s: %q", tt.from, tt.to, why)
		}
	}
}

// roomOf is the index of the innermost room around a directory, -1 if none.
func roomOf(dir string) int {
	best := -1
	for i, r := range rooms {
		if inside([]string{r.dir}, dir) && (best < 0 || len(r.dir) > len(rooms[best].dir)) {
			best = i
		}
	}
	// A directory of internal/kernelviz that has no room of its own is not a
	// part of the vocabulary.
	if best >= 0 && rooms[best].floor == 0 && dir != rooms[best].dir {
		return -1
	}
	return best
}

func inside(dirs []string, dir string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return dir == d || strings.HasPrefix(dir, d+"/") })
}

// goImports maps each Go file, by its path from the root, to what it imports.
func goImports(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	walk(t, ".", ".go", func(name string) {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			return
		}
		files[name] = nil
		for _, spec := range f.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Error(err)
				return
			}
			files[name] = append(files[name], imp)
		}
	})
	return files
}

// walk visits the files below dir, by their paths from the root.
func walk(t *testing.T, dir, suffix string, visit func(name string)) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root, dir), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() != ".." && strings.HasPrefix(d.Name(), ".")) {
			return fs.SkipDir
		}
		if !d.Type().IsRegular() || !strings.HasSuffix(p, suffix) {
			return nil
		}
		name, err := filepath.Rel(root, p)
		visit(filepath.ToSlash(name))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// pageRooms are the directories of web/src that make the picture, with the
// directories that each may import.
var pageRooms = map[string][]string{
	"wire":  nil,
	"model": {"wire"},
	"scene": {"wire", "model"},
	"draw":  {"wire", "model", "scene"},
	"net":   {"wire"},
}

var jsImport = regexp.MustCompile(`(?m)(?:\bfrom|\bimport)\s*\(?\s*["'](\.[^"']*)["']`)

func TestPageImportsPointDown(t *testing.T) {
	seen := 0
	for dir, may := range pageRooms {
		walk(t, "web/src/"+dir, ".ts", func(name string) {
			seen++
			b, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				t.Error(err)
				return
			}
			for _, to := range jsImports(name, string(b)) {
				// Tests and benchmarks of every room share what testing makes.
				if to == "testing" && !strings.HasSuffix(strings.TrimSuffix(name, ".ts"), ".test") && !strings.HasSuffix(name, ".bench.ts") {
					t.Errorf("%s imports testing and is no test", name)
					continue
				}
				if to != dir && to != "testing" && !slices.Contains(may, to) {
					t.Errorf("%s imports %s: %s may import only %v", name, to, dir, may)
				}
			}
		})
	}
	if seen < 5 {
		t.Errorf("only %d files were looked at", seen)
	}
}

// jsImports are the directories of web/src that a file imports from; "." is
// web/src itself.
func jsImports(name, text string) []string {
	var dirs []string
	for _, m := range jsImport.FindAllStringSubmatch(text, -1) {
		rel, ok := strings.CutPrefix(path.Join(path.Dir(name), m[1]), "web/src/")
		if !ok {
			continue
		}
		dir, _, below := strings.Cut(rel, "/")
		if !below {
			dir = "."
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

func TestJSImports(t *testing.T) {
	const text = `import { a } from "../wire/epoll";
import type {
  B,
} from './types';
export * from "../scene/types";
const c = await import("../ui/deep/thing");
import "../core";
import { d } from "svelte";
`
	want := []string{"wire", "draw", "scene", "ui", "."}
	if got := jsImports("web/src/draw/canvas.ts", text); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
