package epoll

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// gone checks that the next sample says so, and the one after it too.
func gone(t *testing.T, w kernelviz.Watch) {
	t.Helper()
	for range 2 {
		s, err := w.Sample(context.Background())
		if !errors.Is(err, kernelviz.ErrGone) {
			t.Fatalf("want ErrGone; sampled %v, error %v", s, err)
		}
	}
}

// held checks that the watch goes on with that many items.
func held(t *testing.T, w kernelviz.Watch, items int) {
	t.Helper()
	if s := wholeSample(t, w); s.Items() != items {
		t.Fatalf("%d items, want %d", s.Items(), items)
	}
}

func TestWatchEndsWithItsTarget(t *testing.T) {
	cases := []struct {
		name string
		end  func(c *child)
	}{
		{"close", func(c *child) { c.do("close") }},
		{"dup2 of another instance over it", func(c *child) { c.do("replace 3") }},
		{"dup2 of an eventfd over it", func(c *child) { c.do("cover") }},
		{"close_range", func(c *child) { c.do("range") }},
		{"exit", func(c *child) { c.say("exit 3"); c.ended() }},
		{"kill", func(c *child) {
			if err := c.cmd.Process.Kill(); err != nil {
				c.t.Fatal(err)
			}
			c.ended()
		}},
		{"exec with close-on-exec", func(c *child) { c.do("cloexec"); c.say("exec"); c.number("ready") }},
	}
	eachBPFTier(t, func(t *testing.T, v *View) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				p := startChild(t, "hold", nil)
				w := watchOf(t, v, p.ep)
				held(t, w, 5)
				p.do("add 2")
				held(t, w, 7)
				c.end(p)
				gone(t, w)
				if _, err := v.Open(context.Background(), p.ep.name()); err == nil && c.name != "dup2 of another instance over it" {
					t.Error("it can be opened again")
				}
			})
		}
	})
}

// The fd number stays and its file does not: what is shown is never the old
// instance with the new one's items, nor the other way round.
func TestFdNumberIsReused(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		p := startChild(t, "hold", nil)
		same := 0
		for range 20 {
			w := watchOf(t, v, p.ep)
			before := wholeSample(t, w)
			p.do("reopen 3")
			s, err := w.Sample(context.Background())
			if errors.Is(err, kernelviz.ErrGone) {
				continue
			}
			// The allocator gave the new instance the addresses of the old one,
			// struct file and struct eventpoll: nothing in the kernel tells them
			// apart, and what is read is what fdinfo has.
			if err != nil {
				t.Fatal(err)
			}
			same++
			compareWithFdinfo(t, s.(*Snapshot), p.ep)
			if s.Items() != 3 || before.Items() != 5 && before.Items() != 3 {
				t.Errorf("%d items, %d before", s.Items(), before.Items())
			}
		}
		t.Logf("%d of 20 new instances had the addresses of the old one", same)
	})
}

func TestWatchSurvivesExec(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		for _, how := range []string{"exec", "exec-thread"} {
			t.Run(how, func(t *testing.T) {
				p := startChild(t, "hold", nil)
				w := watchOf(t, v, p.ep)
				held(t, w, 5)
				id := sample(t, w).instance.ID
				for range 3 {
					p.say(how)
					if fd := p.number("ready"); fd != p.ep.fd {
						t.Fatalf("fd %d after exec", fd)
					}
					held(t, w, 5)
					p.do("add 0")
				}
				p.do("add 1")
				held(t, w, 6)
				if s := sample(t, w); s.instance.ID != id {
					t.Errorf("instance #%d was #%d", s.instance.ID, id)
				}
			})
		}
	})
}

// The first thread of a process may end before the others.
func TestWatchSurvivesTheLeader(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		p := startChild(t, "hold", nil)
		w := watchOf(t, v, p.ep)
		held(t, w, 5)
		p.do("leader-exit")
		p.number("ready")
		awaitThreadState(t, p.ep.pid, "Z")
		held(t, w, 5)
		p.do("add 4")
		held(t, w, 9)
		fresh := watchOf(t, v, p.ep)
		held(t, fresh, 9)
		awaitTargets(t, v, "a process without its leader", func(list map[string]target) bool {
			return list[p.ep.name()].instance != 0
		})
		p.say("exit 0")
		p.ended()
		gone(t, w)
		gone(t, fresh)
	})
}

// awaitThreadState waits until the first thread is in that state (proc_pid_stat(5)).
func awaitThreadState(t *testing.T, pid int, state string) {
	t.Helper()
	for {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", pid, pid))
		if err != nil {
			t.Fatal(err)
		}
		var id int
		var comm, got string
		if _, err := fmt.Sscanf(string(b), "%d %s %s", &id, &comm, &got); err != nil {
			t.Fatal(err)
		}
		if got == state {
			return
		}
		runtime.Gosched()
	}
}

