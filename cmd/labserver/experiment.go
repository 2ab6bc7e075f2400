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
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kernelviz/internal/experiment"
	"kernelviz/internal/experiment/catalog"
	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/kernelviz/syscalls"
	"kernelviz/internal/sandbox"
	"kernelviz/internal/server"
	"kernelviz/internal/store"
)

// experimentDir is where experiments write their files unless told otherwise:
// /tmp is often memory, which is no disk to measure.
const experimentDir = "/var/tmp"

func newExperiment() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "experiment",
		Short: "Measure variants of a program against each other on this machine",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageFor(cmd, errors.New("experiment list or experiment run?"))
		},
	}
	cmd.AddCommand(newExperimentList(), newExperimentRun())
	return cmd
}

func newExperimentList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the experiments",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := []experiment.Info{}
			r := experiment.NewRunner(experiment.Config{Dir: experimentDir, Log: slog.New(slog.DiscardHandler)})
			for _, d := range catalog.All() {
				list = append(list, r.Describe(cmd.Context(), d))
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printExperiments(cmd.OutOrStdout(), list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printExperiments(w io.Writer, list []experiment.Info) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "EXPERIMENT\tTAKES\tQUICK\tQUESTION")
	for _, i := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", i.ID, duration(float64(i.Seconds)), duration(float64(i.Quick)), i.Question.En)
		for _, m := range i.Missing {
			fmt.Fprintf(t, "\t\t\tcannot be run here: %s: %s\n", m.Name, m.Reason)
		}
	}
	return t.Flush()
}

