package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 100)
	for _, c := range []struct {
		name, in string
		max      int
		want     []string
		err      error
	}{
		{"nothing", "", 10, nil, io.EOF},
		{"lines", "a\n\nbc\n", 10, []string{"a", "", "bc"}, io.EOF},
		{"last without newline", "a\nbc", 10, []string{"a", "bc"}, io.EOF},
		{"as long as allowed", long + "\nb\n", 100, []string{long, "b"}, io.EOF},
		{"too long", "a\n" + long + "\n", 99, []string{"a"}, ErrLineTooLong},
		{"too long without newline", long, 99, nil, ErrLineTooLong},
	} {
		for name, r := range map[string]io.Reader{
			"at once":      strings.NewReader(c.in),
			"byte by byte": iotest.OneByteReader(strings.NewReader(c.in)),
			"with EOF":     iotest.DataErrReader(strings.NewReader(c.in)),
		} {
			got, err := allLines(r, c.max)
			if strings.Join(got, "|") != strings.Join(c.want, "|") || len(got) != len(c.want) || !errors.Is(err, c.err) {
				t.Errorf("%s, %s: %q, %v; want %q, %v", c.name, name, got, err, c.want, c.err)
			}
		}
	}
}

func allLines(r io.Reader, max int) (got []string, err error) {
	l := NewLines(r, max)
	for {
		line, err := l.Next()
		if err != nil {
			return got, err
		}
		got = append(got, string(line))
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\n\nccc"), 2)
	f.Add([]byte("\n"), 0)
	f.Fuzz(func(t *testing.T, in []byte, max int) {
		if max < 0 || max > 1<<16 {
			t.Skip()
		}
		got, err := allLines(bytes.NewReader(in), max)
		for _, line := range got {
			if len(line) > max || strings.Contains(line, "\n") {
				t.Fatalf("line %q with at most %d bytes", line, max)
			}
		}
		if !errors.Is(err, io.EOF) {
			return
		}
		if all := strings.Join(got, "\n"); all != strings.TrimSuffix(string(in), "\n") {
			t.Fatalf("%q became %q", in, got)
		}
	})
}

func TestDecodeIsStrict(t *testing.T) {
	for _, in := range []string{``, `{"id":1,"x":2}`, `{"id":1}{"id":2}`, `{"id":"1"}`, `{"id":1} x`} {
		var r Request
		if err := Decode([]byte(in), &r); err == nil {
			t.Errorf("%q was taken", in)
		}
	}
	var r Request
	if err := Decode([]byte(`{"id":1,"do":{"op":"x"}} `), &r); err != nil || r.ID != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestCallEncoding: what is encoded by hand is what encoding/json decodes.
func TestCallEncoding(t *testing.T) {
	c := Call{
		Seq: 1 << 63, Time: "2026-01-02T03:04:05.000000006Z", TID: 4213, Thread: 16,
		Text: `write(5, "\1\0\"\\", 8)`, Result: "= -1 EAGAIN (Resource temporarily unavailable)", OK: true, Note: "eagain\n\x01", Pending: true, Rest: "maxevents=8, timeout=-1",
	}
	var got Call
	if err := Decode(c.appendJSON(nil), &got); err != nil {
		t.Fatal(err)
	}
	if got != c {
		t.Errorf("got %+v, want %+v", got, c)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"id":1,"do":{"op":"x"}}`))
	f.Add([]byte(`{"id":2,"state":true}`))
	f.Add([]byte(`{"id":18446744073709551616}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if bytes.IndexByte(in, '\n') >= 0 {
			t.Skip()
		}
		var out bytes.Buffer
		if err := Serve(bytes.NewReader(in), NewOut(&out), echo{}); err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(out.Bytes()) {
			var m Message
			if err := Decode(line, &m); err != nil {
				t.Fatalf("answered %q: %v", line, err)
			}
			if (m.Error == nil) == (m.Result == nil) {
				t.Fatalf("answer %q is neither result nor error", line)
			}
		}
	})
}

type echo struct{}

func (echo) Do(action json.RawMessage) (any, error) {
	if len(action)%2 == 1 {
		return nil, errors.New("odd")
	}
	return len(action), nil
}

func (echo) State() any { return "known" }

func TestServe(t *testing.T) {
	in := `{"id":1,"do":{}}
{"id":2,"do":{ }}
{"id":3,"state":true}
{"id":4}
nonsense
`
	var buf bytes.Buffer
	out := NewOut(&buf)
	out.Add(&Call{Seq: 1})
	if err := Serve(strings.NewReader(in), out, echo{}); err != nil {
		t.Fatal(err)
	}
	want := `{"calls":[{"seq":1,"time":"","tid":0,"thread":0,"text":"","result":"","ok":false,"note":"","pending":false}]}
{"id":1,"result":2}
{"id":2,"error":{"code":"failed","message":"odd"}}
{"id":3,"result":"known"}
{"id":4,"error":{"code":"bad_request","message":"a request has either \"do\" or \"state\""}}
{"error":{"code":"bad_request","message":"control line is not a request: invalid character 'o' in literal null (expecting 'u')"}}
`
	if buf.String() != want {
		t.Errorf("got\n%swant\n%s", buf.String(), want)
	}
}

// TestServeNoticesThatNobodyReads: a workload whose server is gone ends.
func TestServeNoticesThatNobodyReads(t *testing.T) {
	in := strings.NewReader(strings.Repeat(`{"id":1,"state":true}`+"\n", 3))
	if err := Serve(in, NewOut(brokenWriter{}), echo{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Serve returned %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
