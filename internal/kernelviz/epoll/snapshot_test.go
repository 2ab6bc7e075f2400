package epoll

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// checkRows re-derives a snapshot's tree from the rows of its key frame, by
// recursion and by ids, and holds it against the definition of a red-black
// tree. It shares nothing with model.go.
func checkRows(t testing.TB, s *Snapshot) {
	t.Helper()
	byID := make(map[uint32]wire.NodeRow, len(s.nodes))
	for _, r := range s.nodes {
		if r.ID == 0 {
			t.Fatal("a node without an id")
		}
		if _, twice := byID[r.ID]; twice {
			t.Fatalf("node %d stands twice", r.ID)
		}
		byID[r.ID] = r
	}
	var order []wire.NodeRow
	red := 0
	// visit returns black height and levels below and including id.
	var visit func(id, parent uint32, parentRed bool) (black, levels int)
	visit = func(id, parent uint32, parentRed bool) (int, int) {
		if id == 0 {
			return 1, 0 // NIL is black
		}
		n, ok := byID[id]
		if !ok {
			t.Fatalf("node %d is linked and not there", id)
		}
		if n.Parent != parent {
			t.Fatalf("node %d has parent %d, want %d", id, n.Parent, parent)
		}
		isRed := n.Flags&wire.NodeBlack == 0
		if isRed && (parentRed || parent == 0) {
			t.Fatalf("node %d is red under red, or the root", id)
		}
		if isRed {
			red++
		}
		lb, ll := visit(n.Left, id, isRed)
		order = append(order, n)
		rb, rl := visit(n.Right, id, isRed)
		if lb != rb {
			t.Fatalf("under node %d, %d black nodes left and %d right", id, lb, rb)
		}
		if !isRed {
			lb++
		}
		return lb, 1 + max(ll, rl)
	}
	black, levels := visit(s.instance.Root, 0, false)
	if len(order) != len(s.nodes) || len(order) != int(s.instance.Items) {
		t.Fatalf("%d nodes in the tree, %d rows, %d items", len(order), len(s.nodes), s.instance.Items)
	}
	if len(order) == 0 {
		return
	}
	if order[0].ID != s.instance.Leftmost {
		t.Errorf("leftmost is %d, the walk begins at %d", s.instance.Leftmost, order[0].ID)
	}
	// A path's black nodes, NIL counted and the root not (Cormen et al.).
	if int(s.instance.BlackHeight) != black-1 || int(s.instance.Depth) != levels || int(s.instance.Red) != red {
		t.Errorf("black height %d, %d levels, %d red; want %d, %d, %d", s.instance.BlackHeight, s.instance.Depth, s.instance.Red, black-1, levels, red)
	}
	// Items of one file stand together, fds ascending; fdinfo cannot show this.
	files := map[uint32]bool{}
	for i, n := range order {
		if i > 0 && order[i-1].File == n.File {
			if order[i-1].FD >= n.FD {
				t.Errorf("fd %d before fd %d of the same file", order[i-1].FD, n.FD)
			}
			continue
		}
		if files[n.File] {
			t.Errorf("file %d stands in two places of the order", n.File)
		}
		files[n.File] = true
	}
}

func TestTreeEqualsFdinfo(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		for _, n := range []int{0, 1, 2, 31, 1000, 15_000} {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				if n > 1000 {
					needFiles(t, n)
				}
				ep := newInstance(t)
				rng := rand.New(rand.NewPCG(uint64(n), 1))
				masks := []uint32{unix.EPOLLIN, unix.EPOLLIN | unix.EPOLLET, unix.EPOLLOUT | unix.EPOLLONESHOT, unix.EPOLLIN | unix.EPOLLEXCLUSIVE, 0}
				fds := make([]int, n)
				for i := range fds {
					fds[i] = newEventfd(t)
				}
				rng.Shuffle(n, func(i, j int) { fds[i], fds[j] = fds[j], fds[i] })
				for i, fd := range fds {
					e := unix.EpollEvent{Events: masks[i%len(masks)], Fd: int32(rng.Uint32()), Pad: int32(rng.Uint32())}
					if err := unix.EpollCtl(ep.fd, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
						t.Fatal(err)
					}
				}
				w := watchOf(t, v, ep)
				s := wholeSample(t, w)
				compareWithFdinfo(t, s, ep)
				if s.tree == nil {
					return
				}
				if !s.truth.Instant && n <= instantItems {
					t.Error("two equal passes over a quiet tree prove one instant")
				}
				if !s.Glyphs() {
					checkRows(t, s)
				}
				checkShown(t, s)
				// Half of it goes, some of it changes: still equal.
				for i, fd := range fds {
					switch i % 4 {
					case 0, 1:
						ep.del(t, fd)
					case 2:
						if masks[i%len(masks)]&unix.EPOLLEXCLUSIVE == 0 {
							ep.mod(t, fd, unix.EPOLLPRI)
						}
					}
				}
				s = wholeSample(t, w)
				compareWithFdinfo(t, s, ep)
				if !s.Glyphs() {
					checkRows(t, s)
				}
				if want := n - (n+3)/4 - (n+2)/4; s.Items() != want {
					t.Errorf("%d items are left, want %d", s.Items(), want)
				}
			})
		}
	})
}

