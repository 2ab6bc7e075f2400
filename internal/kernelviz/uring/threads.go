package uring

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"kernelviz/internal/kernelviz/wire"
)

// maxWorkers rows are told; a process may have more io-wq threads.
const maxWorkers = 256

// readWorkers lists the kernel threads that work for a process: those of io-wq,
// which all its rings share, and the SQPOLL thread of this ring. sqpoll is the
// tid of that thread, which may belong to another process (ATTACH_WQ); 0 none.
// known is false if the threads cannot be listed.
func readWorkers(pid int, sqpoll uint32) (rows []wire.WorkerRow, known bool) {
	if sqpoll != 0 {
		if r, ok := readThread(int(sqpoll), int(sqpoll)); ok {
			r.Kind = wire.WorkerSQPoll
			rows = append(rows, r)
		}
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return rows, false
	}
	for _, d := range tasks {
		tid, err := strconv.Atoi(d.Name())
		if err != nil || uint32(tid) == sqpoll || len(rows) >= maxWorkers {
			continue
		}
		// io_wq_worker (io_uring/io-wq.c) gives its threads this name; that of
		// the SQPOLL thread is set in io_sq_thread (io_uring/sqpoll.c).
		if !strings.HasPrefix(commOf(pid, tid), "iou-wrk-") {
			continue
		}
		if r, ok := readThread(pid, tid); ok {
			r.Kind = wire.WorkerIOWQ
			rows = append(rows, r)
		}
	}
	return rows, true
}

func commOf(pid, tid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/comm", pid, tid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func readThread(pid, tid int) (wire.WorkerRow, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", pid, tid))
	if err != nil {
		return wire.WorkerRow{}, false
	}
	r, ok := parseStat(string(b))
	if !ok {
		return wire.WorkerRow{}, false
	}
	r.TID = uint32(tid)
	// The scheduler counts in nanoseconds where it counts at all.
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/schedstat", pid, tid)); err == nil {
		if first, _, ok := strings.Cut(string(b), " "); ok {
			if ns, err := strconv.ParseUint(first, 10, 64); err == nil && ns > 0 {
				r.Time = ns
			}
		}
	}
	return r, true
}

// userHZ is the unit of CPU times in /proc/PID/stat, the same on every
// architecture that this program runs on.
const userHZ = 100

// parseStat reads name, state, CPU and CPU time of proc_pid_stat(5).
func parseStat(s string) (r wire.WorkerRow, ok bool) {
	open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if open < 0 || end < open {
		return r, false
	}
	copy(r.Comm[:15], s[open+1:end])
	f := strings.Fields(s[end+1:]) // f[0] is field 3, the state
	if len(f) < 37 {
		return r, false
	}
	r.State = wire.ThreadAsleep
	if f[0] == "R" {
		r.State = wire.ThreadRunning
	}
	user, err1 := strconv.ParseUint(f[11], 10, 64)
	system, err2 := strconv.ParseUint(f[12], 10, 64)
	cpu, err3 := strconv.ParseInt(f[36], 10, 32)
	if err1 != nil || err2 != nil || err3 != nil {
		return r, false
	}
	r.Time = (user + system) * uint64(time.Second/userHZ)
	r.CPU = int32(cpu)
	return r, true
}
