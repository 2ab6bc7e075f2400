package experiment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/sandbox"
	"kernelviz/internal/workload/trial"
)

// The test binary plays its own children: argv[1] says which.
func TestMain(m *testing.M) {
	var err error
	switch {
	case len(os.Args) < 2:
		os.Exit(m.Run())
	case os.Args[1] == "play-trial":
		err = trial.Serve(map[string]func(trial.Spec) (trial.Work, error){
			"test/worker": newWorker, "test/server": newWorker, "test/client": newWorker,
		})
	case os.Args[1] == "play-guardian":
		err = sandbox.Guard(os.Stdin, os.Args[2:])
	case os.Args[1] == "play-runner":
		err = playRunner(os.Args[2])
	case os.Args[1] == "play-sleeper":
		err = syscall.Pause()
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// worker is what trials of the tests do, by the name of their variant.
type worker struct{ spec trial.Spec }

func newWorker(s trial.Spec) (trial.Work, error) {
	if s.Variant == "refuse" {
		return nil, errors.New("no such variant")
	}
	return &worker{s}, nil
}

func (w *worker) Prepare() (any, error) {
	if w.spec.Variant == "unprepared" {
		return nil, errors.New("nothing was there")
	}
	if w.spec.Role == "server" {
		return map[string]int{"port": 4711}, nil
	}
	return nil, nil
}

func (w *worker) Run(peers map[string]json.RawMessage) (trial.Report, error) {
	began := time.Now()
	loops := int(w.spec.Params["loops"])
	switch w.spec.Variant {
	case "crash":
		_ = unix.Kill(os.Getpid(), unix.SIGSEGV)
		select {}
	case "exit":
		fmt.Fprintln(os.Stderr, "giving up")
		os.Exit(3)
	case "hang", "slow":
		_ = syscall.Pause()
	case "garbage":
		fmt.Println("this is not JSON")
		_ = syscall.Pause()
	case "chatty":
		for {
			fmt.Println(`{"ready":1}`)
		}
	case "error":
		return trial.Report{}, errors.New("out of luck")
	case "fork":
		// A child that leaves its session, as daemons do.
		cmd := exec.Command("/proc/self/exe", "play-sleeper")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			return trial.Report{}, err
		}
	case "file":
		if err := os.WriteFile(filepath.Join(w.spec.Dir, "left"), make([]byte, 1<<20), 0o600); err != nil {
			return trial.Report{}, err
		}
	case "twice":
		loops *= 2
	case "work":
		var ts unix.Timespec
		for ts.Nano() < int64(400*time.Millisecond) {
			if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
				return trial.Report{}, err
			}
		}
	case "burn":
		for time.Since(began) < 50*time.Millisecond {
		}
	}
	if w.spec.Role == "client" {
		var said struct{ Port int }
		if err := json.Unmarshal(peers["server"], &said); err != nil || said.Port != 4711 {
			return trial.Report{}, fmt.Errorf("the server said %s", peers["server"])
		}
	}
	for range loops {
		unix.Getppid()
	}
	return trial.Report{
		Seconds: time.Since(began).Seconds(), Ops: uint64(loops),
		Notes: []trial.Note{{Code: "remark", Text: "it was done"}},
	}, nil
}

func (w *worker) Close() error { return nil }

// define makes an experiment of these variants, of one process each.
func define(variants ...string) Definition {
	s := Series{ID: "only", Label: Text{"only", "only"}, Baseline: variants[0], Quick: true}
	for _, v := range variants {
		s.Variants = append(s.Variants, Variant{ID: v, Label: Text{v, v}})
	}
	return Definition{
		Info: Info{
			ID: "test", Title: Text{"t", "t"}, Question: Text{"q", "q"}, About: Text{"a", "a"}, Seconds: 2, Quick: 1,
			Series:  []Series{s},
			Metrics: []Metric{{ID: "ops", Unit: "ops"}, {ID: "calls", Exact: true}, {ID: "cpu", Unit: "s"}},
		},
		Rounds: 5, QuickRounds: 2, Limit: 20 * time.Second,
		Plan: func(series, variant, dir string, quick bool) (Plan, error) {
			return Plan{Roles: []Role{{Spec: trial.Spec{Role: "worker", Params: map[string]float64{"loops": 1000}}, Count: true}}}, nil
		},
		Measure: func(t Trial) (map[string]float64, error) {
			r := t.Roles["worker"]
			if t.Counted {
				return map[string]float64{"calls": float64(r.Syscalls["getppid"])}, nil
			}
			return map[string]float64{"ops": float64(r.Report.Ops), "cpu": r.CPU}, nil
		},
	}
}

