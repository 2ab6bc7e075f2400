package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/sandbox"
)

// The test binary plays the guardian, and a program in the terminal.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "play-guardian" {
		if err := sandbox.Guard(os.Stdin, os.Args[2:]); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == "play-numbers" {
		n, _ := strconv.Atoi(os.Args[2])
		_, err := io.Copy(os.Stdout, io.LimitReader(&numbers{}, int64(n)))
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// numbers is an endless text in which every place is different.
type numbers struct {
	next int
	rest []byte
}

func (n *numbers) Read(b []byte) (int, error) {
	for len(n.rest) < len(b) {
		n.rest = fmt.Appendf(n.rest, "%09d ", n.next)
		n.next++
	}
	k := copy(b, n.rest)
	n.rest = n.rest[:copy(n.rest, n.rest[k:])]
	return k, nil
}

func numberBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = (&numbers{}).Read(b)
	return b
}

func newBox(t *testing.T) *sandbox.Sandbox {
	t.Helper()
	box, err := sandbox.New(sandbox.Config{
		Log:      slog.New(slog.NewTextHandler(t.Output(), nil)),
		Guardian: []string{"/proc/self/exe", "play-guardian"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	return box
}

func start(t *testing.T, o Options) *Terminal {
	t.Helper()
	return startIn(t, newBox(t), o)
}

func startIn(t *testing.T, box *sandbox.Sandbox, o Options) *Terminal {
	t.Helper()
	if o.Name == "" {
		o.Name = "terminal"
	}
	term, err := Start(t.Context(), box, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := term.Close(); err != nil {
			t.Error(err)
		}
	})
	return term
}

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

// eventually polls a condition with a deadline.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30s: %s", what)
		}
	}
}

// expect waits until the terminal has printed a text.
func expect(t *testing.T, term *Terminal, want string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(term.Since(0), want); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %q in\n%s\n%s", want, term.Since(0), term.Ended())
		}
	}
}

func typed(t *testing.T, term *Terminal, text string) {
	t.Helper()
	if n, err := term.Write([]byte(text)); err != nil || n != len(text) {
		t.Fatalf("typing %.40q: %d, %v", text, n, err)
	}
}

// timeout is a context that fails a test rather than hang it.
func timeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// drain reads and acknowledges until the terminal ends.
func drain(t *testing.T, f *Follower) []byte {
	t.Helper()
	ctx := timeout(t)
	var all []byte
	for {
		b, at, lost, err := f.Next(ctx)
		if errors.Is(err, ErrEnded) {
			return all
		}
		if err != nil || lost > 0 {
			t.Fatalf("%v, %d lost", err, lost)
		}
		all = append(all, b...)
		f.Ack(at)
	}
}

func TestShellEchoesAndEnds(t *testing.T) {
	term := start(t, Options{User: &sandbox.User{UID: os.Geteuid(), GID: os.Getegid(), Name: "me", Home: "/", Shell: "/bin/bash"}})
	expect(t, term, "/ "+map[bool]string{true: "#", false: "$"}[os.Geteuid() == 0])
	mark := term.End()
	typed(t, term, "echo $((6*7)) $TERM; tty; ls -l /proc/self/fd | grep -c bashrc; echo $HISTFILE.\r")
	expect(t, term, "42 xterm-256color\n/dev/pts/")
	// The file of settings is not handed down.
	expect(t, term, "\n0\n.\n")
	if got := term.Since(mark); !strings.HasPrefix(got, "echo $((6*7))") || strings.Contains(got, "\x1b") {
		t.Errorf("since the mark: %q", got)
	}
	if term.Ended() != "" {
		t.Errorf("it runs and has ended: %q", term.Ended())
	}
	typed(t, term, "exit 3\r")
	select {
	case <-term.Done():
	case <-timeout(t).Done():
		t.Fatal("it does not end")
	}
	if got := term.Ended(); got != "exit status 3" {
		t.Errorf("ended: %q", got)
	}
	if _, err := term.Write([]byte("x")); !errors.Is(err, ErrEnded) {
		t.Errorf("typing after the end: %v", err)
	}
	if err := term.Resize(90, 30); !errors.Is(err, ErrEnded) {
		t.Errorf("resizing after the end: %v", err)
	}
	f := term.Attach(0)
	defer f.Close()
	if all := drain(t, f); !bytes.Contains(all, []byte("42 xterm-256color")) {
		t.Errorf("the output is gone with the shell: %q", all)
	}
}

