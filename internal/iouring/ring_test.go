package iouring

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setup makes a ring, or skips where this kernel is too old for its flags.
func setup(t *testing.T, entries uint32, p Params) *Ring {
	t.Helper()
	r, err := Setup(entries, &p)
	if errors.Is(err, syscall.EINVAL) && p.Flags&^uint32(SetupSQPoll|SetupCQSize|SetupClamp) != 0 {
		t.Skipf("host only: %s needs a newer kernel: %v", SetupNames(p.Flags), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// wait submits and waits for n completions, with a deadline.
func wait(t *testing.T, r *Ring, n int) []CQE {
	t.Helper()
	var got []CQE
	deadline := time.Now().Add(10 * time.Second)
	if _, err := r.Submit(0); err != nil {
		t.Fatal(err)
	}
	for len(got) < n {
		r.Reap(func(c CQE) { got = append(got, c) })
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d completions after 10 s: sq %d/%d cq %d/%d flags %s", len(got), n,
				r.SQHead(), r.SQTail(), r.CQHead(), r.CQTail(), SQFlagNames(r.SQFlags()))
		}
		if len(got) < n {
			if _, err := r.Enter(0, 0, EnterGetevents); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(got) != n {
		t.Fatalf("%d completions, not %d: %+v", len(got), n, got)
	}
	return got
}

func TestRings(t *testing.T) {
	for name, p := range map[string]Params{
		"default":          {},
		"CQSIZE":           {Flags: SetupCQSize, CQEntries: 64},
		"SQPOLL":           {Flags: SetupSQPoll, SQThreadIdle: 20},
		"NO_SQARRAY":       {Flags: SetupNoSQArray},
		"CQE32":            {Flags: SetupCQE32},
		"SQE128":           {Flags: SetupSQE128},
		"DEFER_TASKRUN":    {Flags: SetupSingleIssuer | SetupDeferTaskrun},
		"NO_MMAP":          {Flags: SetupNoMmap},
		"NO_MMAP wide":     {Flags: SetupNoMmap | SetupNoSQArray | SetupCQE32 | SetupSQE128},
		"SQPOLL no sq":     {Flags: SetupSQPoll | SetupNoSQArray, SQThreadIdle: 20},
		"COOP, SUBMIT_ALL": {Flags: SetupCoopTaskrun | SetupTaskrunFlag | SetupSubmitAll},
	} {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			r := setup(t, 5, p)
			if r.SQEntries() != 8 || r.CQEntries() != max(16, p.CQEntries) {
				t.Fatalf("%d submission and %d completion entries", r.SQEntries(), r.CQEntries())
			}
			// More than the counters' range of indices, so that both queues wrap.
			for round := range 7 {
				for i := range 5 {
					s := r.Next()
					if s == nil {
						t.Fatal("no SQE")
					}
					if *s != (SQE{}) {
						t.Fatalf("SQE not zeroed: %+v", *s)
					}
					s.Op, s.UserData, s.FD = OpNOP, uint64(round*5+i), -1
				}
				for i, c := range wait(t, r, 5) {
					if c != (CQE{UserData: uint64(round*5 + i)}) {
						t.Fatalf("completion %d of round %d: %+v", i, round, c)
					}
				}
				drained(t, r)
			}
			if r.SQTail() != 35 || r.CQHead() != 35 || r.CQPending() != 0 || r.SQDropped() != 0 || r.CQOverflow() != 0 {
				t.Fatalf("sq.tail %d cq.head %d pending %d dropped %d overflow %d",
					r.SQTail(), r.CQHead(), r.CQPending(), r.SQDropped(), r.CQOverflow())
			}
		})
	}
}

// drained waits until sq.head is published, which an SQPOLL thread does after
// the completions can be seen.
func drained(t *testing.T, r *Ring) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); r.SQPending() > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("sq.head stays at %d of %d", r.SQHead(), r.SQTail())
		}
	}
}

func TestQueueFull(t *testing.T) {
	r := setup(t, 4, Params{})
	for range 4 {
		if r.Next() == nil {
			t.Fatal("full too early")
		}
	}
	if r.Next() != nil {
		t.Fatal("a fifth SQE of four")
	}
	if n := r.Flush(); n != 4 || r.SQPending() != 4 || r.Next() != nil {
		t.Fatalf("published %d, %d pending", n, r.SQPending())
	}
	if n := r.Flush(); n != 0 {
		t.Fatalf("published %d twice", n)
	}
	if n, err := r.Submit(4); n != 4 || err != nil {
		t.Fatalf("submitted %d: %v", n, err)
	}
	if c, ok := r.Peek(); !ok || c.Res != 0 {
		t.Fatalf("%+v %v", c, ok)
	}
	r.Advance(3)
	if r.CQPending() != 1 || r.Next() == nil {
		t.Fatalf("%d completions left", r.CQPending())
	}
}