// fixture is a runner with all that it needs.
type fixture struct {
	*Runner
	box   *sandbox.Sandbox
	dir   string
	store *memory
}

func newFixture(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	box, err := sandbox.New(sandbox.Config{Log: log, Guardian: []string{"/proc/self/exe", "play-guardian"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &fixture{box: box, dir: t.TempDir(), store: &memory{}}
	c := Config{Box: box, Log: log, Dir: f.dir, Command: []string{"/proc/self/exe", "play-trial"}, Store: f.store, Version: "test"}
	if change != nil {
		change(&c)
	}
	f.Runner = NewRunner(c)
	return f
}

// run runs an experiment and checks that nothing is left of it.
func (f *fixture) run(t *testing.T, ctx context.Context, d Definition, o Options) *Result {
	t.Helper()
	r, err := f.Run(ctx, d, o)
	if err != nil {
		t.Fatal(err)
	}
	f.nothingLeft(t)
	return r
}

func (f *fixture) nothingLeft(t *testing.T) {
	t.Helper()
	if left := f.box.Running(""); len(left) > 0 {
		t.Errorf("these still run: %v", left)
	}
	if entries, err := os.ReadDir(f.dir); err != nil || len(entries) > 0 {
		t.Errorf("files are left: %v, %v", entries, err)
	}
	if pids := playing("play-trial", "play-sleeper"); len(pids) > 0 {
		t.Errorf("processes are left: %v", pids)
	}
	if dirs, _ := filepath.Glob("/sys/fs/cgroup/kernelviz/" + strconv.Itoa(os.Getpid()) + "-*/trial-*"); len(dirs) > 0 {
		t.Errorf("cgroups are left: %v", dirs)
	}
	if _, running := f.Running(); running {
		t.Error("it still counts as running")
	}
}

// playing are the processes of this test binary in one of these parts.
func playing(parts ...string) []int {
	self, _ := os.Readlink("/proc/self/exe")
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var pids []int
	for _, file := range all {
		exe, err := os.Readlink(filepath.Dir(file) + "/exe")
		if err != nil || exe != self {
			continue
		}
		line, _ := os.ReadFile(file)
		for _, part := range parts {
			if strings.Contains(string(line), part) {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// memory is a store that forgets.
type memory struct {
	mu   sync.Mutex
	next int64
	kept map[int64]string // state by run
	last []byte
}

func (m *memory) BeginRun(context.Context, string, time.Time, bool) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	return m.next, nil
}

func (m *memory) KeepRun(_ context.Context, run int64, state string, _ float64, result []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil {
		m.kept = map[int64]string{}
	}
	m.kept[run], m.last = state, result
	return nil
}

// playRunner runs an experiment that hangs, in a directory, until it is killed.
func playRunner(parent string) error {
	log := slog.New(slog.DiscardHandler)
	box, err := sandbox.New(sandbox.Config{Log: log, Guardian: []string{"/proc/self/exe", "play-guardian"}})
	if err != nil {
		return err
	}
	dir, err := sandbox.Scratch(parent, log)
	if err != nil {
		return err
	}
	r := NewRunner(Config{Box: box, Log: log, Dir: dir, Command: []string{"/proc/self/exe", "play-trial"}})
	d := define("hang")
	d.Setup = func(_ context.Context, dir string, _ bool) error {
		return os.WriteFile(filepath.Join(dir, "data"), []byte("x"), 0o600)
	}
	_, err = r.Run(context.Background(), d, Options{Progress: func(p Progress) {
		if p.Phase == "warming up" {
			fmt.Println("begun")
		}
	}})
	return err
}

// eventually polls a condition with a deadline.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for wait := time.Millisecond; !cond(); wait = min(2*wait, 50*time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20s: %s", what)
		}
		time.Sleep(wait)
	}
}

func sandboxScratch(parent string) (string, error) {
	return sandbox.Scratch(parent, slog.New(slog.DiscardHandler))
}
