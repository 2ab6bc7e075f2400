package server

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// Bounds of one page's connection.
const (
	frameQueue   = 4       // frames waiting to be written
	messageQueue = 256     // JSON messages waiting to be written
	messageBytes = 1 << 20 // bytes of them
	writeTimeout = 5 * time.Second
	pingEvery    = 30 * time.Second
	pongWithin   = 75 * time.Second
	closeWithin  = 700 * time.Millisecond // for the close frame and its answer
	staleWindow  = 10 * time.Second
	staleLimit   = 3  // stale marks within staleWindow that halve the rate
	maxHalvings  = 5  // 60 frames/s become 2
	garbageLimit = 21 // unreadable messages in a row that close the page
	readBuffer   = 1 << 10
	writeBuffer  = 4 << 10
)

// frame is one frame of one topic, shared by all who get it.
type frame struct {
	sub      *subscription
	prepared *websocket.PreparedMessage
	size     int // bytes
	key      bool
}

// client is one page. Rooms put frames into its queue and never wait; one
// goroutine reads from the connection and one writes to it.
//
// Lock order: room.mu before client.mu.
type client struct {
	hub   *hub
	conn  *websocket.Conn
	scope scope
	log   *slog.Logger

	// wake tells the writer that a queue, or closing, changed. Capacity 1.
	wake chan struct{}
	// readEnded and writeEnded are closed when the goroutine has ended.
	readEnded, writeEnded chan struct{}

	mu       sync.Mutex
	frames   [frameQueue]frame // the first queued are valid, oldest first
	queued   int
	messages [][]byte          // JSON, oldest first; never dropped
	size     int               // bytes of messages
	lists    [listKinds][]byte // the newest of each list, not yet written
	subs     map[string]*subscription
	marks    [staleLimit]time.Time // newest stale marks, as a ring
	mark     int                   // next place in marks: the oldest mark
	staleAt  time.Time             // the newest stale mark
	halvings int                   // the rate is the wanted rate >> halvings
	closing  int                   // websocket close code; 0 while open
	reason   string                // of closing
}

func newClient(h *hub, conn *websocket.Conn, s scope) *client {
	return &client{
		hub:        h,
		conn:       conn,
		scope:      s,
		log:        h.log,
		wake:       make(chan struct{}, 1),
		readEnded:  make(chan struct{}),
		writeEnded: make(chan struct{}),
		subs:       make(map[string]*subscription),
	}
}

// send queues a JSON message. It is never dropped: a page that lets too many
// pile up is closed with 1013 and comes back.
func (c *client) send(message []byte) {
	c.mu.Lock()
	if c.closing != 0 {
		c.mu.Unlock()
		return
	}
	if len(c.messages) >= messageQueue || c.size+len(message) > messageBytes {
		c.closeLocked(websocket.CloseTryAgainLater, "too slow: messages piled up")
		c.mu.Unlock()
		c.hub.metrics.closedSlow.Inc()
		return
	}
	c.messages = append(c.messages, message)
	c.size += len(message)
	c.mu.Unlock()
	c.notify()
}

// The lists of which only the newest is any use.
const (
	listTargets = iota
	listWorkloads
	listProgress
	listKinds
)

// sendLatest queues a list and replaces the one that is still waiting; nil only
// takes that one away.
func (c *client) sendLatest(kind int, message []byte) {
	c.mu.Lock()
	c.lists[kind] = message
	c.mu.Unlock()
	c.notify()
}

// isClosing tells whether the page is on its way out.
func (c *client) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing != 0
}

// waiting is the number of bytes of JSON messages that wait to be written.
func (c *client) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}

// offer queues a frame for sub. A delta for a subscription that waits for a key
// frame is discarded. If the queue is full, it is emptied and every
// subscription of the page waits for a key frame: it gets the newest state, not
// the history. It never blocks.
func (c *client) offer(f frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing != 0 || f.sub.left {
		return
	}
	if f.sub.stale && !f.key {
		f.sub.view.dropped.Inc()
		return
	}
	if c.queued == frameQueue {
		c.markStale(time.Now())
		f.sub.view.dropped.Inc()
		return
	}
	if f.key {
		f.sub.stale = false
	}
	c.frames[c.queued] = f
	c.queued++
	c.notify()
}

// markStale empties the queue and halves the rate of a page that is stale again
// and again. The caller holds c.mu.
func (c *client) markStale(now time.Time) {
	for i := range c.queued {
		c.frames[i].sub.view.dropped.Inc()
		c.frames[i] = frame{}
	}
	c.queued = 0
	for _, s := range c.subs {
		s.stale = true
	}
	c.hub.metrics.stale.Inc()
	c.staleAt = now
	c.marks[c.mark] = now
	c.mark = (c.mark + 1) % staleLimit
	oldest := c.marks[c.mark]
	if oldest.IsZero() || now.Sub(oldest) > staleWindow || c.halvings == maxHalvings {
		return
	}
	c.marks = [staleLimit]time.Time{}
	c.halvings++
	c.hub.metrics.halved.Inc()
}

// recover gives back half of what was taken from a page's rate, once it has
// kept up for a while.
func (c *client) recover(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.halvings > 0 && now.Sub(c.staleAt) >= pingEvery {
		c.halvings--
	}
}

// isStale tells whether nothing but a key frame is any use to s.
func (c *client) isStale(s *subscription) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.stale
}

// slowness is the number of times that the page's rate is halved.
func (c *client) slowness() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.halvings
}

// subscription is the page's subscription to a topic, nil if there is none.
func (c *client) subscription(topic string) *subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.subs[topic]
}

