package iouring

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Memory is n bytes (rounded up to pages) of zeroed memory outside the Go heap,
// for what requests point to: it neither moves nor goes while the kernel uses
// it. It is populated, so that its first use costs no page faults. free gives
// it back; a second call does nothing.
func Memory(n int) (mem []byte, free func(), err error) {
	mem, err = unix.Mmap(-1, 0, roundPage(n), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, nil, fmt.Errorf("%d bytes of memory for io_uring: %w", n, err)
	}
	whole, done := mem, false
	return mem[:n:n], func() {
		if !done {
			done = true
			_ = unix.Munmap(whole)
		}
	}, nil
}

func roundPage(n int) int {
	page := unix.Getpagesize()
	return (n + page - 1) / page * page
}
