package uring

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/kernelviz/wire"
)

// patience bounds every wait for a condition in the tests of the BPF side.
const patience = 20 * time.Second

// ringOwnerEnv makes the test binary a process that has a ring, until its
// standard input ends.
const ringOwnerEnv = "URING_TEST_OWNER"

func init() {
	if os.Getenv(ringOwnerEnv) == "" {
		return
	}
	r, err := iouring.Setup(8, &iouring.Params{})
	if err != nil {
		fmt.Fprintln(os.Stderr, "ring owner:", err)
		os.Exit(1)
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		os.Exit(1)
	}
	mem, _, err := iouring.Memory(4096)
	if err != nil {
		os.Exit(1)
	}
	queue(r, iouring.SQE{Op: iouring.OpRead, FD: int32(p[0]), Addr: addressOf(mem), Len: 8, UserData: 7})
	if _, err := r.Submit(0); err != nil {
		os.Exit(1)
	}
	fmt.Println(r.FD())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if in.Text() == "nop" {
			queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 8})
			if _, err := r.Submit(0); err != nil {
				os.Exit(1)
			}
		}
	}
	os.Exit(0)
}

// ringOwner starts such a process and returns its pid and the fd of its ring.
func ringOwner(t testing.TB) (cmd *exec.Cmd, fd int, say func(string)) {
	t.Helper()
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), ringOwnerEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := fmt.Fscan(out, &fd); err != nil {
		t.Fatal(err)
	}
	return cmd, fd, func(line string) {
		if _, err := fmt.Fprintln(in, line); err != nil {
			t.Fatal(err)
		}
	}
}

var bpfTestKernel struct {
	info *kernel.Info
	load ebpf.CollectionOptions
}

