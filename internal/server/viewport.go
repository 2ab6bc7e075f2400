package server

import (
	"math/bits"

	"kernelviz/internal/kernelviz"
)

// Bounds of a viewport's width in CSS pixels and the step it is rounded to.
const (
	pxDefault = 1280
	pxStep    = 256
	pxMax     = 4096
)

// quantise rounds a viewport out to a grid of powers of two, so that viewers
// who look at nearly the same part share their frames. The result covers what
// was asked for and is at most half as wide again, or the whole object.
func quantise(vp kernelviz.Viewport) kernelviz.Viewport {
	px := int(vp.Px)
	if px == 0 {
		px = pxDefault
	}
	px = min((px+pxStep-1)/pxStep*pxStep, pxMax)
	out := kernelviz.Viewport{Px: uint16(px)}
	if vp.Hi <= vp.Lo {
		return out // to the end is the whole object: a page that shows a part says which
	}
	width := vp.Hi - vp.Lo
	grid := uint64(1)
	if n := bits.Len32(width - 1); n > 3 {
		grid = 1 << (n - 3)
	}
	out.Lo = uint32(uint64(vp.Lo) / grid * grid)
	hi := (uint64(vp.Hi) + grid - 1) / grid * grid
	if hi > 1<<32-1 {
		hi = 0 // to the end
	}
	out.Hi = uint32(hi)
	return out
}
