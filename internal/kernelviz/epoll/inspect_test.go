package epoll

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
)

// everyDetail inspects all that a snapshot names.
func everyDetail(t testing.TB, w kernelviz.Watch, s *Snapshot) []kernelviz.Detail {
	t.Helper()
	inspect := func(object string, id uint32) kernelviz.Detail {
		d, err := w.Inspect(t.Context(), object, id)
		if err != nil {
			t.Fatalf("%s %d: %v", object, id, err)
		}
		return d
	}
	out := []kernelviz.Detail{inspect("instance", 0)}
	for _, n := range s.nodes {
		out = append(out, inspect("node", n.ID))
	}
	for _, f := range s.files {
		out = append(out, inspect("file", f.ID))
	}
	for _, wt := range s.waiters {
		out = append(out, inspect("waiter", wt.TID))
	}
	return out
}

// busyInstance has everything that points somewhere: nested instances, ready
// items, files of several kinds, a thread asleep.
func busyInstance(t testing.TB) (*instance, func()) {
	t.Helper()
	ep, inner, outer := newInstance(t), newInstance(t), newInstance(t)
	fds := ep.addEventfds(t, 40)
	_, client, server := connected(t, unix.AF_INET)
	for _, fd := range []int{client, server, inner.fd} {
		ep.add(t, fd, unix.EPOLLIN|unix.EPOLLET)
	}
	outer.add(t, ep.fd, unix.EPOLLIN)
	wt := startWaiter(ep.fd, 1)
	return ep, func() {
		ring(t, fds[0])
		if err := <-wt.woke; err != nil {
			t.Error(err)
		}
	}
}

// kernelAddress is one in hexadecimal: with five levels of page tables the
// kernel's half begins at ff00000000000000. The last page is error codes.
var kernelAddress = regexp.MustCompile(`(?i)ff[0-9a-f]{14}`)

const errorCodes = ^uint64(4095) // IS_ERR_VALUE, include/linux/err.h

// leaks tells whether a text holds a kernel address, in hexadecimal or, with
// or without a sign, in decimal.
func leaks(s string) bool {
	for _, hex := range kernelAddress.FindAllString(s, -1) {
		if v, err := strconv.ParseUint(hex, 16, 64); err == nil && v < errorCodes {
			return true
		}
	}
	for _, number := range regexp.MustCompile(`-?[0-9]{10,}`).FindAllString(s, -1) {
		if v, err := strconv.ParseUint(number, 10, 64); err == nil && v>>56 == 0xff && v < errorCodes {
			return true
		}
		if v, err := strconv.ParseInt(number, 10, 64); err == nil && v < -4096 {
			return true
		}
	}
	return false
}

func TestLeaksAreRecognised(t *testing.T) {
	for text, want := range map[string]bool{
		"0xffff888003c4d000": true, "FFFF888003C4D000": true, "18446612682193817600": true, "-131391515734016": true, "0xff169de411a16f80": true, "18381130203853713408": true,
		"18446744073709551615": false, "0xffffffffffffffff": false, "-9": false, "0x55d0c0a4e010": false, "94359738368000": false, "itself+24": false,
	} {
		if leaks(text) != want {
			t.Errorf("%q: %t", text, !want)
		}
	}
}

func TestNoKernelAddressIsShown(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep, end := busyInstance(t)
		defer end()
		w := watchOf(t, v, ep)
		s := await(t, w, "a thread asleep", func(s *Snapshot) bool { return len(s.waiters) == 1 })
		fields := 0
		for _, d := range everyDetail(t, w, s) {
			for _, b := range d.Structs {
				for _, f := range b.Fields {
					fields++
					if leaks(fmt.Sprint(f.Value, f.Note)) {
						t.Errorf("%s %s: %s of %s is %q", d.Object, d.Title, f.Path, b.Name, f.Value)
					}
				}
			}
			if leaks(fmt.Sprint(d.Title, d.Notes)) {
				t.Errorf("%s: %q %v", d.Object, d.Title, d.Notes)
			}
		}
		if fields < 500 {
			t.Errorf("only %d fields of %d items", fields, len(s.nodes))
		}
		shown := fmt.Sprintf("%+v", s.Show(v.Tiers()))
		if leaks(shown) {
			t.Errorf("an address in %s", shown)
		}
	})
}

