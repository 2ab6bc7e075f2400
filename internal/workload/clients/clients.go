// Package clients is a process that is many clients of an echo server: it
// connects, sends numbered messages, checks that the same bytes come back in
// order, and closes its connections in all the ways that a server must bear.
// It makes plain system calls only, on one thread, and waits in an epoll
// instance of its own.
package clients

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

// Bounds of an action.
const (
	maxConnected = 12_000
	maxMessages  = 100_000
	maxSize      = 64 << 10
	maxBurst     = 1 << 20

	connectLimit = 10 * time.Second
	echoLimit    = 20 * time.Second
	// stall is how long an echo waits while nothing at all comes back.
	stall = 3 * time.Second
)

// Action is one thing to do, in the shape of docs/protocol.md.
type Action struct {
	Op       string `json:"op"`
	Port     *int   `json:"port,omitempty"`
	N        *int   `json:"n,omitempty"`
	Messages *int   `json:"messages,omitempty"`
	Size     *int   `json:"size,omitempty"`
	Pieces   *int   `json:"pieces,omitempty"`
}

// State is what the clients know; echoed and failed count from the start.
type State struct {
	Connected  int `json:"connected"`   // open both ways
	HalfClosed int `json:"half_closed"` // by us; the server may still send
	Echoed     int `json:"echoed"`      // messages that came back whole and in order
	Failed     int `json:"failed"`      // connections refused, reset or closed by the other side, messages that came back wrong, late or never
}

// Connected is what connect did.
type Connected struct {
	Established int            `json:"established"`
	Failed      int            `json:"failed"`
	Connected   int            `json:"connected"`        // now, in all
	Reason      string         `json:"reason,omitempty"` // why the first of those that failed did
	Stopped     *control.Error `json:"stopped,omitempty"`
}

// Echoed is what echo and burst did.
type Echoed struct {
	Sent   int    `json:"sent"`
	Echoed int    `json:"echoed"`
	Failed int    `json:"failed"`           // the others of those asked for
	Bytes  int    `json:"bytes"`            // that came back
	Reason string `json:"reason,omitempty"` // why the first of those that failed did
}

// Closed is what close, half_close and reset did.
type Closed struct {
	Closed    int `json:"closed"`
	Connected int `json:"connected"` // now, in all
}

var ops = []struct {
	control.Op
	run func(*Clients, *Action) (any, error)
}{
	{control.NewOp("connect", "port", "n?"), (*Clients).connect},
	{control.NewOp("echo", "messages?", "size?"), (*Clients).echo},
	{control.NewOp("burst", "size?", "pieces?"), (*Clients).burst},
	{control.NewOp("close", "n?"), (*Clients).close},
	{control.NewOp("half_close", "n?"), (*Clients).halfClose},
	{control.NewOp("reset", "n?"), (*Clients).reset},
}

// Main is the life of the workload.
func Main() error {
	c := &Clients{epfd: -1, byFD: map[int]*conn{}, buf: make([]byte, 256<<10), want: make([]byte, 256<<10)}
	return control.Run("clients", c)
}

// Clients carries out actions.
type Clients struct {
	epfd   int     // -1 until the first action
	open   []*conn // in the order in which they connected; also those that connect
	byFD   map[int]*conn
	lastID int
	source byte // last byte of the address that is connected from; 0 until ports run short
	events [512]unix.EpollEvent
	buf    []byte // that is read into
	want   []byte // what should be there
	total  State
	now    tally // of the running action
}

// tally is what happened during an action.
type tally struct {
	established, refused int
	sent, echoed, failed int // messages
	bytes                int
	reason               string // why the first that failed did
}

// Do carries out one action.
func (c *Clients) Do(data json.RawMessage) (any, error) {
	known := make([]control.Op, 0, len(ops))
	for i := range ops {
		known = append(known, ops[i].Op)
	}
	var a Action
	i, err := control.Pick(data, "clients", known, &a)
	if err != nil {
		return nil, err
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	if err := c.start(); err != nil {
		return nil, err
	}
	c.notice()
	c.now = tally{}
	return ops[i].run(c, &a)
}

func (a *Action) check() error {
	size := maxSize
	if a.Op == "burst" {
		size = maxBurst
	}
	return control.Check(
		control.Bound{Name: "port", Value: a.Port, Min: 1, Max: 65_535},
		control.Bound{Name: "n", Value: a.N, Min: 1, Max: maxConnected},
		control.Bound{Name: "messages", Value: a.Messages, Min: 1, Max: maxMessages},
		control.Bound{Name: "size", Value: a.Size, Min: 1, Max: size},
		control.Bound{Name: "pieces", Value: a.Pieces, Min: 1, Max: 64},
	)
}

// start opens the instance, once. It comes after control.Quiet.
func (c *Clients) start() error {
	if c.epfd >= 0 {
		return nil
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll_create1: %w", err)
	}
	c.epfd = fd
	return nil
}

// State tells what the clients know, after a look at what the server closed.
func (c *Clients) State() any {
	if c.epfd >= 0 {
		c.notice()
	}
	return c.total
}

// notice takes what has happened while no action was running.
func (c *Clients) notice() {
	for range 2 * maxConnected / len(c.events) {
		if c.pump(0) < len(c.events) {
			break
		}
	}
	c.sweep()
}

// sweep forgets connections that are closed.
func (c *Clients) sweep() {
	c.open = slices.DeleteFunc(c.open, func(k *conn) bool { return k.fd < 0 })
}
