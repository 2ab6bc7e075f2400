package workload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kernelviz/internal/workload/control"
	"kernelviz/internal/workload/ring"

	"golang.org/x/sys/unix"
)

// rings is a ring puppet with what tests ask of it.
type rings struct {
	t *testing.T
	p *Process
}

func startRings(t *testing.T) rings {
	t.Helper()
	return rings{t, start(t, "ring")}
}

func (r rings) try(action string, args ...any) (ring.Result, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	answer, err := r.p.Do(ctx, fmt.Appendf(nil, action, args...))
	if err != nil {
		return ring.Result{}, err
	}
	var res ring.Result
	if err := control.Decode(answer, &res); err != nil {
		r.t.Fatal(err)
	}
	return res, nil
}

// do is an action that must do all it was asked for.
func (r rings) do(action string, args ...any) ring.Result {
	r.t.Helper()
	res := r.some(action, args...)
	if res.Stopped != nil {
		r.t.Fatalf("%s: stopped: %v", fmt.Sprintf(action, args...), res.Stopped)
	}
	return res
}

// some is an action that may stop early.
func (r rings) some(action string, args ...any) ring.Result {
	r.t.Helper()
	res, err := r.try(action, args...)
	if err != nil {
		r.t.Fatalf("%s: %v", fmt.Sprintf(action, args...), err)
	}
	return res
}

// setup makes a ring; where the kernel is too old for its flags the test ends.
func (r rings) setup(action string) int {
	r.t.Helper()
	res := r.some("%s", action)
	if res.Stopped != nil && res.Stopped.Code == "einval" && strings.Contains(res.Stopped.Message, "does not know") {
		r.t.Skip("host only: " + res.Stopped.Message)
	}
	if res.Stopped != nil || len(res.FDs) != 1 {
		r.t.Fatalf("%s: %+v", action, res)
	}
	return res.FDs[0]
}

func (r rings) state() ring.State {
	r.t.Helper()
	answer, err := r.p.State(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	var s ring.State
	if err := control.Decode(answer, &s); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// reap reaps until n completions have come.
func (r rings) reap(fd, n int) []ring.Completion {
	r.t.Helper()
	var all []ring.Completion
	for deadline := time.Now().Add(10 * time.Second); len(all) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d of %d completions after 10 s: %+v, state %+v", len(all), n, all, r.state())
		}
		all = append(all, r.do(`{"op":"reap","ring":%d}`, fd).CQEs...)
	}
	if len(all) != n {
		r.t.Fatalf("%d completions, not %d: %+v", len(all), n, all)
	}
	return all
}

// calm asserts that nothing differed from what was foretold, and that nothing is
// left in the rings.
func (r rings) calm() {
	r.t.Helper()
	s := r.state()
	if s.Surprises != 0 {
		r.t.Errorf("%d surprises: %+v", s.Surprises, s)
	}
	for _, g := range s.Rings {
		if len(g.Queued)+len(g.InFlight) > 0 || g.Lost > 0 {
			r.t.Errorf("left: %+v", g)
		}
	}
}

// told are the calls since a place in the log.
func (r rings) told(from uint64) []Call {
	calls, _, _, _ := r.p.log.Read(from, logSize)
	return calls
}

func (r rings) last() Call { return r.told(r.p.log.end() - 1)[0] }

func errno(e unix.Errno) int32 { return -int32(e) }

// layouts are rings of every layout that the puppet can make.
var layouts = map[string]string{
	"default":       `{"op":"setup"}`,
	"large CQ":      `{"op":"setup","entries":8,"cq_entries":64}`,
	"SQPOLL":        `{"op":"setup","flags":["SQPOLL"],"idle":20}`,
	"NO_SQARRAY":    `{"op":"setup","flags":["NO_SQARRAY"]}`,
	"wide":          `{"op":"setup","flags":["SQE128","CQE32"]}`,
	"SINGLE_ISSUER": `{"op":"setup","flags":["IORING_SETUP_SINGLE_ISSUER"]}`,
	"DEFER_TASKRUN": `{"op":"setup","flags":["SINGLE_ISSUER","DEFER_TASKRUN"],"thread":3}`,
	"COOP_TASKRUN":  `{"op":"setup","flags":["COOP_TASKRUN","TASKRUN_FLAG"]}`,
	"NO_MMAP":       `{"op":"setup","flags":["NO_MMAP"]}`,
}

