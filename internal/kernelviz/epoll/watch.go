package epoll

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

const (
	// instantItems is the size up to which a second pass proves that the
	// snapshot is one instant; above, it would only find that it is not.
	instantItems = 20000
	// maxTries bounds how often a torn snapshot is read again for one sample,
	// and retryTime how long.
	maxTries  = 8
	retryTime = 10 * time.Millisecond
	// ownersEvery is how often the processes that share the instance are
	// looked up.
	ownersEvery = 2 * time.Second
	// describeEvery is how often a tree that does not change is looked at for
	// what its files are and who has them open.
	describeEvery = 100 * time.Millisecond
)

// nodeKey tells one epitem from another that later has the same address.
type nodeKey struct {
	addr, file uint64
	fd         int32
}

// watch is one eventpoll being watched through BPF.
type watch struct {
	view  *View
	probe *probe
	pid   int
	fd    int
	// target is what discover found; Sample finds it anew, under mu, if the
	// task that held the fd ended while others of its process live on.
	target discoverTarget
	id     uint32 // of the instance

	owners   []discoverTarget // processes that have this instance, the target first
	ownersAt time.Time

	// mu guards the ids, which AppendSections may hand out for glyphs, and
	// what it looks up for them.
	mu      sync.Mutex
	nodeIDs map[nodeKey]uint32
	keys    map[uint32]nodeKey // the reverse
	lastID  uint32
	fileIDs map[uint64]uint32 // struct file → id
	lastFil uint32
	files   map[uint32]*fileInfo // by file id
	owner   map[uint32]uint32    // node id → pid, orphan if absent but described
	turn    int                  // next item to describe again
	// describedAt is when the items were last looked at.
	describedAt time.Time

	waiterSince map[uint64]uint64 // wait_queue_entry → CLOCK_MONOTONIC when first seen
	waiterEntry map[uint32]uint64 // thread → its wait_queue_entry
	listener    *listener         // to the tracer; nil if transitions are off
	wake        chan struct{}     // rung by the tracer; capacity 1
	history     history

	counts kernelviz.Truth // Samples, Torn, Marked, Lost
	lastAt time.Duration
	cost   float64
	whole  *Snapshot // the last one that held
}

func (v *View) open(ctx context.Context, pid, fd int) (*watch, error) {
	t, err := v.find(ctx, pid, fd)
	if err != nil {
		return nil, err
	}
	if err := v.probe.acquire(); err != nil {
		return nil, err
	}
	w := &watch{
		view: v, probe: v.probe, pid: pid, fd: fd, target: t,
		nodeIDs: make(map[nodeKey]uint32), keys: make(map[uint32]nodeKey),
		fileIDs: make(map[uint64]uint32), files: make(map[uint32]*fileInfo), owner: make(map[uint32]uint32),
		waiterSince: make(map[uint64]uint64), wake: make(chan struct{}, 1),
	}
	v.probe.mu.Lock()
	w.id = v.probe.instanceID(t.Ep)
	v.probe.mu.Unlock()
	if !v.opts.NoTransitions {
		// Without the tracepoints the picture is still true, only without what
		// happens between snapshots.
		if w.listener, err = v.tracer.watch(t.Ep, w.wake); err != nil {
			v.log.Warn("transitions are not watched", "target", fmt.Sprintf("%d:%d", pid, fd), "err", err)
		}
	}
	return w, nil
}

// find looks up pid:fd.
func (v *View) find(ctx context.Context, pid, fd int) (discoverTarget, error) {
	found, err := v.probe.discover(ctx, pid)
	if err != nil {
		return discoverTarget{}, err
	}
	for _, t := range found {
		if int(t.Fd) == fd {
			return t, nil
		}
	}
	return discoverTarget{}, missing(pid, fd)
}

// Wake implements kernelviz.Watch.
func (w *watch) Wake() <-chan struct{} {
	if w.listener == nil {
		return nil
	}
	return w.wake
}

// Close implements kernelviz.Watch.
func (w *watch) Close() error {
	if w.listener != nil {
		w.view.tracer.unwatch(w.listener)
		w.listener = nil
	}
	w.probe.release()
	return nil
}

