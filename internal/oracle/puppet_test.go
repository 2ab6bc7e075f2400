package oracle

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/epoll"
	"kernelviz/internal/workload"
	puppet "kernelviz/internal/workload/puppet/oracle"
)

func do(t *testing.T, p *workload.Process, action string) error {
	t.Helper()
	_, err := p.Do(t.Context(), json.RawMessage(action))
	var refused *workload.Error
	if errors.As(err, &refused) && refused.Code == "bad_action" || err != nil && refused == nil {
		t.Fatalf("%s: %v", action, err)
	}
	return err
}

func must(t *testing.T, p *workload.Process, action string) {
	t.Helper()
	if err := do(t, p, action); err != nil {
		t.Fatalf("%s: %v", action, err)
	}
}

func knows(t *testing.T, p *workload.Process) workload.State {
	t.Helper()
	s, err := p.Knows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The puppet foretells its ready lists from the calls that it made. What is
// read from the kernel is the same list in the same order, whatever was done,
// and the threads asleep are those that it sent to sleep.
func TestPuppetKnowsWhatIsSeen(t *testing.T) {
	eachView(t, epoll.Options{}, func(t *testing.T, v *epoll.View) {
		compared, ready, asleep := 0, 0, 0
		for seed := range uint64(4) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				proc := startWorkload(t, "puppet")
				must(t, proc, `{"op":"epoll_create"}`)
				must(t, proc, `{"op":"epoll_create"}`)
				for _, what := range []string{"eventfd", "pipe", "unix", "timerfd", "udp", "tcp"} {
					must(t, proc, `{"op":"make","what":"`+what+`","n":2}`)
				}
				pages := map[int]*page{}
				for _, fd := range []int{3, 4} {
					pages[fd] = open(t, v, Instance{PID: proc.PID(), FD: fd})
				}
				rng := rand.New(rand.NewPCG(seed, 9))
				for range 150 {
					s := knows(t, proc)
					fd := s.FDs[rng.IntN(len(s.FDs))]
					action := randomAction(rng, fd.FD)
					if fd.Kind == "udp" && fd.Readable && (strings.Contains(action, "ready") || strings.Contains(action, "write")) {
						continue // when a second datagram arrives nobody can tell
					}
					_ = do(t, proc, action) // an errno is as good as a success
					s = knows(t, proc)
					for _, e := range s.Epolls {
						n, m := comparePuppet(t, pages[e.FD], proc, s, e, action)
						compared++
						ready, asleep = ready+n, asleep+m
					}
				}
			})
		}
		t.Logf("%d comparisons, with %d ready items and %d sleeping threads in all", compared, ready, asleep)
		if ready < compared/4 || asleep < compared/20 {
			t.Errorf("%d comparisons prove little: %d ready items, %d sleeping threads", compared, ready, asleep)
		}
	})
}

func comparePuppet(t *testing.T, p *page, proc *workload.Process, s workload.State, e puppet.Instance, action string) (ready, asleep int) {
	t.Helper()
	var want []int
	for _, th := range s.Threads {
		if th.Waiting == e.FD {
			want = append(want, th.TID)
		}
	}
	slices.Sort(want)
	// A wait has begun when the puppet says so; its thread sleeps soon after.
	var got []int
	for end := time.Now().Add(waitLimit); ; runtime.Gosched() {
		p.sample(t)
		got = slices.Clone(p.waiters)
		slices.Sort(got)
		if slices.Equal(got, want) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after %s: threads %v sleep on %d, the puppet knows %v", action, got, e.FD, want)
		}
	}
	i := Instance{PID: proc.PID(), FD: e.FD}
	listed, err := i.Items()
	if err != nil {
		t.Fatal(err)
	}
	if d := p.differs(listed); d != "" || !p.whole {
		t.Fatalf("after %s: whole %t; %s", action, p.whole, d)
	}
	order, err := p.order()
	if err != nil {
		t.Fatal(err)
	}
	items := []int{}
	for _, n := range order {
		items = append(items, n.fd)
	}
	slices.Sort(items)
	if !slices.Equal(items, e.Items) {
		t.Fatalf("after %s: instance %d has items %v, the puppet knows %v", action, e.FD, items, e.Items)
	}
	if e.ReadyKnown && (!slices.Equal(p.ready, e.Ready) && len(p.ready)+len(e.Ready) > 0 || p.scanning || p.locked) {
		t.Fatalf("after %s: the ready list of %d is %v, the puppet knows %v; scanning %t, locked %t", action, e.FD, p.ready, e.Ready, p.scanning, p.locked)
	}
	return len(e.Ready), len(want)
}

