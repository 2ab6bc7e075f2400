package catalog

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"kernelviz/internal/experiment"
	"kernelviz/internal/workload/trial"
)

// ids are the series of an experiment, those of a quick run, and the variants,
// which are the same in all.
func ids(t *testing.T, d experiment.Definition) (series, quick, variants []string) {
	t.Helper()
	for i, s := range d.Info.Series {
		series = append(series, s.ID)
		if s.Quick {
			quick = append(quick, s.ID)
		}
		var here []string
		for _, v := range s.Variants {
			here = append(here, v.ID)
		}
		if i > 0 && !slices.Equal(here, variants) {
			t.Errorf("%s: series %s has variants %v, others %v", d.Info.ID, s.ID, here, variants)
		}
		variants = here
		if !slices.Contains(here, s.Baseline) {
			t.Errorf("%s %s: baseline %q is no variant", d.Info.ID, s.ID, s.Baseline)
		}
	}
	return series, quick, variants
}

// same tells what differs from what claims name.
func same(t *testing.T, what string, got []string, want string) {
	t.Helper()
	if have := strings.Join(got, " "); have != want {
		t.Errorf("%s are %q, want %q", what, have, want)
	}
}

// inBoth checks that a text is there in both languages.
func inBoth(t *testing.T, what string, text experiment.Text, needsHan bool) {
	t.Helper()
	han := strings.ContainsFunc(text.Zh, func(r rune) bool { return unicode.Is(unicode.Han, r) })
	if text.En == "" || text.Zh == "" || needsHan && !han || strings.ContainsFunc(text.En, func(r rune) bool { return unicode.Is(unicode.Han, r) }) {
		t.Errorf("%s: %+v", what, text)
	}
}

func TestTextsOfBoth(t *testing.T) {
	for _, d := range []experiment.Definition{Zerocopy(), Readiness(), Herd()} {
		i := d.Info
		inBoth(t, i.ID+" title", i.Title, true)
		inBoth(t, i.ID+" question", i.Question, true)
		inBoth(t, i.ID+" about", i.About, true)
		if !strings.HasSuffix(i.Question.En, "?") || strings.Count(i.About.En, "\n\n") != strings.Count(i.About.Zh, "\n\n") {
			t.Errorf("%s: question %q, paragraphs %d and %d", i.ID, i.Question.En, strings.Count(i.About.En, "\n\n"), strings.Count(i.About.Zh, "\n\n"))
		}
		for _, s := range i.Series {
			inBoth(t, i.ID+" "+s.ID, s.Label, true)
			for _, v := range s.Variants {
				inBoth(t, i.ID+" "+v.ID, v.Label, false)
			}
		}
		for _, m := range i.Metrics {
			inBoth(t, i.ID+" "+m.ID, m.Label, true)
		}
		if i.Missing == nil || i.Seconds <= i.Quick || i.Quick <= 0 || d.Limit <= 0 || d.QuickRounds < 3 || d.Rounds < 6 {
			t.Errorf("%s: missing %v, %d s, quick %d s, limit %v, rounds %d and %d", i.ID, i.Missing, i.Seconds, i.Quick, d.Limit, d.Rounds, d.QuickRounds)
		}
	}
}