// Sample implements kernelviz.Watch.
func (w *watch) Sample(ctx context.Context) (kernelviz.Snapshot, error) {
	s, err := w.sample(ctx)
	if errors.Is(err, errTaskGone) {
		// The thread that we knew may have ended, or exec made another the
		// leader: the fd may live on.
		if t, findErr := w.view.find(ctx, w.pid, w.fd); findErr == nil && t.Ep == w.target.Ep {
			w.mu.Lock()
			w.target = t
			w.mu.Unlock()
			s, err = w.sample(ctx)
		}
	}
	switch {
	case errors.Is(err, errTaskGone):
		return nil, fmt.Errorf("epoll instance %d:%d: %w: process %d has ended", w.pid, w.fd, kernelviz.ErrGone, w.pid)
	case errors.Is(err, errFDGone):
		return nil, fmt.Errorf("epoll instance %d:%d: %w: fd %d was closed or is another file now", w.pid, w.fd, kernelviz.ErrGone, w.fd)
	case err != nil:
		return nil, err
	}
	return s, nil
}

// sample reads until a snapshot holds, or marks it.
func (w *watch) sample(ctx context.Context) (*Snapshot, error) {
	var (
		c           capture
		t           *tree
		read, check time.Duration
		instant     bool
	)
	w.counts.Samples++
	if w.whole != nil {
		c.last = w.whole.tree.nodes
	}
	wantInstant := w.whole == nil || w.whole.Items() <= instantItems
	for try := 1; ; try++ {
		if err := w.probe.snapshot(ctx, &w.target, wantInstant, &c); err != nil {
			return nil, err
		}
		read += time.Duration(c.args.Spent)
		began := time.Now()
		t = w.tree(&c)
		check += time.Since(began)
		held := t.broken == kernelviz.BrokenNone && c.args.BadLinks == 0
		instant = held && wantInstant && c.args.Changed == 0
		late := try >= maxTries || read+check > retryTime && try > 1
		if held && (instant || !wantInstant || try >= 3) {
			break
		}
		if !held {
			w.counts.Torn++
		}
		if late {
			break
		}
		if try > 4 {
			sleep(ctx, time.Duration(try)*200*time.Microsecond)
		}
	}
	s := &Snapshot{watch: w, tree: t, leftmost: c.args.Leftmost}
	s.truth = w.counts
	s.truth.Tier = w.view.tier
	s.truth.Whole = t.broken == kernelviz.BrokenNone
	s.truth.Broken = t.broken
	s.truth.Instant = instant
	s.truth.At = time.Duration(c.args.Ended)
	s.truth.Attached = w.listener != nil
	if !s.truth.Whole {
		w.counts.Marked++
		s.truth.Marked++
		if w.whole != nil {
			return w.stale(s, read, check), nil
		}
	}
	began := time.Now()
	err := w.fill(ctx, s, &c)
	if err != nil {
		return nil, err
	}
	check += time.Since(began)
	w.settle(s, read, check)
	if s.truth.Whole {
		w.whole = s
	}
	return s, nil
}

// tree checks a capture. One that reads like the last whole tree is that tree.
func (w *watch) tree(c *capture) *tree {
	if w.whole == nil || !sameCapture(c, w.whole) {
		return buildTree(c)
	}
	return w.whole.tree
}

// sameCapture tells that nothing the tree is made of differs from s.
func sameCapture(c *capture, s *Snapshot) bool {
	a := &c.args
	if len(c.nodes) == 0 || len(c.nodes) != len(s.tree.nodes) || a.Foreign > 0 || a.RootMoved != 0 ||
		a.Refcount != s.instance.Refcount || a.Leftmost != s.leftmost {
		return false
	}
	return &c.nodes[0] == &s.tree.nodes[0]
}

// sameNodes tells that a and b read alike, to the byte.
func sameNodes(a, b []snapshotNode) bool {
	return len(a) == len(b) && (len(a) == 0 || bytes.Equal(rawBytes(a), rawBytes(b)))
}

func rawBytes(nodes []snapshotNode) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&nodes[0])), len(nodes)*int(unsafe.Sizeof(nodes[0])))
}

