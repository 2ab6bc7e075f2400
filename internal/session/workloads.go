package session

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/lab"
	"kernelviz/internal/sandbox"
	"kernelviz/internal/workload"
)

const (
	maxCalls = 4096 // in the fact calls
	// stateEvery is the least time between two looks at what a workload knows,
	// and statePace stretches it for a large state: bytes a second.
	stateEvery = 40 * time.Millisecond
	statePace  = 4 << 20
	idleEvery  = 250 * time.Millisecond
)

// startWorkloads starts the lab's workloads and carries out their setup. What
// fails is said by the session's problem; the rest goes on.
func (s *Session) startWorkloads(ctx context.Context) {
	for _, w := range s.lab.Workloads {
		if err := s.startWorkload(ctx, w); err != nil {
			s.log().Warn("starting a lab's workload", "lab", s.lab.ID, "workload", w.Name, "error", err)
			s.mu.Lock()
			s.problem = fmt.Sprintf("workload %s could not be started: %v; start the processes anew", w.Name, err)
			s.mu.Unlock()
		}
	}
}

func (s *Session) startWorkload(ctx context.Context, wanted *lab.Workload) error {
	name := wanted.Name
	setup, err := wanted.Actions(s.params())
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.started++
	id := fmt.Sprintf("%s-%s-%d", s.name, name, s.started)
	s.mu.Unlock()
	o := &s.manager.options
	p, err := workload.Start(s.ctx, o.Box, name, workload.Options{ID: id, Network: s.network, Command: o.Command})
	if err != nil {
		return err
	}
	w := &work{name: name, id: id, process: p}
	if o.Started != nil {
		o.Started(id, p)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return p.Stop()
	}
	s.works[name] = w
	s.mu.Unlock()
	s.loops.Go(func() { s.follow(w) })
	s.loops.Go(func() { s.know(w) })

	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	for i, action := range setup {
		result, err := p.Do(ctx, action)
		if err != nil {
			return fmt.Errorf("setup action %d: %w", i+1, err)
		}
		if why := stopped(result); why != "" {
			return fmt.Errorf("setup action %d: %s", i+1, why)
		}
	}
	if state, err := p.State(ctx); err == nil { // know keeps it up to date
		s.mu.Lock()
		w.state = state
		s.mu.Unlock()
	}
	return nil
}

// stopped is why a workload did less than it was asked; empty if it did all.
func stopped(result json.RawMessage) string {
	var r struct {
		Stopped *workload.Error `json:"stopped"`
	}
	if json.Unmarshal(result, &r) != nil || r.Stopped == nil {
		return ""
	}
	return r.Stopped.Error()
}

// do carries out one action of a workload.
func (s *Session) do(ctx context.Context, name string, action json.RawMessage) (json.RawMessage, error) {
	s.mu.Lock()
	w := s.works[name]
	s.mu.Unlock()
	if w == nil {
		return nil, fmt.Errorf("%w: workload %s does not run", workload.ErrEnded, name)
	}
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	return w.process.Do(ctx, action)
}

// follow takes over the workload's calls as they are made.
func (s *Session) follow(w *work) {
	log := w.process.Log()
	at := uint64(0)
	for {
		calls, next, _, changed := log.Read(at, maxCalls)
		at = next
		if len(calls) > 0 {
			s.mu.Lock()
			w.calls.add(calls)
			s.mu.Unlock()
			s.nudge()
			continue
		}
		select {
		case <-changed:
		case <-w.process.Done():
			s.died(w)
			return
		}
	}
}

// died says how a workload ended, unless it was replaced or the lab closed.
func (s *Session) died(w *work) {
	s.mu.Lock()
	if s.works[w.name] == w && !s.closed {
		s.problem = fmt.Sprintf("%s has ended: %s; start the processes anew", w.name, w.process.Ended())
	}
	s.mu.Unlock()
	s.nudge()
	s.tell()
}

