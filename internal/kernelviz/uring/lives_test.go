package uring

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz/wire"
)

func testTracer(t testing.TB) *tracer {
	t.Helper()
	tr := newTracer(slog.New(slog.DiscardHandler), bpfLoad(t))
	t.Cleanup(tr.close)
	return tr
}

// logOf watches a ring of this process until the test ends.
func logOf(t testing.TB, tr *tracer, r *iouring.Ring) *lifeLog {
	t.Helper()
	_, l, err := tr.watch(find(t, testProbe(t), r).Ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.unwatch(l) })
	return l
}

// awaitLives takes events until the condition holds of all so far.
func awaitLives(t testing.TB, l *lifeLog, what string, holds func([]lifeEvent) bool) []lifeEvent {
	t.Helper()
	end := time.Now().Add(patience)
	var all []lifeEvent
	for {
		rows, lost := l.take()
		all = append(all, rows...)
		if lost != 0 {
			t.Fatalf("%d events were lost", lost)
		}
		if holds(all) {
			return all
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s; seen: %s", patience, what, story(all))
		}
		runtime.Gosched()
	}
}

var lifeNames = map[uint8]string{
	wire.LifeSubmit: "submit", wire.LifeArm: "arm", wire.LifePunt: "punt", wire.LifeTaskWork: "task work",
	wire.LifeComplete: "complete", wire.LifeOverflow: "overflow", wire.LifeFail: "fail", wire.LifeLink: "link",
	wire.LifeDefer: "defer", wire.LifeCQWait: "wait", wire.LifeLocalWork: "local work",
}

func story(rows []lifeEvent) string {
	var words []string
	for _, e := range rows {
		words = append(words, lifeNames[e.What])
	}
	return strings.Join(words, ", ")
}

// eventsOf are the events of one request.
func eventsOf(rows []lifeEvent, userData uint64) []lifeEvent {
	var out []lifeEvent
	for _, e := range rows {
		if e.UserData == userData && e.What != wire.LifeCQWait && e.What != wire.LifeLocalWork {
			out = append(out, e)
		}
	}
	return out
}

func happened(rows []lifeEvent, userData uint64, what uint8) int {
	n := 0
	for _, e := range eventsOf(rows, userData) {
		if e.What == what {
			n++
		}
	}
	return n
}

// completed waits until each of the requests has its last CQE.
func completed(userData ...uint64) func([]lifeEvent) bool {
	return func(rows []lifeEvent) bool {
		for _, u := range userData {
			if !slices.ContainsFunc(eventsOf(rows, u), func(e lifeEvent) bool {
				return (e.What == wire.LifeComplete || e.What == wire.LifeOverflow) && e.CQEFlags&iouring.CQEFMore == 0
			}) {
				return false
			}
		}
		return true
	}
}

// wellFormed holds what is true of every log without a loss.
func wellFormed(t *testing.T, rows []lifeEvent) {
	t.Helper()
	for i, e := range rows {
		if e.Seq != uint64(i) {
			t.Fatalf("event %d has number %d", i, e.Seq)
		}
		if i > 0 && e.Time+uint64(lateness) < rows[i-1].Time {
			t.Errorf("event %d came at %d, the one before at %d", i, e.Time, rows[i-1].Time)
		}
		if e.SubmitAt > e.Time {
			t.Errorf("event %d: submitted at %d, after %d", i, e.SubmitAt, e.Time)
		}
	}
}

func TestEveryKindIsTold(t *testing.T) {
	tr := testTracer(t)
	want := []uint8{
		wire.LifeSubmit, wire.LifeArm, wire.LifePunt, wire.LifeTaskWork, wire.LifeComplete, wire.LifeOverflow,
		wire.LifeFail, wire.LifeLink, wire.LifeDefer, wire.LifeCQWait, wire.LifeLocalWork,
	}
	// Both kernels that are tested have all of them, in two layouts.
	if got := tr.kinds(); !slices.Equal(got, want) {
		t.Errorf("kinds %v, want %v", got, want)
	}
}

