package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"kernelviz/internal/experiment"
	"kernelviz/internal/experiment/catalog"
	"kernelviz/internal/sandbox"
	"kernelviz/internal/server"
	"kernelviz/internal/store"
	"kernelviz/web"
)

const (
	defaultAddr = "127.0.0.1:8080"
	// portTries is how many ports are tried where none was asked for.
	portTries = 11
)

type serveFlags struct {
	addr          string
	tokenFile     string
	viewers       bool
	allowHosts    []string
	showAddresses bool
	noWorkloads   bool
	noTerminal    bool
	noCode        bool
	db            string
	labs          labFlags
	experimentDir string
	logFormat     string
	logLevel      string
	dev           string
	maxClients    int
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the page and print its URL (what labserver does without a command)",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			tries := 1
			if !cmd.Flags().Changed("addr") {
				tries = portTries
			}
			return serve(cmd.Context(), f, tries, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.addr, "addr", defaultAddr, "`HOST:PORT` to listen on; if not given and taken, the next free port is used")
	fl.StringVar(&f.tokenFile, "token-file", "", "keep the token in `FILE`, so that the URL survives a restart; written if missing")
	fl.BoolVar(&f.viewers, "viewer-token", false, "print a second URL for those who may look and not drive")
	fl.StringArrayVar(&f.allowHosts, "allow-host", nil, "answer to this `NAME` besides loopback; may be repeated")
	fl.BoolVar(&f.showAddresses, "show-addresses", false, "show kernel addresses; this defeats KASLR for everyone with the URL")
	fl.BoolVar(&f.noWorkloads, "no-workloads", false, "do not let pages start processes")
	fl.BoolVar(&f.noTerminal, "no-terminal", false, "do not let pages open terminals")
	fl.BoolVar(&f.noCode, "no-code", false, "do not let pages compile and run code")
	fl.StringVar(&f.db, "db", "", "keep progress in `FILE` (default: ~/.local/state/kernelviz/progress.db of who called sudo)")
	f.labs.add(cmd)
	fl.StringVar(&f.experimentDir, "experiment-dir", experimentDir, "write files of experiments to `DIR`, on the disk that is to be measured")
	fl.StringVar(&f.logFormat, "log-format", "text", "format of the log on stderr: text or json")
	fl.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fl.IntVar(&f.maxClients, "max-clients", server.DefaultMaxClients, "pages connected at once")
	fl.StringVar(&f.dev, "dev", "", "take the page from the Vite server at this `URL` instead of the built one")
	fl.Lookup("dev").NoOptDefVal = "http://127.0.0.1:5173"
	return cmd
}

func serve(ctx context.Context, f serveFlags, tries int, stdout, stderr io.Writer) (err error) {
	log, err := newLogger(stderr, f.logFormat, f.logLevel)
	if err != nil {
		return err
	}
	var dev *url.URL
	if f.dev != "" {
		if dev, err = url.Parse(f.dev); err != nil || dev.Host == "" {
			return badFlag("--dev", f.dev, "give the URL of the Vite server, for example --dev=http://127.0.0.1:5173")
		}
	}
	labFiles, err := f.labs.files()
	if err != nil {
		return err
	}
	token := server.NewToken()
	if f.tokenFile != "" {
		if token, err = server.ReadToken(f.tokenFile); err != nil {
			return err
		}
	}
	l, err := server.Listen(f.addr, tries)
	if err != nil {
		return err
	}
	defer l.Close()
	m, err := openMachine(ctx, log, f.showAddresses)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	var box *sandbox.Sandbox
	if !f.noWorkloads {
		box, err = sandbox.New(sandbox.Config{Log: log, Guardian: guardian})
		if err != nil {
			return fmt.Errorf("making the sandbox of workloads: %w", err)
		}
		defer func() { err = errors.Join(err, box.Close()) }()
	}
	var labs *server.LabOptions
	var runs *server.ExperimentOptions
	if box != nil {
		w, openErr := openLabs(ctx, f, m, labFiles, box, log, stderr)
		if openErr != nil {
			return openErr
		}
		defer func() { err = errors.Join(err, w.close()) }()
		labs = &server.LabOptions{Source: w.source, Sessions: w.options, Live: f.labs.dir != ""}
		for _, p := range w.source.Catalog().Problems {
			fmt.Fprintln(stderr, p.Error())
		}
		x, openErr := openExperiments(m.kernel, labFiles, box, f.experimentDir, w.options.Scratch, log)
		if openErr != nil {
			return openErr
		}
		defer func() { err = errors.Join(err, x.close()) }()
		x.config.Store = w.options.Store
		runs = &server.ExperimentOptions{
			Runner: experiment.NewRunner(x.config), Experiments: catalog.All(), Claims: x.config.Claims, Results: w.options.Store,
		}
	}

	s := server.New(server.Options{
		Version:     version,
		Kernel:      m.kernel,
		Views:       m.views,
		Assets:      web.Dist(),
		Logger:      log,
		Sandbox:     box,
		Labs:        labs,
		Experiments: runs,
		Addr:        l.Addr(),
		Token:       token,
		Viewers:     f.viewers,
		AllowHosts:  f.allowHosts,
		MaxClients:  f.maxClients,
		Dev:         dev,
	})
	explainTiers(stderr, m)
	lines := "Open " + s.URL() + "\n"
	if u := s.ViewerURL(); u != "" {
		lines += "Viewers open " + u + "\n"
	}
	if _, err := io.WriteString(stdout, lines); err != nil {
		return fmt.Errorf("printing the URL: %w", err)
	}
	if err := tellURL(ctx, l.Addr(), lines); err != nil {
		log.Warn("labserver url will not find this server", "error", err)
	}
	return s.Serve(ctx, l)
}

