package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"kernelviz/internal/kernelviz/epoll"
)

func newShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print one snapshot",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageFor(cmd, errors.New("show what? for example: labserver show epoll 1234:5"))
		},
	}
	cmd.AddCommand(newShowEpoll(), newShowUring())
	return cmd
}

func newShowEpoll() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "epoll PID:FD",
		Short: "Print one snapshot of an epoll instance",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			shown, err := showEpoll(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), shown)
			} else {
				err = printEpoll(cmd.OutOrStdout(), shown)
			}
			if err == nil && !shown.Truth.Whole {
				err = fmt.Errorf("epoll instance %s: %w: %s", args[0], errTorn, shown.Truth.Broken)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showEpoll(ctx context.Context, name string) (epoll.Shown, error) {
	m, err := openMachine(ctx, slog.New(slog.DiscardHandler), false)
	if err != nil {
		return epoll.Shown{}, err
	}
	defer m.close()
	watch, err := m.epoll.Open(ctx, name)
	if err != nil {
		return epoll.Shown{}, err
	}
	defer watch.Close()
	snap, err := watch.Sample(ctx)
	if err != nil {
		return epoll.Shown{}, err
	}
	s, ok := snap.(*epoll.Snapshot)
	if !ok {
		return epoll.Shown{}, fmt.Errorf("epoll instance %s: unexpected snapshot %T", name, snap)
	}
	return s.Show(m.epoll.Tiers()), nil
}

func printEpoll(w io.Writer, s epoll.Shown) error {
	fmt.Fprintf(w, "epoll #%d: %d items, %d levels, black height %d\n", s.Instance, s.Items, s.Depth, s.BlackHeight)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FD\tCOLOUR\tDEPTH\tPARENT\tEVENTS\tREADY\tFILE")
	for _, n := range s.Nodes {
		parent, ready := "-", ""
		if n.Parent >= 0 {
			parent = fmt.Sprint(n.Parent)
		}
		if n.Ready {
			ready = "ready"
		}
		fmt.Fprintf(t, "%d\t%s\t%d\t%s\t%s\t%s\t%s\n", n.FD, n.Colour, n.Depth, parent, n.Events, ready, n.File)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "ready: %s\n", fds(s.Ready))
	if s.Scanning {
		fmt.Fprintf(w, "overflow, while a scan has the ready list: %s\n", fds(s.Overflow))
	}
	for _, x := range s.Waiters {
		exclusive := ""
		if x.Exclusive {
			exclusive = ", exclusive"
		}
		fmt.Fprintf(w, "waiting: thread %d of process %d (%s)%s\n", x.TID, x.PID, x.Comm, exclusive)
	}
	truth := "whole"
	switch {
	case !s.Truth.Whole:
		truth = "torn: " + s.Truth.Broken
	case s.Truth.Instant:
		truth = "whole, and proved to be one instant"
	}
	_, err := fmt.Fprintf(w, "read by %s: %s\n", s.Truth.Tier, truth)
	return err
}

func fds(list []int32) string {
	if len(list) == 0 {
		return "none"
	}
	parts := make([]string, len(list))
	for i, fd := range list {
		parts[i] = fmt.Sprint(fd)
	}
	return strings.Join(parts, " ")
}
