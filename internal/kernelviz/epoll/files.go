package epoll

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz/wire"
)

// fileInfo is what was last seen of a watched file.
type fileInfo struct {
	row wire.FileRow
}

// describe looks at what the nodes watch: new ones first, then the others in
// turn, so that every item is looked at again within a few samples and one
// sample never costs more than one run. w.mu is held.
func (w *watch) describe(ctx context.Context, nodes []snapshotNode, ids, fileIDs []uint32) error {
	if len(nodes) == 0 {
		return nil
	}
	if err := w.findOwners(ctx); err != nil {
		return err
	}
	again := time.Since(w.describedAt) >= describeEvery
	picked := make([]int, 0, maxDescribed)
	for i := range nodes {
		if len(picked) == maxDescribed {
			break
		}
		if _, known := w.owner[ids[i]]; !known {
			picked = append(picked, i)
		}
	}
	fresh := len(picked)
	for k := 0; again && k < len(nodes) && len(picked) < maxDescribed; k++ {
		i := (w.turn + k) % len(nodes)
		if _, known := w.owner[ids[i]]; known {
			picked = append(picked, i)
		}
	}
	w.turn += len(picked) - fresh
	if again {
		w.describedAt = time.Now()
	}
	if len(picked) == 0 {
		return nil
	}
	items := make([]discoverDescribed, len(picked))
	for k, i := range picked {
		items[k] = discoverDescribed{Item: nodes[i].Addr, File: nodes[i].File, Fd: nodes[i].Fd}
	}
	if err := w.probe.describe(w.owners, items); err != nil {
		return err
	}
	for k, i := range picked {
		d := &items[k]
		if d.Stale != 0 {
			continue // the item went since the snapshot
		}
		w.owner[ids[i]] = d.Owner
		w.files[fileIDs[i]] = &fileInfo{row: w.fileRow(fileIDs[i], d)}
	}
	return nil
}

// findOwners lists the processes that hold this instance, now and then: the
// items of a shared instance may be fds of any of them.
func (w *watch) findOwners(ctx context.Context) error {
	if w.owners != nil && time.Since(w.ownersAt) < ownersEvery {
		w.owners[0] = w.target
		return nil
	}
	all, err := w.view.instances(ctx)
	if err != nil {
		return err
	}
	w.owners = append(w.owners[:0], w.target)
	for _, t := range all {
		if t.Ep == w.target.Ep && t.Task != w.target.Task {
			w.owners = append(w.owners, t)
		}
	}
	w.ownersAt = time.Now()
	return nil
}

func (w *watch) fileRow(id uint32, d *discoverDescribed) wire.FileRow {
	r := wire.FileRow{
		ID: id, Type: wire.FileType(d.Type), Refs: d.Refs, Inode: d.Inode,
		Family: d.Family, Sock: d.Sock, State: d.State, Proto: d.Proto,
		LPort: d.Lport, RPort: d.Rport, LAddr: d.Laddr, RAddr: d.Raddr,
	}
	if r.Type != wire.FileSocket {
		r.Family, r.Sock, r.State, r.Proto = 0, 0, 0, 0
		r.LPort, r.RPort = 0, 0
		r.LAddr, r.RAddr = [16]byte{}, [16]byte{}
	}
	if r.Family != unix.AF_INET && r.Family != unix.AF_INET6 {
		r.LPort, r.RPort = 0, 0
		r.LAddr, r.RAddr = [16]byte{}, [16]byte{}
	}
	if d.Nested != 0 {
		w.probe.mu.Lock()
		r.Nested = w.probe.instanceID(d.Nested)
		w.probe.mu.Unlock()
	}
	copy(r.Name[:23], text(d.Name[:]))
	return r
}

// fileRows lists the files of the snapshot, each once. w.mu is held.
func (w *watch) fileRows(s *Snapshot, fileIDs []uint32) {
	s.fileIndex = make(map[uint32]int, len(fileIDs))
	for _, id := range fileIDs {
		f := w.files[id]
		if f == nil {
			continue
		}
		if _, ok := s.fileIndex[id]; ok {
			continue
		}
		s.fileIndex[id] = len(s.files)
		s.files = append(s.files, f.row)
	}
}
