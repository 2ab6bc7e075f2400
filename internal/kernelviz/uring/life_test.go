package uring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

func TestRingGoes(t *testing.T) {
	cases := []struct {
		name string
		end  func(*child)
	}{
		{"close", func(p *child) { p.do("close") }},
		{"another ring in its place", func(p *child) { p.do("reopen") }},
		{"another file in its place", func(p *child) { p.do("cover") }},
		{"exit", func(p *child) { p.say("exit 3"); p.ended() }},
		{"kill", func(p *child) { kill(p.t, p) }},
	}
	eachTier(t, func(t *testing.T, v *View) {
		for _, c := range cases {
			if v.tier == tierFdinfo && c.name == "another ring in its place" {
				continue // fdinfo does not tell two rings apart
			}
			t.Run(c.name, func(t *testing.T) {
				p := startChild(t, "hold:0", nil)
				w := watchOf(t, v, p.name())
				p.do("nop 3")
				if s := wholeSample(t, w); s.sqPending() != 3 {
					t.Errorf("%d pending", s.sqPending())
				}
				c.end(p)
				gone(t, w)
			})
		}
	})
}

// The fd number stays and its file does not: what is shown is never the old
// ring with the new one's entries.
func TestFdNumberIsReused(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		p := startChild(t, "hold:0", nil)
		for range 10 {
			p.do("nop 2")
			w := watchOf(t, v, p.name())
			if s := wholeSample(t, w); s.sqPending() != 2 {
				t.Fatalf("%d pending", s.sqPending())
			}
			p.do("reopen")
			gone(t, w)
		}
	})
}

// A ring may be open in two processes; the one may go and the other stay.
func TestSharedRing(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		r := testRing(t, 8, 0)
		dup, err := unix.Dup(r.FD())
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(dup), "ring")
		p := startChild(t, "held", func(c *exec.Cmd) { c.ExtraFiles = []*os.File{file} })
		file.Close()
		ours, theirs := watchOf(t, v, nameOf(r)), watchOf(t, v, p.name())
		queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 3})
		a, b := wholeSample(t, ours), wholeSample(t, theirs)
		if a.ring.ID != b.ring.ID || a.sqPending() != 1 || b.sqPending() != 1 {
			t.Errorf("%+v and %+v are one ring", a.ring, b.ring)
		}
		if a.ring.Owner != uint32(os.Getpid()) || b.ring.Owner != uint32(p.pid) {
			t.Errorf("owners %d and %d", a.ring.Owner, b.ring.Owner)
		}
		await(t, ours, "two owners", func(s *Snapshot) bool {
			ours.(*watch).ownersAt = time.Time{}
			return s.ring.Owners == 2
		})
		kill(t, p)
		gone(t, theirs)
		if s := wholeSample(t, ours); s.sqPending() != 1 {
			t.Errorf("%d pending", s.sqPending())
		}
	})
}

func TestDupOfTheRing(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		p := startChild(t, "hold:0", nil)
		w := watchOf(t, v, p.name())
		wholeSample(t, w)
		p.do("dup 100")
		other := watchOf(t, v, fmt.Sprintf("%d:100", p.pid))
		p.do("cover")
		gone(t, w)
		if s := wholeSample(t, other); s.truth.Tier != v.tier {
			t.Errorf("tier %d", s.truth.Tier)
		}
	})
}

// The owner writes nonsense over its ring: the frame says so, and never more
// is shown than the ring has.
func TestScribbledMemory(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		for _, word := range []uint32{0, 1, 7, 0x80000000, 0xffffffff, 0xdeadbeef} {
			t.Run(fmt.Sprintf("%#x", word), func(t *testing.T) {
				p := startChild(t, "hold:0", nil)
				w := watchOf(t, v, p.name())
				p.do("nop 5")
				p.do("submit 5")
				p.do("nop 3")
				wholeSample(t, w)
				p.do(fmt.Sprintf("scribble %d", word))
				s := sample(t, w)
				if s.truth.Whole || s.truth.Broken == kernelviz.BrokenNone || s.truth.Instant || s.ring.Gone != 1 {
					t.Errorf("%+v", s.truth)
				}
				// What nobody can write over stands.
				if s.ring.SQEntries != 8 || s.ring.CQEntries != 16 || s.ring.CachedSQHead != 5 || s.ring.CachedCQTail != 5 || s.ring.Submitted != 5 || s.ring.Completed != 5 {
					t.Errorf("%+v", s.ring)
				}
				if len(s.sqes) > 8 || len(s.cqes) > 16 || s.Items() > 8+16 {
					t.Errorf("%d SQEs, %d CQEs, %d items", len(s.sqes), len(s.cqes), s.Items())
				}
				if s.truth.Torn == 0 || s.truth.Marked != 1 {
					t.Errorf("%+v", s.truth)
				}
				_, _ = s.Facts(), s.Show(v.Tiers())
				s.AppendSections(nil, kernelviz.Viewport{}, nil)
			})
		}
	})
}

