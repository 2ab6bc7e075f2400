package session

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/epoll"
	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/lab"
	"kernelviz/internal/playground"
	"kernelviz/internal/sandbox"
	"kernelviz/internal/store"
	"kernelviz/internal/workload"
)

// The test binary plays `labserver workload NAME`.
func TestMain(m *testing.M) {
	if len(os.Args) < 3 || os.Args[1] != "workload" {
		os.Exit(m.Run())
	}
	if err := workload.Main(os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// prepare makes what sessions need on this machine, with progress in memory.
func prepare(t *testing.T) Options {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	info, err := kernel.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	view, err := epoll.New(t.Context(), epoll.Options{Logger: log, Kernel: info})
	if err != nil {
		t.Fatal(err)
	}
	box, err := sandbox.New(sandbox.Config{Log: log, Guardian: []string{"/proc/self/exe", "workload", "guardian"}})
	if err != nil {
		t.Fatal(err)
	}
	user, err := sandbox.Invoker()
	if err != nil {
		t.Fatal(err)
	}
	scratch := t.TempDir()
	db, err := store.Memory()
	if err != nil {
		t.Fatal(err)
	}
	code, err := playground.New(playground.Options{Log: log, Box: box, User: &user, Dir: scratch + "/code"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for what, err := range map[string]error{
			"playground": code.Close(), "sandbox": box.Close(), "store": db.Close(), "view": view.Close(),
		} {
			if err != nil {
				t.Errorf("closing the %s: %v", what, err)
			}
		}
	})
	return Options{
		Views: []kernelviz.View{view}, Kernel: info, Box: box, Store: db, Playground: code, Terminals: true,
		User: user, Scratch: scratch, Log: log,
	}
}

func manage(t *testing.T, o Options) *Manager {
	t.Helper()
	m := NewManager(o)
	t.Cleanup(m.Close)
	return m
}

const head = `format: 1
id: one
title: {en: One, zh: 一}
summary: {en: One., zh: 一。}
minutes: 5
`

const puppetLab = head + `workloads:
  - name: puppet
    setup: [{op: epoll_create}, {op: add, epfd: 3, what: eventfd, n: 2}]
stage: {of: puppet, fd: 3}
actions:
  add: {workload: puppet, do: {op: add, epfd: 3, what: eventfd, n: 1}}
  ready: {workload: puppet, do: {op: ready, fd: 4}}
`

// load reads a lab of the steps, which must be in order; files are those of the
// lab besides its text.
func load(t *testing.T, text string, files map[string]string) *lab.Lab {
	t.Helper()
	fsys := fstest.MapFS{}
	add := func(name, text string) { fsys[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644} }
	add("010-m/module.yaml", "format: 1\nid: m\ntitle: {en: M, zh: M}\nsummary: {en: M., zh: M。}\nrequires: []\nplanned: false\n")
	add("010-m/010-one/lab.yaml", text)
	var anchors strings.Builder
	for line := range strings.Lines(text) {
		if id, ok := strings.CutPrefix(line, "  - id: "); ok {
			fmt.Fprintf(&anchors, "\n::step{%s}\n", strings.TrimSpace(id))
		}
	}
	add("010-m/010-one/lesson.en.md", "# One\n"+anchors.String())
	add("010-m/010-one/lesson.zh.md", "# 一\n"+anchors.String())
	for name, text := range files {
		add("010-m/010-one/"+name, text)
	}
	// Vocabulary without a kernel: the facts are the same on every machine.
	c := lab.Load(fsys, Vocabulary([]kernelviz.View{new(epoll.View)}))
	l := c.Lab("one")
	if l == nil {
		t.Fatalf("%v", c.Problems)
	}
	return l
}

func openLab(t *testing.T, m *Manager, l *lab.Lab) *Session {
	t.Helper()
	s, err := m.Open(t.Context(), l, "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually polls until the state is as wanted.
func eventually(t *testing.T, s *Session, what string, ok func(State) bool) State {
	t.Helper()
	p := prover{ctx: t.Context(), session: s}
	if !p.until(20*time.Second, func() bool { return ok(s.State()) }) {
		t.Fatalf("%s: not within 20 s: %+v%s", what, s.State(), p.shown())
	}
	return s.State()
}

func act(t *testing.T, s *Session, action string) {
	t.Helper()
	if _, err := s.Act(t.Context(), action); err != nil {
		t.Fatalf("action %s: %v", action, err)
	}
}

func alive(pid int) bool { return unix.Kill(pid, 0) == nil }

// gone waits until a process is.
func gone(t *testing.T, pid int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for alive(pid) {
		select {
		case <-ctx.Done():
			t.Fatalf("process %d still lives", pid)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
