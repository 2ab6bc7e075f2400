//go:build !race

package terminal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"runtime"
	"testing"
	"time"
)

// TestMemoryIsFlat: 50 MB go through with two followers, and no more than the
// ring is kept.
func TestMemoryIsFlat(t *testing.T) {
	const size = 50 << 20
	term := printer(t, size, time.Hour)
	f, idle := term.Attach(0), term.Attach(0)
	defer f.Close()
	go func() { // a second page, as far as it gets
		defer idle.Close()
		for {
			_, at, _, err := idle.Next(context.WithoutCancel(t.Context()))
			if err != nil {
				return
			}
			idle.Ack(at)
		}
	}()
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	typed(t, term, "\r")
	sum, seen, peak := sha256.New(), 0, uint64(0)
	ctx := timeout(t)
	for seen < size {
		b, at, lost, err := f.Next(ctx)
		if err != nil || lost != 0 {
			t.Fatalf("after %d bytes: %v, %d lost", seen, err, lost)
		}
		sum.Write(b)
		f.Ack(at)
		if seen>>22 != (seen+len(b))>>22 { // every 4 MiB
			runtime.GC()
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc)
		}
		seen += len(b)
	}
	want := sha256.New()
	_, _ = io.CopyN(want, &numbers{}, size)
	if !bytes.Equal(sum.Sum(nil), want.Sum(nil)) {
		t.Error("what came is not what was printed")
	}
	if grown := int64(peak) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}
