package server

import (
	"bytes"
	"context"
	"strconv"
	"time"
	"unicode/utf8"

	"kernelviz/internal/lab"
	"kernelviz/internal/session"
)

const (
	// stateGap is the least time between two states of a lab to one page.
	stateGap = 30 * time.Millisecond
	// stateAhead bounds what waits to be written before states are held back.
	stateAhead = 256 << 10
	// outputChunk bounds one "output" message.
	outputChunk = 16 << 10
	labTimeout  = 2 * time.Minute // compiling included
)

// Messages about labs, from the page.
type (
	labMessage struct {
		Type    string `json:"type"`
		Ref     int64  `json:"ref"`
		Lab     string `json:"lab"`
		Learner string `json:"learner"`
	}
	leaveMessage struct {
		Type string `json:"type"`
		Lab  string `json:"lab"`
	}
	actMessage struct {
		Type   string `json:"type"`
		Ref    int64  `json:"ref"`
		Lab    string `json:"lab"`
		Action string `json:"action"`
	}
	predictMessage struct {
		Type   string `json:"type"`
		Ref    int64  `json:"ref"`
		Lab    string `json:"lab"`
		Step   string `json:"step"`
		Choice string `json:"choice"`
		FD     int    `json:"fd"`
	}
	// labStepMessage is "hint" and "retry".
	labStepMessage struct {
		Type string `json:"type"`
		Ref  int64  `json:"ref"`
		Lab  string `json:"lab"`
		Step string `json:"step"`
	}
	// labOnlyMessage is "fresh", "reset" and "kill".
	labOnlyMessage struct {
		Type string `json:"type"`
		Ref  int64  `json:"ref"`
		Lab  string `json:"lab"`
	}
	draftMessage struct {
		Type string `json:"type"`
		Ref  int64  `json:"ref"`
		Lab  string `json:"lab"`
		File string `json:"file"`
		Text string `json:"text"`
	}
	buildMessage struct {
		Type string `json:"type"`
		Ref  int64  `json:"ref"`
		Lab  string `json:"lab"`
		Run  bool   `json:"run"`
	}
)

// Messages about labs, to the page.
type (
	labStateMessage struct {
		Type  string        `json:"type"`
		Ref   int64         `json:"ref,omitempty"`
		Lab   string        `json:"lab"`
		State session.State `json:"state"`
	}
	labsMessage struct {
		Type string `json:"type"` // "labs": they changed on disk
	}
	outputMessage struct {
		Type string `json:"type"`
		Lab  string `json:"lab"`
		Run  int    `json:"run"`
		At   int64  `json:"at"`
		Lost int64  `json:"lost,omitempty"`
		Text string `json:"text"`
	}
	labDoneMessage struct {
		Type   string       `json:"type"`
		Ref    int64        `json:"ref"`
		Lab    string       `json:"lab"`
		Result session.Done `json:"result"`
	}
)

// labFollow is one page following one lab.
type labFollow struct {
	learner string
	session *session.Session
	stop    context.CancelFunc
	done    chan struct{} // closed when its goroutine has ended
}

// handleLab carries out the messages about labs. What may take its time runs
// beside the page's reader.
func (h *hub) handleLab(c *client, msg control) {
	ref, id := labRef(msg)
	if h.labs == nil {
		c.refuse(ref, "", errLabsOff)
		return
	}
	if m, ok := msg.(*leaveMessage); ok {
		h.labs.leave(c, m.Lab)
		return
	}
	if !h.mayDrive(c, ref) {
		return
	}
	if m, ok := msg.(*labMessage); ok {
		h.spawn(func() { h.labs.open(c, m) })
		return
	}
	s := h.labs.of(c, id)
	if s == nil {
		c.refuse(ref, "", problemf(CodeNotFound, "open it first", "lab %.60q is not open in this page", id))
		return
	}
	h.spawn(func() {
		done, err := h.labs.carryOut(s, msg)
		if err != nil {
			c.refuse(ref, "", asProblem("lab "+id, err))
			return
		}
		c.send(encode(labDoneMessage{"done", ref, id, done}))
	})
}

func labRef(msg control) (ref int64, id string) {
	switch m := msg.(type) {
	case *labMessage:
		return m.Ref, m.Lab
	case *actMessage:
		return m.Ref, m.Lab
	case *predictMessage:
		return m.Ref, m.Lab
	case *labStepMessage:
		return m.Ref, m.Lab
	case *labOnlyMessage:
		return m.Ref, m.Lab
	case *draftMessage:
		return m.Ref, m.Lab
	case *buildMessage:
		return m.Ref, m.Lab
	}
	return 0, ""
}

func (ls *labs) carryOut(s *session.Session, msg control) (session.Done, error) {
	ctx, cancel := context.WithTimeout(ls.hub.ctx, labTimeout)
	defer cancel()
	switch m := msg.(type) {
	case *actMessage:
		return s.Act(ctx, m.Action)
	case *predictMessage:
		return session.Done{}, s.Predict(m.Step, m.Choice, m.FD)
	case *labStepMessage:
		if m.Type == "hint" {
			return session.Done{}, s.Hint(m.Step)
		}
		return session.Done{}, s.Retry(m.Step)
	case *labOnlyMessage:
		switch m.Type {
		case "fresh":
			return session.Done{}, s.Fresh(ctx)
		case "reset":
			return session.Done{}, s.Reset(ctx)
		}
		return session.Done{}, s.Kill("stopped from the page")
	case *draftMessage:
		return session.Done{}, s.Draft(ctx, m.File, m.Text)
	case *buildMessage:
		return session.Done{}, s.Build(ctx, m.Run)
	}
	return session.Done{}, badMessage("no such message about labs")
}

