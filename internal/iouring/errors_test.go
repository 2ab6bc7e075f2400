package iouring

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// blocked is set in a child of TestBlocked.
const blocked = "KERNELVIZ_TEST_BLOCK_IO_URING"

func TestMain(m *testing.M) {
	if errno := os.Getenv(blocked); errno != "" {
		os.Exit(blockedChild(errno))
	}
	os.Exit(m.Run())
}

// blockedChild installs a filter that forbids io_uring_setup as a container's
// does, and prints what Available says.
func blockedChild(name string) int {
	errno := map[string]uint32{"ENOSYS": uint32(unix.ENOSYS), "EPERM": uint32(unix.EPERM)}[name]
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_IO_URING_SETUP, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | errno},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		println(err.Error())
		return 3
	}
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		println(e.Error())
		return 3
	}
	err := Available()
	if err == nil {
		return 4
	}
	_, _ = os.Stdout.WriteString(err.Error())
	if !errors.Is(err, ErrBlocked) || errors.Is(err, ErrDisabled) {
		return 5
	}
	return 0
}

func TestBlocked(t *testing.T) {
	for _, errno := range []string{"ENOSYS", "EPERM"} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), blocked+"="+errno)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", errno, err, out)
		}
		if !strings.Contains(string(out), "seccomp filter") {
			t.Errorf("%s: %q does not name the filter", errno, out)
		}
	}
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		name  string
		errno syscall.Errno
		s     surroundings
		is    error
		says  []string
	}{
		{"for all", syscall.EPERM, surroundings{"2", "-1", "0"}, ErrDisabled, []string{"kernel.io_uring_disabled is 2", "nobody", "sysctl kernel.io_uring_disabled=0"}},
		{"but a group", syscall.EPERM, surroundings{"1", "1001", "0"}, ErrDisabled, []string{"kernel.io_uring_disabled is 1", "group 1001", "kernel.io_uring_group"}},
		{"but root", syscall.EPERM, surroundings{"1", "-1", "2"}, ErrDisabled, []string{"CAP_SYS_ADMIN", "no group may"}},
		{"container", syscall.EPERM, surroundings{"0", "-1", "2"}, ErrBlocked, []string{"seccomp"}},
		{"module", syscall.EPERM, surroundings{"0", "-1", "0"}, nil, []string{"security module"}},
		{"old", syscall.EPERM, surroundings{"", "", "0"}, nil, []string{"security module"}},
		{"not built", syscall.ENOSYS, surroundings{"", "", "0"}, ErrBlocked, []string{"CONFIG_IO_URING"}},
		{"filtered", syscall.ENOSYS, surroundings{"", "", "2"}, ErrBlocked, []string{"seccomp", "profile"}},
		{"memory", syscall.ENOMEM, surroundings{}, nil, []string{"RLIMIT_MEMLOCK", "ulimit -l"}},
		{"files", syscall.EMFILE, surroundings{}, nil, []string{"RLIMIT_NOFILE"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := explain(c.errno, c.s, 8, &Params{})
			if !errors.Is(err, c.errno) {
				t.Errorf("%v does not wrap %v", err, c.errno)
			}
			for _, e := range []error{ErrDisabled, ErrBlocked} {
				if errors.Is(err, e) != (c.is == e) {
					t.Errorf("%v: is %v: %v", err, e, errors.Is(err, e))
				}
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
		})
	}
}

func TestInvalid(t *testing.T) {
	for _, c := range []struct {
		entries uint32
		p       Params
		says    string
	}{
		{0, Params{}, "at least one entry"},
		{MaxEntries + 1, Params{}, "more than 32768"},
		{8, Params{Flags: SetupCQSize}, "needs cq_entries"},
		{8, Params{Flags: SetupCQSize, CQEntries: 2}, "fewer than"},
		{8, Params{Flags: SetupDeferTaskrun}, "IORING_SETUP_DEFER_TASKRUN needs IORING_SETUP_SINGLE_ISSUER"},
		{8, Params{Flags: SetupTaskrunFlag}, "IORING_SETUP_COOP_TASKRUN or IORING_SETUP_DEFER_TASKRUN"},
		{8, Params{Flags: SetupSQPoll | SetupDeferTaskrun | SetupSingleIssuer}, "does not go with"},
		{8, Params{Flags: 1 << 31}, "does not know 0x80000000"},
		{8, Params{Flags: SetupSQEMixed}, "not supported here"},
	} {
		_, err := Setup(c.entries, &c.p)
		if !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%d entries, %s: %v; should say %q", c.entries, SetupNames(c.p.Flags), err, c.says)
		}
	}
}

func TestAvailable(t *testing.T) {
	if err := Available(); err != nil {
		t.Fatal(err)
	}
}
