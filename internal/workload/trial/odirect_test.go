package trial

import (
	"errors"
	"math"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kernelviz/internal/oracle"
)

// direct makes a file of WritePages on a disk that takes O_DIRECT.
func direct(t *testing.T, size int64) string {
	t.Helper()
	dir := pages(t, size)
	fd, err := openPages(dir, size, unix.O_DIRECT)
	if errors.Is(err, unix.EINVAL) {
		oracle.HostOnly(t, "a disk that takes O_DIRECT")
		t.Fatalf("%s lies on no disk that takes O_DIRECT; TMPDIR says where it lies", dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	return dir
}

func odirectSpec(dir, variant string, size, depth, ms float64) Spec {
	return Spec{
		Experiment: "odirect", Series: "test", Variant: variant, Role: "reader", Dir: dir,
		Params: map[string]float64{"bytes": size, "depth": depth, "ms": ms},
	}
}

func TestODirectReadsEveryPageOnce(t *testing.T) {
	const size = 2 << 20
	dir := direct(t, size)
	for _, c := range []struct {
		variant string
		depth   float64
	}{{"pread", 1}, {"uring", 1}, {"uring", 3}, {"uring", 128}, {"uring", 1024}} {
		r, err := do(t, newODirect, odirectSpec(dir, c.variant, size, c.depth, 60_000))
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		if r.Ops != size/PageSize || r.Bytes != size || r.Seconds <= 0 {
			t.Errorf("%+v: %+v", c, r)
		}
		if p50, p99 := r.Metrics["p50_us"], r.Metrics["p99_us"]; p50 <= 0 || p99 < p50 || p99 > r.Seconds*1.1e6 {
			t.Errorf("%+v: half within %v µs, 99%% within %v µs, %v s in all", c, p50, p99, r.Seconds)
		}
	}
}

func TestODirectEndsInTime(t *testing.T) {
	const size = 64 << 20
	dir := direct(t, size)
	for _, variant := range []string{"pread", "uring"} {
		r, err := do(t, newODirect, odirectSpec(dir, variant, size, 4, 5))
		if err != nil {
			t.Fatalf("%s: %v", variant, err)
		}
		if r.Ops == 0 || r.Ops == size/PageSize || r.Bytes != r.Ops*PageSize {
			t.Errorf("%s in 5 ms: %+v", variant, r)
		}
	}
}

func TestODirectNoticesWrongPages(t *testing.T) {
	const size = 2 << 20
	for _, variant := range []string{"pread", "uring"} {
		dir := direct(t, size)
		damage(t, dir, 77)
		_, err := do(t, newODirect, odirectSpec(dir, variant, size, 8, 60_000))
		if err == nil || !strings.Contains(err.Error(), "page 77 of the file gave something else") {
			t.Errorf("%s: %v", variant, err)
		}
	}
}

func TestODirectRefuses(t *testing.T) {
	for want, s := range map[string]Spec{
		"unknown variant": odirectSpec("", "aio", 1<<20, 1, 1),
		"no power of two": odirectSpec("", "uring", 3<<20, 1, 1),
		`"depth" is 0`:    odirectSpec("", "uring", 1<<20, 0, 1),
		`"ms" is 0.5`:     odirectSpec("", "uring", 1<<20, 1, 0.5),
	} {
		if _, err := newODirect(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// The order has every page once, and neighbours seldom follow each other.
func TestODirectOrder(t *testing.T) {
	for _, size := range []int64{1 << 20, 2 << 20, 256 << 20} {
		w := &odirectWork{size: size, start: 12345}
		seen := make([]bool, w.total())
		near := 0
		last := int64(-1000)
		for i := range w.total() {
			p := w.page(i)
			if p >= w.total() || seen[p] {
				t.Fatalf("%d pages: number %d is page %d, out of range or again", w.total(), i, p)
			}
			seen[p] = true
			if d := int64(p) - last; d >= -2 && d <= 2 {
				near++
			}
			last = int64(p)
		}
		if uint64(near) > w.total()/16 {
			t.Errorf("%d of %d pages follow one near them", near, w.total())
		}
	}
}

func TestHistogram(t *testing.T) {
	for _, ns := range []uint64{1, 7, 8, 9, 15, 16, 17, 1000, 123_456, 1 << 40, math.MaxInt64} {
		if got := middle(bucket(ns)); math.Abs(got-float64(ns)) > float64(ns)/8+1 {
			t.Errorf("%d ns is counted as %v", ns, got)
		}
	}
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("a median of nothing")
	}
	for i := range int64(1000) {
		h.add((i + 1) * 1000)
	}
	h.add(0)
	for q, want := range map[float64]float64{0.5: 500_000, 0.99: 990_000, 1: 1_000_000} {
		if got := h.quantile(q); math.Abs(got-want) > want/8 {
			t.Errorf("quantile %v of 1000 to 1,000,000 ns is %v", q, got)
		}
	}
}
