package playground

import (
	"io"
	"os"
	"sync"
	"time"
)

// What is read of a program's output. A program that prints for ever is slowed
// by the pipe: it sleeps in write until we read on.
const (
	ringSize = 64 << 10 // bytes that are kept, and that come at once
	rate     = 1 << 20  // bytes a second after that
	// apart is the least time between two reads in the long run, for programs
	// that print byte by byte.
	apart = 5 * time.Millisecond
)

// output is the end of what a program wrote. The offset of a byte is the number
// of bytes before it since the start.
type output struct {
	mu      sync.Mutex
	ring    [ringSize]byte // byte i is at i % ringSize
	end     int64          // bytes so far
	changed chan struct{}  // closed and replaced when something comes; nil after the end
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) write(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	kept := b[max(0, len(b)-ringSize):]
	at := (o.end + int64(len(b)-len(kept))) % ringSize
	n := copy(o.ring[at:], kept)
	copy(o.ring[:], kept[n:])
	o.end += int64(len(b))
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *output) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = nil
}

func (o *output) read(from int64) (data []byte, at, lost int64, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	from = min(max(from, 0), o.end)
	at = max(from, o.end-ringSize)
	data = make([]byte, o.end-at)
	n := copy(data, o.ring[at%ringSize:])
	copy(data[n:], o.ring[:])
	return data, at, at - from, o.changed
}

func (o *output) length() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.end
}

// fill reads until nobody can write any more.
func (o *output) fill(r io.Reader, now func() time.Time) {
	buf := make([]byte, ringSize)
	var p pace
	for {
		n, err := r.Read(buf)
		if n > 0 {
			o.write(buf[:n])
		}
		if err != nil {
			o.finish()
			return
		}
		time.Sleep(p.wait(now(), n))
	}
}

// endRead lets a reader go on for a moment after all writers of the sandbox are
// gone: somebody outside may have opened the pipe and hold it for ever.
func endRead(r *os.File, gone <-chan struct{}) {
	<-gone
	_ = r.SetReadDeadline(time.Now().Add(time.Second))
}

// pace spreads reads: each costs time, for its bytes or for itself, and what
// was saved up is worth ringSize bytes.
type pace struct{ paid time.Time } // what was read so far is worth the time until then

// wait is how long to wait after a read of n bytes.
func (p *pace) wait(now time.Time, n int) time.Duration {
	const saved = time.Second * ringSize / rate
	if earliest := now.Add(-saved); p.paid.Before(earliest) {
		p.paid = earliest
	}
	p.paid = p.paid.Add(max(apart, time.Second*time.Duration(n)/rate))
	return max(0, p.paid.Sub(now))
}