func TestRingLayouts(t *testing.T) {
	for name, action := range layouts {
		t.Run(name, func(t *testing.T) {
			r := startRings(t)
			fd := r.setup(action)
			if fd != 3 {
				t.Fatalf("the first ring is fd %d", fd)
			}
			for round := range 5 { // the queues wrap
				r.do(`{"op":"queue","ring":3,"what":"nop","n":5}`)
				r.do(`{"op":"submit","ring":3}`)
				for i, c := range r.reap(3, 5) {
					if want := (ring.Completion{UserData: uint64(round*5 + i + 1)}); c != want {
						t.Errorf("completion %+v, want %+v", c, want)
					}
				}
			}
			r.calm()
			g := r.state().Rings[0]
			if g.SQTail != 25 || g.CQHead != 25 || g.Reaped != 25 || g.SQEntries != 8 || g.FD != 3 {
				t.Errorf("%+v", g)
			}
			r.do(`{"op":"close","fd":3}`)
			if s := r.state(); len(s.Rings) != 0 || s.Surprises != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestRingAlone: the puppet has no ring and no epoll instance of its own.
func TestRingAlone(t *testing.T) {
	r := startRings(t)
	r.state() // it is up
	if open := openFDs(t, r.p.PID()); len(open) != 0 {
		t.Fatalf("a fresh ring puppet has open: %v", open)
	}
	r.setup(`{"op":"setup"}`)
	r.some(`{"op":"setup","flags":["DEFER_TASKRUN"]}`) // refused
	r.do(`{"op":"queue","ring":3,"what":"timeout","ms":5}`)
	r.do(`{"op":"submit","ring":3,"wait":1,"thread":2}`)
	r.reap(3, 1)
	r.do(`{"op":"spin","ring":3,"seconds":0.05}`)
	open := openFDs(t, r.p.PID())
	if len(open) != 1 || open["3"] != "anon_inode:[io_uring]" {
		t.Errorf("open: %v", open)
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", r.p.PID()))
	if err != nil || string(comm) != "ring\n" {
		t.Errorf("it is called %q, %v", comm, err)
	}
	r.calm()
}

// TestRingFiles moves data through every kind of file.
func TestRingFiles(t *testing.T) {
	r := startRings(t)
	r.setup(`{"op":"setup"}`)
	for _, c := range []struct {
		what, read string
		res        int32
	}{
		{"eventfd", "read", 8}, {"pipe", "read", 1}, {"unix", "recv", 1}, {"tcp", "recv", 1}, {"unix", "read", 1},
	} {
		fd := r.do(`{"op":"make","what":%q}`, c.what).FDs[0]
		data := r.state().Rings[0].Reaped + 1
		r.do(`{"op":"queue","ring":3,"what":%q,"fd":%d}`, c.read, fd)
		r.do(`{"op":"submit","ring":3}`)
		if s := r.state(); len(s.Rings[0].InFlight) != 1 || s.Rings[0].InFlight[0] != (ring.Request{UserData: uint64(data), What: c.read, FD: fd}) {
			t.Errorf("%s: in flight: %+v", c.what, s.Rings[0].InFlight)
		}
		if _, err := r.try(`{"op":"read","fd":%d}`, fd); code(err) != "in_flight" {
			t.Errorf("%s: read while a request reads: %v", c.what, err)
		}
		r.do(`{"op":"ready","fd":%d}`, fd)
		if got := r.reap(3, 1)[0]; got.Res != c.res {
			t.Errorf("%s: %+v", c.what, got)
		}
		r.do(`{"op":"write","fd":%d,"n":3}`, fd)
		if !canRead(r.state(), fd) {
			t.Errorf("%s is not readable", c.what)
		}
		r.do(`{"op":"drain","fd":%d}`, fd)
		if canRead(r.state(), fd) {
			t.Errorf("%s is readable", c.what)
		}
	}
	r.calm()
}

func canRead(s ring.State, fd int) bool {
	return slices.ContainsFunc(s.FDs, func(f ring.FD) bool { return f.FD == fd && f.Readable })
}

func code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestRingReadsFile(t *testing.T) {
	r := startRings(t)
	r.setup(`{"op":"setup"}`)
	fd := r.do(`{"op":"make","what":"file"}`).FDs[0]
	r.do(`{"op":"queue","ring":3,"what":"read","fd":%d,"n":3,"len":4096}`, fd)
	if text := r.last().Text; !strings.Contains(text, "off=8192, addr=0x") || !strings.HasSuffix(text, "len=4096, user_data=3}; sq.tail = 3") {
		t.Errorf("told %s", text)
	}
	r.do(`{"op":"queue","ring":3,"what":"write","fd":%d,"len":100,"async":true}`, fd)
	r.do(`{"op":"submit","ring":3}`)
	for _, c := range r.reap(3, 4) {
		if want := map[bool]int32{true: 4096, false: 100}[c.UserData < 4]; c.Res != want {
			t.Errorf("%+v, want %d bytes", c, want)
		}
	}
	r.calm()
}

// TestRingLinks: the second waits for the first; an error breaks a link and not
// a hard link; a linked timeout ends what it is linked to.
func TestRingLinks(t *testing.T) {
	r := startRings(t)
	r.setup(`{"op":"setup"}`)
	r.do(`{"op":"make","what":"pipe","n":2}`)
	r.do(`{"op":"queue","ring":3,"what":"read","fd":4,"len":1,"link":true}`)
	r.do(`{"op":"queue","ring":3,"what":"write","fd":7,"len":5}`)
	r.do(`{"op":"submit","ring":3}`)
	if got := r.do(`{"op":"reap","ring":3}`).CQEs; len(got) != 0 {
		t.Fatalf("completed before the pipe was written: %+v", got)
	}
	r.do(`{"op":"ready","fd":4}`)
	wantCQEs(t, r.reap(3, 2), map[uint64]int32{1: 1, 2: 5})
	// A read that is short breaks it too.
	r.do(`{"op":"write","fd":4,"n":2}`)
	r.do(`{"op":"queue","ring":3,"what":"read","fd":4,"len":3,"link":true,"user_data":5}`)
	r.do(`{"op":"queue","ring":3,"what":"nop","user_data":6}`)
	r.do(`{"op":"submit","ring":3}`)
	wantCQEs(t, r.reap(3, 2), map[uint64]int32{5: 2, 6: errno(unix.ECANCELED)})

	for _, link := range []string{"link", "hardlink"} {
		r.do(`{"op":"queue","ring":3,"what":"read","fd":99,"user_data":10,%q:true}`, link)
		r.do(`{"op":"queue","ring":3,"what":"nop","user_data":11}`)
		r.do(`{"op":"submit","ring":3}`)
		second := int32(0)
		if link == "link" {
			second = errno(unix.ECANCELED)
		}
		wantCQEs(t, r.reap(3, 2), map[uint64]int32{10: errno(unix.EBADF), 11: second})
	}

	r.do(`{"op":"queue","ring":3,"what":"read","fd":4,"link":true,"user_data":20}`)
	r.do(`{"op":"queue","ring":3,"what":"link_timeout","ms":20,"user_data":21}`)
	r.do(`{"op":"submit","ring":3}`)
	wantCQEs(t, r.reap(3, 2), map[uint64]int32{20: errno(unix.ECANCELED), 21: errno(unix.ETIME)})

	// What is skipped leaves with what is linked behind it.
	r.do(`{"op":"queue","ring":3,"what":"write","fd":5,"len":3,"link":true,"skip":true,"user_data":30}`)
	r.do(`{"op":"queue","ring":3,"what":"read","fd":4,"user_data":31}`)
	r.do(`{"op":"queue","ring":3,"what":"nop","skip":true,"user_data":32}`)
	r.do(`{"op":"submit","ring":3}`)
	wantCQEs(t, r.reap(3, 1), map[uint64]int32{31: 3})
	r.do(`{"op":"queue","ring":3,"what":"write","fd":5,"len":64,"link":true,"user_data":35}`)
	r.do(`{"op":"queue","ring":3,"what":"nop","skip":true,"user_data":36}`)
	r.do(`{"op":"submit","ring":3}`)
	wantCQEs(t, r.reap(3, 1), map[uint64]int32{35: 64})
	// One that fails tells so, and silences what is linked behind it.
	r.do(`{"op":"queue","ring":3,"what":"read","fd":99,"link":true,"skip":true,"user_data":40}`)
	r.do(`{"op":"queue","ring":3,"what":"nop","user_data":41}`)
	r.do(`{"op":"submit","ring":3}`)
	wantCQEs(t, r.reap(3, 1), map[uint64]int32{40: errno(unix.EBADF)})
	r.calm()
}

func wantCQEs(t *testing.T, got []ring.Completion, want map[uint64]int32) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("completions %+v, want %v", got, want)
	}
	for _, c := range got {
		if res, ok := want[c.UserData]; !ok || res != c.Res {
			t.Errorf("completion %+v, want %v", c, want)
		}
	}
}

func TestRingTimeoutAndCancel(t *testing.T) {
	r := startRings(t)
	r.setup(`{"op":"setup"}`)
	r.do(`{"op":"make","what":"pipe"}`)
	r.do(`{"op":"queue","ring":3,"what":"timeout","ms":10}`)
	r.do(`{"op":"queue","ring":3,"what":"timeout","ms":600000}`)
	r.do(`{"op":"queue","ring":3,"what":"poll","fd":4}`)
	r.do(`{"op":"submit","ring":3}`)
	wantCQEs(t, r.reap(3, 1), map[uint64]int32{1: errno(unix.ETIME)})
	for i, target := range []int{2, 3, 77} {
		r.do(`{"op":"queue","ring":3,"what":"cancel","target":%d,"user_data":%d}`, target, 100+i)
	}
	r.do(`{"op":"submit","ring":3}`)
	wantCQEs(t, r.reap(3, 5), map[uint64]int32{
		2: errno(unix.ECANCELED), 3: errno(unix.ECANCELED), 100: 0, 101: 0, 102: errno(unix.ENOENT),
	})
	r.calm()
}

func TestRingMultishot(t *testing.T) {
	r := startRings(t)
	r.setup(`{"op":"setup"}`)
	listener := r.do(`{"op":"make","what":"listener"}`).FDs[0]
	r.do(`{"op":"queue","ring":3,"what":"accept_multi","fd":%d}`, listener)
	r.do(`{"op":"submit","ring":3}`)
	clients := r.do(`{"op":"connect","fd":%d,"n":3}`, listener).FDs
	for i, c := range r.reap(3, 3) {
		if c.UserData != 1 || c.Res <= 0 || c.Flags&2 == 0 {
			t.Errorf("accept %d: %+v", i, c)
		}
		s := r.state()
		at := slices.IndexFunc(s.FDs, func(f ring.FD) bool { return f.FD == int(c.Res) })
		if at < 0 || s.FDs[at].Peer != clients[i] || s.FDs[at].Kind != "tcp" {
			t.Errorf("accepted %d of %+v", c.Res, s.FDs)
		}
	}

	server := r.state().FDs[len(r.state().FDs)-1]
	r.do(`{"op":"register","ring":3,"what":"buf_ring","n":2}`)
	r.do(`{"op":"queue","ring":3,"what":"recv_multi","fd":%d}`, server.FD)
	r.do(`{"op":"submit","ring":3}`)
	for round := range 5 { // more than there are buffers: they are put back
		r.do(`{"op":"write","fd":%d,"n":1}`, server.FD)
		c := r.reap(3, 1)[0]
		if c.Res != 1 || c.Flags&3 != 3 || int(c.Flags>>16) != round%2 {
			t.Errorf("receive %d: %+v", round, c)
		}
		if text := r.last().Text; !strings.HasPrefix(text, "buf_ring.bufs[") || !strings.HasSuffix(text, fmt.Sprintf("buf_ring.tail = %d", round+3)) {
			t.Errorf("told %s", text)
		}
	}
	// Without a buffer it ends.
	for range 3 {
		r.do(`{"op":"write","fd":%d}`, server.FD)
	}
	got := r.reap(3, 3)
	if got[2].Res != errno(unix.ENOBUFS) || got[2].Flags&2 != 0 {
		t.Errorf("without buffers: %+v", got)
	}
	r.do(`{"op":"drain","fd":%d}`, server.FD)

	r.do(`{"op":"queue","ring":3,"what":"poll_multi","fd":%d,"user_data":50}`, server.FD)
	r.do(`{"op":"submit","ring":3}`)
	for range 2 {
		r.do(`{"op":"ready","fd":%d}`, server.FD)
		if c := r.reap(3, 1)[0]; c.UserData != 50 || c.Res&unix.POLLIN == 0 || c.Flags&2 == 0 {
			t.Errorf("poll: %+v", c)
		}
		r.do(`{"op":"drain","fd":%d}`, server.FD)
	}
	s := r.state()
	if len(s.Rings[0].InFlight) != 2 || !s.Rings[0].InFlight[0].Multishot {
		t.Errorf("in flight %+v", s.Rings[0].InFlight)
	}
	for _, target := range []int{1, 50} {
		r.do(`{"op":"queue","ring":3,"what":"cancel","target":%d,"user_data":60}`, target)
	}
	r.do(`{"op":"submit","ring":3}`)
	r.reap(3, 4)
	r.do(`{"op":"unregister","ring":3,"what":"buf_ring"}`)
	r.calm()
}

func TestRingSendZeroCopyAndSplice(t *testing.T) {
	r := startRings(t)
	r.setup(`{"op":"setup"}`)
	r.do(`{"op":"make","what":"tcp"}`)
	tcp := r.state().FDs[0].FD
	r.do(`{"op":"queue","ring":3,"what":"send_zc","fd":%d,"len":32}`, tcp)
	r.do(`{"op":"submit","ring":3}`)
	r.do(`{"op":"drain","fd":%d}`, r.state().FDs[0].Peer) // the notification comes when the receiver has it
	got := r.reap(3, 2)
	if got[0].Res != 32 || got[0].Flags&2 == 0 || got[1].Flags&8 == 0 {
		t.Errorf("send_zc: %+v", got)
	}
	r.do(`{"op":"make","what":"pipe","n":2}`)
	pipes := slices.DeleteFunc(r.state().FDs, func(f ring.FD) bool { return f.Kind != "pipe" })
	r.do(`{"op":"write","fd":%d,"n":7}`, pipes[0].FD)
	r.do(`{"op":"queue","ring":3,"what":"splice","fd":%d,"to":%d}`, pipes[0].FD, pipes[3].FD)
	r.do(`{"op":"submit","ring":3}`)
	if c := r.reap(3, 1)[0]; c.Res != 7 {
		t.Errorf("splice: %+v", c)
	}
	s := r.state()
	if canRead(s, pipes[0].FD) || !canRead(s, pipes[2].FD) {
		t.Errorf("after splice: %+v", s.FDs)
	}
	r.calm()
}

func TestRingRegistered(t *testing.T) {
	r := startRings(t)
	r.setup(`{"op":"setup"}`)
	r.do(`{"op":"make","what":"file"}`)
	r.do(`{"op":"make","what":"pipe"}`)
	if _, err := r.try(`{"op":"queue","ring":3,"what":"read","fd":4,"buffer":0}`); code(err) != "no_buffer" {
		t.Errorf("no buffers yet: %v", err)
	}
	r.do(`{"op":"register","ring":3,"what":"files","n":5}`)
	if text := r.last().Text; text != "io_uring_register(3, IORING_REGISTER_FILES, [4, 5, 6, -1, -1], 5)" {
		t.Errorf("told %s", text)
	}
	r.do(`{"op":"register","ring":3,"what":"buffers","n":2}`)
	r.do(`{"op":"queue","ring":3,"what":"read","fd":0,"fixed":true,"buffer":1,"len":4096}`)
	if text := r.last().Text; !strings.Contains(text, "opcode=IORING_OP_READ_FIXED, flags=IOSQE_FIXED_FILE, fd=0") {
		t.Errorf("told %s", text)
	}
	r.do(`{"op":"queue","ring":3,"what":"write","fd":2,"fixed":true,"buffer":0,"len":10}`)
	r.do(`{"op":"queue","ring":3,"what":"read","fd":4,"fixed":true}`) // an empty slot
	r.do(`{"op":"submit","ring":3}`)
	wantCQEs(t, r.reap(3, 3), map[uint64]int32{1: 4096, 2: 10, 3: errno(unix.EBADF)})
	if !canRead(r.state(), 5) {
		t.Error("what was written to slot 2 is not readable at fd 5")
	}
	r.do(`{"op":"unregister","ring":3,"what":"files"}`)
	r.do(`{"op":"unregister","ring":3,"what":"buffers"}`)
	res := r.some(`{"op":"unregister","ring":3,"what":"files"}`)
	if res.Stopped == nil || res.Stopped.Code != "enxio" {
		t.Errorf("unregistered twice: %+v", res)
	}
	r.calm()
}

// TestRingOverflow: what the CQ has no room for is kept, and comes with a flush.
func TestRingOverflow(t *testing.T) {
	r := startRings(t)
	r.setup(`{"op":"setup","entries":4,"cq_entries":8}`)
	r.do(`{"op":"queue","ring":3,"what":"nop"}`)
	r.do(`{"op":"submit","ring":3}`)
	r.do(`{"op":"overflow","ring":3,"extra":5}`)
	g := r.state().Rings[0]
	if len(g.InFlight) != 13 || g.Lost != 0 {
		t.Fatalf("%+v", g)
	}
	if info := fdinfo(t, r.p.PID(), 3); !strings.Contains(info, "CqTail:\t8\n") || strings.Count(info, "user_data=") < 5 {
		t.Errorf("the kernel says:\n%s", info)
	}
	from := r.p.log.end()
	got := r.do(`{"op":"reap","ring":3,"n":8}`).CQEs
	if calls := r.told(from); len(got) != 8 || len(calls) != 1 || calls[0].Note != ring.NoteMemory {
		t.Errorf("8 that are in the queue: %+v, told %+v", got, calls)
	}
	r.do(`{"op":"flush","ring":3}`)
	if last := r.last(); last.Text != "io_uring_enter(3, 0, 0, IORING_ENTER_GETEVENTS, NULL, 8)" || last.Result != "= 0" {
		t.Errorf("told %+v", last)
	}
	got = append(got, r.reap(3, 5)...)
	for i, c := range got {
		if c.UserData != uint64(i+1) {
			t.Errorf("completion %d: %+v", i, c)
		}
	}
	r.do(`{"op":"overflow","ring":3,"extra":64}`) // and at one go
	if got := r.do(`{"op":"reap","ring":3}`).CQEs; len(got) != 72 {
		t.Errorf("%d completions, not 72", len(got))
	}
	r.calm()
}

func fdinfo(t *testing.T, pid, fd int) string {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd))
		if err != nil {
			t.Fatal(err)
		}
		// The kernel prints nothing of the ring while a worker holds its lock.
		if strings.Contains(string(b), "SqTail:") || time.Now().After(deadline) {
			return string(b)
		}
	}
}

