package clients

import (
	"fmt"
	"time"

	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

const (
	// together is how many connections are begun and not yet answered.
	together = 64
	// lastSource is the last address that is connected from: 127.0.0.9.
	lastSource = 9
)

func (c *Clients) connect(a *Action) (any, error) {
	n := control.Or(a.N, 1)
	if have := len(c.open); have+n > maxConnected {
		return nil, &control.Error{
			Code:    "limit",
			Message: fmt.Sprintf("%d connections are open, and %d more would be above %d", have, n, maxConnected),
			Fix:     "close some first",
		}
	}
	r := Connected{}
	begun := 0
	for end := time.Now().Add(connectLimit); ; {
		for begun < n && begun-c.now.established-c.now.refused < together && r.Stopped == nil {
			if err := c.begin(*a.Port); err != nil {
				r.Stopped = stopped(c.now.established, n, err)
				break
			}
			begun++
		}
		if c.now.established+c.now.refused == begun && (begun == n || r.Stopped != nil) {
			break
		}
		left := time.Until(end)
		if left <= 0 {
			c.abandon()
			c.refuse(n - begun)
			break
		}
		c.pump(int(min(left.Milliseconds(), 100)) + 1)
	}
	c.sweep()
	r.Established, r.Failed, r.Connected, r.Reason = c.now.established, c.now.refused, c.total.Connected, c.now.reason
	return r, nil
}

// stopped is for what ends an action before it is done.
func stopped(done, n int, err error) *control.Error {
	e := control.Errorf("stopped", "connected %d of %d, then %v", done, n, err)
	if s, ok := err.(*failure); ok && (s.err == unix.EMFILE || s.err == unix.ENFILE) {
		e.Code, e.Fix = "emfile", "close some, or raise the limit of open files (ulimit -n)"
	}
	return e
}

// failure is a system call that failed.
type failure struct {
	call string
	err  error
}

func (f *failure) Error() string { return f.call + " failed: " + control.ErrnoText(f.err) }

// begin begins to connect. Where ports run short it goes on from another
// address.
func (c *Clients) begin(port int) error {
	for {
		again, err := c.beginFrom(port)
		if !again {
			return err
		}
	}
}

func (c *Clients) beginFrom(port int) (again bool, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, &failure{"socket", err}
	}
	if c.source > 0 {
		// The port is chosen by connect, which knows the other end.
		err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, c.source}})
		}
		if err != nil {
			_ = unix.Close(fd)
			return false, &failure{"bind", err}
		}
	}
	c.lastID++
	k := &conn{id: c.lastID, fd: fd}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	if err == unix.EADDRNOTAVAIL && c.source < lastSource {
		c.source = max(c.source+1, 2)
		_ = unix.Close(fd)
		return true, nil
	}
	c.open = append(c.open, k)
	c.byFD[fd] = k
	if err != nil && err != unix.EINPROGRESS && err != unix.EINTR {
		c.lost(k, "connecting: "+control.ErrnoText(err))
		return false, nil
	}
	e := unix.EpollEvent{Events: watched | unix.EPOLLOUT, Fd: int32(fd)}
	if err := unix.EpollCtl(c.epfd, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		c.lost(k, "epoll_ctl: "+control.ErrnoText(err))
	}
	return false, nil
}