// duration writes seconds as people say them.
func duration(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

type experimentFlags struct {
	json, quick bool
	dir         string
	db          string
	labs        labFlags
}

func newExperimentRun() *cobra.Command {
	var f experimentFlags
	cmd := &cobra.Command{
		Use:   "run EXPERIMENT",
		Short: "Run an experiment, print what was measured and what it says of the article's claims; Ctrl-C cancels it",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runExperiment(cmd.Context(), args[0], f, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.json, "json", false, "print the result as JSON")
	fl.BoolVar(&f.quick, "quick", false, "fewer and shorter trials, and not every series")
	fl.StringVar(&f.dir, "experiment-dir", experimentDir, "write files of experiments to `DIR`, on the disk that is to be measured")
	fl.StringVar(&f.db, "db", "", "keep the result in `FILE`, where the page finds it (default: it is not kept)")
	f.labs.add(cmd)
	return cmd
}

// findExperiment finds the experiment of that name.
func findExperiment(id string) (experiment.Definition, error) {
	all := catalog.All()
	var ids []string
	for _, d := range all {
		if d.Info.ID == id {
			return d, nil
		}
		ids = append(ids, d.Info.ID)
	}
	return experiment.Definition{}, &notRunningError{&server.Problem{
		Code: "unknown_experiment", Message: fmt.Sprintf("there is no experiment %.60q; there are %s", id, strings.Join(ids, ", ")), Fix: "labserver experiment list",
	}}
}

func runExperiment(ctx context.Context, id string, f experimentFlags, stdout, stderr io.Writer) (err error) {
	d, err := findExperiment(id)
	if err != nil {
		return err
	}
	files, err := f.labs.files()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	info, err := kernel.Probe(ctx)
	if err != nil {
		return err
	}
	box, err := sandbox.New(sandbox.Config{Log: log, Guardian: guardian})
	if err != nil {
		return fmt.Errorf("making the sandbox of trials: %w", err)
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	x, err := openExperiments(info, files, box, f.dir, "", log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	if f.db != "" {
		kept, err := store.Open(ctx, f.db, log)
		if err != nil {
			return err
		}
		defer kept.Close()
		x.config.Store = kept
	}
	o := experiment.Options{Quick: f.quick}
	shown := !f.json && isTerminal(stderr)
	if shown {
		o.Progress = progressLine(stderr)
	}
	result, err := experiment.NewRunner(x.config).Run(ctx, d, o)
	if shown {
		fmt.Fprint(stderr, "\r\x1b[K")
	}
	var missing *experiment.MissingError
	if errors.As(err, &missing) {
		code := "missing"
		if missing.Disk() {
			code = "disk_full"
		}
		return &server.Problem{Code: code, Message: err.Error(), Fix: missing.Fix()}
	}
	if result == nil {
		return err
	}
	if f.json {
		err = errors.Join(err, printJSON(stdout, result))
	} else {
		err = errors.Join(err, printResult(stdout, d.Info, x.config.Claims, result))
	}
	if result.State != experiment.StateDone {
		ended := fmt.Errorf("experiment %s: %s", id, result.State)
		if result.Problem != "" {
			ended = fmt.Errorf("%w: %s", ended, result.Problem)
		}
		return errors.Join(err, ended)
	}
	return err
}

// experiments is what running experiments needs, and how to put it away.
type experiments struct {
	config experiment.Config
	close  func() error
}

// openExperiments prepares experiments on this machine. Where system calls
// cannot be counted they are run without. shared is the directory of this
// process's other files, if it has one.
func openExperiments(info *kernel.Info, files fs.FS, box *sandbox.Sandbox, dir, shared string, log *slog.Logger) (*experiments, error) {
	claims, err := loadClaims(files)
	if err != nil {
		return nil, err
	}
	scratch, err := scratchOf(dir, shared, log)
	if err != nil {
		return nil, fmt.Errorf("preparing experiments: %w", err)
	}
	x := &experiments{config: experiment.Config{Box: box, Log: log, Dir: scratch, Claims: claims, Version: version}}
	counter, err := syscalls.New(log, ebpf.CollectionOptions{Cache: info.Cache()})
	if err != nil {
		log.Info("experiments do not count system calls", "error", err)
	} else {
		x.config.Counter = experiment.KernelCounter(counter)
	}
	x.close = func() error {
		if counter != nil {
			counter.Close()
		}
		return os.RemoveAll(scratch)
	}
	return x, nil
}

// scratchOf makes the directory of experiments in dir, or in shared where that
// lies in dir too. What nobody asked for need not work.
func scratchOf(dir, shared string, log *slog.Logger) (string, error) {
	scratch, err := sandbox.Scratch(dir, log)
	if err == nil {
		return scratch, nil
	}
	ours := shared != "" && errors.Is(err, fs.ErrExist) // a process has one for each directory
	if !ours && dir != experimentDir {
		return "", err
	}
	if shared == "" {
		return sandbox.Scratch("", log)
	}
	scratch = filepath.Join(shared, "experiments")
	return scratch, os.Mkdir(scratch, 0o711)
}

// loadClaims reads the claims of a labs folder and holds them against its labs
// and the experiments. An instructor's folder need not have any.
func loadClaims(files fs.FS) ([]experiment.Claim, error) {
	claims, err := experiment.LoadClaims(files)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("loading the claims: %w", err)
	}
	return claims, experiment.CheckClaims(claims, catalog.All())
}

// progressLine writes how far the run is into one line that it writes again and
// again.
func progressLine(w io.Writer) func(experiment.Progress) {
	return func(p experiment.Progress) {
		left := ""
		if p.Left >= 0 {
			left = ", about " + duration(p.Left) + " left"
		}
		what := strings.TrimSpace(p.Series + " " + p.Variant)
		fmt.Fprintf(w, "\r\x1b[K%s: trial %d of %d%s  %s", p.Phase, min(p.Done+1, p.Total), p.Total, left, what)
	}
}

// isTerminal tells whether somebody may be watching.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// printResult prints what was measured as tables, and the verdicts.
func printResult(w io.Writer, info experiment.Info, claims []experiment.Claim, r *experiment.Result) error {
	fmt.Fprintf(w, "%s: %s\n", info.ID, info.Question.En)
	fmt.Fprintf(w, "Linux %s, %d × %s, %d trials in %s\n", r.Machine.Kernel, r.Machine.CPUs, r.Machine.CPU, r.Trials, duration(r.Seconds))
	whys := map[string]bool{}
	for _, s := range r.Series {
		i := slices.IndexFunc(info.Series, func(x experiment.Series) bool { return x.ID == s.ID })
		if i < 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s (%s)\n", info.Series[i].Label.En, s.ID)
		if err := printSeries(w, info, info.Series[i], s); err != nil {
			return err
		}
		for _, c := range s.Comparisons {
			whys[c.Why] = true
		}
	}
	if len(r.Series) > 0 {
		printLegend(w, whys)
	}
	if len(r.Verdicts) > 0 {
		fmt.Fprintln(w, "\nThe article against this kernel:")
	}
	for _, v := range r.Verdicts {
		verdict := v.Verdict
		if v.When.En != "" {
			verdict += " (" + v.When.En + ")"
		}
		fmt.Fprintf(w, "\n  %-4s %s\n", v.Claim, verdict)
		for _, c := range claims {
			if c.ID == v.Claim {
				told(w, "claim", c.Text.En)
				told(w, "holds means", c.Means.En)
			}
		}
		told(w, "measured", v.Reason.En)
		told(w, "open", v.Because.En)
	}
	for i, warning := range r.Warnings {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "warning: %s\n", warning.Text)
	}
	return nil
}

// printLegend explains the tables, and those of their words that occur.
func printLegend(w io.Writer, whys map[string]bool) {
	fmt.Fprintln(w, "\nFigures are medians ± half the distance of the quartiles; × is the ratio to the variant with the *, with its confidence interval.")
	for _, word := range []struct{ word, means string }{
		{"noise", "the interval comes within 3 % of no difference, or as near as the * differs from itself"},
		{"tie", "the difference, if there is one, is below 3 %"},
		{"few", "too few rounds to tell a difference from noise; a metric that is counted has one"},
	} {
		if whys[word.word] {
			fmt.Fprintf(w, "  %-5s %s\n", word.word, word.means)
		}
	}
}

// told prints a text under its name, in lines that a terminal shows whole.
func told(w io.Writer, name, text string) {
	const width, indent = 100, 20
	if text == "" {
		return
	}
	line := fmt.Sprintf("       %-*s", indent-7, name+":")
	empty := true
	for _, word := range strings.Fields(text) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			fmt.Fprintln(w, line)
			line, empty = strings.Repeat(" ", indent), true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	fmt.Fprintln(w, line)
}

// printSeries prints a table of a series: two lines of head, a line for each
// variant, figures to the right.
func printSeries(w io.Writer, info experiment.Info, s experiment.Series, r experiment.SeriesResult) error {
	var table [][]string
	head, units := []string{"VARIANT"}, []string{""}
	var metrics []experiment.Metric
	for _, m := range info.Metrics {
		measured := slices.ContainsFunc(r.Variants, func(v experiment.VariantResult) bool { _, ok := v.Metrics[m.ID]; return ok })
		if !measured {
			continue
		}
		metrics = append(metrics, m)
		head, units = append(head, m.ID, ""), append(units, m.Unit, "×")
	}
	table = append(table, head, units)
	var notes []string
	for _, v := range r.Variants {
		name := v.ID
		if v.ID == s.Baseline {
			name += " *"
		}
		line := []string{name}
		for _, m := range metrics {
			sum, ok := v.Metrics[m.ID]
			if !ok {
				line = append(line, "-", "")
				continue
			}
			line = append(line, figure(sum, m), ratio(r.Comparisons, v.ID, m.ID))
		}
		table = append(table, line)
		for _, n := range v.Notes {
			notes = append(notes, fmt.Sprintf("  %s: %s", v.ID, n.Text))
		}
	}
	printTable(w, table)
	for _, n := range notes {
		fmt.Fprintln(w, n)
	}
	return nil
}

// printTable prints rows with the first column to the left and figures to the
// right, ratios to the left again.
func printTable(w io.Writer, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i%2 == 1 {
				cell = pad + cell
			} else {
				cell += pad
			}
			line += "  " + cell
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

// figure is a median with how much the trials differ.
func figure(s experiment.Summary, m experiment.Metric) string {
	if m.Exact {
		v, _, _ := experiment.Figure(s.Median, s.Median, s.Median)
		return v // a count has no noise
	}
	v, _, _ := experiment.Figure(s.Median, s.Low, s.High)
	if len(s.Values) < 2 {
		return v
	}
	return fmt.Sprintf("%s ±%2.0f%%", v, 100*s.Spread)
}

// ratio is a variant's to the baseline with its interval.
func ratio(all []experiment.Comparison, variant, metric string) string {
	for _, c := range all {
		if c.Variant != variant || c.Metric != metric {
			continue
		}
		text, low, high := experiment.Ratio(c.Ratio, c.Low, c.High)
		if c.Low != c.High {
			text += fmt.Sprintf(" (%s–%s)", low, high)
		}
		if !c.Clear {
			text += " " + c.Why
		}
		return text
	}
	return ""
}