// needFiles skips in a guest of little memory and fails elsewhere.
func needFiles(t testing.TB, n int) {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	if l.Cur < uint64(n)+200 {
		t.Fatalf("RLIMIT_NOFILE is %d; this test opens %d files: ulimit -n %d", l.Cur, n, wantFiles)
	}
}

// checkShown holds what `labserver show` prints against itself: parents,
// children, depths and colours, of trees of any size.
func checkShown(t testing.TB, s *Snapshot) {
	t.Helper()
	nodes := s.Show(make([]kernelviz.Tier, 3)).Nodes
	at := make(map[int32]ShownNode, len(nodes))
	for _, n := range nodes {
		at[n.FD] = n // fds are unique here: no dups in this test
	}
	roots := 0
	for _, n := range nodes {
		if n.Parent < 0 {
			roots++
			if n.Depth != 0 || n.Colour != "black" {
				t.Fatalf("root %+v", n)
			}
			continue
		}
		p := at[n.Parent]
		if p.Depth != n.Depth-1 || p.Left != n.FD && p.Right != n.FD {
			t.Fatalf("%+v is no child of %+v", n, p)
		}
		if p.Colour == "red" && n.Colour == "red" {
			t.Fatalf("%+v is red under red", n)
		}
	}
	// Of two neighbours in order one is an ancestor of the other: the first if
	// it has a right child, then the second has no left one, or the other way.
	for i := 1; i < len(nodes); i++ {
		if (nodes[i-1].Right >= 0) != (nodes[i].Left < 0) {
			t.Fatalf("%+v and %+v are no neighbours", nodes[i-1], nodes[i])
		}
	}
	if want := min(len(nodes), 1); roots != want {
		t.Fatalf("%d roots", roots)
	}
}

func TestReadyListInOrder(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fds := ep.addEventfds(t, 40)
		w := watchOf(t, v, ep)
		if s := wholeSample(t, w); len(s.ready) != 0 || s.instance.Ready != 0 {
			t.Fatalf("nothing is ready: %+v", s.ready)
		}
		rng := rand.New(rand.NewPCG(2, 2))
		var order []int32
		for _, i := range rng.Perm(40)[:25] {
			ring(t, fds[i])
			ring(t, fds[i]) // again: it is on the list already
			order = append(order, int32(fds[i]))
		}
		s := wholeSample(t, w)
		checkReady(t, s, order)
		// A level-triggered item that was reported goes to the end of the list.
		if got := ep.poll(t, 5); !slices.Equal(got, ints(order[:5])) {
			t.Fatalf("epoll_wait gives %v, the list began with %v", got, order[:5])
		}
		order = append(order[5:], order[:5]...)
		checkReady(t, wholeSample(t, w), order)
		// Drained, it stays listed until epoll_wait looks at it.
		for _, fd := range fds {
			_, _ = unix.Read(fd, make([]byte, 8))
		}
		checkReady(t, wholeSample(t, w), order)
		if got := ep.poll(t, 64); len(got) != 0 {
			t.Fatalf("epoll_wait gives %v after draining", got)
		}
		checkReady(t, wholeSample(t, w), nil)
	})
}