// TestRingSQPoll: the thread takes what is queued while it is awake, sleeps, and
// is woken by submit.
func TestRingSQPoll(t *testing.T) {
	r := startRings(t)
	r.setup(`{"op":"setup","flags":["SQPOLL"],"idle":2000}`)
	r.do(`{"op":"queue","ring":3,"what":"nop","n":3}`)
	r.do(`{"op":"submit","ring":3}`)
	r.reap(3, 3)
	from := r.p.log.end()
	r.do(`{"op":"queue","ring":3,"what":"nop"}`)
	r.do(`{"op":"submit","ring":3}`)
	calls := r.told(from)
	if len(calls) != 2 || calls[1].Text != "sq.flags = 0" || calls[1].Note != ring.NoteMemory {
		t.Errorf("while it is awake: %+v", calls)
	}
	r.reap(3, 1)
	r.do(`{"op":"close","fd":3}`)

	r.setup(`{"op":"setup","flags":["SQPOLL"],"idle":1}`)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r.do(`{"op":"queue","ring":3,"what":"nop"}`)
		r.do(`{"op":"submit","ring":3}`)
		if last := r.last(); strings.HasPrefix(last.Text, "io_uring_enter(3, 1, 0, IORING_ENTER_SQ_WAKEUP, NULL, 8)") && last.Result == "= 1" {
			break
		}
		r.reap(3, 1)
		if time.Now().After(deadline) {
			t.Fatal("the thread never slept")
		}
	}
	r.reap(3, 1)
	r.do(`{"op":"wakeup","ring":3}`)
	if last := r.last(); last.Text != "io_uring_enter(3, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 8)" {
		t.Errorf("told %+v", last)
	}
	r.do(`{"op":"queue","ring":3,"what":"timeout","ms":1}`)
	r.do(`{"op":"submit","ring":3,"wait":1}`)
	r.reap(3, 1)
	r.calm()
}

