// Package syscalls counts the system calls of processes exactly, in the kernel.
//
// A program on the tracepoint raw_syscalls/sys_enter counts per CPU, system
// call and group of processes. It is loaded and attached only while a Count is
// open: no other process is slower when there is none.
package syscalls

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// maxCounts are open at a time (MAX_GROUPS in count.bpf.c).
const maxCounts = 8

// Of the numbers that are counted, the last two are no system calls (CALL_* in
// count.bpf.c).
const (
	callCompat = len(countCalls{}.ByNumber) - 2
	callOther  = len(countCalls{}.ByNumber) - 1
)

var (
	errTooMany = fmt.Errorf("no more than %d counts of system calls can be open at a time", maxCounts)
	errNobody  = errors.New("counting system calls: neither a cgroup nor a process was named")
	errEnded   = errors.New("this count of system calls was closed")
)

// Counter makes Counts. Its methods may be called concurrently.
type Counter struct {
	log  *slog.Logger
	load ebpf.CollectionOptions

	mu     sync.Mutex
	coll   *ebpf.Collection // nil while no Count is open
	link   link.Link
	counts [maxCounts]*Count // by group; nil: free
	last   int               // group that was given last
	// generation counts changes of who belongs to which group.
	generation uint32
}

// Of says whose system calls are counted: those of all processes in a cgroup
// (v2) or below it, or else of processes by thread group id. Threads of the
// kernel make none.
type Of struct {
	// Cgroup is the path of a cgroup v2 directory; "" to go by PIDs.
	Cgroup string
	PIDs   []int // thread group ids in the initial pid namespace; children that they fork are not counted
}

// Count is a running count. Its methods may be called concurrently.
type Count struct {
	counter *Counter
	group   int
	cgroup  uint64 // its id, 0 if it goes by pids
	pids    []uint32
	missed  uint64 // calls that the program had missed before
}

// New checks that the program loads on this kernel; nothing stays loaded. load
// carries the kernel's types (kernel.Info.Cache).
func New(log *slog.Logger, load ebpf.CollectionOptions) (*Counter, error) {
	c := &Counter{log: log, load: load}
	coll, err := c.collection()
	if err != nil {
		return nil, err
	}
	coll.Close()
	return c, nil
}

func (c *Counter) collection() (*ebpf.Collection, error) {
	spec, err := loadCount()
	if err != nil {
		return nil, err
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, c.load)
	if err != nil {
		return nil, fmt.Errorf("loading the counter of system calls: %w", err)
	}
	return coll, nil
}

// Start begins to count: every call that begins after it returns counts. The
// caller closes the Count.
func (c *Counter) Start(of Of) (*Count, error) {
	n := &Count{counter: c}
	switch {
	case of.Cgroup != "":
		id, err := cgroupID(of.Cgroup)
		if err != nil {
			return nil, fmt.Errorf("counting system calls of cgroup %s: %w", of.Cgroup, err)
		}
		n.cgroup = id
	case len(of.PIDs) > 0:
		for _, pid := range of.PIDs {
			n.pids = append(n.pids, uint32(pid))
		}
	default:
		return nil, errNobody
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// The group that was free the longest: no program that still runs adds to it.
	n.group = -1
	for i := range maxCounts {
		if g := (c.last + 1 + i) % maxCounts; c.counts[g] == nil {
			n.group = g
			break
		}
	}
	if n.group < 0 {
		return nil, errTooMany
	}
	if c.coll == nil {
		if err := c.attach(); err != nil {
			c.detach()
			return nil, err
		}
	}
	c.counts[n.group], c.last = n, n.group
	if err := c.begin(n); err != nil {
		c.counts[n.group] = nil
		return nil, errors.Join(err, c.settle())
	}
	return n, nil
}

// cgroupID is the id that bpf_get_current_cgroup_id tells: the inode number of
// the directory (kernfs_ino).
func cgroupID(path string) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, err
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return 0, errors.New("this is no directory of a cgroup v2 file system; count by process instead")
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}

// begin clears the counters of a group and lets the program know it. c.mu is held.
func (c *Counter) begin(n *Count) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("counting CPUs: %w", err)
	}
	if err := c.coll.Maps[countMapCounts].Put(uint32(n.group), make([]countCalls, cpus)); err != nil {
		return fmt.Errorf("clearing the counters of system calls: %w", err)
	}
	if n.missed, err = c.misses(); err != nil {
		return err
	}
	return c.settle()
}

