package trial

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func readinessSpec(variant string, n, active, rounds float64) Spec {
	return Spec{
		Experiment: "readiness", Series: "test", Variant: variant, Role: "server",
		Params: map[string]float64{"n": n, "active": active, "rounds": rounds},
	}
}

func TestReadinessServesAll(t *testing.T) {
	for _, c := range []struct{ n, active, rounds, events float64 }{
		{300, 7, 20, 20 * 35}, // fewer than 32: the round repeats itself
		{300, 300, 5, 5 * 300},
		{1, 1, 2, 2 * 32},
	} {
		for _, variant := range []string{"select", "poll", "epoll", "uring-poll"} {
			w, err := newReadiness(readinessSpec(variant, c.n, c.active, c.rounds))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Prepare(); err != nil {
				t.Fatalf("%s: %v", variant, err)
			}
			r, err := w.Run(nil)
			if err != nil {
				t.Fatalf("%s: %v", variant, err)
			}
			if r.Ops != uint64(c.events) || r.Seconds <= 0 {
				t.Errorf("%s of %v: %+v", variant, c, r)
			}
			if s, all := r.Metrics["serving"], r.Metrics["all"]; s <= 0 || all <= s {
				t.Errorf("%s: CPU %v serving, %v in all", variant, s, all)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// A descriptor that is ready without having been made so is noticed.
func TestReadinessNoticesStrays(t *testing.T) {
	for _, variant := range []string{"select", "poll", "epoll", "uring-poll"} {
		w, err := newReadiness(readinessSpec(variant, 10, 10, 3))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := w.Prepare(); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(w.(*readinessWork).fds[4], []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
		_, err = w.Run(nil)
		if err == nil || !strings.Contains(err.Error(), "2 times") {
			t.Errorf("%s: %v", variant, err)
		}
	}
}

func TestReadinessRefuses(t *testing.T) {
	for want, s := range map[string]Spec{
		"unknown variant": readinessSpec("kqueue", 10, 1, 1),
		`"active" is 11`:  readinessSpec("epoll", 10, 11, 1),
		`"n" is 0`:        readinessSpec("epoll", 0, 1, 1),
		`"rounds" is 1.5`: readinessSpec("epoll", 10, 1, 1.5),
	} {
		if _, err := newReadiness(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