// TestRingWait: a thread sleeps in the kernel until completions are there.
func TestRingWait(t *testing.T) {
	for _, setup := range []string{layouts["default"], layouts["SINGLE_ISSUER"], layouts["SQPOLL"], layouts["DEFER_TASKRUN"]} {
		t.Run(setup, func(t *testing.T) {
			r := startRings(t)
			r.setup(setup)
			r.do(`{"op":"make","what":"eventfd"}`)
			r.do(`{"op":"queue","ring":3,"what":"poll","fd":4}`)
			r.do(`{"op":"submit","ring":3,"wait":1}`)
			s := r.state()
			if len(s.Threads) != 1 || s.Threads[0].Waiting != 3 {
				t.Fatalf("threads %+v", s.Threads)
			}
			if len(s.Rings[0].Queued) != 0 && s.Rings[0].Flags[0] != "SQPOLL" || len(s.Rings[0].InFlight)+len(s.Rings[0].Queued) != 1 {
				t.Errorf("%+v", s.Rings[0])
			}
			if _, err := r.try(`{"op":"submit","ring":3,"wait":1,"thread":%d}`, s.Threads[0].Thread); code(err) != "thread_busy" {
				t.Errorf("a second wait: %v", err)
			}
			r.do(`{"op":"ready","fd":4}`)
			for deadline := time.Now().Add(10 * time.Second); r.state().Threads[0].Waiting != 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the thread does not return")
				}
			}
			if c := r.reap(3, 1)[0]; c.Res != unix.POLLIN {
				t.Errorf("%+v", c)
			}
			r.calm()
		})
	}
}