// guardian is the command that cleans up after a killed server.
var guardian = []string{"/proc/self/exe", "workload", "guardian"}

// openLabs prepares labs with the progress of the learner who started the
// server.
func openLabs(ctx context.Context, f serveFlags, m *machine, files fs.FS, box *sandbox.Sandbox, log *slog.Logger, stderr io.Writer) (*workshop, error) {
	if f.db != "" {
		return openWorkshop(ctx, m, files, box, f.db, !f.noCode, !f.noTerminal, log)
	}
	user, err := sandbox.Invoker()
	if err != nil {
		return nil, fmt.Errorf("finding out whose progress is kept: %w", err)
	}
	db := store.DefaultPath(user.Home, os.Getenv("XDG_STATE_HOME"))
	w, err := openWorkshop(ctx, m, files, box, db, !f.noCode, !f.noTerminal, log)
	if !storeFailed(err) {
		return w, err
	}
	// Nobody asked for that file: the labs go on without it.
	fmt.Fprintf(stderr, "labserver: progress is kept in memory only, until this server ends: %v\n", err)
	w, memoryErr := openWorkshop(ctx, m, files, box, "", !f.noCode, !f.noTerminal, log)
	if memoryErr != nil {
		return nil, memoryErr
	}
	w.options.StoreProblem = "progress is kept in memory only, until labserver ends: " + err.Error()
	return w, nil
}

// storeFailed tells that it is the file of the progress that cannot be used.
func storeFailed(err error) bool {
	for _, is := range []error{
		store.ErrLocked, store.ErrReadOnly, store.ErrCorrupt, store.ErrNewer, store.ErrForeign, store.ErrFull,
	} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// explainTiers says what is missing where a view cannot read the kernel in its
// best way.
func explainTiers(w io.Writer, m *machine) {
	for _, v := range m.views {
		tiers := v.Tiers()
		if len(tiers) == 0 || tiers[0].Chosen {
			continue
		}
		for _, t := range tiers {
			if t.Chosen {
				fmt.Fprintf(w, "%s is read by %s: %s.\n", v.Name(), t.Label, t.Reason)
				break
			}
			fmt.Fprintf(w, "%s cannot be read by %s: %s.\n", v.Name(), t.Label, t.Reason)
			if t.Fix != "" {
				fmt.Fprintf(w, "  try: %s\n", t.Fix)
			}
		}
	}
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, badFlag("--log-level", level, "debug, info, warn or error")
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, badFlag("--log-format", format, "text or json")
}

func badFlag(name, value, fix string) error {
	return usageError{&server.Problem{
		Code:    "usage",
		Message: fmt.Sprintf("flag %s: %q is not among its values", name, value),
		Fix:     fix,
	}}
}
