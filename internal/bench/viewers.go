package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz/wire"
	"kernelviz/internal/server"
	"kernelviz/internal/workload/churn"
)

const (
	viewerCount = 1000
	viewerStuck = 100 // of them never read
	viewerRate  = 10  // frames/s
	viewerItems = 1000
	changes     = 20 // random calls every changeEvery
	changeEvery = 50 * time.Millisecond
)

// viewers connects a thousand pages to one server, all watching one tree that
// changes all the time. The pages live in another process.
func viewers(ctx context.Context, e *env, r *report) error {
	tree, err := e.startChurn(ctx, viewerItems)
	if err != nil {
		return err
	}
	defer tree.stop()
	s, err := e.startLabserver(ctx)
	if err != nil {
		return err
	}
	defer s.stop()

	changing, stopChanging := context.WithCancel(ctx)
	changed := make(chan error, 1)
	go func() { changed <- tree.change(changing) }()
	defer func() {
		stopChanging()
		<-changed
	}()

	file := filepath.Join(e.dir, "latencies")
	pages, err := startSelf(ctx, "viewers", s.addr, string(s.token), tree.target(), file)
	if err != nil {
		return err
	}
	defer pages.stop()
	// One page loads and warms what all share.
	var connected int
	if err := pages.ask("connect 1 0", &connected); err != nil {
		return err
	}
	settle := fmt.Sprintf("measure %d", pick(e, 3, 1))
	if err := pages.ask(settle, new(int), new(int)); err != nil {
		return err
	}
	alone, err := resident(s.cmd.Process.Pid)
	if err != nil {
		return err
	}
	bufferedAlone, err := socketMemory()
	if err != nil {
		return err
	}
	if err := pages.ask(fmt.Sprintf("connect %d %d", viewerCount-viewerStuck-1, viewerStuck), &connected); err != nil {
		return err
	}
	if connected != viewerCount {
		return fmt.Errorf("%d pages are connected, want %d", connected, viewerCount)
	}
	if err := pages.ask(settle, new(int), new(int)); err != nil { // let the key frames pass
		return err
	}

	var latency, memory, sockets, serverCPU, pageCPU, received series
	weigh := func() error {
		all, err := resident(s.cmd.Process.Pid)
		if err != nil {
			return err
		}
		buffered, err := socketMemory()
		memory = append(memory, (all-alone)/(viewerCount-1))
		sockets = append(sockets, (buffered-bufferedAlone)/(viewerCount-1))
		return err
	}
	if err := weigh(); err != nil { // while those who never read are still there
		return err
	}
	r.of("%s pages at %d frames/s of %s items, %d of them never reading", grouped(viewerCount), viewerRate, grouped(viewerItems), viewerStuck)
	var frames, skipped int
	for range pick(e, 4, 1) {
		const seconds = 5
		pids := []int{s.cmd.Process.Pid, pages.cmd.Process.Pid}
		before, err := cpuTimes(pids)
		if err != nil {
			return err
		}
		if err := pages.ask(fmt.Sprintf("measure %d", seconds), &frames, &skipped); err != nil {
			return err
		}
		after, err := cpuTimes(pids)
		if err != nil {
			return err
		}
		if err := weigh(); err != nil {
			return err
		}
		took, err := readSeries(file)
		if err != nil {
			return err
		}
		latency = append(latency, took...)
		serverCPU = append(serverCPU, (after[0]-before[0]).Seconds()/seconds)
		pageCPU = append(pageCPU, (after[1]-before[1]).Seconds()/seconds)
		received = append(received, float64(frames)/(seconds*viewerRate*(viewerCount-viewerStuck)))
	}
	select {
	case err := <-changed:
		changed <- err
		return fmt.Errorf("changing the tree: %w", err)
	default:
	}
	r.hold("kernel read → frame in the page's process", nanoseconds, latency, "p99", 50e6)
	r.hold("memory of the server per page", bytes, memory, "max", 64<<10)
	r.add("socket buffers of the kernel per page, both ends", bytes, sockets)
	r.add("CPUs used by the server", share, serverCPU)
	r.add("CPUs used by the pages", share, pageCPU)
	r.add("frames received of those asked for", share, received)
	left, err := metric(ctx, s.addr, s.token, "kernelviz_viewers")
	if err != nil {
		return err
	}
	r.note("the pages that read missed %d frames in the last %d by their numbers; %s pages are connected at the end, as the server closes who does not read for 5 s", skipped, frames, left)
	r.note("memory: anonymous resident; socket buffers: all TCP of the machine; the tree gets %d random calls every %v", changes, changeEvery)
	return nil
}