func TestLives(t *testing.T) {
	tr := testTracer(t)
	ring := func(t *testing.T, entries, flags uint32) (*iouring.Ring, *lifeLog) {
		r := testRing(t, entries, flags)
		return r, logOf(t, tr, r)
	}
	// same tells that all events are of one request, named as it was submitted.
	same := func(t *testing.T, life []lifeEvent, op uint8, fd int32) {
		t.Helper()
		for _, e := range life {
			if e.Req == 0 || e.Req != life[0].Req || e.Op != op || e.FD != fd || e.SubmitAt != life[0].SubmitAt || e.SubmitAt == 0 {
				t.Errorf("%s: %+v, want request %#x, op %d, fd %d", lifeNames[e.What], e, life[0].Req, op, fd)
			}
		}
	}
	tell := func(t *testing.T, life []lifeEvent, want string) {
		t.Helper()
		if got := story(life); got != want {
			t.Errorf("life: %s; want %s", got, want)
		}
	}

	t.Run("inline", func(t *testing.T) {
		r, l := ring(t, 4, 0)
		queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 77})
		submit(t, r, 1)
		rows := awaitLives(t, l, "a NOP", completed(77))
		wellFormed(t, rows)
		life := eventsOf(rows, 77)
		tell(t, life, "submit, complete")
		same(t, life, iouring.OpNOP, -1)
		if life[0].TID != uint32(unix.Gettid()) || life[0].Worker != 0 || life[1].Res != 0 {
			t.Errorf("%+v", life)
		}
	})

	t.Run("armed", func(t *testing.T) {
		for _, flags := range []uint32{0, iouring.SetupSingleIssuer | iouring.SetupDeferTaskrun} {
			r, l := ring(t, 4, flags)
			mem := testMemory(t, 4096)
			// A socket, since old kernels read a pipe in io-wq.
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(pair[0])
			defer unix.Close(pair[1])
			queue(r, iouring.SQE{Op: iouring.OpRecv, FD: int32(pair[0]), Addr: addressOf(mem), Len: 64, UserData: 5})
			submit(t, r, 0)
			if _, err := unix.Write(pair[1], []byte("hello")); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Enter(0, 1, iouring.EnterGetevents); err != nil {
				t.Fatal(err)
			}
			rows := awaitLives(t, l, "a receive", completed(5))
			wellFormed(t, rows)
			life := eventsOf(rows, 5)
			tell(t, life, "submit, arm, task work, complete")
			same(t, life, iouring.OpRecv, int32(pair[0]))
			if life[len(life)-1].Res != 5 {
				t.Errorf("%+v", life)
			}
			if flags != 0 && !slices.ContainsFunc(rows, func(e lifeEvent) bool { return e.What == wire.LifeLocalWork && e.Res >= 1 }) {
				t.Errorf("no local work in: %s", story(rows))
			}
		}
	})

	t.Run("pipe", func(t *testing.T) {
		r, l := ring(t, 4, 0)
		mem := testMemory(t, 4096)
		in, out := testPipe(t)
		queue(r, iouring.SQE{Op: iouring.OpRead, FD: int32(in), Addr: addressOf(mem), Len: 64, UserData: 6})
		submit(t, r, 0)
		if _, err := unix.Write(out, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		rows := awaitLives(t, l, "a read", func(rows []lifeEvent) bool {
			_, err := r.Enter(0, 0, iouring.EnterGetevents)
			return err == nil && completed(6)(rows)
		})
		life := eventsOf(rows, 6)
		same(t, life, iouring.OpRead, int32(in))
		if s := story(life); !strings.HasPrefix(s, "submit, arm, ") && !strings.HasPrefix(s, "submit, punt, ") {
			t.Errorf("life: %s", s)
		}
	})

	t.Run("punted", func(t *testing.T) {
		r, l := ring(t, 4, 0)
		mem := testMemory(t, 4096)
		f, err := os.Create(filepath.Join(t.TempDir(), "file"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		queue(r, iouring.SQE{Op: iouring.OpRead, Flags: iouring.FlagAsync, FD: int32(f.Fd()), Addr: addressOf(mem), Len: 64, UserData: 9})
		submit(t, r, 1)
		rows := awaitLives(t, l, "an asynchronous read", completed(9))
		wellFormed(t, rows)
		life := eventsOf(rows, 9)
		if s := story(life); !strings.HasPrefix(s, "submit, punt, ") {
			t.Errorf("life: %s", s)
		}
		same(t, life, iouring.OpRead, int32(f.Fd()))
		if life[0].SQEFlags&iouring.FlagAsync == 0 {
			t.Errorf("flags %#x", life[0].SQEFlags)
		}
		if !slices.ContainsFunc(rows, func(e lifeEvent) bool { return e.Worker == 1 }) {
			t.Errorf("no worker did anything: %+v", rows)
		}
	})

	t.Run("linked", func(t *testing.T) {
		r, l := ring(t, 4, 0)
		queue(r, iouring.SQE{Op: iouring.OpNOP, Flags: iouring.FlagLink, UserData: 1})
		queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 2})
		submit(t, r, 2)
		rows := awaitLives(t, l, "two linked NOPs", completed(1, 2))
		wellFormed(t, rows)
		tell(t, eventsOf(rows, 1), "submit, complete")
		tell(t, eventsOf(rows, 2), "submit, link, complete")
	})

	t.Run("drained", func(t *testing.T) {
		r, l := ring(t, 4, 0)
		in, out := testPipe(t)
		queue(r, iouring.SQE{Op: iouring.OpPollAdd, FD: int32(in), OpFlags: unix.POLLIN, UserData: 1})
		queue(r, iouring.SQE{Op: iouring.OpNOP, Flags: iouring.FlagDrain, UserData: 2})
		submit(t, r, 0)
		if _, err := unix.Write(out, []byte("x")); err != nil {
			t.Fatal(err)
		}
		submit(t, r, 2)
		rows := awaitLives(t, l, "a drained NOP", completed(1, 2))
		wellFormed(t, rows)
		if s := story(eventsOf(rows, 2)); !strings.HasPrefix(s, "submit, defer, ") {
			t.Errorf("life: %s", s)
		}
		if s := story(eventsOf(rows, 1)); !strings.HasPrefix(s, "submit, ") || !strings.HasSuffix(s, "task work, complete") {
			t.Errorf("life: %s", s)
		}
	})

	t.Run("multishot", func(t *testing.T) {
		r, l := ring(t, 4, 0)
		in, out := testPipe(t)
		queue(r, iouring.SQE{Op: iouring.OpPollAdd, FD: int32(in), Len: iouring.PollAddMulti, OpFlags: unix.POLLIN, UserData: 3})
		submit(t, r, 0)
		for range 3 {
			if _, err := unix.Write(out, []byte("x")); err != nil {
				t.Fatal(err)
			}
			submit(t, r, 1)
			if n := r.Reap(func(iouring.CQE) {}); n != 1 {
				t.Fatalf("%d CQEs", n)
			}
		}
		queue(r, iouring.SQE{Op: iouring.OpAsyncCancel, FD: -1, Addr: 3, UserData: 4})
		submit(t, r, 2)
		rows := awaitLives(t, l, "a multishot poll", completed(3, 4))
		wellFormed(t, rows)
		life := eventsOf(rows, 3)
		same(t, life, iouring.OpPollAdd, int32(in))
		if n := happened(rows, 3, wire.LifeComplete); n != 4 {
			t.Errorf("%d completions, want 4: %s", n, story(life))
		}
		more := 0
		for _, e := range life {
			if e.What == wire.LifeComplete && e.CQEFlags&iouring.CQEFMore != 0 {
				more++
			}
		}
		if last := life[len(life)-1]; more != 3 || last.Res != -int32(unix.ECANCELED) {
			t.Errorf("%d with F_MORE; last: %+v", more, last)
		}
	})

	t.Run("timeout", func(t *testing.T) {
		r, l := ring(t, 4, 0)
		mem := testMemory(t, 4096)
		*(*iouring.Timespec)(unsafe.Pointer(&mem[0])) = iouring.Timespec{Nsec: 1e6}
		queue(r, iouring.SQE{Op: iouring.OpTimeout, FD: -1, Addr: addressOf(mem), Len: 1, UserData: 8})
		submit(t, r, 1)
		rows := awaitLives(t, l, "a timeout", completed(8))
		wellFormed(t, rows)
		life := eventsOf(rows, 8)
		same(t, life, iouring.OpTimeout, -1)
		if end := life[len(life)-1]; end.Res != -int32(unix.ETIME) || end.Time-end.SubmitAt < 1e6 {
			t.Errorf("%+v", end)
		}
		if !slices.ContainsFunc(rows, func(e lifeEvent) bool { return e.What == wire.LifeCQWait && e.Res == 1 && e.Req == 0 }) {
			t.Errorf("nobody waits in: %s", story(rows))
		}
	})

	t.Run("overflow", func(t *testing.T) {
		r, l := ring(t, 4, 0)
		for i := range uint64(12) {
			queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 100 + i})
			submit(t, r, 0)
		}
		rows := awaitLives(t, l, "four overflows", func(rows []lifeEvent) bool {
			return happened(rows, 108, wire.LifeOverflow)+happened(rows, 109, wire.LifeOverflow)+
				happened(rows, 110, wire.LifeOverflow)+happened(rows, 111, wire.LifeOverflow) == 4
		})
		wellFormed(t, rows)
		same(t, eventsOf(rows, 111), iouring.OpNOP, -1)
		if happened(rows, 107, wire.LifeOverflow) != 0 {
			t.Error("the CQ had room for this one")
		}
	})

	t.Run("failed", func(t *testing.T) {
		r, l := ring(t, 4, 0)
		queue(r, iouring.SQE{Op: 250, UserData: 66})
		_, err := r.Submit(1)
		if err != nil && !errors.Is(err, syscall.EINVAL) {
			t.Fatal(err)
		}
		rows := awaitLives(t, l, "a refused SQE", completed(66))
		life := eventsOf(rows, 66)
		if s := story(life); s != "fail, complete" || life[0].Res != -int32(unix.EINVAL) || life[1].Res != -int32(unix.EINVAL) {
			t.Errorf("life: %s: %+v", s, life)
		}
	})

	t.Run("sqpoll", func(t *testing.T) {
		r, l := ring(t, 4, iouring.SetupSQPoll)
		queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 12})
		submit(t, r, 1)
		rows := awaitLives(t, l, "a NOP of the thread", completed(12))
		if life := eventsOf(rows, 12); life[0].Worker != 2 || life[0].TID == uint32(unix.Gettid()) {
			t.Errorf("%+v", life)
		}
	})
}

