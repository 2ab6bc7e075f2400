// Command agent is the first process of a test guest: it mounts what tests
// expect, runs each test binary of /vmtest/plan, reports on the second serial
// port and powers the machine off.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"kernelviz/internal/vmtest"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintln(os.Stderr, "agent: power off:", err)
	}
}

func serve() error {
	for _, m := range [][2]string{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}, {"devpts", "/dev/pts"},
		{"bpf", "/sys/fs/bpf"}, {"cgroup2", "/sys/fs/cgroup"}, {"tracefs", "/sys/kernel/tracing"},
		{"debugfs", "/sys/kernel/debug"}, {"securityfs", "/sys/kernel/security"},
	} {
		if err := os.MkdirAll(m[1], 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", m[1], err)
		}
	}
	if err := os.Chmod("/tmp", 0o1777); err != nil {
		return err
	}
	// What systemd offers to the children of the root cgroup.
	if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+pids +memory +cpu"), 0); err != nil {
		return fmt.Errorf("enabling cgroup controllers: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("bringing lo up: %w", err)
	}
	port, err := openPort("/dev/ttyS1")
	if err != nil {
		return err
	}
	plan, err := os.ReadFile("/vmtest/plan")
	if err != nil {
		return err
	}
	extra, err := os.ReadFile("/vmtest/args")
	if err != nil {
		return err
	}
	args := append([]string{"-test.v=test2json", "-test.paniconexit0"}, strings.Fields(string(extra))...)
	for line := range strings.Lines(string(plan)) {
		pkg, binary, _ := strings.Cut(strings.TrimSpace(line), "\t")
		fmt.Fprintf(port, "%sbegin %s\n", vmtest.Marker, pkg)
		status, err := runTest(port, binary, args)
		if err != nil {
			fmt.Fprintf(port, "running %s: %v\n", binary, err)
		}
		fmt.Fprintf(port, "\n%send %s %d\n", vmtest.Marker, pkg, status)
	}
	fmt.Fprintf(port, "%sdone\n", vmtest.Marker)
	// tcdrain(3): the last bytes are out before the power is.
	return unix.IoctlSetInt(int(port.Fd()), unix.TCSBRK, 1)
}

// runTest runs a test binary in its package's directory and returns its exit
// status, 128 + n if signal n killed it. Being the first process, it inherits
// every orphan: it reaps whatever dies until the test itself has.
func runTest(port *os.File, binary string, args []string) (int, error) {
	p, err := os.StartProcess(binary, append([]string{binary}, args...), &os.ProcAttr{
		Dir:   filepath.Dir(binary),
		Env:   []string{"PATH=/bin", "HOME=/root", "TMPDIR=/tmp", "VMTEST=1"},
		Files: []*os.File{nil, port, port},
	})
	if err != nil {
		return 127, err
	}
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 127, fmt.Errorf("wait4: %w", err)
		}
		if pid != p.Pid {
			continue
		}
		if ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return ws.ExitStatus(), nil
	}
}

// openPort opens a serial port that passes every byte through unchanged.
func openPort(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(ifr)))
	if errno != 0 {
		return errno
	}
	return nil
}
