package oracle

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestServers(t *testing.T) {
	servers := map[string]func(testing.TB) *Server{"nginx": Nginx, "redis": Redis, "haproxy": HAProxy, "node": Node}
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			var pids []int
			t.Run("alive", func(t *testing.T) {
				s := start(t)
				if got := count(t, s); got >= 40 {
					t.Errorf("%d items without a connection", got)
				}
				l := s.Connect(t, 40)
				if got := count(t, s); got < 40 {
					t.Errorf("%d items with 40 connections", got)
				}
				l.Start()
				if got := count(t, s); got < 40 {
					t.Errorf("%d items under load", got)
				}
				if n := l.Stop(t); n < 40 {
					t.Errorf("%d requests were answered on 40 connections", n)
				}
				if name == "redis" {
					RedisBenchmark(t, s, 1000, 4)
				}
				var err error
				if pids, err = s.PIDs(); err != nil || !slices.Contains(pids, s.PID) {
					t.Errorf("processes %v (%v) without %d", pids, err, s.PID)
				}
			})
			if err := syscall.Kill(pids[0], 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("process %d outlived its test: %v", pids[0], err)
			}
		})
	}
}

// count is the number of items of all epoll instances of a server.
func count(t *testing.T, s *Server) int {
	t.Helper()
	instances, err := s.Instances()
	if err != nil {
		t.Fatal(err)
	}
	if len(instances) == 0 {
		t.Fatalf("%s has no epoll instance", s.Name)
	}
	n := 0
	for _, i := range instances {
		items, err := i.Items()
		if err != nil {
			t.Fatal(err)
		}
		n += len(items)
	}
	return n
}

// What this process put in comes out.
func TestItemsOfOwnInstance(t *testing.T) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ep)
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: 0x12345678, Pad: 0x0abcdef0}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		t.Fatal(err)
	}
	me := Instance{PID: os.Getpid(), FD: ep}
	found, err := Instances(me.PID)
	if err != nil || !slices.Contains(found, me) {
		t.Errorf("%v (%v) does not contain %v", found, err, me)
	}
	items, err := me.Items()
	if err != nil || len(items) != 1 {
		t.Fatalf("%+v (%v), want one item", items, err)
	}
	// The kernel adds EPOLLERR and EPOLLHUP (do_epoll_ctl).
	const events = unix.EPOLLIN | unix.EPOLLET | unix.EPOLLERR | unix.EPOLLHUP
	got := items[0]
	if got.FD != fd || got.Events != events&0xffffffff || got.Data != 0x0abcdef012345678 {
		t.Errorf("%+v", got)
	}
	if _, err := (Instance{PID: me.PID, FD: 1 << 20}).Items(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an fd that is not open: %v", err)
	}
}

func TestParseFdinfo(t *testing.T) {
	const text = "pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1044\n" +
		"tfd:        6 events: 80002019 data:     55d0c0a4e010  pos:0 ino:9a sdev:8\n" +
		"tfd:      107 events:       19 data: ffffffffffffffff\n"
	want := []Item{{6, 0x80002019, 0x55d0c0a4e010, 0x9a}, {107, 0x19, ^uint64(0), 0}}
	got, err := parseFdinfo([]byte(text))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v (%v), want %+v", got, err, want)
	}
	for _, bad := range []string{"tfd: x events: 1 data: 1", "tfd: 1 events: data: 1", "tfd: 1", "tfd: 1 events: 1 data: 1 ino:zz"} {
		if got, err := parseFdinfo([]byte(bad + "\n")); err == nil {
			t.Errorf("%q parsed as %+v", bad, got)
		}
	}
}