// Two rings, one with two logs: each log has its own ring's events and none
// from before its watch.
func TestTwoRingsAtOnce(t *testing.T) {
	tr := testTracer(t)
	a, b, c := testRing(t, 4, 0), testRing(t, 4, 0), testRing(t, 4, 0)
	nop := func(r *iouring.Ring, ud uint64) {
		queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: ud})
		submit(t, r, 1)
		r.Reap(func(iouring.CQE) {})
	}
	la, lb := logOf(t, tr, a), logOf(t, tr, b)
	nop(a, 1)
	nop(b, 2)
	nop(c, 3)
	la2 := logOf(t, tr, a)
	nop(a, 4)
	check := func(l *lifeLog, want ...uint64) {
		t.Helper()
		rows := awaitLives(t, l, "the NOPs", completed(want...))
		wellFormed(t, rows)
		var got []uint64
		for _, e := range rows {
			if e.What == wire.LifeSubmit {
				got = append(got, e.UserData)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("NOPs %v, want %v", got, want)
		}
	}
	check(la, 1, 4)
	check(lb, 2)
	check(la2, 4)
	tr.unwatch(la)
	tr.unwatch(la)
	nop(a, 5)
	nop(b, 6)
	if rows, lost := la.take(); len(rows) != 0 || lost != 0 {
		t.Errorf("a log that has ended gets %d events, %d lost", len(rows), lost)
	}
	rows := awaitLives(t, la2, "a NOP", completed(5))
	if len(eventsOf(rows, 6)) != 0 {
		t.Error("events of another ring")
	}
}

