package catalog

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"kernelviz/internal/experiment"
)

// TestClaims: the claims that are built in name experiments, series, variants,
// metrics and lessons that there are, and all of the article is among them.
func TestClaims(t *testing.T) {
	labs := os.DirFS("../../../labs")
	claims, err := experiment.LoadClaims(labs)
	if err != nil {
		t.Fatal(err)
	}
	if err := experiment.CheckClaims(claims, All(), lessons(t, labs)); err != nil {
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

func lessons(t *testing.T, labs fs.FS) []string {
	t.Helper()
	files, err := fs.Glob(labs, "*/*/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	id := regexp.MustCompile(`(?m)^id: (\S+)`)
	var ids []string
	for _, f := range files {
		data, err := fs.ReadFile(labs, f)
		if err != nil {
			t.Fatal(err)
		}
		if m := id.FindSubmatch(data); m != nil {
			ids = append(ids, string(m[1]))
		}
	}
	return ids
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
