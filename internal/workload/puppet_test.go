package workload

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
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
		`{"op":"frobnicate"}`:                      `unknown_op: unknown op "frobnicate"; the puppet knows epoll_create, make, add, ctl, ready, drain, write, read, wait, close, close_range, dup, dup_add, fork, reap, cycle`,
		`{"op":"close"}`:                           `bad_action: op close needs field "fd"`,
		`{"op":"close","fd":5,"epfd":3}`:           `bad_action: op close has no field "epfd"; it takes fd`,
		`{"op":"close","fdd":5}`:                   `bad_action: the action does not fit: json: unknown field "fdd"`,
		`{"op":"make","what":"socket"}`:            `bad_action: cannot make "socket"; known are eventfd, file, pipe, tcp, timerfd, udp, unix`,
		`{"op":"make","what":"eventfd","n":10001}`: `bad_action: n is 10001, want 1 to 10000`,
		`{"op":"wait","epfd":3,"thread":17}`:       `bad_action: thread is 17, want 1 to 16`,
		`{"op":"close","fd":1}`:                    `not_ours: fd 1 is the puppet's line to the server; use an fd that the puppet made, 3 or above`,
		`{"op":"write","fd":2}`:                    `not_ours: fd 2 is the puppet's line to the server; use an fd that the puppet made, 3 or above`,
		`{"op":"write","fd":4,"n":65}`:             `bad_action: n is 65, want 1 to 64`,
		`{"op":"read","fd":4,"n":0}`:               `bad_action: n is 0, want 1 to 4096`,
		`{"op":"dup_add","fd":4,"n":2}`:            `bad_action: op dup_add needs field "epfd"`,
		`{"op":"dup_add","epfd":3,"fd":0}`:         `not_ours: fd 0 is the puppet's line to the server; use an fd that the puppet made, 3 or above`,
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

// TestDupAdd: the keys are the same file under rising fds, so the tree's order,
// which fdinfo lists, is that of the fds.
func TestDupAdd(t *testing.T) {
	p := start(t, "puppet")
	act(t, p, `{"op":"epoll_create"}`)
	act(t, p, `{"op":"make","what":"eventfd"}`)
	r, lines := act(t, p, `{"op":"dup_add","epfd":3,"fd":4,"n":50}`)
	if len(r.FDs) != 50 || len(r.Seqs) != 100 || r.FDs[0] != 5 || !slices.IsSorted(r.FDs) || r.Stopped != nil {
		t.Fatalf("made %v with %d calls, stopped %v", r.FDs, len(r.Seqs), r.Stopped)
	}
	if want := "epoll_ctl(3, EPOLL_CTL_ADD, 5, {events=EPOLLIN, data={u32=5, u64=5}}) = 0"; lines[0] != "dup(4) = 5" || lines[1] != want {
		t.Errorf("told %q", lines[:2])
	}
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/3", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	var listed []int
	for _, m := range tfdRE.FindAllStringSubmatch(string(info), -1) {
		fd, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, fd)
	}
	if !slices.Equal(listed, r.FDs) {
		t.Errorf("the tree has %v, want %v", listed, r.FDs)
	}
	act(t, p, `{"op":"ready","fd":4}`)
	if s := knows(t, p); len(s.Epolls[0].Ready) != 50 || len(s.Epolls[0].Items) != 50 {
		t.Errorf("state = %+v", s.Epolls)
	}
	r, _ = act(t, p, `{"op":"dup_add","epfd":4,"fd":4,"n":2}`) // not an instance
	if len(r.FDs) != 1 || r.Stopped == nil || r.Stopped.Message != "made 1 of 2 (dup), then epoll_ctl failed: EINVAL (Invalid argument)" {
		t.Errorf("result = %+v, stopped %v", r, r.Stopped)
	}
}

