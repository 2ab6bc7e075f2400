package uring

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
)

func inspect(t *testing.T, w kernelviz.Watch, object string, id uint32) kernelviz.Detail {
	t.Helper()
	d, err := w.Inspect(context.Background(), object, id)
	if err != nil {
		t.Fatalf("%s %d: %v", object, id, err)
	}
	if d.Object != object || d.ID != id || d.Title == "" || len(d.Structs) == 0 {
		t.Errorf("%+v", d)
	}
	return d
}

// value is that of a field of a struct of a detail.
func value(t *testing.T, d kernelviz.Detail, structName, path string) string {
	t.Helper()
	for _, s := range d.Structs {
		if s.Name != "struct "+structName {
			continue
		}
		for _, f := range s.Fields {
			if f.Path == path {
				return f.Value
			}
		}
	}
	t.Fatalf("%s has no struct %s with %s", d.Object, structName, path)
	return ""
}

func TestInspect(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		r := testRing(t, 8, iouring.SetupCoopTaskrun)
		w := watchOf(t, v, nameOf(r))
		rd, _ := blockingPipe(t)
		mem := testMemory(t, 4096)
		queue(r, iouring.SQE{Op: iouring.OpRead, FD: int32(rd), Addr: addressOf(mem), Len: 1, Off: ^uint64(0), UserData: 21})
		queue(r, iouring.SQE{Op: iouring.OpNOP, UserData: 22})
		submit(t, r, 1)
		queue(r, iouring.SQE{Op: iouring.OpWrite, Flags: iouring.FlagAsync, FD: 77, UserData: 23})
		s := wholeSample(t, w)
		if len(s.requests) != 1 {
			t.Fatalf("%+v", s.requests)
		}

		d := inspect(t, w, "ring", 0)
		if got := value(t, d, "io_ring_ctx", "flags"); !strings.Contains(got, "IORING_SETUP_COOP_TASKRUN") {
			t.Errorf("flags %q", got)
		}
		if got := value(t, d, "io_ring_ctx", "cached_sq_head"); got != "2" {
			t.Errorf("cached_sq_head %q", got)
		}
		if got := value(t, d, "io_rings", "sq.tail"); got != "3" {
			t.Errorf("sq.tail %q", got)
		}
		if mapped := v.tier == tierShm; (len(d.Notes) == 1 && d.Notes[0].Key == noteMapped) != mapped {
			t.Errorf("notes %v", d.Notes)
		}

		d = inspect(t, w, "sqe", 2)
		if got := value(t, d, "io_uring_sqe", "opcode"); got != fmt.Sprintf("%d IORING_OP_WRITE", iouring.OpWrite) {
			t.Errorf("opcode %q", got)
		}
		if got := value(t, d, "io_uring_sqe", "user_data"); got != "23" {
			t.Errorf("user_data %q", got)
		}

		d = inspect(t, w, "cqe", 0)
		if got := value(t, d, "io_uring_cqe", "user_data"); got != "22" {
			t.Errorf("user_data %q", got)
		}

		d = inspect(t, w, "request", s.requests[0].ID)
		if got := value(t, d, "io_kiocb", "opcode"); got != fmt.Sprintf("%d IORING_OP_READ", iouring.OpRead) {
			t.Errorf("opcode %q", got)
		}
		if got := value(t, d, "io_kiocb", "ctx"); got != fmt.Sprintf("ring #%d", s.ring.ID) {
			t.Errorf("ctx %q", got)
		}
		if got := value(t, d, "io_kiocb", "cqe.user_data"); got != "21" {
			t.Errorf("user_data %q", got)
		}

		for _, c := range []struct {
			object string
			id     uint32
		}{{"sqe", 1}, {"sqe", 3}, {"cqe", 1}, {"request", 4711}} {
			if _, err := w.Inspect(context.Background(), c.object, c.id); !errors.Is(err, kernelviz.ErrGone) {
				t.Errorf("%s %d: %v", c.object, c.id, err)
			}
		}
		if _, err := w.Inspect(context.Background(), "tree", 0); err == nil {
			t.Error("there is a tree")
		}
	})
}

// No kernel address leaves the house unless it is asked for.
func TestInspectShowsNoAddress(t *testing.T) {
	needs(t, TierShm)
	for _, show := range []bool{false, true} {
		v, err := New(context.Background(), Options{Kernel: kernelInfo(t), ShowAddresses: show, NoLives: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { v.Close() })
		p := startChild(t, "hold:0", nil)
		p.do("read 1")
		p.do("submit 0")
		w := watchOf(t, v, p.name())
		s := wholeSample(t, w)
		text := fmt.Sprint(inspect(t, w, "ring", 0), inspect(t, w, "request", s.requests[0].ID))
		if got := strings.Contains(text, "0xffff"); got != show {
			t.Errorf("addresses are shown: %v, want %v", got, show)
		}
		kill(t, p)
		if _, err := w.Inspect(context.Background(), "ring", 0); !errors.Is(err, kernelviz.ErrGone) {
			t.Errorf("of a dead owner: %v", err)
		}
	}
}
