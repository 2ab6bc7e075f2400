package ring

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

// Notes are the keys that Call.note may have: the lower-case name of the errno
// for a call that failed, or one of these.
const (
	NoteMemory    = "memory"      // no system call: shared memory was read or written
	NoteRingInUse = "ring_in_use" // closed while a thread sleeps in it; it lives until that returns
)

// entered is a call that has begun: its number and time.
type entered struct {
	seq    uint64
	time   string
	tid    int
	thread int
}

// enter takes the next number. Held: p.mu.
func (p *Puppet) enter(thread, tid int) entered {
	p.seq++
	p.seqs = append(p.seqs, p.seq)
	p.stamp = time.Now().UTC().AppendFormat(p.stamp[:0], time.RFC3339Nano)
	return entered{seq: p.seq, time: string(p.stamp), tid: tid, thread: thread}
}

// begin is enter for the main thread.
func (p *Puppet) begin() entered { return p.enter(0, p.tid) }

// leave logs a call that returned ret or failed with errno, which it returns.
// Held: p.mu.
func (p *Puppet) leave(e entered, text string, ret int, errno syscall.Errno, note string) syscall.Errno {
	if errno == 0 {
		p.leaveAs(e, text, "= "+strconv.Itoa(ret), true, note)
		return 0
	}
	p.leaveAs(e, text, "= -1 "+control.ErrnoText(errno), false, strings.ToLower(unix.ErrnoName(errno)))
	return errno
}

// leaveAs logs a call whose result strace prints in its own way. Held: p.mu.
func (p *Puppet) leaveAs(e entered, text, result string, ok bool, note string) {
	p.out.Add(&control.Call{
		Seq: e.seq, Time: e.time, TID: e.tid, Thread: e.thread,
		Text: text, Result: result, OK: ok, Note: note,
	})
}

// tell logs what was done to shared memory. Held: p.mu.
func (p *Puppet) tell(text string) { p.leaveAs(p.begin(), text, "", true, NoteMemory) }

// syscallError is a call that failed and so stopped an action.
type syscallError struct {
	call  string
	errno syscall.Errno
}

func (e *syscallError) Error() string { return e.call + " failed: " + control.ErrnoText(e.errno) }

func failure(call string, errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return &syscallError{call, errno}
}

// stop records why the action made fewer than n.
func (p *Puppet) stop(what string, n int, err error) {
	stopped := &control.Error{Code: "stopped", Message: fmt.Sprintf("made %d of %d (%s), then %v", len(p.made), n, what, err)}
	if e, ok := err.(*syscallError); ok && (e.errno == unix.EMFILE || e.errno == unix.ENFILE) {
		stopped.Code, stopped.Fix = "emfile", "close some, or raise the limit of open files (ulimit -n)"
	}
	p.stopped = stopped
}

// halt records that a system call failed which the rest of the action needed.
func (p *Puppet) halt(call string, errno syscall.Errno, fix string) {
	p.stopped = &control.Error{
		Code: strings.ToLower(unix.ErrnoName(errno)), Message: call + " failed: " + control.ErrnoText(errno), Fix: fix,
	}
}