func TestResize(t *testing.T) {
	term := start(t, Options{Command: []string{"/bin/sh", "-i"}, Cols: 91, Rows: 23})
	typed(t, term, "stty size\r")
	expect(t, term, "23 91")
	if err := term.Resize(1000, 2); err != nil {
		t.Fatal(err)
	}
	typed(t, term, "stty size\r")
	expect(t, term, "\n2 1000\n")
	for _, size := range [][2]int{{0, 24}, {80, 0}, {-1, 24}, {1001, 24}, {80, 65536 + 24}} {
		if err := term.Resize(size[0], size[1]); !errors.Is(err, ErrSize) {
			t.Errorf("%v: %v, want ErrSize", size, err)
		}
		if _, err := Start(t.Context(), nil, Options{Name: "x", Cols: size[0], Rows: size[1]}); !errors.Is(err, ErrSize) {
			t.Errorf("start with %v: %v, want ErrSize", size, err)
		}
	}
}

func TestCtrlCReachesTheProgram(t *testing.T) {
	term := start(t, Options{Command: []string{"sleep", "600"}})
	typed(t, term, "\x03")
	select {
	case <-term.Done():
	case <-timeout(t).Done():
		t.Fatal("it does not end")
	}
	if got := term.Ended(); got != "killed by SIGINT" {
		t.Errorf("ended: %q", got)
	}
}

// TestReconnect reads with many followers, one after the other, that stop at
// random: together they have every byte once.
func TestReconnect(t *testing.T) {
	const size = 3 << 20
	term := start(t, Options{Command: []string{"/proc/self/exe", "play-numbers", strconv.Itoa(size)}})
	ctx := timeout(t)
	r := rand.New(rand.NewPCG(3, 4))
	var got []byte
	f := term.Attach(0)
	connections := 1
	for {
		b, at, lost, err := f.Next(ctx)
		if errors.Is(err, ErrEnded) {
			break
		}
		if err != nil || lost != 0 {
			t.Fatalf("%v, %d lost", err, lost)
		}
		if r.IntN(20) == 0 {
			// The connection breaks: some of what was sent has arrived, less was
			// acknowledged. The next one is there before the old one is noticed.
			got = append(got, b[:r.IntN(len(b)+1)]...)
			old := f
			f = term.Attach(int64(len(got)))
			old.Close()
			if place, lost := f.Place(); place != int64(len(got)) || lost != 0 {
				t.Fatalf("at %d with %d lost, want %d", place, lost, len(got))
			}
			connections++
			continue
		}
		got = append(got, b...)
		if int64(len(got)) != at {
			t.Fatalf("%d bytes, offset %d", len(got), at)
		}
		if r.IntN(3) > 0 {
			f.Ack(at)
		}
		if r.IntN(10) == 0 {
			f.Ack(at + 1e9) // a page that lies
		}
	}
	f.Close()
	if want := numberBytes(size); !bytes.Equal(got, want) {
		t.Errorf("%d bytes over %d connections are not those that were printed", len(got), connections)
	}
	if connections < 5 {
		t.Errorf("only %d connections", connections)
	}
}

// printer makes a program that prints numbers, after Enter.
func printer(t *testing.T, size int, stall time.Duration) *Terminal {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	term := start(t, Options{Command: sh("stty -echo; read x; exec " + exe + " play-numbers " + strconv.Itoa(size))})
	term.mu.Lock()
	term.stall = stall
	term.mu.Unlock()
	eventually(t, "echo is off", func() bool {
		raw, err := term.master.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		off := false
		err = raw.Control(func(fd uintptr) { // Fd would make it blocking
			tio, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
			off = err == nil && tio.Lflag&unix.ECHO == 0
		})
		return err == nil && off
	})
	return term
}

