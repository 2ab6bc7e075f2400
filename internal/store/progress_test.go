package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// kinds runs a test with a store in a file, which is opened anew whenever the
// test says so, and one in memory.
func kinds(t *testing.T, test func(t *testing.T, s *Store, again func() *Store, c *clock)) {
	t.Run("file", func(t *testing.T) {
		path, c := dbPath(t), newClock()
		s, err := Open(t.Context(), path, discard(), WithClock(c.now))
		if err != nil {
			t.Fatal(err)
		}
		test(t, s, func() *Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(t.Context(), path, discard(), WithClock(c.now)); err != nil {
				t.Fatal(err)
			}
			return s
		}, c)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("memory", func(t *testing.T) {
		c := newClock()
		s, err := Memory(WithClock(c.now))
		if err != nil {
			t.Fatal(err)
		}
		test(t, s, func() *Store { return s }, c)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAttempts(t *testing.T) {
	kinds(t, func(t *testing.T, s *Store, again func() *Store, c *clock) {
		ctx := t.Context()
		draws := 0
		draw := func() map[string]int { draws++; return map[string]int{"n": 6 + draws} }
		a, steps, err := s.Current(ctx, "me", "epoll-growing", draw)
		want := Attempt{ID: a.ID, Learner: "me", Lab: "epoll-growing", Number: 1, Params: map[string]int{"n": 7}, Started: c.at}
		if err != nil || !reflect.DeepEqual(a, want) || len(steps) != 0 {
			t.Fatalf("first attempt %+v, %v, %v, want %+v", a, steps, err, want)
		}
		rotate := Step{Step: "rotate", Done: true, DoneAt: c.at.Add(time.Minute), Shown: 2, Choice: "b", Answered: true, Right: true}
		click := Step{Step: "click", FD: 37, Answered: true}
		for _, st := range []Step{{Step: "rotate", Shown: 1}, click, rotate} {
			if err := s.SaveStep(ctx, a.ID, st); err != nil {
				t.Fatal(err)
			}
		}
		s = again()
		b, steps, err := s.Current(ctx, "me", "epoll-growing", draw)
		if err != nil || !reflect.DeepEqual(b, a) || draws != 1 {
			t.Errorf("after a restart %+v, %v, %d draws, want %+v", b, err, draws, a)
		}
		if want := []Step{click, rotate}; !reflect.DeepEqual(steps, want) {
			t.Errorf("steps %+v, want %+v", steps, want)
		}
		if p, err := s.Progress(ctx, "me"); err != nil || !reflect.DeepEqual(p, map[string]int{"epoll-growing": 1}) {
			t.Errorf("progress %v, %v", p, err)
		}
		if p, err := s.Progress(ctx, "you"); err != nil || len(p) != 0 {
			t.Errorf("progress of another %v, %v", p, err)
		}

		c.at = c.at.Add(time.Hour)
		if err := s.Reset(ctx, "me", "epoll-growing"); err != nil {
			t.Fatal(err)
		}
		if p, err := s.Progress(ctx, "me"); err != nil || len(p) != 0 {
			t.Errorf("progress after reset %v, %v", p, err)
		}
		s = again()
		d, steps, err := s.Current(ctx, "me", "epoll-growing", draw)
		if err != nil || d.Number != 2 || d.ID == a.ID || len(steps) != 0 || d.Params["n"] != 8 || !d.Started.Equal(c.at) {
			t.Errorf("after reset %+v, %v, %v", d, steps, err)
		}
		for _, nothing := range []string{"epoll-growing", "epoll-growing", "other"} {
			if err := s.Reset(ctx, "me", nothing); err != nil {
				t.Errorf("reset of %s: %v", nothing, err)
			}
		}
	})
}

func TestAnswersAreAllKept(t *testing.T) {
	kinds(t, func(t *testing.T, s *Store, again func() *Store, c *clock) {
		ctx := t.Context()
		a, _ := mustCurrent(t, s, "me", "lab")
		if err := s.SaveStep(ctx, a.ID, Step{Step: "one", Shown: 3}); err != nil {
			t.Fatal(err)
		}
		for _, answer := range []struct {
			step, choice string
			fd           int
			right        bool
		}{{"one", "a", 0, false}, {"one", "c", 0, false}, {"two", "", 9, false}, {"one", "b", 0, true}} {
			if err := s.AddAnswer(ctx, a.ID, answer.step, answer.choice, answer.fd, answer.right); err != nil {
				t.Fatal(err)
			}
			c.at = c.at.Add(time.Second)
		}
		s = again()
		_, steps := mustCurrent(t, s, "me", "lab")
		want := []Step{{Step: "one", Shown: 3, Choice: "b", Answered: true, Right: true}, {Step: "two", FD: 9, Answered: true}}
		if !reflect.DeepEqual(steps, want) {
			t.Errorf("steps %+v, want %+v", steps, want)
		}
		e, err := s.Export(ctx, "me")
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, answer := range e.Labs[0].Attempts[0].Answers {
			said = append(said, fmt.Sprint(answer.Step, answer.Choice, answer.FD, answer.Right, answer.At.Second()))
		}
		if got, want := strings.Join(said, "; "), "onea0 false 0; onec0 false 1; two9 false 2; oneb0 true 3"; strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
			t.Errorf("answers %q, want %q", got, want)
		}
	})
}

func TestDrafts(t *testing.T) {
	kinds(t, func(t *testing.T, s *Store, again func() *Store, c *clock) {
		ctx := t.Context()
		if d, err := s.Drafts(ctx, "me", "lab"); err != nil || d == nil || len(d) != 0 {
			t.Errorf("no drafts: %v, %v", d, err)
		}
		big := strings.Repeat("ü", MaxDraft/2)
		for _, d := range [][2]string{{"main.c", "int"}, {"main.c", "int main(void) {}\n\x00"}, {"lib/a.h", ""}, {"big.c", big}} {
			if err := s.SaveDraft(ctx, "me", "lab", d[0], d[1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Reset(ctx, "me", "lab"); err != nil {
			t.Fatal(err)
		}
		s = again()
		want := map[string]string{"main.c": "int main(void) {}\n\x00", "lib/a.h": "", "big.c": big}
		if d, err := s.Drafts(ctx, "me", "lab"); err != nil || !reflect.DeepEqual(d, want) {
			t.Errorf("drafts %.100v, %v", d, err)
		}
		for _, other := range [][2]string{{"you", "lab"}, {"me", "lab2"}} {
			if d, err := s.Drafts(ctx, other[0], other[1]); err != nil || len(d) != 0 {
				t.Errorf("drafts of %v: %v, %v", other, d, err)
			}
		}
		for i := len(want); i < MaxDrafts; i++ {
			if err := s.SaveDraft(ctx, "me", "lab", fmt.Sprintf("%d.c", i), ""); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.SaveDraft(ctx, "me", "lab", "more.c", ""); !errors.Is(err, ErrTooMany) {
			t.Errorf("draft %d: %v, want ErrTooMany", MaxDrafts+1, err)
		}
		if err := s.SaveDraft(ctx, "me", "lab", "main.c", "again"); err != nil {
			t.Errorf("an old file when there is no room for new ones: %v", err)
		}
	})
}

func TestBadInput(t *testing.T) {
	s, err := Memory()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	a, _ := mustCurrent(t, s, "me", "lab")
	current := func(learner, lab string) error { _, _, err := s.Current(ctx, learner, lab, nil); return err }
	draft := func(file, text string) error { return s.SaveDraft(ctx, "me", "lab", file, text) }
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	tests := []struct {
		name string
		err  error
		is   error
		says string
	}{
		{"no learner", current("", "lab"), ErrBadName, "learner"},
		{"learner with a slash", current("a/b", "lab"), ErrBadName, `"a/b"`},
		{"learner too long", current(strings.Repeat("x", 33), "lab"), ErrBadName, "1 to 32"},
		{"lab with a dot", current("me", "../lab"), ErrBadName, "lower-case"},
		{"no step", s.SaveStep(ctx, a.ID, Step{}), ErrBadName, "step"},
		{"long step", s.SaveStep(ctx, a.ID, Step{Step: strings.Repeat("x", 1000)}), ErrBadName, "step"},
		{"long choice", s.AddAnswer(ctx, a.ID, "x", strings.Repeat("x", 1000), 0, true), ErrBadName, "choice"},
		{"no attempt", s.SaveStep(ctx, a.ID+1, Step{Step: "x"}), nil, "there is no attempt 2"},
		{"answer without attempt", s.AddAnswer(ctx, a.ID+1, "x", "a", 0, true), nil, "there is no attempt 2"},
		{"no file", draft("", ""), ErrBadName, "file"},
		{"dot", draft(".", ""), ErrBadName, "file"},
		{"above", draft("../etc/passwd", ""), ErrBadName, "../etc/passwd"},
		{"absolute", draft("/etc/passwd", ""), ErrBadName, "/etc/passwd"},
		{"control", draft("a\nb", ""), ErrBadName, `a\nb`},
		{"long file", draft(strings.Repeat("x", 1000), ""), ErrBadName, "file"},
		{"long draft", draft("main.c", strings.Repeat("x", MaxDraft+1)), ErrTooLong, "at most 49152"},
		{"not UTF-8", draft("main.c", "\xff"), nil, "not UTF-8"},
		{"cancelled", s.Reset(cancelled, "me", "lab"), context.Canceled, "new attempt"},
	}
	for _, test := range tests {
		if test.err == nil || test.is != nil && !errors.Is(test.err, test.is) || !strings.Contains(test.err.Error(), test.says) {
			t.Errorf("%s: %v, want %v with %q", test.name, test.err, test.is, test.says)
		}
	}
	if d, err := s.Drafts(ctx, "me", "lab"); err != nil || len(d) != 0 {
		t.Errorf("something was kept: %v, %v", d, err)
	}
	if _, steps := mustCurrent(t, s, "me", "lab"); len(steps) != 0 {
		t.Errorf("something was kept: %v", steps)
	}
}

func TestBoundOfSteps(t *testing.T) {
	s, err := Memory()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	a, _ := mustCurrent(t, s, "me", "lab")
	for i := range maxSteps {
		if err := s.SaveStep(ctx, a.ID, Step{Step: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SaveStep(ctx, a.ID, Step{Step: "more"}); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v, want ErrTooMany", err)
	}
	if err := s.AddAnswer(ctx, a.ID, "more", "a", 0, true); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v, want ErrTooMany", err)
	}
	if err := s.SaveStep(ctx, a.ID, Step{Step: "7", Done: true}); err != nil {
		t.Error(err)
	}
}

func TestExport(t *testing.T) {
	c := newClock()
	s, err := Memory(WithClock(c.now))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	if _, _, err := s.Current(ctx, "me", "b", func() map[string]int { return map[string]int{"n": 5} }); err != nil {
		t.Fatal(err)
	}
	a, _ := mustCurrent(t, s, "me", "b")
	for _, err := range []error{
		s.AddAnswer(ctx, a.ID, "one", "a", 0, false),
		s.SaveStep(ctx, a.ID, Step{Step: "one", Done: true, DoneAt: c.at, Shown: 1, Choice: "a", Answered: true}),
		s.Reset(ctx, "me", "b"),
		s.SaveDraft(ctx, "me", "a", "main.c", "int"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	mustCurrent(t, s, "me", "b")
	mustCurrent(t, s, "you", "b")
	e, err := s.Export(ctx, "me")
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(e, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const at = `"2026-03-01T12:00:00Z"`
	want := `{"learner":"me","exported":` + at + `,"labs":[
		{"lab":"a","attempts":[],"drafts":[{"file":"main.c","text":"int","saved":` + at + `}]},
		{"lab":"b","attempts":[
			{"number":1,"current":false,"params":{"n":5},"started":` + at + `,"ended":` + at + `,
			 "steps":[{"step":"one","done":true,"done_at":` + at + `,"hints_shown":1,"choice":"a","answered":true,"right":false}],
			 "answers":[{"step":"one","choice":"a","right":false,"at":` + at + `}]},
			{"number":2,"current":true,"params":{},"started":` + at + `,"steps":[],"answers":[]}],"drafts":[]}]}`
	var g, w any
	if err := errors.Join(json.Unmarshal(got, &g), json.Unmarshal([]byte(want), &w)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("export is\n%s\nwant\n%s", got, want)
	}
}

// TestManyAtOnce: of pages that open a lab at once, one begins the attempt.
func TestManyAtOnce(t *testing.T) {
	s := open(t, dbPath(t))
	var all sync.WaitGroup
	var mu sync.Mutex
	ids := map[int64]bool{}
	for i := range 16 {
		all.Go(func() {
			a, _, err := s.Current(t.Context(), "me", "lab", nil)
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.AddAnswer(t.Context(), a.ID, fmt.Sprint("step", i), "a", 0, true); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			ids[a.ID] = true
		})
	}
	all.Wait()
	if _, steps := mustCurrent(t, s, "me", "lab"); len(ids) != 1 || len(steps) != 16 {
		t.Errorf("attempts %v with %d steps, want one with 16", ids, len(steps))
	}
}
