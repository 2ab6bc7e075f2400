package uring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

const (
	// maxTries bounds how often a ring that moved is read again for one sample,
	// and retryTime how long.
	maxTries  = 4
	retryTime = 2 * time.Millisecond
	// guardEvery is how soon a mapped ring is let go of after its owner closed
	// the fd, at the latest.
	guardEvery = 100 * time.Millisecond
	// ownersEvery is how often the processes that share the ring are looked
	// up, workersEvery its threads, resourcesEvery what is registered: fdinfo,
	// for which the kernel takes uring_lock.
	ownersEvery    = 2 * time.Second
	workersEvery   = 100 * time.Millisecond
	resourcesEvery = time.Second
	// maxListed entries may be pending for fdinfo to be read: it prints them
	// all, holding uring_lock.
	maxListed = 4096
)

// watch is one ring being watched through BPF, and through its memory if it
// can be mapped.
type watch struct {
	view    *View
	pid, fd int
	found   foundRing
	id      uint32 // of the ring
	inode   uint64 // of its file; 0 unknown

	mapped   *mapping // nil: the ring is read by BPF alone
	unmapped error    // why it is not mapped
	stale    int      // samples in a row in which the mapping showed another ring's numbers
	gone     atomic.Bool
	stop     int // eventfd that ends the guard; -1 without one
	guarding sync.WaitGroup

	wake     <-chan struct{}
	log      *lifeLog // nil if lives are off
	requests *requests

	kernel kernelRing
	// The kernel's counters as last read, and what they have moved by in all.
	lastSQ, lastCQ       uint32
	submitted, completed uint64

	owners                      int
	ownersAt                    time.Time
	workers                     []wire.WorkerRow
	workersKnown                bool
	workersAt                   time.Time
	workersCost                 time.Duration
	resources                   []wire.ResourceRow
	resourcesKnown              bool
	resourcesAt                 time.Time
	resourceFiles, resourceBufs uint32
	counts                      kernelviz.Truth // Samples, Torn, Marked, Lost
	lastAt                      time.Duration
	cost                        float64
	last                        *Snapshot
}

func (v *View) open(ctx context.Context, pid, fd int) (*watch, error) {
	found, err := v.find(ctx, pid, fd)
	if err != nil {
		return nil, err
	}
	w := &watch{view: v, pid: pid, fd: fd, found: found, id: v.id(&found), inode: found.Inode, requests: newRequests(), stop: -1}
	if w.inode == 0 {
		w.inode, _ = ringInode(w.link())
	}
	if err := v.probe.read(ctx, pid, fd, found.Ctx, &w.kernel); err != nil {
		return nil, missing(pid, fd) // it went since it was found
	}
	w.lastSQ, w.lastCQ = w.kernel.counters()
	if v.tier == tierShm {
		w.mapRing()
	}
	if !v.opts.NoLives {
		// Without the tracepoints the picture is still true, only without what
		// happens between snapshots.
		if w.wake, w.log, err = v.tracer.watch(found.Ctx); err != nil {
			w.log = nil
			v.log.Warn("request lives are not watched", "target", fmt.Sprintf("%d:%d", pid, fd), "err", err)
		}
	}
	return w, nil
}

func (w *watch) link() string { return fmt.Sprintf("/proc/%d/fd/%d", w.pid, w.fd) }

// mapRing maps the ring's memory and guards it, or notes why it cannot be.
func (w *watch) mapRing() {
	s := shape{sqEntries: w.found.SQEntries, cqEntries: w.found.CQEntries, setup: w.found.Setup}
	l, err := w.view.layout(s)
	var m *mapping
	if err == nil {
		m, err = mapRing(w.pid, w.fd, w.inode, s, l)
	}
	if err == nil {
		w.inode, w.mapped = m.inode, m
		err = w.startGuard(m)
	}
	if err != nil {
		w.dropMapping()
		w.unmapped = err
		w.view.log.Debug("ring is not mapped", "target", fmt.Sprintf("%d:%d", w.pid, w.fd), "err", err)
	}
}

