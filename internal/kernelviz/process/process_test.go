package process

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestKindsAndFlags(t *testing.T) {
	c := startChild(t, "zoo", nil)
	s := lookAt(t, true, c.pid())
	tests := []struct {
		name, kind            string
		nonblocking, readable bool
	}{
		{"tcp-listen", "tcp", true, false},
		{"tcp-client", "tcp", false, false},
		{"tcp-server", "tcp", false, true},
		{"tcp-dup", "tcp", false, true},
		{"tcp6-listen", "tcp", false, false},
		{"udp", "udp", true, false},
		{"unix", "unix", false, false},
		{"netlink", "other", false, false},
		{"pipe-empty", "pipe", true, false},
		{"pipe-write", "pipe", true, false},
		{"eventfd", "eventfd", false, true},
		{"eventfd-zero", "eventfd", true, false},
		{"timerfd", "timerfd", false, false},
		{"file", "file", false, true},
		{"directory", "file", false, true},
		{"null", "other", false, false},
		{"epoll", "epoll", false, false},
		{"epoll-2", "epoll", false, false}, // it has a ready item, and is left alone
	}
	for _, tt := range tests {
		i := slices.IndexFunc(s.FDs, func(d FD) bool { return d.FD == c.fds[tt.name] })
		if i < 0 {
			t.Errorf("%s, fd %d, is not listed", tt.name, c.fds[tt.name])
			continue
		}
		want := FD{FD: c.fds[tt.name], Kind: tt.kind, Nonblocking: tt.nonblocking, Readable: tt.readable}
		if s.FDs[i] != want {
			t.Errorf("%s is %+v, want %+v", tt.name, s.FDs[i], want)
		}
	}
}

func TestCounts(t *testing.T) {
	c := startChild(t, "zoo", nil)
	for _, withFDs := range []bool{false, true} {
		s := lookAt(t, withFDs, c.pid())
		ports := []int{c.fds["port"], c.fds["port6"]}
		slices.Sort(ports)
		if !slices.Equal(s.Ports, ports) {
			t.Errorf("ports %v, want %v", s.Ports, ports)
		}
		// Go's runtime has an epoll instance of its own at most.
		if s.Epolls < 2 || s.Epolls > 3 {
			t.Errorf("%d epoll instances, want those two (one by two descriptors) and the runtime's", s.Epolls)
		}
		if s.Connections != 2 {
			t.Errorf("%d connections, want both ends of one; the dup is none", s.Connections)
		}
		if s.Nonblocking != 2 || s.Blocking != 7 {
			t.Errorf("%d non-blocking and %d blocking sockets, want 2 and 7", s.Nonblocking, s.Blocking)
		}
		if s.Threads < 2 {
			t.Errorf("%d threads; a Go program has more", s.Threads)
		}
		if withFDs != (len(s.FDs) > 0) {
			t.Errorf("asked for descriptors: %v; got %d", withFDs, len(s.FDs))
		}
	}
}

// A file that two processes have is counted once.
func TestSharedByFork(t *testing.T) {
	c := startChild(t, "zoo", nil)
	alone := lookAt(t, false, c.pid())
	twice := lookAt(t, false, c.pid(), c.pid())
	if twice.Epolls != alone.Epolls || twice.Connections != alone.Connections || twice.Blocking != alone.Blocking {
		t.Errorf("the same files seen twice are %+v, want %+v", twice, alone)
	}
}

func TestOwnNetworkNamespace(t *testing.T) {
	needsRoot(t)
	c := startChild(t, "listener", func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	})
	if s := lookAt(t, false, c.pid()); !slices.Equal(s.Ports, []int{c.fds["port"]}) {
		t.Errorf("ports %v, want %d", s.Ports, c.fds["port"])
	}
}

func TestLooksWithoutTouching(t *testing.T) {
	c := startChild(t, "zoo", nil)
	before := openFDs(t)
	first := lookAt(t, true, c.pid())
	for range 20 {
		if again := lookAt(t, true, c.pid()); !slices.Equal(first.FDs, again.FDs) {
			t.Fatalf("looking changed what is seen:\n%+v\n%+v", first.FDs, again.FDs)
		}
	}
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors of ours before, %d after", before, after)
	}
}

func openFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestDeadAndMadeUpPIDs(t *testing.T) {
	c := startChild(t, "zoo", nil)
	dead := startChild(t, "sleeper", nil)
	dead.kill()
	zombie := startChild(t, "sleeper", nil)
	if err := zombie.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Waitid(unix.P_PID, zombie.pid(), nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	want := lookAt(t, false, c.pid())
	got := lookAt(t, false, dead.pid(), zombie.pid(), 0, -1, 1<<22+1, c.pid())
	// A zombie has no descriptors; that its last thread still has a number is
	// the kernel's affair.
	if got.Blocking != want.Blocking || got.Epolls != want.Epolls {
		t.Errorf("with the dead among them %+v, want %+v", got, want)
	}
	procs := List([]int{dead.pid(), 0, c.pid()})
	if len(procs) != 1 || procs[0].PID != c.pid() {
		t.Errorf("List = %+v, want only %d", procs, c.pid())
	}
}

// A process that ends while it is looked at is no error, whatever the moment.
func TestDiesMeanwhile(t *testing.T) {
	for range 5 {
		c := startChild(t, "zoo", nil)
		died := make(chan struct{})
		go func() {
			defer close(died)
			_ = c.cmd.Process.Kill()
		}()
		for s := lookAt(t, true, c.pid()); len(s.FDs) > 0; s = lookAt(t, true, c.pid()) {
		}
		<-died
	}
}

func TestList(t *testing.T) {
	c := startChild(t, "sleeper", func(cmd *exec.Cmd) { cmd.Args = []string{"a strange\nname", "1000"} })
	want := Proc{PID: c.pid(), Comm: "exe", Command: "a strange?name 1000"}
	if got := List([]int{c.pid()}); len(got) != 1 || got[0] != want {
		t.Errorf("List = %+v, want %+v", got, want)
	}
}

func TestNotPermitted(t *testing.T) {
	if os.Geteuid() != 0 {
		_, err := Look([]int{1}, false)
		if err == nil || !strings.Contains(err.Error(), "process 1") || !strings.Contains(err.Error(), "run as root") {
			t.Errorf("looking at init: %v", err)
		}
		return
	}
	// As nobody, in a process of its own.
	cmd := exec.Command("/proc/self/exe", "-test.run=^(TestNotPermitted|TestDiesMeanwhile|TestDeadAndMadeUpPIDs)$", "-test.v")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "--- PASS") != 3 {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}
