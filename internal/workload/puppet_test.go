package workload

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"kernelviz/internal/workload/control"
)

func jsonDecode(data []byte, v any) error { return control.Decode(data, v) }

// openFDs lists what a process has open beyond the standard streams.
func openFDs(t *testing.T, pid int) map[string]string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	open := map[string]string{}
	for _, e := range entries {
		if e.Name() > "2" || len(e.Name()) > 1 {
			open[e.Name()], _ = os.Readlink(dir + "/" + e.Name())
		}
	}
	return open
}

func TestFreshPuppetHasNothingOpen(t *testing.T) {
	p := start(t, "puppet")
	if _, err := p.Knows(t.Context()); err != nil { // it is up
		t.Fatal(err)
	}
	if open := openFDs(t, p.PID()); len(open) != 0 {
		t.Fatalf("a fresh puppet has open: %v", open)
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID()))
	if err != nil || string(comm) != "puppet\n" {
		t.Errorf("it is called %q, %v", comm, err)
	}
	r, _ := act(t, p, `{"op":"epoll_create"}`)
	if !slices.Equal(r.FDs, []int{3}) {
		t.Errorf("first instance is %v, want fd 3", r.FDs)
	}
	// Busy with threads, waits and errors, and nothing of the runtime's shows.
	act(t, p, `{"op":"add","epfd":3,"what":"eventfd","n":300}`)
	act(t, p, `{"op":"wait","epfd":3,"timeout":1,"thread":2}`)
	act(t, p, `{"op":"wait","epfd":3,"timeout":0,"thread":16}`)
	try(t, p, `{"op":"nonsense"}`)
	epolls := 0
	for _, what := range openFDs(t, p.PID()) {
		if what == "anon_inode:[eventpoll]" {
			epolls++
		}
	}
	if epolls != 1 {
		t.Errorf("%d epoll instances, want the one that was asked for", epolls)
	}
}

func TestPuppetRefuses(t *testing.T) {
	p := start(t, "puppet")
	for action, want := range map[string]string{
		`{"op":"frobnicate"}`:                      `unknown_op: unknown op "frobnicate"; the puppet knows epoll_create, make, add, ctl, ready, drain, wait, close, dup, cycle`,
		`{"op":"close"}`:                           `bad_action: op close needs field "fd"`,
		`{"op":"close","fd":5,"epfd":3}`:           `bad_action: op close has no field "epfd"; it takes fd`,
		`{"op":"close","fdd":5}`:                   `bad_action: the action does not fit: json: unknown field "fdd"`,
		`{"op":"make","what":"socket"}`:            `bad_action: cannot make "socket"; known are eventfd, file, pipe, tcp, timerfd, udp, unix`,
		`{"op":"make","what":"eventfd","n":10001}`: `bad_action: n is 10001, want 1 to 10000`,
		`{"op":"wait","epfd":3,"thread":17}`:       `bad_action: thread is 17, want 1 to 16`,
		`{"op":"close","fd":1}`:                    `not_ours: fd 1 is the puppet's line to the server; use an fd that the puppet made, 3 or above`,
		`[]`:                                       `bad_action: the action is not a JSON object: json: cannot unmarshal array into Go value of type map[string]json.RawMessage`,
		`{"op":"ctl","epfd":3,"ctl":"rm","fd":4}`:  `bad_action: unknown ctl "rm"; known are add, mod, del`,
	} {
		_, err := try(t, p, action)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v, want a refusal", action, err)
			continue
		}
		if got := e.Code + ": " + e.Error(); got != want {
			t.Errorf("%s:\n got %s\nwant %s", action, got, want)
		}
	}
	if _, err := p.Do(t.Context(), json.RawMessage(`{"op":"`+strings.Repeat("x", 70_000)+`"}`)); err == nil {
		t.Error("an action of 70,000 bytes was taken")
	}
	act(t, p, `{"op":"epoll_create"}`) // and it lives
}
