package process

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// look is one call of Look.
type look struct {
	withFDs bool
	sum     Summary
	seen    int             // descriptors so far
	sockets map[uint64]bool // those that are counted, by SO_COOKIE
	epolls  []holder
	rings   []holder
	ports   map[int]bool
	link    [256]byte // for readlinkat
}

// holder is a descriptor in its process.
type holder struct{ pid, fd int }

// target is a process while we look at it.
type target struct {
	pid int
	// pidfd is what pidfd_getfd copies from. A copy is asked for the state of
	// its socket, which /proc/PID/net/* has too; but with 10,000 connections
	// opening fdinfo for the flags of each costs more than all these questions.
	// To close a copy does not close the target's file.
	pidfd  int
	fds    *os.File // /proc/PID/fd
	fdinfo *os.File // /proc/PID/fdinfo
}

func openTarget(pid int) (*target, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd_open: %w", err)
	}
	t := &target{pid: pid, pidfd: pidfd}
	if t.fds, err = os.Open(procPath(pid, "fd")); err == nil {
		t.fdinfo, err = os.Open(procPath(pid, "fdinfo"))
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *target) close() {
	unix.Close(t.pidfd)
	t.fds.Close() // nil is allowed
	t.fdinfo.Close()
}

// copyFD copies a descriptor of the target. The caller closes it.
func (t *target) copyFD(fd int) (int, error) {
	c, err := unix.PidfdGetfd(t.pidfd, fd, 0)
	if err != nil {
		return -1, fmt.Errorf("pidfd_getfd of fd %d: %w", fd, err)
	}
	return c, nil
}

