package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz/wire"
	"kernelviz/internal/workload"
)

//go:embed browser/browser.mjs
var browserSource []byte

// pixelItems is the size of the tree that is drawn.
const pixelItems = 100

// pixel drives a puppet and looks when Chromium has drawn what each system
// call did.
func pixel(ctx context.Context, e *env, r *report) error {
	s, err := e.startLabserver(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	d, err := startDriver(ctx, s)
	if err != nil {
		return err
	}
	defer d.page.Close()
	chromium, err := e.startBrowser(ctx, "pixel", s.url, d.topic)
	if err != nil {
		return err
	}
	defer chromium.stop()
	if _, err := chromium.line(); err != nil { // the first picture is drawn
		return err
	}
	pictures := make(chan picture, 1024)
	readEnded := make(chan error, 1)
	go func() { readEnded <- readPictures(chromium, pictures) }()
	if err := watchTopic(d.page, "epoll/"+d.target, 30); err != nil { // the same frames as the browser
		return err
	}

	var total, sample, arrive, elsewhere, apply, draw series
	byCall := make(map[string]series)
	actions := pick(e, 400, 80)
	for i := range actions {
		step, err := d.next(i)
		if err != nil {
			return err
		}
		var p picture
		for late := time.After(patience); ; {
			select {
			case p = <-pictures:
			case err := <-readEnded:
				return err
			case <-late:
				return fmt.Errorf("action %d (%s) was not drawn within %v", i, step.what, patience)
			case <-ctx.Done():
				return ctx.Err()
			}
			if step.seen(p) {
				break
			}
		}
		kernel := float64(p.Kernel) + float64(d.offset) // CLOCK_REALTIME of the read's end
		called := float64(step.called.UnixNano())
		total = append(total, 1e6*p.Drawn-called)
		byCall[step.what] = append(byCall[step.what], 1e6*p.Drawn-called)
		sample = append(sample, kernel-called)
		arrive = append(arrive, 1e6*p.Arrived-kernel)
		apply = append(apply, 1e6*(p.Applied-p.Arrived))
		draw = append(draw, 1e6*(p.Drawn-p.Applied))
		if at := d.received(uint64(p.Kernel)); at > 0 {
			elsewhere = append(elsewhere, float64(at)-float64(p.Kernel))
		}
		// A pause of any length, so that samples are met in any phase.
		time.Sleep(20*time.Millisecond + rand.N(60*time.Millisecond))
	}
	r.of("%d actions of a puppet with %d items", actions, pixelItems)
	r.hold("system call → drawn on the canvas", nanoseconds, total, "p99", 50e6)
	for _, what := range slices.Sorted(maps.Keys(byCall)) {
		r.add("… of these "+what, nanoseconds, byCall[what])
	}
	r.add("system call entered → kernel read ended", nanoseconds, sample)
	r.add("kernel read → frame in the page", nanoseconds, arrive)
	r.add("(kernel read → frame in another process)", nanoseconds, elsewhere)
	r.add("frame in the page → applied to the model", nanoseconds, apply)
	r.add("applied → drawn (waits for the animation frame)", nanoseconds, draw)
	r.note("drawn: the first picture that begins to show the change; what moves then takes some 350 ms to arrive")
	return nil
}

// startBrowser starts Chromium at a topic of a server.
func (e *env) startBrowser(ctx context.Context, mode, url, topic string, args ...string) (*peer, error) {
	web := filepath.Join(e.root, "web")
	if _, err := os.Stat(filepath.Join(web, "node_modules", "playwright-core")); err != nil {
		return nil, fmt.Errorf("%w: playwright-core is not installed (make setup)", errMissing)
	}
	script := filepath.Join(e.dir, "browser.mjs")
	if err := os.WriteFile(script, browserSource, 0o600); err != nil {
		return nil, err
	}
	return startIn(ctx, web, "node", append([]string{script, mode, url, topic}, args...)...)
}

// picture is what the browser tells of a frame that changed the picture. Times
// are ms of CLOCK_REALTIME.
type picture struct {
	Kernel  stringInt `json:"kernel"` // CLOCK_MONOTONIC, ns
	Arrived float64   `json:"arrived"`
	Applied float64   `json:"applied"`
	Drawn   float64   `json:"drawn"`
	Items   int       `json:"items"`
	Ready   []int     `json:"ready"`
}

// stringInt is an integer that JavaScript cannot hold.
type stringInt int64

func (n *stringInt) UnmarshalText(b []byte) error {
	v, err := strconv.ParseInt(string(b), 10, 64)
	*n = stringInt(v)
	return err
}

func readPictures(from *peer, into chan<- picture) error {
	for {
		line, err := from.line()
		if err != nil {
			return err
		}
		var p picture
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			return fmt.Errorf("line %q of the browser: %w", line, err)
		}
		into <- p
	}
}

