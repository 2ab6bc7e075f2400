package trial

import (
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"kernelviz/internal/iouring"
	"kernelviz/internal/workload/readiness"

	"golang.org/x/sys/unix"
)

// The experiment readiness: one thread has "n" eventfds, makes "active" of them
// ready, and finds and reads those; so many "rounds". The methods are those of
// the workload readiness, with io_uring besides.

const readinessWarmUp = 3 // rounds, in Prepare

// readinessWork is the role "server".
type readinessWork struct {
	variant           string
	n, active, rounds int
	fds               []int
	method            readiness.Method
	clock             int64
	restore           func()
}

// newReadiness makes the role "server".
func newReadiness(s Spec) (Work, error) {
	n, err := param(s, "n", 1, 500_000)
	if err != nil {
		return nil, err
	}
	active, err := param(s, "active", 1, n)
	if err != nil {
		return nil, err
	}
	rounds, err := param(s, "rounds", 1, 1_000_000)
	if err != nil {
		return nil, err
	}
	switch s.Variant {
	case "select", "poll", "epoll", "uring-poll":
		return &readinessWork{variant: s.Variant, n: int(n), active: int(active), rounds: int(rounds)}, nil
	}
	return nil, fmt.Errorf("readiness: unknown variant %.80q; known are select, poll, epoll, uring-poll", s.Variant)
}

func (w *readinessWork) Prepare() (any, error) {
	var err error
	if w.restore, err = quiet(); err != nil {
		return nil, err
	}
	w.fds, err = readiness.Eventfds(w.n)
	if errors.Is(err, unix.EMFILE) {
		return nil, fmt.Errorf("opening %d eventfds: %w: the limit of open files (RLIMIT_NOFILE) is too low; raise it (ulimit -n)", w.n, err)
	}
	if err != nil {
		return nil, err
	}
	if w.method, err = w.watch(); err != nil {
		return nil, err
	}
	w.clock = readiness.ClockCost()
	for round := range readinessWarmUp {
		if _, err := readiness.Once(w.method, w.active, w.rounds+round, w.clock); err != nil {
			return nil, fmt.Errorf("%s: %w", w.variant, err)
		}
	}
	return nil, nil
}

func (w *readinessWork) watch() (readiness.Method, error) {
	switch w.variant {
	case "select":
		return readiness.NewSelect(w.fds), nil
	case "poll":
		return readiness.NewPoll(w.fds), nil
	case "epoll":
		return readiness.NewEpoll(w.fds)
	}
	return newPollRing(w.fds)
}

func (w *readinessWork) Run(map[string]json.RawMessage) (Report, error) {
	var cost readiness.Cost
	begin := time.Now()
	for round := range w.rounds {
		c, err := readiness.Once(w.method, w.active, round, w.clock)
		if err != nil {
			return Report{}, fmt.Errorf("round %d of %d: %w", round+1, w.rounds, err)
		}
		cost.Add(c)
	}
	took := time.Since(begin)
	return Report{
		Seconds: took.Seconds(),
		Ops:     uint64(cost.Events),
		Metrics: map[string]float64{"serving": float64(cost.Serving) / 1e9, "all": float64(cost.All) / 1e9},
	}, nil
}

func (w *readinessWork) Close() error {
	var err error
	if c, ok := w.method.(interface{ Close() error }); ok {
		err = c.Close()
	}
	readiness.CloseAll(w.fds)
	if w.restore != nil {
		w.restore()
	}
	return err
}

// pollRing has a multishot POLL_ADD armed on every descriptor: it is told of
// each by a completion, and asks for none again.
type pollRing struct {
	fds  []int
	ring *iouring.Ring
}

func newPollRing(fds []int) (*pollRing, error) {
	// All may be ready at once, and each is then a completion.
	p := iouring.Params{
		Flags:     iouring.SetupSingleIssuer | iouring.SetupDeferTaskrun | iouring.SetupCQSize | iouring.SetupClamp,
		CQEntries: uint32(2 * max(len(fds), 1024)),
	}
	ring, err := iouring.Setup(1024, &p)
	if err != nil {
		return nil, err
	}
	r := &pollRing{fds: fds, ring: ring}
	if err := r.armAll(); err != nil {
		return nil, errors.Join(err, ring.Close())
	}
	return r, nil
}

func (r *pollRing) armAll() error {
	for _, fd := range r.fds {
		if err := r.arm(fd); err != nil {
			return err
		}
	}
	return r.enter(0)
}

// arm queues one request, and has the kernel take the queued ones if there is
// no room for more.
func (r *pollRing) arm(fd int) error {
	sqe := r.ring.Next()
	if sqe == nil {
		if err := r.enter(0); err != nil {
			return err
		}
		if sqe = r.ring.Next(); sqe == nil {
			return errors.New("the submission queue is still full after io_uring_enter")
		}
	}
	*sqe = iouring.SQE{
		Op: iouring.OpPollAdd, FD: int32(fd), Len: iouring.PollAddMulti, OpFlags: unix.POLLIN, UserData: uint64(fd),
	}
	return nil
}

func (r *pollRing) enter(wait uint32) error { return enterRing(r.ring, wait) }

// Name, FDs and Serve make it a readiness.Method.
func (r *pollRing) Name() string { return "uring-poll" }

// FDs are what it watches.
func (r *pollRing) FDs() []int { return r.fds }

// Serve waits for one completion and takes all that are there.
func (r *pollRing) Serve(handle func(fd int) error) (int, error) {
	if err := r.enter(1); err != nil {
		return 0, err
	}
	n := 0
	var failed error
	r.ring.Reap(func(c iouring.CQE) {
		if failed != nil {
			return
		}
		if c.Res < 0 {
			failed = fmt.Errorf("POLL_ADD of descriptor %d: %w", c.UserData, syscall.Errno(-c.Res))
			return
		}
		if failed = handle(int(c.UserData)); failed == nil && !c.More() {
			failed = r.arm(int(c.UserData))
		}
		n++
	})
	return n, failed
}

// Close closes the ring.
func (r *pollRing) Close() error { return r.ring.Close() }

// enterRing has the kernel take what is queued and waits for completions, by
// one system call without Go's scheduler around it: its sleeps and wake-ups
// would be measured with the work. After a signal it may return with fewer
// completions than were waited for.
func enterRing(r *iouring.Ring, wait uint32) error {
	queued := uint32(r.Flush())
	for {
		n, errno := rawEnter(r, queued, wait, iouring.EnterGetevents)
		switch {
		case errno == unix.EINTR: // then none was taken
			continue
		case errno != 0:
			return fmt.Errorf("io_uring_enter(%d, %d, %d, IORING_ENTER_GETEVENTS): %w", r.FD(), queued, wait, errno)
		case uint32(n) != queued:
			return fmt.Errorf("io_uring_enter took %d of %d requests", n, queued)
		}
		return nil
	}
}
