package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/epoll"
	"kernelviz/internal/kernelviz/uring"
	"kernelviz/internal/lab"
	"kernelviz/internal/playground"
	"kernelviz/internal/sandbox"
	"kernelviz/internal/server"
	"kernelviz/internal/session"
	"kernelviz/internal/store"
	"kernelviz/labs"
)

// labFlags are those that serve and the labs commands share.
type labFlags struct {
	dir string // --labs
}

func (f *labFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "labs", "", "take the labs from `DIR` instead of those built in, and read them again when they change")
}

// files are where the labs lie.
func (f *labFlags) files() (fs.FS, error) {
	if f.dir == "" {
		return labs.FS(), nil
	}
	info, err := os.Stat(f.dir)
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory")
	}
	if err != nil {
		return nil, usageError{&server.Problem{
			Code: "usage", Message: fmt.Sprintf("flag --labs: %s: %v", f.dir, err), Fix: "give the directory that holds the modules",
		}}
	}
	return os.DirFS(f.dir), nil
}

// workshop is all that sessions of labs need, and how to put it away.
type workshop struct {
	source  *lab.Source
	options session.Options
	closers []func() error
}

func (w *workshop) close() error {
	var errs []error
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	return errors.Join(errs...)
}

// openWorkshop prepares labs on this machine. db is the file that progress is
// kept in; empty keeps it in memory only.
func openWorkshop(ctx context.Context, m *machine, files fs.FS, box *sandbox.Sandbox, db string, code, terminals bool, log *slog.Logger) (_ *workshop, err error) {
	w := &workshop{source: lab.NewSource(files, session.Vocabulary(m.views))}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	user, err := sandbox.Invoker()
	if err != nil {
		return nil, fmt.Errorf("finding out whom terminals run as: %w", err)
	}
	scratch, err := sandbox.Scratch("", log)
	if err != nil {
		return nil, err
	}
	w.closers = append(w.closers, func() error { return os.RemoveAll(scratch) })
	w.options = session.Options{
		Views: m.views, Kernel: m.kernel, Box: box, Terminals: terminals, User: user, Scratch: scratch, Log: log,
	}
	if db == "" {
		w.options.Store, err = store.Memory()
	} else {
		w.options.Store, err = store.Open(ctx, db, log)
	}
	if err != nil {
		return nil, err
	}
	w.closers = append(w.closers, w.options.Store.Close)
	if code {
		w.options.Playground, err = playground.New(playground.Options{Log: log, Box: box, User: &user, Dir: filepath.Join(scratch, "code")})
		if err != nil {
			return nil, fmt.Errorf("preparing the compiler's directory: %w", err)
		}
		w.closers = append(w.closers, w.options.Playground.Close)
	}
	return w, nil
}

func newLabs() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "labs",
		Short: "List, write and prove labs",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageFor(cmd, errors.New("labs list, labs new or labs check?"))
		},
	}
	cmd.AddCommand(newLabsList(), newLabsNew(), newLabsCheck())
	return cmd
}

// listed is one line of `labs list --json`.
type listed struct {
	Module  string   `json:"module"`
	ID      string   `json:"id"`
	Title   lab.Text `json:"title"`
	Minutes int      `json:"minutes"`
	Steps   int      `json:"steps"`
	Needs   []string `json:"needs"`
}

func newLabsList() *cobra.Command {
	var f labFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the labs",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadCatalog(f)
			if err != nil {
				return err
			}
			list := []listed{}
			for _, m := range c.Modules {
				for _, l := range m.Labs {
					list = append(list, listed{m.ID, l.ID, l.Title, l.Minutes, len(l.Steps), append([]string{}, l.Needs...)})
				}
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), list)
			} else {
				err = printLabs(cmd.OutOrStdout(), list)
			}
			return errors.Join(err, brokenLabs(cmd.ErrOrStderr(), c.Problems))
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printLabs(w io.Writer, list []listed) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MODULE\tLAB\tSTEPS\tMINUTES\tTITLE")
	for _, l := range list {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\n", l.Module, l.ID, l.Steps, l.Minutes, l.Title.En)
	}
	return t.Flush()
}

// loadCatalog loads the labs without a kernel: what facts there are does not
// depend on the machine.
func loadCatalog(f labFlags) (*lab.Catalog, error) {
	files, err := f.files()
	if err != nil {
		return nil, err
	}
	return lab.Load(files, session.Vocabulary(describedViews())), nil
}

// brokenLabs prints what is wrong with labs and returns an error if anything is.
func brokenLabs(w io.Writer, problems []lab.Problem) error {
	broken := 0
	for _, p := range problems {
		fmt.Fprintln(w, p.Error())
		if !p.Warning {
			broken++
		}
	}
	if broken > 0 {
		return fmt.Errorf("%d problems in the labs, listed above", broken)
	}
	return nil
}

