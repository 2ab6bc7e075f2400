// Package epoll shows the inside of struct eventpoll (fs/eventpoll.c): the
// red-black tree of watched files, the ready list, the overflow list and the
// wait queue of any process's epoll instance, read while it runs.
//
// bpf/ holds the programs, probe.go runs them, model.go checks what they read,
// watch.go makes snapshots, frame.go and viewport.go write them as rows.
package epoll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/kernel"
)

// The tiers, best first.
const (
	TierKfunc     = "bpf-kfunc"
	TierProbeRead = "bpf-probe-read"
	TierFdinfo    = "fdinfo"
)

// The reasons of tiers, as kernelviz.Tier.Code names them: the page has a
// sentence for each in every language.
const (
	codeLoads        = "loads"         // the programs load and read
	codeMembership   = "membership"    // fdinfo: what is in the tree, not its shape
	codeNotNeeded    = "not_needed"    // a better tier works
	codeNotForced    = "not_forced"    // another tier was forced
	codeNoKfunc      = "no_kfunc"      // the kernel lacks bpf_rdonly_cast
	codeNoBTF        = "no_btf"        // the kernel does not tell its types
	codeNoBPF        = "no_bpf"        // bpf(2) does not work
	codeNotPermitted = "not_permitted" // loading was refused
)

// maxFoundAge is the age at which the list of instances is read again, whatever
// it costs: who starts a process wants to see it.
const maxFoundAge = 2 * time.Second

// Options configure a View.
type Options struct {
	Logger *slog.Logger // nil discards
	// Kernel is what this kernel is and has; nil probes it.
	Kernel *kernel.Info
	// Tier forces one tier by name; empty takes the best that works.
	Tier string
	// ShowAddresses puts kernel addresses into Detail values. They defeat
	// KASLR for whoever sees them.
	ShowAddresses bool
	// NoTransitions leaves the tracepoints unattached: snapshots only.
	NoTransitions bool
}

// View implements kernelviz.View for epoll instances.
type View struct {
	log    *slog.Logger
	kernel *kernel.Info
	opts   Options
	tiers  []kernelviz.Tier
	tier   int
	probe  *probe  // nil in the fdinfo tier
	tracer *tracer // nil in the fdinfo tier

	mu sync.Mutex
	// found is the last list of instances; it is used again while making it
	// anew would cost more than 1 % of a CPU.
	found     []discoverTarget
	foundAt   time.Time
	foundCost time.Duration
}

// New chooses the best tier that works on this kernel. It fails only if a tier
// is forced and does not work, or the kernel cannot be probed at all.
func New(ctx context.Context, opts Options) (*View, error) {
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	info := opts.Kernel
	if info == nil {
		var err error
		if info, err = kernel.Probe(ctx); err != nil {
			return nil, fmt.Errorf("probing the kernel: %w", err)
		}
	}
	v := &View{log: log, kernel: info, opts: opts}
	v.tiers = []kernelviz.Tier{
		{Name: TierKfunc, Label: "BPF, kfunc reads"},
		{Name: TierProbeRead, Label: "BPF, probe reads"},
		{Name: TierFdinfo, Label: "fdinfo, membership only"},
	}
	v.tier = -1
	for i := range v.tiers {
		t := &v.tiers[i]
		if opts.Tier != "" && opts.Tier != t.Name {
			t.Code = codeNotForced
			t.Reason = "not asked for: the tier " + opts.Tier + " was forced"
			continue
		}
		if v.tier >= 0 {
			t.Code = codeNotNeeded
			t.Reason = "not needed: " + v.tiers[v.tier].Label + " works"
			continue
		}
		if err := v.try(t); err != nil {
			t.Code, t.Reason, t.Fix = v.explain(err)
			log.Debug("epoll tier does not work here", "tier", t.Name, "err", err)
			continue
		}
		t.Chosen, v.tier = true, i
	}
	if v.tier < 0 {
		if i := v.tierIndex(opts.Tier); i >= 0 {
			return nil, fmt.Errorf("tier %s of the epoll view: %s", opts.Tier, v.tiers[i].Reason)
		}
		return nil, fmt.Errorf("there is no tier %q of the epoll view; want %s, %s or %s", opts.Tier, TierKfunc, TierProbeRead, TierFdinfo)
	}
	return v, nil
}

func (v *View) tierIndex(name string) int {
	for i, t := range v.tiers {
		if t.Name == name {
			return i
		}
	}
	return -1
}

// errNoKfunc is why the first tier is not used on kernels before 6.2.
var errNoKfunc = errors.New("this kernel has no kfunc bpf_rdonly_cast")

