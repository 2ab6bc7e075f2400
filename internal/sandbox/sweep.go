package sandbox

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// sweepCgroups kills and removes what servers that no longer live left in top.
func sweepCgroups(top string, log *slog.Logger) error {
	entries, err := os.ReadDir(top)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		id, ok := parseIdentity(e.Name())
		if !ok || id.alive() {
			continue
		}
		dir := filepath.Join(top, e.Name())
		if locked(dir) {
			continue
		}
		if err := destroyCgroup(dir); err != nil {
			log.Warn("sweeping what a dead server left", "cgroup", dir, "error", err)
			continue
		}
		log.Info("swept what a dead server left", "cgroup", dir)
	}
	return nil
}

// locked reports whether a live server holds the directory: one in another pid
// namespace is not seen by its pid.
func locked(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == unix.EWOULDBLOCK
}
