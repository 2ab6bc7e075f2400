package puppet

import (
	"kernelviz/internal/workload/control"
	"kernelviz/internal/workload/puppet/oracle"

	"golang.org/x/sys/unix"
)

// makeEach makes n of a kind and does then with each. At the first failure it
// stops and keeps what it has.
func (p *Puppet) makeEach(what string, n int, then func(fd int) error) error {
	m, ok := makers[what]
	if !ok {
		return control.Errorf("bad_action", "cannot make %q; known are eventfd, file, pipe, tcp, timerfd, udp, unix", what)
	}
	if err := p.makeAll(m, n, then); err != nil {
		p.stop(what, n, err)
	}
	return nil
}

func (p *Puppet) makeAll(m maker, n int, then func(fd int) error) error {
	var l listener
	if m.listens {
		made, err := p.listen()
		if err != nil {
			return err
		}
		l = made
		defer p.close(l.fd)
	}
	for range n {
		fd, err := m.make(p, l)
		if err != nil {
			return err
		}
		p.made = append(p.made, fd)
		if err := then(fd); err != nil {
			return err
		}
	}
	return nil
}

// maker makes one of a kind and returns the fd to watch.
type maker struct {
	listens bool // all of an action connect to one listener
	make    func(*Puppet, listener) (int, error)
}

var makers = map[string]maker{
	"eventfd": {make: (*Puppet).makeEventfd},
	"timerfd": {make: (*Puppet).makeTimerfd},
	"file":    {make: (*Puppet).makeFile},
	"pipe":    {make: (*Puppet).makePipe},
	"unix":    {make: (*Puppet).makeUnix},
	"udp":     {make: (*Puppet).makeUDP},
	"tcp":     {make: (*Puppet).makeTCP, listens: true},
}

func (p *Puppet) makeEventfd(listener) (int, error) {
	return p.single("eventfd2(0, EFD_CLOEXEC|EFD_NONBLOCK)", oracle.Eventfd, func() (int, error) {
		return unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	})
}

func (p *Puppet) makeTimerfd(listener) (int, error) {
	return p.single("timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC|TFD_NONBLOCK)", oracle.Timerfd, func() (int, error) {
		return unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	})
}

// makeFile makes a file in memory: like all regular files it has no poll
// function, so that epoll_ctl refuses it.
func (p *Puppet) makeFile(listener) (int, error) {
	return p.single(`memfd_create("kernelviz", MFD_CLOEXEC)`, oracle.File, func() (int, error) {
		return unix.MemfdCreate("kernelviz", unix.MFD_CLOEXEC)
	})
}

// single makes one fd by one call.
func (p *Puppet) single(text string, kind oracle.Kind, make func() (int, error)) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	fd, err := make()
	if err == nil && kind != "" {
		p.table.Open(fd, kind)
	}
	return fd, failure(callName(text), p.leave(e, text, fd, errnoOf(err), ""))
}

func (p *Puppet) makePipe(listener) (int, error) {
	return p.double("pipe2", oracle.Pipe, func(c *call, fds *[2]int) (*call, error) {
		err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK)
		return c.fds(fds, err).raw("O_NONBLOCK|O_CLOEXEC"), err
	})
}

func (p *Puppet) makeUnix(listener) (int, error) {
	return p.double("socketpair", oracle.Unix, func(c *call, fds *[2]int) (*call, error) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		*fds = pair
		return c.raw("AF_UNIX").raw("SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK").int(0).fds(fds, err), err
	})
}

// double makes two connected fds by one call.
func (p *Puppet) double(name string, kind oracle.Kind, make func(*call, *[2]int) (*call, error)) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	var fds [2]int
	c, err := make(p.text.start(name), &fds)
	if err == nil {
		p.table.Pair(fds[0], fds[1], kind)
	}
	return fds[0], failure(name, p.leave(e, c.end(), 0, errnoOf(err), ""))
}

// plain makes one call that returns 0 and changes nothing in the table.
func (p *Puppet) plain(do func(*call) (*call, error), name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	c, err := do(p.text.start(name))
	return failure(name, p.leave(e, c.end(), 0, errnoOf(err), ""))
}

func callName(text string) string {
	for i := range text {
		if text[i] == '(' {
			return text[:i]
		}
	}
	return text
}
