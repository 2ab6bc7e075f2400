package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// Attempt is one go of a learner at a lab.
type Attempt struct {
	ID      int64
	Learner string
	Lab     string
	Number  int            // 1, 2, … of this learner at this lab
	Params  map[string]int // drawn when it began
	Started time.Time
}

// Step is what is kept of a step in an attempt.
type Step struct {
	Step     string
	Done     bool
	DoneAt   time.Time // zero if it is not done
	Shown    int       // hints shown
	Choice   string    // the latest answer to its prediction, or
	FD       int       // the node that was clicked
	Answered bool
	Right    bool
}

// Bounds of what one learner can make the store keep.
const (
	MaxDraft   = 48 << 10 // bytes of one file
	MaxDrafts  = 32       // files of one lab
	maxAnswers = 10_000   // of one attempt
	maxSteps   = 1000     // of one attempt
	maxName    = 128      // bytes of the id of a step or a choice
)

var (
	learnerRE = regexp.MustCompile(`^[A-Za-z0-9._-]{1,32}$`)
	labRE     = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
)

func checkLearner(learner string) error {
	if !learnerRE.MatchString(learner) {
		return fmt.Errorf("%w of a learner %q: 1 to 32 letters, digits, '-', '_' or '.'", ErrBadName, learner)
	}
	return nil
}

func checkNames(learner, lab string) error {
	if err := checkLearner(learner); err != nil {
		return err
	}
	if !labRE.MatchString(lab) {
		return fmt.Errorf("%w of a lab %q: lower-case letters, digits and hyphens", ErrBadName, lab)
	}
	return nil
}

func checkIDs(step, choice string) error {
	if step == "" || len(step) > maxName || len(choice) > maxName {
		return fmt.Errorf("%w of a step or choice: %.40q, %.40q", ErrBadName, step, choice)
	}
	return nil
}

// Current returns the current attempt with what is kept of its steps. If there
// is none, one is begun with the parameters that draw gives; nil draws none.
func (s *Store) Current(ctx context.Context, learner, lab string, draw func() map[string]int) (a Attempt, steps []Step, err error) {
	if err := checkNames(learner, lab); err != nil {
		return Attempt{}, nil, err
	}
	err = s.do(ctx, "reading the current attempt", func(ctx context.Context, tx *sql.Tx) error {
		a, err = current(ctx, tx, learner, lab)
		if errors.Is(err, sql.ErrNoRows) {
			a, err = s.begin(ctx, tx, learner, lab, draw)
		}
		if err != nil {
			return err
		}
		steps, err = stepsOf(ctx, tx, a.ID)
		return err
	})
	if err != nil {
		return Attempt{}, nil, err
	}
	return a, steps, nil
}

func current(ctx context.Context, tx *sql.Tx, learner, lab string) (Attempt, error) {
	a := Attempt{Learner: learner, Lab: lab}
	var params string
	var started int64
	err := tx.QueryRowContext(ctx, "SELECT id, number, params, started FROM attempt WHERE learner = ? AND lab = ? AND ended = 0", learner, lab).
		Scan(&a.ID, &a.Number, &params, &started)
	if err != nil {
		return Attempt{}, err
	}
	a.Started = fromStamp(started)
	a.Params, err = readParams(params)
	return a, err
}

func readParams(text string) (map[string]int, error) {
	params := map[string]int{}
	if err := json.Unmarshal([]byte(text), &params); err != nil {
		return nil, fmt.Errorf("%w: parameters of an attempt: %w", ErrCorrupt, err)
	}
	return params, nil
}

func (s *Store) begin(ctx context.Context, tx *sql.Tx, learner, lab string, draw func() map[string]int) (Attempt, error) {
	now := s.stamp()
	a := Attempt{Learner: learner, Lab: lab, Params: map[string]int{}, Started: fromStamp(now)}
	if draw != nil {
		for name, value := range draw() {
			a.Params[name] = value
		}
	}
	params, err := json.Marshal(a.Params)
	if err != nil {
		return Attempt{}, err
	}
	err = tx.QueryRowContext(ctx, `INSERT INTO attempt (learner, lab, number, params, started)
		SELECT ?1, ?2, coalesce(max(number), 0) + 1, ?3, ?4 FROM attempt WHERE learner = ?1 AND lab = ?2
		RETURNING id, number`, learner, lab, string(params), now).Scan(&a.ID, &a.Number)
	return a, err
}