// try makes the tier work or says why it does not.
func (v *View) try(t *kernelviz.Tier) error {
	if t.Name == TierFdinfo {
		t.Code = codeMembership
		t.Reason = "/proc/PID/fdinfo lists what an instance watches, in tree order, but not its shape"
		return nil
	}
	if t.Name == TierKfunc {
		if c, ok := v.kernel.Capability(kernel.RdonlyCast); ok && !c.OK {
			return fmt.Errorf("%w: %s", errNoKfunc, c.Reason)
		}
	}
	load := ebpf.CollectionOptions{Cache: v.kernel.Cache()}
	p, err := newProbe(v.log, t.Name == TierKfunc, load)
	if err != nil {
		return err
	}
	v.probe, v.tracer = p, newTracer(v.log, t.Name == TierKfunc, load)
	t.Code = codeLoads
	t.Reason = "the programs load on this kernel and read the structs by its BTF"
	return nil
}

// explain puts a load error into words for the doctor and the page. A rare
// error has no code: its own words are all there is to say.
func (v *View) explain(err error) (code, reason, fix string) {
	for _, need := range []struct{ capability, code string }{{kernel.BTF, codeNoBTF}, {kernel.BPF, codeNoBPF}} {
		if c, ok := v.kernel.Capability(need.capability); ok && !c.OK {
			return need.code, c.Reason, c.Fix
		}
	}
	switch {
	case errors.Is(err, errNoKfunc):
		return codeNoKfunc, "bpf_rdonly_cast is not in this kernel (it came with 6.2)", ""
	case errors.Is(err, unix.EPERM):
		return codeNotPermitted, "loading BPF programs is not permitted: " + err.Error(), "sudo make run"
	}
	return "", err.Error(), ""
}

// Kind implements kernelviz.View.
func (v *View) Kind() kernelviz.Kind { return kernelviz.KindEpoll }

// Name implements kernelviz.View.
func (v *View) Name() string { return "epoll" }

// Tiers implements kernelviz.View.
func (v *View) Tiers() []kernelviz.Tier { return append([]kernelviz.Tier(nil), v.tiers...) }

// Close implements kernelviz.View.
func (v *View) Close() error {
	if v.tracer != nil {
		v.tracer.close()
	}
	if v.probe != nil {
		v.probe.close()
	}
	return nil
}

// Targets implements kernelviz.View.
func (v *View) Targets(ctx context.Context) ([]kernelviz.Target, error) {
	if v.probe == nil {
		return fdinfoTargets(ctx, v.Name())
	}
	found, err := v.instances(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]kernelviz.Target, len(found))
	for i := range found {
		out[i] = v.target(&found[i])
	}
	return out, nil
}

// instances lists the machine's epoll instances, at most twice a second and for
// about 1 % of a CPU. The cost is wall time, which a busy machine stretches: the
// list is never older than maxFoundAge for that.
func (v *View) instances(ctx context.Context) ([]discoverTarget, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.foundAt) < min(max(500*time.Millisecond, 100*v.foundCost), maxFoundAge) {
		return v.found, nil
	}
	began := time.Now()
	found, err := v.probe.discover(ctx, 0)
	if err != nil {
		return nil, err
	}
	v.found, v.foundAt, v.foundCost = found, time.Now(), time.Since(began)
	return found, nil
}

func (v *View) target(t *discoverTarget) kernelviz.Target {
	v.probe.mu.Lock()
	id := v.probe.instanceID(t.Ep)
	v.probe.mu.Unlock()
	items := -1
	if t.Refcount > 0 {
		items = int(t.Refcount) - 1
	}
	return kernelviz.Target{
		View: v.Name(), Name: fmt.Sprintf("%d:%d", t.Pid, t.Fd),
		PID: int(t.Pid), Comm: text(t.Comm[:]), FD: int(t.Fd),
		Instance: id, Items: items,
	}
}

// Open implements kernelviz.View. name is "PID:FD".
func (v *View) Open(ctx context.Context, name string) (kernelviz.Watch, error) {
	pid, fd, err := parseName(name)
	if err != nil {
		return nil, err
	}
	if v.probe == nil {
		return openFdinfo(v, pid, fd)
	}
	return v.open(ctx, pid, fd)
}

// parseName reads "PID:FD".
func parseName(name string) (pid, fd int, err error) {
	p, f, ok := strings.Cut(name, ":")
	if ok {
		pid, err = strconv.Atoi(p)
	}
	if ok && err == nil {
		fd, err = strconv.Atoi(f)
	}
	if !ok || err != nil || pid <= 0 || fd < 0 {
		return 0, 0, fmt.Errorf("epoll instance %q: %w: want PID:FD, for example 1234:5", name, kernelviz.ErrNotFound)
	}
	return pid, fd, nil
}

// missing explains why pid:fd cannot be opened.
func missing(pid, fd int) error {
	if err := unix.Kill(pid, 0); errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("epoll instance %d:%d: %w: there is no process %d", pid, fd, kernelviz.ErrNotFound, pid)
	}
	return fmt.Errorf("epoll instance %d:%d: %w: fd %d of process %d is not an epoll instance",
		pid, fd, kernelviz.ErrNotFound, fd, pid)
}

// text is a NUL-terminated C string.
func text[T int8 | uint8](b []T) string {
	out := make([]byte, 0, len(b))
	for _, c := range b {
		if c == 0 {
			break
		}
		out = append(out, byte(c))
	}
	return string(out)
}
