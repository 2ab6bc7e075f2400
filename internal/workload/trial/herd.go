package trial

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"kernelviz/internal/workload/control"
	"kernelviz/internal/workload/herd"

	"golang.org/x/sys/unix"
)

// The experiment herd: "workers" threads of one process wait for connections to
// the same port, another process makes "connections" of them, each only when
// the one before is accepted and all workers sleep again.
//
// Over a connection of their own the two agree on when to count:
//
//	workers → which threads they are           clients watch them fall asleep
//	clients → B   workers note their CPU time  workers → B   connections begin
//	clients → E   workers note it again, and end
const (
	herdMost        = 256
	herdConnections = 100_000
	// herdPatience is how long the workers may take to accept one connection
	// and fall asleep again.
	herdPatience = 3 * time.Second
)

// herdSaid is what the workers say with ready.
type herdSaid struct {
	PID     int `json:"pid"`
	Port    int `json:"port"`    // that they listen on
	Control int `json:"control"` // for the agreement
}

func loopback(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}
}

// herdWork is the role "workers".
type herdWork struct {
	variant     string
	workers     int
	connections int
	control     int // listening socket of the agreement
	listeners   []int
	waiters     []*herdWaiter
	alive       sync.WaitGroup
	procs       int
}

// newHerdWorkers makes the role "workers".
func newHerdWorkers(s Spec) (Work, error) {
	workers, err := param(s, "workers", 1, herdMost)
	if err != nil {
		return nil, err
	}
	connections, err := param(s, "connections", 1, herdConnections)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(herdVariants(), s.Variant) {
		return nil, fmt.Errorf("herd: unknown variant %.80q; known are %s", s.Variant, control.List(herdVariants()))
	}
	return &herdWork{variant: s.Variant, workers: int(workers), connections: int(connections), control: -1}, nil
}

func (w *herdWork) Prepare() (any, error) {
	// A worker blocks without telling Go's scheduler, which would put it to
	// sleep too and so be counted: each keeps a processor of it.
	w.procs = runtime.GOMAXPROCS(w.workers + 4)
	var err error
	at := loopback(0)
	if w.control, err = herd.Listen(at, false, 0); err != nil {
		return nil, fmt.Errorf("listening for the clients' process: %w", err)
	}
	said := herdSaid{PID: unix.Getpid(), Control: at.Port}
	at = loopback(0)
	n := 1
	if w.variant == "reuseport" {
		n = w.workers
	}
	flags := 0
	if herdPolls(w.variant) {
		flags = unix.SOCK_NONBLOCK
	}
	for range n {
		fd, err := herd.Listen(at, n > 1, flags)
		if err != nil {
			return nil, fmt.Errorf("listening: %w", err)
		}
		w.listeners = append(w.listeners, fd)
	}
	said.Port = at.Port
	for i := range w.workers {
		w.waiters = append(w.waiters, &herdWaiter{
			variant: w.variant, listener: w.listeners[i%n], epfd: -1, tid: make(chan int, 1), most: w.connections,
		})
	}
	return said, nil
}

func (w *herdWork) Run(map[string]json.RawMessage) (Report, error) {
	// Threads that wait outside Go's scheduler stop a collection of garbage for
	// ever; so they begin only now, when there is none any more.
	var tids []int
	for _, waiter := range w.waiters {
		w.alive.Add(1)
		go waiter.work(&w.alive)
		tids = append(tids, <-waiter.tid)
	}
	begin := time.Now()
	spent, err := w.agree(tids)
	took := time.Since(begin)
	if stop := w.stop(); err == nil {
		err = stop
	}
	accepted, busiest, empty := 0, 0, 0
	for i, waiter := range w.waiters {
		if err == nil && waiter.err != nil {
			err = fmt.Errorf("worker %d: %w", i+1, waiter.err)
		}
		accepted += waiter.accepted
		empty += waiter.empty
		busiest = max(busiest, waiter.accepted)
	}
	if err != nil {
		return Report{}, err
	}
	if accepted != w.connections {
		return Report{}, fmt.Errorf("the workers accepted %d connections, %d were to be made", accepted, w.connections)
	}
	return Report{
		Seconds: took.Seconds(),
		Ops:     uint64(accepted),
		Metrics: map[string]float64{
			"cpu": spent.Seconds(), "busiest": float64(busiest) / float64(accepted), "empty": float64(empty),
		},
	}, nil
}