// startGuard begins to look whether the owner still has the ring open.
func (w *watch) startGuard(m *mapping) error {
	pidfd, err := unix.PidfdOpen(w.pid, 0)
	if err != nil {
		return err
	}
	if w.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(pidfd)
		return err
	}
	stop := w.stop
	w.guarding.Go(func() {
		defer unix.Close(pidfd)
		w.guard(m, pidfd, stop)
	})
	return nil
}

// guard lets go of the mapping as soon as the owner has ended or the fd is no
// longer the ring: until then the mapping keeps the ring alive.
func (w *watch) guard(m *mapping, pidfd, stop int) {
	for {
		fds := []unix.PollFd{{Fd: int32(stop), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, int(guardEvery.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			w.view.log.Error("guarding a mapped ring", "err", err)
			_ = m.release() // rather no picture than a ring that does not end
			return
		}
		if fds[0].Revents != 0 {
			return
		}
		if fds[1].Revents == 0 && w.isOpen(context.Background()) {
			continue
		}
		w.gone.Store(true)
		if err := m.release(); err != nil {
			w.view.log.Error("letting go of a ring", "err", err)
		}
		return
	}
}

// isOpen tells that pid:fd is still this ring. Every ring has an inode of its
// own, which cannot be another's while the ring is mapped.
func (w *watch) isOpen(ctx context.Context) bool {
	if inode, err := ringInode(w.link()); err == nil && w.inode != 0 {
		return inode == w.inode
	}
	// The first thread of the process may have ended before the others, which
	// takes its files out of /proc.
	r, err := w.view.find(ctx, w.pid, w.fd)
	return err == nil && r.Ctx == w.found.Ctx
}

// dropMapping undoes mapRing.
func (w *watch) dropMapping() {
	if w.stop >= 0 {
		_, _ = unix.Write(w.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		w.guarding.Wait()
		unix.Close(w.stop)
		w.stop = -1
	}
	if w.mapped != nil {
		w.mapped.close()
		w.mapped = nil
	}
}

// Target implements kernelviz.Watch.
func (w *watch) Target() kernelviz.Target { return w.view.target(&w.found) }

// Wake implements kernelviz.Watch.
func (w *watch) Wake() <-chan struct{} { return w.wake }

// Close implements kernelviz.Watch.
func (w *watch) Close() error {
	if w.log != nil {
		w.view.tracer.unwatch(w.log)
		w.log = nil
	}
	w.dropMapping()
	return nil
}

// peek reads the counters from shared memory, without a system call; zeros if
// the ring is not mapped. It is called from the goroutine of Sample.
func (w *watch) peek() (sqHead, sqTail, cqHead, cqTail uint32) {
	if w.mapped == nil {
		return 0, 0, 0, 0
	}
	return w.mapped.peek()
}

// Sample implements kernelviz.Watch.
func (w *watch) Sample(ctx context.Context) (kernelviz.Snapshot, error) {
	s, err := w.sample(ctx)
	if errors.Is(err, kernelviz.ErrGone) && !w.gone.Load() {
		// The thread through which it was read may have ended, or exec made
		// another the leader: the fd may live on.
		if r, findErr := w.view.find(ctx, w.pid, w.fd); findErr == nil && r.Ctx == w.found.Ctx {
			s, err = w.sample(ctx)
		}
	}
	switch {
	case errors.Is(err, errTaskGone):
		err = fmt.Errorf("ring %d:%d: %w: process %d has ended", w.pid, w.fd, kernelviz.ErrGone, w.pid)
	case errors.Is(err, kernelviz.ErrGone):
		err = fmt.Errorf("ring %d:%d: %w: fd %d was closed or is another file now", w.pid, w.fd, kernelviz.ErrGone, w.fd)
	case err == nil:
		return s, nil
	}
	if errors.Is(err, kernelviz.ErrGone) {
		w.gone.Store(true)
		if w.mapped != nil {
			err = errors.Join(err, w.mapped.release())
		}
	}
	return nil, err
}

// capture is what one reading of the ring gave.
type capture struct {
	shape         shape
	before, after words
	sqes          []wire.SQERow
	cqes          []wire.CQERow
	verdict       verdict
	instant       bool
	read          time.Duration
}

// sample reads until a snapshot is one instant, or shows what it has.
func (w *watch) sample(ctx context.Context) (*Snapshot, error) {
	w.counts.Samples++
	began := time.Now()
	if w.log != nil {
		// Before the lists are read: what they hold is the later word.
		events, lost := w.log.take()
		w.requests.take(events, lost)
		w.counts.Lost = lost
	}
	if w.inode != 0 {
		// A new ring may have the address of the old one, never its inode.
		if inode, err := ringInode(w.link()); err == nil && inode != w.inode {
			return nil, errFDGone
		}
	}
	var c capture
	for try := 1; ; try++ {
		if w.gone.Load() {
			return nil, errFDGone
		}
		if err := w.capture(ctx, &c); err != nil {
			return nil, err
		}
		held := c.verdict.broken == kernelviz.BrokenNone
		if held && c.instant {
			break
		}
		if !held {
			w.counts.Torn++
		}
		if try >= maxTries || time.Since(began) > retryTime && try > 1 {
			break
		}
	}
	if w.gone.Load() {
		return nil, errFDGone // the memory was let go of while it was read
	}
	s := &Snapshot{watch: w, truth: w.counts}
	s.truth.Tier = tierBPFIter
	if w.mapped != nil {
		s.truth.Tier = tierShm
	}
	s.truth.Broken = c.verdict.broken
	s.truth.Whole = c.verdict.broken == kernelviz.BrokenNone
	s.truth.Instant = s.truth.Whole && c.instant
	s.truth.At = monotonic()
	s.truth.Attached = w.log != nil
	if !s.truth.Whole {
		w.counts.Marked++
		s.truth.Marked++
	}
	c.read += time.Since(began)
	checking := time.Now()
	w.fill(ctx, s, &c)
	w.settle(s, c.read, time.Since(checking))
	w.last = s
	return s, nil
}

// capture reads the ring once.
func (w *watch) capture(ctx context.Context, c *capture) error {
	if w.mapped != nil {
		again, err := w.captureMapped(ctx, c)
		if !again {
			return err
		}
		w.remap()
	}
	if w.mapped != nil {
		// An owner may change the ring faster than it can be mapped: what is
		// read then is told as broken, and the next sample maps it anew.
		_, err := w.captureMapped(ctx, c)
		return err
	}
	k := &w.kernel
	if err := w.view.probe.read(ctx, w.pid, w.fd, w.found.Ctx, k); err != nil {
		return err
	}
	c.sqes, c.cqes = k.rows(c.sqes[:0], c.cqes[:0])
	if k.Moved {
		// What was read of slots that are still pending later on was theirs.
		if err := w.view.probe.read(ctx, w.pid, w.fd, w.found.Ctx, k); err != nil {
			return err
		}
		c.sqes = within(c.sqes, func(r *wire.SQERow) uint32 { return r.Position }, k.SQHead, k.SQTail)
		c.cqes = within(c.cqes, func(r *wire.CQERow) uint32 { return r.Position }, k.CQHead, k.CQTail)
		if !k.Moved {
			c.sqes, c.cqes = k.rows(c.sqes[:0], c.cqes[:0])
		}
	}
	c.shape = k.shape()
	c.after = words{
		sqHead: k.SQHead, sqTail: k.SQTail, cqHead: k.CQHead, cqTail: k.CQTail,
		sqFlags: k.SQFlags, cqFlags: k.CQFlags, sqDropped: k.SQDropped, cqOverflow: k.CQOverflow,
		sqMask: k.SQMask, cqMask: k.CQMask, sqRingEntries: k.SQRingEntries, cqRingEntries: k.CQRingEntries,
		unstable: k.Moved,
	}
	c.before = c.after
	side := k.side()
	if k.Moved {
		side = nil // read at different times, in an order that is not known
	}
	c.verdict = check(c.shape, &c.before, &c.after, side)
	c.instant = !k.Moved
	return nil
}

// rows appends what BPF read of the slots.
func (k *kernelRing) rows(sqes []wire.SQERow, cqes []wire.CQERow) ([]wire.SQERow, []wire.CQERow) {
	for i := range k.SQEs {
		e := &k.SQEs[i]
		sqes = append(sqes, sqeRow(e.Position, e.Index, e.Wide, e.Index < k.SQEntries, &e.Raw))
	}
	for i := range k.CQEs {
		e := &k.CQEs[i]
		cqes = append(cqes, cqeRow(e.Position, e.Wide, &e.Raw))
	}
	return sqes, cqes
}

// captureMapped reads the ring's memory before and after the kernel's side.
// replaced tells that the kernel has put another in its place.
func (w *watch) captureMapped(ctx context.Context, c *capture) (replaced bool, err error) {
	m, k := &w.mapped.memory, &w.kernel
	c.before = m.words()
	c.sqes, c.cqes = m.readSQEs(&c.before, c.sqes[:0]), m.readCQEs(&c.before, c.cqes[:0])
	if err := w.view.probe.read(ctx, w.pid, w.fd, w.found.Ctx, k); err != nil {
		return false, err
	}
	c.after = m.words()
	c.shape = k.shape()
	// IORING_REGISTER_RESIZE_RINGS
	replaced = m.shape.sqEntries != k.SQEntries || m.shape.cqEntries != k.CQEntries
	c.verdict = check(c.shape, &c.before, &c.after, k.side())
	c.instant = !c.before.unstable && c.before.same(&c.after)
	c.sqes = within(c.sqes, func(r *wire.SQERow) uint32 { return r.Position }, c.after.sqHead, c.after.sqTail)
	c.cqes = within(c.cqes, func(r *wire.CQERow) uint32 { return r.Position }, c.after.cqHead, c.after.cqTail)
	other := c.after.sqHead != k.SQHead || c.after.sqTail != k.SQTail || c.after.cqHead != k.CQHead || c.after.cqTail != k.CQTail
	if replaced || !c.instant || k.Moved || !other {
		w.stale = 0
		return replaced, nil
	}
	// Nothing moved, and BPF reads other numbers where the kernel keeps the
	// ring: it was replaced by one of the same size.
	if w.stale++; w.stale < maxTries {
		return false, nil
	}
	w.stale = 0
	return true, nil
}

func (k *kernelRing) shape() shape {
	return shape{sqEntries: k.SQEntries, cqEntries: k.CQEntries, setup: k.Setup}
}

// side is what only the kernel writes; nil if this kernel does not let us read it.
func (k *kernelRing) side() *kernelSide {
	if k.Seen&wire.SeenCached == 0 {
		return nil
	}
	return &kernelSide{cachedSQHead: k.CachedSQHead, cachedCQTail: k.CachedCQTail}
}

// remap maps the ring anew, after its memory was replaced.
func (w *watch) remap() {
	w.dropMapping()
	w.found.SQEntries, w.found.CQEntries, w.found.Setup = w.kernel.SQEntries, w.kernel.CQEntries, w.kernel.Setup
	w.mapRing()
}

// settle notes what the sample cost.
func (w *watch) settle(s *Snapshot, read, check time.Duration) {
	s.truth.Read, s.truth.Check = read, check
	now := monotonic()
	if w.lastAt != 0 && now > w.lastAt {
		share := float64(read+check) / float64(now-w.lastAt)
		w.cost += (share - w.cost) / 8
	}
	w.lastAt = now
	s.truth.Cost = w.cost
	if w.log != nil {
		s.truth.Cost += w.view.tracer.cost()
	}
}

// fill derives everything that a frame carries from a capture.
func (w *watch) fill(ctx context.Context, s *Snapshot, c *capture) {
	k, a := &w.kernel, &c.after
	w.move()
	s.ring = wire.RingRow{
		ID: w.id, SQEntries: c.shape.sqEntries, CQEntries: c.shape.cqEntries, Setup: c.shape.setup,
		SQHead: a.sqHead, SQTail: a.sqTail, CQHead: a.cqHead, CQTail: a.cqTail,
		CachedSQHead: k.CachedSQHead, CachedCQTail: k.CachedCQTail,
		SQFlags: a.sqFlags, CQFlags: a.cqFlags, SQDropped: a.sqDropped, CQOverflow: a.cqOverflow,
		OverflowList: k.OverflowList, InFlight: -1, Files: k.Files, Buffers: k.Buffers,
		ThreadPID: k.Thread.PID, ThreadCPU: -1, Owner: uint32(w.pid),
		Submitted: w.submitted, Completed: w.completed, Features: w.view.features, Allocated: k.Allocated,
	}
	r := &s.ring
	r.Seen = k.Seen &^ (wire.SeenWorkers | wire.SeenResources | wire.SeenLives | wire.SeenInFlight)
	if w.mapped != nil {
		r.Seen |= wire.SeenHeads | wire.SeenSQEs | wire.SeenCQEs
	}
	if !s.truth.Whole {
		r.Gone = 1
	}
	if c.verdict.sq {
		r.Seen &^= wire.SeenSQEs
		c.sqes = c.sqes[:0]
	}
	if c.verdict.cq {
		r.Seen &^= wire.SeenCQEs
		c.cqes = c.cqes[:0]
	}
	w.thread(r)
	w.lookUp(ctx, r)
	w.requests.merge(k, w.log != nil)
	var armed int
	s.requests, armed = w.requests.list()
	r.Requests, r.Armed = uint32(len(s.requests)), uint32(armed)
	if w.log != nil {
		r.Seen |= wire.SeenRequests | wire.SeenLives
	}
	switch {
	case k.Seen&wire.SeenInFlight != 0:
		r.InFlight = k.InFlight
		r.Seen |= wire.SeenInFlight
	case w.log != nil:
		r.InFlight = int32(len(s.requests))
		r.Seen |= wire.SeenInFlight
	default:
		inFlight(r, len(s.requests))
	}
	s.requests = s.requests[:min(len(s.requests), wire.MaxList)]
	s.sqes, s.cqes, s.workers, s.resources = c.sqes, c.cqes, w.workers, w.resources
	s.lives, s.livesEnd, s.done = w.requests.rows, w.requests.end, w.requests.done
	s.keep(w.last)
}

// keep shares the lists that are as they were, and copies those that the next
// sample would write over.
func (s *Snapshot) keep(last *Snapshot) {
	if last != nil && slices.Equal(s.sqes, last.sqes) {
		s.sqes = last.sqes
	} else {
		s.sqes = slices.Clone(s.sqes)
	}
	if last != nil && slices.Equal(s.cqes, last.cqes) {
		s.cqes = last.cqes
	} else {
		s.cqes = slices.Clone(s.cqes)
	}
	if last != nil && slices.Equal(s.requests, last.requests) {
		s.requests = last.requests
	}
}

// counters are how many SQEs the kernel took and CQEs it posted, modulo 2^32:
// its own count if it can be read, which nobody can write over.
func (k *kernelRing) counters() (sq, cq uint32) {
	if k.Seen&wire.SeenCached != 0 {
		return k.CachedSQHead, k.CachedCQTail
	}
	return k.SQHead, k.CQTail
}

// move adds what the counters moved by since they were last read.
func (w *watch) move() {
	sq, cq := w.kernel.counters()
	if w.kernel.Setup&iouring.SetupSQRewind == 0 { // else it starts at 0 each time
		w.submitted += uint64(sq - w.lastSQ)
	}
	w.completed += uint64(cq - w.lastCQ)
	w.lastSQ, w.lastCQ = sq, cq
}

func (w *watch) thread(r *wire.RingRow) {
	t := &w.kernel.Thread
	if t.PID == 0 {
		return
	}
	r.ThreadCPU, r.ThreadState, r.ThreadIdle = t.CPU, t.State, uint32(t.Idle.Milliseconds())
	if t.HasTimes {
		r.ThreadTotal, r.ThreadWork = uint64(t.TotalTime.Microseconds()), uint64(t.WorkTime.Microseconds())
	}
}

// lookUp finds, now and then, who shares the ring, its threads and what is
// registered.
func (w *watch) lookUp(ctx context.Context, r *wire.RingRow) {
	now := time.Now()
	if now.Sub(w.ownersAt) > ownersEvery {
		if found, err := w.view.rings(ctx); err == nil {
			owners := map[int]bool{w.pid: true}
			for i := range found {
				if found[i].Ctx == w.found.Ctx {
					owners[found[i].PID] = true
				}
			}
			w.owners, w.ownersAt = len(owners), now
		}
	}
	r.Owners = uint16(min(w.owners, 1<<16-1))
	// A process may have thousands of threads: looking costs 1 % of a CPU at most.
	if now.Sub(w.workersAt) > max(workersEvery, 100*w.workersCost) {
		workers, known := readWorkers(w.pid, r.ThreadPID)
		w.workersCost = time.Since(now)
		if !slices.Equal(workers, w.workers) {
			w.workers = workers
		}
		w.workersKnown, w.workersAt = known, now
	}
	if w.workersKnown {
		r.Seen |= wire.SeenWorkers
	}
	w.lookUpResources(now, r)
	if w.resourcesKnown {
		r.Seen |= wire.SeenResources
	}
}

func (w *watch) lookUpResources(now time.Time, r *wire.RingRow) {
	if r.Files+r.Buffers == 0 {
		w.resources, w.resourcesKnown = nil, true
		w.resourceFiles, w.resourceBufs = 0, 0
		return
	}
	same := r.Files == w.resourceFiles && r.Buffers == w.resourceBufs
	if !same {
		w.resourcesKnown = false
	}
	if now.Sub(w.resourcesAt) < resourcesEvery && same {
		return
	}
	if pending(r.SQHead, r.SQTail, r.SQEntries)+pending(r.CQHead, r.CQTail, r.CQEntries) > maxListed {
		return
	}
	w.resourcesAt = now
	info, err := ReadFdinfo(w.pid, w.fd)
	if err != nil {
		return
	}
	rows, known := info.resources()
	if !known {
		return // uring_lock was held; what was seen last may still stand
	}
	if !slices.Equal(rows, w.resources) {
		w.resources = rows
	}
	w.resourcesKnown, w.resourceFiles, w.resourceBufs = true, r.Files, r.Buffers
}

// inFlight sets how many requests the kernel has where two counts agree: those
// in its lists, and what went in less what came out. Requests that post no CQE
// or several, wide CQEs and messages from other rings make them differ; then
// nobody knows.
func inFlight(r *wire.RingRow, known int) {
	if r.Setup&(iouring.SetupCQEMixed|iouring.SetupSQRewind) != 0 {
		return
	}
	est := int32(r.CachedSQHead - r.SQDropped - r.CachedCQTail - r.OverflowList - r.CQOverflow)
	if int(est) == known {
		r.InFlight = est
		r.Seen |= wire.SeenInFlight
	}
}

// monotonic is CLOCK_MONOTONIC, the clock of bpf_ktime_get_ns.
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