func ints(list []int32) []int {
	out := make([]int, len(list))
	for i, v := range list {
		out[i] = int(v)
	}
	return out
}

// checkReady holds list, flags and counts against the order that is known.
func checkReady(t testing.TB, s *Snapshot, want []int32) {
	t.Helper()
	var got []int32
	for _, r := range s.ready {
		got = append(got, r.FD)
		if k, ok := s.index[r.Node]; !ok || s.nodes[k].FD != r.FD {
			t.Fatalf("ready row %+v names no node of that fd", r)
		}
	}
	if !slices.Equal(got, want) || int(s.instance.Ready) != len(want) {
		t.Fatalf("ready list is %v (%d), want %v", got, s.instance.Ready, want)
	}
	for _, n := range s.nodes {
		if ready := n.Flags&wire.NodeReady != 0; ready != slices.Contains(want, n.FD) {
			t.Fatalf("fd %d: ready is %t", n.FD, ready)
		}
		if n.Flags&(wire.NodeDelivering|wire.NodeOverflow) != 0 {
			t.Fatalf("fd %d: flags %#x while no scan runs", n.FD, n.Flags)
		}
	}
	if s.instance.Scanning != 0 || s.instance.Overflow != 0 || s.instance.Tearing != 0 {
		t.Fatalf("no scan runs: %+v", s.instance)
	}
}

func TestTriggering(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		level, edge, once := newEventfd(t), newEventfd(t), newEventfd(t)
		ep.add(t, level, unix.EPOLLIN)
		ep.add(t, edge, unix.EPOLLIN|unix.EPOLLET)
		ep.add(t, once, unix.EPOLLIN|unix.EPOLLONESHOT)
		w := watchOf(t, v, ep)
		mask := func(s *Snapshot, fd int) uint32 {
			for _, n := range s.nodes {
				if int(n.FD) == fd {
					return n.Events
				}
			}
			t.Fatalf("fd %d is not there", fd)
			return 0
		}
		for _, fd := range []int{once, edge, level} {
			ring(t, fd)
		}
		s := wholeSample(t, w)
		checkReady(t, s, []int32{int32(once), int32(edge), int32(level)})
		const always = unix.EPOLLERR | unix.EPOLLHUP
		if got := mask(s, once); got != unix.EPOLLIN|unix.EPOLLONESHOT|always {
			t.Errorf("one-shot mask is %s", EventNames(got))
		}
		if got := ep.poll(t, 8); !slices.Equal(got, []int{once, edge, level}) {
			t.Fatalf("epoll_wait gives %v", got)
		}
		// Only the level-triggered one is listed again.
		s = wholeSample(t, w)
		checkReady(t, s, []int32{int32(level)})
		if got := mask(s, once); got != unix.EPOLLONESHOT {
			t.Errorf("after it fired, the one-shot mask is %s", EventNames(got))
		}
		compareWithFdinfo(t, s, ep)
		// A new write makes the edge, not the spent one-shot.
		ring(t, once)
		ring(t, edge)
		checkReady(t, wholeSample(t, w), []int32{int32(level), int32(edge)})
		// MOD arms it again, and finds it ready.
		ep.mod(t, once, unix.EPOLLIN|unix.EPOLLONESHOT)
		s = wholeSample(t, w)
		checkReady(t, s, []int32{int32(level), int32(edge), int32(once)})
		compareWithFdinfo(t, s, ep)
		// DEL takes it off the list too.
		ep.del(t, edge)
		checkReady(t, wholeSample(t, w), []int32{int32(level), int32(once)})
		ep.add(t, edge, unix.EPOLLIN) // ready when added
		checkReady(t, wholeSample(t, w), []int32{int32(level), int32(once), int32(edge)})
	})
}

// More are ready than a frame lists: the count stays exact.
func TestLongReadyList(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		n := 6000 // more than MAX_LIST of snapshot.bpf.c too
		needFiles(t, n)
		fds := ep.addEventfds(t, n)
		for _, fd := range fds {
			ring(t, fd)
		}
		s := wholeSample(t, watchOf(t, v, ep))
		if int(s.instance.Ready) != n || len(s.ready) != wire.MaxList || s.instance.Tearing != 0 {
			t.Fatalf("%d of %d are ready, %d listed", s.instance.Ready, n, len(s.ready))
		}
		for i, r := range s.ready {
			if int(r.FD) != fds[i] {
				t.Fatalf("place %d is fd %d, want %d", i, r.FD, fds[i])
			}
		}
		glyphs, _ := s.glyphs(kernelviz.Viewport{})
		checkGlyphs(t, s, glyphs, 0, uint32(n))
		if s.tree.ready[0] != uint32(n) {
			t.Errorf("%d nodes are linked, want %d", s.tree.ready[0], n)
		}
	})
}

