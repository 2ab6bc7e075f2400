package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
)

// Handler is a workload seen from its control line. The methods are called
// from one goroutine.
type Handler interface {
	// Do carries out one action. The result is encoded as JSON.
	Do(action json.RawMessage) (result any, err error)
	// State returns what the workload knows, to be encoded as JSON.
	State() any
}

// Serve answers requests until in ends, which means that the server is gone
// or wants the workload to end: it returns nil then.
func Serve(in io.Reader, out *Out, h Handler) error {
	lines := NewLines(in, MaxRequest)
	for {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the control line: %w", err)
		}
		if err := serveOne(line, out, h); err != nil {
			return err
		}
	}
}

func serveOne(line []byte, out *Out, h Handler) error {
	var req Request
	if err := Decode(line, &req); err != nil {
		return out.answer(0, nil, Errorf("bad_request", "control line is not a request: %v", err))
	}
	if req.State == (req.Do != nil) {
		return out.answer(req.ID, nil, Errorf("bad_request", `a request has either "do" or "state"`))
	}
	if req.State {
		return out.answer(req.ID, h.State(), nil)
	}
	result, err := h.Do(req.Do)
	return out.answer(req.ID, result, err)
}

// Out writes messages to the server. Its methods may be called concurrently.
type Out struct {
	mu    sync.Mutex
	w     io.Writer
	calls []byte // encoded calls not yet written: `{...},{...}`
	err   error  // the first failure to write; the server is gone then
}

// flushAt is the number of bytes of calls that are written at once.
const flushAt = 32 << 10

// NewOut writes to w.
func NewOut(w io.Writer) *Out { return &Out{w: w} }

// Add queues one call. It is written with the next Flush, with the next
// answer, or when enough of them wait.
func (o *Out) Add(c *Call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.calls) > 0 {
		o.calls = append(o.calls, ',')
	}
	o.calls = c.appendJSON(o.calls)
	if len(o.calls) >= flushAt {
		o.flush()
	}
}

// Flush writes the queued calls.
func (o *Out) Flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flush()
	return o.err
}

func (o *Out) flush() {
	if len(o.calls) == 0 {
		return
	}
	o.write([]byte(`{"calls":[`), o.calls, []byte("]}\n"))
	o.calls = o.calls[:0]
}

// write keeps the first error: a server that is gone is noticed by Serve.
func (o *Out) write(parts ...[]byte) {
	for _, b := range parts {
		if o.err != nil {
			return
		}
		_, o.err = o.w.Write(b)
	}
}

func (o *Out) answer(id uint64, result any, failure error) error {
	m := Message{ID: id}
	if failure != nil {
		m.Error = asError(failure)
	} else {
		data, err := json.Marshal(result)
		if err != nil {
			return fmt.Errorf("encoding result: %w", err)
		}
		m.Result = data
	}
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding answer: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flush()
	o.write(append(data, '\n'))
	return o.err
}

func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: "failed", Message: err.Error()}
}

// appendJSON encodes by hand: the puppet logs 20,000 calls in one action and
// collects no garbage (see package puppet).
func (c *Call) appendJSON(b []byte) []byte {
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, c.Seq, 10)
	b = append(b, `,"time":`...)
	b = appendString(b, c.Time)
	b = append(b, `,"tid":`...)
	b = strconv.AppendInt(b, int64(c.TID), 10)
	b = append(b, `,"thread":`...)
	b = strconv.AppendInt(b, int64(c.Thread), 10)
	b = append(b, `,"text":`...)
	b = appendString(b, c.Text)
	b = append(b, `,"result":`...)
	b = appendString(b, c.Result)
	b = append(b, `,"ok":`...)
	b = strconv.AppendBool(b, c.OK)
	b = append(b, `,"note":`...)
	b = appendString(b, c.Note)
	b = append(b, `,"pending":`...)
	b = strconv.AppendBool(b, c.Pending)
	if c.Rest != "" {
		b = append(b, `,"rest":`...)
		b = appendString(b, c.Rest)
	}
	return append(b, '}')
}

// appendString encodes printable ASCII, which is all that call texts hold.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch ch := s[i]; {
		case ch == '"' || ch == '\\':
			b = append(b, '\\', ch)
		case ch < ' ' || ch > '~':
			b = append(b, `\u00`...)
			b = append(b, "0123456789abcdef"[ch>>4], "0123456789abcdef"[ch&15])
		default:
			b = append(b, ch)
		}
	}
	return append(b, '"')
}
