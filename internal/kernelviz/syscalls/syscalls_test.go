package syscalls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz/kernel"
)

// callsEnv makes the test binary a process that makes so many calls of getppid
// and as many of pread64, in two threads, once a line comes in; it says when it
// is ready and when it is done.
const callsEnv = "SYSCALLS_TEST_CALLS"

func init() {
	n, err := strconv.Atoi(os.Getenv(callsEnv))
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		os.Exit(1)
	}
	done := make(chan struct{})
	start := make(chan struct{})
	thread := func(call func()) {
		runtime.LockOSThread()
		<-start
		for range n {
			call()
		}
		done <- struct{}{}
	}
	buf := make([]byte, 1)
	go thread(func() { unix.Getppid() })
	go thread(func() {
		if _, err := unix.Pread(int(f.Fd()), buf, 0); err != nil {
			os.Exit(1)
		}
	})
	fmt.Println("ready")
	line := make([]byte, 1)
	if _, err := os.Stdin.Read(line); err != nil {
		os.Exit(1)
	}
	close(start)
	<-done
	<-done
	fmt.Println("done")
	_, _ = os.Stdin.Read(line)
	os.Exit(0)
}

// caller is such a process. Run makes it call and waits until it has.
type caller struct {
	pid int
	run func()
}

func startCaller(t testing.TB, n int, prepare func(*exec.Cmd)) caller {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	// The runtime would read its CPU limit with pread64 now and then.
	cmd.Env = append(os.Environ(), callsEnv+"="+strconv.Itoa(n), "GODEBUG=updatemaxprocs=0")
	cmd.Stderr = os.Stderr
	if prepare != nil {
		prepare(cmd)
	}
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
	await := func(want string) {
		t.Helper()
		var got string
		if _, err := fmt.Fscan(out, &got); err != nil || got != want {
			t.Fatalf("the caller says %q, want %q: %v", got, want, err)
		}
	}
	await("ready")
	return caller{pid: cmd.Process.Pid, run: func() {
		t.Helper()
		if _, err := fmt.Fprintln(in); err != nil {
			t.Fatal(err)
		}
		await("done")
	}}
}

