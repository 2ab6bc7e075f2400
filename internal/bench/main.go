// Bench measures what kernelviz promises about its speed and cost, on the
// machine it runs on:
//
//	go run ./internal/bench [-only NAME] [-quick] [-json FILE]
//
// It prints medians with their spread. What is compared is measured in turn,
// A B A B, within one run; a ratio is the spread of the ratios of neighbours. It
// needs root, and says what else is missing.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"kernelviz/internal/sandbox"
)

// The whole run is given up after these.
const (
	fullTime  = 12 * time.Minute
	quickTime = 2 * time.Minute
)

// errMissing is wrapped by a bench that lacks something it compares with or
// runs on; the others go on.
var errMissing = errors.New("not measured")

// bench is one group of measurements.
type bench struct {
	name  string
	about string
	run   func(ctx context.Context, e *env, r *report) error
}

func benches() []bench {
	return []bench{
		{"snapshot", "reading an instance, beside a pointer chase", snapshot},
		{"watchcost", "what being watched costs the watched process and others", watchcost},
		{"rings", "what being watched costs the owner of a ring", rings},
		{"viewers", "a thousand pages that watch one instance", viewers},
		{"pixel", "from a system call to the canvas", pixel},
		{"page", "a page with a million items", page},
		{"experiments", "an experiment: exact counts, and what the runner takes", experiments},
		{"labs", "a lesson: opening it, its ticks, its terminal", lessons},
	}
}

// env is what the benches share.
type env struct {
	root  string // of the repository
	dir   string // temporary
	quick bool
	log   io.Writer // progress

	box     *sandbox.Sandbox
	started int // workloads
}

// pick is full, or quick in a quick run.
func pick[T any](e *env, full, quick T) T {
	if e.quick {
		return quick
	}
	return full
}

func (e *env) say(format string, args ...any) { fmt.Fprintf(e.log, format+"\n", args...) }

func main() {
	if len(os.Args) > 2 && (os.Args[1] == "workload" || os.Args[1] == "child") {
		os.Exit(child(os.Args[1], os.Args[2], os.Args[3:]))
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	var names []string
	for _, b := range benches() {
		names = append(names, b.name)
	}
	only := flag.String("only", "", "comma-separated `names` of: "+strings.Join(names, ", "))
	quick := flag.Bool("quick", false, "fewer rounds and smaller sizes, within two minutes")
	out := flag.String("json", "", "also write the results to this `file`")
	flag.Parse()
	chosen, err := choose(benches(), *only)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("reading the kernel needs root: sudo make bench")
	}
	root, err := findRoot()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "kernelviz-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	limit := fullTime
	if *quick {
		limit = quickTime
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), limit, fmt.Errorf("given up after %v", limit))
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()

	box, err := newSandbox()
	if err != nil {
		return err
	}
	defer box.Close()
	e := &env{root: root, dir: dir, quick: *quick, log: os.Stderr, box: box}
	before := lookAtMachine()
	fmt.Println(before)
	if warning := before.warning(); warning != "" {
		fmt.Println("WARNING:", warning)
	}
	var all []result
	var failed []error
	for _, b := range chosen {
		began := time.Now()
		e.say("%s …", b.name)
		r := &report{bench: b.name}
		err := b.run(ctx, e, r)
		if ctx.Err() != nil {
			err = context.Cause(ctx) // whatever failed, failed because of it
		}
		fmt.Printf("\n%s: %s (%.0f s)\n", b.name, b.about, time.Since(began).Seconds())
		if len(r.rows) > 0 {
			if err := r.print(os.Stdout); err != nil {
				return err
			}
		}
		all = append(all, r.rows...)
		if err == nil {
			continue
		}
		fmt.Printf("  %s: %v\n", b.name, err)
		if !errors.Is(err, errMissing) {
			failed = append(failed, fmt.Errorf("%s: %w", b.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	after := lookAtMachine()
	fmt.Printf("\n%s\n", after.since(before))
	if *out != "" {
		data, err := json.MarshalIndent(map[string]any{"machine": before, "after": after, "results": all}, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*out, append(data, '\n'), 0o644); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// choose picks benches by name, in the order they are run in; all if none is
// named.
func choose(all []bench, only string) ([]bench, error) {
	if only == "" {
		return all, nil
	}
	names := strings.Split(only, ",")
	var chosen []bench
	for _, b := range all {
		if i := slices.Index(names, b.name); i >= 0 {
			chosen = append(chosen, b)
			names = slices.Delete(names, i, i+1)
		}
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("there is no bench %q; see -h", names[0])
	}
	return chosen, nil
}

// findRoot is the directory of go.mod, where the rest of the repository lies.
func findRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("looking for the repository: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if filepath.Base(mod) != "go.mod" {
		return "", errors.New("run it inside the repository")
	}
	return filepath.Dir(mod), nil
}
