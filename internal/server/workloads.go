package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"kernelviz/internal/sandbox"
	"kernelviz/internal/workload"
)

// Bounds of workloads.
const (
	maxWorkloads  = 16 // running at once
	maxEnded      = 16 // kept to tell how they ended
	maxActions    = 64 // of one workload, waiting
	actionTimeout = 30 * time.Second
	stateTimeout  = 5 * time.Second
	// callsBatch bounds one "calls" message, and callsAhead what waits to be
	// written to one page: the log keeps the rest.
	callsBatch = 60 << 10
	callsAhead = 256 << 10
	callsRead  = 512 // calls looked at for one batch
	callsRetry = 5 * time.Millisecond
	// stateEvery is the least time between two looks at what a workload
	// knows, and statePace stretches it for a large state: bytes a second.
	stateEvery = 50 * time.Millisecond
	statePace  = 4 << 20
)

// Messages about workloads.
type (
	workloadInfo struct {
		ID      string          `json:"id"`
		Name    string          `json:"name"`
		PID     int             `json:"pid"`
		Running bool            `json:"running"`
		Ended   string          `json:"ended"` // how; empty while it runs
		State   json.RawMessage `json:"state"` // null before it is known
	}
	workloadsMessage struct {
		Type      string         `json:"type"`
		Workloads []workloadInfo `json:"workloads"`
	}
	startedMessage struct {
		Type     string       `json:"type"`
		Ref      int64        `json:"ref"`
		Workload workloadInfo `json:"workload"`
	}
	callsMessage struct {
		Type  string            `json:"type"`
		ID    string            `json:"id"`
		Lost  uint64            `json:"lost,omitempty"` // calls before these that the page was too slow for
		Calls []json.RawMessage `json:"calls"`
	}
	doneMessage struct {
		Type   string          `json:"type"`
		Ref    int64           `json:"ref"`
		ID     string          `json:"id"`
		Result json.RawMessage `json:"result,omitempty"`
	}
)

// workloads are the processes that pages started. They live until somebody
// stops them, they end or the server does.
type workloads struct {
	hub *hub
	box *sandbox.Sandbox

	mu      sync.Mutex
	all     []*work // oldest first
	started int     // for the next id
}

// work is one workload with the pages that follow its calls.
type work struct {
	id      string
	process *workload.Process
	hub     *hub
	actions chan action
	dirty   chan struct{} // what it knows may have changed. Capacity 1
	follow  chan struct{} // followers changed. Capacity 1

	mu        sync.Mutex
	followers map[*client]uint64 // where in the log each reads on
	state     json.RawMessage
	ended     string
	closed    bool // no action is taken any more
}

type action struct {
	client *client
	ref    int64
	what   json.RawMessage
}

// handleWorkload carries out the messages about workloads.
func (h *hub) handleWorkload(c *client, msg control) {
	ws := h.workloads
	switch m := msg.(type) {
	case *startMessage:
		if !h.mayDrive(c, m.Ref) {
			return
		}
		w, err := ws.start(m.Workload)
		if err != nil {
			c.refuse(m.Ref, "", asProblem(fmt.Sprintf("starting workload %.40q", m.Workload), err))
			return
		}
		c.send(encode(startedMessage{"started", m.Ref, w.info()}))
	case *attachMessage:
		if w := h.findWork(c, m.Ref, m.ID); w != nil {
			w.attach(c)
			c.send(encode(doneMessage{Type: "done", Ref: m.Ref, ID: m.ID}))
		}
	case *doMessage:
		if !h.mayDrive(c, m.Ref) {
			return
		}
		w := h.findWork(c, m.Ref, m.ID)
		if w == nil {
			return
		}
		if err := w.enqueue(action{c, m.Ref, m.Action}); err != nil {
			c.refuse(m.Ref, "", asProblem("action of "+m.ID, err))
		}
	case *stopMessage:
		if !h.mayDrive(c, m.Ref) {
			return
		}
		w := h.findWork(c, m.Ref, m.ID)
		if w == nil {
			return
		}
		if err := w.process.Stop(); err != nil {
			c.refuse(m.Ref, "", asProblem("stopping "+m.ID, err))
			return
		}
		c.send(encode(doneMessage{Type: "done", Ref: m.Ref, ID: m.ID}))
	}
}

