package ring

import (
	"strconv"
	"unsafe"

	"kernelviz/internal/iouring"

	"golang.org/x/sys/unix"
)

// shown is how many elements of an array and bytes of a string strace prints
// (its option -s).
const shown = 32

// appendQuoted is strace's string_quote for what this puppet writes: printable
// text or the bytes of a count.
func appendQuoted(b, s []byte) []byte {
	cut := len(s) > shown
	if cut {
		s = s[:shown]
	}
	b = append(b, '"')
	for i, c := range s {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ' && c <= '~':
			b = append(b, c)
		case c >= '\t' && c <= '\r':
			b = append(b, '\\', "tnvfr"[c-'\t'])
		case i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '7':
			b = append(b, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		default:
			b = strconv.AppendUint(append(b, '\\'), uint64(c), 8)
		}
	}
	b = append(b, '"')
	if cut {
		b = append(b, "..."...)
	}
	return b
}

// appendPointer is how strace prints an address.
func appendPointer(b []byte, p uint64) []byte {
	if p == 0 {
		return append(b, "NULL"...)
	}
	return strconv.AppendUint(append(b, "0x"...), p, 16)
}

// call builds the text of one system call.
type call struct{ b []byte }

func start(name string) *call { return &call{append([]byte(name), '(')} }

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

func (c *call) quoted(s []byte) *call {
	c.sep().b = appendQuoted(c.b, s)
	return c
}

func (c *call) pointer(p uint64) *call {
	c.sep().b = appendPointer(c.b, p)
	return c
}

// fds is a pair, or a pointer where the kernel filled in nothing.
func (c *call) fds(fds *[2]int, err error) *call {
	if err != nil {
		return c.pointer(uint64(uintptr(unsafe.Pointer(fds))))
	}
	return c.raw("[" + strconv.Itoa(fds[0]) + ", " + strconv.Itoa(fds[1]) + "]")
}

// address is a struct sockaddr_in on 127.0.0.1.
func (c *call) address(port uint16) *call {
	return c.raw("{sa_family=AF_INET, sin_port=htons(" + strconv.Itoa(int(port)) + `), sin_addr=inet_addr("127.0.0.1")}`)
}

func (c *call) end() string {
	c.b = append(c.b, ')')
	return string(c.b)
}

// fields builds a struct.
type fields struct{ b []byte }

func open() *fields { return &fields{[]byte{'{'}} }

func (f *fields) key(name string) {
	if f.b[len(f.b)-1] != '{' {
		f.b = append(f.b, ", "...)
	}
	f.b = append(append(f.b, name...), '=')
}

func (f *fields) raw(name, value string) *fields {
	f.key(name)
	f.b = append(f.b, value...)
	return f
}

func (f *fields) uint(name string, v uint64) *fields {
	f.key(name)
	f.b = strconv.AppendUint(f.b, v, 10)
	return f
}

func (f *fields) int(name string, v int) *fields {
	f.key(name)
	f.b = strconv.AppendInt(f.b, int64(v), 10)
	return f
}

func (f *fields) pointer(name string, p uint64) *fields {
	f.key(name)
	f.b = appendPointer(f.b, p)
	return f
}

func (f *fields) end() string { return string(append(f.b, '}')) }

// setupText is the call of io_uring_setup with the params as they came back, or
// as they were given where it failed.
func setupText(entries uint32, p *iouring.Params, failed bool) string {
	f := open().raw("flags", iouring.SetupNames(p.Flags)).
		uint("sq_thread_cpu", uint64(p.SQThreadCPU)).uint("sq_thread_idle", uint64(p.SQThreadIdle))
	if p.Flags&iouring.SetupAttachWQ != 0 {
		f.uint("wq_fd", uint64(p.WQFD))
	}
	if !failed {
		sq := open().uint("head", uint64(p.SQOff.Head)).uint("tail", uint64(p.SQOff.Tail)).
			uint("ring_mask", uint64(p.SQOff.RingMask)).uint("ring_entries", uint64(p.SQOff.RingEntries)).
			uint("flags", uint64(p.SQOff.Flags)).uint("dropped", uint64(p.SQOff.Dropped)).uint("array", uint64(p.SQOff.Array))
		cq := open().uint("head", uint64(p.CQOff.Head)).uint("tail", uint64(p.CQOff.Tail)).
			uint("ring_mask", uint64(p.CQOff.RingMask)).uint("ring_entries", uint64(p.CQOff.RingEntries)).
			uint("overflow", uint64(p.CQOff.Overflow)).uint("cqes", uint64(p.CQOff.CQEs)).uint("flags", uint64(p.CQOff.Flags))
		if p.Flags&iouring.SetupNoMmap != 0 {
			sq.pointer("user_addr", p.SQOff.UserAddr)
			cq.pointer("user_addr", p.CQOff.UserAddr)
		}
		f.uint("sq_entries", uint64(p.SQEntries)).uint("cq_entries", uint64(p.CQEntries)).
			raw("features", iouring.FeatureNames(p.Features)).raw("sq_off", sq.end()).raw("cq_off", cq.end())
	}
	return start("io_uring_setup").int(int(entries)).raw(f.end()).end()
}

