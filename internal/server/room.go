package server

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// How often a room samples.
const (
	// earlyGap is the least time between two samples.
	earlyGap = 8 * time.Millisecond
	// costShare is the largest share of time spent sampling, as 1/costShare:
	// the interval is stretched when a sample costs more.
	costShare = 20
	// urgentShare is the same for samples that somebody's action asked for.
	urgentShare = 2
	// quietEvery is how long a frame without changes is held back. With the
	// turn that follows, that makes two frames a second, so that the page's age
	// of the picture stays true.
	quietEvery = 450 * time.Millisecond
	// keyEvery is how often one page may hurry its room by asking for a key
	// frame; asked more often, it waits for its turn.
	keyEvery = 250 * time.Millisecond
	// glyphRate is the most frames per second of a large object.
	glyphRate = 10
	// earlyCredit and earlyShare bound the frames that the kernel's wakes add
	// to a group's rate: a burst of earlyCredit, rate/earlyShare on average.
	earlyCredit = 4
	earlyShare  = 4

	sampleTimeout = 30 * time.Second
	reopenTries   = 3
	reopenAfter   = 100 * time.Millisecond
	inspectQueue  = 16
)

// subscription is one page watching one topic.
type subscription struct {
	client *client
	room   *room
	view   *viewMetrics // of the room

	// Guarded by room.mu.
	viewport kernelviz.Viewport // quantised
	rate     int                // frames per second asked for, 1 to maxRate
	group    *group             // nil until the room admits it
	announce bool               // a "watching" message is due
	urgent   bool               // a key frame is due at once
	hurried  time.Time          // when urgent was last granted to a key message

	// Guarded by client.mu.
	stale bool // nothing but a key frame is any use
	left  bool // the page no longer watches
}

// groupKey is what members of a group have in common: they get the same frames.
type groupKey struct {
	viewport kernelviz.Viewport
	rate     int
}

// group is the subscriptions of a room that share every frame.
type group struct {
	key      groupKey
	members  []*subscription
	base     kernelviz.Snapshot // what the members hold; nil before the first frame
	sequence uint32
	next     time.Time // when the next frame is due
	sent     time.Time // when the last one was sent
	quiet    uint64    // digest of the last frame without changes
	credit   float64   // early frames that may be sent, up to earlyCredit
	credited time.Time // when credit was last reckoned
	urgent   bool      // send a frame with the next sample
}

func (g *group) interval() time.Duration { return time.Second / time.Duration(g.key.rate) }

// room watches one kernel object for all pages that look at it. One goroutine
// owns the watch; it samples while there are subscriptions and ends with the
// last of them.
type room struct {
	hub     *hub
	view    kernelviz.View
	topic   kernelviz.Topic
	name    string // topic as a string
	id      uint32 // of the topic in frames; never used again by this server
	metrics *viewMetrics
	log     *slog.Logger

	kick     chan struct{} // subscriptions changed. Capacity 1
	pokes    chan struct{} // the object changed, by an action from a page. Capacity 1
	inspects chan inspectRequest

	mu     sync.Mutex
	subs   []*subscription
	groups map[groupKey]*group
	target kernelviz.Target // zero until the watch is open
	closed bool             // no subscription can be added any more

	// Owned by the goroutine.
	watch      kernelviz.Watch
	generation uint32
	glyphs     bool             // the last snapshot had them
	took       [3]time.Duration // the last samples
	cost       time.Duration    // of a sample, lately
	probeCost  float64          // added to the metric, in CPUs
	scratch    []byte           // for making frames
	seed       maphash.Seed
}

type inspectRequest struct {
	client *client
	msg    *inspectMessage
}

// add subscribes a page. The caller holds hub.mu, under which a room that is
// still listed is not closed.
func (r *room) add(s *subscription) {
	r.mu.Lock()
	s.announce, s.urgent = true, true
	r.subs = append(r.subs, s)
	r.mu.Unlock()
	signal(r.kick)
}

// ask queues a question about what is inside the object. It returns false if
// there are too many or the room is closed.
func (r *room) ask(q inspectRequest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	select {
	case r.inspects <- q:
		return true
	default:
		return false
	}
}

// pid is the process whose object is watched, 0 before the watch is open.
func (r *room) pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.target.PID
}

// change gives a subscription another viewport or rate.
func (r *room) change(s *subscription, vp kernelviz.Viewport, rate int) {
	r.mu.Lock()
	s.viewport, s.rate = vp, rate
	s.announce, s.urgent = true, true
	r.mu.Unlock()
	signal(r.kick)
}