// TestRingCloseWhileWaiting: the ring is gone for the puppet, and the thread
// sleeps on until what it waits for comes.
func TestRingCloseWhileWaiting(t *testing.T) {
	r := startRings(t)
	r.setup(`{"op":"setup"}`)
	r.do(`{"op":"queue","ring":3,"what":"timeout","ms":300}`)
	r.do(`{"op":"submit","ring":3,"wait":1}`)
	from := r.p.log.end()
	r.do(`{"op":"close","fd":3}`)
	if calls := r.told(from); calls[0].Text != "close(3)" || calls[0].Note != ring.NoteRingInUse || !strings.HasPrefix(calls[1].Text, "munmap(0x") {
		t.Errorf("told %+v", calls)
	}
	r.setup(`{"op":"setup"}`) // the number is used again
	for deadline := time.Now().Add(10 * time.Second); r.state().Threads[0].Waiting != 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the thread does not return")
		}
	}
	r.do(`{"op":"queue","ring":3,"what":"nop"}`)
	r.do(`{"op":"submit","ring":3,"wait":1}`)
	r.reap(3, 1)
	r.calm()
}

// TestRingOfAnotherThread: a SINGLE_ISSUER ring refuses other threads.
func TestRingOfAnotherThread(t *testing.T) {
	r := startRings(t)
	r.setup(`{"op":"setup","flags":["SINGLE_ISSUER"],"thread":2}`)
	r.do(`{"op":"queue","ring":3,"what":"nop"}`)
	res := r.some(`{"op":"submit","ring":3,"thread":5}`)
	if res.Stopped == nil || res.Stopped.Code != "eexist" || r.last().Note != "eexist" || r.last().Thread != 5 {
		t.Errorf("%+v, told %+v", res, r.last())
	}
	if s := r.state(); len(s.Rings[0].Queued) != 1 || len(s.Rings[0].InFlight) != 0 {
		t.Errorf("%+v", s.Rings[0])
	}
	r.do(`{"op":"submit","ring":3}`)
	r.reap(3, 1)
	r.calm()
}

