package trial

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kernelviz/internal/oracle"
)

// pages makes a file of WritePages in a directory of its own.
func pages(t *testing.T, size int64) string {
	t.Helper()
	dir := t.TempDir()
	if err := WritePages(t.Context(), dir, size); err != nil {
		t.Fatal(err)
	}
	return dir
}

// damage makes a page of the file another one.
func damage(t *testing.T, dir string, page int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, pagesName), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, PageSize)
	setStamp(b, uint64(page)+1)
	if _, err := f.WriteAt(b, page*PageSize); err != nil {
		t.Fatal(err)
	}
}

// do runs a work from beginning to end.
func do(t *testing.T, make maker, s Spec) (Report, error) {
	t.Helper()
	w, err := make(s)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := w.Prepare(); err != nil {
		return Report{}, err
	}
	return w.Run(nil)
}

func syscallsSpec(dir, variant string, size int64) Spec {
	return Spec{Experiment: "syscalls", Series: "read", Variant: variant, Role: "reader", Dir: dir, Params: map[string]float64{"bytes": float64(size)}}
}

// The last batch of a ring is smaller than the ring.
func TestSyscallsEndsWithAPart(t *testing.T) {
	const size = 3 << 20
	dir := pages(t, size)
	for variant := range readWays() {
		r, err := do(t, newSyscalls, syscallsSpec(dir, variant, size))
		if err != nil || r.Bytes != size {
			t.Errorf("%s: %+v, %v", variant, r, err)
		}
	}
}

func TestSyscallsNoticesWrongPages(t *testing.T) {
	const size = 2 << 20
	for variant := range readWays() {
		dir := pages(t, size)
		damage(t, dir, 2*sampled)
		_, err := do(t, newSyscalls, syscallsSpec(dir, variant, size))
		if err == nil || !strings.Contains(err.Error(), "page 122 of the file gave something else") {
			t.Errorf("%s: %v", variant, err)
		}
	}
}

// A file that has become shorter gives short reads.
func TestSyscallsNoticesShortReads(t *testing.T) {
	const size = 2 << 20
	for variant := range readWays() {
		dir := pages(t, size)
		w, err := newSyscalls(syscallsSpec(dir, variant, size))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := w.Prepare(); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, pagesName), size-100); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Run(nil); err == nil || !strings.Contains(err.Error(), "gave") {
			t.Errorf("%s: %v", variant, err)
		}
	}
}

func TestSyscallsBringsTheFileIntoThePageCache(t *testing.T) {
	const size = 4 << 20
	dir := pages(t, size)
	fd, err := openPages(dir, size, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if n, err := resident(fd, size); n != size/PageSize || err != nil {
		t.Errorf("%d pages after writing, %v", n, err)
	}
	if err := unix.Fadvise(fd, 0, size, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if n, err := resident(fd, size); n == size/PageSize || err != nil {
		oracle.HostOnly(t, "a disk whose files leave the page cache")
		t.Fatalf("%d pages after giving them up, %v", n, err)
	}
	if err := warm(fd, size); err != nil {
		t.Fatal(err)
	}
	if n, err := resident(fd, size); n != size/PageSize || err != nil {
		t.Errorf("%d pages after warming up, %v", n, err)
	}
}

func TestSyscallsRefuses(t *testing.T) {
	dir := pages(t, 1<<20)
	for want, s := range map[string]Spec{
		"unknown variant":  syscallsSpec(dir, "mmap", 1<<20),
		"no multiple":      syscallsSpec(dir, "pread-4k", 1<<20+4096),
		`"bytes" is 0`:     syscallsSpec(dir, "pread-4k", 0),
		"has 1048576 byte": syscallsSpec(dir, "pread-4k", 2<<20),
		"no such file":     syscallsSpec(t.TempDir(), "pread-4k", 1<<20),
	} {
		w, err := newSyscalls(s)
		if err == nil {
			_, err = w.Prepare()
			w.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestWritePagesIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := WritePages(ctx, t.TempDir(), 4<<20); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := WritePages(t.Context(), t.TempDir(), 4097); err == nil {
		t.Error("a size that is no multiple of 1 MiB")
	}
}

func TestLookSamples(t *testing.T) {
	block := make([]byte, 128<<10)
	for first := range uint64(3 * sampled) {
		seen := 0
		for p := range uint64(32) {
			for i := range uint64(32) {
				setStamp(block[i*PageSize:][:PageSize], first+i)
			}
			setStamp(block[p*PageSize:][:PageSize], 1<<40)
			if look(block, first) != nil {
				seen++
				if (first+p)%sampled != 0 {
					t.Errorf("page %d is looked at", first+p)
				}
			} else if (first+p)%sampled == 0 {
				t.Errorf("page %d is not looked at", first+p)
			}
		}
		if seen > 1 {
			t.Errorf("from %d: %d of 32 pages are looked at", first, seen)
		}
	}
}
