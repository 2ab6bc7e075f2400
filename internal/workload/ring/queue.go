package ring

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"kernelviz/internal/iouring"
	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

// kind is a What of op queue.
type kind struct {
	name      string
	op        uint8
	multishot bool
	fd        bool // needs one
	memory    bool // points to len bytes
	ms        bool // points to a time
}

var queueKinds = []kind{
	{name: "nop", op: iouring.OpNOP},
	{name: "read", op: iouring.OpRead, fd: true, memory: true},
	{name: "write", op: iouring.OpWrite, fd: true, memory: true},
	{name: "poll", op: iouring.OpPollAdd, fd: true},
	{name: "poll_multi", op: iouring.OpPollAdd, fd: true, multishot: true},
	{name: "timeout", op: iouring.OpTimeout, ms: true},
	{name: "accept", op: iouring.OpAccept, fd: true},
	{name: "accept_multi", op: iouring.OpAccept, fd: true, multishot: true},
	{name: "send", op: iouring.OpSend, fd: true, memory: true},
	{name: "recv", op: iouring.OpRecv, fd: true, memory: true},
	{name: "recv_multi", op: iouring.OpRecv, fd: true, multishot: true},
	{name: "cancel", op: iouring.OpAsyncCancel},
	{name: "link_timeout", op: iouring.OpLinkTimeout, ms: true},
	{name: "splice", op: iouring.OpSplice, fd: true},
	{name: "send_zc", op: iouring.OpSendZC, fd: true, memory: true},
}

// job is an action of op queue that has been looked at.
type job struct {
	*Action
	kind
	fd     int
	length int
	file   *file // that fd is
	to     *file // that is written to
	flags  uint8
}

// prepare finds what is wrong with the action before anything is written.
// Held: p.mu.
func (p *Puppet) prepare(g *instance, a *Action) (*job, error) {
	i := slices.IndexFunc(queueKinds, func(k kind) bool { return k.name == a.What })
	if i < 0 {
		var names []string
		for _, k := range queueKinds {
			names = append(names, k.name)
		}
		return nil, control.Errorf("bad_action", "cannot queue %q; known are %s", a.What, strings.Join(names, ", "))
	}
	j := &job{Action: a, kind: queueKinds[i], fd: -1, length: control.Or(a.Len, 64), flags: a.flags()}
	if j.name == "recv_multi" {
		j.flags |= iouring.FlagBufferSelect // the kernel knows it only so
	}
	if err := j.check(); err != nil {
		return nil, err
	}
	if a.FD != nil {
		j.fd = *a.FD
	}
	if err := j.find(p, g); err != nil {
		return nil, err
	}
	return j, j.checkMemory(g)
}

func (j *job) check() error {
	need := func(missing bool, field string) error {
		if missing {
			return control.Errorf("bad_action", "queue %s needs field %q", j.name, field)
		}
		return nil
	}
	useless := func(there bool, field string) error {
		if there {
			return control.Errorf("bad_action", "queue %s has no use for field %q", j.name, field)
		}
		return nil
	}
	isBuffer := j.name == "read" || j.name == "write" || j.name == "send_zc"
	isSelect := j.name == "read" || j.name == "recv" || j.name == "recv_multi"
	for _, err := range []error{
		need(j.kind.fd && j.FD == nil, "fd"), useless(!j.kind.fd && j.FD != nil, "fd"),
		need(j.ms && j.MS == nil, "ms"), useless(!j.ms && j.MS != nil, "ms"),
		need(j.name == "cancel" && j.Target == nil, "target"), useless(j.name != "cancel" && j.Target != nil, "target"),
		need(j.name == "splice" && j.To == nil, "to"), useless(j.name != "splice" && j.To != nil, "to"),
		useless(!j.memory && j.name != "splice" && j.Len != nil, "len"),
		useless(j.Buffer != nil && !isBuffer, "buffer"), useless(j.Select && !isSelect, "select"),
		useless(j.Fixed && !j.kind.fd, "fixed"),
	} {
		if err != nil {
			return err
		}
	}
	if j.Buffer != nil && j.Select {
		return control.Errorf("bad_action", "a request has either a registered buffer or a provided one")
	}
	return nil
}

