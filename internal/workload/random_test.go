package workload

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestForetellsThreads drives the puppet at random with threads asleep in
// epoll_wait. What the puppet says it knows must never be wrong, and it must
// know most of the time: where threads race it cannot.
func TestForetellsThreads(t *testing.T) {
	seeds := 5
	if testing.Short() {
		seeds = 2
	}
	woken := 0
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			woken += driveAtRandom(t, rand.New(rand.NewPCG(uint64(seed), 3)))
		})
	}
	if woken < 2*seeds {
		t.Errorf("only %d sleeping threads were woken: the test proves little", woken)
	}
}

func driveAtRandom(t *testing.T, r *rand.Rand) (woken int) {
	p := start(t, "puppet")
	act(t, p, `{"op":"epoll_create"}`) // 3
	act(t, p, `{"op":"epoll_create"}`) // 4
	for _, what := range []string{"eventfd", "pipe", "unix", "timerfd", "udp", "tcp"} {
		act(t, p, `{"op":"make","what":"`+what+`","n":2}`)
	}
	act(t, p, `{"op":"ctl","epfd":3,"ctl":"add","fd":4,"events":["EPOLLIN"]}`)
	lists, unknown := 0, 0
	for range 400 {
		s := knows(t, p)
		fd := s.FDs[r.IntN(len(s.FDs))]
		action := randomAction(r, fd.FD, string(fd.Kind))
		if fd.Kind == "udp" && fd.Readable && (strings.Contains(action, "ready") || strings.Contains(action, "write")) {
			continue // of a second datagram nobody can tell when it has arrived
		}
		asleep := len(s.Threads)
		if _, err := try(t, p, action); err != nil && err.(*Error).Code == "bad_action" {
			t.Fatalf("%s: %v", action, err)
		}
		s = knows(t, p)
		if asleep > len(s.Threads) {
			woken += asleep - len(s.Threads)
		}
		if s.Surprises > 0 {
			t.Fatalf("epoll_wait returned something else than foretold after\n%s\n%+v", strings.Join(texts(p.log, 0), "\n"), s)
		}
		for _, ep := range s.Epolls {
			lists++
			if !ep.ReadyKnown {
				unknown++
			}
		}
	}
	if unknown*4 > lists {
		t.Errorf("%d of %d ready lists were not known", unknown, lists)
	}
	return woken
}

func randomAction(r *rand.Rand, fd int, kind string) string {
	epfd := 3 + r.IntN(2)
	events := []string{`"EPOLLIN"`, `"EPOLLIN","EPOLLET"`, `"EPOLLIN","EPOLLONESHOT"`, `"EPOLLOUT","EPOLLET"`, `"EPOLLIN","EPOLLEXCLUSIVE"`, `"EPOLLRDHUP"`}[r.IntN(6)]
	switch r.IntN(17) {
	case 0, 1:
		return fmt.Sprintf(`{"op":"ctl","epfd":%d,"ctl":"add","fd":%d,"events":[%s],"data":%d}`, epfd, fd, events, r.Uint32())
	case 2:
		return fmt.Sprintf(`{"op":"ctl","epfd":%d,"ctl":"mod","fd":%d,"events":[%s],"data":%d}`, epfd, fd, events, r.Uint32())
	case 3:
		return fmt.Sprintf(`{"op":"ctl","epfd":%d,"ctl":"del","fd":%d}`, epfd, fd)
	case 4, 5:
		return fmt.Sprintf(`{"op":"ready","fd":%d}`, fd)
	case 6, 9:
		return fmt.Sprintf(`{"op":"drain","fd":%d}`, fd)
	case 10:
		n := 1 + r.IntN(3)
		if kind == "udp" {
			n = 1
		}
		return fmt.Sprintf(`{"op":"write","fd":%d,"n":%d}`, fd, n)
	case 11:
		return fmt.Sprintf(`{"op":"read","fd":%d,"n":%d}`, fd, 1+r.IntN(2)*7)
	case 12:
		if r.IntN(3) > 0 {
			break // items of one file are called back by one call: threads race
		}
		return fmt.Sprintf(`{"op":"dup_add","epfd":%d,"fd":%d,"n":%d,"events":[%s]}`, epfd, fd, 1+r.IntN(2), events)
	case 14:
		return []string{`{"op":"fork"}`, `{"op":"reap"}`}[r.IntN(2)]
	case 13:
		if fd > 4 {
			return fmt.Sprintf(`{"op":"close","fd":%d}`, fd)
		}
	case 7, 8:
		return fmt.Sprintf(`{"op":"wait","epfd":%d,"maxevents":%d,"timeout":-1,"thread":%d}`, epfd, 1+r.IntN(4), 1+r.IntN(4))
	}
	return fmt.Sprintf(`{"op":"wait","epfd":%d,"maxevents":64,"timeout":0,"thread":16}`, epfd)
}