// TestUnreadData: what is left unread is reported again and again by a level,
// and only when more arrives by an edge.
func TestUnreadData(t *testing.T) {
	for _, what := range []string{"pipe", "unix", "tcp", "eventfd"} {
		t.Run(what, func(t *testing.T) {
			p := start(t, "puppet")
			act(t, p, `{"op":"epoll_create"}`)
			r, _ := act(t, p, `{"op":"add","epfd":3,"what":"`+what+`","events":["EPOLLIN","EPOLLET"]}`)
			do := func(format string) []string {
				_, lines := act(t, p, strings.ReplaceAll(format, "FD", strconv.Itoa(r.FDs[0])))
				return lines
			}
			wait := func(want string) {
				t.Helper()
				lines := do(`{"op":"wait","epfd":3,"timeout":0}`)
				if last := lines[len(lines)-1]; !strings.HasSuffix(last, want) {
					t.Errorf("told %q, want %q", last, want)
				}
				if s := knows(t, p); s.Surprises > 0 || !s.Epolls[0].ReadyKnown {
					t.Errorf("state = %+v", s)
				}
			}
			do(`{"op":"write","fd":FD,"n":3}`)
			wait("= 1")
			if what != "eventfd" {
				do(`{"op":"read","fd":FD,"n":1}`)
			}
			wait("= 0")
			if !readable(t, p, r.FDs[0]) {
				t.Error("nothing is left")
			}
			do(`{"op":"write","fd":FD}`)
			wait("= 1")
			lines := do(`{"op":"drain","fd":FD}`)
			if last := lines[len(lines)-1]; !strings.HasSuffix(last, "EAGAIN (Resource temporarily unavailable)") {
				t.Errorf("drain ends with %q", last)
			}
			if readable(t, p, r.FDs[0]) {
				t.Error("something is left")
			}
		})
	}
}

func readable(t *testing.T, p *Process, fd int) bool {
	t.Helper()
	for _, f := range knows(t, p).FDs {
		if f.FD == fd {
			return f.Readable
		}
	}
	t.Fatalf("fd %d is not known", fd)
	return false
}

