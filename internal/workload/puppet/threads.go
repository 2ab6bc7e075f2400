package puppet

import (
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"kernelviz/internal/workload/control"
	"kernelviz/internal/workload/puppet/oracle"

	"golang.org/x/sys/unix"
)

// worker is a thread that waits. It is made when it is first asked for, and
// stays.
type worker struct {
	thread int
	jobs   chan job
	busy   bool // guarded by Puppet.mu
	text   call
	events []unix.EpollEvent
}

// job is one epoll_wait.
type job struct {
	epfd, maxevents, timeout int
	began, ended             chan struct{} // closed when it is logged as pending, and when it is complete
}

func (p *Puppet) doWait(a *Action) error {
	n := control.Or(a.Thread, 1)
	w := p.workers[n]
	if w == nil {
		w = &worker{thread: n, jobs: make(chan job)}
		p.workers[n] = w
		go p.work(w)
	}
	if !p.take(w) {
		return &control.Error{
			Code:    "thread_busy",
			Message: "thread " + strconv.Itoa(n) + " is asleep in epoll_wait",
			Fix:     "make an fd of its instance ready, or use another thread (1 to 16)",
		}
	}
	j := job{*a.EpFD, control.Or(a.MaxEvents, 8), control.Or(a.Timeout, -1), make(chan struct{}), make(chan struct{})}
	w.jobs <- j
	<-j.began
	if j.timeout == 0 {
		<-j.ended // it does not sleep
	}
	return nil
}

// take makes a worker busy unless it is.
func (p *Puppet) take(w *worker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.busy {
		return false
	}
	w.busy = true
	return true
}

// work is the life of a thread. It is never unlocked from its goroutine.
func (p *Puppet) work(w *worker) {
	runtime.LockOSThread()
	tid := unix.Gettid()
	for j := range w.jobs {
		if need := max(j.maxevents, 1); len(w.events) < need {
			w.events = make([]unix.EpollEvent, need)
		}
		e := p.waitBegins(w, tid, j)
		close(j.began)
		n, errno := epollWait(j.epfd, w.events, j.maxevents, j.timeout)
		p.waitEnds(w, e, j, n, errno)
		close(j.ended)
	}
}

func (p *Puppet) waitBegins(w *worker, tid int, j job) entered {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.enter(w.thread, tid)
	p.table.WaitBegins(w.thread, tid, j.epfd, j.maxevents)
	p.out.Add(&control.Call{
		Seq: e.seq, Time: e.time, TID: tid, Thread: w.thread, Pending: true,
		// strace has printed so much when another thread's call comes between.
		Text: w.text.start(epollWaitName).int(j.epfd).raw(" <unfinished ...>").string(),
		Rest: "maxevents=" + strconv.Itoa(j.maxevents) + ", timeout=" + strconv.Itoa(j.timeout),
	})
	_ = p.out.Flush() // a server that is gone ends Serve
	return e
}

func (p *Puppet) waitEnds(w *worker, e entered, j job, n int, errno syscall.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = max(n, 0)
	got := make([]oracle.Event, 0, n)
	for i := range n {
		got = append(got, oracle.Event{Events: w.events[i].Events, Data: dataOf(&w.events[i])})
	}
	silenced := p.table.WaitEnded(w.thread, got, errno != 0)
	note := ""
	switch {
	case errno != 0:
	case silenced:
		note = NoteOneshot
	case n == 0:
		note = NoteTimeout
	}
	p.leave(e, w.waitText(j, n, errno), n, errno, note)
	_ = p.out.Flush()
	w.busy = false
}

// waitText is the text of a complete wait. On failure the kernel wrote no
// events, and strace prints where they would have gone.
func (w *worker) waitText(j job, n int, errno syscall.Errno) string {
	c := w.text.start(epollWaitName).int(j.epfd)
	if errno == 0 {
		c.sep().b = appendEvents(c.b, w.events[:n])
	} else {
		c.sep().b = appendPointer(c.b, uintptr(unsafe.Pointer(&w.events[0])))
	}
	return c.waitTail(j.maxevents, j.timeout).end()
}
