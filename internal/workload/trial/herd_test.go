package trial

import (
	"encoding/json"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"kernelviz/internal/workload/herd"

	"golang.org/x/sys/unix"
)

func herdSpec(role, variant string, workers, connections float64) Spec {
	return Spec{
		Experiment: "herd", Series: "test", Variant: variant, Role: role,
		Params: map[string]float64{"workers": workers, "connections": connections},
	}
}

// noGarbage keeps the collector away, which would wait for workers that block
// for ever, as package trial does in a process of its own.
func noGarbage(t *testing.T) {
	old := debug.SetGCPercent(-1)
	t.Cleanup(func() { debug.SetGCPercent(old) })
}

// pair runs two roles against each other, the first on a goroutine of its own.
func pair(t *testing.T, first, second Work, name string) (a, b Report, errA, errB error) {
	t.Helper()
	ready, begin := make(chan json.RawMessage, 1), make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		defer close(ready)
		defer func() {
			if err := first.Close(); err != nil {
				t.Error(err)
			}
		}()
		said, err := first.Prepare()
		if err != nil {
			errA = err
			return
		}
		data, err := json.Marshal(said)
		if err != nil {
			errA = err
			return
		}
		ready <- data
		<-begin
		a, errA = first.Run(nil)
	})
	data, ok := <-ready
	if !ok {
		return a, b, errA, nil
	}
	if _, err := second.Prepare(); err != nil {
		t.Error(err)
	}
	close(begin)
	b, errB = second.Run(map[string]json.RawMessage{name: data})
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	running.Wait()
	return a, b, errA, errB
}

func TestHerdCountsWhatWakes(t *testing.T) {
	noGarbage(t)
	const workers, connections = 6, 40
	for variant, limits := range map[string][2]float64{
		"default":         {0.6 * workers, 1.7 * workers},
		"exclusive":       {0.9, 3},
		"reuseport":       {0.9, 3},
		"accept":          {0.9, 3},
		"uring-accept":    {0.9, 3},
		"uring-multishot": {0.9, 3},
	} {
		w, err := newHerdWorkers(herdSpec("workers", variant, workers, connections))
		if err != nil {
			t.Fatal(err)
		}
		c, err := newHerdClients(herdSpec("clients", variant, workers, connections))
		if err != nil {
			t.Fatal(err)
		}
		a, b, errA, errB := pair(t, w, c, "workers")
		if errA != nil || errB != nil {
			t.Errorf("%s: %v; %v", variant, errA, errB)
			continue
		}
		switches := b.Metrics["switches"] / connections
		if a.Ops != connections || b.Ops != connections || switches < limits[0] || switches > limits[1] {
			t.Errorf("%s: %.2f switches a connection, want %.1f to %.1f; %+v, %+v", variant, switches, limits[0], limits[1], a, b)
		}
		share := a.Metrics["busiest"]
		if a.Metrics["cpu"] <= 0 || share < 1.0/workers || share > 1 {
			t.Errorf("%s: %+v", variant, a)
		}
		t.Logf("%s: %.2f switches, %.1f µs a connection, busiest %.0f %%", variant, switches, a.Metrics["cpu"]/connections*1e6, share*100)
	}
}

// Workers that accept what nobody was to connect are noticed.
func TestHerdNoticesOthers(t *testing.T) {
	noGarbage(t)
	w, err := newHerdWorkers(herdSpec("workers", "exclusive", 2, 5))
	if err != nil {
		t.Fatal(err)
	}
	c, err := newHerdClients(herdSpec("clients", "exclusive", 2, 4))
	if err != nil {
		t.Fatal(err)
	}
	_, _, errA, errB := pair(t, w, c, "workers")
	if errA == nil || !strings.Contains(errA.Error(), "accepted 4 connections, 5 were to be made") || errB != nil {
		t.Errorf("%v; %v", errA, errB)
	}
}

// Workers that never accept are given up.
func TestHerdGivesUp(t *testing.T) {
	at := loopback(0)
	fd, err := herd.Listen(at, false, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := herd.Connect(at, 10*time.Millisecond); err == nil || !strings.Contains(err.Error(), "no worker has accepted") {
		t.Error(err)
	}
}

func TestHerdRefuses(t *testing.T) {
	for want, s := range map[string]Spec{
		"unknown variant":  herdSpec("workers", "prefork", 4, 1),
		`"workers" is 257`: herdSpec("workers", "default", 257, 1),
		`"connections"`:    herdSpec("workers", "default", 4, 0),
	} {
		if _, err := newHerdWorkers(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
