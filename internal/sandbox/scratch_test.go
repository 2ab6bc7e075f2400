package sandbox

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A dead server's directory goes with the next start; a living one's, and what
// is not ours, stay.
func TestScratch(t *testing.T) {
	dir := t.TempDir()
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(dir, scratchName+identity{pid: dead.Process.Pid, start: 1}.String())
	foreign := filepath.Join(dir, scratchName+"notes")
	for _, path := range []string{filepath.Join(old, "code"), foreign} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mine, err := Scratch(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	sweepScratch(dir, slog.New(slog.DiscardHandler))
	for path, stays := range map[string]bool{old: false, foreign: true, mine: true} {
		if _, err := os.Stat(path); (err == nil) != stays {
			t.Errorf("%s: %v, want it to stay: %v", filepath.Base(path), err, stays)
		}
	}
}
