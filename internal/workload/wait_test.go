package workload

import (
	"slices"
	"testing"
	"time"
)

// eventually polls a condition with a deadline.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10s: %s", what)
		}
	}
}

func knows(t *testing.T, p *Process) State {
	t.Helper()
	s, err := p.Knows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWaitSleepsAndReturns(t *testing.T) {
	p := start(t, "puppet")
	act(t, p, `{"op":"epoll_create"}`)
	act(t, p, `{"op":"add","epfd":3,"what":"eventfd"}`)
	from := p.log.end()
	r, lines := act(t, p, `{"op":"wait","epfd":3,"maxevents":8,"timeout":-1,"thread":3}`)
	if want := []string{"epoll_wait(3,  <unfinished ...>"}; !slices.Equal(lines, want) {
		t.Fatalf("a wait that sleeps is told as %q, want %q", lines, want)
	}
	s := knows(t, p)
	if len(s.Threads) != 1 || s.Threads[0].Thread != 3 || s.Threads[0].Waiting != 3 || s.Threads[0].TID == p.PID() {
		t.Errorf("threads = %+v", s.Threads)
	}
	if _, err := try(t, p, `{"op":"wait","epfd":3,"thread":3}`); err == nil || err.(*Error).Code != "thread_busy" {
		t.Errorf("a second wait in the same thread: %v", err)
	}
	act(t, p, `{"op":"ready","fd":4}`)
	calls, _, _, _ := p.log.Read(from, logSize)
	last := calls[len(calls)-1]
	if last.Seq != r.Seqs[0] || last.Pending || last.Thread != 3 || last.TID != s.Threads[0].TID ||
		last.Text != "epoll_wait(3, [{events=EPOLLIN, data={u32=4, u64=4}}], 8, -1)" || last.Result != "= 1" {
		t.Errorf("the wait that was woken is told as %+v", last)
	}
	s = knows(t, p)
	if len(s.Threads) != 0 || !slices.Equal(s.Epolls[0].Ready, []int{4}) || !s.Epolls[0].ReadyKnown {
		t.Errorf("level-triggered item after the wait: %+v", s)
	}
}

// TestLevelTriggeredWakesAll: a level-triggered item goes back on the list, so
// each thread that returns wakes the next.
func TestLevelTriggeredWakesAll(t *testing.T) {
	for _, c := range []struct {
		events  string
		returns int
	}{
		{`["EPOLLIN"]`, 3},
		{`["EPOLLIN","EPOLLET"]`, 1},
		{`["EPOLLIN","EPOLLONESHOT"]`, 1},
	} {
		p := start(t, "puppet")
		act(t, p, `{"op":"epoll_create"}`)
		act(t, p, `{"op":"add","epfd":3,"what":"eventfd","events":`+c.events+`}`)
		for _, n := range []string{"1", "2", "3"} {
			act(t, p, `{"op":"wait","epfd":3,"thread":`+n+`}`)
		}
		act(t, p, `{"op":"ready","fd":4}`)
		s := knows(t, p)
		if got := 3 - len(s.Threads); got != c.returns || !s.Epolls[0].ReadyKnown {
			t.Errorf("%s: %d threads returned, want %d (%+v)", c.events, got, c.returns, s.Epolls)
		}
	}
}

func TestCloseWhileWaiting(t *testing.T) {
	p := start(t, "puppet")
	act(t, p, `{"op":"epoll_create"}`)
	act(t, p, `{"op":"add","epfd":3,"what":"eventfd"}`)
	act(t, p, `{"op":"wait","epfd":3}`)
	from := p.log.end()
	act(t, p, `{"op":"close","fd":3}`)
	calls, _, _, _ := p.log.Read(from, 10)
	if len(calls) != 1 || calls[0].Note != "epoll_in_use" || calls[0].Result != "= 0" {
		t.Fatalf("close told as %+v", calls)
	}
	if s := knows(t, p); len(s.Epolls) != 0 || len(s.Threads) != 1 {
		t.Errorf("state = %+v", s)
	}
	// The instance lives as long as the thread is in it.
	act(t, p, `{"op":"ready","fd":4}`)
	if s := knows(t, p); len(s.Threads) != 0 {
		t.Errorf("the thread has not returned: %+v", s)
	}
	r, _ := act(t, p, `{"op":"epoll_create"}`)
	if r.FDs[0] != 3 {
		t.Errorf("new instance is %v", r.FDs)
	}
}

func TestNotes(t *testing.T) {
	p := start(t, "puppet")
	act(t, p, `{"op":"epoll_create"}`)
	act(t, p, `{"op":"add","epfd":3,"what":"eventfd","n":2}`) // 4, 5
	for _, c := range []struct{ action, note string }{
		{`{"op":"ctl","epfd":3,"ctl":"add","fd":4,"events":["EPOLLIN"]}`, "eexist"},
		{`{"op":"ctl","epfd":3,"ctl":"del","fd":3}`, "einval"},
		{`{"op":"ctl","epfd":3,"ctl":"mod","fd":77}`, "ebadf"},
		{`{"op":"dup","fd":4}`, ""}, // 6
		{`{"op":"close","fd":4}`, "dup_survives"},
		{`{"op":"ctl","epfd":3,"ctl":"del","fd":4}`, "ebadf"},
		{`{"op":"close","fd":6}`, "close_removes"},
		{`{"op":"ready","fd":5}`, ""},
		{`{"op":"ctl","epfd":3,"ctl":"del","fd":5}`, ""},
		{`{"op":"ctl","epfd":3,"ctl":"del","fd":5}`, "enoent"},
		{`{"op":"ctl","epfd":3,"ctl":"add","fd":5,"events":["EPOLLIN","EPOLLONESHOT"]}`, "add_ready"},
		{`{"op":"wait","epfd":3,"timeout":0}`, "oneshot_off"},
		{`{"op":"wait","epfd":3,"timeout":0}`, "timeout"},
		{`{"op":"cycle"}`, "eloop"},
		{`{"op":"close","fd":5}`, "close_removes"},
		{`{"op":"close","fd":5}`, "ebadf"},
	} {
		from := p.log.end()
		act(t, p, c.action)
		calls, _, _, _ := p.log.Read(from, 100)
		if got := calls[len(calls)-1]; got.Note != c.note {
			t.Errorf("%s: %s %s has note %q, want %q", c.action, got.Text, got.Result, got.Note, c.note)
		}
	}
	s := knows(t, p)
	if len(s.Epolls) != 3 || len(s.Epolls[0].Items) != 0 {
		t.Errorf("state = %+v", s)
	}
}

// TestDupSurvives: after the classic surprise the item is still reported,
// under an fd that is closed.
func TestDupSurvives(t *testing.T) {
	p := start(t, "puppet")
	act(t, p, `{"op":"epoll_create"}`)
	act(t, p, `{"op":"add","epfd":3,"what":"eventfd"}`)
	act(t, p, `{"op":"dup","fd":4}`)
	act(t, p, `{"op":"close","fd":4}`)
	act(t, p, `{"op":"ready","fd":5}`)
	_, lines := act(t, p, `{"op":"wait","epfd":3,"timeout":0}`)
	if want := "epoll_wait(3, [{events=EPOLLIN, data={u32=4, u64=4}}], 8, 0) = 1"; lines[len(lines)-1] != want {
		t.Errorf("told %q, want %q", lines, want)
	}
	s := knows(t, p)
	if !slices.Equal(s.Epolls[0].Items, []int{4}) || !slices.Equal(s.Epolls[0].Ready, []int{4}) || len(s.FDs) != 2 {
		t.Errorf("state = %+v", s)
	}
}
