package uring

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/kernel"
)

// childEnv makes the test binary a process whose ring is watched; see
// child_test.go.
const childEnv = "URING_TEST_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childEnv); mode != "" {
		runChild(mode)
	}
	code := m.Run()
	shared.close()
	os.Exit(code)
}

// deadline bounds every wait for a condition.
const deadline = 20 * time.Second

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
	if tier != TierFdinfo {
		bpfLoad(t)
	}
}

// viewOf returns the view of a tier that all tests share, without lives.
func viewOf(t testing.TB, tier string) *View {
	t.Helper()
	return sharedView(t, tier, Options{Tier: tier, NoLives: true})
}

// liveView returns the view with lives.
func liveView(t testing.TB) *View {
	t.Helper()
	return sharedView(t, "lives", Options{Tier: TierShm})
}

func sharedView(t testing.TB, key string, o Options) *View {
	t.Helper()
	needs(t, o.Tier)
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

// eachBPFTier runs the test with either way of reading the queues.
func eachBPFTier(t *testing.T, test func(t *testing.T, v *View)) {
	for _, tier := range []string{TierShm, TierBPFIter} {
		t.Run(tier, func(t *testing.T) { test(t, viewOf(t, tier)) })
	}
}

// eachTier is eachBPFTier and fdinfo.
func eachTier(t *testing.T, test func(t *testing.T, v *View)) {
	eachBPFTier(t, test)
	t.Run(TierFdinfo, func(t *testing.T) { test(t, viewOf(t, TierFdinfo)) })
}

func nameOf(r *iouring.Ring) string { return fmt.Sprintf("%d:%d", os.Getpid(), r.FD()) }

// watchOf opens a watch that is closed when the test ends.
func watchOf(t testing.TB, v *View, name string) kernelviz.Watch {
	t.Helper()
	w, err := v.Open(context.Background(), name)
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

// wholeSample is for a ring that nobody moves: it must hold at once.
func wholeSample(t testing.TB, w kernelviz.Watch) *Snapshot {
	t.Helper()
	s := sample(t, w)
	if !s.truth.Whole {
		t.Fatalf("nobody touches the ring, yet: %s; %+v", brokenText[s.truth.Broken], s.ring)
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
			t.Fatalf("waited %v in vain: %s; last seen %+v, requests %+v, done %+v", deadline, what, s.ring, s.requests, s.done)
		}
		time.Sleep(time.Millisecond)
	}
}

// gone samples until the ring is gone, and holds that it stays so.
func gone(t testing.TB, w kernelviz.Watch) {
	t.Helper()
	end := time.Now().Add(deadline)
	for {
		_, err := w.Sample(context.Background())
		if errors.Is(err, kernelviz.ErrGone) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatal("the ring is not gone")
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := w.Sample(context.Background()); !errors.Is(err, kernelviz.ErrGone) {
		t.Errorf("gone, and then: %v", err)
	}
}

// child is another process of this binary; see child_test.go for what it does.
type child struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	pid int
	fd  int // of the ring that it announced
}

func (c *child) name() string { return fmt.Sprintf("%d:%d", c.pid, c.fd) }

// startChild starts a child and waits until it says "ready FD".
func startChild(t testing.TB, mode string, prepare func(*exec.Cmd)) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
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
	c := &child{t: t, cmd: cmd, in: in, out: bufio.NewReader(out), pid: cmd.Process.Pid}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	c.fd = c.number("ready")
	return c
}

// number reads "WORD N".
func (c *child) number(word string) int {
	c.t.Helper()
	var n int
	line := c.line()
	if _, err := fmt.Sscanf(line, word+" %d", &n); err != nil {
		c.t.Fatalf("child said %q, want %s N", line, word)
	}
	return n
}

func (c *child) line() string {
	c.t.Helper()
	text, err := c.out.ReadString('\n')
	if err != nil {
		c.t.Fatalf("child: %v", err)
	}
	return strings.TrimSpace(text)
}

// say gives the child a command.
func (c *child) say(line string) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		c.t.Fatal(err)
	}
}

// do gives the child a command and waits until it has done it.
func (c *child) do(line string) {
	c.t.Helper()
	c.say(line)
	if got := c.line(); got != "done" {
		c.t.Fatalf("child said %q to %q", got, line)
	}
}

// ended waits for the child to end.
func (c *child) ended() {
	c.t.Helper()
	_ = c.cmd.Wait()
}

// openFDs counts what this process has open.
func openFDs(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// ringMaps counts the mappings of rings in this process, and those of them
// that can be written to.
func ringMaps(t testing.TB) (all, writable int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, "[io_uring]") {
			continue
		}
		all++
		if strings.Contains(strings.Fields(line)[1], "w") {
			writable++
		}
	}
	return all, writable
}

func kill(t testing.TB, c *child) {
	t.Helper()
	if err := unix.Kill(c.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.ended()
}

func pointerTo[T any](v *T) unsafe.Pointer { return unsafe.Pointer(v) }