// One wrong word hides only what it makes unknown.
func TestScribbledWord(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		cases := []struct {
			name   string
			offset func(*iouring.Params) uint32
			want   kernelviz.Broken
			hidden uint32
		}{
			{"sq.tail", func(p *iouring.Params) uint32 { return p.SQOff.Tail }, BrokenSQCount, wire.SeenSQEs},
			{"cq.head", func(p *iouring.Params) uint32 { return p.CQOff.Head }, BrokenCQCount, wire.SeenCQEs},
			{"sq mask", func(p *iouring.Params) uint32 { return p.SQOff.RingMask }, BrokenMask, 0},
			{"cq entries", func(p *iouring.Params) uint32 { return p.CQOff.RingEntries }, BrokenMask, 0},
		}
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				r := testRing(t, 8, 0)
				w := watchOf(t, v, nameOf(r))
				for range 4 {
					queue(r, iouring.SQE{Op: iouring.OpNOP})
				}
				submit(t, r, 4)
				queue(r, iouring.SQE{Op: iouring.OpNOP})
				s := wholeSample(t, w)
				before := s.ring.Seen
				params := r.Params()
				at := wordAt(r, c.offset(&params))
				old := *at
				*at = 0x01020304
				s = sample(t, w)
				if s.truth.Broken != c.want || s.ring.Seen != before&^c.hidden {
					t.Errorf("%q, seen %#x; want %q, %#x", brokenText[s.truth.Broken], s.ring.Seen, brokenText[c.want], before&^c.hidden)
				}
				if c.hidden != wire.SeenSQEs && len(s.sqes) != 1 || c.hidden != wire.SeenCQEs && len(s.cqes) != 4 {
					t.Errorf("%d SQEs, %d CQEs", len(s.sqes), len(s.cqes))
				}
				*at = old
				wholeSample(t, w)
			})
		}
	})
}

func wordAt(r *iouring.Ring, offset uint32) *uint32 {
	return (*uint32)(pointerTo(&r.Memory()[0].Mem[offset]))
}

// A bad index in the SQ array is shown as it stands.
func TestBadIndex(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		r := testRing(t, 8, 0)
		w := watchOf(t, v, nameOf(r))
		queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 9})
		r.SQArray()[0] = 4711
		s := wholeSample(t, w)
		if len(s.sqes) != 1 || s.sqes[0] != (wire.SQERow{Index: 4711}) {
			t.Errorf("%+v", s.sqes)
		}
		if _, err := w.Inspect(context.Background(), "sqe", 0); err == nil {
			t.Error("there is no SQE to inspect")
		}
		if _, errno := iouring.RawEnter(r.FD(), 1, 0, 0); errno != 0 {
			t.Fatal(errno)
		}
		if s = wholeSample(t, w); s.ring.SQDropped != 1 || s.ring.InFlight > 0 {
			t.Errorf("%d dropped, %d in flight", s.ring.SQDropped, s.ring.InFlight)
		}
	})
}

// At full speed slots are written over while they are read: no frame breaks an
// invariant, lists an SQE twice or one that was not queued.
func TestFullSpeed(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		p := startChild(t, "hold:0", nil)
		w := watchOf(t, v, p.name())
		p.say("loop 30000")
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			_, _ = p.out.ReadString('\n')
		}()
		samples := 0
		var s *Snapshot
		for running := true; running; samples++ {
			select {
			case <-finished:
				running = false
			default:
			}
			s = sample(t, w)
			if !s.truth.Whole {
				t.Fatalf("sample %d: %s; %+v", samples, brokenText[s.truth.Broken], s.ring)
			}
			for i, e := range s.sqes {
				if e.Op != iouring.OpNOP || e.Position-s.ring.SQHead >= s.ring.SQTail-s.ring.SQHead || e.UserData != uint64(e.Position)+1 || i > 0 && e.Position <= s.sqes[i-1].Position {
					t.Fatalf("sample %d: %+v of %+v", samples, e, s.ring)
				}
			}
			for _, e := range s.cqes {
				if e.Res != 0 || e.UserData != uint64(e.Position)+1 {
					t.Fatalf("sample %d: %+v of %+v", samples, e, s.ring)
				}
			}
		}
		if s.ring.Submitted != 120000 || s.ring.Completed != 120000 {
			t.Errorf("%d submitted, %d completed, want 120,000", s.ring.Submitted, s.ring.Completed)
		}
		t.Logf("%d samples, %d torn", samples, s.truth.Torn)
	})
}

