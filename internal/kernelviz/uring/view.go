// Package uring shows the inside of struct io_ring_ctx (io_uring/io_uring.c):
// the submission and the completion queue of any process's ring, what lies in
// them, the requests that the kernel holds and the threads that work on them,
// read while it runs.
//
// bpf/ holds the programs, probe.go and lives.go run them, shm.go maps a ring's
// memory, model.go decodes and checks it, requests.go follows the requests,
// watch.go makes snapshots, frame.go writes them as rows.
package uring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/kernel"
)

// The tiers, best first. A view of the first uses the second for rings that
// cannot be mapped.
const (
	TierShm     = "shm"
	TierBPFIter = "bpf-iter"
	TierFdinfo  = "fdinfo"
)

// Their places in View.Tiers.
const (
	tierShm = iota
	tierBPFIter
	tierFdinfo
)

// The reasons of tiers, as kernelviz.Tier.Code names them: the page has a
// sentence for each in every language.
const (
	codeLoads        = "loads"         // the programs load and read, and a ring can be mapped
	codeMembership   = "membership"    // fdinfo: what the kernel prints
	codeNotNeeded    = "not_needed"    // a better tier works
	codeNotForced    = "not_forced"    // another tier was forced
	codeNoBTF        = "no_btf"        // the kernel does not tell its types
	codeNoBPF        = "no_bpf"        // bpf(2) does not work
	codeNotPermitted = "not_permitted" // loading or mapping was refused
	codeNoUring      = "no_uring"      // io_uring is switched off or blocked
)

// maxFoundAge is the age at which the list of rings is read again, whatever it
// costs: who starts a process wants to see it.
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
	// NoLives leaves the tracepoints unattached: snapshots only.
	NoLives bool
}

// View implements kernelviz.View for io_uring instances.
type View struct {
	log    *slog.Logger
	kernel *kernel.Info
	opts   Options
	tiers  []kernelviz.Tier
	tier   int
	probe  *probe  // nil in the fdinfo tier
	tracer *tracer // nil in the fdinfo tier
	reader *reader // for Inspect; loaded when first needed

	features uint32 // IORING_FEAT_* of this kernel's rings; 0 unknown

	mu      sync.Mutex
	layouts map[shape]layout
	ids     map[ringKey]uint32 // small id of a ring, never reused
	lastID  uint32
	// found is the last list of rings; it is used again while making it anew
	// would cost more than 1 % of a CPU.
	found     []foundRing
	foundAt   time.Time
	foundCost time.Duration
}

// ringKey tells one ring from another that later has the same address.
type ringKey struct{ ctx, inode uint64 }

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
	v := &View{log: log, kernel: info, opts: opts, layouts: make(map[shape]layout), ids: make(map[ringKey]uint32)}
	v.tiers = []kernelviz.Tier{
		{Name: TierShm, Label: "shared memory, BPF"},
		{Name: TierBPFIter, Label: "BPF"},
		{Name: TierFdinfo, Label: "fdinfo"},
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
			log.Debug("uring tier does not work here", "tier", t.Name, "err", err)
			continue
		}
		t.Chosen, v.tier = true, i
	}
	if v.tier < 0 {
		_ = v.Close()
		if i := v.tierIndex(opts.Tier); i >= 0 {
			return nil, fmt.Errorf("tier %s of the uring view: %s", opts.Tier, v.tiers[i].Reason)
		}
		return nil, fmt.Errorf("there is no tier %q of the uring view; want %s, %s or %s", opts.Tier, TierShm, TierBPFIter, TierFdinfo)
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

// try makes the tier work or says why it does not.
func (v *View) try(t *kernelviz.Tier) error {
	if t.Name == TierFdinfo {
		t.Code = codeMembership
		t.Reason = "/proc/PID/fdinfo tells heads, tails and, of most rings, what lies between them"
		return nil
	}
	if err := v.load(); err != nil {
		return err
	}
	if t.Name == TierShm {
		if err := v.tryMap(); err != nil {
			return err
		}
	}
	t.Code = codeLoads
	t.Reason = "the programs load on this kernel and read the structs by its BTF"
	if t.Name == TierShm {
		t.Reason = "a ring of another process can be mapped, and the programs that read the kernel's side load"
	}
	return nil
}

// load loads the programs that both better tiers stand on.
func (v *View) load() error {
	if v.probe != nil {
		return nil
	}
	load := ebpf.CollectionOptions{Cache: v.kernel.Cache()}
	p, err := newProbe(v.log, load)
	if err != nil {
		return err
	}
	v.probe, v.tracer, v.reader = p, newTracer(v.log, load), &reader{load: load}
	var params iouring.Params
	if fd, errno := iouring.RawSetup(1, &params); errno == 0 {
		unix.Close(fd)
		v.features = params.Features
	}
	return nil
}

// tryMap maps a ring of our own as if it were another process's.
func (v *View) tryMap() error {
	p := iouring.Params{}
	fd, errno := iouring.RawSetup(2, &p)
	if errno != 0 {
		return iouring.Explain(errno, 2, &iouring.Params{})
	}
	defer unix.Close(fd)
	s := shape{sqEntries: p.SQEntries, cqEntries: p.CQEntries, setup: p.Flags}
	l, err := v.layout(s)
	if err != nil {
		return err
	}
	m, err := mapRing(os.Getpid(), fd, 0, s, l)
	if err != nil {
		return fmt.Errorf("mapping a ring of our own: %w", err)
	}
	defer m.close()
	w := m.words()
	if b := check(s, &w, &w, nil).broken; b != kernelviz.BrokenNone {
		return fmt.Errorf("a new ring does not read as one: %s", brokenText[b])
	}
	return nil
}

// layout is where things lie in a ring of that shape.
func (v *View) layout(s shape) (layout, error) {
	if !s.sane() {
		return layout{}, fmt.Errorf("a ring of %d and %d entries cannot be", s.sqEntries, s.cqEntries)
	}
	s.setup &= layoutFlags
	v.mu.Lock()
	defer v.mu.Unlock()
	if l, ok := v.layouts[s]; ok {
		return l, nil
	}
	l, err := learnLayout(s)
	if err != nil {
		return layout{}, err
	}
	if err := l.agrees(v.kernel); err != nil {
		return layout{}, err
	}
	v.layouts[s] = l
	return l, nil
}

// explain puts an error into words for the doctor and the page. A rare error
// has no code: its own words are all there is to say.
func (v *View) explain(err error) (code, reason, fix string) {
	for _, need := range []struct{ capability, code string }{{kernel.BTF, codeNoBTF}, {kernel.BPF, codeNoBPF}} {
		if c, ok := v.kernel.Capability(need.capability); ok && !c.OK {
			return need.code, c.Reason, c.Fix
		}
	}
	if ringErr := iouring.Available(); errors.Is(ringErr, iouring.ErrDisabled) {
		return codeNoUring, ringErr.Error(), "sudo sysctl -w kernel.io_uring_disabled=0"
	} else if errors.Is(ringErr, iouring.ErrBlocked) {
		return codeNoUring, ringErr.Error(), ""
	}
	if errors.Is(err, unix.EPERM) {
		return codeNotPermitted, "loading BPF programs is not permitted: " + err.Error(), "sudo make run"
	}
	return "", err.Error(), ""
}

// Kind implements kernelviz.View.
func (v *View) Kind() kernelviz.Kind { return kernelviz.KindUring }

// Name implements kernelviz.View.
func (v *View) Name() string { return "uring" }

// Tiers implements kernelviz.View.
func (v *View) Tiers() []kernelviz.Tier { return append([]kernelviz.Tier(nil), v.tiers...) }

// Close implements kernelviz.View.
func (v *View) Close() error {
	if v.tracer != nil {
		v.tracer.close()
	}
	if v.reader != nil {
		v.reader.close()
	}
	if v.probe != nil {
		v.probe.close()
	}
	return nil
}

// Targets implements kernelviz.View.
func (v *View) Targets(ctx context.Context) ([]kernelviz.Target, error) {
	if v.tier == tierFdinfo {
		return fdinfoTargets(ctx, v.Name())
	}
	found, err := v.rings(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]kernelviz.Target, len(found))
	for i := range found {
		out[i] = v.target(&found[i])
	}
	return out, nil
}

