package epoll

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"kernelviz/internal/kernelviz"
)

// target is what a test asks of an entry in the list of targets.
type target struct {
	instance uint32
	items    int
	comm     string
}

// awaitTargets lists targets, by name, until the condition holds: the list is
// remade at most twice a second.
func awaitTargets(t testing.TB, v *View, what string, holds func(map[string]target) bool) {
	t.Helper()
	end := time.Now().Add(deadline)
	for {
		list, err := v.Targets(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		byName := make(map[string]target, len(list))
		for _, e := range list {
			if e.Name != fmt.Sprintf("%d:%d", e.PID, e.FD) || e.View != v.Name() {
				t.Fatalf("target %+v", e)
			}
			if _, twice := byName[e.Name]; twice {
				t.Fatalf("%s stands twice", e.Name)
			}
			byName[e.Name] = target{e.Instance, e.Items, e.Comm}
		}
		if holds(byName) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", deadline, what)
		}
		runtime.Gosched()
	}
}

func TestTargetsComeAndGo(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		ep.addEventfds(t, 12)
		comm, err := os.ReadFile("/proc/self/comm")
		if err != nil {
			t.Fatal(err)
		}
		awaitTargets(t, v, "the instance is listed", func(list map[string]target) bool {
			// The list may be half a second old and name an earlier instance.
			e, ok := list[ep.name()]
			return ok && (e.items == 12 || e.items == -1) && e.comm+"\n" == string(comm)
		})
		ep.close()
		awaitTargets(t, v, "the instance is listed no more", func(list map[string]target) bool {
			_, ok := list[ep.name()]
			return !ok
		})
	})
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fd := newEventfd(t)
		for _, name := range []string{
			"", ":", "5", "x:5", "5:x", "-1:5", "0:3", "1:-1", "99999999999999999999:1", "1:2:3", " 1:2",
			fmt.Sprintf("%d:%d", os.Getpid(), fd), fmt.Sprintf("%d:%d", os.Getpid(), 1<<30), fmt.Sprintf("4194305:%d", ep.fd),
		} {
			w, err := v.Open(context.Background(), name)
			if !errors.Is(err, kernelviz.ErrNotFound) {
				t.Errorf("%q: %v", name, err)
			}
			if err == nil {
				w.Close()
			}
		}
	})
}