func cpuTimes(pids []int) ([]time.Duration, error) {
	out := make([]time.Duration, len(pids))
	for i, pid := range pids {
		var err error
		if out[i], err = cpuTime(pid); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// socketMemory is what TCP sockets of this network namespace hold, in bytes.
func socketMemory() (float64, error) {
	line, ok := lineOf("/proc/net/sockstat", "TCP:")
	_, mem, found := strings.Cut(line, " mem ")
	if !ok || !found {
		return 0, errors.New("/proc/net/sockstat does not tell the memory of TCP")
	}
	pages, err := strconv.ParseFloat(strings.TrimSpace(mem), 64)
	return pages * float64(os.Getpagesize()), err
}

// change makes random calls on the instance until ctx ends.
func (c *churner) change(ctx context.Context) error {
	tick := time.NewTicker(changeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, err := c.do(ctx, churn.Action{Op: "run", Ops: changes}); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

func readSeries(file string) (series, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	out := make(series, len(data)/8)
	for i := range out {
		out[i] = float64(binary.LittleEndian.Uint64(data[8*i:]))
	}
	return out, nil
}

// viewersChild is the pages: ADDR TOKEN TARGET FILE. Commands:
//
//	connect N STUCK	connects N pages that read and STUCK that never do; answers how many there are
//	measure S	for S seconds; answers frames received and missed, latencies in ns in FILE
func viewersChild(args []string) error {
	if len(args) != 4 {
		return errors.New("want ADDR TOKEN TARGET FILE")
	}
	c := &crowd{addr: args[0], token: server.Token(args[1]), target: args[2]}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var reading, stuck, seconds int
		if _, err := fmt.Sscanf(in.Text(), "connect %d %d", &reading, &stuck); err == nil {
			if err := c.connect(reading, stuck); err != nil {
				return err
			}
			fmt.Println(len(c.pages) + len(c.stuck))
			continue
		}
		if _, err := fmt.Sscanf(in.Text(), "measure %d", &seconds); err != nil {
			return fmt.Errorf("command %q", in.Text())
		}
		frames, skipped, err := c.measure(time.Duration(seconds)*time.Second, args[3])
		if err != nil {
			return err
		}
		fmt.Println(frames, skipped)
	}
	return nil
}

// crowd is the pages of one process.
type crowd struct {
	addr   string
	token  server.Token
	target string
	pages  []*viewer
	stuck  []*websocket.Conn
	on     atomic.Bool // measuring
}

// viewer is a page that reads.
type viewer struct {
	conn *websocket.Conn

	mu       sync.Mutex
	took     []uint64 // ns per frame since the measurement began
	sequence uint32   // of the last frame
	skipped  int
	err      error
}

func (c *crowd) connect(reading, stuck int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for range reading {
		conn, err := dial(ctx, c.addr, c.token)
		if err != nil {
			return err
		}
		p := &viewer{conn: conn}
		c.pages = append(c.pages, p)
		if err := watchTopic(conn, "epoll/"+c.target, viewerRate); err != nil {
			return err
		}
		go p.read(&c.on)
	}
	for range stuck {
		conn, err := dialNarrow(ctx, c.addr, c.token)
		if err != nil {
			return err
		}
		c.stuck = append(c.stuck, conn)
		if err := watchTopic(conn, "epoll/"+c.target, viewerRate); err != nil {
			return err
		}
	}
	return nil
}

// dialNarrow connects with the smallest receive buffer, so that who does not
// read is noticed soon.
func dialNarrow(ctx context.Context, addr string, token server.Token) (*websocket.Conn, error) {
	narrow := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
		})
		return errors.Join(err, failed)
	}}
	return dialWith(ctx, narrow.DialContext, addr, token)
}

// read takes frames until the connection ends.
func (p *viewer) read(on *atomic.Bool) {
	head := make([]byte, wire.HeaderSize)
	for {
		kind, body, err := p.conn.NextReader()
		if err == nil && kind == websocket.BinaryMessage {
			_, err = io.ReadFull(body, head)
		}
		if err == nil {
			_, err = io.Copy(io.Discard, body)
		}
		now := monotonic()
		var h wire.Header
		if err == nil && kind == websocket.BinaryMessage {
			h, _, err = wire.ParseHeader(head)
		}
		p.mu.Lock()
		switch {
		case err != nil:
			p.err = err
		case kind == websocket.BinaryMessage:
			if on.Load() {
				p.took = append(p.took, now-h.Time)
				if p.sequence != 0 && h.Sequence != p.sequence+1 {
					p.skipped += int(h.Sequence - p.sequence - 1)
				}
			}
			p.sequence = h.Sequence
		}
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (c *crowd) measure(d time.Duration, file string) (frames, skipped int, err error) {
	for _, p := range c.pages {
		p.mu.Lock()
		p.took, p.skipped = p.took[:0], 0
		p.mu.Unlock()
	}
	c.on.Store(true)
	time.Sleep(d)
	c.on.Store(false)
	var out []byte
	for _, p := range c.pages {
		p.mu.Lock()
		for _, ns := range p.took {
			out = binary.LittleEndian.AppendUint64(out, ns)
		}
		frames += len(p.took)
		skipped += p.skipped
		err = errors.Join(err, p.err)
		p.mu.Unlock()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("a page that reads was disconnected: %w", err)
	}
	return frames, skipped, os.WriteFile(file, out, 0o600)
}

// monotonic is CLOCK_MONOTONIC in ns, the clock of a frame's time.
func monotonic() uint64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return uint64(ts.Nano())
}
