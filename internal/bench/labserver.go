package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"kernelviz/internal/server"
)

// labserver is the server as a process of its own.
type labserver struct {
	cmd   *exec.Cmd
	url   string // with the token
	addr  string
	token server.Token
}

// startLabserver builds the server, once, and starts it on a free port.
func (e *env) startLabserver(ctx context.Context) (*labserver, error) {
	program := filepath.Join(e.dir, "labserver")
	if _, err := os.Stat(program); errors.Is(err, os.ErrNotExist) {
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", program, "./cmd/labserver")
		build.Dir = e.root
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building labserver: %w: %s", err, out)
		}
	}
	s := &labserver{cmd: exec.CommandContext(ctx, program, "serve", "--addr", "127.0.0.1:0", "--log-level", "error",
		"--db", filepath.Join(e.dir, "progress.db"))}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.cmd.Stderr = e.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("labserver ended before it printed its URL: %w", err)
	}
	s.url = strings.TrimSpace(strings.TrimPrefix(line, "Open "))
	u, err := url.Parse(s.url)
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("labserver printed %q: %w", line, err)
	}
	s.addr, s.token = u.Host, server.Token(u.Query().Get("token"))
	return s, nil
}

// stop lets it end by itself, so that it cleans up.
func (s *labserver) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	_ = s.cmd.Wait()
}

// resident is the anonymous memory of a process in bytes.
func resident(pid int) (float64, error) {
	line, ok := lineOf(fmt.Sprintf("/proc/%d/status", pid), "RssAnon:")
	fields := strings.Fields(line)
	if !ok || len(fields) < 2 {
		return 0, fmt.Errorf("process %d has no RssAnon", pid)
	}
	kib, err := strconv.ParseFloat(fields[1], 64)
	return kib * 1024, err
}

// cpuTime is the CPU time of a process with all its threads, to a clock tick
// of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // after the name, which may hold spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat is too short", pid)
	}
	var ticks int64
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100), nil
}