// find says which files the request is about.
func (j *job) find(p *Puppet, g *instance) error {
	if j.Fixed {
		if j.fd >= 0 && j.fd < len(g.fileSlots) {
			j.file = g.fileSlots[j.fd]
		}
	} else {
		if err := ours(j.fd); j.kind.fd && err != nil {
			return err
		}
		j.file = p.files[j.fd]
	}
	if j.To != nil {
		if err := ours(*j.To); err != nil {
			return err
		}
		if f := p.files[*j.To]; f != nil {
			j.to = f.reader()
		}
	}
	if j.file == nil {
		return nil
	}
	switch j.name {
	case "write", "send", "send_zc":
		j.to, j.file = j.file.reader(), nil
		if j.to != nil && j.to.kind == kindEventfd && j.Len == nil {
			j.length = 8
		}
	case "read":
		if j.file.kind == kindEventfd && j.Len == nil {
			j.length = 8
		}
	}
	return nil
}

func (j *job) checkMemory(g *instance) error {
	if j.Buffer != nil {
		if *j.Buffer >= len(g.buffers) {
			return &control.Error{
				Code:    "no_buffer",
				Message: fmt.Sprintf("ring %d has %d registered buffers, so none with index %d", g.fd, len(g.buffers), *j.Buffer),
				Fix:     "register some with op register",
			}
		}
		if j.length > bufferSize {
			return control.Errorf("bad_action", "len is %d, and a registered buffer has %d bytes", j.length, bufferSize)
		}
	}
	return nil
}

func (a *Action) flags() uint8 {
	var f uint8
	for _, b := range []struct {
		on   bool
		flag uint8
	}{
		{a.Link, iouring.FlagIOLink}, {a.Hardlink, iouring.FlagIOHardlink}, {a.Drain, iouring.FlagIODrain},
		{a.Async, iouring.FlagAsync}, {a.Skip, iouring.FlagCQESkipSuccess}, {a.Fixed, iouring.FlagFixedFile},
		{a.Select, iouring.FlagBufferSelect},
	} {
		if b.on {
			f |= b.flag
		}
	}
	return f
}

// doQueue writes SQEs and publishes them with one write of sq.tail.
func (p *Puppet) doQueue(a *Action) error {
	g, err := p.find(*a.Ring)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := g.whole("sq.tail"); err != nil {
		return err
	}
	j, err := p.prepare(g, a)
	if err != nil {
		return err
	}
	return p.queue(g, j, control.Or(a.N, 1))
}

// queue writes up to n. Held: p.mu.
func (p *Puppet) queue(g *instance, j *job, n int) error {
	g.sync(p)
	g.batch++
	var text strings.Builder
	done := 0
	for ; done < n; done++ {
		index := g.ring.SQNext() & (g.ring.SQEntries() - 1)
		s, q, err := p.write1(g, j, done)
		if err != nil {
			p.stopped = &control.Error{Code: "limit", Message: fmt.Sprintf("queued %d of %d, then %v", done, n, err)}
			break
		}
		if s == nil {
			full := &control.Error{
				Code:    "sq_full",
				Message: fmt.Sprintf("queued %d of %d, then the submission queue of ring %d was full: %d entries are not taken", done, n, g.fd, g.ring.SQPending()+done),
				Fix:     "submit them first",
			}
			if done == 0 {
				return full
			}
			p.stopped = full
			break
		}
		g.queued = append(g.queued, q)
		switch {
		case done < shown:
			text.WriteString("sq.sqes[" + strconv.Itoa(int(index)) + "] = " + sqeText(s, control.Or(j.MS, 0)) + "; ")
		case done == shown:
			text.WriteString("...; ")
		}
	}
	if done == 0 {
		return p.stopped
	}
	// Told before it is done: an SQPOLL thread may complete them at once.
	text.WriteString("sq.tail = " + strconv.FormatUint(uint64(g.ring.SQNext()), 10))
	p.tell(text.String())
	g.ring.Flush()
	return nil
}

// write1 writes one SQE; nil if there is no room.
func (p *Puppet) write1(g *instance, j *job, i int) (*iouring.SQE, *request, error) {
	data := g.nextData
	if j.UserData != nil {
		data = *j.UserData + uint64(i)
	}
	q := &request{
		userData: data, what: j.name, fd: j.fd, file: j.file, to: j.to,
		flags: j.flags, length: j.length, multishot: j.multishot, batch: g.batch,
	}
	if j.flags&iouring.FlagBufferSelect != 0 && g.provided != nil {
		q.length = g.provided.size
		if j.Len != nil {
			q.length = min(q.length, j.length)
		}
	}
	s := g.ring.Next()
	if s == nil {
		return nil, nil, nil
	}
	written := iouring.SQE{Op: j.op, Flags: j.flags, FD: int32(j.fd), UserData: q.userData}
	if err := p.fill(g, j, q, &written, i); err != nil {
		g.ring.Unget()
		return nil, nil, err
	}
	*s = written
	if j.UserData == nil {
		g.nextData++
	}
	return s, q, nil
}

