package clients

import (
	"bytes"
	"fmt"
	"strconv"

	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

// phase is how far a connection is.
type phase int

const (
	connecting phase = iota
	open
	half // we have sent our FIN
)

// conn is one connection.
type conn struct {
	id     int // from 1; every message says it
	fd     int // -1 when it is closed
	phase  phase
	num    int       // of its last message
	wait   []message // sent and not yet back, in order
	got    int       // bytes of the first of them that are back
	out    []byte    // that the socket has not yet taken
	wants  bool      // EPOLLOUT is asked for
	flying int       // of wait, those that somebody waits for
}

// message is one that was sent.
type message struct {
	num, size int
	late      bool // it has failed already: nobody waits for it any more
}

// fill writes the bytes of a message from an offset on: its connection and
// number, then letters that differ from message to message, then a newline.
func (m message) fill(b []byte, conn, offset int) {
	var head [48]byte
	text := strconv.AppendInt(head[:0], int64(conn), 10)
	text = append(text, ':')
	text = strconv.AppendInt(text, int64(m.num), 10)
	text = append(text, ' ')
	for i := range b {
		switch at := offset + i; {
		case at == m.size-1:
			b[i] = '\n'
		case at < len(text):
			b[i] = text[at]
		default:
			b[i] = 'a' + byte((m.num+at)%26)
		}
	}
}

// send begins a message of so many bytes. What the socket does not take waits
// for EPOLLOUT.
func (c *Clients) send(k *conn, size, pieces int) {
	k.num++
	m := message{num: k.num, size: size}
	k.wait = append(k.wait, m)
	k.flying++
	c.now.sent++
	for done := 0; done < size; {
		n := min(len(c.want), size-done, (size+pieces-1)/pieces)
		b := c.want[:n]
		m.fill(b, k.id, done)
		done += n
		if len(k.out) > 0 {
			k.out = append(k.out, b...)
			continue
		}
		taken, ok := c.write(k, b)
		if !ok {
			return
		}
		k.out = append(k.out, b[taken:]...)
	}
	c.ask(k)
}

// write writes as much as the socket takes. After a failure the connection is
// gone, and it returns false.
func (c *Clients) write(k *conn, b []byte) (taken int, ok bool) {
	for taken < len(b) {
		n, err := unix.SendmsgN(k.fd, b[taken:], nil, nil, unix.MSG_NOSIGNAL)
		switch err {
		case nil:
			taken += n
		case unix.EINTR:
		case unix.EAGAIN:
			return taken, true
		default:
			c.lost(k, "sending: "+control.ErrnoText(err))
			return taken, false
		}
	}
	return taken, true
}

// flush writes what waits.
func (c *Clients) flush(k *conn) {
	taken, ok := c.write(k, k.out)
	if !ok {
		return
	}
	k.out = append(k.out[:0], k.out[taken:]...)
	c.ask(k)
}

const watched = unix.EPOLLIN | unix.EPOLLRDHUP

// ask asks for EPOLLOUT while something waits to be written.
func (c *Clients) ask(k *conn) {
	if k.wants == (len(k.out) > 0) {
		return
	}
	k.wants = !k.wants
	e := unix.EpollEvent{Events: watched, Fd: int32(k.fd)}
	if k.wants {
		e.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(c.epfd, unix.EPOLL_CTL_MOD, k.fd, &e); err != nil {
		c.lost(k, "epoll_ctl: "+control.ErrnoText(err))
	}
}

// pump handles what the connections have to say, after at most ms. It returns
// how many events there were.
func (c *Clients) pump(ms int) int {
	n, err := unix.EpollWait(c.epfd, c.events[:], ms)
	if err != nil {
		return 0 // EINTR: the caller looks at the clock and comes again
	}
	for i := range n {
		if k := c.byFD[int(c.events[i].Fd)]; k != nil {
			c.handle(k, c.events[i].Events)
		}
	}
	return n
}

func (c *Clients) handle(k *conn, events uint32) {
	if k.phase == connecting {
		c.answered(k, events)
	}
	if k.fd >= 0 && k.phase != connecting && events&(watched|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.receive(k)
	}
	if k.fd >= 0 && k.phase == open && len(k.out) > 0 && events&unix.EPOLLOUT != 0 {
		c.flush(k)
	}
}

// receive reads until there is no more, at most 16 times.
func (c *Clients) receive(k *conn) {
	for range 16 {
		n, err := unix.Read(k.fd, c.buf)
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
			return
		case err != nil:
			c.lost(k, "reading: "+control.ErrnoText(err))
			return
		case n == 0:
			c.ended(k)
			return
		}
		c.now.bytes += n
		if !c.compare(k, c.buf[:n]) {
			return
		}
		if n < len(c.buf) {
			return
		}
	}
}

// compare holds what came against what was sent.
func (c *Clients) compare(k *conn, b []byte) bool {
	for len(b) > 0 {
		if len(k.wait) == 0 {
			c.lost(k, fmt.Sprintf("%d bytes came that nobody sent", len(b)))
			return false
		}
		m := k.wait[0]
		n := min(len(b), m.size-k.got, len(c.want))
		want := c.want[:n]
		m.fill(want, k.id, k.got)
		if !bytes.Equal(b[:n], want) {
			at := 0
			for b[at] == want[at] {
				at++
			}
			c.lost(k, fmt.Sprintf("message %d came back wrong, from byte %d on", m.num, k.got+at))
			return false
		}
		b = b[n:]
		k.got += n
		if k.got < m.size {
			continue
		}
		k.got = 0
		k.wait = append(k.wait[:0], k.wait[1:]...)
		if !m.late {
			k.flying--
			c.now.echoed++
			c.total.Echoed++
		}
	}
	return true
}

// ended takes that the server has closed.
func (c *Clients) ended(k *conn) {
	if k.phase == half && k.flying == 0 {
		c.drop(k) // as it should
		return
	}
	c.lost(k, "the server closed the connection")
}

// lost gives a connection up, with all messages that are not back.
func (c *Clients) lost(k *conn, why string) {
	c.because(k, why)
	c.total.Failed++
	if k.phase == connecting {
		c.now.refused++
	}
	c.giveUp(k)
	c.drop(k)
}

func (c *Clients) because(k *conn, why string) {
	if c.now.reason == "" {
		c.now.reason = fmt.Sprintf("connection %d: %s", k.id, why)
	}
}

// giveUp waits no longer for the messages of a connection.
func (c *Clients) giveUp(k *conn) {
	c.now.failed += k.flying
	c.total.Failed += k.flying
	k.flying = 0
	for i := range k.wait {
		k.wait[i].late = true
	}
}

// drop closes a connection.
func (c *Clients) drop(k *conn) {
	switch k.phase {
	case open:
		c.total.Connected--
	case half:
		c.total.HalfClosed--
	}
	delete(c.byFD, k.fd)
	_ = unix.Close(k.fd) // with its item
	k.fd = -1
}