func TestPacedByAcknowledgement(t *testing.T) {
	const size = 2 << 20
	term := printer(t, size, time.Hour)
	f := term.Attach(0)
	defer f.Close()
	typed(t, term, "\r")
	ctx := timeout(t)
	var got []byte
	for len(got) < Window {
		b, _, _, err := f.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b...)
	}
	if len(got) != Window || term.End() != Window {
		t.Fatalf("%d bytes given, %d read; want %d", len(got), term.End(), Window)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if b, _, _, err := f.Next(short); !errors.Is(err, context.DeadlineExceeded) || term.End() != Window {
		t.Fatalf("%d bytes more were given, %d read, %v", len(b), term.End(), err)
	}
	f.Ack(1000)
	for len(got) < Window+1000 {
		b, _, _, err := f.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b...)
	}
	if len(got) != Window+1000 || term.End() != Window+1000 {
		t.Errorf("after 1000 were acknowledged: %d given, %d read", len(got), term.End())
	}
	f.Ack(int64(len(got)))
	got = append(got, drain(t, f)...)
	if !bytes.Equal(got, numberBytes(size)) {
		t.Errorf("%d bytes are not those that were printed", len(got))
	}
}

// TestStalledHoldsUpNobody: one follower never acknowledges; the other gets
// everything.
func TestStalledHoldsUpNobody(t *testing.T) {
	const size = 2 << 20
	term := printer(t, size, 50*time.Millisecond)
	stalled, f := term.Attach(0), term.Attach(0)
	defer stalled.Close()
	defer f.Close()
	typed(t, term, "\r")
	if got := drain(t, f); !bytes.Equal(got, numberBytes(size)) {
		t.Errorf("%d bytes are not those that were printed", len(got))
	}
	// It comes back: it gets its Window, hears what it lost, and gets the rest.
	ctx := timeout(t)
	want := numberBytes(size)
	var lostAll int64
	for {
		b, at, lost, err := stalled.Next(ctx)
		if errors.Is(err, ErrEnded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		lostAll += lost
		if !bytes.Equal(b, want[at-int64(len(b)):at]) {
			t.Fatalf("the bytes up to %d are others", at)
		}
		stalled.Ack(at)
	}
	if place, _ := stalled.Place(); place != size || lostAll != size-Window {
		t.Errorf("it is at %d of %d and lost %d, want %d", place, size, lostAll, size-Window)
	}
}

// TestNobodyFollows: programs do not hang when no page is there.
func TestNobodyFollows(t *testing.T) {
	const size = 2 << 20
	term := printer(t, size, time.Hour)
	typed(t, term, "\r")
	select {
	case <-term.Done():
	case <-timeout(t).Done():
		t.Fatal("the program hangs")
	}
	tests := []struct{ at, place, lost int64 }{
		{0, size - Window, size - Window},
		{size - Window, size - Window, 0},
		{size - 5, size - 5, 0},
		{size, size, 0},
		{size + 1, size - Window, 0},
		{-7, size - Window, 0},
	}
	for _, test := range tests {
		f := term.Attach(test.at)
		if place, lost := f.Place(); place != test.place || lost != test.lost {
			t.Errorf("from %d: at %d, %d lost, want %d and %d", test.at, place, lost, test.place, test.lost)
		}
		if got := drain(t, f); !bytes.Equal(got, numberBytes(size)[test.place:]) {
			t.Errorf("from %d: %d bytes are not the latest", test.at, len(got))
		}
		f.Close()
		if _, _, _, err := f.Next(t.Context()); !errors.Is(err, ErrEnded) {
			t.Errorf("Next after Close: %v", err)
		}
	}
}

// TestHugePaste: a megabyte into a program that reads slowly arrives whole.
func TestHugePaste(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pasted")
	term := start(t, Options{Command: sh("stty raw -echo; echo ready; sleep 0.3; head -c 1000000 >" + file + "; echo got it")})
	expect(t, term, "ready")
	paste := numberBytes(1_000_000)
	for rest := paste; len(rest) > 0; {
		n := min(len(rest), 60_000) // as pages send it
		typed(t, term, string(rest[:n]))
		rest = rest[n:]
	}
	expect(t, term, "got it")
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, paste) {
		t.Errorf("%d bytes arrived, %v", len(got), err)
	}
}

// TestTooHugePaste: a program that reads nothing does not make the server grow.
func TestTooHugePaste(t *testing.T) {
	term := start(t, Options{Command: sh("stty raw -echo; echo ready; sleep 600")})
	expect(t, term, "ready")
	block := make([]byte, 60_000)
	for range 2*MaxInput/len(block) + 1 {
		n, err := term.Write(block)
		if err == nil {
			continue
		}
		if n != 0 || !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), strconv.Itoa(MaxInput)) {
			t.Errorf("%d, %v, want ErrFull", n, err)
		}
		start := time.Now()
		if err := term.Close(); err != nil || time.Since(start) > 10*time.Second {
			t.Errorf("closing it: %v after %v", err, time.Since(start))
		}
		return
	}
	t.Error("everything was taken")
}

