package workload

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"kernelviz/internal/workload/ring"
)

// TestRingForetells drives the ring puppet at random. What it foretold must
// never be wrong, and its counters must be those that the kernel prints.
func TestRingForetells(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 100
	}
	for _, name := range []string{"default", "large CQ", "SQPOLL", "DEFER_TASKRUN", "wide"} {
		t.Run(name, func(t *testing.T) {
			r := startRings(t)
			r.setup(layouts[name])
			driveRing(r, rand.New(rand.NewPCG(uint64(len(name)), 4)), rounds)
		})
	}
}

func driveRing(r rings, rnd *rand.Rand, rounds int) {
	r.t.Helper()
	for _, what := range []string{"eventfd", "pipe", "unix", "tcp", "file"} {
		r.do(`{"op":"make","what":%q}`, what)
	}
	r.do(`{"op":"register","ring":3,"what":"buf_ring","n":8}`)
	r.do(`{"op":"register","ring":3,"what":"buffers","n":2}`)
	r.do(`{"op":"register","ring":3,"what":"files","n":6}`)
	done := map[string]int{}
	for range rounds {
		s := r.state()
		action := randomRingAction(rnd, s)
		_, err := r.try("%s", action)
		switch c := code(err); {
		case err == nil:
			done[action[:strings.IndexByte(action, ',')]]++
		case c == "bad_action" || c == "":
			r.t.Fatalf("%s: %v", action, err)
		}
		s = r.state()
		if s.Surprises > 0 {
			r.t.Fatalf("a surprise after\n%s\n%+v", strings.Join(texts(r.p.log, 0), "\n"), s)
		}
		if g := s.Rings[0]; g.Scribbled == "" {
			info := fdinfo(r.t, r.p.PID(), 3)
			for name, want := range map[string]uint32{"SqTail": g.SQTail, "CqHead": g.CQHead} {
				if !strings.Contains(info, fmt.Sprintf("%s:\t%d\n", name, want)) {
					r.t.Fatalf("%s is not %d after %s:\n%s", name, want, action, info)
				}
			}
		}
	}
	if len(done) < 9 || r.state().Rings[0].Reaped == 0 {
		r.t.Errorf("the test proves little: done %v, reaped %d", done, r.state().Rings[0].Reaped)
	}
}

func randomRingAction(rnd *rand.Rand, s ring.State) string {
	fd := s.FDs[rnd.IntN(len(s.FDs))]
	flags := ""
	for _, f := range []string{"link", "hardlink", "drain", "async", "skip"} {
		if rnd.IntN(map[bool]int{true: 60, false: 8}[f == "drain"]) == 0 { // a drain holds the rest back
			flags += fmt.Sprintf(`,%q:true`, f)
		}
	}
	queue := func(what, rest string) string {
		return fmt.Sprintf(`{"op":"queue","ring":3,"what":%q%s%s}`, what, rest, flags)
	}
	target := rnd.IntN(max(s.Rings[0].Reaped, 1)) + 1
	if f := s.Rings[0].InFlight; len(f) > 0 {
		target = int(f[rnd.IntN(len(f))].UserData)
	}
	at := fmt.Sprintf(`,"fd":%d`, fd.FD)
	actions := []string{
		queue("nop", fmt.Sprintf(`,"n":%d`, rnd.IntN(3)+1)), queue("read", at), queue("write", at+`,"len":8`), queue("poll", at),
		queue("poll_multi", at), queue("timeout", `,"ms":1`), queue("link_timeout", `,"ms":1`), queue("recv", at),
		queue("recv_multi", at), queue("send", at+`,"len":8`), queue("cancel", fmt.Sprintf(`,"target":%d`, target)),
		queue("read", at+`,"select":true`), queue("read", at+`,"buffer":1`), queue("read", `,"fd":2,"fixed":true`),
		`{"op":"submit","ring":3}`, `{"op":"submit","ring":3}`, `{"op":"submit","ring":3}`, `{"op":"submit","ring":3,"n":1}`,
		`{"op":"reap","ring":3}`, `{"op":"reap","ring":3}`, `{"op":"reap","ring":3,"n":1}`, `{"op":"flush","ring":3}`,
		`{"op":"overflow","ring":3}`, `{"op":"bad_index","ring":3}`, `{"op":"wakeup","ring":3}`,
		fmt.Sprintf(`{"op":"ready","fd":%d}`, fd.FD), fmt.Sprintf(`{"op":"write","fd":%d,"n":3}`, fd.FD),
		fmt.Sprintf(`{"op":"drain","fd":%d}`, fd.FD), `{"op":"scribble","ring":3,"what":"cq.head"}`,
		`{"op":"scribble","ring":3,"what":"sqe"}`, `{"op":"mend","ring":3}`, `{"op":"mend","ring":3}`,
	}
	return actions[rnd.IntN(len(actions))]
}