// wantKey makes the next frame for the subscription a key frame.
func (r *room) wantKey(s *subscription, now time.Time) {
	s.client.forget(s)
	r.mu.Lock()
	if now.Sub(s.hurried) >= keyEvery {
		s.hurried, s.urgent = now, true
	}
	r.mu.Unlock()
	signal(r.kick)
}

// remove ends a subscription. It does nothing if it has ended.
func (r *room) remove(s *subscription) {
	r.mu.Lock()
	r.removeLocked(s)
	r.mu.Unlock()
	signal(r.kick)
}

func (r *room) removeLocked(s *subscription) {
	r.ungroup(s)
	for i, other := range r.subs {
		if other == s {
			last := len(r.subs) - 1
			r.subs[i], r.subs[last] = r.subs[last], nil
			r.subs = r.subs[:last]
			return
		}
	}
}

func (r *room) ungroup(s *subscription) {
	g := s.group
	if g == nil {
		return
	}
	s.group = nil
	for i, other := range g.members {
		if other == s {
			last := len(g.members) - 1
			g.members[i], g.members[last] = g.members[last], nil
			g.members = g.members[:last]
			break
		}
	}
	if len(g.members) == 0 {
		delete(r.groups, g.key)
	}
}

// poke asks for a sample at once.
func (r *room) poke() { signal(r.pokes) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run is the room's goroutine.
func (r *room) run(ctx context.Context) {
	r.metrics.rooms.Inc()
	defer r.metrics.rooms.Dec()
	reason := r.serve(ctx)
	r.setCost(0)
	r.finish(reason)
	r.closeWatch()
}

func (r *room) closeWatch() {
	if r.watch == nil {
		return
	}
	if err := r.watch.Close(); err != nil {
		r.log.Warn("closing watch", "topic", r.name, "error", err)
	}
	r.watch = nil
}

// retire closes the room if nobody watches; nobody can join it then.
func (r *room) retire() bool {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.subs) > 0 {
		return false
	}
	r.closeLocked()
	return true
}

// closeLocked takes the room off the hub. The caller holds hub.mu and r.mu.
func (r *room) closeLocked() {
	r.closed = true
	if r.hub.rooms[r.name] == r {
		delete(r.hub.rooms, r.name)
	}
}

// finish ends the subscriptions that are left, because of reason, and answers
// the inspect requests that are left.
func (r *room) finish(reason error) {
	r.hub.mu.Lock()
	r.mu.Lock()
	r.closeLocked()
	subs := r.subs
	r.subs, r.groups = nil, nil
	opened := r.target.View != ""
	r.mu.Unlock()
	r.hub.mu.Unlock()

	for _, s := range subs {
		s.client.drop(s)
		switch {
		case reason == nil:
		case opened:
			s.client.send(encode(goneMessage{"gone", r.name, r.id, reason.Error()}))
		default:
			s.client.refuse(0, r.name, asProblem("watching "+r.name, reason))
		}
	}
	for {
		select {
		case q := <-r.inspects:
			q.client.refuse(q.msg.Ref, r.name, problemf(CodeGone, "", "%s is no longer watched", r.name))
		default:
			return
		}
	}
}

// serve opens the watch and samples until nobody watches (nil) or the target
// is gone (why).
func (r *room) serve(ctx context.Context) error {
	tries := 0
	for {
		err := r.open(ctx)
		if err == nil {
			err = r.sampleWhileWatched(ctx, &tries)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err == nil || errors.Is(err, kernelviz.ErrGone) || errors.Is(err, kernelviz.ErrNotFound) {
			return err
		}
		if tries++; tries > reopenTries {
			return err
		}
		r.log.Warn("watch failed, opening it again", "topic", r.name, "try", tries, "error", err)
		r.closeWatch()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(tries) * reopenAfter):
		}
	}
}

func (r *room) open(ctx context.Context) error {
	watch, err := r.view.Open(ctx, r.topic.Name)
	if err != nil {
		return err
	}
	r.watch = watch
	r.generation = r.hub.nextGeneration()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = watch.Target()
	for _, g := range r.groups {
		g.base = nil
		g.urgent = true
		for _, s := range g.members {
			s.client.forget(s)
		}
	}
	return nil
}