func randomAction(rng *rand.Rand, fd int) string {
	epfd := 3 + rng.IntN(2)
	events := []string{
		`"EPOLLIN"`, `"EPOLLIN","EPOLLET"`, `"EPOLLIN","EPOLLONESHOT"`, `"EPOLLOUT","EPOLLET"`, `"EPOLLIN","EPOLLEXCLUSIVE"`, `"EPOLLRDHUP"`,
	}[rng.IntN(6)]
	switch rng.IntN(15) {
	case 0, 1, 2:
		return fmt.Sprintf(`{"op":"ctl","epfd":%d,"ctl":"add","fd":%d,"events":[%s],"data":%d}`, epfd, fd, events, rng.Uint64())
	case 3:
		return fmt.Sprintf(`{"op":"ctl","epfd":%d,"ctl":"mod","fd":%d,"events":[%s],"data":%d}`, epfd, fd, events, rng.Uint32())
	case 4:
		return fmt.Sprintf(`{"op":"ctl","epfd":%d,"ctl":"del","fd":%d}`, epfd, fd)
	case 5, 6, 7:
		return fmt.Sprintf(`{"op":"ready","fd":%d}`, fd)
	case 8:
		return fmt.Sprintf(`{"op":"drain","fd":%d}`, fd)
	case 11:
		return fmt.Sprintf(`{"op":"write","fd":%d}`, fd)
	case 12:
		return fmt.Sprintf(`{"op":"read","fd":%d,"n":%d}`, fd, 1+rng.IntN(2)*7)
	case 13:
		return fmt.Sprintf(`{"op":"dup_add","epfd":%d,"fd":%d,"n":%d,"events":[%s]}`, epfd, fd, 1+rng.IntN(2), events)
	case 9, 10:
		return fmt.Sprintf(`{"op":"wait","epfd":%d,"maxevents":%d,"timeout":-1,"thread":%d}`, epfd, 1+rng.IntN(4), 1+rng.IntN(4))
	}
	return fmt.Sprintf(`{"op":"wait","epfd":%d,"maxevents":64,"timeout":0,"thread":16}`, epfd)
}

// The classic surprise, from outside: a dup keeps the item of a closed fd.
func TestPuppetDupSurvives(t *testing.T) {
	eachView(t, epoll.Options{NoTransitions: true}, func(t *testing.T, v *epoll.View) {
		proc := startWorkload(t, "puppet")
		must(t, proc, `{"op":"epoll_create"}`)
		must(t, proc, `{"op":"add","epfd":3,"what":"eventfd"}`)
		must(t, proc, `{"op":"dup","fd":4}`)
		must(t, proc, `{"op":"close","fd":4}`)
		must(t, proc, `{"op":"ready","fd":5}`)
		p := open(t, v, Instance{PID: proc.PID(), FD: 3})
		for _, e := range knows(t, proc).Epolls {
			if n, _ := comparePuppet(t, p, proc, knows(t, proc), e, "dup, close, ready"); n != 1 {
				t.Errorf("%d items are ready, want 1", n)
			}
		}
		must(t, proc, `{"op":"close","fd":5}`)
		p.sample(t)
		if len(p.nodes) != 0 {
			t.Errorf("%d items after the last reference went", len(p.nodes))
		}
	})
}

// A page sees the item on the ready list, and the thread awake, within a few
// samples of the call; and killing the puppet ends the watch.
func TestPuppetUnderLoad(t *testing.T) {
	eachView(t, epoll.Options{}, func(t *testing.T, v *epoll.View) {
		proc := startWorkload(t, "puppet")
		must(t, proc, `{"op":"epoll_create"}`)
		for _, what := range []string{"eventfd", "pipe", "unix", "tcp", "udp"} {
			must(t, proc, `{"op":"add","epfd":3,"what":"`+what+`","n":60}`)
		}
		i := Instance{PID: proc.PID(), FD: 3}
		p := open(t, v, i)
		busy := make(chan error, 1)
		go func() {
			rng := rand.New(rand.NewPCG(4, 4))
			for range 400 {
				fd := 4 + rng.IntN(300)
				_, err := proc.Do(t.Context(), json.RawMessage([]string{
					fmt.Sprintf(`{"op":"ready","fd":%d}`, fd), fmt.Sprintf(`{"op":"drain","fd":%d}`, fd), `{"op":"wait","epfd":3,"maxevents":16,"timeout":0}`,
					fmt.Sprintf(`{"op":"ctl","epfd":3,"ctl":"del","fd":%d}`, fd), fmt.Sprintf(`{"op":"ctl","epfd":3,"ctl":"add","fd":%d,"events":["EPOLLIN"]}`, fd),
				}[rng.IntN(5)]))
				var refused *workload.Error
				if err != nil && !errors.As(err, &refused) {
					busy <- err
					return
				}
			}
			busy <- nil
		}()
		moved, rounds := 0, 0
		for running := true; running; rounds++ {
			moved += agree(t, p, i, true)
			select {
			case err := <-busy:
				if err != nil {
					t.Fatal(err)
				}
				running = false
			default:
			}
		}
		agree(t, p, i, false)
		s := knows(t, proc)
		comparePuppet(t, p, proc, s, s.Epolls[0], "400 random actions")
		t.Logf("%d times equal, %d times it moved meanwhile", rounds, moved)

		if err := proc.Stop(); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(waitLimit); ; runtime.Gosched() {
			_, err := p.watch.Sample(t.Context())
			if errors.Is(err, kernelviz.ErrGone) {
				return
			}
			if err != nil || time.Now().After(end) {
				t.Fatalf("the puppet is killed; sampling says %v", err)
			}
		}
	})
}
