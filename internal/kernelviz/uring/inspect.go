package uring

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
)

// Keys of the notes of a ring.
const (
	noteMapped   = "ring.mapped"     // the mapping keeps the ring alive for up to ms after its owner closes it
	noteUnmapped = "ring.not_mapped" // why
)

// Inspect implements kernelviz.Watch. Objects are "ring" (id 0), "sqe" and
// "cqe" (by position) and "request" (by the id of its row).
func (w *watch) Inspect(ctx context.Context, object string, id uint32) (kernelviz.Detail, error) {
	var d kernelviz.Detail
	var err error
	switch object {
	case "ring":
		d, err = w.inspectRing()
	case "sqe":
		d, err = w.inspectSQE(ctx, id)
	case "cqe":
		d, err = w.inspectCQE(ctx, id)
	case "request":
		d, err = w.inspectRequest(id)
	default:
		return d, fmt.Errorf("there is no object %q to inspect; want ring, sqe, cqe or request", object)
	}
	if err != nil {
		return kernelviz.Detail{}, err
	}
	// What was read is kept only if the ring lived until then: freed memory is
	// somebody else's, whatever it holds.
	if err := w.refresh(ctx); err != nil {
		return kernelviz.Detail{}, err
	}
	return d, nil
}

func (w *watch) inspectRing() (kernelviz.Detail, error) {
	d := kernelviz.Detail{Object: "ring", Title: fmt.Sprintf("ring #%d", w.id)}
	raw, err := w.read("io_ring_ctx", w.found.Ctx)
	if err != nil {
		return d, err
	}
	b, err := w.describe("io_ring_ctx", "include/linux/io_uring_types.h", w.found.Ctx, raw)
	if err != nil {
		return d, err
	}
	d.Structs = append(d.Structs, b)
	if rings := w.pointer("io_ring_ctx", "rings", raw); rings != 0 {
		raw, err := w.read("io_rings", rings)
		if err != nil {
			return d, err
		}
		if b, err = w.describe("io_rings", "include/linux/io_uring_types.h", rings, raw); err != nil {
			return d, err
		}
		d.Structs = append(d.Structs, b)
	}
	switch {
	case w.mapped != nil:
		d.Notes = append(d.Notes, kernelviz.Note{Key: noteMapped, Args: map[string]string{"ms": strconv.FormatInt(guardEvery.Milliseconds(), 10)}})
	case w.unmapped != nil:
		d.Notes = append(d.Notes, kernelviz.Note{Key: noteUnmapped, Args: map[string]string{"why": w.unmapped.Error()}})
	}
	return d, nil
}

// refresh reads the ring by BPF. The error wraps kernelviz.ErrGone if it is no longer there.
func (w *watch) refresh(ctx context.Context) error {
	if err := w.view.probe.read(ctx, w.pid, w.fd, w.found.Ctx, &w.kernel); err != nil {
		return fmt.Errorf("ring %d:%d: %w", w.pid, w.fd, err)
	}
	return nil
}

func (w *watch) inspectSQE(ctx context.Context, position uint32) (kernelviz.Detail, error) {
	d := kernelviz.Detail{Object: "sqe", ID: position}
	if err := w.refresh(ctx); err != nil {
		return d, err
	}
	for i := range w.kernel.SQEs {
		e := &w.kernel.SQEs[i]
		if e.Position != position {
			continue
		}
		if e.Index >= w.kernel.SQEntries {
			return d, fmt.Errorf("SQE %d: sq_array has the index %d, and the ring has %d entries: there is no SQE", position, e.Index, w.kernel.SQEntries)
		}
		d.Title = fmt.Sprintf("SQE %d %s", position, iouring.OpShort(e.Raw[0]))
		b, err := w.describe("io_uring_sqe", "include/uapi/linux/io_uring.h", 0, e.Raw[:])
		if err != nil {
			return d, err
		}
		d.Structs = append(d.Structs, b)
		return d, nil
	}
	return d, fmt.Errorf("SQE %d: %w: it is not pending any more", position, kernelviz.ErrGone)
}

func (w *watch) inspectCQE(ctx context.Context, position uint32) (kernelviz.Detail, error) {
	d := kernelviz.Detail{Object: "cqe", ID: position, Title: fmt.Sprintf("CQE %d", position)}
	if err := w.refresh(ctx); err != nil {
		return d, err
	}
	for i := range w.kernel.CQEs {
		e := &w.kernel.CQEs[i]
		if e.Position != position {
			continue
		}
		n := iouring.CQESize
		if e.Wide {
			n *= 2
		}
		b, err := w.describe("io_uring_cqe", "include/uapi/linux/io_uring.h", 0, e.Raw[:n])
		if err != nil {
			return d, err
		}
		d.Structs = append(d.Structs, b)
		return d, nil
	}
	return d, fmt.Errorf("CQE %d: %w: it was read", position, kernelviz.ErrGone)
}

// errEnded is why a request is not shown.
var errEnded = errors.New("it has ended")

