package server

import (
	"math/rand/v2"
	"testing"

	"kernelviz/internal/kernelviz"
)

func TestQuantise(t *testing.T) {
	type vp = kernelviz.Viewport
	for _, c := range []struct{ in, want vp }{
		{vp{}, vp{Px: 1280}},
		{vp{Px: 1}, vp{Px: 256}},
		{vp{Px: 1281}, vp{Px: 1536}},
		{vp{Px: 65535}, vp{Px: 4096}},
		{vp{Lo: 0, Hi: 1000, Px: 1280}, vp{Lo: 0, Hi: 1024, Px: 1280}},
		{vp{Lo: 130, Hi: 1000, Px: 1280}, vp{Lo: 128, Hi: 1024, Px: 1280}},
		{vp{Lo: 7, Hi: 8, Px: 1280}, vp{Lo: 7, Hi: 8, Px: 1280}},
		{vp{Lo: 1 << 31, Hi: 1<<32 - 1, Px: 1280}, vp{Lo: 1 << 31, Hi: 0, Px: 1280}},
	} {
		if got := quantise(c.in); got != c.want {
			t.Errorf("quantise(%+v) = %+v, want %+v", c.in, got, c.want)
		}
	}
}

func TestQuantiseCovers(t *testing.T) {
	for range 10_000 {
		lo := rand.Uint32()
		in := kernelviz.Viewport{Lo: lo, Hi: lo + 1 + rand.Uint32N(1<<rand.UintN(31))}
		if in.Hi <= in.Lo {
			continue
		}
		got := quantise(in)
		hi := uint64(got.Hi)
		if got.Hi == 0 {
			hi = 1 << 32
		}
		width := uint64(in.Hi - in.Lo)
		if got.Lo > in.Lo || hi < uint64(in.Hi) || hi-uint64(got.Lo) > width+width/2 {
			t.Fatalf("quantise(%+v) = %+v", in, got)
		}
	}
}