// waiter is a thread in epoll_wait.
type waiter struct {
	tid  int
	woke chan error
}

// startWaiter returns when the thread is about to call epoll_wait.
func startWaiter(fd, maxEvents int) *waiter {
	w := &waiter{woke: make(chan error, 1)}
	started := make(chan int)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- unix.Gettid()
		events := make([]unix.EpollEvent, maxEvents)
		for {
			_, err := unix.EpollWait(fd, events, -1)
			if err != unix.EINTR {
				w.woke <- err
				return
			}
		}
	}()
	w.tid = <-started
	return w
}

func TestWaitersAreThreads(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fd := ep.addEventfds(t, 1)[0]
		w := watchOf(t, v, ep)
		if s := wholeSample(t, w); s.instance.Waiters != 0 || len(s.waiters) != 0 {
			t.Fatalf("nobody waits: %+v", s.waiters)
		}
		const threads = 6
		var waiters []*waiter
		var since []uint64
		for k := range threads {
			waiters = append(waiters, startWaiter(ep.fd, 1))
			s := await(t, w, fmt.Sprintf("%d threads asleep", k+1), func(s *Snapshot) bool { return len(s.waiters) == k+1 })
			since = append(since, s.waiters[0].Since)
		}
		s := wholeSample(t, w)
		if s.instance.Waiters != threads {
			t.Errorf("%d waiters are counted", s.instance.Waiters)
		}
		for i, row := range s.waiters {
			// ep_poll adds itself with __add_wait_queue_exclusive: at the head.
			k := threads - 1 - i
			if int(row.TID) != waiters[k].tid || int(row.PID) != ep.pid {
				t.Errorf("place %d is thread %d of process %d, want %d of %d", i, row.TID, row.PID, waiters[k].tid, ep.pid)
			}
			if row.Flags != wire.WaiterExclusive {
				t.Errorf("place %d has flags %#x: epoll_wait waits exclusively", i, row.Flags)
			}
			if row.Since != since[k] {
				t.Errorf("place %d waits since %d, was %d", i, row.Since, since[k])
			}
			if text(row.Comm[:]) == "" {
				t.Errorf("place %d has no name", i)
			}
		}
		ring(t, fd) // level-triggered and never drained: each wakes the next
		for _, wt := range waiters {
			if err := <-wt.woke; err != nil {
				t.Error(err)
			}
		}
		s = wholeSample(t, w)
		if s.instance.Waiters != 0 || len(s.waiters) != 0 {
			t.Errorf("all woke: %+v", s.waiters)
		}
		checkReady(t, s, []int32{int32(fd)})
	})
}

// select(2) on an epoll instance sleeps in poll_wait, not in wq.
func TestPollersAreNoWaiters(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fd := ep.addEventfds(t, 1)[0]
		w := watchOf(t, v, ep)
		done := make(chan error)
		go func() {
			for {
				_, err := unix.Poll([]unix.PollFd{{Fd: int32(ep.fd), Events: unix.POLLIN}}, -1)
				if err != unix.EINTR {
					done <- err
					return
				}
			}
		}()
		s := await(t, w, "a thread in poll", func(s *Snapshot) bool { return s.instance.PollWaiters == 1 })
		if s.instance.Waiters != 0 {
			t.Errorf("%d threads in wq", s.instance.Waiters)
		}
		ring(t, fd)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		await(t, w, "nobody in poll", func(s *Snapshot) bool { return s.instance.PollWaiters == 0 })
	})
}