// fill writes what is particular to an operation.
func (p *Puppet) fill(g *instance, j *job, q *request, s *iouring.SQE, i int) (err error) {
	take := func(n int) bool {
		q.memory, err = p.memory.take(n)
		return err == nil
	}
	switch {
	case j.ms:
		if !take(int(unsafe.Sizeof(iouring.Timespec{}))) {
			return err
		}
		ts := (*iouring.Timespec)(unsafe.Pointer(&q.memory[0]))
		ts.Sec, ts.Nsec = int64(*j.MS/1000), int64(*j.MS%1000)*1_000_000
		s.Addr, s.Len = addressOf(q.memory), 1
	case j.Buffer != nil:
		memory := g.buffers[*j.Buffer]
		s.Addr, s.Len, s.BufIndex = addressOf(memory), uint32(j.length), uint16(*j.Buffer)
		switch j.name {
		case "read":
			s.Op = iouring.OpReadFixed
		case "write":
			s.Op = iouring.OpWriteFixed
			letters(memory[:j.length], j.to)
		default:
			s.IOPrio = iouring.RecvsendFixedBuf
			letters(memory[:j.length], j.to)
		}
	case j.flags&iouring.FlagBufferSelect != 0:
		s.BufIndex = bufGroup
		if !j.multishot && j.Len != nil {
			s.Len = uint32(j.length)
		}
	case j.memory:
		if !take(j.length) {
			return err
		}
		if j.name != "read" && j.name != "recv" {
			letters(q.memory[:j.length], j.to)
		}
		s.Addr, s.Len = addressOf(q.memory), uint32(j.length)
	}
	switch j.name {
	case "read", "write":
		if f := either(j.file, j.to); f != nil && f.kind == kindFile {
			s.Off = uint64(i*j.length) % fileSize
		}
	case "poll", "poll_multi":
		s.OpFlags = unix.POLLIN
		if j.multishot {
			s.Len = iouring.PollAddMulti
		}
	case "accept", "accept_multi":
		s.OpFlags = unix.SOCK_CLOEXEC
		if j.multishot {
			s.IOPrio = iouring.AcceptMultishot
		}
	case "recv_multi":
		s.IOPrio = iouring.RecvMultishot
	case "cancel":
		s.Addr = *j.Target
	case "splice":
		s.SpliceFD, s.FD, s.Len = int32(j.fd), int32(*j.To), uint32(j.length)
		s.Off, s.Addr = ^uint64(0), ^uint64(0)
		if j.Fixed {
			s.OpFlags = 1 << 31 // SPLICE_F_FD_IN_FIXED
			s.Flags &^= iouring.FlagFixedFile
		}
	}
	return nil
}

func either(a, b *file) *file {
	if a != nil {
		return a
	}
	return b
}

// letters is what is written: text, or the count of an eventfd.
func letters(b []byte, to *file) {
	if to != nil && to.kind == kindEventfd && len(b) >= 8 {
		binary.NativeEndian.PutUint64(b, 1)
		return
	}
	for i := range b {
		b[i] = byte('a' + i%26)
	}
}

// doBadIndex publishes an entry of sq_array that points past the SQEs.
func (p *Puppet) doBadIndex(a *Action) error {
	g, err := p.find(*a.Ring)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := g.whole("sq.tail"); err != nil {
		return err
	}
	array := g.ring.SQArray()
	if array == nil {
		return control.Errorf("not_possible", "ring %d was made with NO_SQARRAY: it has no sq_array", g.fd)
	}
	at := g.ring.SQNext() & (g.ring.SQEntries() - 1)
	if g.ring.Next() == nil {
		return &control.Error{Code: "sq_full", Message: fmt.Sprintf("the submission queue of ring %d is full", g.fd), Fix: "submit first"}
	}
	array[at] = g.ring.SQEntries()
	g.queued = append(g.queued, &request{what: badIndex, fd: -1})
	p.tell(fmt.Sprintf("sq.array[%d] = %d; sq.tail = %d", at, g.ring.SQEntries(), g.ring.SQNext()))
	g.ring.Flush()
	return nil
}