// driver drives a puppet over a websocket, as the page does.
type driver struct {
	page   *websocket.Conn
	id     string // of the puppet
	epfd   int
	fds    []int  // its items
	target string // "PID:FD"
	topic  string // "epoll/PID:FD"
	ref    int
	offset int64 // CLOCK_REALTIME - CLOCK_MONOTONIC, ns

	replies chan reply

	mu     sync.Mutex
	calls  map[uint64]workload.Call // seen, by seq
	frames map[uint64]uint64        // kernel time → CLOCK_MONOTONIC of arrival
	failed error                    // why nothing more is read
}

// reply is any message of the server.
type reply struct {
	Type     string `json:"type"`
	Ref      int    `json:"ref"`
	Message  string `json:"message"`
	Workload struct {
		ID  string
		PID int
	} `json:"workload"`
	Calls  []workload.Call `json:"calls"`
	Result workload.Result `json:"result"`
}

func startDriver(ctx context.Context, s *labserver) (*driver, error) {
	page, err := dial(ctx, s.addr, s.token)
	if err != nil {
		return nil, err
	}
	d := &driver{
		page: page, offset: clockOffset(), replies: make(chan reply, 64),
		calls: make(map[uint64]workload.Call), frames: make(map[uint64]uint64),
	}
	go d.read()
	if err := d.begin(); err != nil {
		page.Close()
		return nil, err
	}
	return d, nil
}

func (d *driver) begin() error {
	started, err := d.ask("start", map[string]any{"type": "start", "workload": "puppet"})
	if err != nil {
		return err
	}
	d.id = started.Workload.ID
	if err := d.page.WriteJSON(map[string]any{"type": "attach", "ref": 0, "id": d.id}); err != nil {
		return err
	}
	made, err := d.act(map[string]any{"op": "epoll_create"})
	if err != nil {
		return err
	}
	d.epfd = made.FDs[0]
	d.target = fmt.Sprintf("%d:%d", started.Workload.PID, d.epfd)
	d.topic = "epoll/" + d.target
	made, err = d.act(map[string]any{"op": "add", "epfd": d.epfd, "what": "eventfd", "n": pixelItems, "events": []string{"EPOLLIN"}})
	d.fds = made.FDs
	return err
}

// read takes everything in until the connection ends.
func (d *driver) read() {
	defer close(d.replies)
	for {
		kind, data, err := d.page.ReadMessage()
		at := monotonic()
		var h wire.Header
		var r reply
		switch {
		case err != nil:
		case kind == websocket.BinaryMessage:
			h, _, err = wire.ParseHeader(data)
		default:
			err = json.Unmarshal(data, &r)
		}
		d.mu.Lock()
		d.failed = err
		if h.Time > 0 {
			d.frames[h.Time] = at
		}
		for _, c := range r.Calls {
			d.calls[c.Seq] = c
		}
		d.mu.Unlock()
		switch {
		case err != nil:
			return
		case r.Ref > 0 || r.Type == "calls":
			d.replies <- r
		}
	}
}