// Ids are how the page knows an item again.
func TestIdsAreStable(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		stay := ep.addEventfds(t, 50)
		churn := make([]int, 50)
		for i := range churn {
			churn[i] = newEventfd(t)
		}
		w := watchOf(t, v, ep)
		ids := map[int32]uint32{}
		for _, n := range wholeSample(t, w).nodes {
			ids[n.FD] = n.ID
		}
		known := map[uint32]bool{}
		for _, id := range ids {
			known[id] = true
		}
		for round := range 20 {
			for _, fd := range churn {
				ep.add(t, fd, unix.EPOLLIN)
			}
			// A change of mask is no new item.
			ep.mod(t, stay[round], unix.EPOLLOUT)
			for _, n := range wholeSample(t, w).nodes {
				if want, ok := ids[n.FD]; ok && n.ID != want {
					t.Fatalf("fd %d was node %d and is %d", n.FD, want, n.ID)
				}
				if _, ok := ids[n.FD]; !ok && known[n.ID] {
					t.Fatalf("node %d is another item now", n.ID)
				}
			}
			for _, fd := range churn {
				ep.del(t, fd)
			}
			for _, n := range wholeSample(t, w).nodes {
				if n.ID != ids[n.FD] {
					t.Fatalf("fd %d was node %d and is %d", n.FD, ids[n.FD], n.ID)
				}
			}
		}
	})
}

// An id is never given again while its page may still hold it.
func TestIdsAreNotReused(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fds := make([]int, 20)
		for i := range fds {
			fds[i] = newEventfd(t)
		}
		w := watchOf(t, v, ep)
		used := map[uint32]bool{}
		for round := range 10 {
			for _, fd := range fds {
				ep.add(t, fd, unix.EPOLLIN)
			}
			for _, n := range wholeSample(t, w).nodes {
				if used[n.ID] {
					t.Fatalf("round %d: node %d was another item", round, n.ID)
				}
				used[n.ID] = true
			}
			for _, fd := range fds {
				ep.del(t, fd)
			}
			if n := len(wholeSample(t, w).nodes); n != 0 {
				t.Fatalf("%d items are left", n)
			}
		}
	})
}

// Two watches of one instance, and of two instances at a time, do not disturb
// each other: they share the programs and their arrays.
func TestWatchesShareTheProbe(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		small, large := newInstance(t), newInstance(t)
		small.addEventfds(t, 7)
		large.addEventfds(t, 3000)
		watches := []struct {
			w  kernelviz.Watch
			ep *instance
			n  int
		}{{watchOf(t, v, small), small, 7}, {watchOf(t, v, large), large, 3000}, {watchOf(t, v, small), small, 7}}
		done := make(chan error, len(watches))
		for _, c := range watches {
			go func() {
				for range 30 {
					s, err := c.w.Sample(t.Context())
					if err == nil && (s.Items() != c.n || !s.Truth().Whole) {
						err = fmt.Errorf("%d items, want %d, whole %t", s.Items(), c.n, s.Truth().Whole)
					}
					if err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range watches {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// A snapshot stays what it was: frames are made of it while the next is taken.
func TestSnapshotIsImmutable(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		for _, n := range []int{60, kernelviz.MaxWhole + 100} {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				ep := newInstance(t)
				fds := ep.addEventfds(t, n)
				w := watchOf(t, v, ep)
				first := wholeSample(t, w)
				before, _, _ := first.AppendSections(nil, kernelviz.Viewport{Px: 900}, nil)
				stop, stopped := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(stopped)
					for {
						select {
						case <-stop:
							return
						default:
							first.AppendSections(nil, kernelviz.Viewport{Px: 900}, nil)
						}
					}
				}()
				for i := range 50 {
					ep.del(t, fds[i])
					sample(t, w)
				}
				close(stop)
				<-stopped
				after, _, _ := first.AppendSections(nil, kernelviz.Viewport{Px: 900}, nil)
				if !slices.Equal(withoutTruth(t, before), withoutTruth(t, after)) {
					t.Error("a snapshot changed after it was taken")
				}
			})
		}
	})
}

// withoutTruth drops the truth section, in which the age grows, and the ids of
// glyphs and files that are handed out anew.
func withoutTruth(t testing.TB, sections []byte) []byte {
	t.Helper()
	const truth = wire.SectionSize + wire.TruthRowSize
	if len(sections) < truth {
		t.Fatal("a frame begins with the truth")
	}
	return sections[truth:]
}
