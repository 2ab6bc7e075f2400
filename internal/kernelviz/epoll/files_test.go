package epoll

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz/wire"
)

// cleanly fails the test on err and closes the fds when it ends.
func cleanly(t testing.TB, err error, fds ...int) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
}

func newSocket(t testing.TB, family, kind int) int {
	t.Helper()
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	cleanly(t, err, fd)
	return fd
}

func loopback(t testing.TB, family int) unix.Sockaddr {
	t.Helper()
	if family == unix.AF_INET {
		return &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	}
	return &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
}

func addrPort(t testing.TB, sa unix.Sockaddr, err error) netip.AddrPort {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	t.Fatalf("socket address %T", sa)
	return netip.AddrPort{}
}

func localAddr(t testing.TB, fd int) netip.AddrPort {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	return addrPort(t, sa, err)
}

func peerAddr(t testing.TB, fd int) netip.AddrPort {
	t.Helper()
	sa, err := unix.Getpeername(fd)
	return addrPort(t, sa, err)
}

// connected makes a listener and both ends of a connection to it.
func connected(t testing.TB, family int) (listener, client, server int) {
	t.Helper()
	listener = newSocket(t, family, unix.SOCK_STREAM)
	if err := unix.Bind(listener, loopback(t, family)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(listener, 8); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(listener)
	if err != nil {
		t.Fatal(err)
	}
	client = newSocket(t, family, unix.SOCK_STREAM)
	if err := unix.Connect(client, sa); err != nil {
		t.Fatal(err)
	}
	server, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC)
	cleanly(t, err, server)
	return listener, client, server
}

// fileOf returns the file of the item with that fd.
func fileOf(t testing.TB, s *Snapshot, fd int) (wire.FileRow, wire.NodeRow) {
	t.Helper()
	for _, n := range s.nodes {
		if int(n.FD) != fd {
			continue
		}
		k, ok := s.fileIndex[n.File]
		if !ok {
			t.Fatalf("fd %d: its file was not looked at", fd)
		}
		return s.files[k], n
	}
	t.Fatalf("fd %d is not there", fd)
	return wire.FileRow{}, wire.NodeRow{}
}

func inode(t testing.TB, fd int) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestSocketsHaveTheirAddresses(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			t.Run(fmt.Sprint("family ", family), func(t *testing.T) {
				ep := newInstance(t)
				listener, client, server := connected(t, family)
				halfClosed, peer, _ := connected(t, family)
				_ = halfClosed
				udp := newSocket(t, family, unix.SOCK_DGRAM)
				if err := unix.Bind(udp, loopback(t, family)); err != nil {
					t.Fatal(err)
				}
				udpTo := newSocket(t, family, unix.SOCK_DGRAM)
				sa, err := unix.Getsockname(udp)
				if err != nil {
					t.Fatal(err)
				}
				if err := unix.Connect(udpTo, sa); err != nil {
					t.Fatal(err)
				}
				fresh := newSocket(t, family, unix.SOCK_STREAM)
				if err := unix.Shutdown(peer, unix.SHUT_WR); err != nil {
					t.Fatal(err)
				}
				for _, fd := range []int{listener, client, server, udp, udpTo, fresh, peer} {
					ep.add(t, fd, unix.EPOLLIN)
				}
				const established, closed, listen, finWait2 = 1, 7, 10, 5
				s := wholeSample(t, watchOf(t, v, ep))
				cases := []struct {
					what      string
					fd        int
					proto     uint8
					sock      uint8
					states    []uint8
					text      string
					connected bool
				}{
					{"listener", listener, unix.IPPROTO_TCP, unix.SOCK_STREAM, []uint8{listen}, "LISTEN", false},
					{"client", client, unix.IPPROTO_TCP, unix.SOCK_STREAM, []uint8{established}, "ESTAB", true},
					{"server", server, unix.IPPROTO_TCP, unix.SOCK_STREAM, []uint8{established}, "ESTAB", true},
					{"half-closed", peer, unix.IPPROTO_TCP, unix.SOCK_STREAM, []uint8{finWait2, 4}, "FIN-WAIT", true},
					{"fresh", fresh, unix.IPPROTO_TCP, unix.SOCK_STREAM, []uint8{closed}, "UNCONN", false},
					{"udp", udp, unix.IPPROTO_UDP, unix.SOCK_DGRAM, []uint8{closed}, "UNCONN", false},
					{"connected udp", udpTo, unix.IPPROTO_UDP, unix.SOCK_DGRAM, []uint8{established}, "ESTAB", true},
				}
				for _, c := range cases {
					f, n := fileOf(t, s, c.fd)
					if f.Type != wire.FileSocket || int(f.Family) != family || f.Sock != c.sock || f.Proto != c.proto || !slices.Contains(c.states, f.State) {
						t.Errorf("%s: %+v", c.what, f)
					}
					if f.Inode != inode(t, c.fd) {
						t.Errorf("%s: inode %d, fstat says %d", c.what, f.Inode, inode(t, c.fd))
					}
					if got, want := rowAddr(&f, f.LAddr, f.LPort), localAddr(t, c.fd); got != want {
						t.Errorf("%s: local %v, getsockname says %v", c.what, got, want)
					}
					if c.connected {
						if got, want := rowAddr(&f, f.RAddr, f.RPort), peerAddr(t, c.fd); got != want {
							t.Errorf("%s: remote %v, getpeername says %v", c.what, got, want)
						}
					}
					if int(n.Owner) != os.Getpid() || n.Flags&wire.NodeOrphan != 0 {
						t.Errorf("%s: owner %d, flags %#x", c.what, n.Owner, n.Flags)
					}
					text := FileText(&f)
					if !strings.Contains(text, localAddr(t, c.fd).String()) || !strings.Contains(text, c.text) {
						t.Errorf("%s: text is %q", c.what, text)
					}
				}
			})
		}
	})
}