// of is the session of a lab that the page has open.
func (ls *labs) of(c *client, id string) *session.Session {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if f := ls.follow[c][id]; f != nil {
		return f.session
	}
	return nil
}

// open opens a lab for a page and answers with its state.
func (ls *labs) open(c *client, m *labMessage) {
	l := ls.source.Catalog().Lab(m.Lab)
	if l == nil {
		c.refuse(m.Ref, "", asProblem("opening a lab", noLab(m.Lab)))
		return
	}
	ls.leave(c, m.Lab) // it may have been open for another learner
	ctx, cancel := context.WithTimeout(ls.hub.ctx, labTimeout)
	defer cancel()
	s, err := ls.sessions.Open(ctx, l, m.Learner)
	if err != nil {
		c.refuse(m.Ref, "", asProblem("opening lab "+m.Lab, err))
		return
	}
	if !ls.start(c, l, s, m) {
		s.Leave()
	}
}

// start follows a session on behalf of a page, unless the page has left.
func (ls *labs) start(c *client, l *lab.Lab, s *session.Session, m *labMessage) bool {
	ctx, stop := context.WithCancel(ls.hub.ctx)
	f := &labFollow{learner: s.LearnerName(), session: s, stop: stop, done: make(chan struct{})}
	ls.mu.Lock()
	if c.isClosing() {
		ls.mu.Unlock()
		stop()
		return false
	}
	if ls.follow[c] == nil {
		ls.follow[c] = make(map[string]*labFollow)
	}
	if ls.follow[c][l.ID] != nil { // opened twice at once
		ls.mu.Unlock()
		stop()
		return false
	}
	ls.follow[c][l.ID] = f
	ls.mu.Unlock()
	st := s.State()
	st.Drafts = s.Drafts()
	if st.Drafts == nil {
		st.Drafts = map[string]string{}
	}
	c.send(encode(labStateMessage{"lab", m.Ref, l.ID, st}))
	if ls.hub.spawn(func() { ls.tell(ctx, c, f) }) {
		return true
	}
	close(f.done)
	return true
}

// leave ends a page's following of a lab.
func (ls *labs) leave(c *client, id string) {
	ls.mu.Lock()
	f := ls.follow[c][id]
	delete(ls.follow[c], id)
	if len(ls.follow[c]) == 0 {
		delete(ls.follow, c)
	}
	ls.mu.Unlock()
	if f != nil {
		f.stop()
		<-f.done
		f.session.Leave()
	}
}

// detach forgets a page that has left.
func (ls *labs) detach(c *client) {
	ls.mu.Lock()
	var ids []string
	for id := range ls.follow[c] {
		ids = append(ids, id)
	}
	ls.mu.Unlock()
	for _, id := range ids {
		ls.leave(c, id)
	}
}

// tell sends the page every change of a session, at most once in stateGap, and
// the output of its program.
func (ls *labs) tell(ctx context.Context, c *client, f *labFollow) {
	defer close(f.done)
	hearer := f.session.Hear()
	defer hearer.Close()
	var last []byte
	out := outputPlace{}
	id := f.session.Lab().ID
	for {
		if c.waiting() < stateAhead {
			now := encode(labStateMessage{Type: "lab", Lab: id, State: f.session.State()})
			if !bytes.Equal(now, last) {
				last = now
				c.send(now)
			}
			out.send(c, id, f.session)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(stateGap):
		}
		select {
		case <-ctx.Done():
			return
		case _, ok := <-hearer.Changed:
			if !ok {
				return
			}
		}
	}
}

// outputPlace is how far a page has the output of the program.
type outputPlace struct {
	run int
	at  int64
}

func (o *outputPlace) send(c *client, id string, s *session.Session) {
	for c.waiting() < stateAhead {
		run, data, at, lost := s.Output(o.at)
		if run != o.run {
			o.run, o.at = run, 0
			if run, data, at, lost = s.Output(0); run != o.run {
				return // yet another: with the next change
			}
		}
		if len(data) == 0 {
			return
		}
		if len(data) > outputChunk {
			data = data[:outputChunk-split(data[:outputChunk])]
		}
		c.send(encode(outputMessage{"output", id, run, at, lost, string(bytes.ToValidUTF8(data, []byte("\uFFFD")))}))
		o.at = at + int64(len(data))
	}
}

// split is the number of bytes at the end that begin a character which goes on
// after them.
func split(data []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(data); n++ {
		if tail := data[len(data)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// reloaded takes over labs that changed on disk: their sessions begin anew, and
// pages are told to fetch the lessons again.
func (ls *labs) reloaded() {
	c := ls.source.Catalog()
	type again struct {
		page *client
		msg  labMessage
	}
	var reopen []again
	changed := make(map[*session.Session]bool)
	ls.mu.Lock()
	for page, follows := range ls.follow {
		for id, f := range follows {
			if c.Lab(id) != f.session.Lab() {
				changed[f.session] = true
				reopen = append(reopen, again{page, labMessage{Type: "lab", Lab: id, Learner: f.learner}})
			}
		}
	}
	ls.mu.Unlock()
	for s := range changed {
		s.Close()
	}
	for _, page := range ls.hub.everyone() {
		page.send(encode(labsMessage{"labs"}))
	}
	for _, a := range reopen {
		ls.open(a.page, &a.msg)
	}
}

func quote(s string) string { return strconv.Quote(s[:min(len(s), 60)]) }
