package experiment

import (
	"strings"
	"testing"
	"testing/fstest"
)

const goodClaim = `format: 1
claims:
  - id: T3b
    section: tuning
    text: {en: "One.", zh: "一。"}
    means: {en: "Two.", zh: "二。"}
    experiment: race
    parts:
      - series: lo
        variant: b
        against: a
        want: ratio <= 0.77
`

func loadText(text string) ([]Claim, error) {
	return LoadClaims(fstest.MapFS{
		ClaimsFile:             {Data: []byte(text)},
		"010-x/module.yaml":    {Data: []byte("format: 1\nid: epoll\n")},
		"020-y/module.yaml":    {Data: []byte("id: mesh\n")},
		"010-x/010-a/lab.yaml": {Data: []byte("format: 1\nid: epoll-tree\nsteps: 7\n")}, // broken otherwise
	})
}

func TestLoadClaims(t *testing.T) {
	claims, err := loadText(goodClaim)
	if err != nil {
		t.Fatal(err)
	}
	c := claims[0]
	if len(claims) != 1 || c.ID != "T3b" || c.Text.Zh != "一。" || c.Parts[0].Want.String() != "ratio <= 0.77" || c.Parts[0].Against != "a" {
		t.Errorf("got %+v", claims)
	}
}

func TestLoadClaimsThatNeedNoExperiment(t *testing.T) {
	for _, way := range []string{"lesson: epoll-tree", "later: mesh", "lesson: epoll-tree\n    see: [epoll-tree]"} {
		text, _, _ := strings.Cut(goodClaim, "    experiment:")
		if _, err := loadText(text + "    " + way + "\n"); err != nil {
			t.Errorf("%s: %v", way, err)
		}
	}
}

func TestLoadClaimsRefuses(t *testing.T) {
	replace := func(old, text string) string {
		if !strings.Contains(goodClaim, old) {
			t.Fatalf("%q is not in the file", old)
		}
		return strings.Replace(goodClaim, old, text, 1)
	}
	tests := []struct{ name, text, says string }{
		{"empty", "", "claims.yaml:1: "},
		{"no YAML", "format: [", "claims.yaml:1: "},
		{"other format", replace("format: 1", "format: 2"), "claims.yaml:1: format must be 1"},
		{"no claims", "format: 1\nclaims: []\n", "claims.yaml:1: there are no claims"},
		{"unknown key", replace("means:", "meens:"), `claims.yaml:6: unknown field "meens"`},
		{"unknown key of a part", replace("against: a", "versus: a"), `claims.yaml:11: unknown field "versus"`},
		{"a list where a text is", replace("experiment: race", "experiment: [race]"), "claims.yaml:7: "},
		{"bad id", replace("T3b", "zero-copy"), "claims.yaml:3: id"},
		{"unknown section", replace("section: tuning", "section: kernel"), "claims.yaml:4: section"},
		{"no Chinese", replace(`, zh: "一。"`, ""), "claims.yaml:5: text has no zh"},
		{"nothing tests it", replace("    experiment: race\n", ""), "claims.yaml:3: claim T3b must have exactly one"},
		{"two ways", replace("experiment: race", "experiment: race\n    later: mesh"), "claims.yaml:3: claim T3b must have exactly one"},
		{"a lesson with parts", replace("experiment: race", "lesson: epoll-tree"), "claims.yaml:3: claim T3b must have parts if"},
		{"a module that is not there", replace("experiment: race", "later: cloud"), `claims.yaml:7: there is no module "cloud"; there are epoll, mesh`},
		{"an issue", replace("experiment: race", "later: 5"), `claims.yaml:7: there is no module "5"`},
		{"a lab that is not there", replace("experiment: race", "lesson: epoll-three"), `claims.yaml:7: there is no lab "epoll-three"`},
		{"a lab to see that is not there", replace("experiment: race", "experiment: race\n    see: [epoll-tree, epoll-two]"), `claims.yaml:8: there is no lab "epoll-two"`},
		{"bad want", replace("ratio <= 0.77", "ratio < 0.77"), "claims.yaml:12: want"},
		{"a bound too near 1", replace("ratio <= 0.77", "ratio <= 0.99"), "claims.yaml:12: want"},
		{"a ratio to nothing", replace("        against: a\n", ""), "claims.yaml:11: \"ratio <= 0.77\": a ratio needs against"},
		{"no series", replace("series: lo", "series: ''"), "claims.yaml:9: a part needs series"},
		{"twice", goodClaim + strings.TrimPrefix(goodClaim, "format: 1\nclaims:\n"), "claims.yaml:13: claim T3b stands twice"},
		{"parts that say nothing", goodClaim + "      - {series: lo, variant: c, against: a, want: ratio >= 2}\n", "claims.yaml:9: when has no en"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			claims, err := loadText(test.text)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%+v, error %v, want %q", claims, err, test.says)
			}
		})
	}
	if _, err := LoadClaims(fstest.MapFS{}); err == nil {
		t.Error("no file was no error")
	}
	if _, err := loadText(goodClaim + strings.Repeat("#", maxClaims)); err == nil || !strings.Contains(err.Error(), "256 KiB") {
		t.Errorf("a long file: %v", err)
	}
}

func FuzzLoadClaims(f *testing.F) {
	f.Add(goodClaim)
	f.Add("a: &b [*b]\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			t.Skip()
		}
		claims, err := loadText(text)
		if (err == nil) != (len(claims) > 0) {
			t.Errorf("%d claims, %v", len(claims), err)
		}
	})
}

func TestCheckClaims(t *testing.T) {
	info := Info{
		ID:      "race",
		Metrics: []Metric{{ID: "cpu"}},
		Series:  []Series{{ID: "lo", Variants: []Variant{{ID: "a"}, {ID: "b"}}}},
	}
	load := func(old, text string) []Claim {
		claims, err := loadText(strings.Replace(goodClaim, old, text, 1))
		if err != nil {
			t.Fatal(err)
		}
		return claims
	}
	tests := []struct{ name, old, text, says string }{
		{"fine", "", "", ""},
		{"unknown experiment", "race", "run", `no experiment "run"`},
		{"unknown series", "series: lo", "series: veth", `no series "veth"; it has lo`},
		{"unknown variant", "variant: b", "variant: c", `no variant "c"; it has a, b`},
		{"unknown other variant", "against: a", "against: c", `no variant "c"; it has a, b`},
		{"unknown metric", "against: a", "against: a\n        metric: x", `no metric "x"`},
	}
	for _, test := range tests {
		err := CheckClaims(load(test.old, test.text), []Definition{{Info: info}})
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", test.name, err, test.says)
		}
	}
}
