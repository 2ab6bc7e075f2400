package sandbox

import (
	"reflect"
	"slices"
	"testing"
)

func TestPIDs(t *testing.T) {
	tiers(t, func(t *testing.T, cgroup2 string) {
		s := newSandbox(t, cgroup2)
		cmd, out := player(t, "play-forker", "stay")
		p, err := s.Start(t.Context(), cmd, Options{Name: "forker"})
		if err != nil {
			t.Fatal(err)
		}
		other, said := player(t, "play-sleeper")
		if _, err := s.Start(t.Context(), other, Options{Name: "other"}); err != nil {
			t.Fatal(err)
		}
		readPID(t, said)
		want := []int{p.PID(), readPID(t, out)}
		slices.Sort(want)
		got, err := p.PIDs()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("PIDs = %v, %v, want %v", got, err, want)
		}
		if got, err := p.cell.pids(1); err != nil || len(got) != 1 {
			t.Errorf("at most one: %v, %v", got, err)
		}
		if err := p.Kill("enough"); err != nil {
			t.Fatal(err)
		}
		if got, err := p.PIDs(); err != nil || len(got) != 0 {
			t.Errorf("after the end: %v, %v", got, err)
		}
		if got, err := p.cell.pids(maxPIDs); err != nil || len(got) != 0 {
			t.Errorf("after the end, without knowing it: %v, %v", got, err)
		}
	})
}
