package ring

import (
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"kernelviz/internal/iouring"
	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

// worker is a thread that makes the calls of rings that are bound to it, and
// sleeps in io_uring_enter. It is made when it is first asked for, and stays.
type worker struct {
	thread int
	jobs   chan func(*worker)

	// Guarded by Puppet.mu.
	tid    int
	busy   bool
	asleep *sleep // in io_uring_enter; nil if it is not
}

// sleep is an io_uring_enter that waits.
type sleep struct {
	g      *instance
	fd     int
	target uint32 // it returns when cq.tail has come here
	closed bool   // the ring's memory is gone
}

// due reports whether the thread must be about to return.
func (w *worker) due() bool {
	s := w.asleep
	return s != nil && !s.closed && s.g.scribbled != "cq.head" && int32(s.g.ring.CQTail()-s.target) >= 0
}

// at is the worker of a number, made if need be, and made busy.
func (p *Puppet) at(thread int) (*worker, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.workers[thread]
	if w == nil {
		w = &worker{thread: thread, jobs: make(chan func(*worker))}
		p.workers[thread] = w
		go p.work(w)
	}
	if w.busy {
		return nil, &control.Error{
			Code:    "thread_busy",
			Message: "thread " + strconv.Itoa(thread) + " is asleep in io_uring_enter",
			Fix:     "let requests of its ring complete, or use another thread (1 to 16) where the ring is not bound to one",
		}
	}
	w.busy = true
	return w, nil
}

// work is the life of a thread. It is never unlocked from its goroutine.
func (p *Puppet) work(w *worker) {
	runtime.LockOSThread()
	p.mu.Lock()
	w.tid = unix.Gettid()
	p.mu.Unlock()
	for job := range w.jobs {
		job(w)
	}
}

// in runs do in a thread, 0 being the main one, and waits until it is done. It
// is told how its calls begin. Not held: p.mu.
func (p *Puppet) in(thread int, do func(begin func() entered)) error {
	if thread == 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		do(p.begin)
		return nil
	}
	w, err := p.at(thread)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	w.jobs <- func(w *worker) {
		defer close(done)
		p.mu.Lock()
		defer p.mu.Unlock()
		do(func() entered { return p.enter(w.thread, w.tid) })
		w.busy = false
	}
	<-done
	return nil
}

// enterRing is io_uring_enter without sleeping. It returns what the call did.
func (p *Puppet) enterRing(g *instance, thread int, submit, flags uint32) (ret int, errno syscall.Errno, err error) {
	err = p.in(thread, func(begin func() entered) {
		e := begin()
		ret, errno = iouring.RawEnter(g.fd, submit, 0, flags)
		p.took(g, g.foretell(submit), ret, errno)
		p.leave(e, enterText(g.fd, submit, 0, flags), ret, errno, "")
	})
	return ret, errno, err
}

// foretell takes what an io_uring_enter will take. An SQPOLL thread takes by
// itself.
func (g *instance) foretell(submit uint32) taking {
	if g.sqpoll() {
		return taking{}
	}
	return g.take(int(submit))
}

// took corrects what was foretold by what the call returned. Held: p.mu.
func (p *Puppet) took(g *instance, foretold taking, ret int, errno syscall.Errno) {
	if g.sqpoll() {
		g.sync(p)
		return
	}
	if errno != 0 {
		ret = 0
	}
	if ret > len(foretold.requests) {
		p.surprise("ring %d: io_uring_enter took %d, not %d", g.fd, ret, len(foretold.requests))
		ret = len(foretold.requests)
	}
	g.untake(foretold, ret)
	for _, q := range foretold.requests[:ret] {
		p.silent(g, q)
	}
	if g.scribbled != "sq.tail" && g.ring.SQPending() != len(g.queued) {
		p.surprise("ring %d: %d SQEs lie behind sq.head, not %d", g.fd, g.ring.SQPending(), len(g.queued))
	}
}

// wait is io_uring_enter that sleeps until n completions have come. It returns
// when the call has begun.
func (p *Puppet) wait(g *instance, thread int, submit, n, flags uint32) error {
	w, err := p.at(thread)
	if err != nil {
		return err
	}
	began := make(chan struct{})
	w.jobs <- func(w *worker) {
		e, foretold := p.waitBegins(g, w, submit, n, flags)
		close(began)
		ret, errno := iouring.RawEnter(e.fd, submit, n, flags)
		p.waitEnds(g, w, e, foretold, ret, errno, enterText(e.fd, submit, n, flags))
	}
	<-began
	p.takenBy(g, submit)
	return nil
}

type waiting struct {
	entered
	fd int
}

func (p *Puppet) waitBegins(g *instance, w *worker, submit, n, flags uint32) (waiting, taking) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.enter(w.thread, w.tid)
	w.asleep = &sleep{g: g, fd: g.fd, target: g.ring.CQHead() + n}
	p.out.Add(&control.Call{
		Seq: e.seq, Time: e.time, TID: e.tid, Thread: e.thread, Pending: true,
		// strace has printed so much when another thread's call comes between.
		Text: strings.TrimSuffix(enterText(g.fd, submit, n, flags), ")") + " <unfinished ...>",
	})
	_ = p.out.Flush() // a server that is gone ends Serve
	foretold := g.foretell(submit)
	for _, q := range foretold.requests {
		p.silent(g, q)
	}
	return waiting{e, g.fd}, foretold
}

// takenBy waits until a call that has begun has taken what it was to submit.
func (p *Puppet) takenBy(g *instance, submit uint32) {
	if submit == 0 || g.sqpoll() {
		return
	}
	const step, most = 20_000, 200_000_000 // ns
	for slept := 0; slept < most; slept += step {
		p.mu.Lock()
		taken := g.fd < 0 || g.ring.SQPending() <= len(g.queued)
		p.mu.Unlock()
		if taken {
			return
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: step}, nil)
	}
}

func (p *Puppet) waitEnds(g *instance, w *worker, e waiting, foretold taking, ret int, errno syscall.Errno, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !w.asleep.closed {
		p.took(g, foretold, ret, errno)
	}
	w.asleep, w.busy = nil, false
	p.leave(e.entered, text, ret, errno, "")
	_ = p.out.Flush()
}