// until waits for a message of the server.
func (d *driver) until(what string, wanted func(reply) bool) error {
	late := time.After(patience)
	for {
		select {
		case r, ok := <-d.replies:
			switch {
			case !ok:
				d.mu.Lock()
				defer d.mu.Unlock()
				return fmt.Errorf("%s: %w", what, d.failed)
			case r.Type == "error":
				return fmt.Errorf("%s: %s", what, r.Message)
			case wanted(r):
				return nil
			}
		case <-late:
			return fmt.Errorf("%s: the server did not answer within %v", what, patience)
		}
	}
}

// ask sends a message and waits for its answer.
func (d *driver) ask(what string, m map[string]any) (reply, error) {
	d.ref++
	m["ref"] = d.ref
	if err := d.page.WriteJSON(m); err != nil {
		return reply{}, err
	}
	var got reply
	return got, d.until(what, func(r reply) bool {
		got = r
		return r.Ref == d.ref
	})
}

// act carries out one action of the puppet.
func (d *driver) act(action map[string]any) (workload.Result, error) {
	r, err := d.ask(fmt.Sprint(action["op"]), map[string]any{"type": "do", "id": d.id, "action": action})
	return r.Result, err
}

// called is when a call was entered.
func (d *driver) called(seq uint64) (time.Time, error) {
	for {
		d.mu.Lock()
		c, ok := d.calls[seq]
		d.mu.Unlock()
		if ok {
			return time.Parse(time.RFC3339Nano, c.Time)
		}
		if err := d.until("the log of calls", func(r reply) bool { return r.Type == "calls" }); err != nil {
			return time.Time{}, err
		}
	}
}

// received is when the frame of a kernel read arrived here, on
// CLOCK_MONOTONIC; 0 if it did not.
func (d *driver) received(kernel uint64) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.frames[kernel]
	clear(d.frames)
	return at
}

// step is one action made: when its call was entered, and how a picture looks
// that shows it.
type step struct {
	what   string
	called time.Time
	seen   func(picture) bool
}

// next makes the i-th action: an fd becomes ready, is taken off the ready list,
// leaves the tree, comes back.
func (d *driver) next(i int) (step, error) {
	fd := d.fds[i/4%len(d.fds)]
	ctl := func(op string) map[string]any {
		a := map[string]any{"op": "ctl", "epfd": d.epfd, "ctl": op, "fd": fd}
		if op == "add" {
			a["events"] = []string{"EPOLLIN"}
		}
		return a
	}
	var action map[string]any
	var s step
	switch i % 4 {
	case 0:
		action = map[string]any{"op": "ready", "fd": fd}
		s = step{what: "write", seen: func(p picture) bool { return slices.Contains(p.Ready, fd) }}
	case 1:
		if _, err := d.act(map[string]any{"op": "drain", "fd": fd}); err != nil {
			return s, err
		}
		action = map[string]any{"op": "wait", "epfd": d.epfd, "maxevents": 8, "timeout": 0, "thread": 1}
		s = step{what: "epoll_wait", seen: func(p picture) bool { return !slices.Contains(p.Ready, fd) }}
	case 2:
		action = ctl("del")
		s = step{what: "epoll_ctl DEL", seen: func(p picture) bool { return p.Items == pixelItems-1 }}
	case 3:
		action = ctl("add")
		s = step{what: "epoll_ctl ADD", seen: func(p picture) bool { return p.Items == pixelItems }}
	}
	made, err := d.act(action)
	if err != nil {
		return s, fmt.Errorf("%s: %w", s.what, err)
	}
	if len(made.Seqs) != 1 {
		return s, fmt.Errorf("%s: made the calls %v, want one", s.what, made.Seqs)
	}
	s.called, err = d.called(made.Seqs[0])
	return s, err
}

// clockOffset is CLOCK_REALTIME - CLOCK_MONOTONIC in ns.
func clockOffset() int64 {
	var best, narrowest int64 = 0, 1 << 62
	for range 100 {
		var ts unix.Timespec
		before := monotonic()
		_ = unix.ClockGettime(unix.CLOCK_REALTIME, &ts)
		after := monotonic()
		if width := int64(after - before); width < narrowest {
			narrowest, best = width, ts.Nano()-int64(before+(after-before)/2)
		}
	}
	return best
}
