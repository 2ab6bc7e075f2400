package server

import (
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"kernelviz/internal/kernelviz"
)

const (
	maxRooms  = 256 // kernel objects watched at once
	maxTopics = 16  // of one page
)

// hub knows the pages and the rooms. It passes control messages on and never
// waits for a page.
//
// Lock order: hub.mu, room.mu, client.mu.
type hub struct {
	views     map[string]kernelviz.View
	viewsInfo map[string]*viewMetrics
	targets   *targetList
	workloads *workloads // nil where starting them is switched off
	labs      *labs      // nil where labs are switched off
	// experiments is nil where running them is switched off.
	experiments *experiments
	metrics     *metrics
	log         *slog.Logger
	maxClients  int

	// ctx ends with the server; rooms and the target list run in it.
	ctx        context.Context
	running    sync.WaitGroup // goroutines of rooms and the target list
	topics     atomic.Uint32
	generation atomic.Uint32

	mu      sync.Mutex
	clients map[*client]struct{}
	rooms   map[string]*room
	closed  bool
}

func newHub(ctx context.Context, o Options, m *metrics) *hub {
	h := &hub{
		views:      make(map[string]kernelviz.View),
		viewsInfo:  make(map[string]*viewMetrics),
		targets:    newTargetList(o.Views, o.Logger),
		metrics:    m,
		log:        o.Logger,
		maxClients: o.MaxClients,
		ctx:        ctx,
		clients:    make(map[*client]struct{}),
		rooms:      make(map[string]*room),
	}
	for _, v := range o.Views {
		h.views[v.Name()] = v
		h.viewsInfo[v.Name()] = m.view(v.Name())
	}
	if o.Sandbox != nil {
		h.workloads = &workloads{hub: h, box: o.Sandbox}
	}
	h.running.Go(func() { h.targets.run(ctx) })
	if o.Labs != nil {
		h.labs = newLabs(h, o.Labs, o.Kernel)
	}
	if o.Experiments != nil {
		h.experiments = &experiments{hub: h, ExperimentOptions: *o.Experiments}
	}
	return h
}

// nextGeneration is higher than any before it, so that whatever a page holds is
// older than what it gets from a watch opened now.
func (h *hub) nextGeneration() uint32 { return h.generation.Add(1) }

// full tells whether no more pages are let in.
func (h *hub) full() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed || len(h.clients) >= h.maxClients
}

// join takes in a page that has just connected. hello is its first message.
// It returns false, with the connection closed, if there is no room.
func (h *hub) join(c *client, hello []byte) bool {
	h.mu.Lock()
	if h.closed || len(h.clients) >= h.maxClients {
		h.mu.Unlock()
		return false
	}
	h.clients[c] = struct{}{}
	h.metrics.viewers.Inc()
	c.send(hello)
	h.running.Go(c.write)
	h.running.Go(c.read)
	h.mu.Unlock()
	if h.workloads != nil {
		c.sendLatest(listWorkloads, h.workloads.list())
	}
	return true
}

// everyone is every page that is connected.
func (h *hub) everyone() []*client {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*client, 0, len(h.clients))
	for c := range h.clients {
		all = append(all, c)
	}
	return all
}

// spawn runs the functions, which shutdown waits for. It returns false if the
// hub is stopping.
func (h *hub) spawn(fs ...func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	for _, f := range fs {
		h.running.Go(f)
	}
	return true
}

// leave forgets a page whose connection has ended.
func (h *hub) leave(c *client) {
	c.close(websocket.CloseNormalClosure, "")
	h.mu.Lock()
	delete(h.clients, c)
	h.mu.Unlock()
	h.targets.subscribe(c, false)
	if h.workloads != nil {
		h.workloads.detach(c)
	}
	if h.labs != nil {
		h.labs.detach(c)
	}
	for _, s := range c.subscriptions() {
		c.drop(s)
		s.room.remove(s)
	}
	h.metrics.viewers.Dec()
}

