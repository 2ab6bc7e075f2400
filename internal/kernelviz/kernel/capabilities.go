package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
)

// Capability is one thing that views or workloads need, and whether this
// machine gives it to this process.
type Capability struct {
	Name   string `json:"name"` // stable: labs ask for it by this name
	OK     bool   `json:"ok"`
	Reason string `json:"reason"`        // what was found
	Fix    string `json:"fix,omitempty"` // the command or step that gives it; empty if OK
}

// The capabilities, in the order of Info.Capabilities.
const (
	CapBPF        = "cap_bpf"               // CAP_BPF or CAP_SYS_ADMIN: bpf(2) beyond what everybody may
	CapPerfmon    = "cap_perfmon"           // CAP_PERFMON or CAP_SYS_ADMIN: programs that read kernel memory
	CapSysAdmin   = "cap_sys_admin"         // namespaces and mounts of workloads; objects by id
	CapPtrace     = "cap_sys_ptrace"        // /proc/PID/fd and fdinfo of other users' processes
	Unprivileged  = "unprivileged_bpf"      // bpf(2) is open to this process
	Lockdown      = "lockdown"              // kernel lockdown lets BPF read kernel memory
	BTF           = "btf"                   // types of the running kernel
	BPF           = "bpf"                   // bpf(2) creates a map
	BPFSyscall    = "bpf_prog_syscall"      // BPF_PROG_TYPE_SYSCALL: a walk on demand
	BPFLoop       = "bpf_loop"              // helper bpf_loop
	RdonlyCast    = "kfunc_bpf_rdonly_cast" // typed reads without a helper call
	TaskFromPid   = "kfunc_bpf_task_from_pid"
	IterTaskFile  = "iter_task_file" // every open file of every process
	TpSysExit     = "tp_btf_sys_exit"
	TpSchedWaking = "tp_btf_sched_waking"
	Fentry        = "fentry"       // programs at function entry, by trampoline
	Kprobe        = "kprobe"       // programs at function entry, by breakpoint
	KprobeMulti   = "kprobe_multi" // many functions in one link (FPROBE)
	Memlock       = "memlock"      // room for BPF maps
	NoFile        = "nofile"       // RLIMIT_NOFILE
	NrOpen        = "nr_open"      // fs.nr_open
	CgroupV2      = "cgroup2"      // a cgroup v2 hierarchy is mounted
	IOUring       = "io_uring"     // this process may make rings
)

// What workloads need at most: 10,000 descriptors in one action, some to spare.
const wantFiles = 16384

// wantMemlock is the size in bytes of the largest map that a view creates.
const wantMemlock = 64 << 20

// fixRoot is what gives a process every privilege that is missing.
const fixRoot = "sudo make run"

// Has tells whether the capability of that name is OK. A name that does not
// exist is not.
func (i *Info) Has(name string) bool {
	c, ok := i.Capability(name)
	return ok && c.OK
}

// Capability returns the capability of that name.
func (i *Info) Capability(name string) (Capability, bool) {
	for _, c := range i.Capabilities {
		if c.Name == name {
			return c, true
		}
	}
	return Capability{}, false
}

// finding is what one check saw. An empty fix means that nothing is missing.
type finding struct {
	ok     bool
	reason string
	fix    string
}

func yes(format string, args ...any) finding {
	return finding{ok: true, reason: fmt.Sprintf(format, args...)}
}

func no(fix, format string, args ...any) finding {
	return finding{reason: fmt.Sprintf(format, args...), fix: fix}
}

// prober carries what several checks share.
type prober struct {
	Options
	info      *Info
	effective uint64 // CapEff of /proc/self/status
	kernelFix string // how to get a kernel with BTF
	btfErr    error
	bpfOpen   bool // this process may try bpf(2)
}

