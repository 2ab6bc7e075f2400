package uring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"kernelviz/internal/iouring"
	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/wire"
)

// Info is /proc/PID/fdinfo/FD of a ring: what io_uring_show_fdinfo
// (io_uring/fdinfo.c) prints, which differs between kernels.
type Info struct {
	// Heads tells that the counters are there. A kernel that cannot get
	// uring_lock at once prints nothing at all.
	Heads                            bool
	SQMask, SQHead, SQTail           uint32
	CachedSQHead                     uint32
	CQMask, CQHead, CQTail           uint32
	CachedCQTail                     uint32
	SQEs                             []InfoSQE // those with a good index, at most wire.MaxList; none are printed of a ring without an SQ array
	CQEs                             []InfoCQE // at most wire.MaxList
	ThreadPID, ThreadCPU             int       // of the SQPOLL thread; -1 none
	ThreadTotal, ThreadWork          time.Duration
	HasTimes                         bool // this kernel prints the two
	UserFiles, UserBufs              int  // slots
	Files                            []InfoFile
	Buffers                          []InfoBuffer
	Polls                            []string // operations of armed requests: "op=22, task_works=0"
	Overflow                         int      // lines of CqOverflowList
	HasThread, HasPolls, HasOverflow bool     // their sections are there
}

// InfoSQE is one line below "SQEs:".
type InfoSQE struct {
	Index    uint32
	Op       string // "READ"
	FD       int32
	Flags    uint8
	Off      uint64
	Addr     uint64
	OpFlags  uint32
	BufIndex uint16
	UserData uint64
}

// InfoCQE is one line below "CQEs:".
type InfoCQE struct {
	Index    uint32
	UserData uint64
	Res      int32
	Flags    uint32
	Extra    [2]uint64
	Wide     bool
}

// InfoFile is a registered file.
type InfoFile struct {
	Slot uint32
	Name string // "" where this kernel prints none
}

// InfoBuffer is a registered buffer.
type InfoBuffer struct {
	Slot      uint32
	Addr, Len uint64
}

// ReadFdinfo reads what the kernel prints of a ring. It makes the kernel take
// the ring's uring_lock, if it is free.
func ReadFdinfo(pid, fd int) (*Info, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd))
	if err != nil {
		return nil, err
	}
	return parseFdinfo(string(b))
}

// parseFdinfo reads lines "Name: value" and, below some of them, lists that
// are set in.
func parseFdinfo(s string) (*Info, error) {
	out := &Info{ThreadPID: -1, ThreadCPU: -1}
	section := ""
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			continue
		}
		var err error
		if line[0] == ' ' {
			err = out.item(section, strings.TrimSpace(line))
		} else {
			var value string
			section, value, _ = strings.Cut(line, ":")
			err = out.field(section, strings.TrimSpace(value))
		}
		if err != nil {
			return nil, fmt.Errorf("fdinfo line %q: %w", line, err)
		}
	}
	return out, nil
}

func (i *Info) field(name, value string) (err error) {
	u32 := func(to *uint32) {
		var v uint64
		v, err = strconv.ParseUint(value, 0, 32)
		*to = uint32(v)
	}
	number := func(to *int) { *to, err = strconv.Atoi(value) }
	micros := func(to *time.Duration) {
		var v uint64
		v, err = strconv.ParseUint(value, 10, 64)
		*to, i.HasTimes = time.Duration(v)*time.Microsecond, true
	}
	switch name {
	case "SqMask":
		i.Heads = true
		u32(&i.SQMask)
	case "SqHead":
		u32(&i.SQHead)
	case "SqTail":
		u32(&i.SQTail)
	case "CachedSqHead":
		u32(&i.CachedSQHead)
	case "CqMask":
		u32(&i.CQMask)
	case "CqHead":
		u32(&i.CQHead)
	case "CqTail":
		u32(&i.CQTail)
	case "CachedCqTail":
		u32(&i.CachedCQTail)
	case "SqThread":
		i.HasThread = true
		number(&i.ThreadPID)
	case "SqThreadCpu":
		number(&i.ThreadCPU)
	case "SqTotalTime":
		micros(&i.ThreadTotal)
	case "SqWorkTime":
		micros(&i.ThreadWork)
	case "UserFiles":
		number(&i.UserFiles)
	case "UserBufs":
		number(&i.UserBufs)
	case "PollList":
		i.HasPolls = true
	case "CqOverflowList":
		i.HasOverflow = true
	}
	return err
}