// know keeps what the workload knows up to date. A workload that is busy with
// an action answers after it.
func (s *Session) know(w *work) {
	log := w.process.Log()
	for {
		_, _, _, changed := log.Read(log.Start(), 0) // taken first: it tells of all that the state may lack
		ctx, cancel := context.WithTimeout(s.ctx, stateTimeout)
		state, err := w.process.State(ctx)
		cancel()
		if err == nil {
			s.mu.Lock()
			w.state = state
			s.mu.Unlock()
			s.nudge()
		}
		pause := stateEvery + time.Duration(len(state))*time.Second/statePace
		if !s.pause(pause) {
			return
		}
		select {
		case <-changed:
		case <-time.After(idleEvery):
		case <-w.process.Done():
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// callList holds the latest calls since a step was armed, in order of their
// number. A call that was made before may be reported after: it does not count,
// unless it is a wait that returned only then.
type callList struct {
	all     []workload.Call
	since   time.Time       // when the step was armed; zero: from the beginning
	waiting map[uint64]bool // Seq of calls that were entered before since and had not returned
}

// restart makes the list count from now.
func (l *callList) restart(now time.Time) {
	waiting := make(map[uint64]bool)
	for seq := range l.waiting {
		waiting[seq] = true
	}
	for _, c := range l.all {
		if c.Pending {
			waiting[c.Seq] = true
		}
	}
	*l = callList{since: now, waiting: waiting}
}

// counts tells whether a call happened since the list began.
func (l *callList) counts(c workload.Call) bool {
	entered, err := time.Parse(time.RFC3339Nano, c.Time)
	if err != nil || !entered.Before(l.since) {
		return true
	}
	if c.Pending {
		l.waiting[c.Seq] = true
		return false
	}
	returned := l.waiting[c.Seq]
	delete(l.waiting, c.Seq)
	return returned
}

// add takes calls in; one that is there again replaces what was pending.
func (l *callList) add(calls []workload.Call) {
	for _, c := range calls {
		if !l.counts(c) {
			continue
		}
		if i := l.find(c.Seq); i >= 0 {
			l.all[i] = c
			continue
		}
		l.all = append(l.all, c)
	}
	if over := len(l.all) - maxCalls; over > 0 {
		l.all = append(l.all[:0], l.all[over:]...)
	}
}

// find looks from the end: what returns was made lately.
func (l *callList) find(seq uint64) int {
	for i := len(l.all) - 1; i >= 0; i-- {
		if l.all[i].Seq == seq {
			return i
		}
	}
	return -1
}

func (l *callList) facts() []map[string]any {
	out := make([]map[string]any, 0, len(l.all))
	for i := range l.all {
		c := &l.all[i]
		result, errno := parseResult(c.Result)
		name := c.Text
		if end := strings.IndexAny(name, "( "); end >= 0 { // a write to a ring's memory has no bracket
			name = name[:end]
		}
		out = append(out, map[string]any{
			"name": name, "text": c.Text, "result": result, "errno": errno,
			"note": c.Note, "thread": c.Thread, "pending": c.Pending,
		})
	}
	return out
}

// parseResult reads "= 3", "= 0 (Timeout)" or "= -1 EEXIST (File exists)".
func parseResult(s string) (result int, errno string) {
	fields := strings.Fields(strings.TrimPrefix(s, "= "))
	if len(fields) == 0 {
		return -1, ""
	}
	n, err := strconv.Atoi(fields[0])
	if err != nil {
		return -1, ""
	}
	if n == -1 && len(fields) > 1 {
		return n, fields[1]
	}
	return n, ""
}

// counters are the running totals of measured workloads, where a step was
// armed.
type counters struct {
	seq            int // of the newest run
	echoed, failed int
	reaped         int
}

// measured is the state of herd, readiness and clients.
type measured struct {
	Runs      []map[string]any `json:"runs"`
	Connected int              `json:"connected"`
	Echoed    int              `json:"echoed"`
	Failed    int              `json:"failed"`
}

func (w *work) measured() measured {
	var m measured
	if w.state != nil {
		_ = json.Unmarshal(w.state, &m) // what cannot be read counts as nothing
	}
	return m
}

func seqOf(run map[string]any) int {
	n, _ := run["seq"].(float64)
	return int(n)
}

// totals are the counters now.
func (w *work) totals() counters {
	switch w.name {
	case "puppet":
		return counters{}
	case "ring":
		r := w.ringState()
		return counters{reaped: r.reaped()}
	}
	m := w.measured()
	c := counters{echoed: m.Echoed, failed: m.Failed}
	for _, r := range m.Runs {
		c.seq = max(c.seq, seqOf(r))
	}
	return c
}

// puppetState is what facts tell of a puppet.
type puppetState struct {
	FDs []struct {
		FD       int    `json:"fd"`
		Kind     string `json:"kind"`
		Peer     int    `json:"peer"`
		Readable bool   `json:"readable"`
		In       []int  `json:"in"`
	} `json:"fds"`
	Threads []struct {
		Waiting int `json:"waiting"`
	} `json:"threads"`
}

// publish adds the facts of one workload.
func (w *work) publish(f kernelviz.Facts) {
	select {
	case <-w.process.Done():
		f[w.name+".running"] = false
	default:
		f[w.name+".running"] = true
	}
	f[w.name+".pid"] = w.process.PID()
	switch w.name {
	case "puppet":
		w.publishPuppet(f)
	case "ring":
		w.publishRing(f)
	case "clients":
		m := w.measured()
		f["clients.connected"] = m.Connected
		f["clients.echoed"] = m.Echoed - w.base.echoed
		f["clients.failed"] = m.Failed - w.base.failed
	case "herd":
		f["herd.runs"] = w.runs([]string{"workers", "connections"})
	case "readiness":
		f["readiness.runs"] = w.runs([]string{"n", "active"})
	}
}

// publishCalls adds the calls of one puppet to those of the other.
func (w *work) publishCalls(f kernelviz.Facts) {
	calls, _ := f["calls"].([]map[string]any)
	f["calls"] = append(calls, w.calls.facts()...)
}

func (w *work) publishPuppet(f kernelviz.Facts) {
	var p puppetState
	if w.state != nil {
		_ = json.Unmarshal(w.state, &p)
	}
	fds := make([]map[string]any, 0, len(p.FDs))
	for _, d := range p.FDs {
		in := d.In
		if in == nil {
			in = []int{}
		}
		fds = append(fds, map[string]any{"fd": d.FD, "kind": d.Kind, "peer": d.Peer, "readable": d.Readable, "in": in})
	}
	waiting := 0
	for _, t := range p.Threads {
		if t.Waiting > 0 {
			waiting++
		}
	}
	f["puppet.fds"], f["puppet.waiting"] = fds, waiting
}

// ringState is what facts tell of a ring puppet.
type ringState struct {
	puppetState
	Rings []struct {
		Queued   []json.RawMessage `json:"queued"`
		InFlight []json.RawMessage `json:"inflight"`
		Reaped   int               `json:"reaped"`
	} `json:"rings"`
}

func (w *work) ringState() ringState {
	var r ringState
	if w.state != nil {
		_ = json.Unmarshal(w.state, &r) // what cannot be read counts as nothing
	}
	return r
}

func (r *ringState) reaped() int {
	n := 0
	for i := range r.Rings {
		n += r.Rings[i].Reaped
	}
	return n
}

func (w *work) publishRing(f kernelviz.Facts) {
	r := w.ringState()
	fds := make([]map[string]any, 0, len(r.FDs))
	for _, d := range r.FDs {
		fds = append(fds, map[string]any{"fd": d.FD, "kind": d.Kind, "peer": d.Peer, "readable": d.Readable})
	}
	queued, inflight, waiting := 0, 0, 0
	for i := range r.Rings {
		queued += len(r.Rings[i].Queued)
		inflight += len(r.Rings[i].InFlight)
	}
	for _, t := range r.Threads {
		if t.Waiting > 0 {
			waiting++
		}
	}
	f["ring.fds"], f["ring.queued"], f["ring.inflight"], f["ring.waiting"] = fds, queued, inflight, waiting
	f["ring.reaped"] = max(r.reaped()-w.base.reaped, 0) // a ring that was closed takes its count along
}

// runs are those since the step was armed; JSON has no whole numbers, so the
// fields that are ones are named.
func (w *work) runs(whole []string) []map[string]any {
	out := []map[string]any{}
	for _, r := range w.measured().Runs {
		if seqOf(r) <= w.base.seq {
			continue
		}
		for _, name := range whole {
			if n, ok := r[name].(float64); ok {
				r[name] = int(n)
			}
		}
		out = append(out, r)
	}
	return out
}

// Works are the workloads of the session by name: their ids, as pages know them.
func (s *Session) worksLocked() map[string]string {
	out := make(map[string]string, len(s.works))
	for name, w := range s.works {
		out[name] = w.id
	}
	return out
}

// networkOf is where the session's processes live; nil for the host's.
func (s *Session) networkOf() *sandbox.Network {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.network
}