func TestReadRegistered(t *testing.T) {
	r := setup(t, 8, Params{})
	path := t.TempDir() + "/file"
	if err := os.WriteFile(path, []byte("the quick brown fox"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf, free, err := Memory(4096)
	if err != nil {
		t.Fatal(err)
	}
	defer free()
	if err := r.RegisterFiles([]int32{-1, int32(f.Fd())}); err != nil {
		t.Fatal(err)
	}
	if err := r.RegisterBuffers([][]byte{buf}); err != nil {
		t.Fatal(err)
	}
	s := r.Next()
	*s = SQE{Op: OpReadFixed, Flags: FlagFixedFile, FD: 1, Off: 4, Addr: uint64(uintptr(unsafe.Pointer(&buf[16]))), Len: 5, UserData: 9}
	if c := wait(t, r, 1)[0]; c.Res != 5 || c.UserData != 9 || string(buf[16:21]) != "quick" {
		t.Fatalf("%+v %q", c, buf[:32])
	}
	if err := errors.Join(r.UnregisterBuffers(), r.UnregisterFiles()); err != nil {
		t.Fatal(err)
	}
	if err := r.UnregisterFiles(); !errors.Is(err, syscall.ENXIO) {
		t.Fatalf("unregistered twice: %v", err)
	}
}

func TestBufRing(t *testing.T) {
	r := setup(t, 8, Params{})
	b, err := r.RegisterBufRing(3, 4)
	if err != nil {
		t.Fatal(err)
	}
	mem, free, err := Memory(4 * 16)
	if err != nil {
		t.Fatal(err)
	}
	defer free()
	var pair [2]int
	if pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	for i := range 4 {
		b.Add(mem[i*16:(i+1)*16], uint16(i+10))
	}
	b.Publish()
	// One more round than there are buffers: the tail passes the first slot again.
	for i := range 6 {
		if _, err := unix.Write(pair[1], []byte{byte('a' + i)}); err != nil {
			t.Fatal(err)
		}
		s := r.Next()
		*s = SQE{Op: OpRecv, Flags: FlagBufferSelect, FD: int32(pair[0]), BufIndex: 3, UserData: uint64(i)}
		c := wait(t, r, 1)[0]
		id, ok := c.Buffer()
		if !ok || id != uint16(10+i%4) || c.Res != 1 || mem[(i%4)*16] != byte('a'+i) {
			t.Fatalf("receive %d: %+v, buffer %d", i, c, id)
		}
		b.Add(mem[(i%4)*16:(i%4+1)*16], id)
		b.Publish()
	}
	if err := b.Unregister(); err != nil {
		t.Fatal(err)
	}
}

func TestProbe(t *testing.T) {
	p, err := setup(t, 1, Params{}).Probe()
	if err != nil {
		t.Fatal(err)
	}
	if !p.Supports(OpNOP) || !p.Supports(OpSendZC) || p.Supports(255) || p.Last < OpSendmsgZC {
		t.Fatalf("last %d (%s)", p.Last, OpName(p.Last))
	}
}

func TestSQPollSleepsAndWakes(t *testing.T) {
	r := setup(t, 4, Params{Flags: SetupSQPoll, SQThreadIdle: 1})
	for deadline := time.Now().Add(10 * time.Second); r.SQFlags()&SQNeedWakeup == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the thread does not fall asleep")
		}
	}
	r.Next().UserData = 5
	if c := wait(t, r, 1)[0]; c.UserData != 5 {
		t.Fatalf("%+v", c)
	}
}

func TestOverflowIsKept(t *testing.T) {
	r := setup(t, 4, Params{})
	if r.Params().Features&FeatNodrop == 0 {
		t.Fatal("a kernel without IORING_FEAT_NODROP")
	}
	for range 3 {
		for range 4 {
			r.Next()
		}
		if n, err := r.Submit(0); n != 4 || err != nil {
			t.Fatalf("%d %v", n, err)
		}
	}
	if r.CQPending() != 8 || r.SQFlags()&SQCQOverflow == 0 || r.CQOverflow() != 0 {
		t.Fatalf("%d pending, flags %s, lost %d", r.CQPending(), SQFlagNames(r.SQFlags()), r.CQOverflow())
	}
	wait(t, r, 12)
	if r.SQFlags()&SQCQOverflow != 0 {
		t.Fatal("still said to be overflown")
	}
}

func TestClose(t *testing.T) {
	var p Params
	r, err := Setup(2, &p)
	if err != nil {
		t.Fatal(err)
	}
	fd := r.FD()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil || r.FD() != -1 {
		t.Fatalf("closed twice: %v", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		t.Fatalf("fd %d is open: %v", fd, err)
	}
}