// item reads one line of a list. Of an entry it needs the fields that every
// kernel prints; what follows is let pass.
func (i *Info) item(section, line string) error {
	switch section {
	case "SQEs":
		if len(i.SQEs) == wire.MaxList {
			return nil
		}
		var e InfoSQE
		var op string
		n, err := fmt.Sscanf(line, "%d: opcode:%s fd:%d, flags:%x, off:%d, addr:0x%x, rw_flags:0x%x, buf_index:%d user_data:%d",
			&e.Index, &op, &e.FD, &e.Flags, &e.Off, &e.Addr, &e.OpFlags, &e.BufIndex, &e.UserData)
		if n < 9 {
			return err
		}
		e.Op = strings.TrimSuffix(op, ",")
		i.SQEs = append(i.SQEs, e)
	case "CQEs":
		if len(i.CQEs) == wire.MaxList {
			return nil
		}
		var e InfoCQE
		n, err := fmt.Sscanf(line, "%d: user_data:%d, res:%d, flag:%x, extra1:%d, extra2:%d", &e.Index, &e.UserData, &e.Res, &e.Flags, &e.Extra[0], &e.Extra[1])
		if n < 4 {
			return err
		}
		e.Wide = n == 6
		i.CQEs = append(i.CQEs, e)
	case "UserFiles":
		slot, name, _ := strings.Cut(line, ":")
		n, err := strconv.ParseUint(slot, 10, 32)
		if err != nil {
			return err
		}
		// 6.1 has no name for pipes and sockets, and "<none>" for an empty slot.
		if name = strings.TrimSpace(name); name != "<none>" {
			i.Files = append(i.Files, InfoFile{Slot: uint32(n), Name: name})
		}
	case "UserBufs":
		var b InfoBuffer
		slot, rest, _ := strings.Cut(line, ":")
		n, err := strconv.ParseUint(slot, 10, 32)
		if err != nil {
			return err
		}
		b.Slot = uint32(n)
		if m, _ := fmt.Sscanf(strings.TrimSpace(rest), "0x%x/%d", &b.Addr, &b.Len); m == 2 {
			i.Buffers = append(i.Buffers, b)
		}
	case "PollList":
		i.Polls = append(i.Polls, line)
	case "CqOverflowList":
		i.Overflow++
	}
	return nil
}

// resources are the rows of registered files and buffers. known is false if
// the kernel could not list them because uring_lock was held.
func (i *Info) resources() (rows []wire.ResourceRow, known bool) {
	rows = []wire.ResourceRow{}
	for _, f := range i.Files {
		r := wire.ResourceRow{Slot: f.Slot, Kind: wire.ResourceFile}
		name := f.Name
		if len(name) >= len(r.Name) {
			name = filepath.Base(name)
		}
		copy(r.Name[:len(r.Name)-1], name)
		rows = append(rows, r)
	}
	for _, b := range i.Buffers {
		rows = append(rows, wire.ResourceRow{Slot: b.Slot, Kind: wire.ResourceBuffer, Addr: b.Addr, Len: b.Len})
	}
	known = i.Heads && i.HasPolls && (i.UserBufs == 0 || len(i.Buffers) > 0)
	return rows[:min(len(rows), wire.MaxList)], known
}

// fdinfoTargets finds rings by the links of /proc/PID/fd that this user may read.
func fdinfoTargets(ctx context.Context, view string) ([]kernelviz.Target, error) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var out []kernelviz.Target
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		fds, err := os.ReadDir(filepath.Join("/proc", d.Name(), "fd"))
		if err != nil {
			continue // another user's, or gone
		}
		for _, f := range fds {
			fd, err := strconv.Atoi(f.Name())
			if err != nil || !isRing(pid, fd) {
				continue
			}
			out = append(out, kernelviz.Target{
				View: view, Name: fmt.Sprintf("%d:%d", pid, fd), PID: pid, Comm: commOf(pid, pid), FD: fd, Items: -1,
			})
		}
	}
	return out, nil
}