// handle carries out one message from a page. It runs in the page's reader.
func (h *hub) handle(c *client, msg control) {
	switch m := msg.(type) {
	case *targetsMessage:
		h.targets.subscribe(c, m.On)
	case *watchMessage:
		if err := h.watch(c, m); err != nil {
			c.refuse(0, m.Topic, asProblem("watching "+m.Topic, err))
		}
	case *unwatchMessage:
		if s := c.subscription(m.Topic); s != nil {
			c.drop(s)
			s.room.remove(s)
		}
	case *keyMessage:
		if s := c.subscription(m.Topic); s != nil {
			s.room.wantKey(s, time.Now())
		}
	case *inspectMessage:
		h.inspect(c, m)
	case *labMessage, *leaveMessage, *actMessage, *predictMessage, *labStepMessage, *labOnlyMessage, *draftMessage, *buildMessage:
		h.handleLab(c, msg)
	case *experimentMessage, *cancelMessage:
		h.handleExperiment(c, msg)
	default:
		h.handleWorkload(c, msg)
	}
}

// watch subscribes a page to a topic, or changes how it watches.
func (h *hub) watch(c *client, m *watchMessage) error {
	topic, err := parseTopic(m.Topic)
	if err != nil {
		return err
	}
	view := h.views[topic.View]
	if view == nil {
		return problemf(CodeNotFound, "", "no view %.40q", topic.View)
	}
	viewport := quantise(kernelviz.Viewport{Lo: m.View.Lo, Hi: m.View.Hi, Px: m.View.Px})
	if s := c.subscription(m.Topic); s != nil {
		s.room.change(s, viewport, m.Rate)
		return nil
	}
	if c.topics() >= maxTopics { // only this goroutine adds to them
		return problemf(CodeLimit, "stop watching one of them", "a page watches at most %d objects", maxTopics)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return problemf(CodeBusy, "", "the server is stopping")
	}
	r := h.rooms[m.Topic]
	if r == nil {
		if len(h.rooms) >= maxRooms {
			return problemf(CodeLimit, "close some pages", "%d objects are watched, the most this server watches at once", maxRooms)
		}
		r = h.newRoom(view, topic)
	}
	s := &subscription{client: c, room: r, view: r.metrics, viewport: viewport, rate: m.Rate, stale: true}
	c.subscribe(s)
	r.add(s)
	return nil
}

// newRoom opens a room. The caller holds h.mu and adds a subscription to it
// before letting go.
func (h *hub) newRoom(view kernelviz.View, topic kernelviz.Topic) *room {
	r := &room{
		hub:      h,
		view:     view,
		topic:    topic,
		name:     topic.String(),
		id:       h.topics.Add(1),
		metrics:  h.viewsInfo[view.Name()],
		log:      h.log,
		kick:     make(chan struct{}, 1),
		pokes:    make(chan struct{}, 1),
		inspects: make(chan inspectRequest, inspectQueue),
		groups:   make(map[groupKey]*group),
		seed:     maphash.MakeSeed(),
	}
	h.rooms[r.name] = r
	h.running.Go(func() { r.run(h.ctx) })
	return r
}

// inspect asks the room of a topic that the page watches.
func (h *hub) inspect(c *client, m *inspectMessage) {
	s := c.subscription(m.Topic)
	if s == nil {
		c.refuse(m.Ref, m.Topic, problemf(CodeNotFound, "watch it first", "%.*q is not watched by this page", maxTopicLen, m.Topic))
		return
	}
	if !s.room.ask(inspectRequest{c, m}) {
		c.refuse(m.Ref, m.Topic, problemf(CodeBusy, "try again in a moment", "too many questions about %s at once", m.Topic))
	}
}

// poke makes the rooms that watch an object of the process sample at once.
func (h *hub) poke(pid int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.rooms {
		if r.pid() == pid {
			r.poke()
		}
	}
}

// shutdown says goodbye to all pages and waits for everything that runs. The
// hub's context has ended. What does not end by the deadline is cut off.
func (h *hub) shutdown(deadline time.Time) {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	clients := h.everyone()
	for _, c := range clients {
		c.close(websocket.CloseGoingAway, "the server is stopping")
	}
	ended := make(chan struct{})
	go func() {
		if h.labs != nil {
			h.labs.sessions.Close()
		}
		h.running.Wait()
		close(ended)
	}()
	cut := time.AfterFunc(time.Until(deadline), func() {
		for _, c := range clients {
			_ = c.conn.NetConn().Close()
		}
	})
	defer cut.Stop()
	select {
	case <-ended:
	case <-time.After(time.Until(deadline.Add(500 * time.Millisecond))):
		h.log.Warn("stopping although something still runs")
	}
}
