package terminal

import (
	"context"
	"time"
)

// Follower is one who reads the output. Next is for one goroutine, the other
// methods for any.
type Follower struct {
	t *Terminal

	// Guarded by t.mu.
	at      int64     // offset of the byte that comes next
	lost    int64     // bytes that it asked for and that were no longer kept, when it began
	acked   int64     // it has drawn all before
	full    time.Time // since when it is a Window behind; zero if it is not
	stalled bool      // it has been for too long: the others do not wait for it
}

// Attach begins to follow at an offset: 0, or what a connection that was lost
// had got to. If that is no longer kept it begins with what is. An offset that
// is not reached yet belongs to another terminal: all that is kept is given.
func (t *Terminal) Attach(at int64) *Follower {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := &Follower{t: t}
	kept := max(0, t.ring.end-Window)
	switch {
	case at < 0 || at > t.ring.end:
		f.at = kept
	case at < kept:
		f.at, f.lost = kept, kept-at
	default:
		f.at = at
	}
	f.acked = f.at
	t.followers[f] = true
	t.wakeLocked()
	return f
}

// Place returns the offset of the byte that Next gives next, and how many bytes
// were lost before the first one.
func (f *Follower) Place() (at, lost int64) {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	return f.at, f.lost
}

// Next waits for output and returns it with the offset after it, and how many
// bytes before it were lost since the last call because this follower stalled.
// It waits while the follower has Window bytes that it did not acknowledge.
// After the last byte the error is ErrEnded.
func (f *Follower) Next(ctx context.Context) (b []byte, at, lost int64, err error) {
	for {
		f.t.mu.Lock()
		b, at, lost, err = f.take()
		changed := f.t.changed
		f.t.mu.Unlock()
		if b != nil || err != nil {
			return b, at, lost, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, at, 0, ctx.Err()
		}
	}
}

// take returns nothing if there is nothing to hand out now. Held: t.mu.
func (f *Follower) take() (b []byte, at, lost int64, err error) {
	r := &f.t.ring
	if !f.t.followers[f] {
		return nil, f.at, 0, ErrEnded // it was closed
	}
	if f.at >= f.acked+Window {
		return nil, f.at, 0, nil
	}
	if f.at < r.oldest() {
		kept := r.end - Window
		lost = kept - f.at
		// What it had not drawn is drawn soon or never: it begins anew.
		f.at, f.acked, f.full, f.stalled = kept, kept, time.Time{}, false
	}
	n := min(r.end-f.at, f.acked+Window-f.at, chunk)
	if n == 0 {
		if f.t.over {
			err = ErrEnded
		}
		return nil, f.at, 0, err
	}
	b = make([]byte, n)
	r.copy(b, f.at)
	f.at += n
	return b, f.at, lost, nil
}

// Ack tells that all before the offset is drawn.
func (f *Follower) Ack(at int64) {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	at = min(at, f.at) // nobody draws what was not given
	if at <= f.acked {
		return
	}
	f.acked, f.full = at, time.Time{}
	// Who has fallen out of what is kept holds up the others again when Next has
	// brought it back.
	if f.at >= f.t.ring.oldest() {
		f.stalled = false
	}
	f.t.wakeLocked()
}

// Close ends following.
func (f *Follower) Close() {
	f.t.change(func() { delete(f.t.followers, f) })
}