func TestRingBadIndex(t *testing.T) {
	r := startRings(t)
	r.setup(`{"op":"setup","entries":8}`)
	r.do(`{"op":"queue","ring":3,"what":"nop"}`)
	r.do(`{"op":"bad_index","ring":3}`)
	if last := r.last(); last.Text != "sq.array[1] = 8; sq.tail = 2" || last.Note != ring.NoteMemory {
		t.Errorf("told %+v", last)
	}
	r.do(`{"op":"queue","ring":3,"what":"nop"}`)
	if g := r.state().Rings[0]; len(g.Queued) != 3 || g.Queued[1].What != "bad_index" {
		t.Errorf("%+v", g)
	}
	r.do(`{"op":"submit","ring":3}`)
	if last := r.last(); last.Text != "io_uring_enter(3, 3, 0, 0, NULL, 8)" || last.Result != "= 1" {
		t.Errorf("told %+v", last)
	}
	if g := r.state().Rings[0]; len(g.Queued) != 1 || g.Dropped != 1 || len(g.InFlight) != 1 {
		t.Errorf("%+v", g)
	}
	r.do(`{"op":"submit","ring":3}`)
	r.reap(3, 2)
	r.calm()
}

func TestRingScribble(t *testing.T) {
	r := startRings(t)
	r.setup(`{"op":"setup","entries":8}`)
	r.do(`{"op":"queue","ring":3,"what":"nop"}`)
	r.do(`{"op":"scribble","ring":3,"what":"sq.tail"}`)
	if last := r.last(); last.Text != "sq.tail = 3735928559" {
		t.Errorf("told %+v", last)
	}
	if info := fdinfo(t, r.p.PID(), 3); !strings.Contains(info, "SqTail:\t3735928559\n") {
		t.Errorf("the kernel says:\n%s", info)
	}
	for _, action := range []string{
		`{"op":"submit","ring":3}`, `{"op":"queue","ring":3,"what":"nop"}`, `{"op":"bad_index","ring":3}`,
		`{"op":"overflow","ring":3}`, `{"op":"scribble","ring":3,"what":"sqe"}`, `{"op":"spin","ring":3}`,
	} {
		if _, err := r.try("%s", action); code(err) != "scribbled" {
			t.Errorf("%s: %v", action, err)
		}
	}
	r.do(`{"op":"mend","ring":3}`)
	r.do(`{"op":"submit","ring":3}`)

	r.do(`{"op":"scribble","ring":3,"what":"cq.head"}`)
	if _, err := r.try(`{"op":"reap","ring":3}`); code(err) != "scribbled" {
		t.Errorf("reap: %v", err)
	}
	if g := r.state().Rings[0]; g.CQHead != 0 || g.Scribbled != "cq.head" {
		t.Errorf("%+v", g)
	}
	r.do(`{"op":"queue","ring":3,"what":"nop"}`)
	r.do(`{"op":"submit","ring":3}`) // goes on the overflow list: the CQ looks full
	r.do(`{"op":"mend","ring":3}`)
	r.reap(3, 2)

	r.do(`{"op":"queue","ring":3,"what":"nop","n":2}`)
	r.do(`{"op":"scribble","ring":3,"what":"sqe"}`)
	r.do(`{"op":"submit","ring":3}`)
	wantCQEs(t, r.reap(3, 2), map[uint64]int32{3: 0, 4: errno(unix.EINVAL)})
	r.do(`{"op":"mend","ring":3}`)
	r.do(`{"op":"queue","ring":3,"what":"nop"}`)
	r.do(`{"op":"scribble","ring":3,"what":"sqe"}`)
	r.do(`{"op":"mend","ring":3}`)
	r.do(`{"op":"submit","ring":3}`)
	wantCQEs(t, r.reap(3, 1), map[uint64]int32{5: 0})
	r.calm()
}

// TestRingSurprises: the model can be wrong, and says so. A completion is told
// of that was foretold to be another.
func TestRingSurprises(t *testing.T) {
	r := startRings(t)
	r.setup(`{"op":"setup","entries":8}`)
	r.do(`{"op":"queue","ring":3,"what":"nop"}`)
	r.do(`{"op":"submit","ring":3}`)
	r.do(`{"op":"reap","ring":3}`)
	r.do(`{"op":"scribble","ring":3,"what":"cq.head"}`)
	r.do(`{"op":"mend","ring":3}`)
	if s := r.state(); s.Surprises != 0 {
		t.Fatalf("%+v", s)
	}
	// The counter goes back, so an old completion is read once more.
	mem := r.p.PID()
	if err := pokeCQHead(mem, 0); err != nil {
		t.Fatal(err)
	}
	r.do(`{"op":"reap","ring":3}`)
	if s := r.state(); s.Surprises != 1 {
		t.Errorf("%d surprises after a completion came twice", s.Surprises)
	}
}