// info is the text of /proc/PID/fdinfo/FD, as far as it fits.
func (t *target) info(fd int, buf []byte) (string, error) {
	f, err := unix.Openat(int(t.fdinfo.Fd()), strconv.Itoa(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("opening fdinfo of fd %d: %w", fd, err)
	}
	defer unix.Close(f)
	n, err := unix.Read(f, buf)
	if err != nil {
		return "", fmt.Errorf("reading fdinfo of fd %d: %w", fd, err)
	}
	return string(buf[:n]), nil
}

func (l *look) process(pid int) error {
	if pid <= 0 {
		return nil // 0 stands for a process outside our pid namespace
	}
	t, err := openTarget(pid)
	if err != nil {
		return err
	}
	defer t.close()
	l.sum.Threads += threads(pid)
	l.sum.RingMaps += ringMaps(pid)
	return t.each(func(fd int) (bool, error) {
		if l.seen == maxFDs {
			return false, nil
		}
		l.seen++
		if err := l.descriptor(t, fd); err != nil && !gone(err) {
			return false, err
		}
		return true, nil
	})
}

// each calls do for the descriptors in order until it says that it is enough.
func (t *target) each(do func(fd int) (bool, error)) error {
	for {
		names, err := t.fds.Readdirnames(1024)
		for _, name := range names {
			fd, err := strconv.Atoi(name)
			if err != nil {
				continue
			}
			if more, err := do(fd); err != nil || !more {
				return err
			}
		}
		if err != nil || len(names) == 0 {
			return nil // the end, or the process has died
		}
	}
}

// linksFirst is how many descriptors are known by their link before they are
// copied, so that our process does not hold a copy of an epoll instance even
// for a microsecond, in which the epoll view would find it here. Programs open
// their instances before their ten thousand connections; for those the link
// would cost as much as all the rest.
const linksFirst = 1024

func (l *look) descriptor(t *target, fd int) error {
	if l.seen <= linksFirst {
		link, err := l.readlink(t, fd)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(link, "socket:[") {
			return l.file(t, fd, link)
		}
	}
	if is, err := l.socket(t, fd); err != nil || is {
		return err
	}
	link, err := l.readlink(t, fd)
	if err != nil {
		return err
	}
	return l.file(t, fd, link)
}

// lists says that the next descriptor goes into the list.
func (l *look) lists() bool { return l.withFDs && len(l.sum.FDs) < maxListed }

// file looks at a descriptor of what is no socket.
func (l *look) file(t *target, fd int, link string) error {
	d := FD{FD: fd, Kind: t.kind(fd, link)}
	if d.Kind == "epoll" {
		l.epolls = append(l.epolls, holder{t.pid, fd})
	}
	if d.Kind == "uring" {
		l.rings = append(l.rings, holder{t.pid, fd})
	}
	if !l.lists() {
		return nil
	}
	var err error
	if d.Nonblocking, err = t.nonblocking(fd); err != nil {
		return err
	}
	switch d.Kind {
	case "file":
		d.Readable = true // poll(2): regular files always are
	case "pipe", "eventfd", "timerfd":
		c, err := t.copyFD(fd)
		if err != nil {
			return err
		}
		d.Readable = readable(c)
		unix.Close(c)
	}
	l.sum.FDs = append(l.sum.FDs, d)
	return nil
}

func (l *look) readlink(t *target, fd int) (string, error) {
	n, err := unix.Readlinkat(int(t.fds.Fd()), strconv.Itoa(fd), l.link[:])
	if err != nil {
		return "", fmt.Errorf("reading the link of fd %d: %w", fd, err)
	}
	return string(l.link[:n]), nil
}

// kind names what is no socket.
func (t *target) kind(fd int, link string) string {
	switch link {
	case "anon_inode:[eventpoll]":
		return "epoll"
	case "anon_inode:[io_uring]":
		return "uring"
	case "anon_inode:[eventfd]":
		return "eventfd"
	case "anon_inode:[timerfd]":
		return "timerfd"
	}
	// Names of files may look like anything; the file itself does not lie.
	var st unix.Stat_t
	if err := unix.Fstatat(int(t.fds.Fd()), strconv.Itoa(fd), &st, 0); err != nil {
		return "other"
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
		return "file"
	case unix.S_IFIFO:
		return "pipe"
	}
	return "other"
}

// nonblocking reads the flags that fdinfo shows (octal, proc_pid_fdinfo(5)).
func (t *target) nonblocking(fd int) (bool, error) {
	var buf [128]byte // "pos:\t…\nflags:\t…\n" come first
	info, err := t.info(fd, buf[:])
	if err != nil {
		return false, err
	}
	flags, err := strconv.ParseUint(field(info, "flags:"), 8, 64)
	if err != nil {
		return false, fmt.Errorf("flags of fd %d: %w", fd, err)
	}
	return flags&unix.O_NONBLOCK != 0, nil
}

// field finds the value of a line "NAME value" of fdinfo.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func readable(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1 && p[0].Revents&unix.POLLIN != 0
}

// maxCompared bounds the descriptors of epoll instances that are compared with
// each other; of more, each counts.
const maxCompared = 64

// ringMaps counts the mappings of rings that a process has. Reading them all
// costs more the more there are, so it stops after maxMaps bytes.
func ringMaps(pid int) int {
	const maxMaps = 1 << 20
	f, err := os.Open(procPath(pid, "maps"))
	if err != nil {
		return 0
	}
	defer f.Close()
	n := 0
	lines := bufio.NewScanner(io.LimitReader(f, maxMaps))
	for lines.Scan() {
		if strings.HasSuffix(lines.Text(), " anon_inode:[io_uring]") {
			n++
		}
	}
	return n
}

// distinctFiles counts the files behind descriptors: dup and fork share them.
func distinctFiles(all []holder) int {
	n := len(all)
	for i := range min(n, maxCompared) {
		for j := range i {
			if sameFile(all[i], all[j]) {
				n--
				break
			}
		}
	}
	return n
}

// sameFile asks kcmp(2); where the kernel has none they are taken for two.
func sameFile(a, b holder) bool {
	const kcmpFile = 0
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a.pid), uintptr(b.pid), kcmpFile, uintptr(a.fd), uintptr(b.fd), 0)
	return errno == 0 && r == 0
}
