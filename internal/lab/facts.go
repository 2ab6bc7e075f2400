package lab

import (
	"fmt"
	"strings"

	"kernelviz/internal/kernelviz"
)

// typeWords say what the value of a fact is in an expression.
var typeWords = map[kernelviz.FactType]string{
	kernelviz.FactBool: "true or false", kernelviz.FactInt: "whole number", kernelviz.FactFloat: "number",
	kernelviz.FactString: "text", kernelviz.FactInts: "list of whole numbers", kernelviz.FactStrings: "list of texts",
	kernelviz.FactList: "list",
}

// FactsPage is docs/facts.md: the reference of all facts.
func FactsPage(facts []kernelviz.Fact) []byte {
	var b strings.Builder
	b.WriteString(`<!-- Made by "go test ./internal/session -run FactsPage -update". Do not edit: change the fact's Doc. -->

# Facts

What checks, hints and ` + "`{{…}}`" + ` of labs may name. [labs.md](labs.md) says how. A fact that nobody publishes now is false, 0,
empty text or an empty list. Of every fact that is no list, ` + "`before.NAME`" + ` is its value when the step was armed; ` + "`param.NAME`" + ` is
a parameter of the lab.
`)
	publisher := ""
	for _, f := range facts {
		if name, _, _ := strings.Cut(f.Name, "."); name != publisher {
			publisher = name
			fmt.Fprintf(&b, "\n## %s\n\n| fact | value | |\n|---|---|---|\n", name)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Name, typeWords[f.Type], cell(f.Doc))
		for _, field := range f.Fields {
			fmt.Fprintf(&b, "| &nbsp;&nbsp;`.%s` | %s | %s |\n", field.Name, typeWords[field.Type], cell(field.Doc))
		}
	}
	return []byte(b.String())
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