// TestWritesOneByOne: a thread that sleeps returns once for each write.
func TestWritesOneByOne(t *testing.T) {
	p := start(t, "puppet")
	act(t, p, `{"op":"epoll_create"}`)
	act(t, p, `{"op":"add","epfd":3,"what":"pipe","events":["EPOLLIN","EPOLLET"]}`)
	for _, n := range []string{"1", "2", "3"} {
		act(t, p, `{"op":"wait","epfd":3,"thread":`+n+`}`)
	}
	act(t, p, `{"op":"write","fd":5,"n":3}`) // the write end
	if s := knows(t, p); len(s.Threads) != 0 || s.Surprises != 0 || !s.Epolls[0].ReadyKnown || len(s.Epolls[0].Ready) != 0 {
		t.Errorf("state = %+v", s)
	}
	_, err := try(t, p, `{"op":"write","fd":4,"n":62}`)
	var e *Error
	if !errors.As(err, &e) || e.Code != "not_possible" || e.Fix != "read or drain it first" {
		t.Errorf("62 more: %v", err)
	}
	_, err = try(t, p, `{"op":"make","what":"timerfd"}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = try(t, p, `{"op":"write","fd":6}`); !errors.As(err, &e) || e.Code != "not_possible" {
		t.Errorf("write to a timerfd: %v", err)
	}
}

// TestFork: an item lives as long as the file, which a child keeps open; the
// instance is shared.
func TestFork(t *testing.T) {
	p := start(t, "puppet")
	act(t, p, `{"op":"epoll_create"}`)
	act(t, p, `{"op":"add","epfd":3,"what":"pipe","n":2}`) // 4 5, 6 7
	r, lines := act(t, p, `{"op":"fork"}`)
	child := knows(t, p).Child
	if want := fmt.Sprintf("clone(child_stack=NULL, flags=CLONE_VM|CLONE_VFORK|SIGCHLD) = %d", child); len(lines) != 1 || lines[0] != want || len(r.Seqs) != 1 {
		t.Fatalf("told %q, want %q", lines, want)
	}
	if ours, its := openFDs(t, p.PID()), openFDs(t, child); !maps.Equal(ours, its) || len(its) != 5 {
		t.Fatalf("the child has %v, the puppet %v", its, ours)
	}
	eventually(t, "the child has its name", func() bool {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child))
		return err == nil && string(comm) == "puppet-child\n"
	})
	if _, err := try(t, p, `{"op":"fork"}`); err == nil || err.(*Error).Code != "not_possible" {
		t.Errorf("a second child: %v", err)
	}
	act(t, p, `{"op":"close","fd":4}`)
	_, lines = act(t, p, `{"op":"ctl","epfd":3,"ctl":"del","fd":4}`)
	if !strings.HasSuffix(lines[0], "EBADF (Bad file descriptor)") {
		t.Errorf("told %q", lines)
	}
	act(t, p, `{"op":"write","fd":5}`)
	_, lines = act(t, p, `{"op":"wait","epfd":3,"timeout":0}`)
	if want := "epoll_wait(3, [{events=EPOLLIN, data={u32=4, u64=4}}], 8, 0) = 1"; lines[1] != want {
		t.Errorf("told %q, want %q", lines, want)
	}
	act(t, p, `{"op":"close","fd":7}`) // the child has the write end still: no EPOLLHUP
	if readable(t, p, 6) {
		t.Error("the pipe is hung up, and the child has its write end")
	}
	_, lines = act(t, p, `{"op":"reap"}`)
	want := []string{fmt.Sprintf("kill(%d, SIGKILL) = 0", child), fmt.Sprintf("wait4(%d, [{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}], 0, NULL) = %d", child, child)}
	if !slices.Equal(lines, want) {
		t.Errorf("told %q, want %q", lines, want)
	}
	_, lines = act(t, p, `{"op":"wait","epfd":3,"timeout":0}`)
	if want := "epoll_wait(3, [{events=EPOLLHUP, data={u32=6, u64=6}}], 8, 0) = 1"; lines[1] != want {
		t.Errorf("told %q, want %q", lines, want)
	}
	if s := knows(t, p); s.Child != 0 || s.Surprises != 0 || !slices.Equal(s.Epolls[0].Items, []int{6}) || !s.Epolls[0].ReadyKnown {
		t.Errorf("state = %+v", s)
	}
	if _, err := try(t, p, `{"op":"reap"}`); err == nil || err.(*Error).Code != "not_possible" {
		t.Errorf("nothing to reap: %v", err)
	}
}

// TestChildDies with the puppet.
func TestChildDies(t *testing.T) {
	p := start(t, "puppet")
	act(t, p, `{"op":"epoll_create"}`)
	act(t, p, `{"op":"fork"}`)
	child := knows(t, p).Child
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child is gone", func() bool {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
		return err != nil || len(cmdline) == 0 // a zombie has none
	})
}

func TestCloseRange(t *testing.T) {
	p := start(t, "puppet")
	act(t, p, `{"op":"epoll_create"}`)
	act(t, p, `{"op":"add","epfd":3,"what":"tcp","n":3}`)
	act(t, p, `{"op":"dup_add","epfd":3,"fd":6,"n":2}`) // one of them survives
	fds := knows(t, p).FDs
	last := fds[len(fds)-2].FD
	from := p.log.end()
	act(t, p, fmt.Sprintf(`{"op":"close_range","first":4,"last":%d}`, last))
	calls, _, _, _ := p.log.Read(from, 1)
	if calls[0].Text != fmt.Sprintf("close_range(4, %d, 0)", last) || calls[0].Result != "= 0" || calls[0].Note != "dup_survives" {
		t.Errorf("told %+v", calls[0])
	}
	s := knows(t, p)
	if len(s.FDs) != 2 || len(openFDs(t, p.PID())) != 2 || len(s.Epolls[0].Items) != 3 {
		t.Errorf("state = %+v", s)
	}
	if n := len(kernelItems(t, p.PID(), 3)); n != 3 {
		t.Errorf("the kernel has %d items", n)
	}
}
