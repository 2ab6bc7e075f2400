package epoll

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kernelviz/internal/kernelviz"
)

// maxStruct bounds the bytes read of one struct.
const maxStruct = 2048

// Inspect implements kernelviz.Watch. Objects are "instance" (id 0), "node",
// "file" (both by the ids of the frame) and "waiter" (by thread id): structs of
// the running kernel.
func (w *watch) Inspect(ctx context.Context, object string, id uint32) (kernelviz.Detail, error) {
	switch object {
	case "instance":
		d, err := w.inspectInstance()
		return w.ifStillThere(ctx, d, err)
	case "node":
		d, err := w.inspectNode(id)
		return w.ifStillThere(ctx, d, err)
	case "file":
		return w.inspectFile(id)
	case "waiter":
		return w.inspectWaiter(id)
	}
	return kernelviz.Detail{}, fmt.Errorf("there is no object %q to inspect; want instance, node, file or waiter", object)
}

// ifStillThere keeps what was read of the instance only if it lived until then:
// freed memory is somebody else's, whatever it holds.
func (w *watch) ifStillThere(ctx context.Context, d kernelviz.Detail, err error) (kernelviz.Detail, error) {
	if err != nil {
		return d, err
	}
	w.mu.Lock()
	ep := w.target.Ep
	w.mu.Unlock()
	if t, findErr := w.view.find(ctx, w.pid, w.fd); findErr != nil || t.Ep != ep {
		return kernelviz.Detail{}, fmt.Errorf("epoll instance %d:%d: %w: it went while it was read", w.pid, w.fd, kernelviz.ErrGone)
	}
	return d, nil
}

func (w *watch) inspectInstance() (kernelviz.Detail, error) {
	d := kernelviz.Detail{Object: "instance", Title: fmt.Sprintf("epoll #%d", w.id)}
	b, err := w.structAt("eventpoll", "fs/eventpoll.c", w.target.Ep)
	if err != nil {
		return d, err
	}
	d.Structs = append(d.Structs, b)
	return d, nil
}

func (w *watch) inspectNode(id uint32) (kernelviz.Detail, error) {
	w.mu.Lock()
	k, ok := w.keys[id]
	w.mu.Unlock()
	d := kernelviz.Detail{Object: "node", ID: id}
	if !ok {
		return d, fmt.Errorf("node %d: %w: the item was removed", id, kernelviz.ErrGone)
	}
	d.Title = fmt.Sprintf("fd %d", k.fd)
	item, err := w.structAt("epitem", "fs/eventpoll.c", k.addr)
	if err != nil {
		return d, err
	}
	d.Structs = append(d.Structs, item)
	w.mu.Lock()
	d.Notes = append(d.Notes, kernelviz.Note{Key: "node.key", Args: map[string]string{
		"file": strconv.Itoa(int(w.fileID(k.file))), "fd": strconv.Itoa(int(k.fd)),
	}})
	w.mu.Unlock()
	return d, nil
}

func (w *watch) inspectFile(id uint32) (kernelviz.Detail, error) {
	d := kernelviz.Detail{Object: "file", ID: id, Title: fmt.Sprintf("file #%d", id)}
	addr := uint64(0)
	w.mu.Lock()
	for file, known := range w.fileIDs {
		if known == id {
			addr = file
		}
	}
	if f := w.files[id]; f != nil {
		d.Title += " " + FileText(&f.row)
	}
	w.mu.Unlock()
	if addr == 0 {
		return d, fmt.Errorf("file %d: %w: no item watches it any more", id, kernelviz.ErrGone)
	}
	b, err := w.structAt("file", "include/linux/fs.h", addr)
	if err != nil {
		return d, err
	}
	d.Structs = append(d.Structs, b)
	return d, nil
}

