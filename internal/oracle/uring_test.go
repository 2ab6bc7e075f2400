package oracle

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/kernelviz/uring"
	"kernelviz/internal/kernelviz/wire"
)

// fioRuns is how long fio would go on if nobody ended it.
const fioRuns = 60 * time.Second

// startFio starts fio on a file of 4 MiB with a ring of liburing's kind, and
// returns it once that ring is there.
func startFio(t *testing.T, v *uring.View, options ...string) (*exec.Cmd, kernelviz.Target) {
	t.Helper()
	fio := Command(t, "fio")
	args := append([]string{
		"--name=rings", "--thread", "--ioengine=io_uring", "--filename=" + filepath.Join(t.TempDir(), "data"), "--size=4m",
		"--rw=randread", "--bs=4k", "--time_based", fmt.Sprintf("--runtime=%d", int(fioRuns.Seconds())),
	}, options...)
	cmd := exec.Command(fio, args...)
	cmd.Dir = t.TempDir()
	output := &tailBuffer{}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("fio: %s", output)
		}
	})
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		list, err := v.Targets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range list {
			if g.PID == cmd.Process.Pid {
				return cmd, g
			}
		}
	}
	t.Fatal("fio made no ring")
	return nil, kernelviz.Target{}
}

func ringView(t *testing.T, o uring.Options) *uring.View {
	t.Helper()
	needsRoot(t)
	info, err := kernel.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o.Kernel = info
	v, err := uring.New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

func openRing(t *testing.T, v *uring.View, g kernelviz.Target) kernelviz.Watch {
	t.Helper()
	w, err := v.Open(context.Background(), g.Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// A ring that we did not write, of liburing's kind, at full speed: every frame
// is whole, and while fio is stopped each is what the kernel itself prints.
func TestRingOfFio(t *testing.T) {
	cases := []struct {
		name    string
		options []string
		setup   string // a flag that it has
	}{
		{"default", []string{"--iodepth=16"}, ""},
		{"registered", []string{"--iodepth=8", "--registerfiles", "--fixedbufs"}, ""},
		{"direct", []string{"--iodepth=32", "--direct=1", "--iodepth_batch_submit=8"}, ""},
		{"sqpoll", []string{"--iodepth=4", "--sqthread_poll", "--registerfiles"}, "IORING_SETUP_SQPOLL"},
	}
	for _, tier := range []string{uring.TierShm, uring.TierBPFIter} {
		v := ringView(t, uring.Options{Tier: tier, NoLives: true})
		for _, c := range cases {
			t.Run(tier+"/"+c.name, func(t *testing.T) {
				cmd, g := startFio(t, v, c.options...)
				w := openRing(t, v, g)
				for range 200 {
					s, err := w.Sample(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if f := s.Facts(); f["uring.whole"] != true || !strings.Contains(f["uring.setup"].(string), c.setup) {
						t.Fatalf("%+v", s.(*uring.Snapshot).Show(v.Tiers()))
					}
				}
				quiet := 0
				for range 10 {
					if compareStopped(t, cmd, g, w) {
						quiet++
					}
				}
				if quiet < 5 {
					t.Errorf("the ring was quiet %d times of 10 that fio was stopped", quiet)
				}
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				for end := time.Now().Add(startLimit); ; {
					if _, err := w.Sample(context.Background()); errors.Is(err, kernelviz.ErrGone) {
						break
					} else if err != nil || time.Now().After(end) {
						t.Fatalf("after fio's end: %v", err)
					}
				}
			})
		}
	}
}

// compareStopped stops fio and holds a snapshot against fdinfo; false if the
// ring did not come to rest.
func compareStopped(t *testing.T, cmd *exec.Cmd, g kernelviz.Target, w kernelviz.Watch) bool {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		before, err := uring.ReadFdinfo(g.PID, g.FD)
		if err != nil {
			t.Fatal(err)
		}
		s, err := w.Sample(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		after, err := uring.ReadFdinfo(g.PID, g.FD)
		if err != nil {
			t.Fatal(err)
		}
		if !before.Heads || !after.Heads || before.SQHead != after.SQHead || before.SQTail != after.SQTail || before.CQHead != after.CQHead || before.CQTail != after.CQTail {
			continue
		}
		compareRing(t, s.Facts(), after)
		return true
	}
	return false
}

func compareRing(t *testing.T, f kernelviz.Facts, info *uring.Info) {
	t.Helper()
	for name, want := range map[string]int{
		"uring.sq_entries": int(info.SQMask) + 1, "uring.cq_entries": int(info.CQMask) + 1,
		"uring.sq_head": int(info.SQHead), "uring.sq_tail": int(info.SQTail), "uring.cq_head": int(info.CQHead), "uring.cq_tail": int(info.CQTail),
		"uring.files": info.UserFiles, "uring.buffers": info.UserBufs, "uring.overflow_list": info.Overflow,
	} {
		if f[name] != want {
			t.Errorf("%s is %v, fdinfo has %d", name, f[name], want)
		}
	}
	if f["uring.sqpoll"] != (info.ThreadPID > 0) {
		t.Errorf("sqpoll %v, fdinfo has %d", f["uring.sqpoll"], info.ThreadPID)
	}
	sqes, cqes := f["uring.sqes"].([]map[string]any), f["uring.cqes"].([]map[string]any)
	if len(cqes) != len(info.CQEs) {
		t.Fatalf("%d CQEs, fdinfo has %d", len(cqes), len(info.CQEs))
	}
	for i, e := range info.CQEs {
		if cqes[i]["res"] != int(e.Res) || uint64(cqes[i]["user_data"].(int)) != e.UserData {
			t.Errorf("CQE %v, fdinfo has %+v", cqes[i], e)
		}
	}
	if len(sqes) != len(info.SQEs) {
		t.Fatalf("%d SQEs, fdinfo has %d", len(sqes), len(info.SQEs))
	}
	for i, e := range info.SQEs {
		if sqes[i]["op"] != e.Op || sqes[i]["fd"] != int(e.FD) || sqes[i]["index"] != int(e.Index) {
			t.Errorf("SQE %v, fdinfo has %+v", sqes[i], e)
		}
	}
}

// What a foreign program's requests go through is told in order, and adds up.
func TestLivesOfFio(t *testing.T) {
	v := ringView(t, uring.Options{})
	_, g := startFio(t, v, "--iodepth=4", "--rate_iops=2000")
	w := openRing(t, v, g)
	reads := 0
	for end := time.Now().Add(startLimit); reads < 2000; {
		if time.Now().After(end) {
			t.Fatalf("%d reads were told in %v", reads, startLimit)
		}
		select {
		case <-w.Wake():
		case <-time.After(50 * time.Millisecond):
		}
		s, err := w.Sample(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if truth := s.Truth(); !truth.Whole || !truth.Attached {
			t.Fatalf("%+v", truth)
		}
		f := s.Facts()
		if n := f["uring.inflight"].(int); n < 0 || n > 4 {
			t.Errorf("%d requests in flight, fio has at most 4", n)
		}
		for _, l := range f["uring.lives"].([]map[string]any) {
			if l["op"] != "READ" || l["res"] != 4096 || l["us"].(float64) < 0 && l["path"] != "" {
				t.Fatalf("%v", l)
			}
		}
		reads = f["uring.completed"].(int)
		sections, _, _ := s.AppendSections(nil, kernelviz.Viewport{}, nil)
		inOrder(t, sections)
	}
}

// inOrder checks that the events of a frame come in the kernel's order, and
// that no request completes before it was submitted.
func inOrder(t *testing.T, frame []byte) {
	t.Helper()
	sections, err := wire.ParseSections(frame)
	if err != nil {
		t.Fatal(err)
	}
	for _, sec := range sections {
		if sec.Type != wire.SectionLife {
			continue
		}
		seq := uint64(0)
		for i := range sec.Count {
			row := sec.Row(i)
			if n := binary.LittleEndian.Uint64(row); n <= seq && i > 0 {
				t.Errorf("event %d comes after %d", n, seq)
			} else {
				seq = n
			}
			at, submitted := binary.LittleEndian.Uint64(row[8:]), binary.LittleEndian.Uint64(row[48:])
			if row[40] == wire.LifeComplete && submitted > at {
				t.Errorf("submitted at %d, completed at %d", submitted, at)
			}
		}
	}
}
