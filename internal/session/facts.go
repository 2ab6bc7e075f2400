package session

import (
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/process"
)

// What costs more than a few microseconds is looked at less often.
const (
	programEvery  = 80 * time.Millisecond
	terminalEvery = 400 * time.Millisecond
	// costShare stretches these where a look is slow: at most one part in
	// costShare of the time.
	costShare = 8
)

// slow is a set of facts that is kept for a while.
type slow struct {
	facts kernelviz.Facts
	next  time.Time
}

// get returns the facts, made anew if they are old.
func (c *slow) get(every time.Duration, look func() kernelviz.Facts) kernelviz.Facts {
	now := time.Now()
	if now.Before(c.next) {
		return c.facts
	}
	c.facts = look()
	took := time.Since(now)
	c.next = now.Add(max(every, costShare*took))
	return c.facts
}

// collect gathers all facts but those of the stage. Only the session's loop
// calls it.
func (s *Session) collect() kernelviz.Facts {
	f := make(kernelviz.Facts, 64)
	s.mu.Lock()
	s.publishWorks(f)
	s.mu.Unlock()
	if s.lab.Code != nil {
		s.publishProgram(f)
	}
	if s.lab.Terminal {
		s.publishTerminals(f)
	}
	return f
}

// publishWorks adds what the workloads know. Held: s.mu.
func (s *Session) publishWorks(f kernelviz.Facts) {
	delete(f, "calls")
	for _, w := range s.works {
		w.publish(f)
		if w.name == "puppet" || w.name == "ring" {
			w.publishCalls(f)
		}
	}
}

// mark makes events count from now if a step was armed: lists of events are
// empty, totals begin at zero. The armed step gets its first look here, before
// anything can have happened. It reports whether a step was armed. Held: s.mu.
func (s *Session) mark() bool {
	marked := false
	// A level check that holds arms the next step at once.
	for range len(s.lab.Steps) + 1 {
		generation := s.run.Generation()
		if generation == s.armed {
			return marked
		}
		s.armed, marked = generation, true
		for _, w := range s.works {
			w.calls.restart(time.Now())
			w.base = w.totals()
		}
		s.publishWorks(s.facts)
		s.program.mark()
		for _, t := range s.terminals {
			t.mark = t.term.End()
		}
		s.armedAt = monotonic()
		if _, ok := s.facts[livesFact]; ok {
			s.facts[livesFact] = []map[string]any{}
		}
		if _, ok := s.facts["program.output"]; ok {
			s.facts["program.output"] = ""
		}
		if _, ok := s.facts["terminal.output"]; ok {
			s.facts["terminal.output"] = ""
		}
		s.run.Observe(s.facts)
	}
	return marked
}

// livesFact is the list of the uring view that holds events: those from before
// the step was armed do not count.
const livesFact = "uring.lives"

// sinceArmed drops from the stage's facts what happened before the step was
// armed. Held: s.mu.
func (s *Session) sinceArmed(f kernelviz.Facts) {
	lives, ok := f[livesFact].([]map[string]any)
	if !ok {
		return
	}
	kept := []map[string]any{}
	for _, l := range lives {
		if at, ok := l["at"].(int); ok && time.Duration(at) > s.armedAt {
			kept = append(kept, l)
		}
	}
	f[livesFact] = kept
}

// monotonic is CLOCK_MONOTONIC, the clock of what the kernel reports.
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // it cannot fail; everything counts then
	}
	return time.Duration(ts.Nano())
}

// publishTerminals adds what runs in the terminals and what they printed.
func (s *Session) publishTerminals(f kernelviz.Facts) {
	s.mu.Lock()
	output := ""
	shells := make([]*shell, 0, len(s.terminals))
	for _, t := range s.terminals {
		shells = append(shells, t)
		if s.lab.Uses("terminal.output") {
			output += t.term.Since(t.mark)
		}
	}
	s.mu.Unlock()
	f["terminal.output"] = output
	for name, v := range s.judge.terminals.get(terminalEvery, func() kernelviz.Facts { return s.lookAtTerminals(shells) }) {
		f[name] = v
	}
}

func (s *Session) lookAtTerminals(shells []*shell) kernelviz.Facts {
	var pids []int
	for _, t := range shells {
		more, err := t.term.PIDs()
		if err != nil {
			continue // it has ended
		}
		pids = append(pids, more...)
	}
	procs := []map[string]any{}
	for _, p := range process.List(pids) {
		procs = append(procs, map[string]any{"pid": p.PID, "comm": p.Comm, "command": p.Command})
	}
	probes := []map[string]any{}
	if s.lab.Uses("tracing.probes") {
		found, err := process.Probes(pids)
		s.warn("looking for probes", err)
		for _, p := range found {
			probes = append(probes, map[string]any{"pid": p.PID, "comm": p.Comm, "kind": p.Kind, "name": p.Name})
		}
	}
	return kernelviz.Facts{"terminal.processes": procs, "tracing.probes": probes}
}

// publishProgram adds what the learner's program is and does.
func (s *Session) publishProgram(f kernelviz.Facts) {
	s.mu.Lock()
	p := &s.program
	running := p.state == programRunning
	exit := -1
	if p.state == programEnded {
		exit = p.exit
	}
	pid := 0
	if running {
		pid = p.process.PID()
	}
	f["program.state"], f["program.running"], f["program.pid"] = p.state, running, pid
	f["program.exit"], f["program.ended"], f["program.output"] = exit, p.ended, p.since()
	s.mu.Unlock()
	if !running {
		s.judge.program = slow{}
		return
	}
	for name, v := range s.judge.program.get(programEvery, s.lookAtProgram) {
		f[name] = v
	}
}

func (s *Session) lookAtProgram() kernelviz.Facts {
	look, err := process.Look(s.programPIDs(), s.lab.Uses("program.fds"))
	if err != nil {
		s.warn("looking at the program", err)
		return nil
	}
	fds := make([]map[string]any, 0, len(look.FDs))
	for _, d := range look.FDs {
		fds = append(fds, map[string]any{"fd": d.FD, "kind": d.Kind, "nonblocking": d.Nonblocking, "readable": d.Readable})
	}
	ports := look.Ports
	if ports == nil {
		ports = []int{}
	}
	return kernelviz.Facts{
		"program.threads": look.Threads, "program.epolls": look.Epolls,
		"program.rings": look.Rings, "program.ring_maps": look.RingMaps, "program.connections": look.Connections,
		"program.ports": ports, "program.nonblocking": look.Nonblocking, "program.blocking": look.Blocking,
		"program.fds": fds,
	}
}
