package epoll

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

func TestParseFdinfo(t *testing.T) {
	cases := []struct {
		name, text string
		want       []Item
		bad        bool
	}{
		{name: "empty", text: ""},
		{name: "no items", text: "pos:\t0\nflags:\t02000002\nmnt_id:\t16\nino:\t4\n"},
		{name: "6.18", text: "pos:\t0\nflags:\t02000002\nmnt_id:\t16\nino:\t4\ntfd:        5 events:       19 data:                5  pos:0 ino:4 sdev:10\n",
			want: []Item{{FD: 5, Events: 0x19, Data: 5, Inode: 4}}},
		{name: "nginx: a pointer as data, edge-triggered", text: "tfd:        6 events: 8000201d data:     563c2a7d41d0  pos:0 ino:1b8f3 sdev:9\n",
			want: []Item{{FD: 6, Events: 0x8000201d, Data: 0x563c2a7d41d0, Inode: 0x1b8f3}}},
		{name: "widest values", text: "tfd: 1048575 events: ffffffff data: ffffffffffffffff  pos:9223372036854775807 ino:ffffffffffffffff sdev:fffff\n",
			want: []Item{{FD: 1048575, Events: 0xffffffff, Data: 1<<64 - 1, Inode: 1<<64 - 1}}},
		{name: "negative position", text: "tfd:        8 events:       1b data: 1  pos:-1 ino:20 sdev:1\n",
			want: []Item{{FD: 8, Events: 0x1b, Data: 1, Inode: 0x20}}},
		{name: "position of a seekable device", text: "tfd:        8 events:        1 data:    8000000000000008  pos:4611686018427387904 ino:2f sdev:800001\n",
			want: []Item{{FD: 8, Events: 1, Data: 0x8000000000000008, Inode: 0x2f}}},
		{name: "before 4.13", text: "tfd:        7 events:       19 data:                7\n",
			want: []Item{{FD: 7, Events: 0x19, Data: 7}}},
		{name: "same fd twice, as after dup and close", text: "tfd: 5 events: 19 data: 5  pos:0 ino:4 sdev:f\ntfd: 5 events: 1 data: 5  pos:0 ino:4 sdev:f\n",
			want: []Item{{FD: 5, Events: 0x19, Data: 5, Inode: 4}, {FD: 5, Events: 1, Data: 5, Inode: 4}}},
		{name: "masked out by EPOLLONESHOT", text: "tfd: 5 events: 40000000 data: 0  pos:0 ino:4 sdev:f\n",
			want: []Item{{FD: 5, Events: 0x40000000, Inode: 4}}},
		{name: "last line without its end", text: "tfd: 5 events: 19 data: 5  pos:0 ino:4 sdev:f",
			want: []Item{{FD: 5, Events: 0x19, Data: 5, Inode: 4}}},
		{name: "other lines between", text: "tfd: 5 events: 19 data: 5\ninotify wd:1\ntfd: 6 events: 19 data: 6\n",
			want: []Item{{FD: 5, Events: 0x19, Data: 5}, {FD: 6, Events: 0x19, Data: 6}}},
		{name: "fd is no number", text: "tfd: x events: 19 data: 5\n", bad: true},
		{name: "no data", text: "tfd: 5 events: 19\n", bad: true},
		{name: "cut off", text: "tfd: 5 eve", bad: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseFdinfo(c.text)
			if (err != nil) != c.bad {
				t.Fatalf("error %v", err)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func TestFdinfoTierShowsMembership(t *testing.T) {
	v := viewOf(t, TierFdinfo)
	ep := newInstance(t)
	fds := ep.addEventfds(t, 31)
	if err := unix.EpollCtl(ep.fd, unix.EPOLL_CTL_MOD, fds[3], &unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLET, Fd: -7, Pad: 9}); err != nil {
		t.Fatal(err)
	}
	w := watchOf(t, v, ep)
	s := sample(t, w)
	compareWithFdinfo(t, s, ep)
	if s.instance.Membership != 1 || s.Glyphs() {
		t.Errorf("the shape is not known and must not be drawn: %+v", s.instance)
	}
	for _, r := range s.nodes {
		if r.Left|r.Right|r.Parent != 0 {
			t.Fatalf("links without knowledge: %+v", r)
		}
	}
	for _, f := range s.files {
		if f.Type != wire.FileEventfd {
			t.Fatalf("file %+v is an eventfd", f)
		}
	}
	if _, err := w.Inspect(t.Context(), "node", s.nodes[0].ID); err == nil {
		t.Error("fdinfo cannot read structs")
	}
}

func TestFdinfoTierShowsTheFirstOfMany(t *testing.T) {
	v := viewOf(t, TierFdinfo)
	ep := newInstance(t)
	ep.addEventfds(t, kernelviz.MaxWhole+100)
	s := sample(t, watchOf(t, v, ep))
	if s.Items() != kernelviz.MaxWhole+100 || len(s.nodes) != kernelviz.MaxWhole || s.Glyphs() {
		t.Errorf("%d items, %d rows, glyphs %t", s.Items(), len(s.nodes), s.Glyphs())
	}
	out, rows, key := s.AppendSections(nil, kernelviz.Viewport{Lo: 5, Hi: 10}, nil)
	newPicture().apply(t, out, rows)
	if !key {
		t.Error("a first frame stands alone")
	}
}

// After dup and close the number of the old fd is free, and the next file that
// gets it can be added too: two items with one fd and, for anonymous inodes,
// one inode.
func TestFdinfoTierTellsTwoItemsOfOneFdApart(t *testing.T) {
	v := viewOf(t, TierFdinfo)
	ep := newInstance(t)
	fd := ep.addEventfds(t, 1)[0]
	twin, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(twin) })
	other, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	// The item stays, since the file lives on in twin; fd is another file now.
	if err := unix.Dup3(other, fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	unix.Close(other)
	ep.add(t, fd, unix.EPOLLIN)
	w := watchOf(t, v, ep)
	first := sample(t, w)
	if first.Items() != 2 || len(first.index) != 2 {
		t.Fatalf("%d items with %d ids", first.Items(), len(first.index))
	}
	second := sample(t, w)
	for i := range first.nodes {
		if first.nodes[i].ID != second.nodes[i].ID {
			t.Errorf("item %d was %d and is %d", i, first.nodes[i].ID, second.nodes[i].ID)
		}
	}
	onto, _ := frameOf(t, first, nil, nil)
	ep.del(t, fd) // the new file's item: the key is (file, fd)
	third := sample(t, w)
	got, _ := frameOf(t, third, first, onto)
	want, _ := frameOf(t, third, nil, nil)
	got.equal(t, want)
	if len(third.nodes) != 1 {
		t.Errorf("%d items are left", len(third.nodes))
	}
}

// Random instances over time: deltas of the fdinfo tier add up like all others.
func TestFdinfoTierDeltas(t *testing.T) {
	v := viewOf(t, TierFdinfo)
	ep := newInstance(t)
	rng := rand.New(rand.NewPCG(8, 8))
	fds := ep.addEventfds(t, 40)
	in := make([]bool, len(fds))
	for i := range in {
		in[i] = true
	}
	w := watchOf(t, v, ep)
	base := sample(t, w)
	onto, _ := frameOf(t, base, nil, nil)
	for range 100 {
		for range rng.IntN(5) {
			i := rng.IntN(len(fds))
			if in[i] {
				ep.del(t, fds[i])
			} else {
				ep.add(t, fds[i], uint32(1+rng.IntN(4)))
			}
			in[i] = !in[i]
		}
		s := sample(t, w)
		compareWithFdinfo(t, s, ep)
		got, _ := frameOf(t, s, base, onto)
		want, _ := frameOf(t, s, nil, nil)
		got.equal(t, want)
		if t.Failed() {
			t.FailNow()
		}
		base, onto = s, want
	}
}

func TestFdinfoTierEnds(t *testing.T) {
	v := viewOf(t, TierFdinfo)
	ep := newInstance(t)
	w := watchOf(t, v, ep)
	sample(t, w)
	ep.close()
	if _, err := w.Sample(context.Background()); !errors.Is(err, kernelviz.ErrGone) {
		t.Errorf("after close: %v", err)
	}
	if _, err := v.Open(t.Context(), fmt.Sprintf("%d:%d", os.Getpid(), 1<<20)); !errors.Is(err, kernelviz.ErrNotFound) {
		t.Errorf("opening what is not there: %v", err)
	}
}
