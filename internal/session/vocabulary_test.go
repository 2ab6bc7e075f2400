package session

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/epoll"
	"kernelviz/internal/lab"
)

var update = flag.Bool("update", false, "write docs/facts.md")

// TestFactsPage holds docs/facts.md to the facts that there are.
func TestFactsPage(t *testing.T) {
	const file = "../../docs/facts.md"
	want := lab.FactsPage(Vocabulary([]kernelviz.View{new(epoll.View)}))
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the facts are; run go test ./internal/session -run FactsPage -update", file)
	}
}

// TestVocabulary looks for facts that no expression could name.
func TestVocabulary(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Vocabulary([]kernelviz.View{new(epoll.View)}) {
		if seen[f.Name] {
			t.Errorf("fact %s stands twice", f.Name)
		}
		seen[f.Name] = true
		if f.Doc == "" || !strings.HasSuffix(f.Doc, ".") {
			t.Errorf("fact %s is not described by a sentence: %q", f.Name, f.Doc)
		}
		if (f.Type == kernelviz.FactList) != (len(f.Fields) > 0) {
			t.Errorf("fact %s is a %s with %d fields", f.Name, f.Type, len(f.Fields))
		}
		head, _, _ := strings.Cut(f.Name, ".")
		if head == "before" || head == "param" || head == "item" {
			t.Errorf("fact %s takes a name that expressions have", f.Name)
		}
	}
	for name := range seen {
		for other := range seen {
			if strings.HasPrefix(other, name+".") {
				t.Errorf("fact %s stands in the way of %s", name, other)
			}
		}
	}
}
