package workload

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"kernelviz/internal/sandbox"
)

// The test binary plays `labserver workload NAME`.
func TestMain(m *testing.M) {
	if len(os.Args) < 3 || os.Args[1] != "workload" {
		os.Exit(m.Run())
	}
	if err := Main(os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func newSandbox(t *testing.T) *sandbox.Sandbox {
	t.Helper()
	s, err := sandbox.New(sandbox.Config{
		Log:      slog.New(slog.NewTextHandler(t.Output(), nil)),
		Guardian: []string{"/proc/self/exe", "workload", "guardian"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func start(t *testing.T, name string) *Process {
	t.Helper()
	p, err := Start(t.Context(), newSandbox(t), name, Options{ID: name + "-1"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// act carries out an action given as JSON and returns the texts of its calls.
func act(t *testing.T, p *Process, action string) (Result, []string) {
	t.Helper()
	from := p.log.end()
	r, err := try(t, p, action)
	if err != nil {
		t.Fatalf("%s: %v", action, err)
	}
	return r, texts(p.log, from)
}

func try(t *testing.T, p *Process, action string) (Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	answer, err := p.Do(ctx, []byte(action))
	if err != nil {
		return Result{}, err
	}
	var r Result
	if err := jsonDecode(answer, &r); err != nil {
		t.Fatal(err)
	}
	return r, nil
}

// texts are the calls from a place on, as strace prints them.
func texts(l *Log, from uint64) []string {
	calls, _, _, _ := l.Read(from, logSize)
	var lines []string
	for _, c := range calls {
		lines = append(lines, strings.TrimSpace(c.Text+" "+c.Result))
	}
	return lines
}

func (l *Log) end() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}
