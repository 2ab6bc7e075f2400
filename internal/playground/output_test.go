package playground

import (
	"bytes"
	"testing"
	"time"
)

func TestRing(t *testing.T) {
	o := newOutput()
	var all []byte
	for i, size := range []int{0, 1, 1000, ringSize - 1001, 1, ringSize, 3*ringSize + 7, 5} {
		part := bytes.Repeat([]byte{byte('a' + i)}, size)
		all = append(all, part...)
		o.write(part)
		for _, from := range []int64{-1, 0, 1, int64(len(all)) / 2, int64(len(all)) - 3, int64(len(all)), int64(len(all)) + 9} {
			data, at, lost, changed := o.read(from)
			asked := min(max(from, 0), int64(len(all)))
			want := max(asked, int64(len(all))-ringSize)
			if at != want || lost != want-asked || !bytes.Equal(data, all[want:]) || changed == nil {
				t.Fatalf("after %d bytes, from %d: %d bytes at %d, %d lost; want %d at %d, %d lost",
					len(all), from, len(data), at, lost, len(all[want:]), want, want-asked)
			}
		}
	}
}

// A second of any program is bounded in bytes and in reads, and one that says
// little does not wait.
func TestPace(t *testing.T) {
	tests := []struct {
		name         string
		size         int
		least, most  int // reads in the first second
		free         int // reads without a wait
		betweenReads time.Duration
	}{
		{"bytes", 1, 200, 215, 12, 0},
		{"all that fits", ringSize, 16, 18, 1, 0},
		{"some lines, now and then", 80, 10, 10, 10, 100 * time.Millisecond},
	}
	for _, tt := range tests {
		now := time.Unix(1000, 0)
		end := now.Add(time.Second)
		var p pace
		reads, free := 0, 0
		for now.Before(end) {
			wait := p.wait(now, tt.size)
			if wait == 0 && free == reads {
				free++
			}
			reads++
			now = now.Add(wait + tt.betweenReads)
		}
		if reads < tt.least || reads > tt.most || free < tt.free {
			t.Errorf("%s: %d reads in a second, %d at once; want %d to %d, %d at once", tt.name, reads, free, tt.least, tt.most, tt.free)
		}
	}
}