// bpfLoad is how the programs are loaded, or the test is skipped.
func bpfLoad(t testing.TB) ebpf.CollectionOptions {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
	if bpfTestKernel.info == nil {
		info, err := kernel.Probe(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		bpfTestKernel.info = info
		bpfTestKernel.load = ebpf.CollectionOptions{Cache: info.Cache()}
	}
	for _, name := range []string{kernel.BTF, kernel.BPF, kernel.BPFSyscall, kernel.BPFLoop} {
		if c, ok := bpfTestKernel.info.Capability(name); !ok || !c.OK {
			t.Skip(c.Reason)
		}
	}
	return bpfTestKernel.load
}

// testProbe loads the reader of rings.
func testProbe(t testing.TB) *probe {
	t.Helper()
	p, err := newProbe(slog.New(slog.DiscardHandler), bpfLoad(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

// testRing makes a ring in this process. With IORING_SETUP_SINGLE_ISSUER it
// belongs to the thread, which the test keeps.
func testRing(t testing.TB, entries, flags uint32) *iouring.Ring {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	r, err := iouring.Setup(entries, &iouring.Params{Flags: flags, SQThreadIdle: 50})
	if errors.Is(err, unix.EINVAL) {
		if os.Getenv("VMTEST") == "1" {
			t.Skipf("host only: this kernel has no %s", iouring.SetupNames(flags))
		}
		t.Skipf("this kernel has no %s", iouring.SetupNames(flags))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func addressOf(mem []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&mem[0]))) }

// queue writes an SQE behind the tail. It panics when there is no room.
func queue(r *iouring.Ring, e iouring.SQE) {
	*r.Next() = e
	r.Flush()
}

func testMemory(t testing.TB, n int) []byte {
	t.Helper()
	mem, free, err := iouring.Memory(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(free)
	return mem
}

func testPipe(t testing.TB) (r, w int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(p[0])
		unix.Close(p[1])
	})
	return p[0], p[1]
}

func submit(t testing.TB, r *iouring.Ring, wait uint32) {
	t.Helper()
	if _, err := r.Submit(wait); err != nil {
		t.Fatal(err)
	}
}

// find returns what discover says of a ring of this process.
func find(t testing.TB, p *probe, r *iouring.Ring) foundRing {
	t.Helper()
	found, err := p.discover(context.Background(), os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(found, func(f foundRing) bool { return f.FD == r.FD() })
	if i < 0 {
		t.Fatalf("ring %d is not among %+v", r.FD(), found)
	}
	return found[i]
}

// look reads a ring of this process.
func look(t testing.TB, p *probe, r *iouring.Ring) *kernelRing {
	t.Helper()
	f := find(t, p, r)
	var k kernelRing
	if err := p.read(context.Background(), f.PID, f.FD, f.Ctx, &k); err != nil {
		t.Fatal(err)
	}
	return &k
}

// awaitRing reads until the condition holds.
func awaitRing(t testing.TB, p *probe, r *iouring.Ring, what string, holds func(*kernelRing) bool) *kernelRing {
	t.Helper()
	end := time.Now().Add(patience)
	for {
		k := look(t, p, r)
		if holds(k) {
			return k
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s; last read: %+v", patience, what, k)
		}
		runtime.Gosched()
	}
}

var layouts = []struct {
	name  string
	flags uint32
}{
	{"default", 0},
	{"no sqarray", iouring.SetupNoSQArray},
	{"single issuer, defer taskrun", iouring.SetupSingleIssuer | iouring.SetupDeferTaskrun},
	{"cqe32", iouring.SetupCQE32},
	{"sqe128", iouring.SetupSQE128},
	{"sqe128, cqe32", iouring.SetupSQE128 | iouring.SetupCQE32},
	{"no mmap", iouring.SetupNoMmap},
	{"no mmap, no sqarray, cqe32", iouring.SetupNoMmap | iouring.SetupNoSQArray | iouring.SetupCQE32},
}

// Every counter and every slot is what the owner of the ring knows them to be,
// across the wrap of both queues.
func TestRingIsReadRight(t *testing.T) {
	p := testProbe(t)
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			r := testRing(t, 8, l.flags)
			// Both counters are past their first round, and not at a multiple.
			for i := range 3 {
				for range 7 {
					queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: uint64(i)})
				}
				submit(t, r, 7)
				r.Reap(func(iouring.CQE) {})
			}
			for i := range uint64(5) {
				queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 100 + i})
			}
			submit(t, r, 5)
			for i := range uint64(6) {
				queue(r, iouring.SQE{Op: iouring.OpWrite, FD: int32(200 + i), Off: 1, Addr: 2, Len: 3, UserData: 300 + i, Addr3: 4})
			}

			k := look(t, p, r)
			if k.Moved {
				t.Error("nobody moves anything")
			}
			if k.Setup&l.flags != l.flags || k.SQEntries != 8 || k.CQEntries != 16 || k.SQMask != 7 || k.CQMask != 15 {
				t.Errorf("setup %#x, %d/%d entries, masks %d/%d", k.Setup, k.SQEntries, k.CQEntries, k.SQMask, k.CQMask)
			}
			if k.SQHead != r.SQHead() || k.SQTail != r.SQTail() || k.CQHead != r.CQHead() || k.CQTail != r.CQTail() {
				t.Errorf("sq %d..%d cq %d..%d, want %d..%d and %d..%d", k.SQHead, k.SQTail, k.CQHead, k.CQTail, r.SQHead(), r.SQTail(), r.CQHead(), r.CQTail())
			}
			if k.SQHead != 26 || k.CachedSQHead != 26 || k.CachedCQTail != 26 {
				t.Errorf("sq.head %d, cached %d, cached cq.tail %d, want 26", k.SQHead, k.CachedSQHead, k.CachedCQTail)
			}
			if len(k.SQEs) != 6 || len(k.CQEs) != 5 {
				t.Fatalf("%d SQEs, %d CQEs, want 6 and 5", len(k.SQEs), len(k.CQEs))
			}
			for i, e := range k.SQEs {
				want := iouring.SQE{Op: iouring.OpWrite, FD: int32(200 + i), Off: 1, Addr: 2, Len: 3, UserData: 300 + uint64(i), Addr3: 4}
				position := r.SQHead() + uint32(i)
				if got := *(*iouring.SQE)(unsafe.Pointer(&e.Raw[0])); got != want || e.Position != position || e.Index != position&7 || e.Wide != (l.flags&iouring.SetupSQE128 != 0) {
					t.Errorf("SQE %d at %d (index %d): %+v", i, e.Position, e.Index, got)
				}
			}
			for i, e := range k.CQEs {
				if binary.NativeEndian.Uint64(e.Raw[:]) != 100+uint64(i) || e.Position != r.CQHead()+uint32(i) || e.Wide != (l.flags&iouring.SetupCQE32 != 0) {
					t.Errorf("CQE %d at %d: % x", i, e.Position, e.Raw)
				}
			}
			if k.Thread.PID != 0 || k.OverflowList != 0 || k.CQOverflow != 0 || k.SQDropped != 0 || len(k.Requests) != 0 {
				t.Errorf("a thread, overflow or requests from nowhere: %+v", k)
			}
			if k.Seen&wire.SeenInFlight != 0 && k.InFlight != 0 {
				t.Errorf("%d requests are in flight, yet all have completed (%d allocated)", k.InFlight, k.Allocated)
			}
		})
	}
}

