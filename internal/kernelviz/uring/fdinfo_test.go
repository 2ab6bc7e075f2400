package uring

import (
	"context"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// What 6.18 prints of a default ring.
const fdinfo618 = `pos:	0
flags:	02000002
mnt_id:	17
ino:	5380588
SqMask:	0x7
SqHead:	7
SqTail:	9
CachedSqHead:	7
CqMask:	0xf
CqHead:	0
CqTail:	2
CachedCqTail:	2
SQEs:	2
    7: opcode:READ, fd:-1, flags:10, off:18446744073709551615, addr:0x5601a0bff0a0, rw_flags:0x2, buf_index:3 user_data:18446744073709551614
    0: opcode:NOP, fd:4, flags:0, off:0, addr:0x0, rw_flags:0x0, buf_index:0 user_data:1025
CQEs:	2
    0: user_data:768, res:0, flag:0
    1: user_data:769, res:-125, flag:2
SqThread:	16210
SqThreadCpu:	1
SqTotalTime:	402845
SqWorkTime:	17
UserFiles:	3
    0: pipe:[123]
    2: /tmp/a file with a name that is longer than a row
UserBufs:	1
    0: 0x7f0000001000/4096
PollList:
  op=22, task_works=0
  op=6, task_works=1
CqOverflowList:
  user_data=5, res=0, flags=0
NAPI:	disabled
`

// What 6.1 prints of a ring with wide CQEs: no times, slots without a file, a
// line for every credential.
const fdinfo61 = `pos:	0
flags:	02000002
mnt_id:	15
ino:	1050
SqMask:	0x7
SqHead:	4294967294
SqTail:	4294967295
CachedSqHead:	4294967294
CqMask:	0xf
CqHead:	14
CqTail:	17
CachedCqTail:	17
SQEs:	1
    6: opcode:POLL_ADD, fd:5, flags:0, off:0, addr:0x0, rw_flags:0x1, buf_index:0 user_data:3
CQEs:	3
   14: user_data:7, res:1, flag:0, extra1:11, extra2:12
    0: user_data:8, res:2, flag:0, extra1:0, extra2:0
SqThread:	-1
SqThreadCpu:	-1
UserFiles:	3
    0: <none>
    1: eventfd
    2: 
UserBufs:	0
Personalities:
    1
Uid:	0		0		0		0
PollList:
CqOverflowList:
`

func TestParseFdinfo(t *testing.T) {
	got, err := parseFdinfo(fdinfo618)
	if err != nil {
		t.Fatal(err)
	}
	want := &Info{
		Heads: true, SQMask: 7, SQHead: 7, SQTail: 9, CachedSQHead: 7, CQMask: 15, CQTail: 2, CachedCQTail: 2,
		SQEs: []InfoSQE{
			{Index: 7, Op: "READ", FD: -1, Flags: 0x10, Off: ^uint64(0), Addr: 0x5601a0bff0a0, OpFlags: 2, BufIndex: 3, UserData: ^uint64(1)},
			{Op: "NOP", FD: 4, UserData: 1025},
		},
		CQEs:      []InfoCQE{{UserData: 768}, {Index: 1, UserData: 769, Res: -125, Flags: 2}},
		ThreadPID: 16210, ThreadCPU: 1, ThreadTotal: 402845 * time.Microsecond, ThreadWork: 17 * time.Microsecond, HasTimes: true,
		UserFiles: 3, UserBufs: 1,
		Files:   []InfoFile{{0, "pipe:[123]"}, {2, "/tmp/a file with a name that is longer than a row"}},
		Buffers: []InfoBuffer{{0, 0x7f0000001000, 4096}},
		Polls:   []string{"op=22, task_works=0", "op=6, task_works=1"}, Overflow: 1, HasThread: true, HasPolls: true, HasOverflow: true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	rows, known := got.resources()
	if !known || len(rows) != 3 || text(rows[1].Name[:]) != "a file with a name that" || rows[2].Len != 4096 {
		t.Errorf("%v %+v", known, rows)
	}

	old, err := parseFdinfo(fdinfo61)
	if err != nil {
		t.Fatal(err)
	}
	if old.HasTimes || old.ThreadPID != -1 || len(old.Files) != 2 || old.Files[0] != (InfoFile{1, "eventfd"}) || old.Files[1] != (InfoFile{2, ""}) || len(old.Polls) != 0 || old.Overflow != 0 || !old.HasPolls {
		t.Errorf("%+v", old)
	}
	cqes := infoCQEs(old)
	if len(cqes) != 2 || cqes[0].Position != 14 || cqes[1].Position != 16 || cqes[0].Extra != [2]uint64{11, 12} || cqes[0].Wide != 1 {
		t.Errorf("%+v", cqes)
	}
	if sqes := infoSQEs(old); sqes[0].Op != iouring.OpPollAdd || sqes[0].Position != 4294967294 {
		t.Errorf("%+v", sqes)
	}
}

func TestFdinfoOfAHeldRing(t *testing.T) {
	// uring_lock was held: nothing but what every file has.
	got, err := parseFdinfo("pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t1\n")
	if err != nil || got.Heads {
		t.Errorf("%+v, %v", got, err)
	}
	if _, known := got.resources(); known {
		t.Error("registered files are known from nothing")
	}
	// 6.1 prints heads all the same, and how many buffers, but lists none.
	got, err = parseFdinfo("SqMask:\t0x7\nUserFiles:\t0\nUserBufs:\t2\n")
	if err != nil || !got.Heads {
		t.Errorf("%+v, %v", got, err)
	}
	if _, known := got.resources(); known {
		t.Error("buffers are known that are not listed")
	}
}

func TestBadFdinfo(t *testing.T) {
	for _, bad := range []string{
		"SqMask:\tx\n", "SqHead:\t-1\n", "SQEs:\t1\n    garbage\n", "CQEs:\t1\n    0: user_data:x\n", "UserFiles:\t1\n    x: y\n", "SqThread:\t\n", "UserBufs:\t1\n    x\n",
	} {
		if got, err := parseFdinfo(bad); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
	if _, err := parseFdinfo("\n\n  lost\nWhat: ever\n  is below\n"); err != nil {
		t.Error(err)
	}
}

// A ring of 128 Ki CQEs is printed whole, and no more of it is read than shown.
func TestLongFdinfo(t *testing.T) {
	long := "SqMask:\t1\nSQEs:\t9999\n" + strings.Repeat("    1: opcode:NOP, fd:-1, flags:0, off:0, addr:0x0, rw_flags:0x0, buf_index:0 user_data:1\n", 9999) +
		"CQEs:\t9999\n" + strings.Repeat("    0: user_data:1, res:0, flag:0\n", 9999)
	got, err := parseFdinfo(long)
	if err != nil || len(got.SQEs) != wire.MaxList || len(got.CQEs) != wire.MaxList {
		t.Errorf("%d SQEs, %d CQEs, %v", len(got.SQEs), len(got.CQEs), err)
	}
}

// Where the kernel prints less than there is, the tier says so.
func TestFdinfoSaysWhatItCannotSee(t *testing.T) {
	v := viewOf(t, TierFdinfo)
	for _, c := range []struct {
		name         string
		flags        uint32
		sqes, cqes   int
		unseen, seen uint32
	}{
		{"default", 0, 2, 4, 0, wire.SeenSQEs | wire.SeenCQEs},
		{"no array", iouring.SetupNoSQArray, 0, 4, wire.SeenSQEs, wire.SeenCQEs},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := testRing(t, 8, c.flags)
			w := watchOf(t, v, nameOf(r))
			for range 4 {
				queue(r, iouring.SQE{Op: iouring.OpNOP})
			}
			submit(t, r, 4)
			for range 2 {
				queue(r, iouring.SQE{Op: iouring.OpNOP})
			}
			s := wholeSample(t, w)
			if s.sqPending() != 2 || s.cqReady() != 4 || len(s.sqes) != c.sqes || len(s.cqes) != c.cqes || s.ring.Seen&c.unseen != 0 || s.ring.Seen&c.seen != c.seen {
				t.Errorf("%d SQEs, %d CQEs, seen %#x; %+v", len(s.sqes), len(s.cqes), s.ring.Seen, s.ring)
			}
			if _, listed := s.Facts()["uring.sqes"]; listed != (c.unseen&wire.SeenSQEs == 0) {
				t.Error("the fact uring.sqes is not as the tier sees")
			}
			if _, err := w.Inspect(context.Background(), "ring", 0); err == nil {
				t.Error("fdinfo shows structs")
			}
		})
	}
}

func TestFdinfoCounts(t *testing.T) {
	r := testRing(t, 8, 0)
	w := watchOf(t, viewOf(t, TierFdinfo), nameOf(r))
	wholeSample(t, w)
	for range 5 {
		queue(r, iouring.SQE{Op: iouring.OpNOP})
	}
	submit(t, r, 5)
	if s := wholeSample(t, w); s.ring.Submitted != 5 || s.ring.Completed != 5 {
		t.Errorf("%d submitted, %d completed", s.ring.Submitted, s.ring.Completed)
	}
	if w.Wake() != nil || w.Target().PID != os.Getpid() {
		t.Errorf("%+v", w.Target())
	}
	r2 := testRing(t, 8, 0)
	name := nameOf(r2)
	_ = r2.Close()
	if _, err := viewOf(t, TierFdinfo).Open(context.Background(), name); !errors.Is(err, kernelviz.ErrNotFound) {
		t.Errorf("a closed ring: %v", err)
	}
}

func TestParseStat(t *testing.T) {
	const line = "16210 (iou-sqp (x) 1) R 16195 16192 9524 0 -1 4210768 0 0 0 0 5 40 0 0 20 0 2 0 1223996 2547712 367 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 3 0 0 0 0 0 0 0 0 0 0 0 0 0"
	r, ok := parseStat(line)
	if !ok || text(r.Comm[:]) != "iou-sqp (x) 1" || r.State != wire.ThreadRunning || r.CPU != 3 || r.Time != uint64(450*time.Millisecond) {
		t.Errorf("%v %+v", ok, r)
	}
	for _, bad := range []string{"", "1", "1 (x", "1 (x) R 1 2"} {
		if _, ok := parseStat(bad); ok {
			t.Errorf("%q", bad)
		}
	}
}
