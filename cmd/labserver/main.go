// Command labserver shows the inside of this machine's kernel in a browser.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/server"
)

// version is set when a release is built.
var version = "dev"

// The exit codes, as README.md and --help list them.
const (
	exitFailure   = 1
	exitUsage     = 2
	exitNotFound  = 3
	exitPrivilege = 4
	exitTorn      = 5
)

const exitCodes = `Exit codes:
  0  done
  1  something failed
  2  wrong usage
  3  no such target, or it is gone
  4  not permitted: a privilege is missing
  5  torn: show got no snapshot that is whole`

// errTorn is returned by show for a snapshot that is not whole.
var errTorn = errors.New("the snapshot is torn")

// usageError is a wrong flag or argument.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	// A workload is this binary again. Nothing may come before it: what uses
	// timers or files would give the process an epoll instance of its own.
	if len(os.Args) > 2 && os.Args[1] == "workload" && !strings.HasPrefix(os.Args[2], "-") {
		os.Exit(runWorkload(os.Args[2], os.Args[3:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run carries out one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cmd := newCommand()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	printError(stderr, err)
	return exitCode(err)
}

func newCommand() *cobra.Command {
	root := newServe()
	root.Use = "labserver"
	root.Short = "See the inside of this machine's kernel in a browser"
	root.Long = "labserver shows live kernel structures in a browser. Without a command it serves.\n\n" + exitCodes
	root.Version = version
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageFor(cmd, err) })
	root.SetVersionTemplate("labserver {{.Version}}\n")
	root.AddCommand(newServe(), newDoctor(), newTargets(), newShow(), newURL(), newLabs(), newExperiment(), newWorkload(), newVersion())
	return root
}

// args checks the number of arguments and names them in the error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageFor(cmd, err)
		}
		return nil
	}
}

func usageFor(cmd *cobra.Command, err error) error {
	return usageError{&server.Problem{
		Code:    "usage",
		Message: err.Error(),
		Fix:     cmd.CommandPath() + " --help",
	}}
}

// printError tells people what failed and what to do:
//
//	labserver: what: why
//	  try: fix
func printError(w io.Writer, err error) {
	fmt.Fprintf(w, "labserver: %s\n", strings.TrimPrefix(err.Error(), "labserver: "))
	var p *server.Problem
	switch {
	case errors.As(err, &p) && p.Fix != "":
		fmt.Fprintf(w, "  try: %s\n", p.Fix)
	case errors.Is(err, kernelviz.ErrNotFound), errors.Is(err, kernelviz.ErrGone):
		fmt.Fprintln(w, "  try: labserver targets")
	case isPrivilege(err):
		fmt.Fprintln(w, "  try: run it as root: sudo labserver …")
	}
}

func isPrivilege(err error) bool {
	return errors.Is(err, fs.ErrPermission) // EPERM and EACCES are
}

func exitCode(err error) int {
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errTorn):
		return exitTorn
	case errors.Is(err, kernelviz.ErrNotFound), errors.Is(err, kernelviz.ErrGone):
		return exitNotFound
	case isPrivilege(err):
		return exitPrivilege
	}
	return exitFailure
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  args(cobra.NoArgs),
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "labserver", cmd.Root().Version) },
	}
}