// enterText is the call of io_uring_enter.
func enterText(fd int, submit, wait, flags uint32) string {
	return start("io_uring_enter").int(fd).int(int(submit)).int(int(wait)).raw(iouring.EnterNames(flags)).raw("NULL").int(8).end()
}

// sqeText is an SQE as it was written: the fields that are not zero, by the
// names that they have for its operation. ms is the time that a timeout points
// to.
func sqeText(s *iouring.SQE, ms int) string {
	f := open().raw("opcode", iouring.OpName(s.Op))
	if s.Flags != 0 {
		f.raw("flags", iouring.SQEFlagNames(s.Flags))
	}
	if s.IOPrio != 0 {
		f.raw("ioprio", ioprioName(s))
	}
	switch s.Op {
	case iouring.OpNOP:
	case iouring.OpTimeout, iouring.OpLinkTimeout:
		f.raw("addr", open().int("tv_sec", ms/1000).int("tv_nsec", ms%1000*1_000_000).end()).uint("len", uint64(s.Len))
	case iouring.OpPollAdd:
		f.int("fd", int(s.FD)).raw("poll32_events", "POLLIN")
		if s.Len == iouring.PollAddMulti {
			f.raw("len", "IORING_POLL_ADD_MULTI")
		}
	case iouring.OpAsyncCancel:
		f.uint("addr", s.Addr)
	case iouring.OpSplice:
		f.raw("splice_fd_in", strconv.Itoa(int(s.SpliceFD))).raw("splice_off_in", "-1").int("fd", int(s.FD)).raw("off", "-1").uint("len", uint64(s.Len))
	case iouring.OpAccept:
		f.int("fd", int(s.FD)).raw("accept_flags", "SOCK_CLOEXEC")
	default:
		f.int("fd", int(s.FD))
		if s.Off != 0 {
			f.uint("off", s.Off)
		}
		if s.Addr != 0 {
			f.pointer("addr", s.Addr)
		}
		f.uint("len", uint64(s.Len))
		if s.Op == iouring.OpReadFixed || s.Op == iouring.OpWriteFixed || s.IOPrio&iouring.RecvsendFixedBuf != 0 {
			f.uint("buf_index", uint64(s.BufIndex))
		}
		if s.Flags&iouring.FlagBufferSelect != 0 {
			f.uint("buf_group", uint64(s.BufIndex))
		}
	}
	return f.uint("user_data", s.UserData).end()
}

func ioprioName(s *iouring.SQE) string {
	switch {
	case s.Op == iouring.OpAccept:
		return "IORING_ACCEPT_MULTISHOT"
	case s.Op == iouring.OpRecv:
		return "IORING_RECV_MULTISHOT"
	}
	return "IORING_RECVSEND_FIXED_BUF"
}

// cqeText is a CQE as it was read.
func cqeText(c *iouring.CQE) string {
	f := open().uint("user_data", c.UserData).raw("res", resText(c.Res))
	if c.Flags != 0 {
		flags := iouring.CQEFlagNames(c.Flags)
		if id, ok := c.Buffer(); ok {
			flags += "|" + strconv.Itoa(int(id)) + "<<IORING_CQE_BUFFER_SHIFT"
		}
		f.raw("flags", flags)
	}
	return f.end()
}

func resText(res int32) string {
	if res == -int32(unix.EOPNOTSUPP) {
		return "-EOPNOTSUPP" // which package unix calls ENOTSUP
	}
	if res < 0 {
		if name := unix.ErrnoName(unix.Errno(-res)); name != "" {
			return "-" + name
		}
	}
	return strconv.Itoa(int(res))
}
