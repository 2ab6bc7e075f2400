package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"kernelviz/internal/workload"
)

// runWorkload is the life of a process that the server started, or that
// somebody runs by hand: it reads actions from standard input, one a line.
func runWorkload(name string, args []string) int {
	err := workload.Main(name, args)
	if err == nil {
		return 0
	}
	if errors.Is(err, workload.ErrUnknown) {
		err = usageError{err}
	}
	printError(os.Stderr, err)
	return exitCode(err)
}

func newWorkload() *cobra.Command {
	return &cobra.Command{
		Use:   "workload NAME",
		Short: "Be a process that labs observe: " + strings.Join(workload.Names(), ", "),
		Long: "Be a process that labs observe, as the server starts them. It reads actions from standard input,\n" +
			`one a line: {"id":1,"do":{"op":"epoll_create"}}, and writes the system calls it makes.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// main runs those with a name before anything else.
			return usageFor(cmd, fmt.Errorf("which workload? there are %s", strings.Join(workload.Names(), ", ")))
		},
	}
}
