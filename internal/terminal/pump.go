package terminal

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// read reads the pty into the ring, as fast as the followers draw, until the
// processes are gone and nothing is left.
func (t *Terminal) read() {
	buf := make([]byte, chunk)
	for {
		room := t.awaitRoom()
		gone := t.isGone()
		if gone {
			_ = t.master.SetReadDeadline(time.Now().Add(drainTime))
		}
		n, err := t.master.Read(buf[:room])
		if n > 0 {
			t.change(func() { t.ring.add(buf[:n]) })
		}
		switch {
		case err == nil:
		case gone:
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			<-t.gone // live has woken us for it
		default:
			// EIO: nobody has the other end open. Somebody may open /dev/tty.
			t.awaitGone(100 * time.Millisecond)
		}
	}
}

func (t *Terminal) isGone() bool {
	select {
	case <-t.gone:
		return true
	default:
		return false
	}
}

func (t *Terminal) awaitGone(most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-t.gone:
	case <-timer.C:
	}
}

// awaitRoom waits until output may be read, and returns how much of it.
func (t *Terminal) awaitRoom() int {
	for {
		t.mu.Lock()
		room, wait := t.roomLocked()
		changed := t.changed
		t.mu.Unlock()
		if room > 0 {
			return room
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// roomLocked returns how much output may be read so that no follower gets more
// than a Window behind, and if that is nothing, how long to wait at most.
func (t *Terminal) roomLocked() (room int, wait time.Duration) {
	room, wait = chunk, t.stall
	if t.closing {
		return room, 0
	}
	now := t.now()
	for f := range t.followers {
		if f.stalled {
			continue
		}
		left := f.acked + Window - t.ring.end
		if left > 0 {
			f.full = time.Time{}
			room = int(min(int64(room), left))
			continue
		}
		if f.full.IsZero() {
			f.full = now
		}
		patience := f.full.Add(t.stall).Sub(now)
		if patience <= 0 {
			f.stalled = true
			continue
		}
		room, wait = 0, min(wait, patience)
	}
	return room, wait
}

// input is what waits to be read by the program.
type input struct {
	mu      sync.Mutex
	queue   []byte
	ended   bool
	changed chan struct{} // holds one token after a change
}

// Write types. It does not wait: what the program does not read yet is kept, up
// to MaxInput bytes, in order. What does not fit is refused as a whole.
func (t *Terminal) Write(b []byte) (int, error) {
	t.in.mu.Lock()
	defer t.in.mu.Unlock()
	if t.in.ended {
		return 0, ErrEnded
	}
	if waiting := len(t.in.queue); waiting+len(b) > MaxInput {
		return 0, fmt.Errorf("%w: %d bytes wait to be read, %d more were refused; at most %d may wait", ErrFull, waiting, len(b), MaxInput)
	}
	t.in.queue = append(t.in.queue, b...)
	select {
	case t.in.changed <- struct{}{}:
	default:
	}
	return len(b), nil
}

// take takes the next bytes of input, none if there are none.
func (i *input) take() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	const most = 4096 // the kernel's line buffer, N_TTY_BUF_SIZE
	n := min(len(i.queue), most)
	b := i.queue[:n:n]
	i.queue = i.queue[n:]
	if len(i.queue) == 0 {
		i.queue = nil
	}
	return b
}

// feed writes input to the pty, as fast as the program reads it.
func (t *Terminal) feed() {
	defer func() {
		t.in.mu.Lock()
		defer t.in.mu.Unlock()
		t.in.ended, t.in.queue = true, nil
	}()
	for {
		b := t.in.take()
		if len(b) == 0 {
			select {
			case <-t.in.changed:
				continue
			case <-t.gone:
				return
			}
		}
		_, err := t.master.Write(b)
		if err == nil {
			continue
		}
		if !errors.Is(err, unix.EIO) || t.isGone() {
			return
		}
		// Nobody has the other end open: what is typed falls on the floor.
	}
}