func (o Options) capabilities(ctx context.Context, info *Info, d distribution, btfErr error) ([]Capability, error) {
	effective, err := o.effective()
	if err != nil {
		return nil, err
	}
	p := &prober{Options: o, info: info, effective: effective, btfErr: btfErr, kernelFix: d.kernelPackage(info.Host.Machine)}
	checks := []struct {
		name  string
		check func() finding
	}{
		{CapBPF, func() finding { return p.privilege("CAP_BPF", unix.CAP_BPF) }},
		{CapPerfmon, func() finding { return p.privilege("CAP_PERFMON", unix.CAP_PERFMON) }},
		{CapSysAdmin, func() finding { return p.privilege("CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN) }},
		{CapPtrace, func() finding { return p.privilege("CAP_SYS_PTRACE", unix.CAP_SYS_PTRACE) }},
		{Unprivileged, p.unprivileged},
		{BTF, p.btf},
		{BPF, p.bpf},
		{Lockdown, p.lockdown},
		{BPFSyscall, p.syscallProgram},
		{BPFLoop, p.bpfLoop},
		{RdonlyCast, func() finding { return p.kfunc("bpf_rdonly_cast") }},
		{TaskFromPid, func() finding { return p.kfunc("bpf_task_from_pid") }},
		{IterTaskFile, p.iterTaskFile},
		{TpSysExit, func() finding { return p.tracepoint("sys_exit") }},
		{TpSchedWaking, func() finding { return p.tracepoint("sched_waking") }},
		{Fentry, p.fentry},
		{Kprobe, p.kprobe},
		{KprobeMulti, p.kprobeMulti},
		{Memlock, p.memlock},
		{NoFile, p.noFile},
		{NrOpen, p.nrOpen},
		{CgroupV2, p.cgroup2},
		{IOUring, func() finding { return ring(iouring.Available()) }},
	}
	found := make([]Capability, 0, len(checks))
	for _, c := range checks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f := c.check()
		found = append(found, Capability{Name: c.name, OK: f.ok, Reason: f.reason, Fix: f.fix})
	}
	return found, nil
}

// effective is the mask of effective capabilities (capabilities(7)).
func (o Options) effective() (uint64, error) {
	text, err := o.read("proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("reading this process's capabilities: %w", err)
	}
	for line := range strings.Lines(text) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			if err != nil {
				return 0, fmt.Errorf("reading this process's capabilities: CapEff: %w", err)
			}
			return mask, nil
		}
	}
	return 0, errors.New("reading this process's capabilities: no CapEff in /proc/self/status")
}

func (p *prober) holds(capability int) bool {
	if p.effective>>capability&1 == 1 {
		return true
	}
	// kernel/bpf/syscall.c and kernel/events/core.c take CAP_SYS_ADMIN for both.
	admin := p.effective>>unix.CAP_SYS_ADMIN&1 == 1
	return admin && (capability == unix.CAP_BPF || capability == unix.CAP_PERFMON)
}

func (p *prober) privilege(name string, capability int) finding {
	if p.holds(capability) {
		return yes("this process has %s", name)
	}
	return no(fixRoot, "this process does not have %s", name)
}

func (p *prober) unprivileged() finding {
	const file = "proc/sys/kernel/unprivileged_bpf_disabled"
	value, err := p.read(file)
	p.bpfOpen = p.holds(unix.CAP_BPF) || err == nil && value == "0"
	switch {
	case p.holds(unix.CAP_BPF):
		if err != nil {
			value = "unknown"
		}
		return yes("this process may use bpf(2); kernel.unprivileged_bpf_disabled is %s", value)
	case err != nil:
		return no(fixRoot, "kernel.unprivileged_bpf_disabled cannot be read: %v", err)
	case value == "0":
		return yes("kernel.unprivileged_bpf_disabled is 0: bpf(2) is open to everybody, kernel memory is not")
	default:
		return no(fixRoot, "kernel.unprivileged_bpf_disabled is %s: only privileged processes may use bpf(2)", value)
	}
}

func (p *prober) btf() finding {
	if p.btfErr != nil {
		return no(p.kernelFix, "no types of this kernel in /sys/kernel/btf/vmlinux: %v", p.btfErr)
	}
	return yes("types of this kernel are in /sys/kernel/btf/vmlinux")
}