// pokeCQHead writes cq.head of a process's only ring, as a debugger would.
func pokeCQHead(pid int, value byte) error {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return err
	}
	// The rings are the mapping of the fd at offset 0.
	m := regexp.MustCompile(`(?m)^([0-9a-f]+)-\S+ rw-s 00000000 .*anon_inode:\[io_uring\]`).FindSubmatch(maps)
	if m == nil {
		return fmt.Errorf("no ring in\n%s", maps)
	}
	var at int64
	if _, err := fmt.Sscanf(string(m[1]), "%x", &at); err != nil {
		return err
	}
	offset, err := cqHeadOffset()
	if err != nil {
		return err
	}
	local := []byte{value, 0, 0, 0}
	liov := []unix.Iovec{{Base: &local[0], Len: 4}}
	_, err = unix.ProcessVMWritev(pid, liov, []unix.RemoteIovec{{Base: uintptr(at) + uintptr(offset), Len: 4}}, 0)
	return err
}

func TestRingRefuses(t *testing.T) {
	r := startRings(t)
	r.setup(`{"op":"setup"}`)
	r.do(`{"op":"make","what":"file"}`)
	r.do(`{"op":"make","what":"pipe"}`)
	for action, want := range map[string]string{
		`{"op":"frobnicate"}`: `unknown_op: unknown op "frobnicate"; the ring puppet knows setup, make, queue, submit, reap, flush, ` +
			`overflow, wakeup, register, unregister, ready, write, read, drain, close, connect, bad_index, scribble, mend, spin`,
		`{"op":"queue","ring":3}`:                                               `bad_action: op queue needs field "what"`,
		`{"op":"queue","ring":3,"what":"fsync"}`:                                `bad_action: cannot queue "fsync"; known are nop, read, write, poll, poll_multi, timeout, accept, accept_multi, send, recv, recv_multi, cancel, link_timeout, splice, send_zc`,
		`{"op":"queue","ring":3,"what":"read"}`:                                 `bad_action: queue read needs field "fd"`,
		`{"op":"queue","ring":3,"what":"nop","fd":4}`:                           `bad_action: queue nop has no use for field "fd"`,
		`{"op":"queue","ring":3,"what":"timeout"}`:                              `bad_action: queue timeout needs field "ms"`,
		`{"op":"queue","ring":3,"what":"cancel"}`:                               `bad_action: queue cancel needs field "target"`,
		`{"op":"queue","ring":3,"what":"nop","n":4097}`:                         `bad_action: n is 4097, want 1 to 4096`,
		`{"op":"queue","ring":3,"what":"read","fd":1}`:                          `not_ours: fd 1 is the puppet's line to the server; use an fd that the puppet made, 3 or above`,
		`{"op":"queue","ring":3,"what":"splice","fd":5,"to":2}`:                 `not_ours: fd 2 is the puppet's line to the server; use an fd that the puppet made, 3 or above`,
		`{"op":"queue","ring":4,"what":"nop"}`:                                  `no_ring: fd 4 is not a ring of this puppet; make one with op setup and use the fd in its result`,
		`{"op":"submit","ring":9}`:                                              `no_ring: fd 9 is not a ring of this puppet; make one with op setup and use the fd in its result`,
		`{"op":"reap","ring":9}`:                                                `no_ring: fd 9 is not a ring of this puppet; make one with op setup and use the fd in its result`,
		`{"op":"setup","flags":["FASTER"]}`:                                     `bad_action: unknown flag "FASTER"; known are IOPOLL, SQPOLL, SQ_AFF, CQSIZE, CLAMP, ATTACH_WQ, R_DISABLED, SUBMIT_ALL, COOP_TASKRUN, TASKRUN_FLAG, SQE128, CQE32, SINGLE_ISSUER, DEFER_TASKRUN, NO_MMAP, REGISTERED_FD_ONLY, NO_SQARRAY, HYBRID_IOPOLL, CQE_MIXED, SQE_MIXED, SQ_REWIND`,
		`{"op":"setup","flags":["CQE_MIXED"]}`:                                  `unsupported: io_uring_setup: IORING_SETUP_CQE_MIXED is not supported here: invalid argument`,
		`{"op":"setup","entries":4097}`:                                         `bad_action: entries is 4097, want 1 to 4096`,
		`{"op":"setup","flags":["SQPOLL"],"idle":2001}`:                         `bad_action: idle is 2001, want 1 to 2000`,
		`{"op":"setup","idle":20}`:                                              `bad_action: idle is that of the thread of SQPOLL, which flags do not ask for`,
		`{"op":"register","ring":3,"what":"everything"}`:                        `bad_action: unknown resource "everything"; known are files, buffers, buf_ring`,
		`{"op":"register","ring":3,"what":"buf_ring","n":3}`:                    `bad_action: n is 3, and a ring of provided buffers has a power of two`,
		`{"op":"scribble","ring":3,"what":"cq.tail"}`:                           `bad_action: cannot scribble over "cq.tail"; known are sq.tail, cq.head, sqe`,
		`{"op":"mend","ring":3}`:                                                `not_possible: nothing of ring 3 is written over`,
		`{"op":"ready","fd":4}`:                                                 `not_possible: fd 4 is a regular file: it is always readable`,
		`{"op":"connect","fd":5}`:                                               `not_possible: fd 5 does not listen; make a listener with op make`,
		`{"op":"spin","ring":3,"seconds":11}`:                                   `bad_action: seconds is 11, want more than 0 and up to 10`,
		`{"op":"make","what":"udp"}`:                                            `bad_action: cannot make "udp"; known are eventfd, file, listener, pipe, tcp, unix`,
		`{"op":"close","fd":0}`:                                                 `not_ours: fd 0 is the puppet's line to the server; use an fd that the puppet made, 3 or above`,
		`{"op":"queue","ring":3,"what":"recv","fd":5,"buffer":0,"wait":1}`:      `bad_action: op queue has no field "wait"; it takes ring, what, n, fd, to, len, ms, target, link, hardlink, drain, async, skip, fixed, buffer, select, user_data`,
		`{"op":"overflow","ring":3,"extra":65}`:                                 `bad_action: extra is 65, want 1 to 64`,
		`{"op":"queue","ring":3,"what":"read","fd":4,"buffer":0,"select":true}`: `bad_action: a request has either a registered buffer or a provided one`,
	} {
		_, err := r.try("%s", action)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v, want a refusal", action, err)
			continue
		}
		if got := e.Code + ": " + e.Error(); got != want {
			t.Errorf("%s:\n got %s\nwant %s", action, got, want)
		}
	}
	// What the kernel refuses is told, with a code and why.
	res := r.some(`{"op":"setup","flags":["SQPOLL","DEFER_TASKRUN","SINGLE_ISSUER"]}`)
	if res.Stopped == nil || res.Stopped.Code != "einval" || !strings.Contains(res.Stopped.Message, "IORING_SETUP_SQPOLL does not go with IORING_SETUP_DEFER_TASKRUN") || len(res.FDs) != 0 {
		t.Errorf("%+v", res)
	}
	// A queue that is full.
	r.do(`{"op":"queue","ring":3,"what":"nop","n":6}`)
	res = r.some(`{"op":"queue","ring":3,"what":"nop","n":4}`)
	if res.Stopped == nil || res.Stopped.Code != "sq_full" || !strings.Contains(res.Stopped.Message, "queued 2 of 4") {
		t.Errorf("%+v", res)
	}
	if _, err := r.try(`{"op":"queue","ring":3,"what":"nop"}`); code(err) != "sq_full" {
		t.Errorf("%v", err)
	}
	r.do(`{"op":"submit","ring":3}`)
	r.reap(3, 8)
	// Rings are bounded.
	for range 7 {
		r.setup(`{"op":"setup","entries":1}`)
	}
	if _, err := r.try(`{"op":"setup"}`); code(err) != "limit" {
		t.Errorf("a ninth ring: %v", err)
	}
	if _, err := r.p.Do(t.Context(), json.RawMessage(`{"op":"`+strings.Repeat("x", 70_000)+`"}`)); err == nil {
		t.Error("an action of 70,000 bytes was taken")
	}
	// A ring that is closed is none.
	r.do(`{"op":"close","fd":3}`)
	if _, err := r.try(`{"op":"submit","ring":3}`); code(err) != "no_ring" {
		t.Errorf("%v", err)
	}
	r.calm()
}

