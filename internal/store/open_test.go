package store

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/sandbox"
)

// made is the bytes of a database with something in it.
func made(t *testing.T) []byte {
	t.Helper()
	path := dbPath(t)
	s, err := Open(t.Context(), path, discard())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := s.SaveDraft(t.Context(), "me", "lab", fmt.Sprintf("%d.c", i), strings.Repeat("x", 4000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) != 1 {
		t.Fatalf("a closed store is more than one file: %v", left)
	}
	return readFile(t, path)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// withSQL is a database on which somebody else worked.
func withSQL(t *testing.T, b []byte, statements string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "other.db")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(statements); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return readFile(t, path)
}

func TestBadFilesAreRefusedAndLeft(t *testing.T) {
	good := made(t)
	middle := bytes.Clone(good)
	for i := range 4096 {
		middle[8*4096+i] = 0xa5
	}
	newer := fmt.Sprintf("PRAGMA user_version=%d", len(migrations())+1)
	tests := []struct {
		name  string
		bytes []byte
		is    error
		says  string
	}{
		{"text", []byte("progress of Ada\n"), ErrForeign, "no SQLite database"},
		{"long text", bytes.Repeat([]byte("progress of Ada\n"), 5000), ErrForeign, "no SQLite database"},
		{"zeros", make([]byte, 8192), ErrForeign, "no SQLite database"},
		{"cut in the header", good[:60], ErrCorrupt, "middle of its header"},
		{"cut in the first page", good[:1000], ErrCorrupt, "it has 1000 bytes of"},
		{"cut between pages", good[:3*4096], ErrCorrupt, "it has 12288 bytes of"},
		{"cut in the last page", good[:len(good)-1], ErrCorrupt, fmt.Sprintf("it has %d bytes of %d", len(good)-1, len(good))},
		{"a page overwritten", middle, ErrCorrupt, "damaged"},
		{"newer", withSQL(t, good, newer), ErrNewer, "it has format 3, this one knows 2"},
		{"another program's", withSQL(t, nil, "CREATE TABLE t (a); PRAGMA application_id=7"), ErrForeign, "application_id is 0x7"},
		{"another program's without an id", withSQL(t, nil, "CREATE TABLE t (a)"), ErrForeign, "another program"},
		{"ours without a table", withSQL(t, good, "DROP TABLE draft"), ErrCorrupt, "format 2 with 4 of our tables"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "progress?#%20.db")
			if err := os.WriteFile(path, test.bytes, 0o600); err != nil {
				t.Fatal(err)
			}
			before, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Open(t.Context(), path, discard())
			if err == nil {
				t.Fatal("opened", s.Close())
			}
			for _, part := range []string{path, test.says, "move", "--db FILE"} {
				if !errors.Is(err, test.is) || !strings.Contains(err.Error(), part) {
					t.Errorf("%v, want %v with %q", err, test.is, part)
				}
			}
			after, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(readFile(t, path), test.bytes) || !after.ModTime().Equal(before.ModTime()) {
				t.Error("the file was changed")
			}
			if left, _ := os.ReadDir(dir); len(left) != 1 {
				t.Errorf("something was left beside it: %v", left)
			}
		})
	}
}

// TestNewerInTheMiddleOfAWrite: what a newer kernelviz that was killed left is
// for that one to clean up.
func TestNewerInTheMiddleOfAWrite(t *testing.T) {
	path := dbPath(t)
	db := withSQL(t, made(t), "PRAGMA user_version=99")
	journal := []byte("\xd9\xd5\x05\xf9\x20\xa1\x63\xd7 and so on")
	if err := errors.Join(os.WriteFile(path, db, 0o600), os.WriteFile(path+"-journal", journal, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path, discard()); !errors.Is(err, ErrNewer) {
		t.Errorf("%v, want ErrNewer", err)
	}
	if !bytes.Equal(readFile(t, path), db) || !bytes.Equal(readFile(t, path+"-journal"), journal) {
		t.Error("the files were changed")
	}
}

func TestWhatIsFine(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty": {},
		"ours":  made(t),
		"WAL":   withSQL(t, made(t), "PRAGMA journal_mode=WAL"),
	} {
		t.Run(name, func(t *testing.T) {
			path := dbPath(t)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			s := open(t, path)
			if err := s.SaveDraft(t.Context(), "me", "lab", "1.c", "more"); err != nil {
				t.Error(err)
			}
			if left, _ := filepath.Glob(path + "-wal"); len(left) != 0 {
				t.Errorf("there is %v", left)
			}
		})
	}
}

