package server

import (
	"errors"
	"fmt"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/workload"
)

// Problem is an error for people: the page and the command line show the same
// text.
type Problem struct {
	Code    string // stable, for programs: "not_found"
	Message string // what failed, on which object, why
	Fix     string // what to do next; empty if nothing can be done
}

func (p *Problem) Error() string { return p.Message }

// The codes of problems that the server itself reports.
const (
	CodeNotFound   = "not_found"   // no such target, view or workload
	CodeGone       = "gone"        // it was there and ended
	CodeBadMessage = "bad_message" // a control message that cannot be read
	CodeForbidden  = "forbidden"   // the session's scope does not allow it
	CodeLimit      = "limit"       // a bound of the server is reached
	CodeBusy       = "busy"        // try again in a moment
	CodeDisabled   = "disabled"    // switched off by a flag
	CodeFailed     = "failed"      // anything else
)

func problemf(code, fix, format string, args ...any) *Problem {
	return &Problem{Code: code, Message: fmt.Sprintf(format, args...), Fix: fix}
}

// asProblem turns any error into a Problem. The text of what was being done is
// put before errors that have none.
func asProblem(doing string, err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	var refusal *workload.Error
	if errors.As(err, &refusal) {
		return &Problem{refusal.Code, refusal.Message, refusal.Fix}
	}
	if p, ok := labProblem(err); ok {
		return p
	}
	if p, ok := experimentProblem(err); ok {
		return p
	}
	message := doing + ": " + err.Error()
	if errors.Is(err, workload.ErrEnded) {
		return &Problem{CodeGone, message, "start another"}
	}
	if errors.Is(err, kernelviz.ErrNotFound) {
		return &Problem{CodeNotFound, message, "pick a target from the list: labserver targets"}
	}
	if errors.Is(err, kernelviz.ErrGone) {
		return &Problem{CodeGone, message, "pick another target: labserver targets"}
	}
	return &Problem{CodeFailed, message, ""}
}
