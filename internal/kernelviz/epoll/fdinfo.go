package epoll

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// Item is one line of /proc/PID/fdinfo/FD of an epoll instance: what the
// kernel prints in ep_show_fdinfo, walking the tree in order.
type Item struct {
	FD     int32
	Events uint32
	Data   uint64
	Inode  uint64
}

// ReadFdinfo lists what an instance watches, in tree order.
func ReadFdinfo(pid, fd int) ([]Item, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd))
	if err != nil {
		return nil, err
	}
	return parseFdinfo(string(b))
}

// parseFdinfo reads lines like
//
//	tfd:        5 events:       19 data:                5  pos:0 ino:3f3 sdev:f
func parseFdinfo(s string) ([]Item, error) {
	var out []Item
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, "tfd:") {
			continue
		}
		var it Item
		var pos int64
		n, err := fmt.Sscanf(line, "tfd: %d events: %x data: %x pos:%d ino:%x", &it.FD, &it.Events, &it.Data, &pos, &it.Inode)
		if err != nil && n < 3 {
			return nil, fmt.Errorf("fdinfo line %q: %w", strings.TrimSpace(line), err)
		}
		out = append(out, it)
	}
	return out, nil
}

// fdinfoTargets finds epoll instances by the links of /proc/PID/fd that this
// user may read.
func fdinfoTargets(ctx context.Context, view string) ([]kernelviz.Target, error) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var out []kernelviz.Target
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		fds, err := os.ReadDir(filepath.Join("/proc", d.Name(), "fd"))
		if err != nil {
			continue // another user's, or gone
		}
		for _, f := range fds {
			fd, err := strconv.Atoi(f.Name())
			if err != nil || !isEventpoll(pid, fd) {
				continue
			}
			items := -1
			if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd)); err == nil {
				items = bytes.Count(b, []byte("tfd:"))
			}
			out = append(out, kernelviz.Target{
				View: view, Name: fmt.Sprintf("%d:%d", pid, fd),
				PID: pid, Comm: comm(pid), FD: fd, Items: items,
			})
		}
	}
	return out, nil
}

func isEventpoll(pid, fd int) bool {
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	return err == nil && link == "anon_inode:[eventpoll]"
}

func comm(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// itemKey tells items apart as far as fdinfo does. The same fd on the same
// inode can stand there twice, since all anonymous inodes are one: after dup
// and close the item of the old file stays, and the next file with that fd can
// be added too. Those are numbered in tree order.
type itemKey struct {
	fd    int32
	inode uint64
	nth   int
}

// fdinfoWatch is one instance watched through procfs: membership in tree
// order, without shape, lists or waiters.
type fdinfoWatch struct {
	view   *View
	pid    int
	fd     int
	ids    map[itemKey]uint32
	last   uint32
	counts kernelviz.Truth
}

func openFdinfo(v *View, pid, fd int) (*fdinfoWatch, error) {
	if _, err := ReadFdinfo(pid, fd); errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("epoll instance %d:%d: reading /proc/%d/fdinfo: %w: it belongs to another user; run labserver as root to see it", pid, fd, pid, fs.ErrPermission)
	}
	if !isEventpoll(pid, fd) {
		return nil, missing(pid, fd)
	}
	return &fdinfoWatch{view: v, pid: pid, fd: fd, ids: make(map[itemKey]uint32)}, nil
}

func (w *fdinfoWatch) Wake() <-chan struct{} { return nil }
func (w *fdinfoWatch) Close() error          { return nil }

// Sample implements kernelviz.Watch.
func (w *fdinfoWatch) Sample(context.Context) (kernelviz.Snapshot, error) {
	began := monotonic()
	if !isEventpoll(w.pid, w.fd) {
		return nil, fmt.Errorf("epoll instance %d:%d: %w: the process has ended or closed the fd", w.pid, w.fd, kernelviz.ErrGone)
	}
	items, err := ReadFdinfo(w.pid, w.fd)
	if err != nil {
		return nil, fmt.Errorf("epoll instance %d:%d: %w: %w", w.pid, w.fd, kernelviz.ErrGone, err)
	}
	w.counts.Samples++
	s := &Snapshot{
		truth:    w.counts,
		instance: wire.InstanceRow{Items: uint32(len(items)), Membership: 1},
		index:    make(map[uint32]int), fileIndex: make(map[uint32]int),
	}
	s.truth.Tier = w.view.tier
	s.truth.Whole = true
	live := make(map[itemKey]uint32, len(items))
	for i, it := range items {
		if i == kernelviz.MaxWhole {
			break
		}
		key := itemKey{fd: it.FD, inode: it.Inode} // a changed mask is the same item
		for live[key] != 0 {
			key.nth++
		}
		id := w.id(key)
		live[key] = id
		s.index[id] = len(s.nodes)
		s.nodes = append(s.nodes, wire.NodeRow{ID: id, File: id, FD: it.FD, Events: it.Events, Data: it.Data, Owner: uint32(w.pid)})
		s.fileIndex[id] = len(s.files)
		s.files = append(s.files, w.file(id, it))
	}
	w.ids = live
	s.truth.At = monotonic()
	s.truth.Read = s.truth.At - began
	return s, nil
}

// id gives the stable id of an item, by fd and inode.
func (w *fdinfoWatch) id(key itemKey) uint32 {
	if id, ok := w.ids[key]; ok {
		return id
	}
	w.last++
	return w.last
}

// file tells what the fd is by its link, if the process still has it open.
func (w *fdinfoWatch) file(id uint32, it Item) wire.FileRow {
	r := wire.FileRow{ID: id, Inode: it.Inode}
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", w.pid, it.FD))
	if err != nil {
		return r
	}
	kinds := []struct {
		prefix string
		kind   wire.FileType
	}{
		{"socket:", wire.FileSocket}, {"pipe:", wire.FilePipe}, {"anon_inode:[eventfd]", wire.FileEventfd},
		{"anon_inode:[timerfd]", wire.FileTimerfd}, {"anon_inode:[signalfd]", wire.FileSignalfd},
		{"anon_inode:[eventpoll]", wire.FileEpoll}, {"anon_inode:inotify", wire.FileInotify},
		{"anon_inode:[pidfd]", wire.FilePidfd}, {"anon_inode:[io_uring]", wire.FileIOUring}, {"/dev/pt", wire.FileTTY},
	}
	r.Type = wire.FileOther
	if i := slices.IndexFunc(kinds, func(k struct {
		prefix string
		kind   wire.FileType
	}) bool {
		return strings.HasPrefix(link, k.prefix)
	}); i >= 0 {
		r.Type = kinds[i].kind
		return r
	}
	copy(r.Name[:23], filepath.Base(link))
	return r
}

// Inspect implements kernelviz.Watch.
func (w *fdinfoWatch) Inspect(context.Context, string, uint32) (kernelviz.Detail, error) {
	return kernelviz.Detail{}, errors.New("the fdinfo tier cannot read kernel structs; run labserver as root on a kernel with BTF")
}
