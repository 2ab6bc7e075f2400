package epoll

import (
	"context"
	"fmt"
	"strconv"

	"kernelviz/internal/kernelviz"
)

// maxStruct bounds the bytes read of one struct.
const maxStruct = 2048

// Inspect implements kernelviz.Watch: "instance" (id 0), "node", "file" (by
// node id of an item on it) and "waiter" are structs of the running kernel.
func (w *watch) Inspect(_ context.Context, object string, id uint32) (kernelviz.Detail, error) {
	switch object {
	case "instance":
		return w.inspectInstance()
	case "node":
		return w.inspectNode(id)
	}
	return kernelviz.Detail{}, fmt.Errorf("there is no object %q to inspect; want instance or node", object)
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
	return kernelviz.Bytes{Name: "struct " + name, Size: size, Source: source, Fields: fields}, nil
}

// resolve names what a kernel address points to: kernel addresses stay home
// unless they are asked for.
func (w *watch) resolve(p, self, size uint64) string {
	suffix := ""
	if w.view.opts.ShowAddresses {
		suffix = fmt.Sprintf(" %#x", p)
	}
	if p >= self && p < self+size {
		return fmt.Sprintf("itself+%d", p-self) + suffix
	}
	if p >= w.target.Ep && p < w.target.Ep+uint64(w.view.kernel.Size("eventpoll")) {
		return fmt.Sprintf("epoll #%d+%d", w.id, p-w.target.Ep) + suffix
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if id, ok := w.fileIDs[p]; ok {
		return fmt.Sprintf("file #%d", id) + suffix
	}
	itemSize := uint64(w.view.kernel.Size("epitem"))
	for k := range w.nodeIDs {
		if p >= k.addr && p < k.addr+itemSize {
			text := fmt.Sprintf("epitem of fd %d", k.fd)
			if p > k.addr {
				text += fmt.Sprintf("+%d", p-k.addr)
			}
			return text + suffix
		}
	}
	if suffix != "" {
		return suffix[1:]
	}
	return ""
}