// attempt turns the result of a trial into a finding. It does not try where
// bpf(2) is closed, since that failure is already known.
func (p *prober) attempt(what, fix string, try func() error) finding {
	if !p.bpfOpen {
		return no(fixRoot, "%s: not tried, bpf(2) is closed to this process", what)
	}
	err := try()
	if err == nil {
		return yes("%s: works", what)
	}
	if errors.Is(err, unix.EPERM) {
		fix = "look for lockdown, a security module or a container filter that forbids it"
		if !p.holds(unix.CAP_BPF) || !p.holds(unix.CAP_PERFMON) {
			fix = fixRoot
		}
	}
	return no(fix, "%s: %s", what, cause(err))
}

// cause is the error number if there is one: what the library says around it
// guesses at reasons, kernel versions among them.
func cause(err error) string {
	var errno unix.Errno
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, ebpf.ErrNotSupported):
		return "this kernel does not have it"
	}
	return err.Error()
}

func (p *prober) bpf() finding {
	f := p.attempt("creating a BPF array", "a kernel built with CONFIG_BPF_SYSCALL=y, and a container that does not filter bpf(2)",
		func() error { return features.HaveMapType(ebpf.Array) })
	p.bpfOpen = p.bpfOpen && f.ok
	return f
}

// lockdown asks for the helper that the kernel withholds in confidentiality
// mode (LOCKDOWN_BPF_READ_KERNEL, kernel/trace/bpf_trace.c).
func (p *prober) lockdown() finding {
	mode := "unknown: securityfs is not mounted"
	if text, err := p.read("sys/kernel/security/lockdown"); err == nil {
		mode = text
	}
	return p.attempt("reading kernel memory from BPF (lockdown "+mode+")", "boot without lockdown=confidentiality",
		func() error { return features.HaveProgramHelper(ebpf.RawTracepoint, asm.FnProbeReadKernel) })
}

func (p *prober) syscallProgram() finding {
	return p.attempt("loading a BPF program that runs on demand", p.kernelFix,
		func() error { return features.HaveProgramType(ebpf.Syscall) })
}

func (p *prober) bpfLoop() finding {
	return p.attempt("helper bpf_loop", p.kernelFix,
		func() error { return features.HaveProgramHelper(ebpf.RawTracepoint, asm.FnLoop) })
}

func (p *prober) kfunc(name string) finding {
	if p.info.HasFunc(name) {
		return yes("kfunc %s is in BTF", name)
	}
	return no("a newer kernel; until then a slower way to read is used", "kfunc %s is not in BTF", name)
}

func (p *prober) tracepoint(name string) finding {
	if !p.info.HasTracepoint(name) {
		return no(p.kernelFix, "tracepoint %s is not in BTF", name)
	}
	return yes("tracepoint %s is in BTF", name)
}

func (p *prober) iterTaskFile() finding {
	return p.attempt("iterator over the open files of every process", p.kernelFix, func() error {
		prog, err := p.load(ebpf.AttachTraceIter, "task_file")
		if err != nil {
			return err
		}
		defer prog.Close()
		iter, err := link.AttachIter(link.IterOptions{Program: prog})
		if err != nil {
			return err
		}
		return iter.Close()
	})
}

// probeTarget is a function that exists to be attached to and that nothing
// calls outside the kernel's self-tests (net/bpf/test_run.c).
const probeTarget = "bpf_fentry_test1"

func (p *prober) fentry() finding {
	return p.attempt("attaching a program to the entry of a function", "a kernel built with CONFIG_FUNCTION_TRACER=y and CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y; tracepoints are used until then", func() error {
		prog, err := p.load(ebpf.AttachTraceFEntry, probeTarget)
		if err != nil {
			return err
		}
		defer prog.Close()
		l, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			return err
		}
		return l.Close()
	})
}

