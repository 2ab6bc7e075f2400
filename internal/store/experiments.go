package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Bounds of the results of experiments.
const (
	MaxRuns   = 50      // kept of one experiment: the newest
	MaxResult = 4 << 20 // bytes of one
)

// ErrNoRun is returned where there is no run of that number.
var ErrNoRun = errors.New("no such run")

// Run is what is kept of one run of an experiment, without its result.
type Run struct {
	Run        int64     `json:"run"`
	Experiment string    `json:"-"`
	Started    time.Time `json:"started"`
	Seconds    float64   `json:"seconds"`
	State      string    `json:"state"`
	Quick      bool      `json:"quick"`
}

// BeginRun returns the number of a run that begins now. No number is given
// twice. A run that was begun and never kept, as of a server that was killed, is
// forgotten.
func (s *Store) BeginRun(ctx context.Context, experiment string, started time.Time, quick bool) (run int64, err error) {
	if !labRE.MatchString(experiment) {
		return 0, fmt.Errorf("%w of an experiment %.40q: lower-case letters, digits and hyphens", ErrBadName, experiment)
	}
	err = s.do(ctx, "beginning a run of "+experiment, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM experiment_run WHERE state = ''"); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "INSERT INTO experiment_run (experiment, started, quick) VALUES (?, ?, ?) RETURNING run",
			experiment, toStamp(started), flag(quick)).Scan(&run)
	})
	return run, err
}

// KeepRun keeps how a run ended, with its result in JSON, and forgets the
// oldest of that experiment above MaxRuns. state must not be empty.
func (s *Store) KeepRun(ctx context.Context, run int64, state string, seconds float64, result []byte) error {
	if state == "" {
		return fmt.Errorf("run %d ended in no state", run)
	}
	if len(result) > MaxResult {
		return fmt.Errorf("the result of run %d is %w: it has %d bytes, at most %d are kept", run, ErrTooLong, len(result), MaxResult)
	}
	return s.do(ctx, fmt.Sprintf("keeping the result of run %d", run), func(ctx context.Context, tx *sql.Tx) error {
		var experiment string
		err := tx.QueryRowContext(ctx, "UPDATE experiment_run SET state = ?, seconds = ?, result = ? WHERE run = ? RETURNING experiment",
			state, seconds, string(result), run).Scan(&experiment)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%w: %d", ErrNoRun, run)
		}
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM experiment_run WHERE experiment = ?1 AND run NOT IN
			(SELECT run FROM experiment_run WHERE experiment = ?1 ORDER BY run DESC LIMIT ?2)`, experiment, MaxRuns)
		return err
	})
}

// Runs are the runs that have ended, by experiment, newest first.
func (s *Store) Runs(ctx context.Context) (map[string][]Run, error) {
	all := map[string][]Run{}
	err := s.do(ctx, "reading the runs of experiments", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT run, experiment, started, seconds, state, quick FROM experiment_run WHERE state <> '' ORDER BY run DESC")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r Run
			var started int64
			if err := rows.Scan(&r.Run, &r.Experiment, &started, &r.Seconds, &r.State, &r.Quick); err != nil {
				return err
			}
			r.Started = fromStamp(started)
			all[r.Experiment] = append(all[r.Experiment], r)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// RunResult is the result of a run that has ended, in JSON.
func (s *Store) RunResult(ctx context.Context, experiment string, run int64) (result []byte, err error) {
	err = s.do(ctx, fmt.Sprintf("reading run %d of %.64q", run, experiment), func(ctx context.Context, tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT result FROM experiment_run WHERE experiment = ? AND run = ? AND state <> ''", experiment, run).Scan(&result)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNoRun
		}
		return err
	})
	return result, err
}

// ForgetRun forgets a run that has ended.
func (s *Store) ForgetRun(ctx context.Context, experiment string, run int64) error {
	return s.do(ctx, fmt.Sprintf("forgetting run %d of %.64q", run, experiment), func(ctx context.Context, tx *sql.Tx) error {
		var one int64
		err := tx.QueryRowContext(ctx, "DELETE FROM experiment_run WHERE experiment = ? AND run = ? AND state <> '' RETURNING run", experiment, run).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNoRun
		}
		return err
	})
}