func newLabsNew() *cobra.Command {
	var f labFlags
	cmd := &cobra.Command{
		Use:   "new MODULE/NAME",
		Short: "Write a lab that passes, to begin with: labs new 010-epoll/095-mine --labs DIR",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := f.dir
			if dir == "" {
				dir = "labs"
			}
			if info, err := os.Stat(dir); err != nil || !info.IsDir() {
				return usageFor(cmd, fmt.Errorf("%s is no directory to write a lab into; name one with --labs DIR", dir))
			}
			path, err := lab.Template(dir, args[0])
			if err != nil {
				return fmt.Errorf("writing lab %s: %w", args[0], err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Wrote %s. Next: labserver labs check --labs %s %s\n", path, dir, filepath.Base(args[0]))
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

func newLabsCheck() *cobra.Command {
	var f labFlags
	var stamp, static bool
	cmd := &cobra.Command{
		Use:   "check [LAB...]",
		Short: "Prove labs on this kernel: every step fails at first and passes after its solution",
		RunE: func(cmd *cobra.Command, names []string) error {
			files, err := f.files()
			if err != nil {
				return err
			}
			if stamp {
				dir := f.dir
				if dir == "" {
					dir = "labs"
				}
				if err := lab.Stamp(dir); err != nil {
					return fmt.Errorf("stamping translations: %w", err)
				}
				files = os.DirFS(dir)
			}
			return checkLabs(cmd.Context(), files, names, static, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&stamp, "stamp", false, "write into translations which English text they were made from, then check")
	cmd.Flags().BoolVar(&static, "static", false, "look at the files only; run nothing")
	return cmd
}

func checkLabs(ctx context.Context, files fs.FS, names []string, static bool, stdout, stderr io.Writer) (err error) {
	c := lab.Load(files, session.Vocabulary(describedViews()))
	chosen, err := chooseLabs(c, names)
	if err != nil {
		return err
	}
	problems := append(c.Problems, lab.Check(files, c)...)
	broken := brokenLabs(stderr, problems)
	if _, err := loadClaims(files); err != nil {
		broken = errors.Join(broken, err)
	}
	if static {
		if broken == nil {
			fmt.Fprintf(stdout, "%d labs: files in order\n", len(chosen))
		}
		return broken
	}

	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	m, err := openMachine(ctx, log, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	box, err := sandbox.New(sandbox.Config{Log: log, Guardian: guardian})
	if err != nil {
		return fmt.Errorf("making the sandbox of workloads: %w", err)
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	w, err := openWorkshop(ctx, m, files, box, "", true, true, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()

	start := time.Now()
	failed, left := 0, 0
	for _, l := range chosen {
		// Each lab is proved against a store of its own: nothing of another counts.
		began := time.Now()
		findings := session.Prove(ctx, w.options, w.source.Catalog().Lab(l.ID), func(step string, took time.Duration) {
			fmt.Fprintf(stdout, "  ok   %s/%s  %.1f s\n", l.ID, step, took.Seconds())
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var needs *session.NeedsError
		for _, finding := range findings {
			if errors.As(finding.Err, &needs) && os.Getenv("CI") == "" {
				fmt.Fprintf(stdout, "  skip %s: %v\n", l.ID, finding.Err)
				left++
				continue
			}
			failed++
			fmt.Fprintf(stdout, "  FAIL %s\n", finding.Error())
		}
		if len(findings) == 0 {
			fmt.Fprintf(stdout, "ok   %s  %d steps, %.1f s\n", l.ID, len(l.Steps), time.Since(began).Seconds())
		}
	}
	fmt.Fprintf(stdout, "%d labs, %d findings, %d left out, %.1f s\n", len(chosen), failed, left, time.Since(start).Seconds())
	if failed > 0 {
		return errors.Join(broken, fmt.Errorf("%d findings in the labs, listed above", failed))
	}
	return broken
}

// chooseLabs finds the labs of these names: ids, or names of their folders. No
// name means all.
func chooseLabs(c *lab.Catalog, names []string) ([]*lab.Lab, error) {
	var all, chosen []*lab.Lab
	for _, m := range c.Modules {
		all = append(all, m.Labs...)
	}
	if len(names) == 0 {
		return all, nil
	}
	for _, name := range names {
		found := false
		for _, l := range all {
			if l.ID == name || filepath.Base(l.Dir) == name || l.Module.ID == name {
				chosen, found = append(chosen, l), true
			}
		}
		if !found {
			var ids []string
			for _, l := range all {
				ids = append(ids, l.ID)
			}
			return nil, fmt.Errorf("checking labs: %w", &notRunningError{&server.Problem{
				Code: server.CodeNotFound, Message: fmt.Sprintf("there is no lab %.60q; there are %s", name, strings.Join(ids, ", ")), Fix: "labserver labs list",
			}})
		}
	}
	return chosen, nil
}

// describedViews are the views for their descriptions only.
func describedViews() []kernelviz.View { return []kernelviz.View{new(epoll.View), new(uring.View)} }