func TestDiscoverListsEveryRing(t *testing.T) {
	p := testProbe(t)
	a, b := testRing(t, 4, 0), testRing(t, 16, iouring.SetupCQE32)
	cmd, fd, _ := ringOwner(t)
	found, err := p.discover(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	want := map[ringName]uint32{{pid: os.Getpid(), fd: a.FD()}: 4, {pid: os.Getpid(), fd: b.FD()}: 16, {pid: cmd.Process.Pid, fd: fd}: 8}
	seen := map[ringName]bool{}
	for _, f := range found {
		name := ringName{pid: f.PID, fd: f.FD}
		if seen[name] {
			t.Errorf("%d:%d stands twice", f.PID, f.FD)
		}
		seen[name] = true
		if entries, ours := want[name]; ours {
			if f.SQEntries != entries || f.Ctx == 0 || f.Inode == 0 || f.Comm == "" {
				t.Errorf("%+v, want %d entries", f, entries)
			}
			delete(want, name)
		}
	}
	if len(want) > 0 {
		t.Errorf("not found: %v", want)
	}
}

// A file on disk with the name of a ring is none.
func TestNameOnDiskIsNoRing(t *testing.T) {
	p := testProbe(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "[io_uring]"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found, err := p.discover(context.Background(), os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range found {
		if r.FD == int(f.Fd()) {
			t.Errorf("the file is taken for a ring: %+v", r)
		}
	}
}

func TestArmedRequestsAndTimeouts(t *testing.T) {
	p := testProbe(t)
	for _, flags := range []uint32{0, iouring.SetupSingleIssuer | iouring.SetupDeferTaskrun} {
		t.Run(iouring.SetupNames(flags), func(t *testing.T) {
			r := testRing(t, 16, flags)
			mem := testMemory(t, 4096)
			in, out := testPipe(t)
			in2, _ := testPipe(t)
			*(*iouring.Timespec)(unsafe.Pointer(&mem[0])) = iouring.Timespec{Sec: 3600}
			queue(r, iouring.SQE{Op: iouring.OpRead, FD: int32(in), Addr: addressOf(mem) + 64, Len: 8, UserData: 1})
			queue(r, iouring.SQE{Op: iouring.OpPollAdd, FD: int32(in2), Len: iouring.PollAddMulti, OpFlags: unix.POLLIN, UserData: 2})
			queue(r, iouring.SQE{Op: iouring.OpPollAdd, FD: int32(in2), OpFlags: unix.POLLIN, UserData: 3})
			queue(r, iouring.SQE{Op: iouring.OpTimeout, FD: -1, Addr: addressOf(mem), Len: 1, UserData: 4})
			submit(t, r, 0)

			k := look(t, p, r)
			slices.SortFunc(k.Requests, func(a, b kernelRequest) int { return int(a.UserData) - int(b.UserData) })
			type row struct {
				ud    uint64
				fd    int32
				op    uint8
				where uint8
				multi bool
			}
			var got []row
			for _, q := range k.Requests {
				got = append(got, row{q.UserData, q.FD, q.Op, q.Where, q.Multi})
			}
			want := []row{
				{1, int32(in), iouring.OpRead, wire.RequestArmed, false},
				{2, int32(in2), iouring.OpPollAdd, wire.RequestArmed, true},
				{3, int32(in2), iouring.OpPollAdd, wire.RequestArmed, false},
				{4, -1, iouring.OpTimeout, wire.RequestTimeout, false},
			}
			// A pipe without FMODE_NOWAIT (before 6.2 or so) is read by io-wq.
			if len(got) == 3 && got[0].ud == 2 {
				want = want[1:]
			}
			if !slices.Equal(got, want) || k.RequestsMore {
				t.Errorf("got %+v, want %+v (more: %v)", got, want, k.RequestsMore)
			}
			if k.Seen&wire.SeenInFlight != 0 && k.InFlight != 4 {
				t.Errorf("%d in flight of %d, want 4", k.InFlight, k.Allocated)
			}

			if _, err := unix.Write(out, make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
			awaitRing(t, p, r, "the read completes", func(k *kernelRing) bool {
				if _, err := r.Enter(0, 0, iouring.EnterGetevents); err != nil {
					t.Fatal(err)
				}
				return len(k.CQEs) == 1 && len(k.Requests) == 3 && (k.Seen&wire.SeenInFlight == 0 || k.InFlight == 3)
			})
		})
	}
}

// More armed requests than the list holds: it is cut, and says so.
func TestManyArmedRequests(t *testing.T) {
	p := testProbe(t)
	r := testRing(t, 128, 0)
	in, _ := testPipe(t)
	for i := range 600 {
		queue(r, iouring.SQE{Op: iouring.OpPollAdd, FD: int32(in), OpFlags: unix.POLLIN, UserData: uint64(i)})
		if i%100 == 99 {
			submit(t, r, 0)
		}
		if i == 399 {
			k := look(t, p, r)
			seen := map[uint64]bool{}
			for _, q := range k.Requests {
				seen[q.UserData] = true
			}
			if len(seen) != 400 || k.RequestsMore {
				t.Errorf("%d of 400 requests, more: %v", len(seen), k.RequestsMore)
			}
		}
	}
	if k := look(t, p, r); len(k.Requests) != maxRead || !k.RequestsMore || k.Seen&wire.SeenInFlight != 0 && k.InFlight != 600 {
		t.Errorf("%d requests, more %v, %d in flight", len(k.Requests), k.RequestsMore, k.InFlight)
	}
}

func TestOverflowIsCounted(t *testing.T) {
	p := testProbe(t)
	r := testRing(t, 4, 0)
	for range 3 {
		for i := range uint64(4) {
			queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: i})
		}
		submit(t, r, 0)
	}
	k := look(t, p, r)
	if k.OverflowList != 4 || k.OverflowMore || k.SQFlags&iouring.SQCQOverflow == 0 || len(k.CQEs) != 8 {
		t.Errorf("%d on the overflow list (more %v), flags %#x, %d CQEs", k.OverflowList, k.OverflowMore, k.SQFlags, len(k.CQEs))
	}
}

// A bad index, and words that the owner wrote nonsense over.
func TestScribbledRing(t *testing.T) {
	p := testProbe(t)
	r := testRing(t, 8, 0)
	queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 1})
	r.SQArray()[0] = 1000
	k := look(t, p, r)
	if len(k.SQEs) != 1 || k.SQEs[0].Index != 1000 || k.SQEs[0].Raw != [64]byte{} {
		t.Errorf("%+v", k.SQEs)
	}
	var mem []byte
	for _, m := range r.Memory() {
		if m.Name == "rings" || m.Name == "sq" {
			mem = m.Mem
		}
	}
	tail := (*uint32)(unsafe.Pointer(&mem[r.Params().SQOff.Tail]))
	was := *tail
	*tail = 0xdeadbeef
	k = look(t, p, r)
	if k.SQTail != 0xdeadbeef || len(k.SQEs) != 8 {
		t.Errorf("tail %#x, %d SQEs", k.SQTail, len(k.SQEs))
	}
	*tail = was
}