// TestCopyWhileOpen: between calls the file alone is whole.
func TestCopyWhileOpen(t *testing.T) {
	s := open(t, dbPath(t))
	if err := s.SaveDraft(t.Context(), "me", "lab", "1.c", "kept"); err != nil {
		t.Fatal(err)
	}
	dup := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(dup, readFile(t, s.Path()), 0o600); err != nil {
		t.Fatal(err)
	}
	if d, err := open(t, dup).Drafts(t.Context(), "me", "lab"); err != nil || d["1.c"] != "kept" {
		t.Errorf("the copy has %v, %v", d, err)
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(t.Context(), dir, discard()); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a directory: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), filepath.Join(file, "progress.db"), discard()); err == nil || !strings.Contains(err.Error(), file+" is no directory") {
		t.Errorf("below a file: %v", err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), fifo, discard()); !errors.Is(err, ErrForeign) {
		t.Errorf("a fifo: %v", err)
	}
}

func TestDefaultPath(t *testing.T) {
	for _, test := range [][3]string{
		{"/home/ada", "", "/home/ada/.local/state/kernelviz/progress.db"},
		{"/home/ada", "relative", "/home/ada/.local/state/kernelviz/progress.db"},
		{"/home/ada", "/var/ada", "/var/ada/kernelviz/progress.db"},
	} {
		if got := DefaultPath(test[0], test[1]); got != test[2] {
			t.Errorf("DefaultPath(%q, %q) = %q, want %q", test[0], test[1], got, test[2])
		}
	}
}

