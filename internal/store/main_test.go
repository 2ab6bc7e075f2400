package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// The test binary plays other processes: argv[1] says which.
func TestMain(m *testing.M) {
	parts := map[string]func(path string) error{
		"play-writer": playWriter,
		"play-holder": playHolder,
		"play-opener": playOpener,
	}
	if len(os.Args) < 3 || parts[os.Args[1]] == nil {
		os.Exit(m.Run())
	}
	if err := parts[os.Args[1]](os.Args[2]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// playWriter answers and saves without end, and says after each what it did.
func playWriter(path string) error {
	ctx := context.Background()
	s, err := Open(ctx, path, discard())
	if err != nil {
		return err
	}
	a, _, err := s.Current(ctx, "me", "lab", nil)
	if err != nil {
		return err
	}
	for i := 1; ; i++ {
		if err := s.AddAnswer(ctx, a.ID, "step", "choice", i, false); err != nil {
			return err
		}
		if err := s.SaveDraft(ctx, "me", "lab", "main.c", fmt.Sprintf("%032768d", i)); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// playHolder opens the store and holds it.
func playHolder(path string) error {
	if _, err := Open(context.Background(), path, discard()); err != nil {
		return err
	}
	fmt.Println("open")
	return syscall.Pause()
}

// playOpener opens the store, writes and closes it.
func playOpener(path string) error {
	ctx := context.Background()
	s, err := Open(ctx, path, discard())
	if err != nil {
		if errors.Is(err, ErrReadOnly) {
			fmt.Print("ErrReadOnly: ")
		}
		return err
	}
	if err := s.SaveDraft(ctx, "me", "lab", "main.c", "int main"); err != nil {
		return err
	}
	fmt.Println("written")
	return s.Close()
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// play starts this binary in a part, as that user if not 0.
func play(t *testing.T, uid int, part, path string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := r.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", part, path)
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
		cmd.Dir = "/"
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); r.Close() })
	return cmd, bufio.NewReader(r)
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
}

// clock is a time that tests move.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.at }

// open opens a store that is closed at the end of the test.
func open(t *testing.T, path string, options ...Option) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, slog.New(slog.NewTextHandler(t.Output(), nil)), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func dbPath(t *testing.T) string { return filepath.Join(t.TempDir(), "progress.db") }

// mustCurrent returns the current attempt.
func mustCurrent(t *testing.T, s *Store, learner, lab string) (Attempt, []Step) {
	t.Helper()
	a, steps, err := s.Current(t.Context(), learner, lab, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a, steps
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