func TestRegisteredResourcesAreCounted(t *testing.T) {
	p := testProbe(t)
	r := testRing(t, 4, 0)
	in, out := testPipe(t)
	if err := r.RegisterFiles([]int32{int32(in), -1, int32(out)}); err != nil {
		t.Fatal(err)
	}
	if err := r.RegisterBuffers([][]byte{testMemory(t, 4096), testMemory(t, 8192)}); err != nil {
		t.Fatal(err)
	}
	if k := look(t, p, r); k.Files != 3 || k.Buffers != 2 || k.Seen&wire.SeenResources == 0 {
		t.Errorf("%d files, %d buffers, seen %#x", k.Files, k.Buffers, k.Seen)
	}
}

func TestSQPollThread(t *testing.T) {
	p := testProbe(t)
	r := testRing(t, 4, iouring.SetupSQPoll)
	k := awaitRing(t, p, r, "the thread sleeps", func(k *kernelRing) bool { return k.Thread.State == wire.ThreadAsleep })
	th := k.Thread
	name, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/comm", th.PID))
	if err != nil || !strings.HasPrefix(string(name), "iou-sqp-") {
		t.Errorf("thread %d is %q: %v", th.PID, name, err)
	}
	if th.CPU < 0 || th.CPU >= int32(runtime.NumCPU()) || th.Bound != -1 || th.Idle < 40*time.Millisecond || th.Idle > 60*time.Millisecond || th.TotalTime == 0 {
		t.Errorf("%+v, want it bound to no CPU and idle after 50 ms", th)
	}
	if k.SQFlags&iouring.SQNeedWakeup == 0 {
		t.Errorf("flags %#x: want NEED_WAKEUP", k.SQFlags)
	}
	queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 1})
	if _, err := r.Enter(0, 0, iouring.EnterSQWakeup); err != nil {
		t.Fatal(err)
	}
	awaitRing(t, p, r, "the thread takes the SQE", func(k *kernelRing) bool { return k.CachedSQHead == 1 && len(k.CQEs) == 1 })
}

