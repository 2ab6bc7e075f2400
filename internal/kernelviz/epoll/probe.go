package epoll

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/kernelviz/wire"
)

const (
	// smallCapacity nodes (4 MiB) serve nearly every process; the array is
	// made anew, as large as needed, when a tree outgrows it.
	smallCapacity = 1 << 16
	// maxCapacity bounds what one snapshot may take: 2 Mi nodes, 128 MiB.
	maxCapacity = 1 << 21
	// maxBudget nodes per run: about 0.7 ms where the nodes are out of cache.
	// Every run costs some 6 µs more.
	maxBudget = 8192
	minBudget = 1024
	// maxRun is how long one run may hold a CPU before the budget is cut.
	maxRun = time.Millisecond
	// maxDescribed items per run of describe (MAX_DESCRIBED in discover.bpf.c).
	maxDescribed = len(discoverDescribedRows{}.Items)
	maxOwners    = len(discoverDescribedRows{}.Owners)
)

var (
	errTaskGone = errors.New("the process is gone")
	errFDGone   = errors.New("the fd is no longer this epoll instance")
	errClosed   = errors.New("the epoll view is closed")
)

// probe runs our BPF programs. The programs write to arrays that all runs
// share, so one mutex serialises them; results are copied out under it.
type probe struct {
	log  *slog.Logger
	load ebpf.CollectionOptions // carries the kernel's types, parsed once
	// kfunc says that nodes are read through bpf_rdonly_cast rather than
	// bpf_probe_read_kernel.
	kfunc bool
	fops  [16]uint64 // struct file_operations by wire.FileType; 0 unknown

	mu          sync.Mutex
	discovery   *ebpf.Collection
	description *discoverDescribedRows // mapped, valid while discovery is loaded
	// walker is nil while nothing is watched: a snapshot's arrays are the
	// largest thing that we ask of the kernel.
	walker    *walker
	watchers  int
	instances map[uint64]uint32 // struct eventpoll → small id, never reused
}

// walker is the loaded snapshot program with its arrays mapped.
type walker struct {
	coll     *ebpf.Collection
	prog     *ebpf.Program
	capacity uint32
	nodes    []snapshotNode // mapped; capacity long
	lists    *snapshotListRows
	budget   uint32
	maps     [][]byte
}

// newProbe loads the discovery programs. It fails where BPF, BTF or the
// privilege for them is missing; nothing stays loaded then.
func newProbe(log *slog.Logger, kfunc bool, load ebpf.CollectionOptions) (*probe, error) {
	// RLIMIT_MEMLOCK is left alone: kernels since 5.11 do not count BPF memory
	// against it. (The package that would raise it makes a map before main
	// begins, which no workload of this binary may do.)
	spec, err := loadDiscover()
	if err != nil {
		return nil, err
	}
	if err := spec.Variables[discoverVarUseCast].Set(kfunc); err != nil {
		return nil, fmt.Errorf("choosing kfunc reads: %w", err)
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, load)
	if err != nil {
		return nil, fmt.Errorf("loading epoll discovery: %w", err)
	}
	p := &probe{log: log, load: load, kfunc: kfunc, discovery: coll, instances: make(map[uint64]uint32)}
	mem, err := mapArray(coll.Maps[discoverMapDescription], int(unsafe.Sizeof(discoverDescribedRows{})))
	if err != nil {
		coll.Close()
		return nil, fmt.Errorf("mapping the description array: %w", err)
	}
	p.description = (*discoverDescribedRows)(unsafe.Pointer(&mem[0]))
	if err := p.learnFileTypes(); err != nil {
		p.close()
		return nil, fmt.Errorf("learning file types: %w", err)
	}
	// Loading the snapshot program now proves that the tier works; its arrays
	// are given back until somebody watches.
	w, err := p.loadWalker(1)
	if err != nil {
		p.close()
		return nil, err
	}
	w.close()
	return p, nil
}