// answered takes the answer to a connect.
func (c *Clients) answered(k *conn, events uint32) {
	errno, err := unix.GetsockoptInt(k.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && errno != 0 {
		err = unix.Errno(errno)
	}
	if err != nil {
		c.lost(k, "connecting: "+control.ErrnoText(err))
		return
	}
	if events&unix.EPOLLOUT == 0 {
		return
	}
	k.phase, k.wants = open, true
	c.now.established++
	c.total.Connected++
	c.ask(k)
}

// abandon gives up the connections that are not answered.
func (c *Clients) abandon() {
	for _, k := range c.open {
		if k.fd >= 0 && k.phase == connecting {
			c.lost(k, fmt.Sprintf("connecting: no answer within %v", connectLimit))
		}
	}
}

// refuse counts connections that were not even begun.
func (c *Clients) refuse(n int) {
	c.now.refused += n
	c.total.Failed += n
}

// usable are the connections that are open both ways.
func (c *Clients) usable() []*conn {
	var some []*conn
	for _, k := range c.open {
		if k.fd >= 0 && k.phase == open {
			some = append(some, k)
		}
	}
	return some
}

func errNone(want, have int) error {
	return &control.Error{
		Code:    "no_connection",
		Message: fmt.Sprintf("%d connections are asked for, %d are open", want, have),
		Fix:     "connect first",
	}
}

func (c *Clients) echo(a *Action) (any, error) {
	some := c.usable()
	if len(some) == 0 {
		return nil, errNone(1, 0)
	}
	return c.exchange(some, control.Or(a.Messages, 1), control.Or(a.Size, 64), 1), nil
}

// burst is one message on one connection.
func (c *Clients) burst(a *Action) (any, error) {
	some := c.usable()
	if len(some) == 0 {
		return nil, errNone(1, 0)
	}
	return c.exchange(some[:1], 1, control.Or(a.Size, 20_000), control.Or(a.Pieces, 1)), nil
}

const (
	each   = 4       // messages that one connection has under way
	flying = 1024    // messages that all have
	bulk   = 4 << 20 // bytes that all have
)

// exchange sends messages over the connections in turn until all are back,
// nothing comes any more, or the time is over.
func (c *Clients) exchange(some []*conn, messages, size, pieces int) Echoed {
	window := max(1, min(flying, bulk/size))
	next := 0
	end, moved := time.Now().Add(echoLimit), time.Now()
	for c.now.echoed+c.now.failed < messages {
		for c.now.sent < messages && c.now.sent-c.now.echoed-c.now.failed < window {
			k := c.free(some, &next)
			if k == nil {
				break
			}
			c.send(k, size, pieces)
		}
		if c.now.sent == c.now.echoed+c.now.failed && c.allGone(some) {
			break
		}
		bytes := c.now.bytes
		c.pump(50)
		now := time.Now()
		if c.now.bytes > bytes {
			moved = now
		}
		if now.Sub(moved) > stall {
			c.tooLate(some, fmt.Sprintf("nothing came back for %v", stall))
			break
		}
		if now.After(end) {
			c.tooLate(some, fmt.Sprintf("not back within %v", echoLimit))
			break
		}
	}
	r := Echoed{Sent: c.now.sent, Echoed: c.now.echoed, Bytes: c.now.bytes, Failed: messages - c.now.echoed, Reason: c.now.reason}
	c.total.Failed += messages - c.now.echoed - c.now.failed // those that were not sent
	c.sweep()
	return r
}

// free is the next connection in turn that may send; nil if none may.
func (c *Clients) free(some []*conn, next *int) *conn {
	for range some {
		k := some[*next%len(some)]
		*next++
		if k.fd >= 0 && k.flying < each {
			return k
		}
	}
	return nil
}

func (c *Clients) allGone(some []*conn) bool {
	for _, k := range some {
		if k.fd >= 0 {
			return false
		}
	}
	return true
}

// tooLate gives up all messages that are under way.
func (c *Clients) tooLate(some []*conn, why string) {
	for _, k := range some {
		if k.fd >= 0 && k.flying > 0 {
			c.because(k, fmt.Sprintf("message %d: %d of %d bytes came back; %s", k.wait[len(k.wait)-k.flying].num, c.back(k), k.wait[len(k.wait)-k.flying].size, why))
			c.giveUp(k)
		}
	}
}

// back is how much came back of the first message that somebody waits for.
func (c *Clients) back(k *conn) int {
	if len(k.wait) > k.flying {
		return 0
	}
	return k.got
}

func (c *Clients) close(a *Action) (any, error) {
	return c.each(a, func(k *conn) { c.drop(k) })
}

// reset closes with a RST instead of a FIN.
func (c *Clients) reset(a *Action) (any, error) {
	return c.each(a, func(k *conn) {
		if err := unix.SetsockoptLinger(k.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			c.lost(k, "SO_LINGER: "+control.ErrnoText(err))
			return
		}
		c.drop(k)
	})
}

// halfClose sends a FIN and goes on reading until the server closes.
func (c *Clients) halfClose(a *Action) (any, error) {
	return c.each(a, func(k *conn) {
		if err := unix.Shutdown(k.fd, unix.SHUT_WR); err != nil {
			c.lost(k, "shutdown: "+control.ErrnoText(err))
			return
		}
		k.phase = half
		c.total.Connected--
		c.total.HalfClosed++
	})
}

// each does one thing to the n oldest connections.
func (c *Clients) each(a *Action, do func(*conn)) (any, error) {
	n := control.Or(a.N, 1)
	some := c.usable()
	if len(some) < n {
		return nil, errNone(n, len(some))
	}
	for _, k := range some[:n] {
		do(k)
	}
	c.sweep()
	return Closed{Closed: n, Connected: c.total.Connected}, nil
}
