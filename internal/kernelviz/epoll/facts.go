package epoll

import (
	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// FactList implements kernelviz.View: what Facts publishes.
func (v *View) FactList() []kernelviz.Fact {
	const b, i, s = kernelviz.FactBool, kernelviz.FactInt, kernelviz.FactString
	return []kernelviz.Fact{
		{Name: "epoll.whole", Type: b, Doc: "Every invariant of the tree held in this snapshot."},
		{Name: "epoll.instance", Type: i, Doc: "Small stable number of the instance on the stage; 0 if none is."},
		{Name: "epoll.nodes", Type: i, Doc: "epitems in the tree."},
		{Name: "epoll.depth", Type: i, Doc: "Levels of the tree; 0 if it is empty."},
		{Name: "epoll.black_height", Type: i, Doc: "Black nodes from the root down to a leaf, NIL counted, root not."},
		{Name: "epoll.red", Type: i, Doc: "Red nodes."},
		{Name: "epoll.root", Type: i, Doc: "fd of the root's key; -1 if the tree is empty."},
		{Name: "epoll.ready", Type: i, Doc: "Items on rdllist."},
		{Name: "epoll.ready_fds", Type: kernelviz.FactInts, Doc: "Their fds, in the order of the list."},
		{Name: "epoll.overflow", Type: i, Doc: "Items on ovflist, while a scan has the ready list."},
		{Name: "epoll.scanning", Type: b, Doc: "A scan has taken the ready list: ovflist is active."},
		{Name: "epoll.waiters", Type: i, Doc: "Threads asleep in epoll_wait (wq)."},
		{Name: "epoll.exclusive_waiters", Type: i, Doc: "Those of them whose wait entry is exclusive."},
		{Name: "epoll.poll_waiters", Type: i, Doc: "Entries of poll_wait: instances and polls that watch this instance."},
		{Name: "epoll.items", Type: kernelviz.FactList, Doc: "The items in tree order; empty in a tree of more than 4,096.", Fields: []kernelviz.Fact{
			{Name: "fd", Type: i, Doc: "fd of the key."},
			{Name: "kind", Type: s, Doc: "Kind of the file: eventfd, pipe, tcp, …"},
			{Name: "events", Type: s, Doc: "event.events in words, as the kernel keeps it: EPOLLIN|EPOLLERR|EPOLLHUP|EPOLLET. epoll_ctl adds EPOLLERR and EPOLLHUP to every mask."},
			{Name: "ready", Type: b, Doc: "It is on rdllist."},
			{Name: "red", Type: b, Doc: "It is red."},
			{Name: "depth", Type: i, Doc: "0 at the root."},
			{Name: "parent", Type: i, Doc: "fd of the parent's key; -1 at the root."},
			{Name: "left", Type: i, Doc: "fd of the left child's key; -1 if none."},
			{Name: "right", Type: i, Doc: "fd of the right child's key; -1 if none."},
			{Name: "open", Type: b, Doc: "The fd of the key is still open in the process on the stage and refers to the same file."},
		}},
		{Name: "epoll.threads", Type: kernelviz.FactList, Doc: "Entries of wq, in wake order.", Fields: []kernelviz.Fact{
			{Name: "tid", Type: i, Doc: "Kernel thread."},
			{Name: "exclusive", Type: b, Doc: "WQ_FLAG_EXCLUSIVE is set."},
		}},
	}
}

// Facts implements kernelviz.Snapshot: the names that checks of lessons may
// use about the watched instance. The fdinfo tier sees no shape and no lists:
// it publishes what it has.
func (s *Snapshot) Facts() kernelviz.Facts {
	i := &s.instance
	f := kernelviz.Facts{
		"epoll.whole":    s.truth.Whole,
		"epoll.nodes":    int(i.Items),
		"epoll.instance": int(i.ID),
		"epoll.root":     -1,
		"epoll.items":    s.itemFacts(),
	}
	if s.tree == nil {
		return f
	}
	if len(s.tree.nodes) > 0 {
		f["epoll.root"] = int(s.tree.nodes[0].Fd)
	}
	f["epoll.depth"] = int(i.Depth)
	f["epoll.black_height"] = int(i.BlackHeight)
	f["epoll.red"] = int(i.Red)
	f["epoll.ready"] = int(i.Ready)
	f["epoll.overflow"] = int(i.Overflow)
	f["epoll.scanning"] = i.Scanning == 1
	f["epoll.waiters"] = int(i.Waiters)
	f["epoll.poll_waiters"] = int(i.PollWaiters)
	ready := make([]int, 0, len(s.ready))
	for _, r := range s.ready {
		ready = append(ready, int(r.FD))
	}
	f["epoll.ready_fds"] = ready
	exclusive := 0
	threads := make([]map[string]any, 0, len(s.waiters))
	for _, w := range s.waiters {
		isExclusive := w.Flags&wire.WaiterExclusive != 0
		if isExclusive {
			exclusive++
		}
		threads = append(threads, map[string]any{"tid": int(w.TID), "exclusive": isExclusive})
	}
	f["epoll.exclusive_waiters"] = exclusive
	f["epoll.threads"] = threads
	return f
}

// itemFacts are the elements of epoll.items.
func (s *Snapshot) itemFacts() []map[string]any {
	items := make([]map[string]any, 0, len(s.nodes))
	if s.tree == nil {
		for i := range s.nodes {
			items = append(items, s.itemFact(&s.nodes[i]))
		}
		return items
	}
	if len(s.nodes) == 0 {
		return items // empty, or too large to have rows
	}
	for _, i := range s.tree.inOrder() {
		item := s.itemFact(&s.nodes[i])
		t := s.tree
		n := &t.nodes[i]
		item["red"] = n.ParentColor&bitBlack == 0
		item["depth"] = int(t.depth[i])
		if i != 0 {
			item["parent"] = int(t.nodes[t.parent[i]].Fd)
		}
		if n.LeftIndex != 0 {
			item["left"] = int(t.nodes[n.LeftIndex].Fd)
		}
		if n.RightIndex != 0 {
			item["right"] = int(t.nodes[n.RightIndex].Fd)
		}
		items = append(items, item)
	}
	return items
}

// itemFact is what a row tells without its place in the tree.
func (s *Snapshot) itemFact(r *wire.NodeRow) map[string]any {
	kind := ""
	if k, ok := s.fileIndex[r.File]; ok {
		kind = fileKind(&s.files[k])
	}
	open := r.Owner != 0
	if s.watch != nil {
		// Another process that shares the instance may have the fd open.
		open = int(r.Owner) == s.watch.pid
	}
	return map[string]any{
		"fd": int(r.FD), "kind": kind, "events": EventNames(r.Events), "ready": r.Flags&wire.NodeReady != 0, "open": open,
		"red": false, "depth": 0, "parent": -1, "left": -1, "right": -1,
	}
}

// fileKind is what a file is, in one word.
func fileKind(f *wire.FileRow) string {
	switch {
	case f.Type == wire.FileSocket && f.Family == unix.AF_UNIX:
		return "unix"
	case f.Type == wire.FileSocket && f.Proto == unix.IPPROTO_TCP:
		return "tcp"
	case f.Type == wire.FileSocket && f.Proto == unix.IPPROTO_UDP:
		return "udp"
	case int(f.Type) < len(fileWords):
		return fileWords[f.Type]
	}
	return ""
}
