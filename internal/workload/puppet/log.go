package puppet

import (
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
	NoteDupSurvives  = "dup_survives"  // the fd is closed, its items stay: another fd keeps the file
	NoteCloseRemoves = "close_removes" // the last fd is closed, its items went with the file
	NoteOneshot      = "oneshot_off"   // an EPOLLONESHOT item was returned and is now silent
	NoteTimeout      = "timeout"       // epoll_wait returned nothing
	NoteAddReady     = "add_ready"     // the file was ready already, so the item went on the ready list at once
	NoteEpollInUse   = "epoll_in_use"  // closed while a thread waits in it; it lives until that returns
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
