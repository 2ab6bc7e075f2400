package ring

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unsafe"

	"kernelviz/internal/iouring"
	"kernelviz/internal/workload/control"
)

const (
	bufferSize   = 4096 // of a registered buffer
	providedSize = 1024 // of a provided buffer
	bufGroup     = 0    // of the provided buffers
)

func errRegister(what string) error {
	return control.Errorf("bad_action", "unknown resource %q; known are files, buffers, buf_ring", what)
}

func (p *Puppet) doRegister(a *Action) error {
	g, err := p.find(*a.Ring)
	if err != nil {
		return err
	}
	n := control.Or(a.N, 4)
	switch a.What {
	case "files":
		return p.registerFiles(g, n)
	case "buffers":
		return p.registerBuffers(g, n)
	case "buf_ring":
		return p.registerBufRing(g, n)
	}
	return errRegister(a.What)
}

// register makes the call in the ring's thread; done records that it succeeded.
func (p *Puppet) register(g *instance, op uint32, arg unsafe.Pointer, argText string, n uint32, done func()) error {
	return p.in(g.thread, func(begin func() entered) {
		e := begin()
		errno := iouring.RawRegister(g.fd, op, arg, n)
		p.leave(e, start("io_uring_register").int(g.fd).raw(iouring.RegisterName(op)).raw(argText).int(int(n)).end(), 0, errno, "")
		if errno != 0 {
			p.halt("io_uring_register", errno, "")
			return
		}
		done()
	})
}

// registerFiles registers the first n files of the puppet by fd, and empty slots
// behind them.
func (p *Puppet) registerFiles(g *instance, n int) error {
	p.mu.Lock()
	fds, slots := make([]int32, n), make([]*file, n)
	known := slices.Sorted(maps.Keys(p.files))
	text := []byte{'['}
	for i := range fds {
		fds[i] = -1
		if i < len(known) {
			fds[i], slots[i] = int32(known[i]), p.files[known[i]]
		}
		text = appendElement(text, i, strconv.Itoa(int(fds[i])))
	}
	p.mu.Unlock()
	return p.register(g, iouring.RegisterFiles, unsafe.Pointer(&fds[0]), string(append(text, ']')), uint32(n), func() { g.fileSlots = slots })
}

// appendElement appends one of an array as strace does, which ends at 32.
func appendElement(b []byte, i int, s string) []byte {
	if i > shown {
		return b
	}
	if i > 0 {
		b = append(b, ", "...)
	}
	if i == shown {
		return append(b, "..."...)
	}
	return append(b, s...)
}

func (p *Puppet) registerBuffers(g *instance, n int) error {
	mem, free, err := iouring.Memory(n * bufferSize)
	if err != nil {
		return control.Errorf("enomem", "%v", err)
	}
	buffers, text := make([][]byte, n), []byte{'['}
	for i := range buffers {
		buffers[i] = mem[i*bufferSize : (i+1)*bufferSize]
		text = appendElement(text, i, open().pointer("iov_base", addressOf(buffers[i])).int("iov_len", bufferSize).end())
	}
	iovecs := iouring.Iovecs(buffers)
	done := false
	err = p.register(g, iouring.RegisterBuffers, unsafe.Pointer(&iovecs[0]), string(append(text, ']')), uint32(n), func() {
		g.buffers, g.freeBuffers, done = buffers, free, true
	})
	if !done {
		free()
	}
	return err
}

func (p *Puppet) registerBufRing(g *instance, n int) error {
	if n&(n-1) != 0 {
		return control.Errorf("bad_action", "n is %d, and a ring of provided buffers has a power of two", n)
	}
	mem, free, err := iouring.Memory(n * providedSize)
	if err != nil {
		return control.Errorf("enomem", "%v", err)
	}
	ring, err := iouring.NewBufRing(n)
	if err != nil {
		free()
		return control.Errorf("enomem", "%v", err)
	}
	reg := ring.Reg(bufGroup)
	text := open().pointer("ring_addr", reg.RingAddr).uint("ring_entries", uint64(n)).uint("bgid", bufGroup).end()
	done := false
	err = p.register(g, iouring.RegisterPbufRing, unsafe.Pointer(&reg), text, 1, func() {
		g.provided = &provided{ring: ring, memory: mem, free: free, size: providedSize}
		done = true
	})
	if !done {
		free()
		ring.Free()
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := make([]uint16, n)
	for i := range ids {
		ids[i] = uint16(i)
	}
	p.provide(g, ids)
	return nil
}

func (p *Puppet) doUnregister(a *Action) error {
	g, err := p.find(*a.Ring)
	if err != nil {
		return err
	}
	switch a.What {
	case "files":
		return p.register(g, iouring.UnregisterFiles, nil, "NULL", 0, func() { g.fileSlots = nil })
	case "buffers":
		return p.register(g, iouring.UnregisterBuffers, nil, "NULL", 0, g.dropBuffers)
	case "buf_ring":
		reg := iouring.BufReg{Group: bufGroup}
		text := open().pointer("ring_addr", 0).uint("ring_entries", 0).uint("bgid", bufGroup).end()
		return p.register(g, iouring.UnregisterPbufRing, unsafe.Pointer(&reg), text, 1, g.dropProvided)
	}
	return errRegister(a.What)
}

// dropBuffers frees registered buffers. The kernel has their pages pinned for as
// long as a request uses them.
func (g *instance) dropBuffers() {
	if g.freeBuffers != nil {
		g.freeBuffers()
	}
	g.buffers, g.freeBuffers = nil, nil
}

// dropProvided frees provided buffers, unless a request may have chosen one:
// those stay for good, as the kernel knows only their address.
func (g *instance) dropProvided() {
	choosing := func(q *request) bool { return q.flags&iouring.FlagBufferSelect != 0 }
	if b := g.provided; b != nil && !slices.ContainsFunc(g.inflight, choosing) && len(g.queued) == 0 {
		b.free()
		b.ring.Free()
	}
	g.provided = nil
}

// whole refuses to go on where what is named is scribbled over.
func (g *instance) whole(what ...string) error {
	if g.scribbled == "" || !slices.Contains(what, g.scribbled) {
		return nil
	}
	return &control.Error{
		Code: "scribbled", Message: fmt.Sprintf("%s of ring %d is written over", g.scribbled, g.fd), Fix: "put it back with op mend",
	}
}