// Processes die while they are read: never a panic, an error or a wrong count.
func TestOwnersDieWhileSampled(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		for range 8 {
			p := startChild(t, "hold:0", nil)
			w := watchOf(t, v, p.name())
			p.do("read 4")
			p.do("submit 0")
			p.do("nop 4")
			wholeSample(t, w)
			p.say("exit 0")
			for {
				s, err := w.Sample(context.Background())
				if errors.Is(err, kernelviz.ErrGone) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if n := s.(*Snapshot).sqPending(); s.Truth().Whole && n != 4 {
					t.Fatalf("%d pending", n)
				}
			}
		}
	})
}

func TestThreadOfSQPoll(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		p := startChild(t, fmt.Sprintf("hold:%d", iouring.SetupSQPoll), nil)
		w := watchOf(t, v, p.name())
		s := await(t, w, "the thread sleeps", func(s *Snapshot) bool { return s.ring.ThreadState == wire.ThreadAsleep })
		if s.ring.ThreadPID == 0 || len(s.workers) == 0 || s.workers[0].Kind != wire.WorkerSQPoll || s.workers[0].TID != s.ring.ThreadPID {
			t.Errorf("%+v, workers %+v", s.ring, s.workers)
		}
		f := s.Facts()
		if f["uring.sqpoll"] != true || f["uring.sqpoll_asleep"] != true {
			t.Errorf("sqpoll %v, asleep %v", f["uring.sqpoll"], f["uring.sqpoll_asleep"])
		}
		if v.tier == tierFdinfo {
			return
		}
		await(t, w, "the flag", func(s *Snapshot) bool { return s.Facts()["uring.need_wakeup"] == true })
		if f["uring.setup"] != "IORING_SETUP_SQPOLL" || s.ring.ThreadIdle != 20 {
			t.Errorf("setup %v, idle %d", f["uring.setup"], s.ring.ThreadIdle)
		}
	})
}

// io-wq's threads are the owner's: they are told with their time.
func TestWorkers(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		r := testRing(t, 8, 0)
		w := watchOf(t, v, nameOf(r))
		rd, _ := blockingPipe(t)
		mem := testMemory(t, 4096)
		queue(r, iouring.SQE{Op: iouring.OpRead, Flags: iouring.FlagAsync, FD: int32(rd), Addr: addressOf(mem), Len: 1, Off: ^uint64(0), UserData: 1})
		submit(t, r, 0)
		s := await(t, w, "a worker", func(s *Snapshot) bool { return len(s.workers) > 0 })
		if s.workers[0].Kind != wire.WorkerIOWQ || s.workers[0].TID == 0 || s.Facts()["uring.workers"] != len(s.workers) {
			t.Errorf("%+v", s.workers)
		}
	})
}

func blockingPipe(t *testing.T) (r, w int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(p[1]) // ends the read
		unix.Close(p[0])
	})
	return p[0], p[1]
}

func TestRegisteredResources(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		r := testRing(t, 8, 0)
		w := watchOf(t, v, nameOf(r))
		if s := wholeSample(t, w); len(s.resources) != 0 || s.ring.Seen&wire.SeenResources == 0 {
			t.Errorf("%+v", s.resources)
		}
		rd, wr := testPipe(t)
		if err := r.RegisterFiles([]int32{int32(rd), -1, int32(wr)}); err != nil {
			t.Fatal(err)
		}
		mem := testMemory(t, 8192)
		if err := r.RegisterBuffers([][]byte{mem[:4096], mem[4096:]}); err != nil {
			t.Fatal(err)
		}
		s := await(t, w, "the lists", func(s *Snapshot) bool {
			return s.ring.Files == 3 && s.ring.Buffers == 2 && s.ring.Seen&wire.SeenResources != 0
		})
		files, buffers := 0, 0
		for _, g := range s.resources {
			switch g.Kind {
			case wire.ResourceFile:
				files++
				if g.Slot == 1 {
					t.Errorf("%+v", g)
				}
			case wire.ResourceBuffer:
				if g.Addr != addressOf(mem)+4096*uint64(buffers) || g.Len != 4096 {
					t.Errorf("%+v", g)
				}
				buffers++
			}
		}
		if files != 2 || buffers != 2 {
			t.Errorf("%d files, %d buffers: %+v", files, buffers, s.resources)
		}
	})
}

