package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/cilium/ebpf"

	"kernelviz/internal/experiment"
	"kernelviz/internal/experiment/catalog"
	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/kernelviz/syscalls"
)

// experiments runs the experiment syscalls and holds it to its word: calls
// counted exactly, and a runner that costs next to nothing.
func experiments(ctx context.Context, e *env, r *report) error {
	info, err := kernel.Probe(ctx)
	if err != nil {
		return err
	}
	counter, err := syscalls.New(slog.New(slog.DiscardHandler), ebpf.CollectionOptions{Cache: info.Cache()})
	if err != nil {
		return fmt.Errorf("counting system calls: %w", err)
	}
	defer counter.Close()
	dir, err := os.MkdirTemp("/var/tmp", "kernelviz-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	runner := experiment.NewRunner(experiment.Config{Box: e.box, Log: slog.New(slog.DiscardHandler), Dir: dir, Counter: experiment.KernelCounter(counter), Version: "bench"})
	d := catalog.Syscalls()
	result, err := runner.Run(ctx, d, experiment.Options{Quick: e.quick})
	if err != nil {
		return fmt.Errorf("experiment %s: %w", d.Info.ID, err)
	}
	r.of("experiment syscalls: calls of one trial, counted in the kernel")
	trials := 0.0
	for _, s := range result.Series {
		for _, v := range s.Variants {
			r.add(v.ID, count, v.Metrics["calls"].Values)
			for _, seconds := range v.Metrics["cpu_per_gb"].Values {
				trials += seconds * gigabytes(result)
			}
		}
	}
	r.of("what running it costs")
	if trials == 0 {
		return fmt.Errorf("experiment %s measured no CPU time", d.Info.ID)
	}
	r.hold("CPU time of the runner / of the trials", share, series{result.Runner / trials}, "p50", 0.02)
	return nil
}

// gigabytes is what one trial reads.
func gigabytes(r *experiment.Result) float64 {
	n, _ := r.Parameters["bytes"].(int64)
	return float64(n) / 1e9
}