func isRing(pid, fd int) bool {
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	return err == nil && link == ringLink
}

// fdinfoWatch is one ring watched through procfs.
type fdinfoWatch struct {
	view      *View
	pid, fd   int
	counts    kernelviz.Truth
	last      *Snapshot
	sqHead    uint32
	cqTail    uint32
	submitted uint64
	completed uint64
}

func openFdinfo(v *View, pid, fd int) (*fdinfoWatch, error) {
	if _, err := ReadFdinfo(pid, fd); errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("ring %d:%d: reading /proc/%d/fdinfo: %w: it belongs to another user; run labserver as root to see it", pid, fd, pid, fs.ErrPermission)
	}
	if !isRing(pid, fd) {
		return nil, missing(pid, fd)
	}
	return &fdinfoWatch{view: v, pid: pid, fd: fd}, nil
}

func (w *fdinfoWatch) Wake() <-chan struct{} { return nil }
func (w *fdinfoWatch) Close() error          { return nil }

// Target implements kernelviz.Watch.
func (w *fdinfoWatch) Target() kernelviz.Target {
	return kernelviz.Target{
		View: w.view.Name(), Name: fmt.Sprintf("%d:%d", w.pid, w.fd), PID: w.pid, Comm: commOf(w.pid, w.pid), FD: w.fd, Items: -1,
	}
}

// Inspect implements kernelviz.Watch.
func (w *fdinfoWatch) Inspect(context.Context, string, uint32) (kernelviz.Detail, error) {
	return kernelviz.Detail{}, errors.New("the fdinfo tier cannot read kernel structs; run labserver as root on a kernel with BTF")
}

// Sample implements kernelviz.Watch.
func (w *fdinfoWatch) Sample(ctx context.Context) (kernelviz.Snapshot, error) {
	began := monotonic()
	if !isRing(w.pid, w.fd) {
		return nil, fmt.Errorf("ring %d:%d: %w: the process has ended or closed the fd", w.pid, w.fd, kernelviz.ErrGone)
	}
	w.counts.Samples++
	var info *Info
	for try := range maxTries {
		var err error
		if info, err = ReadFdinfo(w.pid, w.fd); err != nil {
			return nil, fmt.Errorf("ring %d:%d: %w: %w", w.pid, w.fd, kernelviz.ErrGone, err)
		}
		if info.Heads {
			break
		}
		sleep(ctx, time.Duration(try+1)*200*time.Microsecond) // uring_lock was held
	}
	s := &Snapshot{watch: w, truth: w.counts}
	s.truth.Tier = w.view.tier
	s.truth.Whole = true
	if !info.Heads {
		if w.last != nil {
			old := *w.last
			old.truth.Samples = w.counts.Samples
			return &old, nil
		}
		s.ring = wire.RingRow{Owner: uint32(w.pid), Owners: 1, InFlight: -1, ThreadCPU: -1}
	} else {
		w.fill(s, info)
		w.last = s
	}
	s.truth.At = monotonic()
	s.truth.Read = s.truth.At - began
	return s, nil
}