func TestOverflowedCQ(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		r := testRing(t, 8, 0)
		w := watchOf(t, v, nameOf(r))
		for range 3 {
			for range 7 {
				queue(r, iouring.SQE{Op: iouring.OpNOP})
			}
			submit(t, r, 0)
		}
		s := wholeSample(t, w)
		f := s.Facts()
		if f["uring.cq_ready"] != 16 || f["uring.overflow_list"] != 5 || f["uring.inflight"] != 0 {
			t.Errorf("ready %v, list %v, in flight %v", f["uring.cq_ready"], f["uring.overflow_list"], f["uring.inflight"])
		}
		if v.tier != tierFdinfo && (f["uring.cq_overflowed"] != true || f["uring.cq_overflow"] != 0) {
			t.Errorf("flag %v, lost %v", f["uring.cq_overflowed"], f["uring.cq_overflow"])
		}
	})
}

// The life of a request as the tracepoints tell it, in the rows and facts.
func TestSnapshotsTellLives(t *testing.T) {
	v := liveView(t)
	p := startChild(t, "hold:0", nil)
	w := watchOf(t, v, p.name())
	if s := wholeSample(t, w); !s.truth.Attached || s.ring.Seen&wire.SeenLives == 0 || w.Wake() == nil {
		t.Fatalf("lives are not told: %+v", s.truth)
	}
	p.do("read 1")
	p.do("submit 0")
	s := await(t, w, "an armed read", func(s *Snapshot) bool { return len(s.requests) == 1 && s.requests[0].Where == wire.RequestArmed })
	if r := s.requests[0]; r.Op != iouring.OpRead || r.UserData != 1 || s.ring.Armed != 1 || s.ring.InFlight != 1 {
		t.Errorf("%+v", r)
	}
	id := s.requests[0].ID
	p.do("write 1")
	p.do("nop 1")
	p.do("submit 2")
	s = await(t, w, "both completed", func(s *Snapshot) bool { return len(s.done) == 2 })
	byData := map[any]map[string]any{}
	for _, l := range s.Facts()["uring.lives"].([]map[string]any) {
		byData[l["user_data"]] = l
	}
	read, nop := byData[1], byData[2]
	if read["op"] != "READ" || read["path"] != pathArmed || read["res"] != 1 || read["us"].(float64) <= 0 || read["at"].(int) <= 0 {
		t.Errorf("the read: %v", read)
	}
	if nop["op"] != "NOP" || nop["path"] != pathInline || nop["res"] != 0 || nop["more"] != false {
		t.Errorf("the NOP: %v", nop)
	}
	if len(s.requests) != 0 || s.ring.InFlight != 0 {
		t.Errorf("%+v", s.requests)
	}
	what := map[uint8]int{}
	for _, l := range s.lives {
		if l.Request == id {
			what[l.What]++
		}
	}
	if what[wire.LifeSubmit] != 1 || what[wire.LifeArm] < 1 || what[wire.LifeComplete] != 1 {
		t.Errorf("events of the read: %v in %+v", what, s.lives)
	}
}

// A page need not wait for its turn: the wake comes with the events, if not
// with every single one.
func TestEventsWake(t *testing.T) {
	p := startChild(t, "hold:0", nil)
	w := watchOf(t, liveView(t), p.name())
	wholeSample(t, w)
	for end := time.Now().Add(deadline); time.Now().Before(end); {
		p.do("nop 1")
		p.do("submit 1")
		p.do("reap")
		select {
		case <-w.Wake():
			return
		case <-time.After(time.Millisecond):
		}
	}
	t.Error("nothing woke us")
}