func (w *watch) inspectWaiter(tid uint32) (kernelviz.Detail, error) {
	d := kernelviz.Detail{Object: "waiter", ID: tid, Title: fmt.Sprintf("tid %d", tid)}
	w.mu.Lock()
	entry := w.waiterEntry[tid]
	w.mu.Unlock()
	if entry == 0 {
		return d, fmt.Errorf("thread %d: %w: it does not wait any more", tid, kernelviz.ErrGone)
	}
	b, err := w.structAt("wait_queue_entry", "include/linux/wait.h", entry)
	if err != nil {
		return d, err
	}
	for i := range b.Fields {
		f := &b.Fields[i]
		switch {
		case f.Path == "flags" && f.Value == strconv.Itoa(wqExclusive):
			f.Value += " WQ_FLAG_EXCLUSIVE"
		case f.Path == "private" && w.view.opts.ShowAddresses:
			f.Value = fmt.Sprintf("task_struct of tid %d %s", tid, f.Value)
		case f.Path == "private":
			f.Value = fmt.Sprintf("task_struct of tid %d", tid)
		}
	}
	d.Structs = append(d.Structs, b)
	return d, nil
}

// structAt reads one struct and renders it by this kernel's BTF.
func (w *watch) structAt(name, source string, addr uint64) (kernelviz.Bytes, error) {
	size := w.view.kernel.Size(name)
	if size <= 0 || size > maxStruct {
		return kernelviz.Bytes{}, fmt.Errorf("struct %s: this kernel's BTF gives it %d bytes", name, size)
	}
	raw, err := w.probe.peek(addr, size)
	if err != nil {
		return kernelviz.Bytes{}, fmt.Errorf("struct %s: %w", name, err)
	}
	fields, err := w.view.kernel.Describe(name, raw, func(p uint64) string { return w.resolve(p, addr, uint64(size)) })
	if err != nil {
		return kernelviz.Bytes{}, err
	}
	fields = slices.DeleteFunc(fields, func(f kernelviz.Field) bool {
		// struct epitem reuses rbn as an rcu_head once it is freed.
		return name == "epitem" && strings.HasPrefix(f.Path, "rcu.")
	})
	for i := range fields {
		explain(&fields[i], raw)
	}
	return kernelviz.Bytes{Name: "struct " + name, Size: size, Source: source, Fields: fields}, nil
}

// explain puts the values that have a meaning of their own into words.
func explain(f *kernelviz.Field, raw []byte) {
	if f.Offset+f.Size > len(raw) {
		return
	}
	b := raw[f.Offset : f.Offset+f.Size]
	switch {
	case f.Path == "event.events" && f.Size == 4:
		mask := binary.NativeEndian.Uint32(b)
		f.Value = fmt.Sprintf("%#x %s", mask, EventNames(mask))
	case (f.Path == "ovflist_next" || f.Path == "next" || f.Path == "ovflist") && f.Size == 8 && binary.NativeEndian.Uint64(b) == unactive:
		f.Value = "EP_UNACTIVE_PTR"
	}
}

// resolve names what a kernel address points to: kernel addresses stay home
// unless they are asked for.
func (w *watch) resolve(p, self, size uint64) string {
	suffix := ""
	if w.view.opts.ShowAddresses {
		suffix = fmt.Sprintf(" %#x", p)
	}
	if p >= self && p < self+size {
		return "itself" + plus(p-self) + suffix
	}
	if p >= w.target.Ep && p < w.target.Ep+uint64(w.view.kernel.Size("eventpoll")) {
		return fmt.Sprintf("epoll #%d", w.id) + plus(p-w.target.Ep) + suffix
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if id, ok := w.fileIDs[p]; ok {
		return fmt.Sprintf("file #%d", id) + suffix
	}
	itemSize := uint64(w.view.kernel.Size("epitem"))
	for k := range w.nodeIDs {
		if p >= k.addr && p < k.addr+itemSize {
			return fmt.Sprintf("epitem of fd %d", k.fd) + plus(p-k.addr) + suffix
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
