package control

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// quiet keeps the Go runtime from opening descriptors and from sending itself
// signals: it would otherwise hold cpu.max of its cgroup open (Go 1.25,
// runtime/cgroup_linux.go) and interrupt epoll_wait.
var quiet = []string{"asyncpreemptoff=1", "containermaxprocs=0", "updatemaxprocs=0"}

// Quiet makes this process one whose runtime has nothing open: it executes
// itself again with other settings of the runtime where needed, and closes
// what was inherited beyond the standard streams. The process takes the name.
func Quiet(name string) error {
	if missing := missingSettings(os.Getenv("GODEBUG")); len(missing) > 0 {
		return execQuiet(missing)
	}
	// What other packages opened at their start cannot be closed under the
	// runtime's feet.
	for fd := 3; fd < 32; fd++ {
		buf := make([]byte, 64)
		n, err := unix.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd), buf)
		if err == nil && string(buf[:n]) == "anon_inode:[eventpoll]" {
			return fmt.Errorf("fd %d is an epoll instance already: the Go runtime's poller was started before the workload", fd)
		}
	}
	if err := unix.CloseRange(3, 1<<31-1, 0); err != nil && err != unix.ENOSYS {
		return fmt.Errorf("closing inherited descriptors: %w", err)
	}
	return Rename(name)
}

// Rename sets the name of the process in lists: having executed itself it
// would be called "exe".
func Rename(name string) error {
	fd, err := unix.Open("/proc/self/comm", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening /proc/self/comm: %w", err)
	}
	defer unix.Close(fd)
	_, err = FD(fd).Write([]byte(name))
	return err
}

func missingSettings(godebug string) []string {
	var missing []string
	for _, s := range quiet {
		if !strings.Contains(","+godebug+",", ","+s+",") {
			missing = append(missing, s)
		}
	}
	return missing
}

func execQuiet(missing []string) error {
	setting := strings.Join(missing, ",")
	if old := os.Getenv("GODEBUG"); old != "" {
		setting = old + "," + setting
	}
	if err := os.Setenv("GODEBUG", setting); err != nil {
		return err
	}
	if err := os.Setenv("GOGC", "off"); err != nil {
		return err
	}
	if err := unix.Exec("/proc/self/exe", os.Args, os.Environ()); err != nil {
		return fmt.Errorf("executing itself again: %w", err)
	}
	return nil
}
