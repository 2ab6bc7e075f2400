package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Probe is a BPF program that a process attached to an event.
type Probe struct {
	PID  int
	Comm string
	Kind string // tracepoint, raw_tracepoint, kprobe, kretprobe, uprobe or uretprobe
	// Name is that of the tracepoint or function; of a uprobe the file. It is
	// empty where the kernel keeps it to itself (addresses of a kprobe).
	Name string
}

// Bounds of one call of Probes.
const (
	maxProbes = 4096
	maxName   = 256 // bytes
)

// attached is a probe and its program: what several descriptors stand for is
// one.
type attached struct {
	Probe
	program ebpf.ProgramID
}

// Probes lists the BPF programs that these processes have attached to events, in
// the order of their descriptors. It needs CAP_SYS_ADMIN. A process that died
// meanwhile is no error.
func Probes(pids []int) ([]Probe, error) {
	var all []Probe
	seen := map[attached]bool{}
	for _, pid := range pids {
		found, err := probesOf(pid)
		if gone(err) || errors.Is(err, fs.ErrPermission) && ending(pid) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking for probes of process %d: %w", pid, explain(err))
		}
		for _, a := range found {
			if !seen[a] && len(all) < maxProbes {
				seen[a] = true
				all = append(all, a.Probe)
			}
		}
	}
	return all, nil
}

func probesOf(pid int) ([]attached, error) {
	if pid <= 0 {
		return nil, nil
	}
	t, err := openTarget(pid)
	if err != nil {
		return nil, err
	}
	defer t.close()
	comm, err := os.ReadFile(procPath(pid, "comm"))
	if err != nil {
		return nil, err
	}
	var l look
	var found []attached
	err = t.each(func(fd int) (bool, error) {
		if l.seen == maxFDs {
			return false, nil
		}
		l.seen++
		a, err := l.attached(t, fd)
		if err == nil && a.Kind != "" {
			a.PID, a.Comm = pid, text(bytes.TrimSuffix(comm, []byte("\n")))
			found = append(found, a)
		}
		if gone(err) {
			err = nil
		}
		return true, err
	})
	return found, err
}

// attached asks what a descriptor attaches a program to; Kind is empty if it
// attaches none. A perf event tells by BPF_TASK_FD_QUERY; of links only those of
// raw tracepoints do, the others tell by their own information.
func (l *look) attached(t *target, fd int) (attached, error) {
	name, err := l.readlink(t, fd)
	if err != nil {
		return attached{}, err
	}
	switch name {
	case "anon_inode:[perf_event]":
		return query(t.pid, fd)
	case "anon_inode:bpf_link", "anon_inode:[bpf_link]":
		a, err := query(t.pid, fd)
		if err != nil || a.Kind != "" {
			return a, err
		}
		return t.linkInfo(fd)
	}
	return attached{}, nil
}

// kinds are the words for enum bpf_task_fd_type, in its order (linux/bpf.h).
var kinds = [...]string{"raw_tracepoint", "tracepoint", "kprobe", "kretprobe", "uprobe", "uretprobe"}

// taskFDQuery is the part of union bpf_attr that BPF_TASK_FD_QUERY takes.
type taskFDQuery struct {
	pid, fd, flags, bufLen uint32
	buf                    uint64
	progID, fdType         uint32
	probeOffset, probeAddr uint64
}

func query(pid, fd int) (attached, error) {
	const command = 20 // BPF_TASK_FD_QUERY
	buf := new([maxName]byte)
	attr := &taskFDQuery{pid: uint32(pid), fd: uint32(fd), bufLen: maxName}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(buf)
	attr.buf = uint64(uintptr(unsafe.Pointer(buf)))
	_, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr))
	switch errno {
	case 0, unix.ENOSPC: // the name was cut off
	case unix.EPERM, unix.EACCES:
		return attached{}, fmt.Errorf("BPF_TASK_FD_QUERY of fd %d: %w", fd, errno)
	default:
		// ENOENT: no program; ENOTSUPP and others: a thing that has no name.
		return attached{}, nil
	}
	if int(attr.fdType) >= len(kinds) {
		return attached{}, nil
	}
	name, _, _ := bytes.Cut(buf[:], []byte{0})
	return attached{Probe{Kind: kinds[attr.fdType], Name: text(name)}, ebpf.ProgramID(attr.progID)}, nil
}

// linkInfo asks a copy of a link.
func (t *target) linkInfo(fd int) (attached, error) {
	c, err := t.copyFD(fd)
	if err != nil {
		return attached{}, err
	}
	l, err := link.NewFromFD(c) // takes the copy, closes it if it fails
	if err != nil {
		return attached{}, nil // a kind that the library does not know
	}
	defer l.Close()
	info, err := l.Info()
	if err != nil {
		return attached{}, nil
	}
	a := attached{program: info.Program}
	if event := info.PerfEvent(); event != nil {
		a.Kind, a.Name = eventName(event)
	}
	return a, nil
}

// eventName names the event of a link; no kind if the kernel does not say
// (before Linux 6.6). Who has such a link mostly has its perf event too.
func eventName(e *link.PerfEventInfo) (kind, name string) {
	switch e.Type {
	case link.PerfEventTracepoint:
		return "tracepoint", e.Tracepoint().Tracepoint
	case link.PerfEventKprobe:
		return "kprobe", e.Kprobe().Function
	case link.PerfEventKretprobe:
		return "kretprobe", e.Kprobe().Function
	case link.PerfEventUprobe:
		return "uprobe", e.Uprobe().File
	case link.PerfEventUretprobe:
		return "uretprobe", e.Uprobe().File
	}
	return "", ""
}