// fill derives rows from what the kernel printed.
func (w *fdinfoWatch) fill(s *Snapshot, info *Info) {
	if w.last != nil {
		w.submitted += uint64(info.CachedSQHead - w.sqHead)
		w.completed += uint64(info.CachedCQTail - w.cqTail)
	}
	w.sqHead, w.cqTail = info.CachedSQHead, info.CachedCQTail
	r := &s.ring
	*r = wire.RingRow{
		SQEntries: info.SQMask + 1, CQEntries: info.CQMask + 1,
		SQHead: info.SQHead, SQTail: info.SQTail, CQHead: info.CQHead, CQTail: info.CQTail,
		CachedSQHead: info.CachedSQHead, CachedCQTail: info.CachedCQTail,
		InFlight: -1, Files: uint32(info.UserFiles), Buffers: uint32(info.UserBufs), ThreadCPU: -1,
		Owner: uint32(w.pid), Owners: 1, Submitted: w.submitted, Completed: w.completed,
		Seen: wire.SeenHeads | wire.SeenCached,
	}
	words := words{
		sqHead: r.SQHead, sqTail: r.SQTail, cqHead: r.CQHead, cqTail: r.CQTail,
		sqMask: info.SQMask, cqMask: info.CQMask, sqRingEntries: r.SQEntries, cqRingEntries: r.CQEntries,
	}
	side := kernelSide{cachedSQHead: r.CachedSQHead, cachedCQTail: r.CachedCQTail}
	s.truth.Broken = check(shape{sqEntries: r.SQEntries, cqEntries: r.CQEntries}, &words, &words, &side).broken
	s.truth.Whole = s.truth.Broken == kernelviz.BrokenNone
	if !s.truth.Whole {
		w.counts.Marked++
		s.truth.Marked++
		r.Gone = 1
	}
	s.sqes, s.cqes = infoSQEs(info), infoCQEs(info)
	// Not every SQE is printed: none without an SQ array, none with a bad
	// index; and of wide CQEs one in two.
	if n := r.SQTail - r.SQHead; n <= r.SQEntries && len(s.sqes) == int(min(n, wire.MaxList)) {
		r.Seen |= wire.SeenSQEs
	} else {
		s.sqes = []wire.SQERow{}
	}
	if n := r.CQTail - r.CQHead; n <= r.CQEntries && len(s.cqes) == int(min(n, wire.MaxList)) {
		r.Seen |= wire.SeenCQEs
	}
	if info.HasOverflow {
		r.Seen |= wire.SeenOverflow
		r.OverflowList = uint32(info.Overflow)
	}
	r.Requests, r.Armed = uint32(len(info.Polls)), uint32(len(info.Polls))
	if info.HasThread && info.ThreadPID > 0 {
		r.ThreadPID, r.ThreadCPU, r.ThreadState = uint32(info.ThreadPID), int32(info.ThreadCPU), wire.ThreadUnknown
		r.ThreadTotal, r.ThreadWork = uint64(info.ThreadTotal.Microseconds()), uint64(info.ThreadWork.Microseconds())
	}
	if info.HasThread {
		r.Seen |= wire.SeenThread
	}
	var known bool
	if s.workers, known = readWorkers(w.pid, r.ThreadPID); known {
		r.Seen |= wire.SeenWorkers
	}
	if len(s.workers) > 0 && s.workers[0].Kind == wire.WorkerSQPoll {
		r.ThreadState = s.workers[0].State
	}
	if s.resources, known = info.resources(); known {
		r.Seen |= wire.SeenResources
	}
	if info.HasPolls && info.HasOverflow {
		inFlight(r, len(info.Polls))
	}
}

// infoSQEs are the SQEs that the kernel printed, in their order, from sq.head on.
func infoSQEs(info *Info) []wire.SQERow {
	rows := []wire.SQERow{}
	for i, e := range info.SQEs {
		if i == wire.MaxList {
			break
		}
		rows = append(rows, wire.SQERow{
			Position: info.SQHead + uint32(i), Index: e.Index, Op: opNumber(e.Op), Flags: e.Flags, FD: e.FD,
			Off: e.Off, Addr: e.Addr, OpFlags: e.OpFlags, UserData: e.UserData, BufIndex: e.BufIndex,
		})
	}
	return rows
}

// infoCQEs are the CQEs that the kernel printed: each at the position that its
// index says.
func infoCQEs(info *Info) []wire.CQERow {
	rows := []wire.CQERow{}
	for i, e := range info.CQEs {
		if i == wire.MaxList {
			break
		}
		r := wire.CQERow{
			Position: info.CQHead + (e.Index-info.CQHead)&info.CQMask,
			UserData: e.UserData, Res: e.Res, Flags: e.Flags, Extra: e.Extra,
		}
		if e.Wide {
			r.Wide = 1
		}
		rows = append(rows, r)
	}
	return rows
}

// opNumber is the operation of a name that the kernel printed; 255 if this
// program does not know it.
func opNumber(name string) uint8 {
	for op := range uint8(opUnknown) {
		if iouring.OpShort(op) == name {
			return op
		}
	}
	return opUnknown
}