// A request that was armed before the watch is told from then on.
func TestRequestFromBeforeTheWatch(t *testing.T) {
	tr := testTracer(t)
	r := testRing(t, 4, 0)
	in, out := testPipe(t)
	queue(r, iouring.SQE{Op: iouring.OpPollAdd, FD: int32(in), OpFlags: unix.POLLIN, UserData: 21})
	submit(t, r, 0)
	l := logOf(t, tr, r)
	if _, err := unix.Write(out, []byte("x")); err != nil {
		t.Fatal(err)
	}
	submit(t, r, 1)
	life := eventsOf(awaitLives(t, l, "the poll", completed(21)), 21)
	if s := story(life); s != "task work, complete" {
		t.Errorf("life: %s", s)
	}
	for _, e := range life {
		if e.SubmitAt != 0 || e.Op != iouring.OpPollAdd || e.Req == 0 {
			t.Errorf("%+v", e)
		}
	}
}

// The channel rings for an owner in another process, who then dies.
func TestWakeAndDeath(t *testing.T) {
	tr := testTracer(t)
	cmd, _, say := ringOwner(t)
	found, err := testProbe(t).discover(context.Background(), cmd.Process.Pid)
	if err != nil || len(found) != 1 {
		t.Fatalf("%+v, %v", found, err)
	}
	wake, l, err := tr.watch(found[0].Ctx)
	if err != nil {
		t.Fatal(err)
	}
	say("nop")
	select {
	case <-wake:
	case <-time.After(patience):
		t.Fatal("nothing rang")
	}
	awaitLives(t, l, "a NOP", completed(8))
	// The read of the pipe is cancelled as the process dies.
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	rows := awaitLives(t, l, "the read is cancelled", completed(7))
	for _, e := range eventsOf(rows, 7) {
		if e.What == wire.LifeComplete && e.Res != -int32(unix.ECANCELED) && e.Res != -int32(unix.EINTR) {
			t.Errorf("%+v", e)
		}
	}
	tr.unwatch(l)
}

