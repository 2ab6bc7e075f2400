package terminal

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kernelviz/internal/sandbox"
)

// bashrc is read by bash instead of the user's own: a lab looks the same on
// every machine, and what a user's file starts is not cut off half-way when the
// terminal is closed. No history is written. The last line closes the file that
// it stands in, so that the descriptors of what the learner starts begin with 3.
const bashrc = `unset HISTFILE PROMPT_COMMAND
PS1='\W \$ '
exec 3<&-
`

// command makes what runs in the terminal. release is to be called once it was
// started.
func command(o Options) (cmd *exec.Cmd, release func(), err error) {
	release = func() {}
	argv := o.Command
	var rc *os.File
	if len(argv) == 0 {
		argv = []string{shellOf(o.User)}
		if filepath.Base(argv[0]) == "bash" {
			if rc, err = bashrcFile(); err != nil {
				return nil, nil, err
			}
			release = func() { rc.Close() }
			argv = append(argv, "--rcfile", "/dev/fd/3")
		}
	}
	cmd = exec.Command(argv[0], argv[1:]...)
	if rc != nil {
		cmd.ExtraFiles = []*os.File{rc} // becomes 3
	}
	cmd.Dir = o.Dir
	if cmd.Dir == "" {
		cmd.Dir = home(o.User)
	}
	cmd.Env = append(environment(os.Environ(), o.User), o.Env...)
	return cmd, release, nil
}

// signals are those that shells leave ignored for their children if they were
// when they began.
func signals() []os.Signal {
	return []os.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGTERM, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU}
}

// restoreSignals lets children begin with the signals' defaults where the
// server was started with some ignored, by nohup or `&`: Ctrl-C would end
// nothing. The runtime resets what it handles, and the server ignores them as
// before.
func restoreSignals() {
	for _, s := range signals() {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
}

// bashrcFile keeps bashrc in memory.
func bashrcFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("bashrc", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file for the shell's settings: %w", err)
	}
	f := os.NewFile(uintptr(fd), "bashrc")
	if _, err := f.WriteString(bashrc); err != nil {
		f.Close()
		return nil, fmt.Errorf("writing the shell's settings: %w", err)
	}
	return f, nil
}

// shellOf is the user's shell, or what there is if the account is not one to
// log in with.
func shellOf(u *sandbox.User) string {
	shell := os.Getenv("SHELL")
	if u != nil {
		shell = u.Shell
	}
	for _, s := range []string{shell, "/bin/bash"} {
		if base := filepath.Base(s); !filepath.IsAbs(s) || base == "nologin" || base == "false" {
			continue
		}
		if unix.Access(s, unix.X_OK) == nil {
			return s
		}
	}
	return "/bin/sh"
}

func home(u *sandbox.User) string {
	dir := os.Getenv("HOME")
	if u != nil {
		dir = u.Home
	}
	if info, err := os.Stat(dir); filepath.IsAbs(dir) && err == nil && info.IsDir() {
		return dir
	}
	return "/"
}

// environment is what the shell gets of the server's: nothing that may be
// secret. Of another user's the sandbox adds HOME and the like.
func environment(server []string, u *sandbox.User) []string {
	keep := []string{"LANG", "LANGUAGE", "TZ", "PATH"}
	if u == nil {
		keep = append(keep, "HOME", "USER", "LOGNAME", "SHELL")
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, v := range server {
		name, _, _ := strings.Cut(v, "=")
		if slices.Contains(keep, name) || strings.HasPrefix(name, "LC_") {
			env = append(env, v) // of two the later counts
		}
	}
	return append(env, "TERM=xterm-256color")
}