// sampleWhileWatched samples at the pace of the fastest group, and earlier when
// the kernel or an action asks for it. It returns nil when the last
// subscription left. A good sample sets *failed to 0.
func (r *room) sampleWhileWatched(ctx context.Context, failed *int) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time // start of the last sample
	poked, woken := false, false
	wake := r.watch.Wake()
	for {
		due, watched := r.due(last, poked, woken)
		if !watched {
			if r.retire() {
				return nil
			}
			continue
		}
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return nil
		case <-r.kick:
			continue
		case <-r.pokes:
			poked = true
			continue
		case <-wake:
			// One is enough until the next sample; a busy target must not
			// keep this loop busy.
			woken, wake = true, nil
			continue
		case q := <-r.inspects:
			r.inspect(ctx, q)
			continue
		case <-timer.C:
		}
		wake = r.watch.Wake()
		drain(wake)
		drain(r.pokes)
		last = time.Now()
		snap, err := r.sample(ctx)
		if err != nil {
			return err
		}
		*failed = 0
		r.deliver(snap, last, poked, woken)
		poked, woken = false, false
	}
}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}

// due is when to sample next. It also admits new subscriptions and reports
// whether there are any.
func (r *room) due(last time.Time, poked, woken bool) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.admit()
	var fastest *group
	urgent := poked
	credit := false
	now := time.Now()
	for _, g := range r.groups {
		if fastest == nil || g.key.rate > fastest.key.rate {
			fastest = g
		}
		urgent = urgent || g.urgent
		credit = credit || g.mayBeEarly(now)
	}
	if fastest == nil {
		return time.Time{}, false
	}
	at := later(fastest.next, last.Add(costShare*r.cost))
	if woken && credit {
		at = earlier(at, last.Add(max(earlyGap, costShare*r.cost)))
	}
	if urgent {
		at = earlier(at, last.Add(max(earlyGap, urgentShare*r.cost)))
	}
	return at, true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// admit puts every subscription into the group of its viewport and rate, and
// announces it where that is new. The caller holds r.mu.
func (r *room) admit() {
	for _, s := range r.subs {
		key := r.groupOf(s)
		if s.group == nil || s.group.key != key {
			r.ungroup(s)
			g := r.groups[key]
			if g == nil {
				g = &group{key: key, credit: earlyCredit, credited: time.Now()}
				r.groups[key] = g
			}
			g.members = append(g.members, s)
			s.group = g
			s.announce, s.urgent = true, true
		}
		if s.announce {
			s.announce = false
			// The old frames go first: sequence numbers start anew.
			s.client.forget(s)
			s.client.send(encode(watchingMessage{"watching", r.name, r.id, key.rate, r.target}))
		}
		if s.urgent {
			s.urgent = false
			s.group.urgent = true
		}
	}
}

// groupOf says which frames a subscription gets. Small objects are sent whole,
// whatever part of them is looked at.
func (r *room) groupOf(s *subscription) groupKey {
	rate := max(1, s.rate>>s.client.slowness())
	if !r.glyphs {
		return groupKey{rate: rate}
	}
	return groupKey{viewport: s.viewport, rate: min(rate, glyphRate)}
}

// mayBeEarly reckons the credit for early frames and tells whether there is any.
func (g *group) mayBeEarly(now time.Time) bool {
	g.credit += now.Sub(g.credited).Seconds() * float64(g.key.rate) / earlyShare
	g.credit = min(g.credit, earlyCredit)
	g.credited = now
	return g.credit >= 1
}

func (r *room) sample(ctx context.Context) (kernelviz.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	start := time.Now()
	snap, err := r.watch.Sample(ctx)
	took := time.Since(start)
	if err != nil {
		return nil, fmt.Errorf("sampling %s: %w", r.name, err)
	}
	r.metrics.sample.Observe(took.Seconds())
	// The least of the last three: on a busy machine one sample may have waited
	// for a CPU, which is not what it costs.
	if r.took[0] == 0 {
		r.took = [3]time.Duration{took, took, took}
	}
	r.took = [3]time.Duration{r.took[1], r.took[2], took}
	r.cost = slices.Min(r.took[:])
	truth := snap.Truth()
	if !truth.Whole {
		r.metrics.torn.Inc()
	}
	r.setCost(truth.Cost)
	return snap, nil
}

func (r *room) setCost(cpus float64) {
	r.metrics.cost.Add(cpus - r.probeCost)
	r.probeCost = cpus
}

// deliver makes the frames of the groups whose turn it is and hands them to
// their members.
func (r *room) deliver(snap kernelviz.Snapshot, now time.Time, poked, woken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.glyphs = snap.Glyphs()
	r.admit()
	fastest := 1
	for key := range r.groups {
		fastest = max(fastest, key.rate)
	}
	// A slower group's turn may fall between two samples: it takes the nearer.
	slack := time.Second / time.Duration(fastest) / 2
	for _, g := range r.groups {
		onTime := !g.next.After(now.Add(slack))
		early := woken && g.mayBeEarly(now)
		if !onTime && !early && !poked && !g.urgent {
			continue
		}
		switch {
		case g.urgent || poked:
			g.next = now.Add(g.interval())
		case onTime:
			g.next = later(g.next.Add(g.interval()), now.Add(slack))
		default:
			g.credit--
			g.next = now.Add(g.interval())
		}
		g.urgent = false
		r.deliverTo(g, snap, now)
	}
}

