package sandbox

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// guardian is a small process that outlives a killed server just long enough
// to clean up after it: it waits for the end of a pipe whose other end only
// the server holds. It lives in the server's own cgroup, outside of what it
// kills.
type guardian struct {
	cmd   *exec.Cmd
	pipe  *os.File    // closed by us or, when we die, by the kernel
	ended chan error  // receives how it ended
	ours  atomic.Bool // it was told to end
}

func startGuardian(argv, args []string, log *slog.Logger) (*guardian, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command(argv[0], append(argv[1:len(argv):len(argv)], args...)...)
	cmd.Stdin = r
	cmd.Dir = "/"
	// Its own session: a Ctrl-C or a kill of the server's group is not for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, err
	}
	g := &guardian{cmd: cmd, pipe: w, ended: make(chan error, 1)}
	go func() {
		err := cmd.Wait()
		if !g.ours.Load() {
			log.Warn("the guardian is gone: if this server is killed, the next one cleans up", "error", err)
		}
		g.ended <- err
	}()
	return g, nil
}

// stop lets the guardian find nothing to do and waits for its end.
func (g *guardian) stop() error {
	g.ours.Store(true)
	g.pipe.Close()
	late := time.AfterFunc(emptyIn, func() { _ = g.cmd.Process.Kill() })
	defer late.Stop()
	if err := <-g.ended; err != nil {
		return fmt.Errorf("guardian: %w", err)
	}
	return nil
}

// Guard is the guardian's life: it waits until in ends, which happens when the
// server is gone, then kills and removes what the server left. args are those
// that the sandbox appended to Config.Guardian.
func Guard(in io.Reader, args []string) error {
	flags := flag.NewFlagSet("guardian", flag.ContinueOnError)
	cgroup := flags.String("cgroup", "", "cgroup of the guarded server")
	mark := flags.String("mark", "", "identity of the guarded server, where there are no cgroups")
	if err := flags.Parse(args); err != nil {
		return err
	}
	id, ok := parseIdentity(filepath.Base(*cgroup + *mark))
	if !ok || (*cgroup == "") == (*mark == "") {
		return errors.New("guardian: want --cgroup .../PID-STARTTIME or --mark PID-STARTTIME; it is started by the server, not by hand")
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	if _, err := io.Copy(io.Discard, in); err != nil {
		return fmt.Errorf("guardian: waiting for the server's end: %w", err)
	}
	if *mark != "" {
		return (&marked{id: id}).remove()
	}
	err := destroyCgroup(*cgroup)
	removeTop(filepath.Dir(*cgroup))
	return err
}
