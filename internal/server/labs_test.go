package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/epoll"
	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/lab"
	"kernelviz/internal/sandbox"
	"kernelviz/internal/session"
	"kernelviz/internal/store"
)

const testLab = `format: 1
id: one
title: {en: One, zh: 一}
summary: {en: One., zh: 一。}
minutes: 5
workloads: [{name: puppet, setup: [{op: epoll_create}]}]
stage: {of: puppet, fd: 3}
terminal: true
actions:
  add: {workload: puppet, do: {op: add, epfd: 3, what: eventfd, n: 1}}
  look: {run: "echo seen"}
steps:
  - id: grow
    title: {en: Grow, zh: 生长}
    predict:
      question: {en: How many?, zh: 几个？}
      choices:
        - {id: a, text: {en: None, zh: 无}, why: {en: One comes., zh: 来一个。}}
        - {id: b, text: {en: One, zh: 一个}, right: true}
    do: [{action: add, label: {en: Add, zh: 添加}}]
    check: epoll.nodes == 1
    hints: [{en: Press it., zh: 按一下。}]
    solve: [{do: add}]
`

// labFolder writes a folder of labs with one lab.
func labFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"010-m/module.yaml":             "format: 1\nid: m\ntitle: {en: M, zh: M}\nsummary: {en: M., zh: M。}\nrequires: []\nplanned: false\n",
		"010-m/010-one/lab.yaml":        testLab,
		"010-m/010-one/lesson.en.md":    "# One\n\n::struct{epitem mark=\"rbn\"}\n\nNodes: {{epoll.nodes}}.\n\n::step{grow}\n",
		"010-m/010-one/lesson.zh.md":    "# 一\n\n::struct{epitem mark=\"rbn\"}\n\n节点：{{epoll.nodes}}。\n\n::step{grow}\n",
		"010-m/020-broken/lab.yaml":     "format: 1\nid: broken\ncolour: red\n",
		"010-m/020-broken/lesson.en.md": "# Broken\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// withLabs offers the labs of a folder, on the real kernel.
func withLabs(t *testing.T, dir string, terminals bool) func(*Options) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
	info, err := kernel.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	view, err := epoll.New(t.Context(), epoll.Options{Kernel: info})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	box, err := sandbox.New(sandbox.Config{Log: log, Guardian: []string{"/proc/self/exe", "workload", "guardian"}})
	if err != nil {
		t.Fatal(err)
	}
	user, err := sandbox.Invoker()
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Memory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for what, err := range map[string]error{"sandbox": box.Close(), "store": db.Close(), "view": view.Close()} {
			if err != nil {
				t.Errorf("closing the %s: %v", what, err)
			}
		}
	})
	views := []kernelviz.View{view}
	return func(o *Options) {
		o.Kernel, o.Views, o.Sandbox = info, views, box
		o.Labs = &LabOptions{
			Source: lab.NewSource(os.DirFS(dir), session.Vocabulary(views)), Live: true,
			Sessions: session.Options{
				Views: views, Kernel: info, Box: box, Store: db, Terminals: terminals,
				User: user, Scratch: t.TempDir(), Log: log, Shell: []string{"bash", "--norc", "--noprofile", "-i"},
			},
		}
	}
}