func rowAddr(f *wire.FileRow, addr [16]byte, port uint16) netip.AddrPort {
	if f.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr[:4])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(addr), port)
}

// An IPv6 socket that speaks IPv4 keeps the addresses mapped.
func TestDualStackSocket(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		listener := newSocket(t, unix.AF_INET6, unix.SOCK_STREAM)
		if err := unix.SetsockoptInt(listener, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(listener, &unix.SockaddrInet6{}); err != nil {
			t.Fatal(err)
		}
		if err := unix.Listen(listener, 1); err != nil {
			t.Fatal(err)
		}
		client := newSocket(t, unix.AF_INET, unix.SOCK_STREAM)
		if err := unix.Connect(client, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: int(localAddr(t, listener).Port())}); err != nil {
			t.Fatal(err)
		}
		server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		cleanly(t, err, server)
		ep.add(t, server, unix.EPOLLIN)
		f, _ := fileOf(t, wholeSample(t, watchOf(t, v, ep)), server)
		if got, want := rowAddr(&f, f.LAddr, f.LPort), localAddr(t, server); got != want {
			t.Errorf("local %v, getsockname says %v", got, want)
		}
		if want := "tcp 127.0.0.1:"; !strings.HasPrefix(FileText(&f), want) {
			t.Errorf("text is %q, want %s…", FileText(&f), want)
		}
	})
}

func TestUnixSockets(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		dir, err := os.MkdirTemp("/tmp", "u")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		path := filepath.Join(dir, "s")
		listener := newSocket(t, unix.AF_UNIX, unix.SOCK_STREAM)
		if err := unix.Bind(listener, &unix.SockaddrUnix{Name: path}); err != nil {
			t.Fatal(err)
		}
		if err := unix.Listen(listener, 1); err != nil {
			t.Fatal(err)
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		cleanly(t, err, pair[0], pair[1])
		for _, fd := range []int{listener, pair[0]} {
			ep.add(t, fd, unix.EPOLLIN)
		}
		s := wholeSample(t, watchOf(t, v, ep))
		f, _ := fileOf(t, s, listener)
		want := path[:min(len(path), len(f.Name)-1)]
		if f.Type != wire.FileSocket || f.Family != unix.AF_UNIX || f.Sock != unix.SOCK_STREAM || text(f.Name[:]) != want || f.State != 10 {
			t.Errorf("listener %+v, name %q, want %q", f, text(f.Name[:]), want)
		}
		if f.LPort|f.RPort != 0 || f.LAddr != [16]byte{} {
			t.Errorf("a unix socket has no address of numbers: %+v", f)
		}
		f, _ = fileOf(t, s, pair[0])
		if f.Family != unix.AF_UNIX || f.Sock != unix.SOCK_DGRAM || text(f.Name[:]) != "" || f.Inode != inode(t, pair[0]) {
			t.Errorf("pair %+v", f)
		}
	})
}

