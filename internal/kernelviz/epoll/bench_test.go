package epoll

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
)

// BenchmarkSample takes a sample of an instance of this process and makes its
// delta frame: unchanged since the last one, and with one item changed.
func BenchmarkSample(b *testing.B) {
	v, err := New(b.Context(), Options{NoTransitions: true})
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	for _, n := range []int{100, 1000, 4000, 15000} {
		for _, change := range []bool{false, true} {
			b.Run(fmt.Sprintf("n=%d/change=%t", n, change), func(b *testing.B) {
				ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
				if err != nil {
					b.Fatal(err)
				}
				defer unix.Close(ep)
				fds := make([]int, n)
				for i := range fds {
					if fds[i], err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
						b.Fatal(err)
					}
					defer unix.Close(fds[i])
					if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fds[i], &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fds[i])}); err != nil {
						b.Fatal(err)
					}
				}
				w, err := v.Open(b.Context(), fmt.Sprintf("%d:%d", os.Getpid(), ep))
				if err != nil {
					b.Fatal(err)
				}
				defer w.Close()
				var base kernelviz.Snapshot
				var frame []byte
				for i := 0; b.Loop(); i++ {
					if change {
						op := unix.EPOLL_CTL_DEL
						if i%2 == 1 {
							op = unix.EPOLL_CTL_ADD
						}
						if err := unix.EpollCtl(ep, op, fds[n/2], &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fds[n/2])}); err != nil {
							b.Fatal(err)
						}
					}
					s, err := w.Sample(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					frame, _, _ = s.AppendSections(frame[:0], kernelviz.Viewport{}, base)
					base = s
				}
			})
		}
	}
}