// The ring of another process; the process dies.
func TestForeignRing(t *testing.T) {
	p := testProbe(t)
	cmd, fd, say := ringOwner(t)
	found, err := p.discover(context.Background(), cmd.Process.Pid)
	if err != nil || len(found) != 1 || found[0].FD != fd {
		t.Fatalf("%+v, %v", found, err)
	}
	var k kernelRing
	read := func() error { return p.read(context.Background(), cmd.Process.Pid, fd, found[0].Ctx, &k) }
	if err := read(); err != nil {
		t.Fatal(err)
	}
	if k.SQHead != 1 || k.Seen&wire.SeenInFlight != 0 && k.InFlight != 1 {
		t.Errorf("%+v", k)
	}
	say("nop")
	end := time.Now().Add(patience)
	for k.SQHead != 2 {
		if err := read(); err != nil || time.Now().After(end) {
			t.Fatalf("sq.head %d, %v", k.SQHead, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for {
		err := read()
		if errors.Is(err, kernelviz.ErrGone) {
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("the process was killed, yet: %v", err)
		}
	}
}

// The fd is closed, and is then another ring.
func TestClosedAndReusedFD(t *testing.T) {
	p := testProbe(t)
	r := testRing(t, 4, 0)
	f := find(t, p, r)
	var k kernelRing
	read := func() error { return p.read(context.Background(), f.PID, f.FD, f.Ctx, &k) }
	if err := read(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := read(); !errors.Is(err, kernelviz.ErrGone) {
		t.Fatalf("closed: %v", err)
	}
	for range 50 {
		again := testRing(t, 4, 0)
		if again.FD() == f.FD {
			if _, err := p.discover(context.Background(), f.PID); err != nil {
				t.Fatal(err)
			}
			if err := read(); !errors.Is(err, kernelviz.ErrGone) {
				t.Fatalf("the fd is another ring: %v", err)
			}
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p.close()
	p.close()
	if err := read(); err == nil {
		t.Error("a closed probe reads")
	}
}

// While its owner submits and reaps at full speed, every reading that says it
// did not move is whole.
func TestReadingWhileItMoves(t *testing.T) {
	p := testProbe(t)
	r := testRing(t, 64, 0)
	f := find(t, p, r)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := uint64(0); ; n += 32 {
			select {
			case <-stop:
				return
			default:
			}
			for i := range uint64(32) {
				queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: n + i})
			}
			if _, err := r.Submit(0); err != nil {
				return
			}
			r.Reap(func(iouring.CQE) {})
		}
	}()
	defer func() { close(stop); <-done }()
	var k kernelRing
	still := 0
	for range 3000 {
		if err := p.read(context.Background(), f.PID, f.FD, f.Ctx, &k); err != nil {
			t.Fatal(err)
		}
		if k.Moved {
			continue
		}
		still++
		if n := k.SQTail - k.SQHead; n > 64 || int(n) != len(k.SQEs) {
			t.Fatalf("sq %d..%d, %d SQEs", k.SQHead, k.SQTail, len(k.SQEs))
		}
		for i, e := range k.CQEs {
			if got := binary.NativeEndian.Uint64(e.Raw[:]); got != uint64(k.CQHead)+uint64(i) {
				t.Fatalf("CQE %d of %d is %d, cq.head %d", i, len(k.CQEs), got, k.CQHead)
			}
		}
	}
	if still == 0 {
		t.Error("every reading moved")
	}
	t.Logf("%d of 3000 readings did not move", still)
}

func BenchmarkProbeRead(b *testing.B) {
	p := testProbe(b)
	for _, n := range []int{0, 64, 512} {
		b.Run(fmt.Sprintf("%d SQEs", n), func(b *testing.B) {
			r := testRing(b, 512, 0)
			for range n {
				queue(r, iouring.SQE{Op: iouring.OpNOP})
			}
			f := find(b, p, r)
			var k kernelRing
			spent := time.Duration(0)
			b.ResetTimer()
			for b.Loop() {
				if err := p.read(context.Background(), f.PID, f.FD, f.Ctx, &k); err != nil {
					b.Fatal(err)
				}
				spent += k.Spent
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "kernel-ns/op")
		})
	}
}
