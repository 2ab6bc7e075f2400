package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/epoll"
	"kernelviz/internal/server"
)

// The test binary plays labserver where this is set.
const playLabserver = "KERNELVIZ_TEST_PLAY_LABSERVER"

func TestMain(m *testing.M) {
	if os.Getenv(playLabserver) != "" || len(os.Args) > 2 && os.Args[1] == "workload" {
		main()
	}
	os.Exit(m.Run())
}

// labserver is a command line, not yet started.
func labserver(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), playLabserver+"=1")
	return cmd
}

// result is what a command line gave.
type result struct {
	code           int
	stdout, stderr string
}

func execute(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := labserver(args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// epollWith is an epoll instance of this process that watches n eventfds.
func epollWith(t *testing.T, n int) (epfd int, fds []int) {
	t.Helper()
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(epfd) })
	for range n {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	return epfd, fds
}

func TestShow(t *testing.T) {
	epfd, fds := epollWith(t, 7)
	name := fmt.Sprintf("%d:%d", os.Getpid(), epfd)
	r := execute(t, "show", "epoll", name, "--json")
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	var shown epoll.Shown
	if err := json.Unmarshal([]byte(r.stdout), &shown); err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, n := range shown.Nodes {
		got = append(got, int(n.FD))
	}
	// The kernel prints the same tree in the same order.
	want, err := epoll.ReadFdinfo(os.Getpid(), epfd)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(got, want, func(fd int, it epoll.Item) bool { return fd == int(it.FD) }) || len(got) != len(fds) {
		t.Errorf("nodes %v, fdinfo %v", got, want)
	}
	text := execute(t, "show", "epoll", name)
	for _, part := range []string{"7 items", "EPOLLIN", "eventfd", "ready: none", "whole"} {
		if !strings.Contains(text.stdout, part) {
			t.Errorf("no %q in\n%s", part, text.stdout)
		}
	}
}

func TestTargets(t *testing.T) {
	epfd, _ := epollWith(t, 3)
	var list []kernelviz.Target
	r := execute(t, "targets", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
		t.Fatalf("exit code %d, %s: %v", r.code, r.stderr, err)
	}
	i := slices.IndexFunc(list, func(x kernelviz.Target) bool { return x.PID == os.Getpid() && x.FD == epfd })
	if i < 0 || list[i].Items != 3 || list[i].View != "epoll" {
		t.Errorf("%d:%d is not among %+v", os.Getpid(), epfd, list)
	}
}

func TestDoctor(t *testing.T) {
	var report server.Report
	r := execute(t, "doctor", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatalf("exit code %d, %s: %v", r.code, r.stderr, err)
	}
	chosen := 0
	for _, v := range report.Views {
		for _, tier := range v.Tiers {
			if tier.Reason == "" {
				t.Errorf("tier %s of %s has no reason", tier.Name, v.Name)
			}
			if tier.Chosen {
				chosen++
			}
		}
	}
	if chosen != len(report.Views) || chosen == 0 || report.Kernel.Release == "" {
		t.Errorf("%d tiers chosen: %+v", chosen, report)
	}
	text := execute(t, "doctor").stdout
	for _, c := range report.Capabilities {
		if !c.OK && c.Fix == "" {
			t.Errorf("capability %s is missing and nothing gives it", c.Name)
		}
		if !strings.Contains(text, c.Name) {
			t.Errorf("doctor does not print %s", c.Name)
		}
	}
}

func TestExitCodes(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"version"}, 0, ""},
		{[]string{"--help"}, 0, ""},
		{[]string{"dance"}, exitUsage, "dance"},
		{[]string{"--dance"}, exitUsage, "try: labserver --help"},
		{[]string{"show"}, exitUsage, "try: labserver show --help"},
		{[]string{"show", "epoll"}, exitUsage, "try: labserver show epoll --help"},
		{[]string{"show", "epoll", "nonsense"}, exitNotFound, "PID:FD"},
		{[]string{"show", "epoll", "2147483647:3"}, exitNotFound, "try: labserver targets"},
		{[]string{"show", "epoll", fmt.Sprint(os.Getpid(), ":0")}, exitNotFound, ""},
		{[]string{"serve", "--log-format", "xml"}, exitUsage, "text or json"},
		{[]string{"serve", "--addr", "nowhere"}, exitFailure, "--addr 127.0.0.1:8080"},
		{[]string{"serve", "--addr", taken.Addr().String()}, exitFailure, "taken by process"},
		{[]string{"serve", "--token-file", "/proc/version"}, exitFailure, "does not hold a token"},
		{[]string{"workload"}, exitUsage, "puppet"},
		{[]string{"workload", "nobody"}, exitUsage, "puppet"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			r := execute(t, c.args...)
			if r.code != c.code || !strings.Contains(r.stderr, c.says) {
				t.Errorf("exit code %d, want %d; stderr should say %q:\n%s", r.code, c.code, c.says, r.stderr)
			}
			if c.code != 0 && !strings.HasPrefix(r.stderr, "labserver: ") {
				t.Errorf("stderr does not begin with labserver: %q", r.stderr)
			}
		})
	}
}

// serving is a labserver that has printed its URL.
type serving struct {
	cmd *exec.Cmd
	url string
}

func startServing(t *testing.T, args ...string) *serving {
	t.Helper()
	cmd := labserver(append([]string{"serve"}, args...)...)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("reading the URL: %v", err)
	}
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "Open ")
	if !ok {
		t.Fatalf("first line %q", line)
	}
	return &serving{cmd, url}
}

