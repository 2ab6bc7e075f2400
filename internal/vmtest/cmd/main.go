// Command cmd runs tests of this module on Debian's kernel in a virtual machine
// and writes the events of go test -json to standard output.
//
//	go run ./internal/vmtest/cmd [flags] PACKAGE... [-- TESTFLAG...]
//
// It exits with 0 if all tests passed, 1 if some failed, and 2 if they could
// not be run to their end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"kernelviz/internal/vmtest"
)

func main() {
	err := run(os.Args[1:])
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, err)
	if errors.Is(err, vmtest.ErrTestsFailed) {
		os.Exit(1)
	}
	os.Exit(2)
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	o := vmtest.Options{
		Root: root, Include: []string{filepath.Join("web", "testdata")},
		Out: os.Stdout, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	var testArgs []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, testArgs = args[:i], args[i+1:]
	}
	fs := flag.NewFlagSet("vmtest", flag.ContinueOnError)
	fs.StringVar(&o.Kernel, "kernel", "", "kernel `image`; empty downloads Debian's")
	cache := fs.String("cache", filepath.Join(".cache", "kernel"), "`directory` that keeps downloaded kernels")
	fs.IntVar(&o.Memory, "memory", 2048, "memory of the guest in `MiB`")
	fs.IntVar(&o.CPUs, "cpus", 2, "processors of the guest")
	fs.DurationVar(&o.Timeout, "timeout", 12*time.Minute, "limit for the boot and all tests together")
	if err := fs.Parse(args); err != nil {
		return err
	}
	o.Packages, o.Args = fs.Args(), testArgs
	if len(o.Packages) == 0 {
		return errors.New("vmtest: no package named: name one, such as ./internal/kernelviz/epoll")
	}
	if o.Kernel == "" {
		if o.Kernel, err = vmtest.FetchKernel(ctx, *cache); err != nil {
			return err
		}
	}
	return vmtest.Run(ctx, o)
}
