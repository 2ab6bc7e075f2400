package epoll

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/kernel"
)

// childEnv makes the test binary be a process to watch, or one that may see
// less than we do; see child_test.go.
const childEnv = "EPOLL_TEST_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childEnv); mode != "" {
		runChild(mode)
	}
	if err := raiseFiles(); err != nil {
		fmt.Fprintln(os.Stderr, "raising RLIMIT_NOFILE:", err)
	}
	code := m.Run()
	shared.close()
	os.Exit(code)
}

// deadline bounds every wait for a condition.
const deadline = 20 * time.Second

// wantFiles is the number of fds that the largest test here opens, and some.
const wantFiles = 18_000

func raiseFiles() error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	if l.Cur >= wantFiles {
		return nil
	}
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: wantFiles, Max: max(l.Max, wantFiles)})
}

// views keeps a view per tier for all tests: loading programs takes a second
// in the test guest.
type views struct {
	mu    sync.Mutex
	info  *kernel.Info
	byKey map[string]*View
}

var shared = views{byKey: map[string]*View{}}

func (s *views) close() {
	for _, v := range s.byKey {
		v.Close()
	}
}

func kernelInfo(t testing.TB) *kernel.Info {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.info == nil {
		info, err := kernel.Probe(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		shared.info = info
	}
	return shared.info
}

// needs skips where this machine lacks what the tier stands on.
func needs(t testing.TB, tier string) {
	t.Helper()
	if tier == TierFdinfo {
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
	info := kernelInfo(t)
	wanted := []string{kernel.BTF, kernel.BPF, kernel.BPFSyscall, kernel.BPFLoop}
	if tier == TierKfunc {
		wanted = append(wanted, kernel.RdonlyCast)
	}
	for _, name := range wanted {
		if c, ok := info.Capability(name); !ok || !c.OK {
			if os.Getenv("VMTEST") == "1" && name == kernel.RdonlyCast {
				t.Skip("host only: " + c.Reason)
			}
			t.Skip(c.Reason)
		}
	}
}

// viewOf returns the view of a tier that all tests share.
func viewOf(t testing.TB, tier string) *View {
	t.Helper()
	needs(t, tier)
	return sharedView(t, tier, Options{Tier: tier, NoTransitions: true})
}

func sharedView(t testing.TB, key string, o Options) *View {
	t.Helper()
	o.Kernel = kernelInfo(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	v := shared.byKey[key]
	if v == nil {
		var err error
		if v, err = New(context.Background(), o); err != nil {
			t.Fatal(err)
		}
		shared.byKey[key] = v
	}
	return v
}

// eachBPFTier runs the test with either way of reading kernel memory.
func eachBPFTier(t *testing.T, test func(t *testing.T, v *View)) {
	for _, tier := range []string{TierKfunc, TierProbeRead} {
		t.Run(tier, func(t *testing.T) { test(t, viewOf(t, tier)) })
	}
}

// eachTier is eachBPFTier and fdinfo.
func eachTier(t *testing.T, test func(t *testing.T, v *View)) {
	eachBPFTier(t, test)
	t.Run(TierFdinfo, func(t *testing.T) { test(t, viewOf(t, TierFdinfo)) })
}

// instance is an epoll instance that a test made in this process.
type instance struct {
	pid, fd int
	closed  bool
}

func (e *instance) name() string { return fmt.Sprintf("%d:%d", e.pid, e.fd) }

func newInstance(t testing.TB) *instance {
	t.Helper()
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	e := &instance{pid: os.Getpid(), fd: fd}
	t.Cleanup(e.close)
	return e
}

func (e *instance) close() {
	if !e.closed {
		e.closed = true
		unix.Close(e.fd)
	}
}

func (e *instance) add(t testing.TB, fd int, events uint32) {
	t.Helper()
	if err := unix.EpollCtl(e.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
		t.Fatalf("adding fd %d: %v", fd, err)
	}
}

func (e *instance) mod(t testing.TB, fd int, events uint32) {
	t.Helper()
	if err := unix.EpollCtl(e.fd, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
		t.Fatalf("changing fd %d: %v", fd, err)
	}
}

func (e *instance) del(t testing.TB, fd int) {
	t.Helper()
	if err := unix.EpollCtl(e.fd, unix.EPOLL_CTL_DEL, fd, nil); err != nil {
		t.Fatalf("deleting fd %d: %v", fd, err)
	}
}

// poll takes what is ready, without waiting.
func (e *instance) poll(t testing.TB, maxEvents int) []int {
	t.Helper()
	events := make([]unix.EpollEvent, maxEvents)
	n, err := unix.EpollWait(e.fd, events, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]int, n)
	for i := range out {
		out[i] = int(events[i].Fd)
	}
	return out
}

func newEventfd(t testing.TB) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func (e *instance) addEventfds(t testing.TB, n int) []int {
	t.Helper()
	fds := make([]int, n)
	for i := range fds {
		fds[i] = newEventfd(t)
		e.add(t, fds[i], unix.EPOLLIN)
	}
	return fds
}

// ring makes an eventfd readable.
func ring(t testing.TB, fd int) {
	t.Helper()
	if _, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
}

func drain(t testing.TB, fd int) {
	t.Helper()
	if _, err := unix.Read(fd, make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
}

// watchOf opens a watch that is closed when the test ends.
func watchOf(t testing.TB, v *View, e *instance) kernelviz.Watch {
	t.Helper()
	w, err := v.Open(context.Background(), e.name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func sample(t testing.TB, w kernelviz.Watch) *Snapshot {
	t.Helper()
	s, err := w.Sample(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s.(*Snapshot)
}

// wholeSample is for an instance that nobody changes: it must hold at once.
func wholeSample(t testing.TB, w kernelviz.Watch) *Snapshot {
	t.Helper()
	s := sample(t, w)
	if !s.truth.Whole {
		t.Fatalf("nobody changes the instance, yet: %s", brokenText[s.truth.Broken])
	}
	return s
}

// await samples until the condition holds.
func await(t testing.TB, w kernelviz.Watch, what string, holds func(*Snapshot) bool) *Snapshot {
	t.Helper()
	end := time.Now().Add(deadline)
	for {
		s := sample(t, w)
		if holds(s) {
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s; last seen %+v", deadline, what, s.instance)
		}
		runtime.Gosched()
	}
}

// compareWithFdinfo holds the snapshot of a quiet instance against what the
// kernel prints of it.
func compareWithFdinfo(t testing.TB, s *Snapshot, e *instance) {
	t.Helper()
	want, err := ReadFdinfo(e.pid, e.fd)
	if err != nil {
		t.Fatal(err)
	}
	got := s.Show(make([]kernelviz.Tier, 3)).Nodes
	rows := len(want)
	if s.tree == nil {
		rows = min(rows, kernelviz.MaxWhole) // the fdinfo tier has no glyphs for the rest
	}
	if len(got) != rows || s.Items() != len(want) {
		t.Fatalf("%d nodes, %d items; fdinfo has %d", len(got), s.Items(), len(want))
	}
	for i := range got {
		if got[i].FD != want[i].FD || got[i].Mask != want[i].Events || got[i].Data != want[i].Data {
			t.Fatalf("item %d is %+v; fdinfo has %+v", i, got[i], want[i])
		}
	}
}

// child is another process of this binary; see child_test.go for what it does.
type child struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	ep  *instance // what it announced
}

// startChild starts a child and waits until it says "ready FD".
func startChild(t testing.TB, mode string, prepare func(*exec.Cmd)) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	// The race detector makes a process linger for a second when it exits.
	cmd.Env = append(os.Environ(), childEnv+"="+mode, "GORACE=atexit_sleep_ms=0")
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
	c := &child{t: t, cmd: cmd, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	c.ep = &instance{pid: cmd.Process.Pid, fd: c.number("ready")}
	return c
}

// line reads one line that the child says.
func (c *child) line() string {
	c.t.Helper()
	text, err := c.out.ReadString('\n')
	if err != nil {
		c.t.Fatalf("child: %v", err)
	}
	return strings.TrimSpace(text)
}

// number reads "WORD N".
func (c *child) number(word string) int {
	c.t.Helper()
	text := c.line()
	var n int
	if _, err := fmt.Sscanf(text, word+" %d", &n); err != nil {
		c.t.Fatalf("child says %q, want %q and a number", text, word)
	}
	return n
}

// say sends a line.
func (c *child) say(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.in, format+"\n", args...); err != nil {
		c.t.Fatal(err)
	}
}

// do sends a command and waits for the answer "done".
func (c *child) do(format string, args ...any) {
	c.t.Helper()
	c.say(format, args...)
	if got := c.line(); got != "done" {
		c.t.Fatalf("child says %q to %q", got, fmt.Sprintf(format, args...))
	}
}

// ended waits until the process is a zombie, without reaping it.
func (c *child) ended() {
	c.t.Helper()
	for {
		err := unix.Waitid(unix.P_PID, c.ep.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			c.t.Fatal(err)
		}
		return
	}
}