// drop ends a subscription on the page's side: its room may still offer frames
// and they are discarded.
func (c *client) drop(s *subscription) {
	c.forget(s)
	c.mu.Lock()
	defer c.mu.Unlock()
	s.left = true
	if c.subs[s.room.name] == s {
		delete(c.subs, s.room.name)
	}
}

// forget drops what is queued of a subscription that gets other frames from now
// on, and makes it wait for a key frame. The caller does not hold c.mu.
func (c *client) forget(s *subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.stale = true
	kept := 0
	for i := range c.queued {
		if c.frames[i].sub != s {
			c.frames[kept] = c.frames[i]
			kept++
		}
	}
	for i := kept; i < c.queued; i++ {
		c.frames[i] = frame{}
	}
	c.queued = kept
}

// close makes the writer send a close frame and end the connection.
func (c *client) close(code int, reason string) {
	c.mu.Lock()
	c.closeLocked(code, reason)
	c.mu.Unlock()
}

func (c *client) closeLocked(code int, reason string) {
	if c.closing == 0 {
		c.closing, c.reason = code, reason
	}
	c.notify()
}

// notify wakes the writer.
func (c *client) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// next takes what is to be written next: a message before any frame, because
// "watching" introduces the frames that follow it.
func (c *client) next() (message []byte, f frame, code int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.messages) > 0 {
		message = c.messages[0]
		c.messages[0] = nil
		c.messages = c.messages[1:]
		c.size -= len(message)
		if len(c.messages) == 0 {
			c.messages = nil // let the array go: most pages are quiet
		}
		return message, frame{}, 0, ""
	}
	if c.closing != 0 {
		return nil, frame{}, c.closing, c.reason
	}
	for kind, list := range c.lists {
		if list != nil {
			c.lists[kind] = nil
			return list, frame{}, 0, ""
		}
	}
	if c.queued > 0 {
		f = c.frames[0]
		copy(c.frames[:], c.frames[1:c.queued])
		c.queued--
		c.frames[c.queued] = frame{}
	}
	return nil, f, 0, ""
}

// write is the writer goroutine. It ends with the connection closed.
func (c *client) write() {
	defer close(c.writeEnded)
	defer c.conn.Close()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		message, f, code, reason := c.next()
		switch {
		case message != nil:
			if !c.wrote(c.writeMessage(message)) {
				return
			}
			continue
		case code != 0:
			c.bye(code, reason)
			return
		case f.prepared != nil:
			_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if !c.wrote(c.conn.WritePreparedMessage(f.prepared)) {
				return
			}
			f.sub.view.sent.Inc()
			f.sub.view.bytes.Add(uint64(f.size))
			continue
		}
		select {
		case <-c.wake:
		case <-ping.C:
			c.recover(time.Now())
			if !c.wrote(c.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTimeout))) {
				return
			}
		}
	}
}

// bye sends a close frame and gives the page a moment to answer it: closing a
// connection with unread data would discard the close frame on its way.
func (c *client) bye(code int, reason string) {
	deadline := time.Now().Add(closeWithin)
	_ = c.conn.SetReadDeadline(deadline)
	if c.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), deadline) == nil {
		<-c.readEnded
	}
}

func (c *client) writeMessage(message []byte) error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	return c.conn.WriteMessage(websocket.TextMessage, message)
}

// wrote tells whether a write went well. After a timeout nothing more can be
// written, not even the close frame; the page sees the connection end and
// comes back.
func (c *client) wrote(err error) bool {
	if err == nil {
		return true
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		c.hub.metrics.closedSlow.Inc()
	}
	c.close(websocket.CloseTryAgainLater, "too slow")
	return false
}

// messageBuffers holds buffers for reading one message from a page.
var messageBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// read is the reader goroutine. It ends when the connection does.
func (c *client) read() {
	defer c.hub.leave(c)
	defer close(c.readEnded)
	c.conn.SetReadLimit(readLimit)
	_ = c.conn.SetReadDeadline(time.Now().Add(pongWithin))
	c.conn.SetPongHandler(func(string) error {
		return c.conn.SetReadDeadline(time.Now().Add(pongWithin))
	})
	garbage := 0
	for {
		kind, r, err := c.conn.NextReader()
		if err != nil {
			return
		}
		msg, ref, err := c.readMessage(kind, r)
		var p *Problem
		if err != nil && !errors.As(err, &p) {
			return // the connection ended inside a message
		}
		if p == nil {
			garbage = 0
			c.hub.handle(c, msg)
			continue
		}
		c.refuse(ref, "", p)
		if garbage++; garbage == garbageLimit {
			c.close(websocket.ClosePolicyViolation, "too many messages that cannot be read")
			c.hub.metrics.closedGarbage.Inc()
		}
	}
}

func (c *client) readMessage(kind int, r io.Reader) (control, int64, error) {
	buf := messageBuffers.Get().(*bytes.Buffer)
	defer messageBuffers.Put(buf)
	buf.Reset()
	if _, err := buf.ReadFrom(r); err != nil {
		return nil, 0, err
	}
	if kind != websocket.TextMessage {
		return nil, 0, badMessage("binary message: pages send JSON")
	}
	return parseControl(buf.Bytes())
}

// refuse answers a message with an error.
func (c *client) refuse(ref int64, topic string, p *Problem) {
	c.hub.metrics.rejected.Inc()
	c.send(encodeError(ref, topic, p))
}

// subscribe notes a subscription.
func (c *client) subscribe(s *subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subs[s.room.name] = s
}

// topics is the number of subscriptions.
func (c *client) topics() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.subs)
}

// subscriptions are all of the page's.
func (c *client) subscriptions() []*subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*subscription, 0, len(c.subs))
	for _, s := range c.subs {
		out = append(out, s)
	}
	return out
}
