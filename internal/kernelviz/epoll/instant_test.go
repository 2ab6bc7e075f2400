package epoll

import (
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
)

// A thread moves a window over a ring of fds as fast as it can: it adds the
// next and then deletes the last. At every instant the items are neighbours on
// the ring. A snapshot that says it is one instant must show that, however
// often the tree was turned while it was read; one that is only whole need not.
func TestInstantIsOneInstant(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		const fdsOnRing, window = 97, 40
		ep := newInstance(t)
		ringOf := make([]int, fdsOnRing)
		place := map[int32]int{}
		for i := range ringOf {
			ringOf[i] = newEventfd(t)
			place[int32(ringOf[i])] = i
			if i < window {
				ep.add(t, ringOf[i], unix.EPOLLIN)
			}
		}
		w := watchOf(t, v, ep)
		var turns atomic.Int64
		stop, stopped := make(chan struct{}), make(chan error)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			e := unix.EpollEvent{Events: unix.EPOLLIN}
			for i := 0; ; i++ {
				turns.Store(int64(i))
				if i%64 == 0 {
					select {
					case <-stop:
						stopped <- nil
						return
					default:
					}
				}
				err := errors.Join(
					unix.EpollCtl(ep.fd, unix.EPOLL_CTL_ADD, ringOf[(i+window)%fdsOnRing], &e),
					unix.EpollCtl(ep.fd, unix.EPOLL_CTL_DEL, ringOf[i%fdsOnRing], nil),
				)
				if err != nil {
					stopped <- err
					return
				}
			}
		}()
		var instant, whole, scattered int
		var last kernelviz.Truth
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end) && instant < 1000; {
			before := turns.Load()
			s := sample(t, w)
			last = s.truth
			if !s.truth.Whole || turns.Load() == before {
				continue // the last whole one is shown again, or nobody moved
			}
			checkRows(t, s)
			ok := neighbours(s, place, fdsOnRing)
			switch {
			case s.truth.Instant:
				instant++
				if !ok || s.Items() != window && s.Items() != window+1 {
					t.Fatalf("%d items that were never there together", s.Items())
				}
			case ok:
				whole++
			default:
				whole++
				scattered++
			}
		}
		close(stop)
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		t.Logf("%d samples: %d one instant, %d whole (%d of those mixed from several), %d marked; %d torn reads", last.Samples, instant, whole, scattered, last.Marked, last.Torn)
		if instant == 0 {
			t.Error("no sample proves one instant")
		}
		held(t, w, window)
	})
}

// neighbours tells whether the items stand side by side on the ring.
func neighbours(s *Snapshot, place map[int32]int, size int) bool {
	var at []int
	for _, n := range s.nodes {
		at = append(at, place[n.FD])
	}
	slices.Sort(at)
	gaps := 0
	for i := range at {
		next := at[(i+1)%len(at)]
		if (at[i]+1)%size != next {
			gaps++
		}
	}
	return gaps <= 1
}