// anonymous opens one file of each kind that is not a socket.
func anonymous(t testing.TB) map[wire.FileType]int {
	t.Helper()
	out := map[wire.FileType]int{}
	open := func(kind wire.FileType, fd int, err error) {
		t.Helper()
		cleanly(t, err, fd)
		out[kind] = fd
	}
	var p [2]int
	cleanly(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	cleanly(t, nil, p[0], p[1])
	out[wire.FilePipe] = p[0]
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	open(wire.FileEventfd, fd, err)
	fd, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	open(wire.FileTimerfd, fd, err)
	fd, err = unix.Signalfd(-1, &unix.Sigset_t{}, unix.SFD_CLOEXEC)
	open(wire.FileSignalfd, fd, err)
	fd, err = unix.InotifyInit1(unix.IN_CLOEXEC)
	open(wire.FileInotify, fd, err)
	fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	open(wire.FileEpoll, fd, err)
	fd, err = unix.PidfdOpen(os.Getpid(), 0)
	open(wire.FilePidfd, fd, err)
	fd, err = unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	open(wire.FileTTY, fd, err)
	fd, err = unix.Open("/proc/self/mounts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	open(wire.FileOther, fd, err)
	return out
}

// terminal opens both ends of a terminal.
func terminal(t testing.TB) (ptmx, pts int) {
	t.Helper()
	ptmx, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	cleanly(t, err, ptmx)
	pts, err = otherEnd(ptmx)
	cleanly(t, err, pts)
	return ptmx, pts
}

func TestBothEndsOfATerminal(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		ptmx, pts := terminal(t)
		ep.add(t, ptmx, unix.EPOLLIN)
		ep.add(t, pts, unix.EPOLLIN)
		s := wholeSample(t, watchOf(t, v, ep))
		for _, fd := range []int{ptmx, pts} {
			if f, _ := fileOf(t, s, fd); f.Type != wire.FileTTY {
				t.Errorf("fd %d is type %d (%s), want a tty", fd, f.Type, FileText(&f))
			}
		}
	})
}

func TestRingIsAFileType(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		fd, err := newRing()
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
			t.Skip("io_uring is switched off: sudo sysctl kernel.io_uring_disabled=0")
		}
		cleanly(t, err, fd)
		ep := newInstance(t)
		ep.add(t, fd, unix.EPOLLIN)
		if f, _ := fileOf(t, wholeSample(t, watchOf(t, v, ep)), fd); f.Type != wire.FileIOUring {
			t.Errorf("it is type %d (%s)", f.Type, FileText(&f))
		}
	})
}

func TestFileTypes(t *testing.T) {
	eachTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		files := anonymous(t)
		for _, fd := range files {
			ep.add(t, fd, unix.EPOLLPRI)
		}
		s := wholeSample(t, watchOf(t, v, ep))
		for kind, fd := range files {
			f, _ := fileOf(t, s, fd)
			if f.Type != kind {
				t.Errorf("fd %d is type %d (%s), want %d (%s)", fd, f.Type, FileText(&f), kind, fileWords[kind])
			}
			if f.Inode != inode(t, fd) {
				t.Errorf("%s: inode %d, fstat says %d", fileWords[kind], f.Inode, inode(t, fd))
			}
			if s.tree != nil && f.Refs != 1 {
				t.Errorf("%s: %d references to a file that one fd has open", fileWords[kind], f.Refs)
			}
		}
		f, _ := fileOf(t, s, files[wire.FileOther])
		if text(f.Name[:]) != "mounts" {
			t.Errorf("/proc/self/mounts is called %q", text(f.Name[:]))
		}
	})
}

func TestNestedInstanceIsAnEdge(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		outer, inner := newInstance(t), newInstance(t)
		outer.add(t, inner.fd, unix.EPOLLIN)
		fd := inner.addEventfds(t, 1)[0]
		wo, wi := watchOf(t, v, outer), watchOf(t, v, inner)
		so, si := wholeSample(t, wo), wholeSample(t, wi)
		f, n := fileOf(t, so, inner.fd)
		if si.instance.ID == 0 || si.instance.ID == so.instance.ID || n.Nested != si.instance.ID || f.Nested != si.instance.ID || f.Type != wire.FileEpoll {
			t.Errorf("inner is #%d, the item says #%d and its file #%d", si.instance.ID, n.Nested, f.Nested)
		}
		if si.instance.PollWaiters != 1 || so.instance.PollWaiters != 0 {
			t.Errorf("%d and %d poll waiters, want 1 and 0", si.instance.PollWaiters, so.instance.PollWaiters)
		}
		// What is ready inside makes the inner instance ready outside.
		ring(t, fd)
		checkReady(t, wholeSample(t, wi), []int32{int32(fd)})
		checkReady(t, wholeSample(t, wo), []int32{int32(inner.fd)})
		// The list of targets has the same numbers.
		ids := map[string]uint32{}
		awaitTargets(t, v, "both instances", func(list map[string]target) bool {
			ids[outer.name()], ids[inner.name()] = list[outer.name()].instance, list[inner.name()].instance
			return ids[outer.name()] != 0 && ids[inner.name()] != 0
		})
		if ids[outer.name()] != so.instance.ID || ids[inner.name()] != si.instance.ID {
			t.Errorf("targets have #%d and #%d, watches #%d and #%d", ids[outer.name()], ids[inner.name()], so.instance.ID, si.instance.ID)
		}
	})
}

