package trial

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func zerocopySpec(role, variant, dir string, size, chunk float64) Spec {
	return Spec{
		Experiment: "zerocopy", Series: "test", Variant: variant, Role: role, Dir: dir,
		Params: map[string]float64{"file": size, "size": size, "chunk": chunk, "veth": 0},
	}
}

func zerocopyPair(t *testing.T, variant, dir string, size, chunk float64) (a, b Report, errA, errB error) {
	t.Helper()
	r, err := newZerocopyReceiver(zerocopySpec("receiver", variant, dir, size, chunk))
	if err != nil {
		t.Fatal(err)
	}
	s, err := newZerocopySender(zerocopySpec("sender", variant, dir, size, chunk))
	if err != nil {
		t.Fatal(err)
	}
	return pair(t, r, s, "receiver")
}

func TestZerocopySendsAll(t *testing.T) {
	noGarbage(t)
	const size = 6 << 20
	dir := t.TempDir()
	if err := WritePages(t.Context(), dir, size); err != nil {
		t.Fatal(err)
	}
	before := len(openDescriptors(t))
	for _, variant := range zerocopyVariants() {
		for _, chunk := range []float64{4096, 65_536, 1 << 20} {
			a, b, errA, errB := zerocopyPair(t, variant, dir, size, chunk)
			if errA != nil || errB != nil {
				t.Errorf("%s %v: %v; %v", variant, chunk, errA, errB)
				continue
			}
			if a.Bytes != size || b.Bytes != size || b.Ops != size/uint64(chunk) || a.Ops == 0 || b.Seconds <= 0 {
				t.Errorf("%s %v: %+v, %+v", variant, chunk, a, b)
			}
			copied, tells := b.Metrics["copied"]
			lends := variant == "msg-zerocopy" || variant == "uring-sendzc"
			if tells && !lends || variant == "msg-zerocopy" && !tells || copied < 0 || copied > 1 || (copied > 0) != (len(b.Notes) == 1) {
				t.Errorf("%s %v: copied %v, %v; %v", variant, chunk, copied, tells, b.Notes)
			}
		}
	}
	if after := len(openDescriptors(t)); after != before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}

func openDescriptors(t *testing.T) []os.DirEntry {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return fds
}

func TestZerocopyAsksWhatIsKnown(t *testing.T) {
	restore, err := quiet()
	if err != nil {
		t.Fatal(err)
	}
	defer restore()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for flag, want := range map[uint16]bool{0: true, 1 << 15: false} {
		if got, err := knowsSendZC(fd, flag); err != nil || got != want {
			t.Errorf("flag %#x: %v, %v", flag, got, err)
		}
	}
}

// Where the kernel does not tell whether it copied, nothing is told.
func TestZerocopyWithoutUsage(t *testing.T) {
	noGarbage(t)
	const size = 2 << 20
	dir := t.TempDir()
	if err := WritePages(t.Context(), dir, size); err != nil {
		t.Fatal(err)
	}
	r, err := newZerocopyReceiver(zerocopySpec("receiver", "uring-sendzc", dir, size, 4096))
	if err != nil {
		t.Fatal(err)
	}
	s, err := newZerocopySender(zerocopySpec("sender", "uring-sendzc", dir, size, 4096))
	if err != nil {
		t.Fatal(err)
	}
	a, b, errA, errB := pair(t, r, withoutUsage{s.(*zerocopySender)}, "receiver")
	if errA != nil || errB != nil || a.Bytes != size || b.Bytes != size {
		t.Fatalf("%+v, %v; %+v, %v", a, errA, b, errB)
	}
	if _, tells := b.Metrics["copied"]; tells {
		t.Errorf("%+v", b)
	}
}

// withoutUsage sends as on such a kernel.
type withoutUsage struct{ *zerocopySender }

func (u withoutUsage) Prepare() (any, error) {
	said, err := u.zerocopySender.Prepare()
	u.way.(*uringSendZC).usage = 0
	return said, err
}

// A receiver that gets something else than the file says so, and the sender is
// told.
func TestZerocopyNoticesWrongContent(t *testing.T) {
	noGarbage(t)
	const size = 2 << 20
	for _, at := range []int64{0, size - 1, 77 * PageSize} {
		dir := t.TempDir()
		if err := WritePages(t.Context(), dir, size); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(dir, pagesName), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := f.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x40
		if _, err := f.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		_, _, errA, errB := zerocopyPair(t, "sendfile", dir, size, 65_536)
		if errA == nil || !strings.Contains(errA.Error(), "gave something else") || errB == nil {
			t.Errorf("byte %d: %v; %v", at, errA, errB)
		}
	}
}

// A receiver notices that something is missing.
func TestZerocopyNoticesTheEnd(t *testing.T) {
	noGarbage(t)
	dir := t.TempDir()
	if err := WritePages(t.Context(), dir, 1<<20); err != nil {
		t.Fatal(err)
	}
	r, err := newZerocopyReceiver(zerocopySpec("receiver", "readwrite", dir, 2<<20, 4096))
	if err != nil {
		t.Fatal(err)
	}
	s, err := newZerocopySender(zerocopySpec("sender", "readwrite", dir, 1<<20, 4096))
	if err != nil {
		t.Fatal(err)
	}
	_, _, errA, errB := pair(t, r, s, "receiver")
	if errA == nil || !strings.Contains(errA.Error(), "ended after 1048576 of 2097152 bytes") || errB == nil {
		t.Errorf("%v; %v", errA, errB)
	}
}

// Completions are read as the kernel writes them.
func TestZerocopyCompletions(t *testing.T) {
	message := func(errno uint32, origin, code byte, from, to byte) []byte {
		m := make([]byte, 48)
		m[16], m[16+4], m[16+6], m[16+8], m[16+12] = byte(errno), origin, code, from, to
		return m
	}
	w := &msgZerocopy{lent: 10}
	for _, m := range [][]byte{message(0, 5, 1, 0, 3), message(0, 5, 0, 4, 4)} {
		if err := w.take(m); err != nil {
			t.Fatal(err)
		}
	}
	if w.lent != 5 || w.all != 5 || w.copies != 4 {
		t.Errorf("%+v", w)
	}
	for _, m := range [][]byte{message(0, 5, 1, 0, 9), message(0, 2, 0, 0, 0), message(uint32(unix.EPIPE), 5, 0, 0, 0), {1}} {
		if err := w.take(m); err == nil {
			t.Errorf("%v was taken", m)
		}
	}
}

func TestZerocopyRefuses(t *testing.T) {
	for want, s := range map[string]Spec{
		"unknown variant":      zerocopySpec("sender", "tee", "", 1<<20, 4096),
		`"chunk" is 1024`:      zerocopySpec("sender", "splice", "", 1<<20, 1024),
		"no multiple of 1 MiB": zerocopySpec("sender", "splice", "", 1<<20+4096, 4096),
		`"size" is 0`:          zerocopySpec("receiver", "splice", "", 0, 4096),
	} {
		if _, err := newZerocopySizes(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