func TestZerocopyDefinition(t *testing.T) {
	d := Zerocopy()
	series, quick, variants := ids(t, d)
	same(t, "series", series, "lo-4096 lo-65536 lo-1048576 veth-4096 veth-65536 veth-1048576")
	same(t, "quick series", quick, "lo-65536 veth-4096 veth-65536")
	same(t, "variants", variants, "readwrite mmap-write sendfile splice msg-zerocopy uring-send uring-sendzc")
	if d.Info.Metrics[0].ID != "sender_cpu_per_gb" || d.Info.Series[1].Baseline != "readwrite" {
		t.Errorf("%+v", d.Info)
	}
	if got := d.Info.Series[4].Label.En; got != "64 KiB, veth between namespaces" {
		t.Error(got)
	}
	for _, c := range []struct {
		series      string
		quick, veth bool
		size, chunk float64
	}{
		{"lo-4096", false, false, 256 << 20, 4096},
		{"lo-65536", true, false, 128 << 20, 65_536},
		{"veth-4096", true, true, 64 << 20, 4096},
		{"veth-1048576", false, true, 512 << 20, 1 << 20},
	} {
		p, err := d.Plan(c.series, "sendfile", "", c.quick)
		if err != nil || len(p.Roles) != 2 || p.Veth != c.veth {
			t.Fatalf("%s: %+v, %v", c.series, p, err)
		}
		receiver, sender := p.Roles[0], p.Roles[1]
		if receiver.Spec.Role != "receiver" || sender.Spec.Role != "sender" || receiver.Count || !sender.Count ||
			(receiver.Side == 1) != c.veth || sender.Side != 0 {
			t.Errorf("%s: %+v", c.series, p)
		}
		for _, r := range p.Roles {
			if g := r.Spec.Params; g["size"] != c.size || g["chunk"] != c.chunk || (g["veth"] == 1) != c.veth || g["file"] < c.size {
				t.Errorf("%s: %v", c.series, g)
			}
		}
	}
	if _, err := d.Plan("lo-1", "sendfile", "", false); err == nil {
		t.Error("a plan for no series")
	}
}

func TestZerocopyMeasure(t *testing.T) {
	roles := func(got uint64) map[string]experiment.RoleReport {
		return map[string]experiment.RoleReport{
			"receiver": {Report: trial.Report{Seconds: 3, Bytes: got}, CPU: 0.5},
			"sender":   {Report: trial.Report{Seconds: 4, Bytes: 2e9, Metrics: map[string]float64{"copied": 0.25}}, CPU: 1},
		}
	}
	measure := Zerocopy().Measure
	got, err := measure(experiment.Trial{Roles: roles(2e9)})
	if err != nil {
		t.Fatal(err)
	}
	sameMetrics(t, "timed", got, map[string]float64{
		"sender_cpu_per_gb": 0.5, "receiver_cpu_per_gb": 0.25, "cpu_per_gb": 0.75, "gb_per_s": 0.5, "copied": 0.25,
	})
	if got, err = measure(experiment.Trial{Roles: roles(2e9), Counted: true}); err != nil || len(got) != 0 {
		t.Errorf("counted: %v, %v", got, err)
	}
	for _, r := range []map[string]experiment.RoleReport{roles(2e9 - 1), nil} {
		if _, err := measure(experiment.Trial{Roles: r}); err == nil {
			t.Errorf("figures of %v", r)
		}
	}
}

func TestZerocopySetup(t *testing.T) {
	dir := t.TempDir()
	if err := Zerocopy().Setup(t.Context(), dir, true); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	if st, err := os.Stat(files[0]); err != nil || st.Size() != 128<<20 {
		t.Errorf("%v, %v", st, err)
	}
}

func TestZerocopyNeeds(t *testing.T) {
	const enough = "MemAvailable: 917504 kB\n" // 896 MiB
	if got := cacheMissing(enough, 512<<20, false); got != nil {
		t.Errorf("%+v", got)
	}
	for info, want := range map[string]string{
		"MemAvailable: 917503 kB\n": "needs 896 MiB of free memory, and 895 MiB",
		"MemFree: 1 kB\n":           "no MemAvailable",
	} {
		got := cacheMissing(info, 512<<20, false)
		if len(got) != 1 || got[0].Name != "memory" || got[0].Fix == "" || !strings.Contains(got[0].Reason, want) {
			t.Errorf("%q: %+v", info, got)
		}
	}
	got := Zerocopy().Needs(t.Context(), "/proc/none", true)
	if !slices.ContainsFunc(got, func(m experiment.Missing) bool { return m.Name == "disk" }) {
		t.Errorf("%+v", got)
	}
}