// Nobody watches: no program of ours is loaded, no fd held. And again.
func TestUnwatchLeavesNothing(t *testing.T) {
	tr := testTracer(t)
	a, b := testRing(t, 4, 0), testRing(t, 4, 0)
	p := testProbe(t)
	ctxA, ctxB := find(t, p, a).Ctx, find(t, p, b).Ctx
	before := bpfObjects(t)
	for range 2 {
		_, la, err := tr.watch(ctxA)
		if err != nil {
			t.Fatal(err)
		}
		_, lb, err := tr.watch(ctxB)
		if err != nil {
			t.Fatal(err)
		}
		ids := loadedPrograms(t, tr.coll)
		if len(ids) != len(tr.links)+1 || len(ids) < 9 {
			t.Fatalf("%d programs, %d links", len(ids), len(tr.links))
		}
		tr.unwatch(la)
		if tr.coll == nil {
			t.Fatal("one is still watched")
		}
		tr.unwatch(lb)
		awaitNoPrograms(t, ids)
		awaitObjects(t, before)
	}
	_, l, err := tr.watch(ctxA)
	if err != nil {
		t.Fatal(err)
	}
	ids := loadedPrograms(t, tr.coll)
	tr.close()
	awaitNoPrograms(t, ids)
	awaitObjects(t, before)
	l.take()
	tr.unwatch(l)
	tr.close()
}

func TestTooManyRings(t *testing.T) {
	tr := testTracer(t)
	var logs []*lifeLog
	for i := range maxWatched {
		_, l, err := tr.watch(uint64(i + 1))
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
	}
	if _, _, err := tr.watch(1000); !errors.Is(err, errTooMany) {
		t.Fatalf("one more: %v", err)
	}
	tr.unwatch(logs[3])
	if _, _, err := tr.watch(1000); err != nil {
		t.Fatal(err)
	}
}

// bpfObjects are the fds of BPF objects that this process holds.
func bpfObjects(t testing.TB) int {
	t.Helper()
	n := 0
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fds {
		if to, err := os.Readlink(f); err == nil && strings.Contains(to, "bpf") {
			n++
		}
	}
	return n
}

func awaitObjects(t testing.TB, want int) {
	t.Helper()
	end := time.Now().Add(patience)
	for bpfObjects(t) > want {
		if time.Now().After(end) {
			t.Fatalf("%d BPF objects are held, %d were", bpfObjects(t), want)
		}
		runtime.Gosched()
	}
}

func loadedPrograms(t testing.TB, coll *ebpf.Collection) []ebpf.ProgramID {
	t.Helper()
	var out []ebpf.ProgramID
	for _, p := range coll.Programs {
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, ok := info.ID()
		if !ok {
			t.Fatal("this kernel gives programs no ids")
		}
		out = append(out, id)
	}
	return out
}

