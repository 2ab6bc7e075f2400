package oracle

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/epoll"
	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/sandbox"
	"kernelviz/internal/workload"
)

// The test binary plays `labserver workload NAME`.
func TestMain(m *testing.M) {
	if len(os.Args) < 3 || os.Args[1] != "workload" {
		os.Exit(m.Run())
	}
	if err := workload.Main(os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func startWorkload(t *testing.T, name string) *workload.Process {
	t.Helper()
	box, err := sandbox.New(sandbox.Config{
		Log:      slog.New(slog.NewTextHandler(t.Output(), nil)),
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
	p, err := workload.Start(t.Context(), box, name, workload.Options{ID: name + "-1"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
}

// eachView runs the test with every tier that reads kernel memory here.
func eachView(t *testing.T, o epoll.Options, test func(t *testing.T, v *epoll.View)) {
	needsRoot(t)
	info, err := kernel.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tier := range []string{epoll.TierKfunc, epoll.TierProbeRead} {
		t.Run(tier, func(t *testing.T) {
			if c, _ := info.Capability(kernel.RdonlyCast); tier == epoll.TierKfunc && !c.OK {
				HostOnly(t, c.Reason)
				t.Skip(c.Reason)
			}
			o := o
			o.Kernel, o.Tier = info, tier
			v, err := epoll.New(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := v.Close(); err != nil {
					t.Error(err)
				}
			})
			test(t, v)
		})
	}
}

// page watches an instance and holds what a page would: the first sample as a
// key frame, every other one as a delta on what it has.
type page struct {
	watch kernelviz.Watch
	base  kernelviz.Snapshot
	picture
}

func open(t *testing.T, v *epoll.View, i Instance) *page {
	t.Helper()
	w, err := v.Open(context.Background(), fmt.Sprintf("%d:%d", i.PID, i.FD))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return &page{watch: w}
}

// sample takes a snapshot and applies its frame.
func (p *page) sample(t *testing.T) {
	t.Helper()
	s, err := p.watch.Sample(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	p.show(t, s)
}

func (p *page) show(t *testing.T, s kernelviz.Snapshot) {
	t.Helper()
	sections, _, key := s.AppendSections(nil, kernelviz.Viewport{}, p.base)
	if err := p.apply(sections, key); err != nil {
		t.Fatal(err)
	}
	p.base = s
}
