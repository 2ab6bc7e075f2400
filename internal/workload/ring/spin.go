package ring

import (
	"fmt"
	"time"

	"kernelviz/internal/iouring"
	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

// Spin is what a loop of NOPs has done.
type Spin struct {
	Ops     int     `json:"ops"`
	CPU     float64 `json:"cpu"`     // seconds of this process, its SQPOLL threads included
	Seconds float64 `json:"seconds"` // that it took
}

// doSpin submits and reaps NOPs as fast as it can, untold: for measurements.
func (p *Puppet) doSpin(a *Action) error {
	g, err := p.find(*a.Ring)
	if err != nil {
		return err
	}
	p.mu.Lock()
	g.sync(p)
	err = g.whole(g.scribbled)
	if err == nil && len(g.queued)+len(g.inflight)+g.ring.CQPending() > 0 {
		err = &control.Error{
			Code:    "not_idle",
			Message: fmt.Sprintf("ring %d has %d queued, %d in flight and %d completions to reap", g.fd, len(g.queued), len(g.inflight), g.ring.CQPending()),
			Fix:     "submit and reap first",
		}
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	seconds := 1.0
	if a.Seconds != nil {
		seconds = *a.Seconds
	}
	batch := min(control.Or(a.Batch, 32), int(g.ring.SQEntries()), int(g.ring.CQEntries()))
	var failed error
	err = p.in(g.thread, func(func() entered) {
		s := &Spin{}
		began, cpu := time.Now(), cpuTime()
		for end := began.Add(time.Duration(seconds * float64(time.Second))); failed == nil && time.Now().Before(end); {
			for range 64 {
				if failed = g.spin(batch, end.Add(time.Second)); failed != nil {
					break
				}
				s.Ops += batch
			}
		}
		s.CPU, s.Seconds = cpuTime()-cpu, time.Since(began).Seconds()
		p.spun = s
		g.reaped += s.Ops
	})
	if failed != nil {
		return control.Errorf("failed", "%v", failed)
	}
	return err
}

// spin does one batch.
func (g *instance) spin(batch int, end time.Time) error {
	for range batch {
		for s := g.ring.Next(); ; s = g.ring.Next() {
			if s != nil {
				s.UserData = g.nextData
				g.nextData++
				break
			}
			// An SQPOLL thread publishes sq.head after completions.
			if !g.sqpoll() || time.Now().After(end) {
				return fmt.Errorf("the submission queue of ring %d stays full", g.fd)
			}
		}
	}
	if err := g.push(uint32(batch)); err != nil {
		return err
	}
	for done := 0; done < batch; {
		n := g.ring.Reap(func(iouring.CQE) {})
		done += n
		if n == 0 && time.Now().After(end) {
			return fmt.Errorf("%d of %d completions of ring %d have not come", batch-done, batch, g.fd)
		}
	}
	return nil
}

// push submits a batch and, except to an SQPOLL thread, waits for it.
func (g *instance) push(batch uint32) error {
	g.ring.Flush()
	submit, wait, flags := batch, batch, iouring.EnterGetevents
	if g.sqpoll() {
		if g.ring.SQFlags()&iouring.SQNeedWakeup == 0 {
			return nil
		}
		wait, flags = 0, iouring.EnterSQWakeup
	}
	for {
		_, err := g.ring.Enter(submit, wait, flags)
		if err != unix.EINTR {
			return err
		}
		submit = uint32(g.ring.SQPending())
	}
}

// cpuTime is that of this process, in seconds.
func cpuTime() float64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return float64(ts.Sec) + float64(ts.Nsec)/1e9
}
