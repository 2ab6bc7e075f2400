package store

import (
	"context"
	"database/sql"
	"time"
)

// Export is everything that is kept of a learner. Times are in UTC; in JSON
// they have the form of RFC 3339.
type Export struct {
	Learner  string      `json:"learner"`
	Exported time.Time   `json:"exported"`
	Labs     []LabExport `json:"labs"` // by id
}

// LabExport is what is kept of one lab.
type LabExport struct {
	Lab      string          `json:"lab"`
	Attempts []AttemptExport `json:"attempts"` // by number
	Drafts   []Draft         `json:"drafts"`   // by file
}

// AttemptExport is an attempt with all of it.
type AttemptExport struct {
	Number  int            `json:"number"`
	Current bool           `json:"current"`
	Params  map[string]int `json:"params"`
	Started time.Time      `json:"started"`
	Ended   time.Time      `json:"ended,omitzero"` // when it was reset
	Steps   []StepExport   `json:"steps"`          // by id
	Answers []Answer       `json:"answers"`        // in order
}

// StepExport is a Step.
type StepExport struct {
	Step     string    `json:"step"`
	Done     bool      `json:"done"`
	DoneAt   time.Time `json:"done_at,omitzero"`
	Shown    int       `json:"hints_shown"`
	Choice   string    `json:"choice,omitempty"`
	FD       int       `json:"fd,omitempty"`
	Answered bool      `json:"answered"`
	Right    bool      `json:"right"`
}

// Answer is one answer to a prediction.
type Answer struct {
	Step   string    `json:"step"`
	Choice string    `json:"choice,omitempty"`
	FD     int       `json:"fd,omitempty"`
	Right  bool      `json:"right"`
	At     time.Time `json:"at"`
}

// Draft is a file of a learner.
type Draft struct {
	File  string    `json:"file"`
	Text  string    `json:"text"`
	Saved time.Time `json:"saved"`
}

// Export returns everything that is kept of a learner.
func (s *Store) Export(ctx context.Context, learner string) (Export, error) {
	if err := checkLearner(learner); err != nil {
		return Export{}, err
	}
	e := Export{Learner: learner, Exported: fromStamp(s.stamp()), Labs: []LabExport{}}
	err := s.do(ctx, "exporting progress", func(ctx context.Context, tx *sql.Tx) error {
		labs, err := texts(ctx, tx, "SELECT lab FROM attempt WHERE learner = ?1 UNION SELECT lab FROM draft WHERE learner = ?1 ORDER BY lab", learner)
		if err != nil {
			return err
		}
		for _, lab := range labs {
			l, err := exportLab(ctx, tx, learner, lab)
			if err != nil {
				return err
			}
			e.Labs = append(e.Labs, l)
		}
		return nil
	})
	if err != nil {
		return Export{}, err
	}
	return e, nil
}

func texts(ctx context.Context, tx *sql.Tx, query string, args ...any) ([]string, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

func exportLab(ctx context.Context, tx *sql.Tx, learner, lab string) (LabExport, error) {
	l := LabExport{Lab: lab, Attempts: []AttemptExport{}, Drafts: []Draft{}}
	attempts, ids, err := attemptsOf(ctx, tx, learner, lab)
	if err != nil {
		return l, err
	}
	for i, a := range attempts {
		steps, err := stepsOf(ctx, tx, ids[i])
		if err != nil {
			return l, err
		}
		for _, st := range steps {
			a.Steps = append(a.Steps, StepExport(st))
		}
		if a.Answers, err = answersOf(ctx, tx, ids[i]); err != nil {
			return l, err
		}
		l.Attempts = append(l.Attempts, a)
	}
	drafts, err := draftsOf(ctx, tx, learner, lab)
	l.Drafts = append(l.Drafts, drafts...)
	return l, err
}

func attemptsOf(ctx context.Context, tx *sql.Tx, learner, lab string) (all []AttemptExport, ids []int64, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT id, number, params, started, ended FROM attempt WHERE learner = ? AND lab = ? ORDER BY number", learner, lab)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		a := AttemptExport{Steps: []StepExport{}}
		var id, started, ended int64
		var params string
		if err := rows.Scan(&id, &a.Number, &params, &started, &ended); err != nil {
			return nil, nil, err
		}
		if a.Params, err = readParams(params); err != nil {
			return nil, nil, err
		}
		a.Started, a.Ended, a.Current = fromStamp(started), fromStamp(ended), ended == 0
		all, ids = append(all, a), append(ids, id)
	}
	return all, ids, rows.Err()
}

func answersOf(ctx context.Context, tx *sql.Tx, attempt int64) ([]Answer, error) {
	rows, err := tx.QueryContext(ctx, "SELECT step, choice, fd, correct, at FROM answer WHERE attempt = ? ORDER BY id", attempt)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	answers := []Answer{}
	for rows.Next() {
		var a Answer
		var at int64
		if err := rows.Scan(&a.Step, &a.Choice, &a.FD, &a.Right, &at); err != nil {
			return nil, err
		}
		a.At = fromStamp(at)
		answers = append(answers, a)
	}
	return answers, rows.Err()
}