// stale is the last whole snapshot under the truth of a torn one: the picture
// stays, its age grows, and the page says why.
func (w *watch) stale(torn *Snapshot, read, check time.Duration) *Snapshot {
	s := *w.whole
	at := s.truth.At
	s.truth = torn.truth
	s.truth.At = at
	w.mu.Lock()
	w.transitions(&s)
	w.mu.Unlock()
	w.settle(&s, read, check)
	return &s
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
	if w.listener != nil {
		s.truth.Cost += w.view.tracer.cost()
	}
}

// fill derives everything that a frame carries from a capture.
func (w *watch) fill(ctx context.Context, s *Snapshot, c *capture) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := &c.args
	s.instance = wire.InstanceRow{
		ID: w.id, Items: uint32(len(c.nodes)), Refcount: a.Refcount,
		Depth: uint16(s.tree.levels), BlackHeight: uint16(s.tree.blackHeight),
		Ready: a.Ready, Overflow: a.Overflow, Waiters: a.Waiters, PollWaiters: a.PollWaiters,
	}
	if a.Ovflist != unactive {
		s.instance.Scanning = 1
	}
	if a.Owner&^7 != 0 {
		s.instance.Locked = 1
	}
	if a.BadLinks > 0 {
		s.instance.Tearing = 1
	}
	if len(c.nodes) > 0 {
		s.instance.Red = s.tree.red[0]
	}
	if s.Glyphs() {
		w.forget()
	}
	s.ready = w.list(c.ready)
	s.overflow = w.list(c.overflow)
	w.waiters(s, c)
	if !s.Glyphs() {
		if err := w.rows(ctx, s, c); err != nil {
			return err
		}
	}
	w.transitions(s)
	return nil
}

// unactive is EP_UNACTIVE_PTR: in ep->ovflist, that no scan is in progress.
const unactive = ^uint64(0)

func (w *watch) list(entries []snapshotEntry) []wire.ListRow {
	out := make([]wire.ListRow, 0, min(len(entries), wire.MaxList))
	for i := range entries {
		if i == wire.MaxList {
			break
		}
		e := &entries[i]
		out = append(out, wire.ListRow{Node: w.nodeID(nodeKey{e.Item, e.File, e.Fd}), FD: e.Fd})
	}
	return out
}

func (w *watch) waiters(s *Snapshot, c *capture) {
	since := make(map[uint64]uint64, len(c.waiters))
	w.waiterEntry = make(map[uint32]uint64, len(c.waiters))
	for i := range c.waiters {
		e := &c.waiters[i]
		if i == wire.MaxList {
			break
		}
		first, ok := w.waiterSince[e.Entry]
		if !ok {
			first = c.args.Ended
		}
		since[e.Entry] = first
		w.waiterEntry[e.Tid] = e.Entry
		row := wire.WaiterRow{TID: e.Tid, PID: e.Pid, Since: first}
		if e.Flags&wqExclusive != 0 {
			row.Flags |= wire.WaiterExclusive
		}
		copy(row.Comm[:15], text(e.Comm[:]))
		s.waiters = append(s.waiters, row)
	}
	w.waiterSince = since
}

// wqExclusive is WQ_FLAG_EXCLUSIVE (include/linux/wait.h).
const wqExclusive = 1

// nodeID gives the stable id of an epitem. w.mu is held.
func (w *watch) nodeID(k nodeKey) uint32 {
	id, ok := w.nodeIDs[k]
	if !ok {
		w.lastID++
		id = w.lastID
		w.nodeIDs[k] = id
		w.keys[id] = k
	}
	return id
}

// fileID gives the stable id of a struct file. w.mu is held.
func (w *watch) fileID(file uint64) uint32 {
	id, ok := w.fileIDs[file]
	if !ok {
		w.lastFil++
		id = w.lastFil
		w.fileIDs[file] = id
	}
	return id
}

// maxIDs bounds the ids remembered for a tree of which only glyphs are drawn.
const maxIDs = 1 << 17

// forget drops all ids when too many were handed out for glyphs; the page sees
// new objects where it looks. w.mu is held.
func (w *watch) forget() {
	if len(w.nodeIDs) < maxIDs {
		return
	}
	clear(w.nodeIDs)
	clear(w.keys)
	clear(w.fileIDs)
	clear(w.files)
	clear(w.owner)
}

