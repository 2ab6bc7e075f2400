package server

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"kernelviz/internal/kernelviz"
)

const (
	targetsEvery   = time.Second
	targetsTimeout = 10 * time.Second
)

// targetList is the list of everything that can be watched. It looks at the
// machine once a second while a page subscribes to it, and not otherwise.
type targetList struct {
	views []kernelviz.View
	log   *slog.Logger
	kick  chan struct{} // subscribers changed. Capacity 1

	// polling is held while the machine is looked at, so that many pages that
	// come at once share one look.
	polling sync.Mutex

	mu          sync.Mutex
	subscribers map[*client]bool // true once it got the list
	list        []kernelviz.Target
	message     []byte    // list, encoded; nil before the first look
	at          time.Time // of list
}

func newTargetList(views []kernelviz.View, log *slog.Logger) *targetList {
	return &targetList{
		views:       views,
		log:         log,
		kick:        make(chan struct{}, 1),
		subscribers: make(map[*client]bool),
	}
}

// subscribe sends the list to the page now and on every change; or no more.
func (t *targetList) subscribe(c *client, on bool) {
	t.mu.Lock()
	if on {
		t.subscribers[c] = false
	} else {
		delete(t.subscribers, c)
	}
	t.mu.Unlock()
	signal(t.kick)
}

// run looks while there are subscribers, until ctx ends.
func (t *targetList) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if t.watched() {
			t.refresh(ctx, targetsEvery/2)
			t.publish()
			timer.Reset(targetsEvery)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-t.kick:
		case <-timer.C:
		}
	}
}

func (t *targetList) watched() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.subscribers) > 0
}

// publish sends the list to those who do not have it.
func (t *targetList) publish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c, has := range t.subscribers {
		if !has {
			t.subscribers[c] = true
			c.sendLatest(listTargets, t.message)
		}
	}
}

// refresh looks at the machine unless the list is younger than fresh. A view
// that fails is left out and logged.
func (t *targetList) refresh(ctx context.Context, fresh time.Duration) []kernelviz.Target {
	t.polling.Lock()
	defer t.polling.Unlock()
	t.mu.Lock()
	list, young := t.list, t.message != nil && time.Since(t.at) < fresh
	t.mu.Unlock()
	if young {
		return list
	}
	ctx, cancel := context.WithTimeout(ctx, targetsTimeout)
	defer cancel()
	list = []kernelviz.Target{}
	for _, v := range t.views {
		found, err := v.Targets(ctx)
		if err != nil {
			t.log.Warn("listing targets", "view", v.Name(), "error", err)
			continue
		}
		list = append(list, found...)
	}
	slices.SortFunc(list, compareTargets)

	t.mu.Lock()
	defer t.mu.Unlock()
	t.at = time.Now()
	if t.message != nil && slices.Equal(list, t.list) {
		return list
	}
	t.list = list
	t.message = encode(targetListMessage{"targets", list})
	for c := range t.subscribers {
		t.subscribers[c] = false
	}
	return list
}

func compareTargets(a, b kernelviz.Target) int {
	if n := strings.Compare(a.View, b.View); n != 0 {
		return n
	}
	if a.PID != b.PID {
		return a.PID - b.PID
	}
	if a.FD != b.FD {
		return a.FD - b.FD
	}
	return strings.Compare(a.Name, b.Name)
}
