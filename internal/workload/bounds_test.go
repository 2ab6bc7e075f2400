package workload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kernelviz/internal/sandbox"
	"kernelviz/internal/workload/herd"

	"golang.org/x/sys/unix"
)

func TestTenThousandItems(t *testing.T) {
	p := start(t, "puppet")
	act(t, p, `{"op":"epoll_create"}`)
	before := time.Now()
	r, err := try(t, p, `{"op":"add","epfd":3,"what":"eventfd","n":10000}`)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(before)
	t.Logf("10,000 ADDs with %d calls told in %v", len(r.Seqs), took)
	if len(r.FDs) != 10000 || len(r.Seqs) != 20000 || r.Stopped != nil {
		t.Fatalf("%d fds, %d calls, stopped %v", len(r.FDs), len(r.Seqs), r.Stopped)
	}
	// 0.3 s on a real machine; the bound is for emulated ones.
	if took > 15*time.Second {
		t.Errorf("took %v", took)
	}
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/3", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(info), "tfd:"); got != 10000 {
		t.Errorf("the kernel has %d items", got)
	}
	if s := knows(t, p); len(s.Epolls[0].Items) != 10000 || len(s.FDs) != 10001 {
		t.Errorf("the puppet knows %d items, %d fds", len(s.Epolls[0].Items), len(s.FDs))
	}
	// Only the latest calls are kept, and a reader who comes late is told so.
	calls, next, lost, _ := p.Log().Read(0, logSize)
	if uint64(len(calls))+lost != 20001 || len(calls) != logSize || next != 20001 {
		t.Errorf("%d calls, %d lost, next %d", len(calls), lost, next)
	}
	if calls, _, lost, _ := p.Log().Read(p.Log().Start(), logSize); len(calls) != Backlog || lost != 0 {
		t.Errorf("backlog of %d calls, %d lost", len(calls), lost)
	}
}

func TestOutOfFiles(t *testing.T) {
	p := start(t, "puppet")
	act(t, p, `{"op":"epoll_create"}`)
	r, err := try(t, p, `{"op":"add","epfd":3,"what":"pipe","n":10000}`)
	if err != nil {
		t.Fatal(err)
	}
	if r.Stopped == nil || r.Stopped.Code != "emfile" {
		t.Fatalf("stopped = %+v", r.Stopped)
	}
	want := fmt.Sprintf("made %d of 10000 (pipe), then pipe2 failed: EMFILE (Too many open files)", len(r.FDs))
	if r.Stopped.Message != want {
		t.Errorf("message %q, want %q", r.Stopped.Message, want)
	}
	from := p.log.end() - 1
	calls, _, _, _ := p.log.Read(from, 1)
	if calls[0].Note != "emfile" || calls[0].Result != "= -1 EMFILE (Too many open files)" || !strings.HasPrefix(calls[0].Text, "pipe2(0x") {
		t.Errorf("told as %+v", calls[0])
	}
	// Three standard streams, the instance, and two for each pipe.
	if want := (fileLimit(t, p.PID()) - 4) / 2; len(r.FDs) != want {
		t.Errorf("%d made, want %d", len(r.FDs), want)
	}
	if s := knows(t, p); len(s.Epolls[0].Items) != len(r.FDs) {
		t.Errorf("%d made, %d known", len(r.FDs), len(s.Epolls[0].Items))
	}
}

func fileLimit(t *testing.T, pid int) int {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &l); err != nil {
		t.Fatal(err)
	}
	return int(l.Cur)
}

func TestEnds(t *testing.T) {
	t.Run("when its input ends", func(t *testing.T) {
		p := start(t, "puppet")
		act(t, p, `{"op":"epoll_create"}`)
		act(t, p, `{"op":"wait","epfd":3,"timeout":-1}`) // a thread asleep does not keep it
		p.in.Close()
		waitEnd(t, p, "exit status 0")
	})
	t.Run("by Stop", func(t *testing.T) {
		p := start(t, "puppet")
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
		waitEnd(t, p, "killed: stopped")
		_, err := p.Do(t.Context(), []byte(`{"op":"epoll_create"}`))
		if !errors.Is(err, ErrEnded) || !strings.Contains(err.Error(), "killed: stopped") {
			t.Errorf("Do after the end: %v", err)
		}
	})
	t.Run("by a signal from elsewhere", func(t *testing.T) {
		p := start(t, "puppet")
		if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitEnd(t, p, "killed by SIGKILL")
	})
	t.Run("by its deadline", func(t *testing.T) {
		p, err := Start(t.Context(), newSandbox(t), "puppet", Options{ID: "short", Deadline: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		waitEnd(t, p, "killed: deadline of 20ms passed")
	})
	t.Run("with what it said", func(t *testing.T) {
		p, err := Start(t.Context(), newSandbox(t), "puppet", Options{ID: "odd", Command: []string{"/bin/sh", "-c", "echo went wrong >&2; exit 3"}})
		if err != nil {
			t.Fatal(err)
		}
		waitEnd(t, p, "exit status 3; went wrong")
	})
	t.Run("when it talks nonsense", func(t *testing.T) {
		p, err := Start(t.Context(), newSandbox(t), "puppet", Options{ID: "odd", Command: []string{"/bin/sh", "-c", "echo '{\"idd\":1}'; sleep 60"}})
		if err != nil {
			t.Fatal(err)
		}
		waitEnd(t, p, `killed: its output could not be understood; reading from workload puppet: json: unknown field "idd"`)
	})
}

func waitEnd(t *testing.T, p *Process, want string) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("has not ended within 10s")
	}
	if got := p.Ended(); got != want {
		t.Errorf("ended by %q, want %q", got, want)
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(p.PID())); err == nil {
		t.Errorf("process %d is still there", p.PID())
	}
}

func TestDoEndsWithItsContext(t *testing.T) {
	p := start(t, "puppet")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Do(ctx, []byte(`{"op":"epoll_create"}`)); !errors.Is(err, context.Canceled) {
		t.Errorf("Do with a cancelled context: %v", err)
	}
	act(t, p, `{"op":"epoll_create"}`) // its turn was given back
}

func TestUnknownWorkload(t *testing.T) {
	_, err := Start(t.Context(), newSandbox(t), "marionette", Options{ID: "x"})
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "puppet") {
		t.Errorf("error = %v", err)
	}
	if err := Main("marionette", nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("error = %v", err)
	}
	if err := Main("puppet", []string{"--fast"}); err == nil {
		t.Error("an argument was taken")
	}
}

// TestNetwork: workloads may share a network namespace that is not ours.
func TestNetwork(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	network, err := sandbox.NewNetwork()
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	box := newSandbox(t)
	ns := map[string]bool{}
	for _, name := range []string{"herd", "clients"} {
		p, err := Start(t.Context(), box, name, Options{ID: name, Network: network})
		if err != nil {
			t.Fatal(err)
		}
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.PID()))
		if err != nil {
			t.Fatal(err)
		}
		ns[link] = true
		if name == "herd" {
			answer[herd.Run](t, p, `{"op":"run","mode":"shared","workers":2,"connections":2}`) // its loopback is up
		}
	}
	if len(ns) != 1 || ns[ours] {
		t.Errorf("they live in %v, the tests in %s", ns, ours)
	}
}
