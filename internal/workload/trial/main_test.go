package trial

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"

	"kernelviz/internal/workload/control"
)

// fake is a work that notes what is done with it.
type fake struct {
	did          []string
	said         any
	prepare, run error
}

func (f *fake) Prepare() (any, error) {
	f.did = append(f.did, "prepare")
	return f.said, f.prepare
}

func (f *fake) Run(peers map[string]json.RawMessage) (Report, error) {
	f.did = append(f.did, "run "+string(peers["server"]))
	return Report{Seconds: 1, Ops: 2}, f.run
}

func (f *fake) Close() error {
	f.did = append(f.did, "close")
	return nil
}

func TestConversation(t *testing.T) {
	const spec = `{"experiment":"x","series":"s","variant":"v","role":"r","params":{"n":1},"dir":"/tmp"}` + "\n"
	const go1 = `{"go":{"server":{"port":7}}}` + "\n"
	tests := []struct {
		name string
		work fake
		in   string
		did  string
		out  []string // parts of lines
		err  string
	}{
		{"all of it", fake{said: map[string]int{"port": 9}}, spec + go1, `prepare, run {"port":7}, close`, []string{`{"ready":{"port":9}}`, `{"report":{"seconds":1,"bytes":0,"ops":2}}`}, ""},
		{"nothing to say", fake{}, spec + go1 + "whatever\n", `prepare, run {"port":7}, close`, []string{`{"ready":null}`, "report"}, ""},
		{"ended before go", fake{}, spec, "prepare, close", []string{"ready"}, ""},
		{"nothing at all", fake{}, "", "", nil, "reading what to do"},
		{"no spec", fake{}, "hello\n", "", nil, "reading what to do"},
		{"a field too many", fake{}, `{"experiment":"x","role":"r","colour":"red"}` + "\n", "", nil, "colour"},
		{"unknown role", fake{}, `{"experiment":"x","role":"q"}` + "\n", "", nil, `"x/q"; known are x/r`},
		{"no go", fake{}, spec + `{"stop":1}` + "\n", "prepare, close", []string{"ready"}, "waiting for go"},
		{"not prepared", fake{prepare: errors.New("no file")}, spec, "prepare, close", nil, "preparing x s v r: no file"},
		{"what cannot be said", fake{said: func() {}}, spec, "prepare, close", nil, "preparing x s v r"},
		{"failed", fake{run: errors.New("no luck")}, spec + go1, `prepare, run {"port":7}, close`, []string{"ready"}, "running x s v r: no luck"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			all := map[string]maker{"x/r": func(s Spec) (Work, error) {
				if s.Params["n"] != 1 || s.Dir != "/tmp" {
					t.Errorf("spec %+v", s)
				}
				return &test.work, nil
			}}
			err := serve(control.NewLines(strings.NewReader(test.in), maxLine), &out, all)
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if did := strings.Join(test.work.did, ", "); did != test.did {
				t.Errorf("it did %q, want %q", did, test.did)
			}
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if out.Len() == 0 {
				lines = nil
			}
			if len(lines) != len(test.out) {
				t.Fatalf("it said %q, want %d lines", lines, len(test.out))
			}
			for i, line := range lines {
				var m Message
				if err := control.Decode([]byte(line), &m); err != nil || !strings.Contains(line, test.out[i]) {
					t.Errorf("line %q, %v, want %q", line, err, test.out[i])
				}
			}
		})
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestNobodyListens(t *testing.T) {
	f := &fake{}
	in := `{"experiment":"x","role":"r"}` + "\n"
	err := serve(control.NewLines(strings.NewReader(in), maxLine), broken{}, map[string]maker{"x/r": func(Spec) (Work, error) { return f, nil }})
	if !errors.Is(err, io.ErrClosedPipe) || strings.Join(f.did, " ") != "prepare close" {
		t.Errorf("%v, %v", err, f.did)
	}
}

func TestOverhead(t *testing.T) {
	tests := []struct{ in, want map[string]uint64 }{
		{map[string]uint64{"readv": 2, "writev": 1, "read": 5}, map[string]uint64{"read": 5}},
		{map[string]uint64{"readv": 1, "writev": 1}, map[string]uint64{}},
		{map[string]uint64{"readv": 10, "writev": 10}, map[string]uint64{"readv": 8, "writev": 9}},
		{map[string]uint64{}, map[string]uint64{}},
	}
	for _, test := range tests {
		got := maps.Clone(test.in)
		Overhead(got)
		if !maps.Equal(got, test.want) {
			t.Errorf("%v became %v, want %v", test.in, got, test.want)
		}
	}
}

func TestEveryRoleRefusesNonsense(t *testing.T) {
	for key, make := range works() {
		experiment, role, _ := strings.Cut(key, "/")
		w, err := make(Spec{Experiment: experiment, Role: role, Series: "no", Variant: "no-such-variant", Params: map[string]float64{"n": -1}})
		if err != nil {
			continue
		}
		if _, err := w.Prepare(); err == nil {
			t.Errorf("%s takes a variant that there is not", key)
		}
		if err := w.Close(); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}
