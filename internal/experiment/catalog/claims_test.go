package catalog

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"kernelviz/internal/experiment"
)

// TestClaims: the claims that are built in name experiments, series, variants,
// metrics, labs and modules that there are, and all of the article is among them.
func TestClaims(t *testing.T) {
	labs := os.DirFS("../../../labs")
	claims, err := experiment.LoadClaims(labs)
	if err != nil {
		t.Fatal(err)
	}
	if err := experiment.CheckClaims(claims, All()); err != nil {
		t.Error(err)
	}
	missing := strings.Fields("E1 E2 E3 E4 E5 E6 T1 T2 T3 T4 T5 U1 U2 U3 B1 B2 B3 B4 R5")
	for _, id := range missing {
		found := false
		for _, c := range claims {
			found = found || strings.TrimRight(c.ID, "abcdef") == id
		}
		if !found {
			t.Errorf("claim %s of the article is not in the file", id)
		}
	}
}

// TestChinese: where Chinese stands, its punctuation is full width, and its
// numbers have no commas.
func TestChinese(t *testing.T) {
	claims, err := experiment.LoadClaims(os.DirFS("../../../labs"))
	if err != nil {
		t.Fatal(err)
	}
	half := regexp.MustCompile(`\p{Han} *[,;:?!)]|\p{Han}[(.]|[,;:?!(] *\p{Han}|\)\p{Han}|[0-9],[0-9]{3}|[，。：；（] | [，。：；）]`)
	look := func(where string, texts ...experiment.Text) {
		for _, text := range texts {
			if text.Zh == "" || text.En == "" {
				t.Errorf("%s: a language lacks: %+v", where, text)
			}
			if at := half.FindStringIndex(text.Zh); at != nil {
				t.Errorf("%s: …%s…", where, text.Zh[max(0, at[0]-24):min(len(text.Zh), at[1]+24)])
			}
		}
	}
	for _, c := range claims {
		look(c.ID, c.Text, c.Means)
		for _, p := range c.Parts {
			if p.When != (experiment.Text{}) {
				look(c.ID, p.When)
			}
		}
	}
	for _, d := range All() {
		look(d.Info.ID, d.Info.Title, d.Info.Question, d.Info.About)
		for _, m := range d.Info.Metrics {
			look(d.Info.ID, m.Label)
		}
		for _, s := range d.Info.Series {
			look(d.Info.ID, s.Label)
			for _, v := range s.Variants {
				look(d.Info.ID, v.Label)
			}
		}
	}
}

// TestRoundsAllowVerdicts: full and quick runs have enough rounds for one.
func TestRoundsAllowVerdicts(t *testing.T) {
	for _, d := range All() {
		if d.Rounds < 6 {
			t.Errorf("%s: %d rounds reach no 95 %%; six do", d.Info.ID, d.Rounds)
		}
		if d.QuickRounds < 5 {
			t.Errorf("%s: a quick run has %d rounds, and with fewer than five there is no verdict", d.Info.ID, d.QuickRounds)
		}
	}
}
