package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"kernelviz/internal/sandbox"
)

type opener struct {
	log     *slog.Logger
	now     func() time.Time
	invoker func() (sandbox.User, error)
}

func newOpener(log *slog.Logger, options []Option) *opener {
	o := &opener{log: log, now: time.Now, invoker: sandbox.Invoker}
	for _, set := range options {
		set(o)
	}
	return o
}

func (o *opener) open(ctx context.Context, path string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := o.makeFile(path); err != nil {
		return nil, explain(err)
	}
	// A first look without SQLite, which would bring a foreign or newer
	// database that its program left in the middle of a write back to rest.
	if err := look(path); err != nil {
		return nil, explain(err)
	}
	s, err := o.connect((&url.URL{Scheme: "file", Path: path}).String(), path)
	if err != nil {
		return nil, explain(err)
	}
	if err := s.prepare(ctx); err != nil {
		err = errors.Join(err, s.db.Close())
		if errors.Is(err, ErrLocked) {
			err = fmt.Errorf("%w%s", err, holder(path))
		}
		return nil, err
	}
	return s, nil
}

// makeFile makes the file and the directories above it unless they are there.
func (o *opener) makeFile(path string) error {
	dir := filepath.Dir(path)
	if err := o.makeDir(dir); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return writable(dir, path)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := o.give(path); err != nil {
		return err
	}
	return syncDir(dir)
}

func (o *opener) makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is no directory", dir)
		}
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := o.makeDir(parent); err != nil {
			return err
		}
	}
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return o.give(dir)
}

// give makes what root by sudo has just made the property of who typed it.
func (o *opener) give(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := o.invoker()
	if err != nil {
		o.log.Warn("a file of progress is owned by root", "path", path, "error", err)
		return nil
	}
	if u.UID == 0 {
		return nil
	}
	return os.Lchown(path, u.UID, u.GID)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// writable refuses what SQLite would open for reading only.
func writable(dir, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%w: it is a directory", ErrForeign)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: it is no regular file", ErrForeign)
	}
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.R_OK|unix.W_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("%w: no right to read and write it: %w", ErrReadOnly, err)
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("%w: no right to make a journal beside it in %s: %w", ErrReadOnly, dir, err)
	}
	return nil
}

// look reads the header (SQLite's "Database File Format", 1.3 and 3). A file of
// no bytes is fine.
//
// It must not be called while this process has the file open by SQLite: closing
// any descriptor of a file gives up all POSIX locks on it (fcntl(2)).
func look(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	const (
		magic          = "SQLite format 3\x00"
		size           = 100
		version        = 60 // of user_version
		application    = 68 // of application_id
		notOurs, ended = "it is no SQLite database", "it ends in the middle of its header"
	)
	var header [size]byte
	n, err := io.ReadFull(f, header[:])
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case n < len(magic) || string(header[:len(magic)]) != magic:
		if journaled(path) {
			return nil // a first write that was cut off: SQLite undoes it
		}
		return fmt.Errorf("%w: %s", ErrForeign, notOurs)
	case n < size:
		return fmt.Errorf("%w: %s", ErrCorrupt, ended)
	}
	app, format := binary.BigEndian.Uint32(header[application:]), int32(binary.BigEndian.Uint32(header[version:]))
	if app != appID {
		return fmt.Errorf("%w: its application_id is %#x, ours is %#x", ErrForeign, app, appID)
	}
	if err := tooNew(int(format)); err != nil {
		return err
	}
	return whole(f, header[:], path)
}

// whole refuses a file that ends too early: SQLite takes what is missing of the
// last page for zeros.
func whole(f *os.File, header []byte, path string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	u32 := func(at int) int64 { return int64(binary.BigEndian.Uint32(header[at:])) }
	page := int64(binary.BigEndian.Uint16(header[16:]))
	if page == 1 {
		page = 65536
	}
	const journal, changes, pages, countedAt = 1, 24, 28, 92
	if header[18] != journal || u32(changes) != u32(countedAt) || journaled(path) {
		return nil // the number of pages is not to be trusted
	}
	if want := u32(pages) * page; info.Size() < want {
		return fmt.Errorf("%w: it has %d bytes of %d", ErrCorrupt, info.Size(), want)
	}
	return nil
}

// journaled tells whether a journal of a write that was cut off is beside it.
func journaled(path string) bool {
	f, err := os.Open(path + "-journal")
	if err != nil {
		return false
	}
	defer f.Close()
	const magic = "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
	var begin [len(magic)]byte
	_, err = io.ReadFull(f, begin[:])
	return err == nil && string(begin[:]) == magic
}

// holder names the process that has the file locked, where the kernel tells.
func holder(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil || lock.Type == unix.F_UNLCK || lock.Pid <= 0 {
		return ""
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", lock.Pid))
	if err != nil {
		return fmt.Sprintf(" (process %d)", lock.Pid)
	}
	return fmt.Sprintf(" (process %d, %s)", lock.Pid, comm[:max(0, len(comm)-1)])
}

// explain turns errors of SQLite and of the file system into ours.
func explain(err error) error {
	for _, ours := range []error{ErrNewer, ErrForeign, ErrCorrupt, ErrReadOnly, ErrLocked, ErrFull} {
		if errors.Is(err, ours) {
			return err
		}
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return ErrLocked
		case sqlite3.SQLITE_FULL:
			return fmt.Errorf("%w: nothing was changed", ErrFull)
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
			return fmt.Errorf("%w: %w", ErrReadOnly, err)
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return err
	}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS), errors.Is(err, unix.ELOOP):
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return err
}

// remedy tells what to do about an error of explain; empty if that is for the
// caller to say.
func remedy(err error) string {
	const other = "give another file with --db FILE"
	switch {
	case errors.Is(err, ErrNewer):
		return "use that kernelviz, move the file away, or " + other
	case errors.Is(err, ErrForeign), errors.Is(err, ErrCorrupt):
		return "it was left as it is: move it away, or " + other
	case errors.Is(err, ErrReadOnly):
		return "give yourself the right to write there, or " + other
	case errors.Is(err, ErrLocked):
		return "end that process, or " + other
	case errors.Is(err, ErrFull):
		return "free some space and try again"
	}
	return ""
}