// rows writes a row for every node. w.mu is held.
func (w *watch) rows(ctx context.Context, s *Snapshot, c *capture) error {
	nodes := s.tree.nodes
	if last := w.whole; last != nil && last.tree == s.tree && time.Since(w.describedAt) < describeEvery && s.sameLists(last) {
		s.nodes, s.index, s.files, s.fileIndex = last.nodes, last.index, last.files, last.fileIndex
		s.instance.Root, s.instance.Leftmost, s.instance.Delivering = last.instance.Root, last.instance.Leftmost, last.instance.Delivering
		return nil
	}
	ids := make([]uint32, len(nodes))
	fileIDs := make([]uint32, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		ids[i] = w.nodeID(nodeKey{n.Addr, n.File, n.Fd})
		fileIDs[i] = w.fileID(n.File)
	}
	w.prune(c, ids, fileIDs)
	if err := w.describe(ctx, nodes, ids, fileIDs); err != nil {
		return err
	}
	inReady := make(map[uint64]bool, len(c.ready))
	for i := range c.ready {
		inReady[c.ready[i].Item] = true
	}
	chainKnown := c.args.BadLinks == 0 && int(c.args.Ready) == len(c.ready)
	s.nodes = make([]wire.NodeRow, len(nodes))
	s.index = make(map[uint32]int, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		r := wire.NodeRow{
			ID: ids[i], File: fileIDs[i], FD: n.Fd, Events: n.Events, Data: n.Data,
			Flags: uint32(n.ParentColor & bitBlack), Owner: w.owner[ids[i]],
		}
		if i > 0 {
			r.Parent = ids[s.tree.parent[i]]
		}
		if n.LeftIndex != 0 {
			r.Left = ids[n.LeftIndex]
		}
		if n.RightIndex != 0 {
			r.Right = ids[n.RightIndex]
		}
		linked := n.ParentColor&bitLinked != 0
		switch {
		case chainKnown && inReady[n.Addr], !chainKnown && linked:
			r.Flags |= wire.NodeReady
		case linked && s.instance.Scanning == 1:
			r.Flags |= wire.NodeDelivering
			s.instance.Delivering++
		}
		if n.ParentColor&bitOverflow != 0 {
			r.Flags |= wire.NodeOverflow
		}
		if f := w.files[fileIDs[i]]; f != nil {
			r.Nested = f.row.Nested
		}
		// An item that was not looked at yet may share the file of one that was.
		if owner, known := w.owner[ids[i]]; known && owner == 0 {
			r.Flags |= wire.NodeOrphan
		}
		s.nodes[i] = r
		s.index[r.ID] = i
		if s.tree.rank[i] == 0 {
			s.instance.Leftmost = r.ID
		}
	}
	if len(nodes) > 0 {
		s.instance.Root = ids[0]
	}
	w.fileRows(s, fileIDs)
	return nil
}

// sameLists tells that the nodes' flags cannot differ from those of last.
func (s *Snapshot) sameLists(last *Snapshot) bool {
	return s.instance.Scanning == last.instance.Scanning && s.instance.Tearing == last.instance.Tearing &&
		s.instance.Ready == last.instance.Ready && slices.Equal(s.ready, last.ready)
}

// prune drops the ids of items and files that are no longer there. w.mu is held.
func (w *watch) prune(c *capture, ids, fileIDs []uint32) {
	if len(w.nodeIDs) > len(ids) {
		live := make(map[uint32]bool, len(ids))
		for _, id := range ids {
			live[id] = true
		}
		// A list may still hold an item that the tree had not, or no longer.
		for _, list := range [][]snapshotEntry{c.ready, c.overflow} {
			for i := range list {
				live[w.nodeIDs[nodeKey{list[i].Item, list[i].File, list[i].Fd}]] = true
			}
		}
		for k, id := range w.nodeIDs {
			if !live[id] {
				delete(w.nodeIDs, k)
				delete(w.keys, id)
				delete(w.owner, id)
			}
		}
	}
	if len(w.fileIDs) > len(fileIDs) {
		live := make(map[uint32]bool, len(fileIDs))
		for _, id := range fileIDs {
			live[id] = true
		}
		for f, id := range w.fileIDs {
			if !live[id] {
				delete(w.fileIDs, f)
				delete(w.files, id)
			}
		}
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