func (w *watch) inspectRequest(id uint32) (kernelviz.Detail, error) {
	d := kernelviz.Detail{Object: "request", ID: id}
	gone := fmt.Errorf("request %d: %w: %w", id, kernelviz.ErrGone, errEnded)
	t := w.requests.byID(id)
	if t == nil {
		return d, gone
	}
	raw, err := w.read("io_kiocb", t.addr)
	if err != nil {
		return d, err
	}
	// Its memory is used again for the next request.
	if w.pointer("io_kiocb", "ctx", raw) != w.found.Ctx || w.userData(raw) != t.row.UserData {
		return d, gone
	}
	d.Title = fmt.Sprintf("request #%d %s", id, iouring.OpShort(t.row.Op))
	b, err := w.describe("io_kiocb", "include/linux/io_uring_types.h", t.addr, raw)
	if err != nil {
		return d, err
	}
	d.Structs = append(d.Structs, b)
	return d, nil
}

// byID finds a request by the id of its row.
func (q *requests) byID(id uint32) *tracked {
	for _, t := range q.byAddr {
		if t.row.ID == id {
			return t
		}
	}
	return nil
}

// userData is user_data of a struct io_kiocb.
func (w *watch) userData(raw []byte) uint64 {
	at, ok := w.view.kernel.Offset("io_kiocb", "cqe.user_data")
	if !ok || at+8 > len(raw) {
		return 0
	}
	return binary.NativeEndian.Uint64(raw[at:])
}

// pointer is the value of a pointer in a struct; 0 if this kernel has no such
// member.
func (w *watch) pointer(structName, path string, raw []byte) uint64 {
	at, ok := w.view.kernel.Offset(structName, path)
	if !ok || at+8 > len(raw) {
		return 0
	}
	return binary.NativeEndian.Uint64(raw[at:])
}

func (w *watch) read(name string, addr uint64) ([]byte, error) {
	raw, err := w.view.reader.peek(addr, w.view.kernel.Size(name))
	if err != nil {
		return nil, fmt.Errorf("struct %s: %w", name, err)
	}
	return raw, nil
}

// describe renders a struct by this kernel's BTF. addr is where it lies; 0 if
// it is memory of the owner's too.
func (w *watch) describe(name, source string, addr uint64, raw []byte) (kernelviz.Bytes, error) {
	fields, err := w.view.kernel.Describe(name, raw, func(p uint64) string { return w.resolve(p, addr, uint64(len(raw))) })
	if err != nil {
		return kernelviz.Bytes{}, err
	}
	for i := range fields {
		explain(name, &fields[i], raw)
	}
	return kernelviz.Bytes{Name: "struct " + name, Size: w.view.kernel.Size(name), Source: source, Fields: fields}, nil
}

// explain puts the values that have a meaning of their own into words.
func explain(structName string, f *kernelviz.Field, raw []byte) {
	if f.Offset+f.Size > len(raw) {
		return
	}
	var v uint32
	switch b := raw[f.Offset : f.Offset+f.Size]; f.Size {
	case 1:
		v = uint32(b[0])
	case 4:
		v = binary.NativeEndian.Uint32(b)
	default:
		return
	}
	switch structName + "." + f.Path {
	case "io_ring_ctx.flags":
		f.Value = fmt.Sprintf("%#x %s", v, iouring.SetupNames(v))
	case "io_rings.sq_flags", "io_rings.sq_flags.counter":
		f.Value = fmt.Sprintf("%#x %s", v, iouring.SQFlagNames(v))
	case "io_uring_sqe.opcode", "io_kiocb.opcode":
		f.Value = fmt.Sprintf("%d %s", v, iouring.OpName(uint8(v)))
	case "io_uring_sqe.flags":
		f.Value = fmt.Sprintf("%#x %s", v, iouring.SQEFlagNames(uint8(v)))
	case "io_uring_cqe.flags":
		f.Value = fmt.Sprintf("%#x %s", v, iouring.CQEFlagNames(v))
	case "io_uring_cqe.res", "io_kiocb.cqe.res":
		if name := errorName(int32(v)); name != "" {
			f.Value += " " + name
		}
	}
}

// resolve names what a kernel address points to: kernel addresses stay home
// unless they are asked for.
func (w *watch) resolve(p, self, size uint64) string {
	suffix := ""
	if w.view.opts.ShowAddresses {
		suffix = fmt.Sprintf(" %#x", p)
	}
	if self != 0 && p >= self && p < self+size {
		return "itself" + plus(p-self) + suffix
	}
	if p >= w.found.Ctx && p < w.found.Ctx+uint64(w.view.kernel.Size("io_ring_ctx")) {
		return fmt.Sprintf("ring #%d", w.id) + plus(p-w.found.Ctx) + suffix
	}
	kiocb := uint64(w.view.kernel.Size("io_kiocb"))
	for addr, t := range w.requests.byAddr {
		if p >= addr && p < addr+kiocb {
			return fmt.Sprintf("request #%d", t.row.ID) + plus(p-addr) + suffix
		}
	}
	if suffix != "" {
		return suffix[1:]
	}
	return ""
}

// plus writes an offset into a struct; none at its start.
func plus(offset uint64) string {
	if offset == 0 {
		return ""
	}
	return fmt.Sprintf("+%d", offset)
}
