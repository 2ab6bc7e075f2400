package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/oracle"
)

// needsBPF skips where no program can be loaded.
func needsBPF(t *testing.T) {
	t.Helper()
	needsRoot(t)
	info, err := kernel.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := info.Capability(kernel.BPF); !ok || !c.OK {
		t.Skip(c.Reason)
	}
}

// ownMounts lets a child mount what only it sees.
func ownMounts(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
}

// probes waits until the process has attached as many.
func probes(t *testing.T, pid, n int) []Probe {
	t.Helper()
	end := time.Now().Add(deadline)
	for {
		found, err := Probes([]int{pid})
		if err != nil {
			t.Fatal(err)
		}
		if len(found) >= n {
			return found
		}
		if time.Now().After(end) {
			t.Fatalf("probes %+v, want %d", found, n)
		}
	}
}

func TestProbesOfBpftrace(t *testing.T) {
	path := oracle.Command(t, "bpftrace")
	needsBPF(t)
	for _, tt := range []struct {
		script string
		want   []string
	}{
		{"tracepoint:syscalls:sys_enter_epoll_ctl { @ = count(); }", []string{"sys_enter_epoll_ctl"}},
		{"tracepoint:syscalls:sys_enter_epoll* { @ = count(); }", nil},
	} {
		want := tt.want
		if want == nil {
			want = epollTracepoints(t)
		}
		// bpftrace looks for events in debugfs, which need not be mounted.
		cmd := exec.Command("/bin/sh", "-c", `mount -t debugfs none /sys/kernel/debug; mount -t tracefs none /sys/kernel/tracing; exec "$@"`,
			"sh", path, "-e", tt.script)
		ownMounts(cmd)
		var said strings.Builder
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if t.Failed() {
				t.Log(said.String())
			}
		})
		found := probes(t, cmd.Process.Pid, len(want))
		var names []string
		for _, p := range found {
			if p.PID != cmd.Process.Pid || p.Comm != "bpftrace" || p.Kind != "tracepoint" {
				t.Errorf("probe %+v, want a tracepoint of bpftrace, %d", p, cmd.Process.Pid)
			}
			names = append(names, p.Name)
		}
		slices.Sort(names)
		if !slices.Equal(names, want) {
			t.Errorf("%s: %q, want %q", tt.script, names, want)
		}
	}
}

// epollTracepoints are the events that the wildcard stands for on this kernel.
func epollTracepoints(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "mount -t tracefs none /sys/kernel/tracing; ls -d /sys/kernel/tracing/events/syscalls/sys_enter_epoll*")
	ownMounts(cmd)
	out, err := cmd.Output()
	if err != nil {
		t.Skip("no system call tracepoints: CONFIG_FTRACE_SYSCALLS")
	}
	var names []string
	for _, path := range strings.Fields(string(out)) {
		names = append(names, filepath.Base(path))
	}
	slices.Sort(names)
	return names
}

// What newer tools attach is a link, with or without the perf event under it.
func TestProbesOfLinks(t *testing.T) {
	needsBPF(t)
	for _, part := range []string{"tracer", "tracer without events"} {
		t.Run(part, func(t *testing.T) {
			if part != "tracer" {
				oracle.HostOnly(t, "links that name their event, Linux 6.6")
			}
			c := startChild(t, part, ownMounts)
			comm := List([]int{c.pid()})[0].Comm
			want := []Probe{
				{c.pid(), comm, "tracepoint", "sys_enter_epoll_ctl"},
				{c.pid(), comm, "raw_tracepoint", "sys_enter"},
			}
			found := probes(t, c.pid(), len(want))
			if len(found) != len(want) || !slices.Contains(found, want[0]) || !slices.Contains(found, want[1]) {
				t.Errorf("probes %+v, want %+v", found, want)
			}
		})
	}
}

func TestNoProbes(t *testing.T) {
	c := startChild(t, "zoo", nil)
	dead := startChild(t, "sleeper", nil)
	dead.kill()
	if found, err := Probes([]int{c.pid(), dead.pid(), 0, -1}); err != nil || len(found) > 0 {
		t.Errorf("probes %+v, %v; want none", found, err)
	}
}

// kept are the links of a tracer.
type kept struct{ links []link.Link }

// playTracer attaches a program to a tracepoint and one to a raw tracepoint.
func (k *kept) playTracer(withEvents bool) error {
	if err := unix.Mount("none", "/sys/kernel/tracing", "tracefs", 0, ""); err != nil && err != unix.EBUSY { // busy: it is mounted
		return fmt.Errorf("mounting tracefs: %w", err)
	}
	for _, attach := range []struct {
		kind ebpf.ProgramType
		do   func(*ebpf.Program) (link.Link, error)
	}{
		{ebpf.TracePoint, func(p *ebpf.Program) (link.Link, error) {
			return link.Tracepoint("syscalls", "sys_enter_epoll_ctl", p, nil)
		}},
		{ebpf.RawTracepoint, func(p *ebpf.Program) (link.Link, error) {
			return link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sys_enter", Program: p})
		}},
	} {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: attach.kind, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err != nil {
			return err
		}
		l, err := attach.do(p)
		if err != nil {
			return err
		}
		k.links = append(k.links, l)
	}
	if withEvents {
		return nil
	}
	return closeEvents()
}

// closeEvents closes the perf events of this process; its links keep them.
func closeEvents() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); to == "anon_inode:[perf_event]" {
			fd, _ := strconv.Atoi(e.Name())
			if err := unix.Close(fd); err != nil {
				return err
			}
		}
	}
	return nil
}
