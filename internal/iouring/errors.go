package iouring

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Why this process can have no ring at all. Both are wrapped together with the
// errno.
var (
	// ErrDisabled: the machine's administrator turned io_uring off
	// (kernel.io_uring_disabled, io_uring/io_uring.c: io_uring_allowed).
	ErrDisabled = errors.New("io_uring is disabled by sysctl")
	// ErrBlocked: a seccomp filter forbids it, or the kernel was built without.
	ErrBlocked = errors.New("io_uring is not available")
)

// surroundings are what decides whether a process may make a ring.
type surroundings struct {
	disabled string // kernel.io_uring_disabled: "0", "1", "2"; "" before Linux 6.6, which has none
	group    string // kernel.io_uring_group; "-1" for none
	seccomp  string // Seccomp of /proc/self/status: "0" none, "2" a filter
}

func readSurroundings() surroundings {
	s := surroundings{
		disabled: word("/proc/sys/kernel/io_uring_disabled"),
		group:    word("/proc/sys/kernel/io_uring_group"),
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "Seccomp:"); ok {
			s.seccomp = strings.TrimSpace(v)
		}
	}
	return s
}

func word(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b))
}

// Available tells whether this process may use io_uring, by making the smallest
// ring. The error is Setup's.
func Available() error {
	var p Params
	fd, errno := RawSetup(1, &p)
	if errno != 0 {
		return Explain(errno, 1, &Params{})
	}
	_ = unix.Close(fd)
	return nil
}

// Explain makes the error of a failed io_uring_setup from its errno: why, and
// what to do. asked are the parameters as they were before the call. After an
// EINVAL it makes rings of one entry to find the flag that this kernel refuses.
func Explain(errno syscall.Errno, entries uint32, asked *Params) error {
	if errno == syscall.EINVAL {
		why := invalid(entries, asked)
		if why == "" {
			why = fmt.Sprintf("the kernel refuses %s with these parameters", SetupNames(asked.Flags))
			if unknown := refused(asked.Flags); unknown != 0 {
				why = fmt.Sprintf("this kernel does not know %s; leave it out or use a newer kernel", SetupNames(unknown))
			}
		}
		return fmt.Errorf("io_uring_setup: %s: %w", why, errno)
	}
	return explain(errno, readSurroundings(), entries, asked)
}

// ExplainOnly is Explain that makes no ring to find out more: an unknown flag is
// one of those that it names.
func ExplainOnly(errno syscall.Errno, entries uint32, asked *Params) error {
	if errno == syscall.EINVAL {
		why := invalid(entries, asked)
		if why == "" {
			why = fmt.Sprintf("this kernel does not know one of %s, or refuses them with these parameters", SetupNames(asked.Flags))
		}
		return fmt.Errorf("io_uring_setup: %s: %w", why, errno)
	}
	return explain(errno, readSurroundings(), entries, asked)
}

func explain(errno syscall.Errno, s surroundings, entries uint32, asked *Params) error {
	switch errno {
	case syscall.EPERM:
		if s.disabled == "1" || s.disabled == "2" {
			return fmt.Errorf("%w: kernel.io_uring_disabled is %s%s; `sysctl kernel.io_uring_disabled=0` allows it to all: io_uring_setup: %w",
				ErrDisabled, s.disabled, whom(s), errno)
		}
		if s.seccomp == "2" {
			return fmt.Errorf("%w: %s: io_uring_setup: %w", ErrBlocked, filtered, errno)
		}
		if asked.Flags&SetupSQPoll != 0 {
			return fmt.Errorf("io_uring_setup: before Linux 5.13 IORING_SETUP_SQPOLL needs CAP_SYS_NICE, and a security module may forbid it: %w", errno)
		}
		return fmt.Errorf("io_uring_setup: a security module (SELinux, AppArmor) forbids it; its log says which rule: %w", errno)
	case syscall.ENOSYS:
		if s.seccomp == "2" {
			return fmt.Errorf("%w: %s: io_uring_setup: %w", ErrBlocked, filtered, errno)
		}
		return fmt.Errorf("%w: this kernel was built without CONFIG_IO_URING, or is older than Linux 5.1: io_uring_setup: %w", ErrBlocked, errno)
	case syscall.ENOMEM:
		return fmt.Errorf("io_uring_setup: no memory for %d entries; before Linux 5.12 rings count against RLIMIT_MEMLOCK (%s): raise it with `ulimit -l`, or ask for fewer: %w",
			entries, memlock(), errno)
	case syscall.EMFILE:
		return fmt.Errorf("io_uring_setup: this process has as many open files as RLIMIT_NOFILE allows; close some or raise it with `ulimit -n`: %w", errno)
	case syscall.ENFILE:
		return fmt.Errorf("io_uring_setup: the machine has as many open files as fs.file-max allows: %w", errno)
	case syscall.EFAULT:
		return fmt.Errorf("io_uring_setup: the kernel could not read the parameters, or the memory given with IORING_SETUP_NO_MMAP: %w", errno)
	}
	return fmt.Errorf("io_uring_setup(%d, %s): %w", entries, SetupNames(asked.Flags), errno)
}