// The last event of a burst wakes too, though the programs hold back its wake-up
// and nothing comes after it.
func TestLastEventOfABurstWakes(t *testing.T) {
	tr := testTracer(t)
	r := testRing(t, 8, 0)
	wake, l, err := tr.watch(find(t, testProbe(t), r).Ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.unwatch(l) })
	nop := func() {
		queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 1})
		submit(t, r, 1)
		r.Reap(func(iouring.CQE) {})
	}
	woken := func() {
		t.Helper()
		select {
		case <-wake:
		case <-time.After(patience):
			t.Fatal("nothing woke us")
		}
	}
	for held := false; !held; {
		// Until the channel is silent for longer than anything is held back.
		for silent := false; !silent; {
			select {
			case <-wake:
			case <-time.After(30 * time.Millisecond):
				silent = true
			}
			l.take()
		}
		began := time.Now()
		nop()
		woken()
		l.take()
		nop()
		held = time.Since(began) < 7*time.Millisecond
		woken()
	}
}

// A multishot request says what fd it waits for, also after a CQE was written
// over that in the kernel, and whether or not its submission was seen.
func TestFDOfMultishotRequests(t *testing.T) {
	v := liveView(t)
	r := testRing(t, 8, 0)
	seen := watchOf(t, v, nameOf(r))
	name := filepath.Join(t.TempDir(), "socket")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: name}), unix.Listen(fd, 8)); err != nil {
		t.Fatal(err)
	}
	queue(r, iouring.SQE{Op: iouring.OpAccept, IOPrio: iouring.AcceptMultishot, FD: int32(fd), UserData: 3})
	submit(t, r, 0)
	for i := range 2 {
		c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(c) })
		if err := unix.Connect(c, &unix.SockaddrUnix{Name: name}); err != nil {
			t.Fatal(err)
		}
		submit(t, r, 1)
		r.Reap(func(c iouring.CQE) { t.Cleanup(func() { unix.Close(int(c.Res)) }) })
		later, err := v.Open(context.Background(), nameOf(r))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range []kernelviz.Watch{seen, later} {
			s := await(t, w, "it is armed", func(s *Snapshot) bool { return s.ring.Armed == 1 })
			if g := s.requests; len(g) != 1 || g[0].FD != int32(fd) && (g[0].FD != -1 || w == seen) {
				t.Errorf("after %d CQEs: %+v, its fd is %d", i+1, g, fd)
			}
			if w != seen {
				t.Logf("fd %d", s.requests[0].FD)
			}
		}
		if err := later.Close(); err != nil {
			t.Error(err)
		}
	}
}

// completionOf is the newest completion with that user_data.
func completionOf(s *Snapshot, data uint64) (done, bool) {
	for i := len(s.done) - 1; i >= 0; i-- {
		if s.done[i].userData == data {
			return s.done[i], true
		}
	}
	return done{}, false
}