func (p *prober) kprobe() finding {
	const fix = "a kernel built with CONFIG_KPROBE_EVENTS=y; tracepoints are used until then"
	// Where the event source is missing, the library looks for tracefs instead,
	// and then says that that is missing.
	if _, err := os.Stat(p.path("sys/bus/event_source/devices/kprobe")); err != nil {
		return no(fix, "kprobe: this kernel has no such events")
	}
	return p.attempt("kprobe", fix, func() error {
		prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.Kprobe, Instructions: nothing(), License: "GPL"})
		if err != nil {
			return err
		}
		defer prog.Close()
		l, err := link.Kprobe(probeTarget, prog, nil)
		if err != nil {
			return err
		}
		return l.Close()
	})
}

func (p *prober) kprobeMulti() finding {
	return p.attempt("kprobe on many functions", "a kernel built with CONFIG_FPROBE=y; single probes are used until then",
		features.HaveBPFLinkKprobeMulti)
}

// load loads a program that does nothing for that place.
func (p *prober) load(attach ebpf.AttachType, target string) (*ebpf.Program, error) {
	spec := &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{
		"nothing": {Type: ebpf.Tracing, AttachType: attach, AttachTo: target, Instructions: nothing(), License: "GPL"},
	}}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: p.info.cache})
	if err != nil {
		return nil, err
	}
	defer coll.Close()
	return coll.DetachProgram("nothing"), nil
}

func nothing() asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
}

// memlock creates a map larger than RLIMIT_MEMLOCK allows: where the kernel
// counts BPF memory by cgroup instead, that works.
func (p *prober) memlock() finding {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return no("", "RLIMIT_MEMLOCK: %v", err)
	}
	if limit.Cur >= wantMemlock {
		return yes("RLIMIT_MEMLOCK is %s", limitText(limit.Cur))
	}
	return p.attempt(fmt.Sprintf("a BPF array of more than RLIMIT_MEMLOCK (%s bytes)", limitText(limit.Cur)), "ulimit -l unlimited", func() error {
		const value = 1 << 16
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: value, MaxEntries: uint32(limit.Cur/value + 2)})
		if err != nil {
			return err
		}
		return m.Close()
	})
}

func (p *prober) noFile() finding {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return no("", "RLIMIT_NOFILE: %v", err)
	}
	text := fmt.Sprintf("RLIMIT_NOFILE is %s, at most %s", limitText(limit.Cur), limitText(limit.Max))
	if limit.Max >= wantFiles {
		return yes("%s", text)
	}
	if p.holds(unix.CAP_SYS_RESOURCE) {
		return yes("%s, and this process may raise it", text)
	}
	return no(fmt.Sprintf("ulimit -Hn %d", wantFiles), "%s: workloads with more descriptors fail", text)
}

func (p *prober) nrOpen() finding {
	const file = "proc/sys/fs/nr_open"
	text, err := p.read(file)
	if err != nil {
		return no("mount -t proc proc /proc", "fs.nr_open: %v", err)
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return no("", "fs.nr_open: %v", err)
	}
	if n < wantFiles {
		return no(fmt.Sprintf("sudo sysctl fs.nr_open=%d", 1<<20), "fs.nr_open is %d: workloads with more descriptors fail", n)
	}
	return yes("fs.nr_open is %d descriptors per process", n)
}

// ring tells from the error of making a ring whether there may be any.
func ring(err error) finding {
	switch {
	case err == nil:
		return yes("io_uring_setup makes a ring")
	case errors.Is(err, iouring.ErrDisabled):
		return no("sudo sysctl kernel.io_uring_disabled=0", "%v", err)
	case errors.Is(err, iouring.ErrBlocked):
		return no("run labserver outside the container, or with a seccomp profile and a kernel that have io_uring", "%v", err)
	}
	return no("", "%v", err)
}

func (p *prober) cgroup2() finding {
	const fix = "sudo mount -t cgroup2 none /sys/fs/cgroup"
	text, err := p.read("proc/self/mounts")
	if err != nil {
		return no(fix, "mounts cannot be read: %v", err)
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) > 2 && f[2] == "cgroup2" {
			return yes("cgroup v2 is mounted at %s", f[1])
		}
	}
	return no(fix, "no cgroup v2 hierarchy is mounted: workloads cannot be killed as one")
}

func limitText(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}