// rings lists the machine's rings, at most twice a second and for about 1 % of
// a CPU; the list is never older than maxFoundAge for that.
func (v *View) rings(ctx context.Context) ([]foundRing, error) {
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
	v.forgetIDs()
	return found, nil
}

// maxIDs is how many rings may have a small id until those that are gone lose it.
const maxIDs = 4096

// forgetIDs forgets rings that are gone. v.mu is held.
func (v *View) forgetIDs() {
	if len(v.ids) <= maxIDs {
		return
	}
	ids := make(map[ringKey]uint32)
	for i := range v.found {
		k := ringKey{v.found[i].Ctx, v.found[i].Inode}
		if id, ok := v.ids[k]; ok {
			ids[k] = id
		}
	}
	v.ids = ids
}

// id is the small id of a ring.
func (v *View) id(r *foundRing) uint32 {
	if r.Ctx == 0 {
		return 0
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	k := ringKey{r.Ctx, r.Inode}
	id, ok := v.ids[k]
	if !ok {
		v.lastID++
		id = v.lastID
		v.ids[k] = id
	}
	return id
}

func (v *View) target(r *foundRing) kernelviz.Target {
	items := -1
	if r.SQEntries > 0 {
		items = int(pending(r.SQHead, r.SQTail, r.SQEntries) + pending(r.CQHead, r.CQTail, r.CQEntries))
	}
	return kernelviz.Target{
		View: v.Name(), Name: fmt.Sprintf("%d:%d", r.PID, r.FD),
		PID: r.PID, Comm: r.Comm, FD: r.FD, Instance: v.id(r), Items: items,
	}
}

// Open implements kernelviz.View. name is "PID:FD".
func (v *View) Open(ctx context.Context, name string) (kernelviz.Watch, error) {
	pid, fd, err := parseName(name)
	if err != nil {
		return nil, err
	}
	if v.tier == tierFdinfo {
		return openFdinfo(v, pid, fd)
	}
	return v.open(ctx, pid, fd)
}

// find looks up pid:fd.
func (v *View) find(ctx context.Context, pid, fd int) (foundRing, error) {
	found, err := v.probe.discover(ctx, pid)
	if err != nil {
		return foundRing{}, err
	}
	for _, r := range found {
		if r.PID == pid && r.FD == fd && r.Ctx != 0 {
			return r, nil
		}
	}
	return foundRing{}, missing(pid, fd)
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
		return 0, 0, fmt.Errorf("ring %q: %w: want PID:FD, for example 1234:5", name, kernelviz.ErrNotFound)
	}
	return pid, fd, nil
}

// missing explains why pid:fd cannot be opened.
func missing(pid, fd int) error {
	if err := unix.Kill(pid, 0); errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("ring %d:%d: %w: there is no process %d", pid, fd, kernelviz.ErrNotFound, pid)
	}
	return fmt.Errorf("ring %d:%d: %w: fd %d of process %d is not an io_uring instance", pid, fd, kernelviz.ErrNotFound, fd, pid)
}

// text is a NUL-terminated C string.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