// mayDrive tells whether the page may start, drive and stop workloads, and
// answers it if not.
func (h *hub) mayDrive(c *client, ref int64) bool {
	switch {
	case c.scope != scopeLearner:
		c.refuse(ref, "", problemf(CodeForbidden, "open the learner's URL", "this page was opened to look, not to drive"))
	case h.workloads == nil:
		c.refuse(ref, "", problemf(CodeDisabled, "start labserver without --no-workloads", "starting processes is switched off"))
	default:
		return true
	}
	return false
}

// findWork finds a workload, or answers the page that there is none.
func (h *hub) findWork(c *client, ref int64, id string) *work {
	if h.workloads != nil {
		if w := h.workloads.find(id); w != nil {
			return w
		}
	}
	c.refuse(ref, "", problemf(CodeNotFound, "start one", "no workload %.40q", id))
	return nil
}

func (ws *workloads) find(id string) *work {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.all {
		if w.id == id {
			return w
		}
	}
	return nil
}

// start starts a workload in a sandbox of its own.
func (ws *workloads) start(name string) (*work, error) {
	if !slices.Contains(workload.Names(), name) {
		return nil, problemf(CodeNotFound, "", "no workload %.40q; there are %v", name, workload.Names())
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	running := 0
	for _, w := range ws.all {
		if w.running() {
			running++
		}
	}
	if running >= maxWorkloads {
		return nil, problemf(CodeLimit, "stop one of them", "%d workloads run, the most this server starts", running)
	}
	ws.started++
	id := fmt.Sprintf("%s-%d", name, ws.started)
	p, err := workload.Start(ws.hub.ctx, ws.box, name, workload.Options{ID: id})
	if err != nil {
		return nil, err
	}
	w := ws.take(id, p)
	if w == nil {
		return nil, errors.Join(problemf(CodeBusy, "", "the server is stopping"), p.Stop())
	}
	return w, nil
}

// adopt makes a workload that a lab started one that pages can drive.
func (ws *workloads) adopt(id string, p *workload.Process) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.take(id, p) // nil while the server stops, and with it the lab
}

// take makes a running process a workload of pages; nil if the server is
// stopping. The caller holds ws.mu.
func (ws *workloads) take(id string, p *workload.Process) *work {
	w := &work{
		id: id, process: p, hub: ws.hub,
		actions:   make(chan action, maxActions),
		dirty:     make(chan struct{}, 1),
		follow:    make(chan struct{}, 1),
		followers: make(map[*client]uint64),
	}
	ws.all = append(ws.all, w)
	ws.forgetEnded()
	if !ws.hub.spawn(w.act, w.tell, w.know) {
		return nil
	}
	ws.hub.metrics.running.Inc()
	return w
}

// forgetEnded keeps the newest of the workloads that ended. The caller holds
// ws.mu.
func (ws *workloads) forgetEnded() {
	ended := 0
	for i := len(ws.all) - 1; i >= 0; i-- {
		if ws.all[i].running() {
			continue
		}
		if ended++; ended > maxEnded {
			ws.all = slices.Delete(ws.all, i, i+1)
		}
	}
}

// publish tells every page what workloads there are.
func (ws *workloads) publish() {
	message := ws.list()
	for _, c := range ws.hub.everyone() {
		c.sendLatest(listWorkloads, message)
	}
}

func (ws *workloads) list() []byte {
	ws.mu.Lock()
	all := slices.Clone(ws.all)
	ws.mu.Unlock()
	m := workloadsMessage{"workloads", []workloadInfo{}}
	for _, w := range all {
		m.Workloads = append(m.Workloads, w.info())
	}
	return encode(m)
}

// detach forgets a page that has left.
func (ws *workloads) detach(c *client) {
	ws.mu.Lock()
	all := slices.Clone(ws.all)
	ws.mu.Unlock()
	for _, w := range all {
		w.mu.Lock()
		delete(w.followers, c)
		w.mu.Unlock()
	}
}

func (w *work) info() workloadInfo {
	w.mu.Lock()
	defer w.mu.Unlock()
	return workloadInfo{
		ID: w.id, Name: w.process.Name(), PID: w.process.PID(),
		Running: w.ended == "", Ended: w.ended, State: w.state,
	}
}

func (w *work) running() bool {
	select {
	case <-w.process.Done():
		return false
	default:
		return true
	}
}

// attach sends the page the latest calls and those that follow.
func (w *work) attach(c *client) {
	w.mu.Lock()
	w.followers[c] = w.process.Log().Start()
	w.mu.Unlock()
	w.sendCalls()
	signal(w.follow)
}