// deliverTo sends one frame to a group: the same delta to all who are up to
// date and the same key frame to all who are not.
func (r *room) deliverTo(g *group, snap kernelviz.Snapshot, now time.Time) {
	stale := 0
	for _, s := range g.members {
		if s.client.isStale(s) {
			stale++
		}
	}
	var delta, key frame
	if stale < len(g.members) && g.base != nil {
		var digest uint64
		delta, digest = r.encode(g, snap, g.base)
		// What every frame carries is the truth and one row about the object.
		same := digest == g.quiet && digest != 0
		g.quiet = digest
		if same && stale == 0 && now.Sub(g.sent) < quietEvery {
			r.metrics.unchanged.Inc()
			return
		}
	}
	switch {
	case delta.key:
		key = delta
	case stale > 0 || g.base == nil:
		key, _ = r.encode(g, snap, nil)
	}
	g.sequence++
	g.base, g.sent = snap, now
	for _, s := range g.members {
		// Who became stale meanwhile discards the delta and gets its key frame
		// next time.
		f := delta
		if delta.prepared == nil || s.client.isStale(s) {
			f = key
		}
		if f.prepared == nil {
			continue
		}
		f.sub = s
		s.client.offer(f)
	}
}

// alwaysRows is the number of rows in a frame that says that nothing changed:
// the truth row and the row about the object as a whole.
const alwaysRows = 2

// encode makes a frame with the next sequence number of the group. The digest
// is equal for two frames in a row when the second tells nothing new; it is 0
// for a delta that carries changes.
func (r *room) encode(g *group, snap, base kernelviz.Snapshot) (frame, uint64) {
	start := time.Now()
	buf := append(r.scratch[:0], make([]byte, wire.HeaderSize)...)
	buf, rows, key := snap.AppendSections(buf, g.key.viewport, base)
	truth := snap.Truth()
	var flags wire.Flags
	if key {
		flags |= wire.FlagKey
	}
	if !truth.Whole {
		flags |= wire.FlagTorn
	}
	if r.glyphs {
		flags |= wire.FlagGlyphs
	}
	wire.Header{
		Kind:       r.view.Kind(),
		Flags:      flags,
		Topic:      r.id,
		Generation: r.generation,
		Sequence:   g.sequence + 1,
		Rows:       rows,
		Time:       uint64(truth.At),
	}.Append(buf[:0])
	r.scratch = buf

	var digest uint64
	if key || rows <= alwaysRows {
		digest = r.digest(buf[wire.HeaderSize:])
	}
	// The message keeps its own copy, laid out as it goes over the wire.
	prepared, err := websocket.NewPreparedMessage(websocket.BinaryMessage, buf)
	if err != nil {
		// It writes into memory; an error would be a mistake of this program.
		panic(fmt.Sprintf("preparing a frame of %s: %v", r.name, err))
	}
	r.metrics.encode.Observe(time.Since(start).Seconds())
	return frame{prepared: prepared, size: len(buf), key: key}, digest
}

// digest hashes the sections but the truth row, which differs in every frame.
func (r *room) digest(sections []byte) uint64 {
	parsed, err := wire.ParseSections(sections)
	if err != nil {
		return 0 // counts as changed
	}
	var h maphash.Hash
	h.SetSeed(r.seed)
	for _, s := range parsed {
		if s.Type == wire.SectionTruth {
			continue
		}
		_, _ = h.Write([]byte{byte(s.Type), byte(s.Type >> 8)})
		_, _ = h.Write(s.Rows)
	}
	return h.Sum64()
}

// inspect answers a page that wants to see inside an object.
func (r *room) inspect(ctx context.Context, q inspectRequest) {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	detail, err := r.watch.Inspect(ctx, q.msg.Object, q.msg.ID)
	if err != nil {
		doing := fmt.Sprintf("reading %.20s %d of %s", q.msg.Object, q.msg.ID, r.name)
		q.client.refuse(q.msg.Ref, r.name, asProblem(doing, err))
		return
	}
	q.client.send(encode(detailMessage{"detail", q.msg.Ref, r.name, detail}))
}
