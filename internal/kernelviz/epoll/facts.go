package epoll

import "kernelviz/internal/kernelviz"

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
