package playground

import (
	"strings"
	"testing"
)

// One playground for all of it: its cache begins empty, and to compile the
// runtime takes a while.
func TestGo(t *testing.T) {
	p := newPlayground(t)
	inGo := func(text string) Project {
		return Project{Name: "test", Language: "go", Files: map[string]string{"main.go": text}}
	}
	t.Run("hello", func(t *testing.T) {
		project := inGo("package main\n\nimport \"os\"\n\nfunc main() {\n\tfor i := range 2 {\n\t\tprintln(\"hello\", name, i, len(os.Args))\n\t}\n}\n")
		project.Files["name.go"] = "package main\n\nconst name = \"world\"\n"
		project.Args = []string{"9000"}
		if got := ran(t, start(t, p, project)); got != "hello world 0 2\nhello world 1 2\n" {
			t.Errorf("it said %q", got)
		}
	})
	for _, tt := range []struct {
		name, text string
		want       []Diagnostic
	}{
		{"type error", "package main\n\nfunc f(int) {}\n\nfunc main() {\n\tf(\"x\", 1)\n\tx = 1\n}\n", []Diagnostic{
			{"main.go", 6, 9, "error", "too many arguments"},
			{"main.go", 6, 9, "error", "want (int)"},
			{"main.go", 7, 2, "error", "undefined: x"},
		}},
		{"syntax error", "package main\n\nfunc main() {\n\tx :=\n}\n", []Diagnostic{{"main.go", 5, 1, "error", "syntax error"}}},
		{"no such package", "package main\n\nimport _ \"no/such\"\n\nfunc main() {}\n", []Diagnostic{{"main.go", 3, 8, "error", "no/such"}}},
		{"nothing from the network", "package main\n\nimport _ \"example.com/x\"\n\nfunc main() {}\n", []Diagnostic{{"main.go", 3, 8, "error", "example.com/x"}}},
		{"linker", "package main\n\nfunc f() {}\n", []Diagnostic{{"main.go", 0, 0, "error", "main is undeclared"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, found, err := p.Build(t.Context(), inGo(tt.text))
			if err != nil || b != nil {
				t.Fatalf("built: %v, %v", b, err)
			}
			for _, want := range tt.want {
				has(t, found, want)
			}
			for _, d := range found {
				if strings.HasPrefix(d.Text, "#") {
					t.Errorf("%+v is no diagnostic", d)
				}
			}
		})
	}
}