// Each way that a request can take is told as the kernel took it.
func TestWaysOfRequests(t *testing.T) {
	v := liveView(t)
	start := func(t *testing.T) (*iouring.Ring, kernelviz.Watch) {
		r := testRing(t, 8, 0)
		return r, watchOf(t, v, nameOf(r))
	}
	completed := func(t *testing.T, w kernelviz.Watch, data uint64) (*Snapshot, done) {
		t.Helper()
		s := await(t, w, fmt.Sprintf("request %d completes", data), func(s *Snapshot) bool { _, ok := completionOf(s, data); return ok })
		d, _ := completionOf(s, data)
		return s, d
	}
	t.Run("punted", func(t *testing.T) {
		r, w := start(t)
		rd, wr := blockingPipe(t)
		_, out := blockingPipe(t)
		// A read of a pipe would be armed by the worker; a splice sleeps in it.
		queue(r, iouring.SQE{Op: iouring.OpSplice, FD: int32(out), SpliceFD: int32(rd), Addr: ^uint64(0), Off: ^uint64(0), Len: 1, UserData: 5})
		submit(t, r, 0)
		await(t, w, "it is in io-wq", func(s *Snapshot) bool {
			return len(s.requests) == 1 && s.requests[0].Where == wire.RequestPunted && s.ring.InFlight == 1
		})
		if _, err := unix.Write(wr, []byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, d := completed(t, w, 5); d.path != pathPunted || d.res != 1 {
			t.Errorf("%+v", d)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		r, w := start(t)
		mem := testMemory(t, 4096)
		*(*iouring.Timespec)(pointerTo(&mem[0])) = iouring.Timespec{Nsec: 300e6}
		queue(r, iouring.SQE{Op: iouring.OpTimeout, FD: -1, Addr: addressOf(mem), Len: 1, UserData: 6})
		submit(t, r, 0)
		await(t, w, "it waits on a timer", func(s *Snapshot) bool {
			return len(s.requests) == 1 && s.requests[0].Where == wire.RequestTimeout
		})
		_, d := completed(t, w, 6)
		if d.path != pathArmed || d.res != -int32(unix.ETIME) || d.us < 250e3 {
			t.Errorf("%+v", d)
		}
	})
	t.Run("multishot", func(t *testing.T) {
		r, w := start(t)
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		queue(r, iouring.SQE{Op: iouring.OpPollAdd, FD: int32(fd), Len: iouring.PollAddMulti, OpFlags: unix.POLLIN, UserData: 7})
		submit(t, r, 0)
		await(t, w, "it is armed", func(s *Snapshot) bool { return s.ring.Armed == 1 })
		for i := range 3 {
			if _, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
				t.Fatal(err)
			}
			s := await(t, w, "a CQE", func(s *Snapshot) bool { return len(s.done) == i+1 })
			if d := s.done[i]; !d.more || d.userData != 7 || d.op != iouring.OpPollAdd {
				t.Errorf("%+v", d)
			}
			if g := s.requests; len(g) != 1 || g[0].Flags&wire.RequestMultishot == 0 || g[0].Posted != uint32(i+1) {
				t.Errorf("%+v", g)
			}
			await(t, w, "it is armed again", func(s *Snapshot) bool { return s.ring.Armed == 1 && s.requests[0].Where == wire.RequestArmed })
			r.Reap(func(iouring.CQE) {})
		}
		queue(r, iouring.SQE{Op: iouring.OpAsyncCancel, Addr: 7, UserData: 8})
		submit(t, r, 1)
		s := await(t, w, "it was cancelled", func(s *Snapshot) bool { return s.ring.Requests == 0 })
		d, _ := completionOf(s, 7)
		if d.more || d.res != -int32(unix.ECANCELED) {
			t.Errorf("%+v", d)
		}
	})
	t.Run("task work", func(t *testing.T) {
		r := testRing(t, 8, iouring.SetupSingleIssuer|iouring.SetupDeferTaskrun)
		w := watchOf(t, v, nameOf(r))
		rd, wr := testPipe(t)
		queue(r, iouring.SQE{Op: iouring.OpPollAdd, FD: int32(rd), OpFlags: unix.POLLIN, UserData: 9})
		submit(t, r, 0)
		await(t, w, "it is armed", func(s *Snapshot) bool { return s.ring.Armed == 1 })
		if _, err := unix.Write(wr, []byte{1}); err != nil {
			t.Fatal(err)
		}
		queued := func(s *Snapshot) bool {
			return len(s.requests) == 1 && s.requests[0].Where == wire.RequestTaskWork && s.ring.Armed == 0
		}
		first := await(t, w, "its task work is queued", queued)
		// It runs when the owner enters, however long that takes.
		await(t, w, "time passes", func(s *Snapshot) bool {
			if !queued(s) {
				t.Fatalf("%+v", s.requests)
			}
			return s.truth.At > first.truth.At+2*settleTime
		})
		submit(t, r, 1)
		if _, d := completed(t, w, 9); d.path != pathArmed {
			t.Errorf("%+v", d)
		}
	})
	t.Run("linked", func(t *testing.T) {
		r, w := start(t)
		queue(r, iouring.SQE{Op: iouring.OpNOP, Flags: iouring.FlagIOLink, UserData: 10})
		queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 11})
		submit(t, r, 2)
		s, second := completed(t, w, 11)
		first, _ := completionOf(s, 10)
		if !first.links || second.links || first.path != pathInline || second.path != pathInline || second.at < first.at {
			t.Errorf("%+v, %+v", first, second)
		}
	})
	t.Run("overflown", func(t *testing.T) {
		r, w := start(t)
		for i := range uint64(20) {
			queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: i})
			submit(t, r, 0)
		}
		s, d := completed(t, w, 19)
		if d.path != pathInline || s.ring.OverflowList != 4 || s.ring.Requests != 0 || len(s.done) != 20 {
			t.Errorf("%+v, %d done, %+v", d, len(s.done), s.ring)
		}
	})
	t.Run("skipped", func(t *testing.T) {
		r, w := start(t)
		queue(r, iouring.SQE{Op: iouring.OpNOP, Flags: iouring.FlagCQESkipSuccess, UserData: 12})
		submit(t, r, 0)
		await(t, w, "it is forgotten", func(s *Snapshot) bool { return s.ring.Submitted == 1 && s.ring.Requests == 0 })
	})
}
