package oracle

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startLimit is how long a server may take until it answers.
const startLimit = 20 * time.Second

// Server is a real server on a loopback port of its own. It is killed, with
// all processes it started, when the test ends.
type Server struct {
	Name string // "nginx"
	PID  int    // the process that was started; its workers are in PIDs
	Addr string // "127.0.0.1:41234"

	request func(*conn) error // one request and its answer
	exited  chan struct{}     // closed when the process has ended
	output  *tailBuffer
}

// Nginx starts nginx with one worker, which has the epoll instance.
func Nginx(t testing.TB) *Server {
	t.Helper()
	nginx := Command(t, "nginx")
	dir, addr := t.TempDir(), freeAddr(t)
	config := write(t, dir, "nginx.conf", fmt.Sprintf(`
daemon off;
worker_processes 1;
user root;
pid %[1]s/pid;
error_log stderr;
events { use epoll; worker_connections 4096; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	keepalive_timeout 3600;
	keepalive_requests 1000000000;
	server { listen %[2]s; location / { return 200 "ok\n"; } }
}
`, dir, addr))
	return start(t, "nginx", addr, httpRequest, exec.Command(nginx, "-e", "stderr", "-p", dir, "-c", config))
}

// Redis starts a Redis server that keeps nothing on disk.
func Redis(t testing.TB) *Server {
	t.Helper()
	redis := Command(t, "redis-server")
	addr := freeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	return start(t, "redis", addr, redisRequest, exec.Command(redis, "--bind", "127.0.0.1", "--port", port,
		"--daemonize", "no", "--save", "", "--appendonly", "no", "--dir", t.TempDir()))
}

// HAProxy starts HAProxy with two threads, each of which has an epoll
// instance, answering requests itself.
func HAProxy(t testing.TB) *Server {
	t.Helper()
	haproxy := Command(t, "haproxy")
	addr := freeAddr(t)
	config := write(t, t.TempDir(), "haproxy.cfg", fmt.Sprintf(`
global
	nbthread 2
	maxconn 4096
defaults
	mode http
	timeout connect 5s
	timeout client 1h
	timeout server 1h
	timeout http-keep-alive 1h
frontend web
	bind %s
	http-request return status 200 content-type text/plain string ok
`, addr))
	return start(t, "haproxy", addr, httpRequest, exec.Command(haproxy, "-db", "-f", config))
}

// Node starts an HTTP server in Node.js.
func Node(t testing.TB) *Server {
	t.Helper()
	node := Command(t, "node")
	addr := freeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	const script = `
const server = require("node:http").createServer((req, res) => res.end("ok\n"));
server.keepAliveTimeout = 0;
server.requestTimeout = 0;
server.listen(Number(process.argv[1]), "127.0.0.1");
`
	return start(t, "node", addr, httpRequest, exec.Command(node, "-e", script, port))
}

// All starts one of each.
func All(t testing.TB) []*Server {
	t.Helper()
	return []*Server{Nginx(t), Redis(t), HAProxy(t), Node(t)}
}

// HostOnly skips a test that needs what a test guest does not have.
func HostOnly(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("VMTEST") == "1" {
		t.Skip("host only: " + what)
	}
}

// GuestOnly skips a test that needs what many machines lack but the test guest
// has, unless it runs there.
func GuestOnly(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("VMTEST") == "1" {
		t.Fatalf("the guest should have it: %s", what)
	}
	t.Skip("guest only: " + what)
}

// Command returns the path of a command that the host has to have, or skips the
// test: in a guest for being there, on a host with what gives it.
func Command(t testing.TB, command string) string {
	t.Helper()
	HostOnly(t, command)
	path, err := exec.LookPath(command)
	if err == nil {
		return path
	}
	// Debian keeps daemons where the PATH of a user may not look.
	path = filepath.Join("/usr/sbin", command)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not installed: make setup", command)
	}
	return path
}

// start starts the command and waits until it answers a request.
func start(t testing.TB, name, addr string, request func(*conn) error, cmd *exec.Cmd) *Server {
	t.Helper()
	s := &Server{Name: name, Addr: addr, request: request, exited: make(chan struct{}), output: &tailBuffer{}}
	cmd.Stdout, cmd.Stderr = s.output, s.output
	// A group of its own is killed as one; the parent's death ends it as well.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// A worker that outlives its parent must not keep Wait waiting.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	s.PID = cmd.Process.Pid
	go func() {
		_ = cmd.Wait() // killed at the end: its status says nothing
		close(s.exited)
	}()
	t.Cleanup(func() {
		if err := syscall.Kill(-s.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Errorf("killing %s: %v", name, err)
		}
		<-s.exited
	})
	if err := s.awaitAnswer(); err != nil {
		t.Fatalf("starting %s: %v\n%s", name, err, s.output)
	}
	return s
}

func (s *Server) awaitAnswer() error {
	deadline := time.Now().Add(startLimit)
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		err := s.once()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no answer after %v: %w", startLimit, err)
		}
		select {
		case <-s.exited:
			return errors.New("it ended at once")
		case <-poll.C:
		}
	}
}

func (s *Server) once() error {
	c, err := dial(s.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return s.request(c)
}

// PIDs are the server's processes: the one that was started and its workers.
func (s *Server) PIDs() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing the processes of %s: %w", s.Name, err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if group, err := syscall.Getpgid(pid); err == nil && group == s.PID {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Instances are the epoll instances of all its processes.
func (s *Server) Instances() ([]Instance, error) {
	pids, err := s.PIDs()
	if err != nil {
		return nil, err
	}
	var all []Instance
	for _, pid := range pids {
		found, err := Instances(pid)
		if errors.Is(err, os.ErrNotExist) {
			continue // it ended since
		}
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// freeAddr is a loopback address on which nobody listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// tailBuffer keeps the last 4 KiB written to it.
type tailBuffer struct {
	mu sync.Mutex
	b  []byte
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b = append(b.b, p...)
	if extra := len(b.b) - 4096; extra > 0 {
		b.b = b.b[extra:]
	}
	return len(p), nil
}

func (b *tailBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(bytes.TrimSpace(b.b))
}
