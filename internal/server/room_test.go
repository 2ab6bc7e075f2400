package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"kernelviz/internal/kernelviz"
)

// bench is a hub without a network, inside a synctest bubble: its pages are
// queues that the test empties.
type bench struct {
	t    *testing.T
	ctx  context.Context // ends with the test
	hub  *hub
	view *counters
}

func newBench(t *testing.T, names ...string) *bench {
	ctx, stop := context.WithCancel(t.Context())
	view := newCounters(names...)
	h := newHub(ctx, Options{
		Views:      []kernelviz.View{view},
		Logger:     slog.New(slog.DiscardHandler),
		MaxClients: DefaultMaxClients,
	}, newMetrics("test"))
	b := &bench{t, ctx, h, view}
	t.Cleanup(func() {
		stop()
		h.running.Wait()
	})
	return b
}

// churn calls f with 1, 2, 3, … until the test ends.
func (b *bench) churn(every time.Duration, f func(i uint32)) {
	b.hub.running.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for i := uint32(1); ; i++ {
			select {
			case <-b.ctx.Done():
				return
			case <-tick.C:
				f(i)
			}
		}
	})
}

// page is a client whose queue the test reads.
type page struct {
	*client
	b        *bench
	pic      picture
	messages []map[string]any
}

func (b *bench) page() *page { return &page{client: newClient(b.hub, nil, scopeLearner), b: b} }

func (p *page) watch(topic string, rate int) {
	p.b.t.Helper()
	p.watchView(topic, rate, viewMessage{})
}

func (p *page) watchView(topic string, rate int, v viewMessage) {
	p.b.t.Helper()
	if err := p.b.hub.watch(p.client, &watchMessage{Topic: topic, Rate: rate, View: v}); err != nil {
		p.b.t.Fatal(err)
	}
}

// take empties the page's queues into its picture and returns the number of
// frames.
func (p *page) take() int {
	p.b.t.Helper()
	n := 0
	for {
		message, f, _, _ := p.next()
		switch {
		case message != nil:
			var m map[string]any
			if err := json.Unmarshal(message, &m); err != nil {
				p.b.t.Fatal(err)
			}
			p.messages = append(p.messages, m)
		case f.prepared != nil:
			n++
			if err := p.pic.apply(contents(p.b.t, f)); err != nil {
				p.b.t.Fatal(err)
			}
		default:
			return n
		}
	}
}

// contents reads a prepared message back by sending it through a pipe.
func contents(t *testing.T, f frame) []byte {
	t.Helper()
	b, err := unprepare(f.prepared)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (p *page) messagesOf(kind string) []map[string]any {
	var out []map[string]any
	for _, m := range p.messages {
		if m["type"] == kind {
			out = append(out, m)
		}
	}
	return out
}

// takeFor empties the queues as they fill, for a while, and returns the number
// of frames.
func (p *page) takeFor(d time.Duration) int {
	n := 0
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(time.Millisecond)
		synctest.Wait()
		n += p.take()
	}
	return n
}

func TestFramesFollowTheObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "1")
		o := b.view.object("1")
		p := b.page()
		p.watch("counters/1", 30)
		for i := range uint32(200) {
			o.set(i%17+1, i)
			if i%5 == 0 {
				o.remove(i%10 + 1)
			}
			p.takeFor(20 * time.Millisecond)
		}
		p.takeFor(time.Second)
		o.with(func() {
			if !maps.Equal(p.pic.values, o.values) {
				t.Errorf("page holds %v, object is %v", p.pic.values, o.values)
			}
		})
		if p.pic.keys != 1 || p.pic.deltas < 100 {
			t.Errorf("%d key frames and %d deltas in 5 s at 30 Hz, want 1 and more than 100", p.pic.keys, p.pic.deltas)
		}
	})
}

func TestRateOfEachGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "1")
		o := b.view.object("1")
		b.churn(time.Millisecond, func(i uint32) { o.set(1, i) }) // a change for every frame
		rates := []int{1, 7, 20, 30}
		var pages []*page
		for _, rate := range rates {
			p := b.page()
			p.watch("counters/1", rate)
			pages = append(pages, p)
		}
		got := make([]int, len(rates))
		for range 10_000 {
			time.Sleep(time.Millisecond)
			synctest.Wait()
			for i, p := range pages {
				got[i] += p.take()
			}
		}
		for i, rate := range rates {
			if want := 10 * rate; got[i] < want-want/10-1 || got[i] > want+want/10+4 {
				t.Errorf("%d frames in 10 s at rate %d", got[i], rate)
			}
		}
		o.with(func() {
			if o.samples > 10*30+20 {
				t.Errorf("%d samples in 10 s for a fastest rate of 30", o.samples)
			}
		})
	})
}

func TestNothingHappensUnwatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "1")
		o := b.view.object("1")
		time.Sleep(10 * time.Second)
		if o.opened != 0 {
			t.Fatal("opened though nobody watches")
		}
		one, two := b.page(), b.page()
		one.watch("counters/1", 30)
		two.watch("counters/1", 10)
		time.Sleep(time.Second)
		b.hub.handle(one.client, &unwatchMessage{Topic: "counters/1"})
		b.hub.leave(two.client)
		synctest.Wait()
		var samples int
		o.with(func() {
			samples = o.samples
			if o.opened != 1 || o.closed != 1 {
				t.Errorf("opened %d times and closed %d times, want 1 and 1", o.opened, o.closed)
			}
		})
		time.Sleep(10 * time.Second)
		o.with(func() {
			if o.samples != samples || samples == 0 {
				t.Errorf("%d samples while watched, %d later", samples, o.samples)
			}
		})
		if len(b.hub.rooms) != 0 {
			t.Errorf("%d rooms are left", len(b.hub.rooms))
		}
	})
}

func TestQuietObjectSendsTwoFramesASecond(t *testing.T) {
	for name, glyphs := range map[string]bool{"deltas": false, "glyphs": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "1")
				o := b.view.object("1")
				o.glyphs = glyphs
				p := b.page()
				p.watch("counters/1", 30)
				p.takeFor(time.Second)
				if n := p.takeFor(10 * time.Second); n < 20 || n > 23 {
					t.Errorf("%d frames in 10 s of silence, want 20", n)
				}
				o.set(1, 77)
				p.takeFor(110 * time.Millisecond)
				if p.pic.values[1] != 77 {
					t.Error("a change after silence did not arrive in its turn")
				}
			})
		})
	}
}

func TestPokeAndWakeAreEarly(t *testing.T) {
	for name, hint := range map[string]func(*bench){
		"poke": func(b *bench) { b.hub.poke(1) },
		"wake": func(b *bench) { b.view.object("1").wake <- struct{}{} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "1")
				p := b.page()
				p.watch("counters/1", 2)
				p.takeFor(3100 * time.Millisecond)
				b.view.object("1").set(3, 9)
				hint(b)
				p.takeFor(10 * time.Millisecond)
				if p.pic.values[3] != 9 {
					t.Error("the change was not sent within 10 ms")
				}
			})
		})
	}
}

func TestBusyWakesStayWithinTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "1")
		o := b.view.object("1")
		b.churn(100*time.Microsecond, func(i uint32) {
			o.set(1, i)
			signal(o.wake)
		})
		p := b.page()
		p.watch("counters/1", 20)
		if n := p.takeFor(10 * time.Second); n < 200 || n > 200+50+earlyCredit+1 {
			t.Errorf("%d frames in 10 s at rate 20 with endless wakes, want 200 to 255", n)
		}
	})
}

func TestExpensiveSamplesStretchTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "1")
		o := b.view.object("1")
		o.slow = 50 * time.Millisecond
		p := b.page()
		p.watch("counters/1", 30)
		p.takeFor(20 * time.Second)
		o.with(func() {
			// 50 ms may be 5 % of the time: one sample a second.
			if o.samples < 18 || o.samples > 22 {
				t.Errorf("%d samples of 50 ms in 20 s, want 20", o.samples)
			}
		})
	})
}

func TestViewersOfSmallObjectsShareOneGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "1")
		o := b.view.object("1")
		one, two := b.page(), b.page()
		one.watchView("counters/1", 30, viewMessage{Lo: 0, Hi: 100, Px: 1000})
		two.watchView("counters/1", 30, viewMessage{Lo: 5000, Hi: 5100, Px: 1000})
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		r := b.hub.rooms["counters/1"]
		if len(r.groups) != 1 {
			t.Errorf("%d groups for one small object, want 1", len(r.groups))
		}
		one.take()
		o.with(func() { o.glyphs = true })
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if len(r.groups) != 2 {
			t.Errorf("%d groups for two parts of a large object, want 2", len(r.groups))
		}
		one.take()
		watching := one.messagesOf("watching")
		if len(watching) != 2 || watching[1]["rate"] != float64(glyphRate) {
			t.Errorf("page was told %v, want a second watching message with rate %d", watching, glyphRate)
		}
		// From the same stretch of the grid: one group again.
		two.watchView("counters/1", 30, viewMessage{Lo: 1, Hi: 99, Px: 1010})
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if len(r.groups) != 1 {
			t.Errorf("%d groups for two views of nearly the same part, want 1", len(r.groups))
		}
	})
}

func TestSlowPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "1")
		o := b.view.object("1")
		b.churn(time.Millisecond, func(i uint32) { o.set(i%10+1, i) })
		slow, fast := b.page(), b.page()
		slow.watch("counters/1", 30)
		fast.watch("counters/1", 30)
		var fastFrames int
		for range 10 { // one second each in which the slow page reads nothing
			fastFrames += fast.takeFor(time.Second)
			slow.take()
		}
		if fastFrames < 295 || fast.pic.skipped != 0 || fast.pic.keys != 1 {
			t.Errorf("the fast page got %d frames, %d key frames, %d skipped; want 300, 1, 0", fastFrames, fast.pic.keys, fast.pic.skipped)
		}
		if slow.pic.keys < 2 || slow.pic.skipped == 0 {
			t.Errorf("the slow page got %d key frames and skipped %d, want several", slow.pic.keys, slow.pic.skipped)
		}
		if slow.slowness() == 0 {
			t.Error("the slow page's rate was not halved")
		}
		watching := slow.messagesOf("watching")
		if last := watching[len(watching)-1]["rate"].(float64); last >= 30 {
			t.Errorf("the slow page was told rate %v", last)
		}
		// It catches up, and gets its rate back.
		slow.take()
		slow.takeFor(time.Second)
		for range maxHalvings {
			slow.takeFor(pingEvery)
			slow.recover(time.Now())
		}
		if slow.slowness() != 0 {
			t.Error("the page that keeps up did not get its rate back")
		}
		if n := slow.takeFor(time.Second); n < 29 {
			t.Errorf("%d frames in a second after recovering, want 30", n)
		}
	})
}

func TestKeyOnRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "1")
		one, two := b.page(), b.page()
		one.watch("counters/1", 1)
		two.watch("counters/1", 1)
		one.takeFor(1500 * time.Millisecond)
		two.take()
		b.hub.handle(one.client, &keyMessage{Topic: "counters/1"})
		one.takeFor(20 * time.Millisecond)
		two.take()
		if one.pic.keys != 2 || two.pic.keys != 1 {
			t.Errorf("key frames: %d for who asked, %d for the other; want 2 and 1", one.pic.keys, two.pic.keys)
		}
		// Asking without end does not make the room faster than its limit.
		o := b.view.object("1")
		before := o.samples
		for range 1000 {
			b.hub.handle(one.client, &keyMessage{Topic: "counters/1"})
			one.takeFor(time.Millisecond)
		}
		if n := o.samples - before; n > 6 {
			t.Errorf("1000 key messages in a second made %d samples", n)
		}
	})
}

func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "1")
		o := b.view.object("1")
		p := b.page()
		p.watch("counters/1", 30)
		p.takeFor(time.Second)
		first := p.pic.header
		o.end(b.view)
		p.takeFor(time.Second)
		gone := p.messagesOf("gone")
		if len(gone) != 1 || gone[0]["topic"] != "counters/1" || gone[0]["id"] != float64(first.Topic) || gone[0]["reason"] == "" {
			t.Fatalf("gone messages: %v", gone)
		}
		if o.closed != 1 || len(b.hub.rooms) != 0 || p.topics() != 0 {
			t.Errorf("watch closed %d times, %d rooms, %d subscriptions left", o.closed, len(b.hub.rooms), p.topics())
		}
		p.watch("counters/1", 30)
		p.takeFor(time.Second)
		if e := p.messagesOf("error"); len(e) != 1 || e[0]["code"] != CodeNotFound || e[0]["topic"] != "counters/1" {
			t.Errorf("watching what is gone: %v", e)
		}
		b.view.add("1")
		p.watch("counters/1", 30)
		if p.takeFor(time.Second) == 0 {
			t.Fatal("no frames after it came back")
		}
		if p.pic.header.Generation <= first.Generation || p.pic.header.Topic == first.Topic {
			t.Errorf("after reopening: %+v, before: %+v", p.pic.header, first)
		}
	})
}

func TestFailedWatchIsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "1")
		o := b.view.object("1")
		p := b.page()
		p.watch("counters/1", 30)
		p.takeFor(time.Second)
		first := p.pic.header
		o.with(func() { o.fail = errors.New("map is full") })
		o.set(4, 44)
		p.takeFor(2 * time.Second)
		if o.opened != 2 || o.closed != 1 {
			t.Errorf("opened %d times and closed %d times, want 2 and 1", o.opened, o.closed)
		}
		if p.pic.header.Generation <= first.Generation || p.pic.header.Topic != first.Topic || p.pic.keys != 2 {
			t.Errorf("after the failure: %+v and %d key frames; before: %+v", p.pic.header, p.pic.keys, first)
		}
		if p.pic.values[4] != 44 {
			t.Error("the picture does not follow after reopening")
		}
	})
}

func TestInspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "1")
		p := b.page()
		p.watch("counters/1", 30)
		ask := func(ref int64, topic string, id uint32) {
			b.hub.handle(p.client, &inspectMessage{Ref: ref, Topic: topic, Object: "node", ID: id})
		}
		ask(1, "counters/1", 3)
		ask(2, "counters/1", 999)
		ask(3, "counters/2", 3)
		p.takeFor(100 * time.Millisecond)
		details, errs := p.messagesOf("detail"), p.messagesOf("error")
		if len(details) != 1 || details[0]["ref"] != 1.0 {
			t.Errorf("details: %v", details)
		}
		refs := map[any]any{}
		for _, e := range errs {
			refs[e["ref"]] = e["code"]
		}
		if !maps.Equal(refs, map[any]any{2.0: CodeNotFound, 3.0: CodeNotFound}) {
			t.Errorf("errors by ref: %v", refs)
		}
	})
}

func TestTooManyTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.page()
		for i := range maxTopics {
			name := string(rune('a' + i))
			b.view.add(name)
			p.watch("counters/"+name, 1)
		}
		b.view.add("one-more")
		err := b.hub.watch(p.client, &watchMessage{Topic: "counters/one-more", Rate: 1})
		var problem *Problem
		if !errors.As(err, &problem) || problem.Code != CodeLimit {
			t.Errorf("topic %d: %v, want %s", maxTopics+1, err, CodeLimit)
		}
	})
}

func TestMessagesThatPileUpCloseThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := b.page()
		for range messageQueue + 1 {
			p.send([]byte(`{"type":"calls"}`))
		}
		if p.closing != websocket.CloseTryAgainLater {
			t.Errorf("close code %d, want %d", p.closing, websocket.CloseTryAgainLater)
		}
		if p.take(); len(p.messages) != messageQueue {
			t.Errorf("%d messages kept, want %d", len(p.messages), messageQueue)
		}
	})
}

func TestTargetsArePolledOnlyWhileAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "1")
		p := b.page()
		b.hub.handle(p.client, &targetsMessage{On: true})
		p.takeFor(5 * time.Second)
		if n := len(p.messagesOf("targets")); n != 1 {
			t.Errorf("%d lists while nothing changed, want 1", n)
		}
		b.view.add("2")
		p.takeFor(1100 * time.Millisecond)
		lists := p.messagesOf("targets")
		if len(lists) != 2 || len(lists[1]["targets"].([]any)) != 2 {
			t.Errorf("after a second object: %v", lists)
		}
		b.hub.handle(p.client, &targetsMessage{On: false})
		b.view.add("3")
		p.takeFor(5 * time.Second)
		if n := len(p.messagesOf("targets")); n != 2 {
			t.Errorf("%d lists, want none after unsubscribing", n-2)
		}
	})
}
