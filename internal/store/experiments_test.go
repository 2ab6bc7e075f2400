package store

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestRuns(t *testing.T) {
	kinds(t, func(t *testing.T, s *Store, again func() *Store, c *clock) {
		ctx := t.Context()
		first, err := s.BeginRun(ctx, "syscalls", c.at, true)
		if err != nil {
			t.Fatal(err)
		}
		if all, err := s.Runs(ctx); err != nil || len(all) != 0 {
			t.Errorf("one that runs is listed: %v, %v", all, err)
		}
		if err := s.KeepRun(ctx, first, "done", 12.5, []byte(`{"run":1}`)); err != nil {
			t.Fatal(err)
		}
		second, err := s.BeginRun(ctx, "syscalls", c.at, false)
		if err != nil || second <= first {
			t.Fatalf("run %d after %d, %v", second, first, err)
		}
		if err := s.KeepRun(ctx, second, "cancelled", 1, []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
		s = again()
		all, err := s.Runs(ctx)
		want := map[string][]Run{"syscalls": {
			{Run: second, Experiment: "syscalls", Started: c.at, Seconds: 1, State: "cancelled"},
			{Run: first, Experiment: "syscalls", Started: c.at, Seconds: 12.5, State: "done", Quick: true},
		}}
		if err != nil || !reflect.DeepEqual(all, want) {
			t.Errorf("%+v, %v, want %+v", all, err, want)
		}
		if b, err := s.RunResult(ctx, "syscalls", first); err != nil || string(b) != `{"run":1}` {
			t.Errorf("%s, %v", b, err)
		}
		for _, other := range []struct {
			of  string
			run int64
		}{{"herd", first}, {"syscalls", 99}, {"syscalls", -1}} {
			if _, err := s.RunResult(ctx, other.of, other.run); !errors.Is(err, ErrNoRun) {
				t.Errorf("run %d of %s: %v", other.run, other.of, err)
			}
			if err := s.ForgetRun(ctx, other.of, other.run); !errors.Is(err, ErrNoRun) {
				t.Errorf("forgetting run %d of %s: %v", other.run, other.of, err)
			}
		}
		if err := s.ForgetRun(ctx, "syscalls", second); err != nil {
			t.Error(err)
		}
		if third, err := s.BeginRun(ctx, "syscalls", c.at, false); err != nil || third <= second {
			t.Errorf("a number was given twice: %d after %d was forgotten, %v", third, second, err)
		}
	})
}

func TestRunsThatWereCutOffAreForgotten(t *testing.T) {
	kinds(t, func(t *testing.T, s *Store, again func() *Store, c *clock) {
		cut, err := s.BeginRun(t.Context(), "herd", c.at, false)
		if err != nil {
			t.Fatal(err)
		}
		s = again()
		if _, err := s.BeginRun(t.Context(), "herd", c.at, false); err != nil {
			t.Fatal(err)
		}
		if err := s.KeepRun(t.Context(), cut, "done", 1, nil); !errors.Is(err, ErrNoRun) {
			t.Errorf("keeping what was forgotten: %v", err)
		}
	})
}

func TestRunsAreBounded(t *testing.T) {
	s := open(t, dbPath(t))
	ctx := t.Context()
	other, err := s.BeginRun(ctx, "echo", s.now(), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.KeepRun(ctx, other, "done", 1, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for range MaxRuns + 3 {
		n, err := s.BeginRun(ctx, "herd", s.now(), false)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.KeepRun(ctx, n, "done", 1, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.Runs(ctx)
	if err != nil || len(all["herd"]) != MaxRuns || all["herd"][MaxRuns-1].Run != other+4 || len(all["echo"]) != 1 {
		t.Errorf("%d runs of herd, %d of echo, %v", len(all["herd"]), len(all["echo"]), err)
	}
	n, err := s.BeginRun(ctx, "herd", s.now(), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.KeepRun(ctx, n, "done", 1, make([]byte, MaxResult+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("too long: %v", err)
	}
	if err := s.KeepRun(ctx, n, "", 1, nil); err == nil {
		t.Error("no state was taken")
	}
	if _, err := s.BeginRun(ctx, "../herd", s.now(), false); !errors.Is(err, ErrBadName) {
		t.Errorf("bad name: %v", err)
	}
}

// TestOlderDatabase: one that the release before wrote keeps what is in it and
// learns to keep runs.
func TestOlderDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "progress.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec(schema1 + fmt.Sprintf("PRAGMA application_id=%d; PRAGMA user_version=1;", appID) +
		"INSERT INTO draft VALUES ('me', 'lab', 'main.c', 'int main', 1)")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // upgraded, and upgraded already
		s, err := Open(t.Context(), path, discard())
		if err != nil {
			t.Fatal(err)
		}
		if d, err := s.Drafts(t.Context(), "me", "lab"); err != nil || d["main.c"] != "int main" {
			t.Errorf("drafts %v, %v", d, err)
		}
		if _, err := s.BeginRun(t.Context(), "herd", s.now(), false); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	newer := withSQL(t, readFile(t, path), "")
	if format := newer[63]; format != 2 {
		t.Errorf("it has format %d after it was upgraded", format)
	}
}

func TestOlderDatabaseDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "progress.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = db.Exec(schema1 + fmt.Sprintf("DROP TABLE answer; PRAGMA application_id=%d; PRAGMA user_version=1;", appID)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before := string(readFile(t, path))
	if _, err := Open(t.Context(), path, discard()); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "format 1 with 3") {
		t.Errorf("opened, %v", err)
	}
	if string(readFile(t, path)) != before {
		t.Error("it was changed")
	}
}