// A thread may have a table of fds of its own (CLONE_FILES given up). The name
// of an instance means the leader's table.
func TestThreadWithItsOwnFiles(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		p := startChild(t, "hold", nil)
		p.do("unshare")
		w := watchOf(t, v, p.ep)
		held(t, w, 5)
		awaitTargets(t, v, "an instance in two tables of one process", func(list map[string]target) bool {
			return list[p.ep.name()].instance != 0
		})
		p.do("close") // in the leader's table; the thread's still has it
		gone(t, w)
	})
}

// After fork the child has the same instance, under whatever number.
func TestForkSharesTheInstance(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fds := ep.addEventfds(t, 4)
		dup, err := unix.FcntlInt(uintptr(ep.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(dup), "epoll")
		p := startChild(t, "held:3", func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{file} })
		file.Close()
		ours, theirs := watchOf(t, v, ep), watchOf(t, v, p.ep)
		so, st := wholeSample(t, ours), wholeSample(t, theirs)
		if so.instance.ID == 0 || so.instance.ID != st.instance.ID {
			t.Errorf("instance #%d here, #%d in the child", so.instance.ID, st.instance.ID)
		}
		awaitTargets(t, v, "one instance under two names", func(list map[string]target) bool {
			return list[ep.name()].instance == so.instance.ID && list[p.ep.name()].instance == so.instance.ID
		})
		compareWithFdinfo(t, st, p.ep)
		// The items are our fds: the child has others under those numbers.
		for _, n := range await(t, theirs, "the items have an owner", func(s *Snapshot) bool { return s.nodes[0].Owner != 0 }).nodes {
			if int(n.Owner) != ep.pid || n.Flags&wire.NodeOrphan != 0 {
				t.Errorf("fd %d belongs to process %d, want %d", n.FD, n.Owner, ep.pid)
			}
		}
		// What one does both see; when the child adds fds, they are the child's.
		ep.del(t, fds[0])
		held(t, theirs, 3)
		p.do("add 1")
		held(t, ours, 4)
		await(t, ours, "one item of the child", func(s *Snapshot) bool {
			n := 0
			for _, r := range s.nodes {
				if int(r.Owner) == p.ep.pid {
					n++
				}
			}
			return n == 1
		})
		p.say("exit 0")
		p.ended()
		gone(t, theirs)
		// Its fds went with it, and so did the item.
		held(t, ours, 3)
	})
}

func TestPassedFds(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		cleanly(t, err, pair[0])
		end := os.NewFile(uintptr(pair[1]), "socket")
		p := startChild(t, "hold", func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{end} })
		end.Close()
		send := func(fd int) {
			if err := unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(fd), nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		receive := func() int {
			p.say("receive 3")
			n := p.number("fd")
			if got := p.line(); got != "done" {
				t.Fatal(got)
			}
			return n
		}
		ep := newInstance(t)
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		cleanly(t, err)
		ep.add(t, fd, unix.EPOLLIN)
		w := watchOf(t, v, ep)
		held(t, w, 1)
		// A watched file that is on its way, and then open elsewhere only.
		send(fd)
		unix.Close(fd)
		held(t, w, 1)
		await(t, w, "nobody who has the instance has this fd", func(s *Snapshot) bool {
			return s.nodes[0].Flags&wire.NodeOrphan != 0
		})
		receive()
		held(t, w, 1)
		// The instance itself: while it is on its way nobody has it open.
		send(ep.fd)
		id := sample(t, w).instance.ID
		ep.close()
		gone(t, w)
		there := &instance{pid: p.ep.pid, fd: receive()}
		w = watchOf(t, v, there)
		held(t, w, 1)
		if s := sample(t, w); s.instance.ID != id {
			t.Errorf("instance #%d was #%d", s.instance.ID, id)
		}
		compareWithFdinfo(t, sample(t, w), there)
	})
}

// The instance lives on under another number: its name is gone all the same.
func TestDupOfTheInstance(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		p := startChild(t, "hold", nil)
		w := watchOf(t, v, p.ep)
		held(t, w, 5)
		p.do("dup 100")
		twin := watchOf(t, v, &instance{pid: p.ep.pid, fd: 100})
		held(t, twin, 5)
		p.do("close")
		gone(t, w)
		held(t, twin, 5)
	})
}

// Processes die while they are read: never a panic, an error or a wrong tree.
func TestTargetsDieWhileSampled(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		for range 10 {
			p := startChild(t, "hold", nil)
			w := watchOf(t, v, p.ep)
			p.do("add 400")
			held(t, w, 405)
			p.say("exit 0")
			samples := 0
			for {
				s, err := w.Sample(context.Background())
				if errors.Is(err, kernelviz.ErrGone) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				samples++
				if s.Truth().Whole && s.Items() > 405 {
					t.Fatalf("%d items", s.Items())
				}
			}
		}
	})
}
