package ring

import (
	"unsafe"

	"kernelviz/internal/iouring"
	"kernelviz/internal/workload/control"
)

// arena hands out the memory that requests point to, outside the Go heap. What
// the kernel may still write to is never handed out again.
type arena struct {
	free  map[int][][]byte // by size, a power of two
	total int              // bytes taken from the kernel
}

// maxArena bounds what all requests may hold.
const maxArena = 64 << 20

// take is at least n bytes.
func (a *arena) take(n int) ([]byte, error) {
	size := 64
	for size < n {
		size *= 2
	}
	if a.free == nil {
		a.free = map[int][][]byte{}
	}
	if list := a.free[size]; len(list) > 0 {
		b := list[len(list)-1]
		a.free[size] = list[:len(list)-1]
		clear(b)
		return b, nil
	}
	slab := max(size, 64<<10)
	if a.total+slab > maxArena {
		return nil, &control.Error{
			Code:    "limit",
			Message: "the requests hold the 64 MiB of memory that they may",
			Fix:     "reap completions first, or ask for a smaller len",
		}
	}
	mem, _, err := iouring.Memory(slab)
	if err != nil {
		return nil, control.Errorf("enomem", "%v", err)
	}
	a.total += slab
	for at := size; at < slab; at += size {
		a.free[size] = append(a.free[size], mem[at:at+size:at+size])
	}
	return mem[:size:size], nil
}

// give takes b back. Nil is allowed.
func (a *arena) give(b []byte) {
	if b != nil {
		a.free[len(b)] = append(a.free[len(b)], b)
	}
}

func addressOf(b []byte) uint64 {
	if len(b) == 0 {
		return 0
	}
	return uint64(uintptr(unsafe.Pointer(&b[0])))
}