// api gets JSON from the server.
func (s *running) api(c *http.Client, path string, want int, v any) {
	s.t.Helper()
	res, err := c.Get("http://" + s.addr + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if res.StatusCode != want {
		s.t.Fatalf("GET %s: %s, want %d: %s", path, res.Status, want, body)
	}
	if err := json.Unmarshal(body, v); err != nil {
		s.t.Fatalf("GET %s: %v: %s", path, err, body)
	}
}

func TestCurriculumAndLesson(t *testing.T) {
	s := start(t, withLabs(t, labFolder(t), true))
	c := s.browser(s.ViewerURL())
	var list curriculum
	s.api(c, "/api/v1/labs", http.StatusOK, &list)
	if len(list.Modules) != 1 || len(list.Modules[0].Labs) != 1 || list.Modules[0].Labs[0].Steps != 1 || list.Code || !list.Terminal {
		t.Errorf("curriculum: %+v", list)
	}
	if len(list.Problems) == 0 || !strings.Contains(strings.Join(list.Problems, "\n"), `010-m/020-broken/lab.yaml:3`) {
		t.Errorf("problems: %q", list.Problems)
	}
	for lang, title := range map[string]string{"en": "One", "zh": "一"} {
		var l lessonPage
		s.api(c, "/api/v1/labs/one?lang="+lang, http.StatusOK, &l)
		if l.Title != title || len(l.Steps) != 1 || l.Values[0] != "epoll.nodes" {
			t.Errorf("lesson in %s: %+v", lang, l)
		}
		layouts := 0
		for _, p := range l.Parts {
			if p.Struct == nil {
				continue
			}
			layouts++
			if p.Struct.Problem == "" && (p.Struct.Size < 64 || len(p.Struct.Fields) < 5 || p.Struct.Source != "fs/eventpoll.c") {
				t.Errorf("struct: %+v", p.Struct)
			}
		}
		if layouts != 1 {
			t.Errorf("%d structs", layouts)
		}
	}
	var refusal map[string]map[string]string
	s.api(c, "/api/v1/labs/two", http.StatusNotFound, &refusal)
	s.api(c, "/api/v1/labs?learner=%2e%2e%2fx", http.StatusBadRequest, &refusal)
	if e := refusal["error"]; e["code"] != CodeBadMessage || e["fix"] == "" {
		t.Errorf("a bad name: %v", refusal)
	}
}

// labState waits for a state of the lab that is as wanted.
func (p *tab) labState(what string, ok func(step map[string]any, state map[string]any) bool) map[string]any {
	p.t.Helper()
	for {
		m, err := p.receive()
		if err != nil {
			p.t.Fatalf("%s: %v", what, err)
		}
		if m["type"] == "error" {
			p.t.Fatalf("%s: %v", what, m)
		}
		if m["type"] != "lab" {
			continue
		}
		state := m["state"].(map[string]any)
		if ok(state["steps"].([]any)[0].(map[string]any), state) {
			return state
		}
	}
}

func is(want string) func(map[string]any, map[string]any) bool {
	return func(step, _ map[string]any) bool { return step["state"] == want }
}

func TestLabThroughThePage(t *testing.T) {
	dir := labFolder(t)
	s := start(t, withLabs(t, dir, true))
	p := s.tab()
	refused := func(message, code string) {
		t.Helper()
		p.send("%s", message)
		if e := p.message("error"); e["code"] != code || e["message"] == "" {
			t.Errorf("%s: %v, want %s", message, e, code)
		}
	}
	refused(`{"type":"lab","ref":1,"lab":"two"}`, CodeNotFound)
	refused(`{"type":"act","ref":1,"lab":"one","action":"add"}`, CodeNotFound)
	refused(`{"type":"lab","ref":1,"lab":"one","learner":"a/b"}`, CodeBadMessage)
	refused(`{"type":"lab","ref":1,"lab":"one","step":3}`, CodeBadMessage)

	p.send(`{"type":"lab","ref":1,"lab":"one"}`)
	state := p.labState("the question", is("predict"))
	if state["drafts"] == nil {
		t.Errorf("the first state has no drafts: %v", state)
	}
	refused(`{"type":"act","ref":2,"lab":"one","action":"fly"}`, CodeNotFound)
	refused(`{"type":"build","ref":2,"lab":"one","run":true}`, "code_off")
	refused(`{"type":"draft","ref":2,"lab":"one","file":"main.c","text":"x"}`, "code_off")
	refused(`{"type":"retry","ref":2,"lab":"one","step":"grow"}`, CodeFailed)

	// A second page of the same learner sees what the first does.
	other := s.tab()
	other.send(`{"type":"lab","ref":1,"lab":"one"}`)
	p.send(`{"type":"hint","ref":3,"lab":"one","step":"grow"}`)
	p.send(`{"type":"predict","ref":4,"lab":"one","step":"grow","choice":"b"}`)
	p.labState("the open step", is("open"))
	p.send(`{"type":"act","ref":5,"lab":"one","action":"add"}`)
	for _, page := range []*tab{p, other} {
		state = page.labState("the tick", is("done"))
		if hints := state["steps"].([]any)[0].(map[string]any)["hints"].([]any); len(hints) != 1 {
			t.Errorf("hints: %v", hints)
		}
	}

	// The lab is changed on disk: pages are told, and it begins anew.
	path := filepath.Join(dir, "010-m/010-one/lab.yaml")
	changed := strings.Replace(testLab, "Press it.", "Press the button.", 1)
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	p.message("labs")
	p.labState("the new session", func(step, state map[string]any) bool {
		hints := step["hints"].([]any)
		return step["state"] == "done" && len(hints) == 1 && strings.Contains(fmt.Sprint(hints[0]), "Press the button.")
	})
	p.send(`{"type":"leave","lab":"one"}`)
	refused(`{"type":"hint","ref":6,"lab":"one","step":"grow"}`, CodeNotFound)
}

func TestViewersOpenNoLab(t *testing.T) {
	s := start(t, withLabs(t, labFolder(t), true))
	p := s.tab(func(h http.Header) { h.Set("Authorization", "Bearer "+string(s.options.Token.Viewer())) })
	for _, m := range []string{`{"type":"lab","ref":1,"lab":"one"}`, `{"type":"act","ref":1,"lab":"one","action":"add"}`, `{"type":"kill","ref":1,"lab":"one"}`} {
		p.send("%s", m)
		if e := p.message("error"); e["code"] != CodeForbidden {
			t.Errorf("%s by a viewer: %v", m, e)
		}
	}
	_, res, err := s.shell(s.options.Token.Viewer(), "", "")
	if err == nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("a viewer's terminal: %v", err)
	}
}

