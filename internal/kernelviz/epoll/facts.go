package epoll

import "kernelviz/internal/kernelviz"

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
			{Name: "events", Type: s, Doc: "event.events in words: EPOLLIN|EPOLLET."},
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
// use about the watched instance.
func (s *Snapshot) Facts() kernelviz.Facts {
	i := &s.instance
	f := kernelviz.Facts{
		"epoll.whole":    s.truth.Whole,
		"epoll.nodes":    int(i.Items),
		"epoll.instance": int(i.ID),
	}
	if s.tree == nil {
		return f
	}
	f["epoll.depth"] = int(i.Depth)
	f["epoll.black_height"] = int(i.BlackHeight)
	f["epoll.red"] = int(i.Red)
	f["epoll.ready"] = int(i.Ready)
	f["epoll.overflow"] = int(i.Overflow)
	f["epoll.scanning"] = i.Scanning == 1
	f["epoll.waiters"] = int(i.Waiters)
	f["epoll.poll_waiters"] = int(i.PollWaiters)
	exclusive := 0
	for _, w := range s.waiters {
		exclusive += int(w.Flags & 1)
	}
	f["epoll.exclusive_waiters"] = exclusive
	return f
}
