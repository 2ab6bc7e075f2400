package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"kernelviz/internal/kernelviz/kernel"
)

// watchcost measures what being watched costs the watched process and others,
// in CPU time of their own per operation.
func watchcost(ctx context.Context, e *env, r *report) error {
	info, err := kernel.Probe(ctx)
	if err != nil {
		return err
	}
	snapshots, err := startWatcher(ctx, info, false)
	if err != nil {
		return err
	}
	defer snapshots.close()
	full, err := startWatcher(ctx, info, true)
	if err != nil {
		return err
	}
	defer full.close()

	busy, err := e.startChurn(ctx, 1000)
	if err != nil {
		return err
	}
	defer busy.stop()
	// Watches hold either this, which does nothing, or the busy loop.
	idle, err := e.startChurn(ctx, 1000)
	if err != nil {
		return err
	}
	defer idle.stop()

	while := func(w *watcher, target string) func(func() error) error {
		return func(f func() error) error { return w.while(ctx, target, f) }
	}
	segment := pick(e, 500*time.Millisecond, 200*time.Millisecond)
	rounds := pick(e, 10, 2)

	e.say("  the watched process")
	r.of("watched: ADD and DEL at full speed beside 1,000 items")
	err = compare(r, rounds, segment, busy.loop(ctx, "adddel"), []way{
		{"watched, snapshots only", while(snapshots, busy.target()), segment, 1.10},
		{"watched, with tracepoints", while(full, busy.target()), cycle, 1.35},
	})
	if err != nil {
		return err
	}

	e.say("  strace and bpftrace on the same loop")
	r.of("the same loop under other tools")
	err = compare(r, pick(e, 6, 2), segment, busy.loop(ctx, "adddel"), tools(ctx, r, segment, busy.process.PID()))
	if err != nil {
		return err
	}

	e.say("  other processes: getppid")
	other, err := e.startChurn(ctx, 0)
	if err != nil {
		return err
	}
	defer other.stop()
	r.of("another process: getppid at full speed, the worst case")
	err = compare(r, rounds, segment, other.loop(ctx, "getppid"), []way{
		{"something is watched, snapshots only", while(snapshots, idle.target()), segment, 1.03},
		{"something is watched, with tracepoints", while(full, idle.target()), cycle, 1.03},
	})
	if err != nil {
		return err
	}

	e.say("  other processes: redis")
	db, err := startRedis(ctx, e)
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			r.note("redis is not measured: %v (apt-get install redis-server redis-tools)", err)
			return nil
		}
		return err
	}
	defer db.stop()
	r.of("another process: redis-server under redis-benchmark -c 10 -t get")
	return compare(r, rounds, 2*segment, db.run, []way{
		{"something is watched, snapshots only", while(snapshots, idle.target()), 2 * segment, 1.03},
		{"something is watched, with tracepoints", while(full, idle.target()), cycle, 1.03},
	})
}

// cycle is how long to measure with tracepoints: for a part of each cycle of
// this length the kernel counts the run time of our programs, which slows them
// (epoll's meter).
const cycle = 2200 * time.Millisecond

// way is a condition to measure under.
type way struct {
	name  string
	while func(func() error) error
	long  time.Duration // of one measurement
	limit float64       // aim of the CPU ratio; 0 is none
}

