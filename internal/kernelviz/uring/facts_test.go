package uring

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// checkFactTypes holds what a snapshot publishes against what FactList says.
// Every fact that is there has its type; with all, every fact is there.
func checkFactTypes(t *testing.T, f kernelviz.Facts, all bool) {
	t.Helper()
	known := map[string]bool{}
	for _, fact := range new(View).FactList() {
		known[fact.Name] = true
		v, ok := f[fact.Name]
		if !ok {
			if all {
				t.Errorf("%s is not published", fact.Name)
			}
			continue
		}
		if !hasType(v, fact.Type) {
			t.Errorf("%s is a %T, FactList says %s", fact.Name, v, fact.Type)
		}
		elements, _ := v.([]map[string]any)
		for _, e := range elements {
			if len(e) != len(fact.Fields) {
				t.Errorf("an element of %s has %d fields, FactList says %d", fact.Name, len(e), len(fact.Fields))
			}
			for _, field := range fact.Fields {
				if !hasType(e[field.Name], field.Type) {
					t.Errorf("%s of %s is a %T, FactList says %s", field.Name, fact.Name, e[field.Name], field.Type)
				}
			}
		}
	}
	for name := range f {
		if !known[name] {
			t.Errorf("%s is published and FactList does not have it", name)
		}
	}
}

func hasType(v any, want kernelviz.FactType) bool {
	switch v.(type) {
	case bool:
		return want == kernelviz.FactBool
	case int:
		return want == kernelviz.FactInt
	case float64:
		return want == kernelviz.FactFloat
	case string:
		return want == kernelviz.FactString
	case []map[string]any:
		return want == kernelviz.FactList
	}
	return false
}

func TestFacts(t *testing.T) {
	p := startChild(t, "hold:0", nil)
	w := watchOf(t, liveView(t), p.name())
	checkFactTypes(t, wholeSample(t, w).Facts(), true)
	p.do("read 1")
	p.do("submit 0")
	p.do("nop 3")
	p.do("submit 3")
	p.do("nop 2")
	s := await(t, w, "three completions and an armed read", func(s *Snapshot) bool { return len(s.done) == 3 && s.ring.Armed == 1 })
	f := s.Facts()
	checkFactTypes(t, f, true)
	for name, want := range map[string]any{
		"uring.whole": true, "uring.setup": "0", "uring.sq_entries": 8, "uring.cq_entries": 16,
		"uring.sq_head": 4, "uring.sq_tail": 6, "uring.cq_head": 0, "uring.cq_tail": 3, "uring.sq_pending": 2, "uring.cq_ready": 3,
		"uring.sq_dropped": 0, "uring.cq_overflow": 0, "uring.overflow_list": 0, "uring.inflight": 1, "uring.armed": 1,
		"uring.files": 0, "uring.buffers": 0, "uring.sqpoll": false, "uring.sqpoll_asleep": false, "uring.need_wakeup": false,
		"uring.cq_overflowed": false, "uring.workers": 0, "uring.submitted": 4, "uring.completed": 3,
	} {
		if f[name] != want {
			t.Errorf("%s is %v, want %v", name, f[name], want)
		}
	}
	sqe := f["uring.sqes"].([]map[string]any)[0]
	if sqe["position"] != 4 || sqe["index"] != 4 || sqe["op"] != "NOP" || sqe["user_data"] != 5 || sqe["flags"] != "0" {
		t.Errorf("%v", sqe)
	}
	cqe := f["uring.cqes"].([]map[string]any)[2]
	if cqe["position"] != 2 || cqe["user_data"] != 4 || cqe["res"] != 0 || cqe["more"] != false {
		t.Errorf("%v", cqe)
	}
	request := f["uring.requests"].([]map[string]any)[0]
	if request["op"] != "READ" || request["user_data"] != 1 || request["where"] != "armed" || request["multishot"] != false {
		t.Errorf("%v", request)
	}
}

func TestFactsOfTiers(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		r := testRing(t, 8, 0)
		queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: math.MaxUint64})
		f := wholeSample(t, watchOf(t, v, nameOf(r))).Facts()
		checkFactTypes(t, f, false)
		if _, ok := f["uring.lives"]; ok {
			t.Error("lives are published and nothing tells them")
		}
		if f["uring.inflight"] != 0 || f["uring.sq_pending"] != 1 {
			t.Errorf("%v in flight, %v pending", f["uring.inflight"], f["uring.sq_pending"])
		}
		if got := f["uring.sqes"].([]map[string]any)[0]["user_data"]; got != math.MaxInt64 {
			t.Errorf("user_data %v", got)
		}
	})
}

// What the kernel and the owner count apart is known only where both agree.
func TestInFlight(t *testing.T) {
	r := wire.RingRow{CachedSQHead: 3, CachedCQTail: 0xffffffff, OverflowList: 1, SQDropped: 1, InFlight: -1}
	inFlight(&r, 2)
	if r.InFlight != 2 || r.Seen != wire.SeenInFlight {
		t.Errorf("%d", r.InFlight)
	}
	r.InFlight, r.Seen = -1, 0
	inFlight(&r, 1)
	if r.InFlight != -1 || r.Seen != 0 {
		t.Errorf("%d", r.InFlight)
	}
}

func TestShow(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		p := startChild(t, "hold:0", nil)
		w := watchOf(t, v, p.name())
		p.do("read 1")
		p.do("submit 0")
		p.do("nop 2")
		s := wholeSample(t, w)
		got := s.Show(v.Tiers())
		if got.SQ.Entries != 8 || got.SQ.Pending != 2 || len(got.SQEs) != 2 || got.SQEs[0].Op != "NOP" || got.SQEs[0].UserData != 2 || got.Armed != 1 || got.InFlight != 1 {
			t.Errorf("%+v", got)
		}
		if got.Truth.Tier != v.Tiers()[v.tier].Name || !got.Truth.Whole {
			t.Errorf("%+v", got.Truth)
		}
		b, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "null") {
			t.Errorf("a list is null: %s", b)
		}
		if len(got.Unseen) == 0 {
			t.Error("without lives something is unseen")
		}
	})
}
