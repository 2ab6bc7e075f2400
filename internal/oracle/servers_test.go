package oracle

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kernelviz/internal/kernelviz/epoll"
)

// waitLimit bounds every wait for a condition.
const waitLimit = 20 * time.Second

// agree compares a sample with fdinfo read before and after it, as soon as
// these are equal. It returns how often they were not. Where items come and go
// they may be equal and the sample another: an item was there in between. That
// happens now and then and not again and again.
func agree(t *testing.T, p *page, i Instance, busy bool) (moved int) {
	t.Helper()
	unequal := ""
	for end, differed := time.Now().Add(waitLimit), 0; ; runtime.Gosched() {
		before, err := i.Items()
		if err != nil {
			t.Fatal(err)
		}
		p.sample(t)
		after, err := i.Items()
		if err != nil {
			t.Fatal(err)
		}
		if p.whole && slices.Equal(before, after) {
			if unequal = p.differs(after); unequal == "" {
				return moved
			}
			if differed++; !busy || differed == 10 {
				t.Fatalf("%d:%d: %s", i.PID, i.FD, unequal)
			}
		}
		moved++
		if time.Now().After(end) {
			t.Fatalf("%d:%d was never the same before and after a sample, or never whole; %s", i.PID, i.FD, unequal)
		}
	}
}

// visitors connect, ask once and leave, one after another, until stop is
// called.
func (s *Server) visitors(t *testing.T, n int) (visits *atomic.Int64, stop func()) {
	t.Helper()
	var running sync.WaitGroup
	quit := make(chan struct{})
	visits = &atomic.Int64{}
	for range n {
		running.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
				}
				if err := s.once(); err != nil {
					t.Errorf("visiting %s: %v", s.Name, err)
					return
				}
				visits.Add(1)
			}
		})
	}
	return visits, func() {
		close(quit)
		running.Wait()
	}
}

// Every epoll instance of every server is what fdinfo lists: idle, under load
// on connections that stay, and while others come and go.
func TestServersEqualFdinfo(t *testing.T) {
	eachView(t, epoll.Options{}, func(t *testing.T, v *epoll.View) {
		for name, start := range map[string]func(testing.TB) *Server{"nginx": Nginx, "redis": Redis, "haproxy": HAProxy, "node": Node} {
			t.Run(name, func(t *testing.T) {
				s := start(t)
				load := s.Connect(t, 40)
				instances, err := s.Instances()
				if err != nil {
					t.Fatal(err)
				}
				pages := map[Instance]*page{}
				items := 0
				for _, i := range instances {
					pages[i] = open(t, v, i)
					agree(t, pages[i], i, false)
					items += len(pages[i].nodes)
				}
				if items < 40 {
					t.Fatalf("%d items in %d instances, with 40 connections", items, len(instances))
				}
				load.Start()
				compared, moved := 0, 0
				round := func() {
					for i, p := range pages {
						moved += agree(t, p, i, true)
						compared++
					}
				}
				for range 100 {
					round()
				}
				visits, leave := s.visitors(t, 2)
				for end := time.Now().Add(waitLimit); visits.Load() < 200 && time.Now().Before(end); {
					round()
				}
				leave()
				answered := load.Stop(t)
				if answered == 0 || visits.Load() < 200 {
					t.Errorf("%d requests, %d visits: there was no load", answered, visits.Load())
				}
				for i, p := range pages {
					// The server may not have closed the last visitor's yet.
					agree(t, p, i, true)
					agree(t, p, i, false)
				}
				t.Logf("%d instances, %d items: %d times equal under %d requests and %d visits; %d times it moved meanwhile",
					len(instances), items, compared, answered, visits.Load(), moved)
			})
		}
	})
}

// The list of targets has every instance of every server, under its name.
func TestServersAreTargets(t *testing.T) {
	eachView(t, epoll.Options{NoTransitions: true}, func(t *testing.T, v *epoll.View) {
		servers := All(t)
		for end := time.Now().Add(waitLimit); ; runtime.Gosched() {
			targets, err := v.Targets(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			listed := map[Instance]string{}
			for _, e := range targets {
				listed[Instance{PID: e.PID, FD: e.FD}] = e.Comm
			}
			missing := 0
			for _, s := range servers {
				instances, err := s.Instances()
				if err != nil {
					t.Fatal(err)
				}
				for _, i := range instances {
					comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", i.PID))
					if err != nil && !errors.Is(err, os.ErrNotExist) {
						t.Fatal(err)
					}
					if listed[i]+"\n" != string(comm) {
						missing++
					}
				}
			}
			if missing == 0 {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d instances are not listed", missing)
			}
		}
	})
}
