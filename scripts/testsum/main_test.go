package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadGo(t *testing.T) {
	tests := []struct {
		name, in string
		want     counts
		shows    string // must be printed
		hides    string // must not, if not empty
	}{
		{"pass", `{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":1.25}
`, counts{passed: 1}, "ok    p  1.2 s", "noise"},
		{"fail shows its output", `{"Action":"output","Package":"p","Test":"TestA","Output":"the reason\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}
`, counts{failed: 1}, "the reason", ""},
		{"package that crashed", `{"Action":"output","Package":"p","Output":"panic: x\n"}
{"Action":"fail","Package":"p"}
`, counts{failed: 1}, "panic: x", ""},
		{"package that did not build", `{"Action":"build-output","ImportPath":"p","Output":"undefined: y\n"}
{"Action":"build-fail","ImportPath":"p"}
{"Action":"fail","Package":"p","FailedBuild":"p"}
`, counts{failed: 1}, "undefined: y", ""},
		{"crash in a test that never ended", `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"panic: timed out\n"}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"fail","Package":"p"}
`, counts{failed: 1}, "panic: timed out", ""},
		{"skips", `{"Action":"output","Package":"p","Test":"TestA","Output":"host only: nginx\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"not root\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
`, counts{skipped: 2, allowed: 1}, "not root", ""},
		{"words that are no event", "go: downloading\n", counts{}, "go: downloading", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			got, err := readGo(strings.NewReader(tt.in), &out, "host only:")
			if err != nil || got != tt.want {
				t.Errorf("got %+v (%v), want %+v", got, err, tt.want)
			}
			if !strings.Contains(out.String(), tt.shows) || tt.hides != "" && strings.Contains(out.String(), tt.hides) {
				t.Errorf("printed %q", out.String())
			}
		})
	}
}

func TestRunsAddUp(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "counts")
	report := filepath.Join(dir, "vitest.json")
	if err := os.WriteFile(report, []byte(`{"success":true,"numPassedTests":7,"numFailedTests":0,"numPendingTests":1,"numTodoTests":0}`), 0o644); err != nil {
		t.Fatal(err)
	}
	skip := `{"Action":"skip","Package":"p","Test":"T"}` + "\n"
	pass := `{"Action":"pass","Package":"p","Test":"T"}` + "\n"
	steps := []struct {
		args []string
		in   string
		ok   bool
	}{
		{[]string{"-counts", file}, pass, true},
		{[]string{"-counts", file}, skip, true},
		{[]string{"-counts", file, "-strict"}, skip, false},
		{[]string{"-counts", file, "-strict"}, pass, true},
		{[]string{"-counts", file, "-vitest", report}, "", true},
		{[]string{"-counts", file, "-vitest", report + "x"}, "", false},
		{nil, "", false},
	}
	for _, s := range steps {
		if err := run(s.args, strings.NewReader(s.in), &bytes.Buffer{}); (err == nil) != s.ok {
			t.Errorf("%v: %v", s.args, err)
		}
	}
	var out bytes.Buffer
	if err := run([]string{"-counts", file, "-total"}, nil, &out); err != nil || out.String() != "9 passed, 0 failed, 3 skipped\n" {
		t.Errorf("total %q (%v)", out.String(), err)
	}
}

func TestReportThatCouldNotLoad(t *testing.T) {
	report := filepath.Join(t.TempDir(), "vitest.json")
	if err := os.WriteFile(report, []byte(`{"success":false}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if c, err := readVitest(report, &bytes.Buffer{}); err != nil || c.failed != 1 {
		t.Errorf("%+v (%v), want one failure", c, err)
	}
}