// With the option, addresses are there: the test above would see them.
func TestKernelAddressesOnRequest(t *testing.T) {
	needs(t, TierProbeRead)
	v := sharedView(t, "addresses", Options{NoTransitions: true, ShowAddresses: true})
	ep, end := busyInstance(t)
	defer end()
	w := watchOf(t, v, ep)
	s := await(t, w, "a thread asleep", func(s *Snapshot) bool { return len(s.waiters) == 1 })
	seen := map[string]bool{}
	for _, d := range everyDetail(t, w, s) {
		for _, b := range d.Structs {
			for _, f := range b.Fields {
				if leaks(f.Value) {
					seen[d.Object] = true
				}
			}
		}
	}
	if !seen["instance"] || !seen["node"] || !seen["file"] || !seen["waiter"] {
		t.Errorf("addresses are shown of %v", seen)
	}
}

// The fields of a struct are those that the system calls put there.
func TestInspectedValues(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fd := newEventfd(t)
		e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: 0x11223344, Pad: 0x00556677}
		if err := unix.EpollCtl(ep.fd, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
			t.Fatal(err)
		}
		w := watchOf(t, v, ep)
		s := wholeSample(t, w)
		d, err := w.Inspect(t.Context(), "node", s.nodes[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		if d.Title != fmt.Sprintf("fd %d", fd) || len(d.Structs) == 0 || d.Structs[0].Name != "struct epitem" {
			t.Fatalf("%+v", d)
		}
		value := func(path string) string {
			i := slices.IndexFunc(d.Structs[0].Fields, func(f kernelviz.Field) bool { return f.Path == path })
			if i < 0 {
				t.Fatalf("struct epitem has no field %s", path)
			}
			return d.Structs[0].Fields[i].Value
		}
		for path, want := range map[string]string{
			"ffd.fd": strconv.Itoa(fd), "event.events": "EPOLLIN|EPOLLERR|EPOLLHUP|EPOLLET", "event.data": "0x55667711223344",
		} {
			if got := value(path); !strings.Contains(got, want) {
				t.Errorf("%s is %q, want %s", path, got, want)
			}
		}
		if got := value("ep"); got != fmt.Sprintf("epoll #%d", s.instance.ID) {
			t.Errorf("ep is %q", got)
		}
		if got := value("rbn.__rb_parent_color"); got != "NULL, black" {
			t.Errorf("the root's parent and colour is %q", got)
		}
		size := 0
		for _, f := range d.Structs[0].Fields {
			if f.Offset < 0 || f.Offset+f.Size > d.Structs[0].Size {
				t.Errorf("field %+v leaves the struct", f)
			}
			size += f.Size
		}
		if size == 0 || d.Structs[0].Size != v.kernel.Size("epitem") {
			t.Errorf("%d bytes in fields of %d", size, d.Structs[0].Size)
		}
	})
}

func TestInspectWhatIsNotThere(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fd := ep.addEventfds(t, 2)[0]
		w := watchOf(t, v, ep)
		s := wholeSample(t, w)
		ep.del(t, fd)
		wholeSample(t, w)
		for _, n := range s.nodes {
			_, err := w.Inspect(t.Context(), "node", n.ID)
			if deleted := int(n.FD) == fd; deleted != errors.Is(err, kernelviz.ErrGone) {
				t.Errorf("fd %d, deleted %t: %v", n.FD, deleted, err)
			}
		}
		for _, object := range []string{"", "planet", "node "} {
			if _, err := w.Inspect(t.Context(), object, 1); err == nil {
				t.Errorf("%q was inspected", object)
			}
		}
		for _, object := range []string{"node", "file", "waiter"} {
			if _, err := w.Inspect(t.Context(), object, 1<<31); !errors.Is(err, kernelviz.ErrGone) {
				t.Errorf("a %s that never was: %v", object, err)
			}
		}
	})
}

// The item may go between the sample and the question.
func TestInspectAfterTheInstanceWent(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		ep.addEventfds(t, 1)
		w := watchOf(t, v, ep)
		id := wholeSample(t, w).nodes[0].ID
		ep.close()
		// Whatever the freed memory holds by now, no address of it gets out.
		for _, object := range []string{"instance", "node"} {
			d, err := w.Inspect(t.Context(), object, id)
			if text := fmt.Sprintf("%+v %v", d, err); leaks(text) {
				t.Errorf("%s: %s", object, text)
			}
			if !errors.Is(err, kernelviz.ErrGone) || len(d.Structs) > 0 {
				t.Errorf("%s of a closed instance: %+v %v", object, d, err)
			}
		}
	})
}
