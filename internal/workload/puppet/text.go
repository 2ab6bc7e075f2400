package puppet

import (
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The functions of this file append what strace 6.1 prints for an argument.

// name is one bit or value with the name that strace gives it.
type name struct {
	value uint32
	text  string
}

// eventNames is in the order of strace's table (xlat/epollevents.in).
var eventNames = [...]name{
	{unix.EPOLLIN, "EPOLLIN"},
	{unix.EPOLLPRI, "EPOLLPRI"},
	{unix.EPOLLOUT, "EPOLLOUT"},
	{unix.EPOLLERR, "EPOLLERR"},
	{unix.EPOLLHUP, "EPOLLHUP"},
	{0x20, "EPOLLNVAL"},
	{unix.EPOLLRDNORM, "EPOLLRDNORM"},
	{unix.EPOLLRDBAND, "EPOLLRDBAND"},
	{unix.EPOLLWRNORM, "EPOLLWRNORM"},
	{unix.EPOLLWRBAND, "EPOLLWRBAND"},
	{unix.EPOLLMSG, "EPOLLMSG"},
	{unix.EPOLLRDHUP, "EPOLLRDHUP"},
	{unix.EPOLLEXCLUSIVE, "EPOLLEXCLUSIVE"},
	{unix.EPOLLWAKEUP, "EPOLLWAKEUP"},
	{unix.EPOLLONESHOT, "EPOLLONESHOT"},
	{unix.EPOLLET, "EPOLLET"},
}

func appendMask(b []byte, mask uint32) []byte {
	if mask == 0 {
		return append(b, '0')
	}
	sep := ""
	for _, n := range eventNames {
		if mask&n.value == 0 {
			continue
		}
		b = append(append(b, sep...), n.text...)
		sep = "|"
		mask &^= n.value
	}
	if mask == 0 {
		return b
	}
	b = append(append(b, sep...), "0x"...)
	return strconv.AppendUint(b, uint64(mask), 16)
}

func appendEvent(b []byte, events uint32, data uint64) []byte {
	b = append(b, "{events="...)
	b = appendMask(b, events)
	b = append(b, ", data={u32="...)
	b = strconv.AppendUint(b, uint64(uint32(data)), 10)
	b = append(b, ", u64="...)
	b = strconv.AppendUint(b, data, 10)
	return append(b, "}}"...)
}

// shown is how many elements of an array and bytes of a string strace prints
// (its option -s).
const shown = 32

func appendEvents(b []byte, events []unix.EpollEvent) []byte {
	b = append(b, '[')
	for i := range events {
		if i > 0 {
			b = append(b, ", "...)
		}
		if i == shown {
			b = append(b, "..."...)
			break
		}
		b = appendEvent(b, events[i].Events, dataOf(&events[i]))
	}
	return append(b, ']')
}

// appendQuoted is strace's string_quote: C escapes, octal as short as the next
// byte allows, three dots behind what is cut off.
func appendQuoted(b, s []byte) []byte {
	cut := len(s) > shown
	if cut {
		s = s[:shown]
	}
	b = append(b, '"')
	for i, c := range s {
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\t':
			b = append(b, `\t`...)
		case '\n':
			b = append(b, `\n`...)
		case '\v':
			b = append(b, `\v`...)
		case '\f':
			b = append(b, `\f`...)
		case '\r':
			b = append(b, `\r`...)
		default:
			if c >= ' ' && c <= '~' {
				b = append(b, c)
				continue
			}
			b = append(b, '\\')
			if i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '7' {
				b = append(b, '0'+c>>6, '0'+c>>3&7, '0'+c&7)
				continue
			}
			b = strconv.AppendUint(b, uint64(c), 8)
		}
	}
	b = append(b, '"')
	if cut {
		b = append(b, "..."...)
	}
	return b
}

// appendAddress is a struct sockaddr_in on 127.0.0.1.
func appendAddress(b []byte, port uint16) []byte {
	b = append(b, "{sa_family=AF_INET, sin_port=htons("...)
	b = strconv.AppendUint(b, uint64(port), 10)
	return append(b, `), sin_addr=inet_addr("127.0.0.1")}`...)
}

func appendPointer(b []byte, p uintptr) []byte {
	return strconv.AppendUint(append(b, "0x"...), uint64(p), 16)
}

// call builds the text of one call in a buffer that is used again.
type call struct{ b []byte }

func (c *call) start(name string) *call {
	c.b = append(append(c.b[:0], name...), '(')
	return c
}

func (c *call) sep() *call {
	if c.b[len(c.b)-1] != '(' {
		c.b = append(c.b, ", "...)
	}
	return c
}

func (c *call) int(n int) *call {
	c.sep().b = strconv.AppendInt(c.b, int64(n), 10)
	return c
}

func (c *call) raw(s string) *call {
	c.sep().b = append(c.b, s...)
	return c
}

func (c *call) pair(a, b int) *call {
	c.sep().b = append(c.b, '[')
	c.b = strconv.AppendInt(c.b, int64(a), 10)
	c.b = append(c.b, ", "...)
	c.b = strconv.AppendInt(c.b, int64(b), 10)
	c.b = append(c.b, ']')
	return c
}

// fds is pair, or a pointer where the kernel filled in nothing.
func (c *call) fds(fds *[2]int, err error) *call {
	if err == nil {
		return c.pair(fds[0], fds[1])
	}
	c.sep().b = appendPointer(c.b, uintptr(unsafe.Pointer(fds)))
	return c
}

func (c *call) address(port uint16) *call {
	c.sep().b = appendAddress(c.b, port)
	return c
}

// polled is the array of poll(2) that asks for one fd.
func (c *call) polled(fds []unix.PollFd) *call {
	c.sep().b = append(c.b, "[{fd="...)
	c.b = strconv.AppendInt(c.b, int64(fds[0].Fd), 10)
	c.b = append(c.b, ", events="...)
	c.b = append(appendPollMask(c.b, fds[0].Events), "}]"...)
	return c
}

func (c *call) array(n int) *call {
	c.sep().b = append(c.b, '[')
	c.b = append(strconv.AppendInt(c.b, int64(n), 10), ']')
	return c
}

func (c *call) string() string { return string(c.b) }

func (c *call) end() string {
	c.b = append(c.b, ')')
	return string(c.b)
}

func dataOf(e *unix.EpollEvent) uint64 {
	return uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
}

func newEvent(events uint32, data uint64) unix.EpollEvent {
	return unix.EpollEvent{Events: events, Fd: int32(uint32(data)), Pad: int32(uint32(data >> 32))}
}