// compare measures under each way, each time right after a measurement under
// none, which takes the time alone.
func compare(r *report, rounds int, alone time.Duration, measure func(time.Duration) (cost, error), ways []way) error {
	base, under := make([]costs, len(ways)), make([]costs, len(ways))
	for range rounds {
		for i, w := range ways {
			c, err := measure(alone)
			if err != nil {
				return err
			}
			base[i].add(c)
			err = w.while(func() error {
				c, err := measure(w.long)
				under[i].add(c)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	var all costs
	for i := range ways {
		all.cpu = append(all.cpu, base[i].cpu...)
		all.wall = append(all.wall, base[i].wall...)
	}
	if len(ways) == 0 {
		return nil
	}
	r.add("alone: CPU time per operation", nanoseconds, all.cpu)
	r.add("alone: time per operation", nanoseconds, all.wall)
	for i, w := range ways {
		r.add(w.name+": CPU time per operation", nanoseconds, under[i].cpu)
		cpu := under[i].cpu.over(base[i].cpu)
		if w.limit > 0 {
			r.hold(w.name+": CPU / alone", ratio, cpu, "p50", w.limit)
		} else {
			r.add(w.name+": CPU / alone", ratio, cpu)
		}
		r.add(w.name+": time / alone", ratio, under[i].wall.over(base[i].wall))
	}
	return nil
}

type costs struct{ cpu, wall series }

func (c *costs) add(one cost) {
	c.cpu = append(c.cpu, one.cpu)
	c.wall = append(c.wall, one.wall)
}

// tools are the other ways to see the calls of a process that work here.
func tools(ctx context.Context, r *report, segment time.Duration, pid int) []way {
	var ways []way
	for _, t := range []struct {
		name    string
		command func() *exec.Cmd
		ready   func(*bufio.Reader) error
	}{
		{"strace -f -c", func() *exec.Cmd {
			return exec.CommandContext(ctx, "strace", "-f", "-c", "-o", os.DevNull, "-p", strconv.Itoa(pid))
		}, func(*bufio.Reader) error { return traced(pid) }},
		{"bpftrace count()", func() *exec.Cmd {
			// It looks for the tracepoint in tracefs, which need not be mounted.
			// Probes are attached in the order of the program: when the interval
			// fires, the tracepoint is.
			cmd := exec.CommandContext(ctx, "sh", "-c", `mount -t tracefs tracefs /sys/kernel/tracing; exec bpftrace -e "$1"`, "sh",
				`tracepoint:syscalls:sys_enter_epoll_ctl { @ = count(); } interval:ms:100 { printf("attached\n"); }`)
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			return cmd
		}, attached},
	} {
		w := way{name: t.name, long: segment, while: func(f func() error) error { return beside(t.command(), t.ready, f) }}
		if err := w.while(func() error { return nil }); err != nil {
			r.note("%s is not measured: %v", t.name, err)
			continue
		}
		ways = append(ways, w)
	}
	return ways
}

// beside runs f while a command runs, from when it is ready until it is
// interrupted.
func beside(cmd *exec.Cmd, ready func(*bufio.Reader) error, f func() error) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(out)
	err = ready(lines)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, lines)
	}()
	failed := err != nil
	if !failed {
		err = f()
	}
	_ = cmd.Process.Signal(os.Interrupt)
	kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	<-drained
	_ = cmd.Wait() // it says that it was interrupted
	if failed {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	}
	return err
}

func attached(lines *bufio.Reader) error {
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return fmt.Errorf("bpftrace is not attached: %w", err)
		}
		if line == "attached\n" {
			return nil
		}
	}
}

// traced waits until a process has a tracer.
func traced(pid int) error {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		line, ok := lineOf(fmt.Sprintf("/proc/%d/status", pid), "TracerPid:")
		if ok && strings.TrimSpace(strings.TrimPrefix(line, "TracerPid:")) != "0" {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("strace did not attach to process %d", pid)
}

// redis is a server under load by redis-benchmark.
type redis struct {
	server, load *exec.Cmd
	conn         net.Conn
	in           *bufio.Reader
}

func startRedis(ctx context.Context, e *env) (*redis, error) {
	serverPath, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, err
	}
	loadPath, err := exec.LookPath("redis-benchmark")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(e.dir, "redis.sock")
	d := &redis{
		server: exec.CommandContext(ctx, serverPath, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", e.dir),
		load:   exec.CommandContext(ctx, loadPath, "-s", socket, "-c", "10", "-t", "get", "-l", "-q"),
	}
	for _, cmd := range []*exec.Cmd{d.server, d.load} {
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	}
	if err := d.server.Start(); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(patience)
	for d.conn == nil {
		if d.conn, err = net.Dial("unix", socket); err != nil && time.Now().After(deadline) {
			d.stop()
			return nil, fmt.Errorf("redis-server does not answer: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
	d.in = bufio.NewReader(d.conn)
	if err := d.load.Start(); err != nil {
		d.stop()
		return nil, err
	}
	return d, nil
}

// run looks how much CPU time each request takes for a while.
func (d *redis) run(during time.Duration) (cost, error) {
	requests, cpu, err := d.info()
	if err != nil {
		return cost{}, err
	}
	began := time.Now()
	time.Sleep(during)
	requestsAfter, cpuAfter, err := d.info()
	if err != nil {
		return cost{}, err
	}
	n := requestsAfter - requests
	if n == 0 {
		return cost{}, errors.New("redis-server got no requests")
	}
	return cost{1e9 * (cpuAfter - cpu) / n, float64(time.Since(began)) / n}, nil
}

// info asks for the number of requests and the seconds of CPU time.
func (d *redis) info() (requests, cpu float64, err error) {
	if _, err := fmt.Fprint(d.conn, "INFO everything\r\n"); err != nil {
		return 0, 0, fmt.Errorf("asking redis-server: %w", err)
	}
	head, err := d.in.ReadString('\n')
	if err != nil {
		return 0, 0, fmt.Errorf("asking redis-server: %w", err)
	}
	size, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(head, "$")))
	if err != nil {
		return 0, 0, fmt.Errorf("answer %q of redis-server: %w", head, err)
	}
	for read := 0; read < size+2; {
		line, err := d.in.ReadString('\n')
		if err != nil {
			return 0, 0, fmt.Errorf("asking redis-server: %w", err)
		}
		read += len(line)
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		v, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
		case name == "total_commands_processed":
			requests = v
		case name == "used_cpu_sys", name == "used_cpu_user":
			cpu += v
		}
	}
	return requests, cpu, nil
}

func (d *redis) stop() {
	for _, cmd := range []*exec.Cmd{d.load, d.server} {
		if cmd.Process != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	if d.conn != nil {
		_ = d.conn.Close()
	}
}