func (p *probe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.walker != nil {
		p.walker.close()
		p.walker = nil
	}
	if p.description != nil {
		mem := unsafe.Slice((*byte)(unsafe.Pointer(p.description)), pageAlign(int(unsafe.Sizeof(*p.description))))
		_ = unix.Munmap(mem)
		p.description = nil
	}
	p.discovery.Close()
}

func pageAlign(n int) int {
	page := unix.Getpagesize()
	return (n + page - 1) / page * page
}

// mapArray maps the value of a one-element BPF_F_MMAPABLE array.
func mapArray(m *ebpf.Map, size int) ([]byte, error) {
	return unix.Mmap(m.FD(), 0, pageAlign(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// learnFileTypes opens one file of each kind and remembers its
// file_operations: an address cannot be forged, a name can.
func (p *probe) learnFileTypes() error {
	var failed error
	learn := func(t wire.FileType, fd int, err error) {
		if err != nil {
			p.log.Debug("file type not available", "type", t, "err", err)
			return
		}
		defer unix.Close(fd)
		args := discoverLearnArgs{Fd: int32(fd)}
		if err := run(p.discovery.Programs[discoverProgLearn], &args); err != nil {
			failed = err
			return
		}
		p.fops[t] = args.Fops
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	learn(wire.FileEpoll, fd, err)
	fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC)
	learn(wire.FileEventfd, fd, err)
	fd, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	learn(wire.FileTimerfd, fd, err)
	fd, err = unix.Signalfd(-1, &unix.Sigset_t{}, unix.SFD_CLOEXEC)
	learn(wire.FileSignalfd, fd, err)
	fd, err = unix.InotifyInit1(unix.IN_CLOEXEC)
	learn(wire.FileInotify, fd, err)
	fd, err = unix.PidfdOpen(unix.Getpid(), 0)
	learn(wire.FilePidfd, fd, err)
	fd, err = newRing()
	learn(wire.FileIOUring, fd, err)
	fd, err = unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err == nil {
		pts, err := otherEnd(fd)
		learn(filePTS, pts, err)
	}
	learn(wire.FileTTY, fd, err)
	if failed != nil {
		return failed
	}
	if p.fops[wire.FileEpoll] == 0 {
		return errors.New("no epoll instance could be opened in this process")
	}
	return p.discovery.Variables[discoverVarFops].Set(p.fops)
}

// filePTS is where the file_operations of /dev/pts/N are kept (FILE_PTS in
// discover.bpf.c); those of /dev/ptmx differ.
const filePTS wire.FileType = 15

// newRing opens the smallest io_uring instance; where it is switched off
// (kernel.io_uring_disabled) nobody else has one either.
func newRing() (int, error) {
	var params [120]byte // struct io_uring_params
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// otherEnd opens the terminal's other end, as nobody's controlling terminal.
func otherEnd(ptmx int) (int, error) {
	if err := unix.IoctlSetPointerInt(ptmx, unix.TIOCSPTLCK, 0); err != nil {
		return -1, err
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(ptmx), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// run runs a syscall program with args as its context, which it may change.
func run[T any](prog *ebpf.Program, args *T) error {
	ret, err := prog.Run(&ebpf.RunOptions{Context: args, ContextOut: args})
	if err != nil {
		return err
	}
	if ret != 0 {
		return fmt.Errorf("program returned %d", ret)
	}
	return nil
}

func (p *probe) loadWalker(capacity uint32) (_ *walker, err error) {
	spec, err := loadSnapshot()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		spec.Variables[snapshotVarUseCast].Set(p.kfunc),
		spec.Variables[snapshotVarCapacity].Set(capacity),
		spec.Variables[snapshotVarEventpollFops].Set(p.fops[wire.FileEpoll]),
	); err != nil {
		return nil, fmt.Errorf("configuring the epoll snapshot: %w", err)
	}
	size := int(unsafe.Sizeof(snapshotNode{})) * int(capacity)
	spec.Maps[snapshotMapNodes].ValueSize = uint32(size)
	coll, err := ebpf.NewCollectionWithOptions(spec, p.load)
	if err != nil {
		return nil, fmt.Errorf("loading epoll snapshot for %d nodes: %w", capacity, err)
	}
	w := &walker{coll: coll, prog: coll.Programs[snapshotProgSnapshot], capacity: capacity, budget: maxBudget}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	nodes, err := mapArray(coll.Maps[snapshotMapNodes], size)
	if err != nil {
		return nil, fmt.Errorf("mapping %d nodes: %w", capacity, err)
	}
	w.maps = append(w.maps, nodes)
	w.nodes = unsafe.Slice((*snapshotNode)(unsafe.Pointer(&nodes[0])), capacity)
	lists, err := mapArray(coll.Maps[snapshotMapLists], int(unsafe.Sizeof(snapshotListRows{})))
	if err != nil {
		return nil, fmt.Errorf("mapping the lists: %w", err)
	}
	w.maps = append(w.maps, lists)
	w.lists = (*snapshotListRows)(unsafe.Pointer(&lists[0]))
	return w, nil
}

func (w *walker) close() {
	for _, m := range w.maps {
		_ = unix.Munmap(m)
	}
	w.coll.Close()
}

// acquire keeps the snapshot program loaded until release is called as often.
func (p *probe) acquire() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.walker == nil {
		w, err := p.loadWalker(smallCapacity)
		if err != nil {
			return err
		}
		p.walker = w
	}
	p.watchers++
	return nil
}

func (p *probe) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers--
	if p.watchers == 0 && p.walker != nil {
		p.walker.close()
		p.walker = nil
	}
}

// grow makes the array hold n nodes. p.mu is held.
func (p *probe) grow(n uint32) error {
	if n > maxCapacity {
		return fmt.Errorf("the tree has more than %d items, the most that one snapshot holds", maxCapacity)
	}
	capacity := p.walker.capacity
	for capacity < n {
		capacity *= 2
	}
	w, err := p.loadWalker(capacity)
	if err != nil {
		return err
	}
	p.walker.close()
	p.walker = w
	return nil
}

// instanceID gives the small stable id of an eventpoll. p.mu is held.
func (p *probe) instanceID(ep uint64) uint32 {
	if ep == 0 {
		return 0
	}
	id, ok := p.instances[ep]
	if !ok {
		id = uint32(len(p.instances) + 1)
		p.instances[ep] = id
	}
	return id
}

// discover lists every (process, fd) that is an epoll instance; of one process
// only if pid is not 0. It costs about 1.3 µs per open fd visited.
func (p *probe) discover(ctx context.Context, pid int) ([]discoverTarget, error) {
	iter, err := kernel.OpenTaskFileIter(p.discovery.Programs[discoverProgDiscover], pid)
	if err != nil {
		return nil, fmt.Errorf("iterating over open files: %w", err)
	}
	defer iter.Close()
	var out []discoverTarget
	// The iterator visits every thread whose table of fds is not its leader's:
	// all threads, once the leader has ended. A name stands once, and the
	// leader's table is the process's.
	type name struct {
		pid uint32
		fd  int32
	}
	seen := make(map[name]int)
	var t discoverTarget
	err = kernel.ReadRecords(ctx, iter, int(unsafe.Sizeof(t)), func(raw []byte) error {
		if _, err := binary.Decode(raw, binary.NativeEndian, &t); err != nil {
			return fmt.Errorf("decoding a target: %w", err)
		}
		if pid != 0 && int(t.Pid) != pid {
			return nil
		}
		k := name{t.Pid, t.Fd}
		if i, twice := seen[k]; !twice {
			seen[k] = len(out)
			out = append(out, t)
		} else if t.Tid == t.Pid {
			out[i] = t
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// capture is one reading of an eventpoll, copied out of the shared arrays and
// not yet checked.
type capture struct {
	args snapshotSnapshotArgs
	// last is what an earlier capture read; nil if none is known. Nodes that
	// read the same are last, not a copy. Neither is ever written.
	last     []snapshotNode
	nodes    []snapshotNode
	ready    []snapshotEntry
	overflow []snapshotEntry
	waiters  []snapshotWaiter
	longest  time.Duration
}

// snapshot reads the eventpoll of t in as many runs as it takes. The slices of
// into are reused, but for its nodes.
func (p *probe) snapshot(ctx context.Context, t *discoverTarget, instant bool, into *capture) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.walker == nil {
		return errors.New("the epoll snapshot program is not loaded")
	}
	for {
		err := p.walker.read(ctx, t, instant, into)
		if err != nil {
			return err
		}
		if into.args.Tail < p.walker.capacity {
			return nil
		}
		if err := p.grow(max(into.args.Refcount+64, 2*p.walker.capacity)); err != nil {
			return err
		}
	}
}

// read makes one snapshot and copies it out.
func (w *walker) read(ctx context.Context, t *discoverTarget, instant bool, into *capture) error {
	a := snapshotSnapshotArgs{
		Task: t.Task, StartTime: t.StartTime, File: t.File, Ep: t.Ep,
		Pid: t.Tid, Fd: t.Fd,
	}
	if instant {
		a.WantInstant = 1
	}
	into.longest = 0
	for a.Stage != stageDone {
		if err := ctx.Err(); err != nil {
			return err
		}
		a.Budget = w.budget
		before := a.Spent
		if err := run(w.prog, &a); err != nil {
			return fmt.Errorf("running the epoll snapshot: %w", err)
		}
		switch unix.Errno(-a.Err) {
		case 0:
		case unix.ESRCH:
			return errTaskGone
		default:
			return errFDGone
		}
		took := time.Duration(a.Spent - before)
		into.longest = max(into.longest, took)
		switch {
		case took > maxRun:
			w.budget = max(w.budget/2, minBudget)
		case took < maxRun/4:
			w.budget = min(w.budget*2, maxBudget)
		}
	}
	into.args = a
	into.nodes = into.last
	if nodes := w.nodes[:a.Tail]; !sameNodes(nodes, into.last) {
		into.nodes = slices.Clone(nodes)
	}
	into.ready = append(into.ready[:0], w.lists.Ready[:min(int(a.Ready), len(w.lists.Ready))]...)
	into.overflow = append(into.overflow[:0], w.lists.Overflow[:min(int(a.Overflow), len(w.lists.Overflow))]...)
	into.waiters = append(into.waiters[:0], w.lists.Waiters[:min(int(a.Waiters), len(w.lists.Waiters))]...)
	return nil
}

// stageDone ends a snapshot (enum stage in snapshot.bpf.c).
const stageDone = 6

// describe says what up to maxDescribed items watch. items have Item, File and
// Fd set; the rest is filled in.
func (p *probe) describe(owners []discoverTarget, items []discoverDescribed) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.description == nil {
		return errClosed
	}
	owners = owners[:min(len(owners), maxOwners)]
	for i, o := range owners {
		p.description.Owners[i].Task = o.Task
		p.description.Owners[i].StartTime = o.StartTime
	}
	copy(p.description.Items[:], items)
	args := discoverDescribeArgs{Count: uint32(len(items)), Owners: uint32(len(owners))}
	if err := run(p.discovery.Programs[discoverProgDescribe], &args); err != nil {
		return fmt.Errorf("describing files: %w", err)
	}
	copy(items, p.description.Items[:len(items)])
	return nil
}

// peek copies size bytes of kernel memory.
func (p *probe) peek(addr uint64, size int) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.description == nil {
		return nil, errClosed
	}
	mem := unsafe.Slice((*byte)(unsafe.Pointer(&p.description.Items)), unsafe.Sizeof(p.description.Items))
	if size > len(mem) {
		return nil, fmt.Errorf("a struct of %d bytes is larger than the %d that can be read", size, len(mem))
	}
	args := discoverPeekArgs{Addr: addr, Size: uint32(size)}
	if err := run(p.discovery.Programs[discoverProgPeek], &args); err != nil {
		return nil, fmt.Errorf("reading kernel memory: %w", err)
	}
	if args.Err != 0 {
		return nil, fmt.Errorf("reading kernel memory: %w", unix.Errno(-args.Err))
	}
	out := make([]byte, size)
	copy(out, mem)
	return out, nil
}