const filtered = "a seccomp filter of this process or its container forbids io_uring (Docker's default profile does); " +
	"start the container with a profile that allows io_uring_setup, io_uring_enter and io_uring_register"

// whom says who may use io_uring all the same.
func whom(s surroundings) string {
	if s.disabled == "2" {
		return ": nobody may make rings"
	}
	if s.group == "" || s.group == "-1" {
		return ": only processes with CAP_SYS_ADMIN may make rings (kernel.io_uring_group is -1: no group may)"
	}
	return ": only processes with CAP_SYS_ADMIN or of group " + s.group + " (kernel.io_uring_group) may make rings"
}

func memlock() string {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l); err != nil {
		return "unknown"
	}
	if l.Cur == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(l.Cur/1024, 10) + " KiB"
}

// needs are flags that the kernel refuses without others
// (io_uring/io_uring.c: io_uring_sanitise_params).
var needs = []struct{ flag, one uint32 }{
	{SetupSQAff, SetupSQPoll},
	{SetupTaskrunFlag, SetupCoopTaskrun | SetupDeferTaskrun},
	{SetupDeferTaskrun, SetupSingleIssuer},
	{SetupRegisteredFDOnly, SetupNoMmap},
	{SetupHybridIOPoll, SetupIOPoll},
}

// never are pairs that the kernel refuses together.
var never = [][2]uint32{
	{SetupSQPoll, SetupCoopTaskrun},
	{SetupSQPoll, SetupTaskrunFlag},
	{SetupSQPoll, SetupDeferTaskrun},
}

// invalid says what io_uring_setup meant with EINVAL, as far as the parameters
// tell by themselves; else it is empty.
func invalid(entries uint32, asked *Params) string {
	f := asked.Flags
	if entries == 0 {
		return "a ring needs at least one entry"
	}
	if entries > MaxEntries && f&SetupClamp == 0 {
		return fmt.Sprintf("%d entries are more than %d", entries, MaxEntries)
	}
	if f&SetupCQSize != 0 {
		switch {
		case asked.CQEntries == 0:
			return "IORING_SETUP_CQSIZE needs cq_entries"
		case asked.CQEntries > 2*MaxEntries && f&SetupClamp == 0:
			return fmt.Sprintf("%d completion entries are more than %d", asked.CQEntries, 2*MaxEntries)
		case ceilPow2(min(asked.CQEntries, 2*MaxEntries)) < ceilPow2(min(entries, MaxEntries)):
			return fmt.Sprintf("%d completion entries are fewer than the %d submission entries", asked.CQEntries, entries)
		}
	}
	for _, n := range needs {
		if f&n.flag != 0 && f&n.one == 0 {
			return fmt.Sprintf("%s needs %s", SetupNames(n.flag), strings.ReplaceAll(SetupNames(n.one), "|", " or "))
		}
	}
	for _, pair := range never {
		if f&pair[0] != 0 && f&pair[1] != 0 {
			return fmt.Sprintf("%s does not go with %s", SetupNames(pair[0]), SetupNames(pair[1]))
		}
	}
	return ""
}

// refused finds, by trying each alone, the first flag that this kernel takes
// for nothing it knows; 0 if it takes all that can be tried.
func refused(flags uint32) uint32 {
	// These ask for a CPU, a ring or memory besides.
	const untried = SetupSQAff | SetupCQSize | SetupAttachWQ | SetupNoMmap | SetupRegisteredFDOnly
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if flags&bit == 0 || bit&untried != 0 {
			continue
		}
		p := Params{Flags: bit, SQThreadIdle: 1}
		for _, n := range needs {
			if bit == n.flag {
				p.Flags |= n.one &^ SetupDeferTaskrun
			}
		}
		fd, errno := RawSetup(2, &p)
		if errno == syscall.EINVAL {
			return bit
		}
		if errno == 0 {
			_ = unix.Close(fd)
		}
	}
	return 0
}