func newCounter(t testing.TB) *Counter {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
	info, err := kernel.Probe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{kernel.BTF, kernel.BPF} {
		if c, ok := info.Capability(name); !ok || !c.OK {
			t.Skip(c.Reason)
		}
	}
	c, err := New(slog.New(slog.DiscardHandler), ebpf.CollectionOptions{Cache: info.Cache()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func start(t testing.TB, c *Counter, of Of) *Count {
	t.Helper()
	n, err := c.Start(of)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func read(t testing.TB, n *Count) map[string]uint64 {
	t.Helper()
	byName, total, err := n.Read()
	if err != nil {
		t.Fatal(err)
	}
	sum := uint64(0)
	for _, calls := range byName {
		sum += calls
	}
	if sum != total {
		t.Errorf("total %d, the sum is %d", total, sum)
	}
	return byName
}

// million is how many calls the claim that experiments test is about: 4 GiB in
// reads of 4 KiB.
const million = 1 << 20

func TestCountsAProcessToTheCall(t *testing.T) {
	c := newCounter(t)
	p := startCaller(t, million, nil)
	n := start(t, c, Of{PIDs: []int{p.pid}})
	none := start(t, c, Of{PIDs: []int{1 << 22}})
	p.run()
	got := read(t, n)
	if got["getppid"] != million || got["pread64"] != million {
		t.Errorf("%d getppid and %d pread64, want %d: %v", got["getppid"], got["pread64"], million, got)
	}
	if got["write"] != 1 {
		t.Errorf("the caller wrote one line: %v", got)
	}
	if got := read(t, none); len(got) != 0 {
		t.Errorf("of a process that there is not: %v", got)
	}
}

func TestCountsACgroupToTheCall(t *testing.T) {
	c := newCounter(t)
	top, below, beside := testCgroups(t)
	in := func(dir string) func(*exec.Cmd) {
		return func(cmd *exec.Cmd) {
			f, err := os.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			cmd.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
		}
	}
	const few = 10_000
	a, b, other := startCaller(t, million, in(top)), startCaller(t, few, in(below)), startCaller(t, few, in(beside))
	both := start(t, c, Of{Cgroup: top})
	onlyBelow := start(t, c, Of{Cgroup: below})
	onlyA := start(t, c, Of{PIDs: []int{a.pid}})
	a.run()
	b.run()
	other.run()
	for _, want := range []struct {
		name  string
		count *Count
		calls uint64
	}{{"cgroup with one below", both, million + few}, {"cgroup below", onlyBelow, few}, {"process", onlyA, million}} {
		if got := read(t, want.count); got["getppid"] != want.calls || got["pread64"] != want.calls {
			t.Errorf("%s: %d getppid and %d pread64, want %d", want.name, got["getppid"], got["pread64"], want.calls)
		}
	}

	// What ends is counted no more, what goes on is not disturbed, and a new
	// count begins with nothing.
	onlyBelow.Close()
	if _, _, err := onlyBelow.Read(); !errors.Is(err, errEnded) {
		t.Errorf("a closed count reads: %v", err)
	}
	again := start(t, c, Of{Cgroup: below})
	if got := read(t, again); len(got) != 0 {
		t.Errorf("a new count has %v", got)
	}
	if got := read(t, both); got["getppid"] != million+few {
		t.Errorf("%d getppid after another count was closed", got["getppid"])
	}
}

// testCgroups makes a cgroup with one below it, and one beside it.
func testCgroups(t testing.TB) (top, below, beside string) {
	t.Helper()
	root := cgroupRoot(t)
	name := fmt.Sprintf("kernelviz-syscalls-test-%d", os.Getpid())
	top = filepath.Join(root, name)
	below, beside = filepath.Join(top, "below"), top+"-beside"
	for _, dir := range []string{top, below, beside} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { awaitRemoved(t, dir) })
	}
	return top, below, beside
}

// awaitRemoved removes a cgroup whose processes are ending.
func awaitRemoved(t testing.TB, dir string) {
	end := time.Now().Add(20 * time.Second)
	for {
		err := unix.Rmdir(dir)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Errorf("removing %s: %v", dir, err)
			return
		}
		runtime.Gosched()
	}
}

// cgroupRoot is where cgroup v2 is mounted. It is mounted for the test where
// the machine has not.
func cgroupRoot(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if i := strings.Index(line, " - cgroup2 "); i >= 0 && len(fields) > 4 && unix.Access(fields[4], unix.W_OK) == nil {
			return fields[4]
		}
	}
	dir := t.TempDir()
	if err := unix.Mount("cgroup2", dir, "cgroup2", 0, ""); err != nil {
		t.Fatalf("mounting cgroup v2: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestNothingStaysLoaded(t *testing.T) {
	c := newCounter(t)
	if c.coll != nil {
		t.Fatal("something is loaded before the first count")
	}
	for range 2 {
		a, b := start(t, c, Of{PIDs: []int{os.Getpid()}}), start(t, c, Of{PIDs: []int{1}})
		info, err := c.coll.Programs[countProgSysEnter].Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		a.Close()
		a.Close()
		if c.coll == nil {
			t.Fatal("one count is still open")
		}
		b.Close()
		if c.coll != nil || c.link != nil {
			t.Fatal("still attached")
		}
		end := time.Now().Add(20 * time.Second)
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

func TestStartRefuses(t *testing.T) {
	c := newCounter(t)
	for name, of := range map[string]Of{"nobody": {}, "no such cgroup": {Cgroup: "/does/not/exist"}, "no cgroup": {Cgroup: t.TempDir()}} {
		if n, err := c.Start(of); err == nil {
			n.Close()
			t.Errorf("%s: no error", name)
		}
	}
	for range maxCounts {
		start(t, c, Of{PIDs: []int{1}})
	}
	if _, err := c.Start(Of{PIDs: []int{1}}); !errors.Is(err, errTooMany) {
		t.Errorf("one more: %v", err)
	}
	c.Close()
	if c.coll != nil {
		t.Error("still loaded")
	}
}

func TestNames(t *testing.T) {
	for number, want := range map[int]string{
		unix.SYS_PREAD64: "pread64", unix.SYS_IO_URING_ENTER: "io_uring_enter", unix.SYS_GETPPID: "getppid",
		callCompat: "32-bit", callOther: "other", 500: "syscall_500",
	} {
		if got := name(number); got != want {
			t.Errorf("%d is %q, want %q", number, got, want)
		}
	}
	if n := len(maps.Collect(maps.All(names))); n < 300 {
		t.Errorf("only %d names", n)
	}
}
