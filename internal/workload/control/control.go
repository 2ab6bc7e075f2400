// Package control is the conversation between the server and a workload that
// it started: JSON, one message a line, over the workload's standard input and
// output. Its shapes are those of docs/protocol.md, so that the server can hand
// calls, results and states to the page as they are.
//
// The child side works with plain system calls on descriptors 0 and 1 and
// never starts a timer: a workload that shows its own epoll instances must not
// make the Go runtime open one of its own.
package control

import (
	"encoding/json"
	"fmt"
)

// MaxRequest and MaxMessage bound one line, in bytes: to the workload, and
// from it (the state of 10,000 items is the longest).
const (
	MaxRequest = 64 << 10
	MaxMessage = 8 << 20
)

// Request is one line to the workload. Exactly one of Do and State is set.
type Request struct {
	ID    uint64          `json:"id"`              // from 1; the answer carries it back
	Do    json.RawMessage `json:"do,omitempty"`    // an action of the workload's own shape
	State bool            `json:"state,omitempty"` // asks for what the workload knows
}

// Message is one line from the workload: calls it made, or the answer to the
// request with that id.
type Message struct {
	ID     uint64          `json:"id,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Error          `json:"error,omitempty"`
	Calls  []Call          `json:"calls,omitempty"`
}

// Call is one system call as strace prints it.
type Call struct {
	Seq     uint64 `json:"seq"`     // from 1; the same again replaces a pending call
	Time    string `json:"time"`    // when it was entered, RFC 3339 with nanoseconds, UTC
	TID     int    `json:"tid"`     // kernel thread that made it
	Thread  int    `json:"thread"`  // 0 the main thread, 1-16 the waiting ones
	Text    string `json:"text"`    // "close(5)"
	Result  string `json:"result"`  // "= 0"; empty while pending
	OK      bool   `json:"ok"`      // the call returned no error
	Note    string `json:"note"`    // key for translation; empty if nothing needs explaining
	Pending bool   `json:"pending"` // the thread is still inside
	// Rest is what Text leaves out while the call is pending, as strace shows
	// it only when the call returns: "maxevents=8, timeout=5000".
	Rest string `json:"rest,omitempty"`
}

// Error is a failure told to people: a stable code, what failed and why, and
// what to do next.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

func (e *Error) Error() string {
	if e.Fix == "" {
		return e.Message
	}
	return e.Message + "; " + e.Fix
}

// Errorf makes an Error without a fix.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}