// TestRingFilesAreBounded: each takes 1 MiB of memory.
func TestRingFilesAreBounded(t *testing.T) {
	r := startRings(t)
	res := r.some(`{"op":"make","what":"file","n":65}`)
	if res.Stopped == nil || res.Stopped.Code != "limit" || len(res.FDs) != 64 {
		t.Errorf("made %d, stopped %+v", len(res.FDs), res.Stopped)
	}
}

// TestRingOutOfFiles: what was made stays.
func TestRingOutOfFiles(t *testing.T) {
	r := startRings(t)
	made := 0
	for range 12 {
		res := r.some(`{"op":"make","what":"pipe","n":1000}`)
		made += len(res.FDs)
		if res.Stopped != nil {
			if res.Stopped.Code != "emfile" || !strings.Contains(res.Stopped.Message, "pipe2 failed: EMFILE") {
				t.Errorf("%+v", res.Stopped)
			}
			if want := (fileLimit(t, r.p.PID()) - 3) / 2; made != want {
				t.Errorf("%d made, want %d", made, want)
			}
			return
		}
	}
	t.Error("no end of files")
}

func TestRingSpin(t *testing.T) {
	for _, name := range []string{"default", "SQPOLL", "DEFER_TASKRUN"} {
		t.Run(name, func(t *testing.T) {
			r := startRings(t)
			r.setup(layouts[name])
			from := r.p.log.end()
			s := r.do(`{"op":"spin","ring":3,"seconds":0.2}`).Spin
			if s == nil || s.Ops < 64 || s.CPU <= 0 || s.Seconds < 0.2 || s.Seconds > 5 {
				t.Fatalf("%+v", s)
			}
			t.Logf("%d NOPs in %.2f s, %.0f ns of CPU each", s.Ops, s.Seconds, s.CPU*1e9/float64(s.Ops))
			if calls := r.told(from); len(calls) != 0 {
				t.Errorf("told %+v", calls)
			}
			g := r.state().Rings[0]
			if g.Reaped != s.Ops || g.SQTail != uint32(s.Ops) || g.CQHead != uint32(s.Ops) {
				t.Errorf("%+v after %d", g, s.Ops)
			}
			r.do(`{"op":"queue","ring":3,"what":"nop"}`)
			if name == "default" {
				if _, err := r.try(`{"op":"spin","ring":3}`); code(err) != "not_idle" {
					t.Errorf("%v", err)
				}
			}
			r.do(`{"op":"submit","ring":3}`)
			r.reap(3, 1)
			r.calm()
		})
	}
}