func TestLabsSwitchedOff(t *testing.T) {
	s := start(t)
	var refusal map[string]map[string]string
	s.api(s.browser(s.URL()), "/api/v1/labs", http.StatusNotFound, &refusal)
	p := s.tab()
	p.send(`{"type":"lab","ref":1,"lab":"one"}`)
	if e := p.message("error"); e["code"] != "labs_off" || refusal["error"]["code"] != "labs_off" {
		t.Errorf("%v, %v", e, refusal)
	}
}

// shell connects to terminal 1 of the lab.
func (s *running) shell(token Token, query, origin string) (*websocket.Conn, *http.Response, error) {
	h := http.Header{"Authorization": {"Bearer " + string(token)}}
	if origin != "" {
		h.Set("Origin", origin)
	}
	return s.dialer.Dial("ws://"+s.addr+"/ws/terminal?lab=one&n=1&cols=80&rows=24"+query, h)
}

// TestTerminal types, loses its connection at random places and gets every
// byte once.
func TestTerminal(t *testing.T) {
	s := start(t, withLabs(t, labFolder(t), true))
	if _, res, err := s.shell("wrong", "", ""); err == nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the token: %v", err)
	}
	if _, res, err := s.shell(s.options.Token, "", "http://evil.example"); err == nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("from another origin: %v", err)
	}
	// The lab is not open yet.
	conn, _, err := s.shell(s.options.Token, "", "")
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := conn.ReadJSON(&m); err != nil || m["code"] != CodeGone {
		t.Errorf("of a lab that is not open: %v %v", m, err)
	}
	conn.Close()

	p := s.tab()
	p.send(`{"type":"lab","ref":1,"lab":"one"}`)
	p.labState("the lab", is("predict"))
	const lines = 20_000
	var got bytes.Buffer
	typed := false
	rnd := rand.New(rand.NewPCG(1, 2))
	for tries := 0; !bytes.Contains(got.Bytes(), []byte("the end\r\n")); tries++ {
		if tries > 200 {
			t.Fatalf("the output does not end; %d bytes", got.Len())
		}
		conn, _, err := s.shell(s.options.Token, fmt.Sprintf("&at=%d", got.Len()), "")
		if err != nil {
			t.Fatal(err)
		}
		var opened openedMessage
		if err := conn.ReadJSON(&opened); err != nil || opened.Type != "opened" || opened.At != int64(got.Len()) || opened.Lost != 0 {
			t.Fatalf("opened at %d: %+v %v", got.Len(), opened, err)
		}
		if !typed {
			typed = true
			command := fmt.Sprintf("seq -f 'line %%.0f' 1 %d; echo the 'end'\r", lines)
			if err := conn.WriteMessage(websocket.BinaryMessage, []byte(command)); err != nil {
				t.Fatal(err)
			}
		}
		// What is taken before the connection breaks.
		// A command that was typed is read before: closing would discard it.
		for quota := rnd.IntN(40_000); (quota > 0 || !bytes.Contains(got.Bytes(), []byte("line 1\r\n"))) && !bytes.Contains(got.Bytes(), []byte("the end\r\n")); {
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			kind, data, err := conn.ReadMessage()
			if err != nil {
				t.Fatalf("after %d tries and %d bytes, the last %.200q: %v", tries, got.Len(), got.Bytes()[max(0, got.Len()-200):], err)
			}
			if kind != websocket.BinaryMessage {
				t.Fatalf("a message %s", data)
			}
			got.Write(data)
			quota -= len(data)
			if err := conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"type":"ack","at":%d}`, got.Len())); err != nil {
				t.Fatal(err)
			}
		}
		conn.Close()
	}
	next := 1
	for line := range strings.Lines(got.String()) {
		// The shell may write escape sequences before the first.
		if _, n, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "line "); ok && n == fmt.Sprint(next) {
			next++
		}
	}
	if next != lines+1 {
		t.Errorf("lines 1 to %d came in order, want %d", next-1, lines)
	}
}

func TestTerminalsSwitchedOff(t *testing.T) {
	s := start(t, withLabs(t, labFolder(t), false))
	p := s.tab()
	p.send(`{"type":"lab","ref":1,"lab":"one"}`)
	p.labState("the lab", is("predict"))
	conn, _, err := s.shell(s.options.Token, "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var m map[string]any
	if err := conn.ReadJSON(&m); err != nil || m["code"] != "terminal_off" || m["fix"] == "" {
		t.Errorf("%v %v", m, err)
	}
	p.send(`{"type":"act","ref":2,"lab":"one","action":"look"}`)
	if e := p.message("error"); e["code"] != "terminal_off" {
		t.Errorf("%v", e)
	}
}
