package main

import (
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"kernelviz/internal/kernelviz"
)

func newTargets() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "targets",
		Short: "List what can be shown",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := openMachine(cmd.Context(), slog.New(slog.DiscardHandler), false)
			if err != nil {
				return err
			}
			defer m.close()
			list := []kernelviz.Target{}
			for _, v := range m.views {
				found, err := v.Targets(cmd.Context())
				if err != nil {
					return fmt.Errorf("listing targets of %s: %w", v.Name(), err)
				}
				list = append(list, found...)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printTargets(cmd.OutOrStdout(), list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printTargets(w io.Writer, list []kernelviz.Target) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TARGET\tPROCESS\tITEMS\tINSTANCE")
	for _, target := range list {
		items := "?"
		if target.Items >= 0 {
			items = fmt.Sprint(target.Items)
		}
		instance := "?"
		if target.Instance != 0 {
			instance = fmt.Sprint("#", target.Instance)
		}
		fmt.Fprintf(t, "%s %s\t%s\t%s\t%s\n", target.View, target.Name, target.Comm, items, instance)
	}
	return t.Flush()
}