// settle tells the program who belongs to which group, or detaches it if there
// is no group. c.mu is held.
func (c *Counter) settle() error {
	if c.counts == [maxCounts]*Count{} {
		c.detach()
		return nil
	}
	pids, cgroups := map[uint32]uint32{}, map[uint64]uint32{}
	for g, n := range c.counts {
		if n == nil {
			continue
		}
		for _, pid := range n.pids {
			pids[pid] |= 1 << g
		}
		if n.cgroup != 0 {
			cgroups[n.cgroup] |= 1 << g
		}
	}
	// The program learns of a new generation after its groups, so that what it
	// works out of a cgroup for that generation holds.
	c.generation++
	err := errors.Join(
		replace(c.coll.Maps[countMapPids], pids),
		replace(c.coll.Maps[countMapCgroups], cgroups),
		c.coll.Variables[countVarByPid].Set(flag(len(pids) > 0)),
		c.coll.Variables[countVarByCgroup].Set(flag(len(cgroups) > 0)),
		c.coll.Variables[countVarGeneration].Set(c.generation),
	)
	if err != nil {
		return fmt.Errorf("telling whose system calls to count: %w", err)
	}
	return nil
}

func flag(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// replace makes a map hold what want does.
func replace[K comparable](m *ebpf.Map, want map[K]uint32) error {
	var gone []K
	var key K
	var groups uint32
	iter := m.Iterate()
	for iter.Next(&key, &groups) {
		if _, ok := want[key]; !ok {
			gone = append(gone, key)
		}
	}
	err := iter.Err()
	for _, k := range gone {
		err = errors.Join(err, m.Delete(k))
	}
	for k, v := range want {
		err = errors.Join(err, m.Put(k, v))
	}
	return err
}

// misses are the calls that the program was not run for, of any process. There
// are none unless the kernel lets it be preempted. c.mu is held.
func (c *Counter) misses() (uint64, error) {
	stats, err := c.coll.Programs[countProgSysEnter].Stats()
	if err != nil {
		return 0, fmt.Errorf("asking for missed system calls: %w", err)
	}
	return stats.RecursionMisses, nil
}

func (c *Counter) attach() (err error) {
	if c.coll, err = c.collection(); err != nil {
		return err
	}
	c.link, err = link.AttachTracing(link.TracingOptions{Program: c.coll.Programs[countProgSysEnter]})
	if err != nil {
		return fmt.Errorf("attaching to tracepoint sys_enter: %w", err)
	}
	return nil
}

// detach undoes attach, however far it came. c.mu is held.
func (c *Counter) detach() {
	if c.link != nil {
		if err := c.link.Close(); err != nil {
			c.log.Error("detaching the counter of system calls", "err", err)
		}
		c.link = nil
	}
	if c.coll != nil {
		c.coll.Close()
		c.coll = nil
	}
}

// Close ends every Count and releases what is loaded.
func (c *Counter) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts = [maxCounts]*Count{}
	c.detach()
}

// Read returns the calls begun since Start by name ("pread64"; "syscall_999"
// of one without a known name, "32-bit" of all calls of 32-bit programs) and
// their total. It fails rather than be wrong: if the kernel did not run the
// program for a call.
func (n *Count) Read() (byName map[string]uint64, total uint64, err error) {
	c := n.counter
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts[n.group] != n {
		return nil, 0, errEnded
	}
	var byCPU []countCalls
	if err := c.coll.Maps[countMapCounts].Lookup(uint32(n.group), &byCPU); err != nil {
		return nil, 0, fmt.Errorf("reading the counters of system calls: %w", err)
	}
	missed, err := c.misses()
	if err != nil {
		return nil, 0, err
	}
	if missed != n.missed {
		return nil, 0, fmt.Errorf("counting system calls: the kernel skipped the counter for %d calls on this machine", missed-n.missed)
	}
	byName = make(map[string]uint64)
	for i := range byCPU {
		for number, calls := range byCPU[i].ByNumber {
			if calls > 0 {
				byName[name(number)] += calls
				total += calls
			}
		}
	}
	return byName, total, nil
}

func name(number int) string {
	switch number {
	case callCompat:
		return "32-bit"
	case callOther:
		return "other"
	}
	if s, ok := names[number]; ok {
		return s
	}
	return "syscall_" + strconv.Itoa(number)
}

// Close ends the count. The last open Count detaches the program.
func (n *Count) Close() {
	c := n.counter
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.counts[:], n)
	if i < 0 {
		return
	}
	c.counts[i] = nil
	if err := c.settle(); err != nil {
		c.log.Error("ending a count of system calls", "err", err)
	}
}