func TestModesAndOwner(t *testing.T) {
	home := t.TempDir()
	path := DefaultPath(home, "")
	o := newOpener(slog.New(slog.DiscardHandler), nil)
	uid := os.Geteuid()
	if uid == 0 {
		uid = 4711
		o.invoker = func() (sandbox.User, error) { return sandbox.User{UID: uid, GID: uid}, nil }
	}
	s, err := o.open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SaveDraft(t.Context(), "me", "lab", "main.c", "int"); err != nil { // makes a journal
		t.Fatal(err)
	}
	for p, mode := range map[string]uint32{
		filepath.Join(home, ".local"):                    unix.S_IFDIR | 0o700,
		filepath.Join(home, ".local", "state"):           unix.S_IFDIR | 0o700,
		filepath.Join(home, ".local/state", "kernelviz"): unix.S_IFDIR | 0o700,
		path:              unix.S_IFREG | 0o600,
		path + "-journal": unix.S_IFREG | 0o600,
	} {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			t.Error(p, err)
			continue
		}
		if st.Mode != mode || int(st.Uid) != uid {
			t.Errorf("%s has mode %o and owner %d, want %o and %d", p, st.Mode, st.Uid, mode, uid)
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(home, &st); err != nil || int(st.Uid) != os.Geteuid() {
		t.Errorf("what was there before belongs to %d, %v", st.Uid, err)
	}
}

func TestNoPermission(t *testing.T) {
	needsRoot(t)
	const nobody = 65534
	good := made(t)
	tests := []struct {
		name              string
		dirMode, fileMode fs.FileMode
		file              bool
		says              string
	}{
		{"file may not be read", 0o777, 0o200, true, "no right to read and write it"},
		{"file may not be written", 0o777, 0o444, true, "no right to read and write it"},
		{"directory may not be written", 0o755, 0o666, true, "no right to make a journal beside it"},
		{"no file, and none may be made", 0o755, 0, false, "permission denied"},
		{"directory may not be entered", 0o600, 0o666, true, "permission denied"},
		{"all is well", 0o777, 0o666, true, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("/tmp", "kernelviz-store-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			path := filepath.Join(dir, "progress.db")
			if test.file {
				if err := errors.Join(os.WriteFile(path, good, 0o600), os.Chmod(path, test.fileMode)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(dir, test.dirMode); err != nil {
				t.Fatal(err)
			}
			_, out := play(t, nobody, "play-opener", path)
			line, _ := out.ReadString('\n')
			if test.says == "" {
				if line != "written\n" {
					t.Errorf("%q, want it written", line)
				}
				return
			}
			for _, part := range []string{"ErrReadOnly: ", path, test.says, "--db FILE"} {
				if !strings.Contains(line, part) {
					t.Errorf("%q, want %q in it", line, part)
				}
			}
			if test.file && !bytes.Equal(readFile(t, path), good) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	dir := mountTmpfs(t, "size=4m")
	path := filepath.Join(dir, "progress.db")
	if err := os.WriteFile(path, made(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, filepath.Join(dir, "new", "progress.db")} {
		if _, err := Open(t.Context(), p, discard()); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "read-only file system") {
			t.Errorf("%s: %v, want ErrReadOnly", p, err)
		}
	}
}

func mountTmpfs(t *testing.T, options string) string {
	t.Helper()
	needsRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all the space but for free bytes.
func fill(t *testing.T, dir string, free int64) (filler string) {
	t.Helper()
	filler = filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	var size int64
	for {
		n, err := f.Write(page)
		size += int64(n)
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(max(0, size-free)); err != nil {
		t.Fatal(err)
	}
	return filler
}

func TestDiskFull(t *testing.T) {
	for _, free := range []int64{0, 4096, 16384, 65536} {
		t.Run(fmt.Sprintf("%d bytes free", free), func(t *testing.T) {
			dir := mountTmpfs(t, "size=1m")
			s := open(t, filepath.Join(dir, "progress.db"))
			ctx := t.Context()
			a, _ := mustCurrent(t, s, "me", "lab")
			if err := errors.Join(
				s.SaveStep(ctx, a.ID, Step{Step: "one", Done: true}),
				s.SaveDraft(ctx, "me", "lab", "main.c", "before"),
			); err != nil {
				t.Fatal(err)
			}
			filler := fill(t, dir, free)
			kept := map[string]string{"main.c": "before"}
			var err error
			for i := 0; i < 30 && err == nil; i++ {
				file, text := fmt.Sprintf("%d.c", i), strings.Repeat("x", 40_000)
				if err = s.SaveDraft(ctx, "me", "lab", file, text); err == nil {
					kept[file] = text
				}
			}
			if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), s.Path()) || !strings.Contains(err.Error(), "free some space") {
				t.Fatalf("%v, want ErrFull", err)
			}
			check := func() {
				t.Helper()
				if d, err := s.Drafts(ctx, "me", "lab"); err != nil || fmt.Sprint(d) != fmt.Sprint(kept) {
					t.Errorf("%d drafts, %v, want %d", len(d), err, len(kept))
				}
				if _, steps := mustCurrent(t, s, "me", "lab"); len(steps) != 1 || !steps[0].Done {
					t.Errorf("steps %v", steps)
				}
			}
			check()
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			kept["main.c"] = "after"
			if err := s.SaveDraft(ctx, "me", "lab", "main.c", "after"); err != nil {
				t.Error(err)
			}
			check()
		})
	}
}

func TestOpenOnFullDisk(t *testing.T) {
	dir := mountTmpfs(t, "size=1m")
	filler := fill(t, dir, 0)
	path := filepath.Join(dir, "new", "progress.db")
	if _, err := Open(t.Context(), path, discard()); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "free some space") {
		t.Fatalf("%v, want ErrFull", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestLocked(t *testing.T) {
	path := dbPath(t)
	other, out := play(t, 0, "play-holder", path)
	if line, _ := out.ReadString('\n'); line != "open\n" {
		t.Fatalf("the other process says %q", line)
	}
	_, err := Open(t.Context(), path, discard())
	for _, part := range []string{path, fmt.Sprintf("process %d", other.Process.Pid), "--db FILE"} {
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), part) {
			t.Errorf("%v, want ErrLocked with %q", err, part)
		}
	}
	// A killed server does not keep the next one out.
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()
	s := open(t, path)
	if _, err := Open(t.Context(), path, discard()); !errors.Is(err, ErrLocked) {
		t.Errorf("a second time in this process: %v, want ErrLocked", err)
	}
	mustCurrent(t, s, "me", "lab")
}

// TestKilledInTheMiddle: what was acknowledged is there, whenever the process
// is killed, and no transaction is there by half.
func TestKilledInTheMiddle(t *testing.T) {
	path := dbPath(t)
	before := 0 // answers
	for round := range 8 {
		cmd, out := play(t, 0, "play-writer", path)
		acknowledged := 0
		for range 1 + rand.IntN(5) {
			line, err := out.ReadString('\n')
			if err != nil {
				t.Fatalf("round %d: %q, %v", round, line, err)
			}
			acknowledged = atoi(t, strings.TrimSpace(line))
		}
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond) // anywhere in the next ones
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		rest := new(strings.Builder)
		_, _ = out.WriteTo(rest)
		if lines := strings.Fields(rest.String()); len(lines) > 0 {
			acknowledged = atoi(t, lines[len(lines)-1])
		}

		s, err := Open(t.Context(), path, discard())
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		e, err := s.Export(t.Context(), "me")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		lab := e.Labs[0]
		answers := lab.Attempts[0].Answers
		if n := len(answers) - before; n < acknowledged || n > acknowledged+1 {
			t.Errorf("round %d: %d answers were acknowledged, %d are there", round, acknowledged, n)
		}
		before = len(answers)
		last := answers[before-1].FD
		if st := lab.Attempts[0].Steps[0]; st.FD != last {
			t.Errorf("round %d: the answer %d is there without its step, which has %d", round, last, st.FD)
		}
		if draft := atoi(t, strings.TrimLeft(lab.Drafts[0].Text, "0")); draft != acknowledged && draft != acknowledged+1 {
			t.Errorf("round %d: draft %d is there, %d was acknowledged", round, draft, acknowledged)
		}
	}
}