// The classic surprise: close does not remove the item while a dup is open.
func TestItemOutlivesItsFd(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		cleanly(t, err)
		keep := newEventfd(t)
		ep.add(t, fd, unix.EPOLLIN)
		ep.add(t, keep, unix.EPOLLIN)
		twin, err := unix.Dup(fd)
		cleanly(t, err, twin)
		w := watchOf(t, v, ep)
		f, n := fileOf(t, wholeSample(t, w), fd)
		if f.Refs != 2 || n.Flags&wire.NodeOrphan != 0 || int(n.Owner) != os.Getpid() {
			t.Errorf("with a dup: %+v %+v", f, n)
		}
		id := n.ID
		unix.Close(fd)
		s := await(t, w, "the item has no fd", func(s *Snapshot) bool {
			_, n := fileOf(t, s, fd)
			return n.Flags&wire.NodeOrphan != 0
		})
		f, n = fileOf(t, s, fd)
		if n.ID != id || n.Owner != 0 || f.Refs != 1 || s.Items() != 2 {
			t.Errorf("after close: %+v %+v", f, n)
		}
		if _, n := fileOf(t, s, keep); n.Flags&wire.NodeOrphan != 0 {
			t.Errorf("the other item has its fd: %+v", n)
		}
		// It reports still, and cannot be deleted by its number.
		ring(t, twin)
		checkReady(t, wholeSample(t, w), []int32{int32(fd)})
		if err := unix.EpollCtl(ep.fd, unix.EPOLL_CTL_DEL, fd, nil); err != unix.EBADF {
			t.Errorf("deleting a closed fd: %v", err)
		}
		// Another file on that fd does not make it the item's.
		other, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		cleanly(t, err)
		if other != fd {
			if err := unix.Dup3(other, fd, unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			unix.Close(other)
		}
		t.Cleanup(func() { unix.Close(fd) })
		ep.add(t, fd, unix.EPOLLIN)
		s = await(t, w, "two items of one fd, one without it", func(s *Snapshot) bool {
			orphans := 0
			for _, n := range s.nodes {
				if int(n.FD) == fd && n.Flags&wire.NodeOrphan != 0 {
					orphans++
				}
			}
			return orphans == 1
		})
		if s.Items() != 3 {
			t.Errorf("%d items, want 3", s.Items())
		}
		checkRows(t, s)
		compareWithFdinfo(t, s, ep)
		ep.del(t, fd) // deletes the new file's item
		unix.Close(twin)
		if s := wholeSample(t, w); s.Items() != 1 {
			t.Errorf("%d items after the last reference went, want 1", s.Items())
		}
	})
}

// More items than one look at files covers, all on one file: none of them has
// lost its fd, whether it was looked at or not.
func TestItemsNotYetLookedAtAreNoOrphans(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		first := newEventfd(t)
		ep.add(t, first, unix.EPOLLIN)
		const n = 2*maxDescribed + 100
		for range n - 1 {
			fd, err := unix.Dup(first)
			cleanly(t, err, fd)
			ep.add(t, fd, unix.EPOLLIN)
		}
		w := watchOf(t, v, ep)
		for range 3 {
			for _, r := range wholeSample(t, w).nodes {
				if r.Flags&wire.NodeOrphan != 0 {
					t.Fatalf("fd %d is open", r.FD)
				}
			}
		}
		await(t, w, "every item has its owner", func(s *Snapshot) bool {
			return !slices.ContainsFunc(s.nodes, func(r wire.NodeRow) bool { return int(r.Owner) != os.Getpid() })
		})
	})
}

// Every item of the largest tree that is drawn whole is looked at in the end.
func TestAllFilesAreLookedAt(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		ep.addEventfds(t, 4000)
		w := watchOf(t, v, ep)
		await(t, w, "4,000 files", func(s *Snapshot) bool { return len(s.files) == 4000 })
	})
}

func TestUnmappedKernelMemoryIsNoFile(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		items := []discoverDescribed{
			{Item: 0xffffed0000000000, File: 0xffffee0000000000, Fd: 5},
			{Item: 0, File: 0, Fd: 5}, {Item: 8, File: 8, Fd: 1}, {Item: 1 << 63, File: 1, Fd: 1}, {Item: ^uint64(0), File: ^uint64(0), Fd: -1},
		}
		if err := v.probe.describe(nil, items); err != nil {
			t.Fatal(err)
		}
		for i, d := range items {
			if d.Owner != 0 || d.Stale == 0 && d.File != 0 {
				t.Errorf("item %d: %+v", i, d)
			}
		}
	})
}
