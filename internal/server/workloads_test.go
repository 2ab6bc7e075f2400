package server

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/epoll"
	"kernelviz/internal/kernelviz/wire"
	"kernelviz/internal/sandbox"
	"kernelviz/internal/workload"
)

// withPuppets lets pages start workloads.
func withPuppets(t *testing.T) func(*Options) {
	t.Helper()
	box, err := sandbox.New(sandbox.Config{
		Log:      slog.New(slog.DiscardHandler),
		Guardian: []string{"/proc/self/exe", "workload", "guardian"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(o *Options) { o.Sandbox = box }
}

func withEpoll(t *testing.T) func(*Options) {
	t.Helper()
	v, err := epoll.New(t.Context(), epoll.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(o *Options) { o.Views = append(o.Views, v) }
}

// puppet is a workload driven through a page.
type puppet struct {
	*tab
	id    string
	pid   int
	ref   int
	calls map[int]workload.Call // by seq
	order []int                 // seqs as they came first
}

func (p *tab) puppet() *puppet {
	p.t.Helper()
	p.send(`{"type":"start","ref":1,"workload":"puppet"}`)
	w := p.message("started")["workload"].(map[string]any)
	d := &puppet{tab: p, id: w["id"].(string), pid: int(w["pid"].(float64)), ref: 10, calls: map[int]workload.Call{}}
	p.send(`{"type":"attach","ref":2,"id":%q}`, d.id)
	d.answer(2)
	return d
}

// answer waits for the answer to a message and notes the calls on the way.
func (d *puppet) answer(ref int) (result map[string]any) {
	d.t.Helper()
	for {
		m, err := d.receive()
		if err != nil {
			d.t.Fatal(err)
		}
		switch m["type"] {
		case "calls":
			d.note(m)
		case "error":
			d.t.Fatalf("answer to %d: %v", ref, m)
		case "done":
			if m["ref"] == float64(ref) {
				result, _ = m["result"].(map[string]any)
				return result
			}
		}
	}
}

func (d *puppet) note(m map[string]any) {
	d.t.Helper()
	if m["lost"] != nil {
		d.t.Errorf("%v calls were lost", m["lost"])
	}
	text, _ := json.Marshal(m["calls"])
	var calls []workload.Call
	if err := json.Unmarshal(text, &calls); err != nil {
		d.t.Fatal(err)
	}
	for _, c := range calls {
		if _, known := d.calls[int(c.Seq)]; !known {
			d.order = append(d.order, int(c.Seq))
		}
		d.calls[int(c.Seq)] = c
	}
}

func (d *puppet) do(format string, args ...any) map[string]any {
	d.t.Helper()
	d.ref++
	d.send(`{"type":"do","ref":%d,"id":%q,"action":%s}`, d.ref, d.id, fmt.Sprintf(format, args...))
	return d.answer(d.ref)
}

func TestPuppetThroughThePage(t *testing.T) {
	s := start(t, withPuppets(t))
	d := s.tab().puppet()
	epfd := d.do(`{"op":"epoll_create"}`)["fds"].([]any)[0].(float64)
	result := d.do(`{"op":"add","epfd":%v,"what":"eventfd","n":3,"events":["EPOLLIN"]}`, epfd)
	for _, seq := range result["seqs"].([]any) {
		if c, ok := d.calls[int(seq.(float64))]; !ok || !c.OK {
			t.Errorf("the answer came before call %v: %+v", seq, c)
		}
	}
	if !slices.IsSorted(d.order) || len(d.order) < 7 {
		t.Errorf("calls came in the order %v", d.order)
	}
	// Another page that attaches later sees the same calls.
	late := s.tab()
	late.send(`{"type":"attach","ref":1,"id":%q}`, d.id)
	second := &puppet{tab: late, id: d.id, calls: map[int]workload.Call{}}
	second.answer(1)
	if len(second.calls) != len(d.calls) {
		t.Errorf("the late page has %d calls, the first %d", len(second.calls), len(d.calls))
	}
	// What the puppet knows reaches every page.
	items := func() int {
		for {
			m := late.message("workloads")
			w := m["workloads"].([]any)[0].(map[string]any)
			state, _ := w["state"].(map[string]any)
			if epolls, _ := state["epolls"].([]any); len(epolls) == 1 {
				return len(epolls[0].(map[string]any)["items"].([]any))
			}
		}
	}
	for items() != 3 {
	}
	d.send(`{"type":"do","ref":99,"id":%q,"action":{"op":"dance"}}`, d.id)
	if e := d.message("error"); e["ref"] != 99.0 || e["code"] == CodeFailed {
		t.Errorf("an action that there is not: %v", e)
	}
	d.send(`{"type":"stop","ref":100,"id":%q}`, d.id)
	d.answer(100)
	for {
		w := late.message("workloads")["workloads"].([]any)[0].(map[string]any)
		if w["running"] == false {
			if w["ended"] == "" {
				t.Error("it does not say how it ended")
			}
			break
		}
	}
	if err := unix.Kill(d.pid, 0); err != unix.ESRCH {
		t.Errorf("process %d: %v, want no such process", d.pid, err)
	}
	d.send(`{"type":"do","ref":101,"id":%q,"action":{"op":"epoll_create"}}`, d.id)
	if e := d.message("error"); e["ref"] != 101.0 || e["code"] != CodeGone {
		t.Errorf("an action of a workload that ended: %v", e)
	}
}

// Ten thousand descriptors: twenty thousand calls, more than one page may have
// waiting.
func TestManyCallsReachThePage(t *testing.T) {
	s := start(t, withPuppets(t))
	d := s.tab().puppet()
	epfd := d.do(`{"op":"epoll_create"}`)["fds"].([]any)[0].(float64)
	for range 4 {
		d.do(`{"op":"add","epfd":%v,"what":"eventfd","n":1500,"events":["EPOLLIN"]}`, epfd)
	}
	last := 1 + 4*1500*2
	for len(d.calls) < last {
		m, err := d.receive()
		if err != nil {
			t.Fatalf("after %d of %d calls: %v", len(d.calls), last, err)
		}
		if m["type"] == "calls" {
			d.note(m)
		}
	}
	if !slices.IsSorted(d.order) {
		t.Error("calls came out of order")
	}
}

func TestTooManyWorkloads(t *testing.T) {
	s := start(t, withPuppets(t))
	p := s.tab()
	for range maxWorkloads {
		p.send(`{"type":"start","ref":1,"workload":"puppet"}`)
		p.message("started")
	}
	p.send(`{"type":"start","ref":2,"workload":"puppet"}`)
	if e := p.message("error"); e["code"] != CodeLimit || e["ref"] != 2.0 {
		t.Errorf("workload %d: %v", maxWorkloads+1, e)
	}
	p.send(`{"type":"start","ref":3,"workload":"guardian"}`)
	if e := p.message("error"); e["code"] != CodeNotFound {
		t.Errorf("starting what pages may not: %v", e)
	}
}

func TestShutdownKillsWorkloads(t *testing.T) {
	s := start(t, withPuppets(t))
	d := s.tab().puppet()
	begin := time.Now()
	s.stop()
	if code := d.closed(); code != websocket.CloseGoingAway {
		t.Errorf("closed with %d", code)
	}
	s.end()
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if err := unix.Kill(d.pid, 0); err != unix.ESRCH {
		t.Errorf("process %d: %v, want no such process", d.pid, err)
	}
}

// tree is what a page holds of an epoll instance.
type tree struct {
	nodes map[uint32]int32 // id → fd
	ready []int32
	items int
	flags wire.Flags
}

func (d *puppet) tree(t *tree, until string, ok func() bool) {
	d.t.Helper()
	for !ok() {
		if err := d.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			d.t.Fatal(err)
		}
		kind, data, err := d.conn.ReadMessage()
		if err != nil {
			d.t.Fatalf("waiting until %s: %v; holding %+v", until, err, t)
		}
		if kind == websocket.BinaryMessage {
			t.apply(d.t, data)
		}
	}
}

func (tr *tree) apply(t *testing.T, frame []byte) {
	t.Helper()
	h, rest, err := wire.ParseHeader(frame)
	if err != nil {
		t.Fatal(err)
	}
	sections, err := wire.ParseSections(rest)
	if err != nil {
		t.Fatal(err)
	}
	if h.Kind != kernelviz.KindEpoll {
		t.Fatalf("kind %d", h.Kind)
	}
	tr.flags = h.Flags
	if h.Flags&wire.FlagKey != 0 {
		tr.nodes, tr.ready = map[uint32]int32{}, nil
	}
	le := binary.LittleEndian
	for _, s := range sections {
		if s.Type == wire.SectionReady {
			tr.ready = nil
		}
		for i := range s.Count {
			row := s.Row(i)
			switch s.Type {
			case wire.SectionInstance:
				tr.items = int(le.Uint32(row[4:]))
			case wire.SectionNode:
				tr.nodes[le.Uint32(row)] = int32(le.Uint32(row[20:]))
			case wire.SectionGone:
				delete(tr.nodes, le.Uint32(row))
			case wire.SectionReady:
				tr.ready = append(tr.ready, int32(le.Uint32(row[4:])))
			}
		}
	}
}

// From a page's action through the kernel to the page's picture.
func TestActionToPicture(t *testing.T) {
	s := start(t, withPuppets(t), withEpoll(t))
	d := s.tab().puppet()
	epfd := int(d.do(`{"op":"epoll_create"}`)["fds"].([]any)[0].(float64))
	d.send(`{"type":"watch","topic":"epoll/%d:%d","rate":30}`, d.pid, epfd)
	if w := d.message("watching"); w["target"].(map[string]any)["pid"] != float64(d.pid) {
		t.Errorf("watching: %v", w)
	}
	tr := &tree{}
	begin := func(action string) {
		d.ref++
		d.send(`{"type":"do","ref":%d,"id":%q,"action":%s}`, d.ref, d.id, action)
	}
	begin(fmt.Sprintf(`{"op":"add","epfd":%d,"what":"eventfd","n":20,"events":["EPOLLIN"]}`, epfd))
	d.tree(tr, "20 nodes are drawn", func() bool { return tr.items == 20 && len(tr.nodes) == 20 })
	var fds []int
	for _, fd := range tr.nodes {
		fds = append(fds, int(fd))
	}
	slices.Sort(fds)
	if len(slices.Compact(fds)) != 20 || slices.Contains(fds, epfd) {
		t.Errorf("fds %v", fds)
	}
	if tierOf(s) != epoll.TierFdinfo {
		begin(fmt.Sprintf(`{"op":"ready","fd":%d}`, fds[7]))
		d.tree(tr, "one is ready", func() bool { return slices.Equal(tr.ready, []int32{int32(fds[7])}) })
		begin(fmt.Sprintf(`{"op":"drain","fd":%d}`, fds[7]))
	}
	begin(fmt.Sprintf(`{"op":"close","fd":%d}`, fds[3]))
	d.tree(tr, "19 nodes are drawn", func() bool { return tr.items == 19 && len(tr.nodes) == 19 })
	begin(fmt.Sprintf(`{"op":"close","fd":%d}`, epfd))
	if g := d.message("gone"); g["topic"] != fmt.Sprintf("epoll/%d:%d", d.pid, epfd) {
		t.Errorf("gone: %v", g)
	}
}

func tierOf(s *running) string {
	for _, v := range s.options.Views {
		for _, tier := range v.Tiers() {
			if v.Name() == "epoll" && tier.Chosen {
				return tier.Name
			}
		}
	}
	return ""
}
