// Package terminal runs a shell on a pty inside the sandbox, and hands its
// output to any number of followers that come, go and come again.
//
// Output is numbered by byte from the shell's start. The latest Window bytes
// are kept, so that who lost the connection goes on where it stopped. The pty
// is read no faster than the followers draw: what they have not acknowledged
// never exceeds Window, and a program that prints more waits, as it does for
// any slow terminal.
package terminal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"kernelviz/internal/sandbox"
)

const (
	// Window is how many bytes of output are kept, and how many a follower is
	// given beyond what it has acknowledged.
	Window = 256 << 10
	// MaxInput is how many bytes of input wait for the program at most.
	MaxInput = 2 << 20
	// MaxSize is the largest number of columns and rows.
	MaxSize = 1000

	// stallTime is how long a follower that acknowledges nothing holds up the
	// others.
	stallTime = 5 * time.Second
	// drainTime is how long output is awaited when all processes are gone: no
	// longer than the kernel takes to hand over what it has.
	drainTime = 500 * time.Millisecond
)

// Errors where callers choose.
var (
	ErrEnded = errors.New("the terminal has ended")
	ErrFull  = errors.New("the program takes no more input")
	ErrSize  = errors.New("bad size of a terminal")
)

// Options say how a terminal is started.
type Options struct {
	Name       string           // of its sandbox
	Command    []string         // nil: the user's shell
	Dir        string           // where it begins; empty: the user's home, or /
	Env        []string         // added to a small environment of its own
	User       *sandbox.User    // nil: the server's own
	Network    *sandbox.Network // nil: the server's own
	Limits     sandbox.Limits   // zero: 256 processes, 1 GiB, one CPU
	Cols, Rows int              // 0: 80 and 24
}

func defaultLimits() sandbox.Limits {
	return sandbox.Limits{Processes: 256, Memory: 1 << 30, CPU: 1, Files: 20_000}
}

// Terminal is a shell on a pty. Its methods may be called concurrently.
type Terminal struct {
	box    *sandbox.Process
	master *os.File
	gone   chan struct{} // closed when its processes are gone
	done   chan struct{} // closed when their output is read, too
	now    func() time.Time
	stall  time.Duration

	in input

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced when what is below changes
	ring      ring
	followers map[*Follower]bool
	over      bool // no more output will come
	closing   bool // output is read without regard to followers
	cols      int
}

// Start starts a shell in a sandbox of its own. ctx bounds its life.
func Start(ctx context.Context, box *sandbox.Sandbox, o Options) (*Terminal, error) {
	if o.Cols == 0 && o.Rows == 0 {
		o.Cols, o.Rows = 80, 24
	}
	if err := checkSize(o.Cols, o.Rows); err != nil {
		return nil, err
	}
	if o.Limits == (sandbox.Limits{}) {
		o.Limits = defaultLimits()
	}
	t := &Terminal{
		gone: make(chan struct{}), done: make(chan struct{}), now: time.Now, stall: stallTime,
		changed: make(chan struct{}), followers: map[*Follower]bool{}, cols: o.Cols,
	}
	t.in.changed = make(chan struct{}, 1)
	master, slave, err := openPTY(o)
	if err != nil {
		return nil, fmt.Errorf("opening a pty: %w", err)
	}
	defer slave.Close()
	t.master = master
	cmd, release, err := command(o)
	if err != nil {
		master.Close()
		return nil, err
	}
	defer release()
	restoreSignals()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	t.box, err = box.Start(ctx, cmd, sandbox.Options{Name: o.Name, Network: o.Network, User: o.User, Limits: o.Limits})
	if err != nil {
		master.Close()
		return nil, fmt.Errorf("starting a terminal: %w", err)
	}
	go t.live()
	return t, nil
}

// live waits for the end of the processes and of their output.
func (t *Terminal) live() {
	var both sync.WaitGroup
	both.Go(t.read)
	both.Go(t.feed)
	<-t.box.Done()
	// Who waits for output, or for room for input, looks up. The deadline comes
	// first: once gone is closed, read sets its own.
	_ = t.master.SetDeadline(time.Now())
	close(t.gone)
	both.Wait()
	t.master.Close()
	t.change(func() { t.over = true })
	close(t.done)
}

// openPTY returns both ends of a new pty, the slave owned by the user.
func openPTY(o Options) (master, slave *os.File, err error) {
	blocking, slave, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer blocking.Close()
	if err := errors.Join(
		setSize(blocking, o.Cols, o.Rows),
		// The child shares the file's flags and expects what a login has.
		unix.SetNonblock(int(slave.Fd()), false),
		giveTo(slave, o.User),
	); err != nil {
		slave.Close()
		return nil, nil, err
	}
	// Opened by pty.Open it is in blocking mode, in which Close and deadlines do
	// not reach a reader.
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		slave.Close()
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd), blocking.Name()), slave, nil
}

// giveTo makes /dev/pts/N the user's, as login(1) does: programs open it.
func giveTo(slave *os.File, u *sandbox.User) error {
	if u == nil || os.Geteuid() != 0 {
		return nil
	}
	return errors.Join(slave.Chown(u.UID, -1), slave.Chmod(0o620))
}

func checkSize(cols, rows int) error {
	if cols < 1 || rows < 1 || cols > MaxSize || rows > MaxSize {
		return fmt.Errorf("%w: %d columns and %d rows; 1 to %d are taken", ErrSize, cols, rows, MaxSize)
	}
	return nil
}

func setSize(f *os.File, cols, rows int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(cols), Row: uint16(rows)})
	})
	return errors.Join(err, failed)
}

// Resize tells the programs how large the terminal is.
func (t *Terminal) Resize(cols, rows int) error {
	if err := checkSize(cols, rows); err != nil {
		return err
	}
	if err := setSize(t.master, cols, rows); err != nil {
		if t.isGone() {
			return ErrEnded
		}
		return fmt.Errorf("resizing the terminal: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cols = cols
	return nil
}

// PID is the process id of the shell.
func (t *Terminal) PID() int { return t.box.PID() }

// PIDs are those of the shell and of all that runs in the terminal.
func (t *Terminal) PIDs() ([]int, error) { return t.box.PIDs() }

// Done is closed when the shell and all that it started are gone and their
// output is read.
func (t *Terminal) Done() <-chan struct{} { return t.done }

// Ended tells for people how the shell ended; empty while it runs.
func (t *Terminal) Ended() string {
	select {
	case <-t.gone:
	default:
		return ""
	}
	end, err := t.box.Wait(context.Background())
	if err != nil {
		return err.Error()
	}
	return end.Reason
}

// End is the offset after the newest byte of output.
func (t *Terminal) End() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ring.end
}

// Since returns what was printed since an offset as plain text: without escape
// sequences, lines as they looked at last, the latest 64 KiB of it.
func (t *Terminal) Since(mark int64) string {
	t.mu.Lock()
	raw, at := t.ring.since(mark, Window)
	cols := t.cols
	t.mu.Unlock()
	return plain(raw, cols, at > max(mark, 0))
}

// Close kills the shell and all that it started.
func (t *Terminal) Close() error {
	t.change(func() { t.closing = true })
	if err := t.box.Kill("the terminal was closed"); err != nil {
		return err
	}
	<-t.done
	return nil
}

// change changes what mu guards and wakes who waits for it.
func (t *Terminal) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	t.wakeLocked()
}

func (t *Terminal) wakeLocked() {
	close(t.changed)
	t.changed = make(chan struct{})
}
