package process

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childEnv makes the test binary be a process to look at.
const childEnv = "PROCESS_TEST_CHILD"

const deadline = 20 * time.Second

func TestMain(m *testing.M) {
	if part := os.Getenv(childEnv); part != "" {
		if err := play(part); err != nil {
			fmt.Fprintln(os.Stderr, part+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child is another process of this binary.
type child struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	fds map[string]int // what it says it has opened
}

// startChild starts one that plays the part and waits until it is ready.
func startChild(t testing.TB, part string, prepare func(*exec.Cmd)) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+part, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	if prepare != nil {
		prepare(cmd)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: cmd, in: in, out: bufio.NewReader(out), fds: map[string]int{}}
	t.Cleanup(c.kill)
	for {
		var name string
		var fd int
		if n, _ := fmt.Sscanf(c.line(), "%s %d", &name, &fd); n != 2 {
			return c // "ready"
		}
		c.fds[name] = fd
	}
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func (c *child) line() string {
	c.t.Helper()
	text, err := c.out.ReadString('\n')
	if err != nil {
		c.t.Fatalf("child: %v", err)
	}
	return strings.TrimSpace(text)
}

func needsRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
}

func lookAt(t testing.TB, withFDs bool, pids ...int) Summary {
	t.Helper()
	s, err := Look(pids, withFDs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// raiseFiles lets this process open at least n files.
func raiseFiles(t testing.TB, n uint64) {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	if l.Cur >= n {
		return
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: max(l.Max, n)}); err != nil {
		t.Skipf("needs %d open files; the limit is %d and only root may raise it: %v", n, l.Max, err)
	}
}
