package trial

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"kernelviz/internal/workload/control"
)

// maxLine bounds one line of the conversation, in bytes.
const maxLine = 1 << 20

// heapLimit is where Go collects garbage all the same during the work, in
// bytes: nothing that is measured should come near it.
const heapLimit = 1 << 30

// Message is one line from a trial; exactly one field is set.
type Message struct {
	Ready  json.RawMessage `json:"ready,omitempty"` // what Prepare said; "null" if nothing
	Report *Report         `json:"report,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// Go is the line that lets a trial begin: what the roles before it said, by
// name.
type Go struct {
	Go map[string]json.RawMessage `json:"go"`
}

// The system calls that the conversation itself is made of, which no work
// makes: whoever counts takes them out (see Overhead).
const (
	readCall  = "readv"
	writeCall = "writev"
)

// Overhead takes the conversation out of system calls counted between ready
// and report, by name: the report is written, the next line is waited for, and
// the wait for go may have begun before or after the count did.
func Overhead(calls map[string]uint64) {
	less := func(name string, n uint64) {
		if calls[name] <= n {
			delete(calls, name)
			return
		}
		calls[name] -= n
	}
	less(readCall, 2)
	less(writeCall, 1)
}

// Main is the life of a trial: the workload "trial".
func Main() error { return Serve(works()) }

// Serve is Main with other works: by "EXPERIMENT/ROLE".
func Serve[M ~func(Spec) (Work, error)](all map[string]M) error {
	known := make(map[string]maker, len(all))
	for k, m := range all {
		known[k] = maker(m)
	}
	debug.SetMemoryLimit(heapLimit)
	lines := control.NewLines(stdin{}, maxLine)
	err := serve(lines, stdout{}, known)
	if err == nil {
		return nil
	}
	// Whoever measures is told in words; the exit status says it too.
	return errors.Join(err, send(stdout{}, Message{Error: err.Error()}))
}

func serve(lines *control.Lines, out io.Writer, all map[string]maker) (err error) {
	line, err := lines.Next()
	if err != nil {
		return fmt.Errorf("reading what to do: %w", err)
	}
	var s Spec
	if err := control.Decode(line, &s); err != nil {
		return fmt.Errorf("reading what to do: %w", err)
	}
	w, err := find(all, s)
	if err != nil {
		return err
	}
	what := strings.Join([]string{s.Experiment, s.Series, s.Variant, s.Role}, " ")
	defer func() {
		if closeErr := w.Close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("ending %s: %w", what, closeErr))
		}
	}()
	said, err := w.Prepare()
	if err != nil {
		return fmt.Errorf("preparing %s: %w", what, err)
	}
	data, err := json.Marshal(said)
	if err != nil {
		return fmt.Errorf("preparing %s: %w", what, err)
	}
	// A collection in the middle would be measured with the work.
	runtime.GC()
	debug.SetGCPercent(-1)
	if err := send(out, Message{Ready: data}); err != nil {
		return err
	}
	line, err = lines.Next()
	if errors.Is(err, io.EOF) {
		return nil // the run was ended before it began
	}
	if err != nil {
		return fmt.Errorf("waiting for go: %w", err)
	}
	var g Go
	if err := control.Decode(line, &g); err != nil {
		return fmt.Errorf("waiting for go: %w", err)
	}
	r, err := w.Run(g.Go)
	if err != nil {
		return fmt.Errorf("running %s: %w", what, err)
	}
	if err := send(out, Message{Report: &r}); err != nil {
		return err
	}
	for err == nil {
		_, err = lines.Next()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// send writes a message as one line, at once: a pipe takes up to 4 KiB whole.
func send(out io.Writer, m Message) error {
	line, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing to who measures: %w", err)
	}
	if _, err := out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("writing to who measures: %w", err)
	}
	return nil
}

// stdin and stdout are descriptors 0 and 1 without Go's poller, by calls that
// no work makes.
type (
	stdin  struct{}
	stdout struct{}
)

func (stdin) Read(b []byte) (int, error) {
	for {
		n, err := unix.Readv(0, [][]byte{b})
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, fmt.Errorf("readv: %w", err)
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

func (stdout) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Writev(1, [][]byte{b[done:]})
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, fmt.Errorf("writev: %w", err)
		}
		done += n
	}
	return done, nil
}