// awaitNoPrograms waits until the kernel has freed the programs.
func awaitNoPrograms(t testing.TB, ids []ebpf.ProgramID) {
	t.Helper()
	end := time.Now().Add(patience)
	for _, id := range ids {
		for {
			p, err := ebpf.NewProgramFromID(id)
			if errors.Is(err, os.ErrNotExist) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			p.Close()
			if time.Now().After(end) {
				t.Fatalf("program %d is still loaded", id)
			}
			runtime.Gosched()
		}
	}
}

// nops submits and reaps n NOPs in batches.
func nops(r *iouring.Ring, n, batch int) error {
	for done := 0; done < n; done += batch {
		for range batch {
			queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 1})
		}
		if _, err := r.Submit(0); err != nil {
			return err
		}
		r.Reap(func(iouring.CQE) {})
	}
	return nil
}

// A ring at full speed is thinned out: whole lives are told, and what is not
// told is counted to the event.
func TestFullSpeedIsThinnedOut(t *testing.T) {
	tr := testTracer(t)
	tr.hotRate, tr.cpuRate = 1e12, 1e12 // the programs do not rest: see rest_test.go
	r := testRing(t, 64, 0)
	l := logOf(t, tr, r)
	const n = 320_000
	var rows []lifeEvent
	var lost uint64
	for range 100 {
		if err := nops(r, n/100, 32); err != nil {
			t.Fatal(err)
		}
		some, _ := l.take()
		rows = append(rows, some...)
	}
	queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 2})
	submit(t, r, 1)
	end := time.Now().Add(patience)
	for uint64(len(rows))+lost != 2*n+2 {
		var some []lifeEvent
		some, lost = l.take()
		rows = append(rows, some...)
		if time.Now().After(end) {
			t.Fatalf("%d events and %d lost of %d", len(rows), lost, 2*n+2)
		}
	}
	if len(rows) < 1000 || lost == 0 {
		t.Errorf("%d events told, %d lost", len(rows), lost)
	}
	open := map[uint64]bool{}
	for i, e := range rows {
		if i > 0 && e.Seq <= rows[i-1].Seq {
			t.Fatalf("number %d after %d", e.Seq, rows[i-1].Seq)
		}
		switch e.What {
		case wire.LifeSubmit:
			if open[e.Req] {
				t.Fatalf("event %d: submitted twice", i)
			}
			open[e.Req] = true
		case wire.LifeComplete:
			if !open[e.Req] || e.SubmitAt == 0 {
				t.Fatalf("event %d: completes without a submission: %+v", i, e)
			}
			delete(open, e.Req)
		}
	}
	if len(open) != 0 {
		t.Errorf("%d lives have no end", len(open))
	}
	t.Logf("%d events told, %d lost", len(rows), lost)
}

// What watching costs the owner of a loop of NOPs. The interesting figure is
// CPU time of the thread per NOP.
func BenchmarkOwnerOfNOPs(b *testing.B) {
	for _, batch := range []int{1, 32} {
		for _, mode := range []string{"unwatched", "attached for another", "watched"} {
			b.Run(mode+"/batch "+string(rune('0'+batch/10))+string(rune('0'+batch%10)), func(b *testing.B) {
				tr := testTracer(b)
				r := testRing(b, 64, 0)
				switch mode {
				case "watched":
					logOf(b, tr, r)
				case "attached for another":
					logOf(b, tr, testRing(b, 4, 0))
				}
				before := threadTime(b)
				b.ResetTimer()
				if err := nops(r, b.N, batch); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				b.ReportMetric(float64(threadTime(b)-before)/float64(b.N), "cpu-ns/op")
				if mode == "watched" {
					b.ReportMetric(tr.cost(), "cost")
				}
			})
		}
	}
}

func threadTime(t testing.TB) int64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	return ts.Nano()
}

// An event that is just being told on another CPU is no loss, however often
// somebody takes.
func TestTakingWhileTellingLosesNothing(t *testing.T) {
	r := testRing(t, 4, 0)
	l := logOf(t, testTracer(t), r)
	done := make(chan error, 1)
	go func() {
		for range 10_000 {
			if err := nops(r, 1, 1); err != nil {
				done <- err
				return
			}
			// A ring that is told in full: fewer than 50,000 events a second.
			for end := time.Now().Add(60 * time.Microsecond); time.Now().Before(end); {
			}
		}
		done <- nil
	}()
	for {
		if _, lost := l.take(); lost != 0 {
			<-done
			t.Fatalf("%d events were lost", lost)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}
