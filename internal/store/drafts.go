package store

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"
)

// Drafts returns the learner's files of a lab, by name.
func (s *Store) Drafts(ctx context.Context, learner, lab string) (map[string]string, error) {
	if err := checkNames(learner, lab); err != nil {
		return nil, err
	}
	drafts := map[string]string{}
	err := s.do(ctx, "reading drafts", func(ctx context.Context, tx *sql.Tx) error {
		kept, err := draftsOf(ctx, tx, learner, lab)
		for _, d := range kept {
			drafts[d.File] = d.Text
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return drafts, nil
}

func draftsOf(ctx context.Context, tx *sql.Tx, learner, lab string) ([]Draft, error) {
	rows, err := tx.QueryContext(ctx, "SELECT file, text, saved FROM draft WHERE learner = ? AND lab = ? ORDER BY file", learner, lab)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var drafts []Draft
	for rows.Next() {
		var d Draft
		var saved int64
		if err := rows.Scan(&d.File, &d.Text, &saved); err != nil {
			return nil, err
		}
		d.Saved = fromStamp(saved)
		drafts = append(drafts, d)
	}
	return drafts, rows.Err()
}

// SaveDraft keeps the text of a file of a lab.
func (s *Store) SaveDraft(ctx context.Context, learner, lab, file, text string) error {
	if err := checkNames(learner, lab); err != nil {
		return err
	}
	if err := checkDraft(file, text); err != nil {
		return err
	}
	return s.do(ctx, "keeping the draft "+file, func(ctx context.Context, tx *sql.Tx) error {
		err := room(ctx, tx, "SELECT count(*) FROM draft WHERE learner = ? AND lab = ? AND file <> ?", MaxDrafts, "drafts in a lab", learner, lab, file)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO draft (learner, lab, file, text, saved) VALUES (?, ?, ?, ?, ?)", learner, lab, file, text, s.stamp())
		return err
	})
}

func checkDraft(file, text string) error {
	control := strings.ContainsFunc(file, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' })
	if !fs.ValidPath(file) || file == "." || len(file) > maxName || control {
		return fmt.Errorf("%w of a file %.40q: want a path inside the lab's folder", ErrBadName, file)
	}
	if len(text) > MaxDraft {
		return fmt.Errorf("the draft %s is %w: it has %d bytes, at most %d are kept", file, ErrTooLong, len(text), MaxDraft)
	}
	if !utf8.ValidString(text) {
		return fmt.Errorf("the draft %s is not UTF-8", file)
	}
	return nil
}