func TestDiesWithTheSandbox(t *testing.T) {
	box := newBox(t)
	term := startIn(t, box, Options{Command: sh("sleep 600 & setsid sleep 600 & echo ready; wait")})
	expect(t, term, "ready")
	var pids []int
	eventually(t, "three processes", func() bool {
		var err error
		if pids, err = term.PIDs(); err != nil {
			t.Fatal(err)
		}
		return len(pids) == 3
	})
	if !strings.Contains(fmt.Sprint(pids), strconv.Itoa(term.PID())) {
		t.Errorf("the shell %d is not in %v", term.PID(), pids)
	}
	f := term.Attach(0)
	defer f.Close()
	if err := box.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-term.Done():
	case <-timeout(t).Done():
		t.Fatal("it does not end")
	}
	if got := term.Ended(); got != "killed: the server stopped" {
		t.Errorf("ended: %q", got)
	}
	for _, pid := range pids {
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe"); err == nil {
			t.Errorf("process %d lives", pid)
		}
	}
	drain(t, f)
}

// TestProgramThatLeavesTheTerminal: output ends when the other end is closed,
// and comes again with /dev/tty.
func TestProgramThatLeavesTheTerminal(t *testing.T) {
	term := start(t, Options{Command: sh("echo before; exec <&- >&- 2>&-; sleep 0.3; echo after >/dev/tty; sleep 600")})
	expect(t, term, "before")
	expect(t, term, "after")
	if err := term.Close(); err != nil {
		t.Error(err)
	}
}

func TestRunsAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
	t.Setenv("KERNELVIZ_SECRET", "token")
	u := &sandbox.User{UID: 65534, GID: 65534, Groups: []int{65534}, Name: "nobody", Home: "/nonexistent", Shell: "/usr/sbin/nologin"}
	term := start(t, Options{User: u, Env: []string{"KV_CODE_DIR=/x"}})
	typed(t, term, "id -u; echo $HOME $USER $PWD [$KERNELVIZ_SECRET] $KV_CODE_DIR; echo opened >$(tty); cat /proc/1/environ; sleep 0.0 && echo jobs work\r")
	for _, want := range []string{"\n65534\n/nonexistent nobody / [] /x\nopened\n", "Permission denied", "\njobs work\n"} {
		expect(t, term, want)
	}
}

func TestInNetwork(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
	n, err := sandbox.NewNetwork()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	term := start(t, Options{Network: n, Command: sh("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | tr '\\n' ,; echo .")})
	expect(t, term, "lo,.")
}

// TestForkBomb: where the kernel counts, 256 processes are all, and they die
// together.
func TestForkBomb(t *testing.T) {
	box := newBox(t)
	bounded := false
	for _, l := range box.Describe().Limits {
		bounded = bounded || l.By == "pids.max"
	}
	if !bounded {
		t.Skip("guest only: no pids.max here")
	}
	term := startIn(t, box, Options{Command: []string{"/bin/sh", "-i"}})
	typed(t, term, "b() { b | b & }; b\r")
	var most atomic.Int64
	eventually(t, "many processes", func() bool {
		pids, err := term.PIDs()
		if err != nil {
			t.Fatal(err)
		}
		most.Store(max(most.Load(), int64(len(pids))))
		return len(pids) > 200
	})
	if err := term.Close(); err != nil {
		t.Error(err)
	}
	if most.Load() > 256 {
		t.Errorf("%d processes", most.Load())
	}
}

func TestStartFails(t *testing.T) {
	box := newBox(t)
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := open()
	for _, o := range []Options{
		{Name: "x", Command: []string{"/nonexistent/shell"}},
		{Name: "x", Command: sh("true"), Dir: "/nonexistent"},
		{Name: "Bad Name", Command: sh("true")},
	} {
		if _, err := Start(t.Context(), box, o); err == nil {
			t.Errorf("%+v started", o)
		}
	}
	if after := open(); after > before {
		t.Errorf("%d descriptors were left", after-before)
	}
}
