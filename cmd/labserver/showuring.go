package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"kernelviz/internal/kernelviz/uring"
)

func newShowUring() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "uring PID:FD",
		Short: "Print one snapshot of an io_uring instance",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			shown, err := showUring(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), shown)
			} else {
				err = printUring(cmd.OutOrStdout(), shown)
			}
			if err == nil && !shown.Truth.Whole {
				err = fmt.Errorf("ring %s: %w: %s", args[0], errTorn, shown.Truth.Broken)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showUring(ctx context.Context, name string) (uring.Shown, error) {
	m, err := openMachine(ctx, slog.New(slog.DiscardHandler), false)
	if err != nil {
		return uring.Shown{}, err
	}
	defer m.close()
	watch, err := m.uring.Open(ctx, name)
	if err != nil {
		return uring.Shown{}, err
	}
	defer watch.Close()
	snap, err := watch.Sample(ctx)
	if err != nil {
		return uring.Shown{}, err
	}
	s, ok := snap.(*uring.Snapshot)
	if !ok {
		return uring.Shown{}, fmt.Errorf("ring %s: unexpected snapshot %T", name, snap)
	}
	return s.Show(m.uring.Tiers()), nil
}

func printUring(w io.Writer, s uring.Shown) error {
	fmt.Fprintf(w, "ring #%d: %s\n", s.Ring, orNone(s.Setup))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "QUEUE\tENTRIES\tHEAD\tTAIL\tWAITING\tFLAGS")
	for _, q := range []struct {
		name string
		of   uring.ShownQueue
	}{{"SQ", s.SQ}, {"CQ", s.CQ}} {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%s\n", q.name, q.of.Entries, q.of.Head, q.of.Tail, q.of.Pending, orNone(q.of.Flags))
	}
	if len(s.SQEs) > 0 {
		fmt.Fprintln(t, "SQE\tOP\tFD\tLEN\tUSER_DATA\tFLAGS")
		for _, e := range s.SQEs {
			fmt.Fprintf(t, "%d\t%s\t%d\t%d\t%#x\t%s\n", e.Position, e.Op, e.FD, e.Len, e.UserData, e.Flags)
		}
	}
	if len(s.CQEs) > 0 {
		fmt.Fprintln(t, "CQE\tUSER_DATA\tRES\t\tFLAGS")
		for _, e := range s.CQEs {
			fmt.Fprintf(t, "%d\t%#x\t%d\t%s\t%s\n", e.Position, e.UserData, e.Res, e.Error, e.Flags)
		}
	}
	if len(s.Requests) > 0 {
		fmt.Fprintln(t, "REQUEST\tWHERE\tFD\tUSER_DATA")
		for _, r := range s.Requests {
			fmt.Fprintf(t, "%s\t%s\t%d\t%#x\n", r.Op, r.Where, r.FD, r.UserData)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if s.InFlight >= 0 {
		fmt.Fprintf(w, "in flight: %d\n", s.InFlight)
	}
	fmt.Fprintf(w, "dropped: %d; lost for want of room: %d; kept until there is room: %d\n", s.SQDropped, s.CQOverflow, s.OverflowList)
	if x := s.Thread; x != nil {
		fmt.Fprintf(w, "SQPOLL thread: %d (%s), %s, %v of CPU time\n", x.TID, x.Comm, x.State, time.Duration(x.TimeNS))
	}
	for _, x := range s.Workers {
		fmt.Fprintf(w, "io-wq worker: %d (%s), %s, %v of CPU time\n", x.TID, x.Comm, x.State, time.Duration(x.TimeNS))
	}
	for _, x := range s.Resources {
		fmt.Fprintf(w, "registered %s %d: %s\n", x.Kind, x.Slot, resource(x))
	}
	if len(s.Unseen) > 0 {
		fmt.Fprintf(w, "not seen: %s\n", strings.Join(s.Unseen, ", "))
	}
	truth := "whole"
	switch {
	case !s.Truth.Whole:
		truth = "torn: " + s.Truth.Broken
	case s.Truth.Instant:
		truth = "whole, at one instant"
	}
	_, err := fmt.Fprintf(w, "read by %s in %v, %s\n", s.Truth.Tier, time.Duration(s.Truth.ReadNS), truth)
	return err
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, "|")
}

func resource(r uring.ShownResource) string {
	if r.Kind == "file" {
		return r.Name
	}
	return fmt.Sprintf("%d bytes at %#x", r.Len, r.Addr)
}
