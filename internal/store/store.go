// Package store keeps what learners have done: attempts at labs, steps,
// answers and drafts, and the results of experiments, in one SQLite file.
//
// The file is held with SQLite's exclusive lock while a server has it open, so
// that no two servers write to it, and every call is one transaction that is
// on the disk when the call returns. Between calls the file alone is whole: it
// may be copied at any time.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Errors where callers choose.
var (
	ErrNewer    = errors.New("the database was written by a newer kernelviz")
	ErrForeign  = errors.New("the file belongs to another program")
	ErrCorrupt  = errors.New("the database is damaged")
	ErrReadOnly = errors.New("the database cannot be written")
	ErrLocked   = errors.New("the database is in use by another process")
	ErrFull     = errors.New("the disk is full")
	ErrTooMany  = errors.New("too many")
	ErrTooLong  = errors.New("too long")
	ErrBadName  = errors.New("bad name")
)

// Store keeps progress. Its methods may be called concurrently.
type Store struct {
	path string // "" in memory
	db   *sql.DB
	now  func() time.Time
}

// Option changes how a Store is opened.
type Option func(*opener)

// WithClock sets where the time comes from.
func WithClock(now func() time.Time) Option { return func(o *opener) { o.now = now } }

// DefaultPath is where the progress of a user with that home is kept. state
// is XDG_STATE_HOME, used if it is absolute (XDG Base Directory
// Specification).
func DefaultPath(home, state string) string {
	if !filepath.IsAbs(state) {
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "kernelviz", "progress.db")
}

// Open opens the database at path, and makes it if there is none: directories
// that are missing with mode 0700, the file with 0600, under sudo owned by who
// typed it. A file that is not ours, damaged or newer is refused and left as
// it is.
func Open(ctx context.Context, path string, log *slog.Logger, options ...Option) (*Store, error) {
	o := newOpener(log, options)
	s, err := o.open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("opening progress in %s: %w; %s", path, err, remedy(err))
	}
	return s, nil
}

// Memory keeps progress until it is closed.
func Memory(options ...Option) (*Store, error) {
	o := newOpener(slog.New(slog.NewTextHandler(io.Discard, nil)), options)
	s, err := o.connect("file::memory:", "")
	if err != nil {
		return nil, fmt.Errorf("keeping progress in memory: %w", err)
	}
	if err := s.prepare(context.Background()); err != nil {
		return nil, fmt.Errorf("keeping progress in memory: %w", errors.Join(err, s.db.Close()))
	}
	return s, nil
}

// Path is the file, empty in memory.
func (s *Store) Path() string { return s.path }

// Close gives the file back.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing progress in %s: %w", s.path, explain(err))
	}
	return nil
}

// lockWait is how long another process may hold the file when it is opened: a
// server that is about to end.
const lockWait = 2 * time.Second

// connect opens what the URI names.
func (o *opener) connect(uri, path string) (*Store, error) {
	q := url.Values{
		"_txlock": {"exclusive"},
		"_pragma": {
			fmt.Sprintf("busy_timeout(%d)", lockWait.Milliseconds()),
			"locking_mode(EXCLUSIVE)",
			"synchronous(EXTRA)",
			"foreign_keys(1)",
			"trusted_schema(0)",
		},
	}
	if path != "" {
		q.Set("mode", "rw") // who opens it has made it
	}
	db, err := sql.Open("sqlite", uri+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	// The lock is the connection's, and in memory the data are.
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	return &Store{path: path, db: db, now: o.now}, nil
}

// do runs f in a transaction. It is not interrupted once it has begun: it
// takes milliseconds, and the driver would give up the connection and with it
// the lock.
func (s *Store) do(ctx context.Context, doing string, f func(ctx context.Context, tx *sql.Tx) error) error {
	err := ctx.Err()
	if err == nil {
		err = s.transact(context.WithoutCancel(ctx), f)
	}
	if err == nil {
		return nil
	}
	err = explain(err)
	if s.path == "" {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if hint := remedy(err); hint != "" {
		return fmt.Errorf("%s in %s: %w; %s", doing, s.path, err, hint)
	}
	return fmt.Errorf("%s in %s: %w", doing, s.path, err)
}

func (s *Store) transact(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(ctx, tx); err != nil {
		_ = tx.Rollback() // SQLite may have done it itself; err is what counts
		return err
	}
	if err := tx.Commit(); err != nil {
		_ = tx.Rollback()
		return err
	}
	return nil
}

// stamp is a time as it is stored: milliseconds since 1970.
func (s *Store) stamp() int64 { return s.now().UnixMilli() }

func fromStamp(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func toStamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
