package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"kernelviz/internal/server"
)

func newDoctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine can show, what is missing and what gives it",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := openMachine(cmd.Context(), slog.New(slog.DiscardHandler), false)
			if err != nil {
				return err
			}
			defer m.close()
			report := server.NewReport(version, m.kernel, m.views)
			if asJSON {
				return printJSON(cmd.OutOrStdout(), report)
			}
			return printReport(cmd.OutOrStdout(), report)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printReport(w io.Writer, r server.Report) error {
	k := r.Kernel
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "labserver %s on Linux %s %s, %s (%s, %d CPUs, %.1f GiB)\n",
		r.Version, k.Release, k.Machine, k.Hostname, k.Distribution, k.CPUs, float64(k.Memory)/(1<<30))
	fmt.Fprintln(t, "\nHow the kernel is read")
	for _, v := range r.Views {
		for _, tier := range v.Tiers {
			mark := "no"
			if tier.Chosen {
				mark = "used"
			}
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", mark, v.Name, tier.Label, tier.Reason)
			printFix(t, "\t\t\t", tier.Fix)
		}
	}
	fmt.Fprintln(t, "\nWhat this kernel has")
	for _, c := range r.Capabilities {
		mark := "no"
		if c.OK {
			mark = "yes"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", mark, c.Name, c.Reason)
		printFix(t, "\t\t", c.Fix)
	}
	return t.Flush()
}

// printFix prints what would help under the reason, which stands in the column
// that the tabs lead to.
func printFix(w io.Writer, tabs, fix string) {
	if fix != "" {
		fmt.Fprintf(w, "%stry: %s\n", tabs, fix)
	}
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