// act carries out actions in the order in which they came.
func (w *work) act() {
	for {
		select {
		case a := <-w.actions:
			w.actOnce(a)
		case <-w.process.Done():
			w.refuseWaiting()
			return
		}
	}
}

func (w *work) actOnce(a action) {
	ctx, cancel := context.WithTimeout(w.hub.ctx, actionTimeout)
	defer cancel()
	result, err := w.process.Do(ctx, a.what)
	w.hub.poke(w.process.PID())
	w.sendCalls() // before the answer, which names them
	signal(w.dirty)
	if err != nil {
		a.client.refuse(a.ref, "", asProblem("action of "+w.id, err))
		return
	}
	a.client.send(encode(doneMessage{"done", a.ref, w.id, result}))
}

// refuseWaiting answers the actions that came too late, and lets no more in.
func (w *work) refuseWaiting() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	for {
		select {
		case a := <-w.actions:
			a.client.refuse(a.ref, "", asProblem("action of "+w.id, w.goneError()))
		default:
			return
		}
	}
}

// enqueue puts an action at the end of the queue.
func (w *work) enqueue(a action) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return w.goneError()
	}
	select {
	case w.actions <- a:
		return nil
	default:
		return problemf(CodeBusy, "wait until some of them are done", "%d actions are waiting for %s", maxActions, w.id)
	}
}

func (w *work) goneError() *Problem {
	return problemf(CodeGone, "start another", "%s has ended: %s", w.id, w.process.Ended())
}

// tell sends calls to the followers as they are made, and says so to the rooms
// that watch the process.
func (w *work) tell() {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		changed, behind := w.sendCalls()
		if behind {
			retry.Reset(callsRetry)
		} else {
			retry.Stop()
		}
		select {
		case <-changed:
			w.hub.poke(w.process.PID())
			signal(w.dirty)
		case <-w.follow:
		case <-retry.C:
		case <-w.process.Done():
			w.sendCalls()
			return
		}
	}
}

// batch is a run of calls, encoded once for all who read on at its place.
type batch struct {
	message []byte
	next    uint64
}

// sendCalls sends each follower the calls that it lacks, as many as it takes
// now. It returns a channel that is closed when there are more, and whether a
// follower is behind.
func (w *work) sendCalls() (changed <-chan struct{}, behind bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.process.Log()
	// Taken first, so that it tells of all that the batches may lack.
	_, _, _, changed = log.Read(log.Start(), 0)
	batches := make(map[uint64]batch)
	for c, at := range w.followers {
		for {
			if c.waiting() > callsAhead {
				behind = true
				break
			}
			b, ok := batches[at]
			if !ok {
				b = w.batch(log, at)
				batches[at] = b
			}
			if b.message == nil {
				break
			}
			c.send(b.message)
			at = b.next
		}
		w.followers[c] = at
	}
	return changed, behind
}

// batch encodes the calls from a place on, as many as one message may hold. It
// has no message if there are none.
func (w *work) batch(log *workload.Log, at uint64) batch {
	calls, _, lost, _ := log.Read(at, callsRead)
	if len(calls) == 0 {
		return batch{next: at}
	}
	m := callsMessage{Type: "calls", ID: w.id, Lost: lost}
	size := 0
	for i := range calls {
		text := encode(&calls[i])
		if size += len(text) + 1; size > callsBatch && len(m.Calls) > 0 {
			break
		}
		m.Calls = append(m.Calls, text)
	}
	return batch{encode(m), at + lost + uint64(len(m.Calls))}
}

// know keeps what the workload knows up to date and tells every page.
func (w *work) know() {
	defer w.hub.metrics.running.Dec()
	signal(w.dirty)
	for {
		select {
		case <-w.dirty:
			w.look()
		case <-w.process.Done():
			w.mu.Lock()
			w.ended = w.process.Ended()
			w.mu.Unlock()
			w.hub.workloads.publish()
			return
		}
		w.mu.Lock()
		pause := stateEvery + time.Duration(len(w.state))*time.Second/statePace
		w.mu.Unlock()
		select {
		case <-time.After(pause):
		case <-w.process.Done():
		}
	}
}

func (w *work) look() {
	ctx, cancel := context.WithTimeout(w.hub.ctx, stateTimeout)
	defer cancel()
	state, err := w.process.State(ctx)
	if err != nil {
		return // it ended, which is told, or is busy, and looked at after that
	}
	w.mu.Lock()
	same := slices.Equal(w.state, state)
	w.state = state
	w.mu.Unlock()
	if !same {
		w.hub.workloads.publish()
	}
}
