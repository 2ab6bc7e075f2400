package sandbox

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// scratchName is what the directories of Scratch begin with.
const scratchName = "kernelviz-"

// Scratch makes a directory for the files of this process below dir (empty:
// where temporary files go), which anybody may pass through and only the owner
// may list, and removes those that dead servers left there. The caller removes
// it.
func Scratch(dir string, log *slog.Logger) (string, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	sweepScratch(dir, log)
	id, err := self()
	if err != nil {
		return "", fmt.Errorf("identifying this process: %w", err)
	}
	path := filepath.Join(dir, scratchName+id.String())
	if err := os.Mkdir(path, 0o711); err != nil {
		return "", fmt.Errorf("making a directory for files: %w", err)
	}
	return path, nil
}

// sweepScratch removes what servers that no longer live left. The directory is
// one that anybody may write to: only what belongs to us is touched.
func sweepScratch(dir string, log *slog.Logger) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		name, ours := strings.CutPrefix(e.Name(), scratchName)
		if !ours {
			continue
		}
		id, ok := parseIdentity(name)
		if !ok || id.alive() || !owned(filepath.Join(dir, e.Name())) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			log.Warn("sweeping what a dead server left", "directory", e.Name(), "error", err)
		}
	}
}

// owned tells whether this user made the directory.
func owned(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == os.Geteuid()
}