func stepsOf(ctx context.Context, tx *sql.Tx, attempt int64) ([]Step, error) {
	rows, err := tx.QueryContext(ctx, "SELECT step, done, done_at, shown, choice, fd, answered, correct FROM step WHERE attempt = ? ORDER BY step", attempt)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var steps []Step
	for rows.Next() {
		var st Step
		var at int64
		if err := rows.Scan(&st.Step, &st.Done, &at, &st.Shown, &st.Choice, &st.FD, &st.Answered, &st.Right); err != nil {
			return nil, err
		}
		st.DoneAt = fromStamp(at)
		steps = append(steps, st)
	}
	return steps, rows.Err()
}

// SaveStep keeps what st says of a step of the attempt, instead of what was
// kept of it before.
func (s *Store) SaveStep(ctx context.Context, attempt int64, st Step) error {
	if err := checkIDs(st.Step, st.Choice); err != nil {
		return err
	}
	return s.do(ctx, "keeping step "+st.Step, func(ctx context.Context, tx *sql.Tx) error {
		if err := exists(ctx, tx, attempt); err != nil {
			return err
		}
		if err := room(ctx, tx, "SELECT count(*) FROM step WHERE attempt = ? AND step <> ?", maxSteps, "steps of an attempt", attempt, st.Step); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO step (attempt, step, done, done_at, shown, choice, fd, answered, correct) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			attempt, st.Step, flag(st.Done), toStamp(st.DoneAt), st.Shown, st.Choice, st.FD, flag(st.Answered), flag(st.Right))
		return err
	})
}

// AddAnswer keeps an answer to a prediction, besides those before, and makes it
// the latest one of its step.
func (s *Store) AddAnswer(ctx context.Context, attempt int64, step, choice string, fd int, right bool) error {
	if err := checkIDs(step, choice); err != nil {
		return err
	}
	return s.do(ctx, "keeping an answer to step "+step, func(ctx context.Context, tx *sql.Tx) error {
		if err := exists(ctx, tx, attempt); err != nil {
			return err
		}
		if err := room(ctx, tx, "SELECT count(*) FROM answer WHERE attempt = ?", maxAnswers, "answers in an attempt; reset the lab", attempt); err != nil {
			return err
		}
		if err := room(ctx, tx, "SELECT count(*) FROM step WHERE attempt = ? AND step <> ?", maxSteps, "steps of an attempt", attempt, step); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO answer (attempt, step, choice, fd, correct, at) VALUES (?, ?, ?, ?, ?, ?)",
			attempt, step, choice, fd, flag(right), s.stamp())
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO step (attempt, step, choice, fd, answered, correct) VALUES (?, ?, ?, ?, 1, ?)
			ON CONFLICT DO UPDATE SET choice = excluded.choice, fd = excluded.fd, answered = 1, correct = excluded.correct`,
			attempt, step, choice, fd, flag(right))
		return err
	})
}

func exists(ctx context.Context, tx *sql.Tx, attempt int64) error {
	var one int
	err := tx.QueryRowContext(ctx, "SELECT 1 FROM attempt WHERE id = ?", attempt).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("there is no attempt %d", attempt)
	}
	return err
}

// room refuses to keep more than most of what the query counts.
func room(ctx context.Context, tx *sql.Tx, query string, most int, what string, args ...any) error {
	var n int
	if err := tx.QueryRowContext(ctx, query, args...).Scan(&n); err != nil {
		return err
	}
	if n >= most {
		return fmt.Errorf("%w: at most %d %s", ErrTooMany, most, what)
	}
	return nil
}

// flag is a boolean in a STRICT table.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Reset ends the current attempt: Current begins the next one. Old attempts
// and drafts stay.
func (s *Store) Reset(ctx context.Context, learner, lab string) error {
	if err := checkNames(learner, lab); err != nil {
		return err
	}
	return s.do(ctx, "beginning a new attempt", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE attempt SET ended = ? WHERE learner = ? AND lab = ? AND ended = 0", max(s.stamp(), 1), learner, lab)
		return err
	})
}

// Progress counts the steps done in the current attempts, by lab. Labs that
// the learner has not opened are not in it.
func (s *Store) Progress(ctx context.Context, learner string) (map[string]int, error) {
	if err := checkLearner(learner); err != nil {
		return nil, err
	}
	done := map[string]int{}
	err := s.do(ctx, "reading progress", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT lab, (SELECT count(*) FROM step WHERE attempt = a.id AND done)
			FROM attempt a WHERE learner = ? AND ended = 0`, learner)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var lab string
			var n int
			if err := rows.Scan(&lab, &n); err != nil {
				return err
			}
			done[lab] = n
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}