func (s *serving) get(t *testing.T) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Jar: jar, Timeout: 10 * time.Second}).Get(s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("GET: %s: %v", res.Status, err)
	}
	return string(body)
}

func TestTwoServersSideBySide(t *testing.T) {
	one := startServing(t, "--addr", "127.0.0.1:0")
	two := startServing(t, "--addr", "127.0.0.1:0")
	for _, s := range []*serving{one, two} {
		if page := s.get(t); !strings.Contains(page, "<title>kernelviz</title>") {
			t.Errorf("page: %.200s", page)
		}
	}
	told := execute(t, "url")
	for _, s := range []*serving{one, two} {
		if !strings.Contains(told.stdout, s.url) {
			t.Errorf("labserver url does not tell %s:\n%s%s", s.url, told.stdout, told.stderr)
		}
	}
}

func TestServeStops(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGINT, unix.SIGTERM} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			s := startServing(t, "--addr", "127.0.0.1:0")
			begin := time.Now()
			if err := s.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if err := s.cmd.Wait(); err != nil {
				t.Errorf("exit: %v", err)
			}
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("stopping took %v", took)
			}
		})
	}
}

// After kill -9 neither the workloads nor the programs of a server are left.
func TestKillLeavesNothing(t *testing.T) {
	s := startServing(t, "--addr", "127.0.0.1:0")
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Jar: jar}).Get(s.url)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	ws := *res.Request.URL
	ws.Scheme, ws.Path = "ws", "/ws"
	conn, _, err := (&websocket.Dialer{Jar: jar}).Dial(ws.String(), http.Header{"Origin": {"http://" + ws.Host}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"start","ref":1,"workload":"puppet"}`)); err != nil {
		t.Fatal(err)
	}
	var started struct {
		Type     string
		Workload struct{ PID int }
	}
	for started.Type != "started" {
		if err := conn.ReadJSON(&started); err != nil {
			t.Fatal(err)
		}
	}
	puppet := started.Workload.PID
	if err := unix.Kill(puppet, 0); err != nil {
		t.Fatalf("puppet %d: %v", puppet, err)
	}
	programs := programsOf(t, s.cmd.Process.Pid)
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait()
	eventually(t, "the puppet is gone", func() bool { return unix.Kill(puppet, 0) == unix.ESRCH })
	for _, id := range programs {
		eventually(t, fmt.Sprintf("BPF program %d is gone", id), func() bool {
			p, err := ebpf.NewProgramFromID(id)
			if err == nil {
				p.Close()
			}
			return errors.Is(err, fs.ErrNotExist)
		})
	}
	t.Logf("puppet %d and %d BPF programs are gone", puppet, len(programs))
}

// programsOf are the BPF programs that a process holds, as its fdinfo tells.
func programsOf(t *testing.T, pid int) []ebpf.ProgramID {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	var ids []ebpf.ProgramID
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			var id ebpf.ProgramID
			if _, err := fmt.Sscanf(line, "prog_id: %d", &id); err == nil {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not after 10 s: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// The token is told to nobody else.
func TestURLIsForTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	s := startServing(t, "--addr", "127.0.0.1:0")
	var stdout, stderr bytes.Buffer
	cmd := labserver("url")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if code := cmd.ProcessState.ExitCode(); code != exitPrivilege || stdout.Len() > 0 || !strings.Contains(stderr.String(), "sudo labserver url") {
		t.Errorf("exit code %d, %q, %s", code, stdout.String(), stderr.String())
	}
	if r := execute(t, "url"); !strings.Contains(r.stdout, s.url) {
		t.Errorf("the owner is told %q", r.stdout)
	}
}

func TestTokenFileKeepsTheURL(t *testing.T) {
	file := t.TempDir() + "/token"
	one := startServing(t, "--addr", "127.0.0.1:0", "--token-file", file)
	two := startServing(t, "--addr", "127.0.0.1:0", "--token-file", file)
	_, first, _ := strings.Cut(one.url, "?")
	_, second, _ := strings.Cut(two.url, "?")
	if first != second || first == "" {
		t.Errorf("tokens %q and %q from one file", first, second)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: %v", info.Mode(), err)
	}
}

// A full disk stops only what needs it, says so, and leaves no half a token.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4k"); err != nil {
		t.Skipf("mounting a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(dir+"/full", make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	r := execute(t, "serve", "--addr", "127.0.0.1:0", "--token-file", dir+"/token")
	if r.code != exitFailure || !strings.Contains(r.stderr, "token file") || !strings.Contains(r.stderr, unix.ENOSPC.Error()) {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	if _, err := os.Stat(dir + "/token"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a token is left: %v", err)
	}
	t.Chdir(dir)
	startServing(t, "--addr", "127.0.0.1:0").get(t)
}

// A URL that nobody can read is of no use.
func TestClosedOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	var stderr bytes.Buffer
	cmd := labserver("serve", "--addr", "127.0.0.1:0")
	cmd.Stdout, cmd.Stderr = full, &stderr
	err = cmd.Run()
	if err == nil || !strings.Contains(stderr.String(), "printing the URL") {
		t.Errorf("%v: %s", err, stderr.String())
	}
}

// The puppet must have no epoll instance but those that it is told to make:
// no package of this binary may start the Go runtime's poller in its init.
func TestPuppetOfThisBinaryHasNoPoller(t *testing.T) {
	cmd := labserver("workload", "puppet")
	cmd.Stdin = strings.NewReader(`{"id":1,"do":{"op":"epoll_create"}}` + "\n")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("epoll_create1(EPOLL_CLOEXEC)")) {
		t.Errorf("%v: %s", err, out)
	}
}
