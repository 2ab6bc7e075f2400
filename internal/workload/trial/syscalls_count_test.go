package trial

import (
	"log/slog"
	"os"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"

	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/kernelviz/syscalls"
)

// calls counts with the kernel how often this process makes a system call.
func calls(t *testing.T, name string, f func()) uint64 {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to count system calls")
	}
	info, err := kernel.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := syscalls.New(slog.New(slog.NewTextHandler(t.Output(), nil)), ebpf.CollectionOptions{Cache: info.Cache()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n, err := c.Start(syscalls.Of{PIDs: []int{os.Getpid()}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	f()
	byName, _, err := n.Read()
	if err != nil {
		t.Fatal(err)
	}
	return byName[name]
}

func TestSyscallsReadsAllWithExactlySoManyCalls(t *testing.T) {
	const size = 8 << 20 // 2048 pages
	dir := pages(t, size)
	for _, c := range []struct {
		variant, call string
		calls, ops    uint64
	}{
		{"pread-4k", "pread64", 2048, 2048},
		{"pread-128k", "pread64", 64, 64},
		{"ring-256", "io_uring_enter", 8, 2048},
		{"ring-32768", "io_uring_enter", 1, 2048},
	} {
		w, err := newSyscalls(syscallsSpec(dir, c.variant, size))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := w.Prepare(); err != nil {
			t.Fatalf("%s: %v", c.variant, err)
		}
		got := calls(t, c.call, func() {
			r, err := w.Run(nil)
			if err != nil {
				t.Fatalf("%s: %v", c.variant, err)
			}
			if r.Bytes != size || r.Ops != c.ops || r.Seconds <= 0 || r.Notes != nil {
				t.Errorf("%s: %+v", c.variant, r)
			}
		})
		if got != c.calls {
			t.Errorf("%s: %d calls of %s, want %d", c.variant, got, c.call, c.calls)
		}
	}
}

// SQPOLL needs the kernel only to be woken: a call or two for all of it, where
// a ring without makes one for every 256 reads.
func TestSyscallsPollsHardlyCalls(t *testing.T) {
	const size = 64 << 20
	dir := pages(t, size)
	w, err := newSyscalls(syscallsSpec(dir, "sqpoll-256", size))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Prepare(); err != nil {
		t.Fatal(err)
	}
	got := calls(t, "io_uring_enter", func() {
		r, err := w.Run(nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Ops != size/PageSize {
			t.Errorf("%+v", r)
		}
		if few := runtime.NumCPU() < 3; few != (len(r.Notes) == 1) || few && r.Notes[0].Code != "few_cpus" {
			t.Errorf("notes %+v with %d CPUs", r.Notes, runtime.NumCPU())
		}
	})
	if got > 16 {
		t.Errorf("%d calls of io_uring_enter", got)
	}
}
