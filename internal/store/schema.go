package store

import (
	"context"
	"database/sql"
	"fmt"
)

// appID marks our files (file(1) and SQLite's application_id): "kviz".
const appID = 0x6b76697a

// migrations bring a database from the format of their index to the next one.
// One that was released is never changed.
func migrations() []string {
	return []string{schema1, schema2}
}

const schema1 = `
CREATE TABLE attempt (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	learner TEXT NOT NULL,
	lab     TEXT NOT NULL,
	number  INTEGER NOT NULL,   -- 1, 2, … of this learner at this lab
	params  TEXT NOT NULL,      -- JSON object of integers
	started INTEGER NOT NULL,   -- milliseconds since 1970, as all times here
	ended   INTEGER NOT NULL DEFAULT 0, -- when it was reset; 0: the current one
	UNIQUE (learner, lab, number)
) STRICT;

CREATE UNIQUE INDEX attempt_current ON attempt (learner, lab) WHERE ended = 0;

CREATE TABLE step (
	attempt  INTEGER NOT NULL REFERENCES attempt (id),
	step     TEXT NOT NULL,
	done     INTEGER NOT NULL DEFAULT 0,
	done_at  INTEGER NOT NULL DEFAULT 0,
	shown    INTEGER NOT NULL DEFAULT 0, -- hints
	choice   TEXT NOT NULL DEFAULT '',   -- the latest answer
	fd       INTEGER NOT NULL DEFAULT 0,
	answered INTEGER NOT NULL DEFAULT 0,
	correct  INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (attempt, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE answer (
	id      INTEGER PRIMARY KEY,
	attempt INTEGER NOT NULL REFERENCES attempt (id),
	step    TEXT NOT NULL,
	choice  TEXT NOT NULL,
	fd      INTEGER NOT NULL,
	correct INTEGER NOT NULL,
	at      INTEGER NOT NULL
) STRICT;

CREATE INDEX answer_attempt ON answer (attempt);

CREATE TABLE draft (
	learner TEXT NOT NULL,
	lab     TEXT NOT NULL,
	file    TEXT NOT NULL,
	text    TEXT NOT NULL,
	saved   INTEGER NOT NULL,
	PRIMARY KEY (learner, lab, file)
) STRICT;
`

const schema2 = `
CREATE TABLE experiment_run (
	run        INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice
	experiment TEXT NOT NULL,
	started    INTEGER NOT NULL,
	quick      INTEGER NOT NULL,
	seconds    REAL NOT NULL DEFAULT 0,
	state      TEXT NOT NULL DEFAULT '', -- '': it runs
	result     TEXT NOT NULL DEFAULT ''  -- JSON
) STRICT;

CREATE INDEX experiment_run_of ON experiment_run (experiment, run);
`

// tablesOf are how many tables of ours a database of each format has, from 1 on.
var tablesOf = [...]int{4, 5}

// prepare checks the database and brings it to the newest format, all in one
// transaction: what is refused is not written to.
func (s *Store) prepare(ctx context.Context) error {
	err := s.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		format, err := inspect(ctx, tx)
		if err != nil {
			return err
		}
		return migrate(ctx, tx, format)
	})
	if err != nil {
		return explain(err)
	}
	// A file that somebody turned to WAL would be three files.
	if _, err := s.db.ExecContext(ctx, "PRAGMA journal_mode=DELETE"); err != nil {
		return explain(err)
	}
	return nil
}

// inspect returns the format of the database, 0 if it is empty.
func inspect(ctx context.Context, tx *sql.Tx) (format int, err error) {
	var app, tables int
	if err := tx.QueryRowContext(ctx, "PRAGMA application_id").Scan(&app); err != nil {
		return 0, err
	}
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&format); err != nil {
		return 0, err
	}
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('attempt', 'step', 'answer', 'draft', 'experiment_run')").Scan(&tables); err != nil {
		return 0, err
	}
	var all int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&all); err != nil {
		return 0, err
	}
	if app == 0 && format == 0 && all == 0 {
		return 0, nil
	}
	if app != appID {
		return 0, ErrForeign
	}
	if err := tooNew(format); err != nil {
		return 0, err
	}
	if format < 1 || tables != tablesOf[format-1] {
		return 0, fmt.Errorf("%w: format %d with %d of our tables", ErrCorrupt, format, tables)
	}
	var verdict string
	if err := tx.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return 0, err
	}
	if verdict != "ok" {
		return 0, fmt.Errorf("%w: %s", ErrCorrupt, verdict)
	}
	return format, nil
}

func tooNew(format int) error {
	if format > len(migrations()) {
		return fmt.Errorf("%w: it has format %d, this one knows %d", ErrNewer, format, len(migrations()))
	}
	return nil
}

func migrate(ctx context.Context, tx *sql.Tx, format int) error {
	steps := migrations()
	if format == len(steps) {
		return nil
	}
	for i, m := range steps[format:] {
		if _, err := tx.ExecContext(ctx, m); err != nil {
			return fmt.Errorf("bringing it from format %d to %d: %w", format+i, format+i+1, err)
		}
	}
	_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id=%d; PRAGMA user_version=%d", appID, len(steps)))
	return err
}