// agree talks with the clients' process until it has made its connections, and
// returns the CPU time of the workers meanwhile.
func (w *herdWork) agree(tids []int) (time.Duration, error) {
	fd, _, err := unix.Accept4(w.control, unix.SOCK_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("accept of the clients' process: %w", err)
	}
	defer unix.Close(fd)
	line := control.FD(fd)
	data, err := json.Marshal(tids)
	if err != nil {
		return 0, err
	}
	if _, err := line.Write(data); err != nil {
		return 0, fmt.Errorf("telling the clients' process which threads there are: %w", err)
	}
	if err := expect(line, 'B'); err != nil {
		return 0, err
	}
	before, err := threadsCPU(tids)
	if err != nil {
		return 0, err
	}
	if _, err := line.Write([]byte("B")); err != nil {
		return 0, fmt.Errorf("telling the clients' process to begin: %w", err)
	}
	if err := expect(line, 'E'); err != nil {
		return 0, err
	}
	after, err := threadsCPU(tids)
	return after - before, err
}

// expect reads one byte, which must be that one.
func expect(r io.Reader, want byte) error {
	var b [1]byte
	_, err := io.ReadFull(r, b[:])
	if errors.Is(err, io.EOF) {
		return errors.New("the other process of the trial has ended")
	}
	if err != nil {
		return fmt.Errorf("reading from the other process of the trial: %w", err)
	}
	if b[0] != want {
		return fmt.Errorf("the other process of the trial says %q, want %q", b[0], want)
	}
	return nil
}

// threadsCPU is what threads of this process have spent; the clock of a thread
// is derived from its id as pthread_getcpuclockid does.
func threadsCPU(tids []int) (time.Duration, error) {
	const perThread, sched = 4, 2
	var sum time.Duration
	for _, tid := range tids {
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^tid<<3|perThread|sched), &t); err != nil {
			return 0, fmt.Errorf("reading the CPU time of thread %d: %w", tid, err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum, nil
}

// stop ends the workers: accept fails on a socket that does not listen.
func (w *herdWork) stop() error {
	var first error
	for _, fd := range w.listeners {
		if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil && first == nil {
			first = fmt.Errorf("shutdown of a listening socket: %w", err)
		}
	}
	if first == nil {
		w.alive.Wait()
	}
	return first
}

func (w *herdWork) Close() error {
	closeOpen(append(w.listeners, w.control)...)
	if w.procs > 0 {
		runtime.GOMAXPROCS(w.procs)
	}
	return nil
}

// herdClients is the role "clients".
type herdClients struct {
	connections int
	patience    time.Duration
}

// newHerdClients makes the role "clients".
func newHerdClients(s Spec) (Work, error) {
	n, err := param(s, "connections", 1, herdConnections)
	if err != nil {
		return nil, err
	}
	return &herdClients{connections: int(n), patience: herdPatience}, nil
}

func (c *herdClients) Prepare() (any, error) { return nil, nil }

func (c *herdClients) Run(peers map[string]json.RawMessage) (Report, error) {
	var said herdSaid
	if err := json.Unmarshal(peers["workers"], &said); err != nil {
		return Report{}, fmt.Errorf("reading what the workers said, %.80q: %w", peers["workers"], err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Report{}, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, loopback(said.Control)); err != nil {
		return Report{}, fmt.Errorf("connecting to the workers' process: %w", err)
	}
	line := control.FD(fd)
	var tids []int
	if err := json.NewDecoder(oneByOne{line}).Decode(&tids); err != nil {
		return Report{}, fmt.Errorf("reading which threads the workers are: %w", err)
	}
	threads, err := herd.WatchThreads(said.PID, tids)
	if err != nil {
		return Report{}, err
	}
	defer threads.Close()
	return c.play(line, threads, loopback(said.Port))
}

func (c *herdClients) play(line control.FD, threads *herd.Threads, to *unix.SockaddrInet4) (Report, error) {
	before, err := threads.Asleep(c.patience)
	if err != nil {
		return Report{}, err
	}
	if _, err := line.Write([]byte("B")); err != nil {
		return Report{}, fmt.Errorf("telling the workers to begin: %w", err)
	}
	if err := expect(line, 'B'); err != nil {
		return Report{}, err
	}
	after := before
	begin := time.Now()
	for i := range c.connections {
		err := herd.Connect(to, c.patience)
		if err == nil {
			after, err = threads.Asleep(c.patience)
		}
		if err != nil {
			return Report{}, fmt.Errorf("connection %d of %d: %w", i+1, c.connections, err)
		}
	}
	took := time.Since(begin)
	if _, err := line.Write([]byte("E")); err != nil {
		return Report{}, fmt.Errorf("telling the workers to end: %w", err)
	}
	// It ends the connection when it has noted its CPU time.
	if err := expect(line, 'E'); err == nil {
		return Report{}, errors.New("the workers' process does not end")
	}
	return Report{
		Seconds: took.Seconds(),
		Ops:     uint64(c.connections),
		Metrics: map[string]float64{"switches": math.Max(0, float64(after-before))},
	}, nil
}

func (c *herdClients) Close() error { return nil }

// oneByOne reads no further than asked: what follows on the line is not JSON.
type oneByOne struct{ r io.Reader }

func (o oneByOne) Read(b []byte) (int, error) { return o.r.Read(b[:min(1, len(b))]) }
