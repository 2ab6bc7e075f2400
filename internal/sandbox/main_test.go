package sandbox

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary plays its own children: argv[1] says which.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || !strings.HasPrefix(os.Args[1], "play-") {
		os.Exit(m.Run())
	}
	if err := play(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func play(part string, args []string) error {
	switch part {
	case "play-guardian":
		return Guard(os.Stdin, args)
	case "play-forker":
		return playForker()
	case "play-sleeper":
		return playSleeper()
	case "play-server":
		return playServer(args)
	case "play-hungry":
		return playHungry()
	case "play-breeder":
		return playBreeder()
	case "play-greeter":
		return playGreeter(args)
	case "play-caller":
		return playCaller(args)
	case "play-network":
		_, err := NewNetwork()
		fmt.Println(err)
		return nil
	}
	return fmt.Errorf("no part %q", part)
}

// playSleeper says its pid and lives until it is killed.
func playSleeper() error {
	fmt.Println(os.Getpid())
	return syscall.Pause()
}

// playForker starts a sleeper in a session of its own and leaves at once, as
// daemons do: the sleeper's parent is then init.
func playForker() error {
	cmd := exec.Command("/proc/self/exe", "play-sleeper")
	cmd.Stdout = os.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	if len(os.Args) > 2 && os.Args[2] == "stay" {
		return syscall.Pause()
	}
	return nil
}

// playServer holds a sandbox with two children, one of which has a child that
// left its session, and prints their pids.
func playServer(args []string) error {
	cfg := Config{Log: slog.New(slog.DiscardHandler), Cgroup2: args[0]}
	if args[1] == "guarded" {
		cfg.Guardian = []string{"/proc/self/exe", "play-guardian"}
	}
	s, err := New(cfg)
	if err != nil {
		return err
	}
	for _, part := range []string{"play-sleeper", "play-forker"} {
		cmd := exec.Command("/proc/self/exe", part, "stay")
		cmd.Stdout = os.Stdout
		if _, err := s.Start(context.Background(), cmd, Options{Name: part}); err != nil {
			return err
		}
	}
	return syscall.Pause()
}

// playHungry takes memory until it may not.
func playHungry() error {
	var last []byte
	for i := 0; i < 1024; i++ {
		b, err := syscall.Mmap(-1, 0, 1<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
		if err != nil {
			_ = syscall.Munmap(last) // to have some to say it
			fmt.Println(i, err)
			return nil
		}
		last = b
		for page := 0; page < len(b); page += os.Getpagesize() {
			b[page] = 1
		}
	}
	fmt.Println("never refused")
	return nil
}

// playBreeder starts children until it may not.
func playBreeder() error {
	for i := range 1000 {
		cmd := exec.Command("/proc/self/exe", "play-sleeper")
		if err := cmd.Start(); err != nil {
			fmt.Println(i, err)
			return nil
		}
	}
	fmt.Println("never refused")
	return nil
}

// playGreeter listens on the address and greets who comes.
func playGreeter(args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		fmt.Fprintln(c, args[1])
		c.Close()
	}
}

// playCaller prints how it is greeted.
func playCaller(args []string) error {
	c, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, c)
	return err
}

// newSandbox is a guarded one; tier "" is what the machine gives.
func newSandbox(t *testing.T, cgroup2 string) *Sandbox {
	t.Helper()
	s, err := New(Config{
		Log:      slog.New(slog.NewTextHandler(t.Output(), nil)),
		Guardian: []string{"/proc/self/exe", "play-guardian"},
		Cgroup2:  cgroup2,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// player makes a command whose printed lines can be read.
func player(t *testing.T, args ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// A child that says nothing fails the test, and does not hang it.
	if err := r.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stdout = w
	cmd.Stderr = os.Stderr
	t.Cleanup(func() { r.Close(); w.Close() })
	return cmd, bufio.NewReader(r)
}

func readPID(t *testing.T, r *bufio.Reader) int {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(line, &pid); err != nil {
		t.Fatalf("line %q: %v", line, err)
	}
	return pid
}

// eventually polls a condition with a deadline.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	if !waitFor(10*time.Second, cond) {
		t.Fatalf("not within 10s: %s", what)
	}
}

func running(pid int) bool {
	_, err := startTime(pid)
	return err == nil
}

// needCgroups skips where the machine has none to give.
func needCgroups(t *testing.T) string {
	t.Helper()
	mount, err := findCgroup2()
	if err != nil {
		t.Skip(err)
	}
	if syscall.Access(mount, 2) != nil {
		t.Skip("no right to write to " + mount)
	}
	return mount
}
