package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/server"
)

// A running server tells its URL to its owner through an abstract unix socket,
// which leaves nothing on disk and ends with the process however it ends.
// Both sides ask the kernel who the other is: nobody else gets the token, and
// nobody else can pass off a URL as ours.
const (
	urlSocket  = "@kernelviz-url-" // then the port
	urlTimeout = time.Second
)

func newURL() *cobra.Command {
	return &cobra.Command{
		Use:   "url",
		Short: "Print the URL of the running server again",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return askURLs(cmd.OutOrStdout())
		},
	}
}

// tellURL answers `labserver url` with text until ctx ends.
func tellURL(ctx context.Context, addr net.Addr, text string) error {
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: urlSocket + port})
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	go func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			tell(c, text)
		}
	}()
	return nil
}

func tell(c *net.UnixConn, text string) {
	defer c.Close()
	peer, err := peerUser(c)
	if err != nil || !isOwner(peer) {
		return
	}
	_ = c.SetDeadline(time.Now().Add(urlTimeout))
	_, _ = io.WriteString(c, text)
}

// isOwner tells whether a user may know this server's token: the one who runs
// it, root, and who started it by sudo.
func isOwner(uid int) bool {
	return uid == 0 || uid == os.Geteuid() || os.Geteuid() == 0 && strconv.Itoa(uid) == os.Getenv("SUDO_UID")
}

func peerUser(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return -1, err
	}
	return int(cred.Uid), nil
}

// askURLs prints the URLs of the servers on this machine that tell this user.
func askURLs(w io.Writer) error {
	names, err := urlSockets()
	if err != nil {
		return err
	}
	told := 0
	for _, name := range names {
		text, err := askURL(name)
		if err != nil || text == "" {
			continue
		}
		told++
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	switch {
	case told > 0:
		return nil
	case len(names) > 0:
		return fmt.Errorf("asking for the URL: %w", &deniedError{&server.Problem{
			Code: server.CodeForbidden, Message: "the running server belongs to another user", Fix: "sudo labserver url",
		}})
	}
	return &notRunningError{&server.Problem{
		Code: server.CodeNotFound, Message: "asking for the URL: no server is running", Fix: "labserver",
	}}
}

// deniedError and notRunningError carry the exit code.
type (
	deniedError     struct{ *server.Problem }
	notRunningError struct{ *server.Problem }
)

func (e *deniedError) Unwrap() []error     { return []error{e.Problem, unix.EPERM} }
func (e *notRunningError) Unwrap() []error { return []error{e.Problem, kernelviz.ErrNotFound} }

func askURL(name string) (string, error) {
	c, err := net.DialTimeout("unix", name, urlTimeout)
	if err != nil {
		return "", err
	}
	defer c.Close()
	peer, err := peerUser(c.(*net.UnixConn))
	if err != nil || peer != 0 && peer != os.Geteuid() {
		return "", err
	}
	_ = c.SetDeadline(time.Now().Add(urlTimeout))
	text, err := io.ReadAll(io.LimitReader(c, 4<<10))
	return string(text), err
}

// urlSockets are the names of the sockets of running servers.
func urlSockets() ([]string, error) {
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return nil, fmt.Errorf("looking for servers: %w", err)
	}
	defer f.Close()
	seen := make(map[string]bool)
	var names []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// Num RefCount Protocol Flags Type St Inode Path
		fields := strings.Fields(lines.Text())
		if len(fields) == 8 && strings.HasPrefix(fields[7], urlSocket) && !seen[fields[7]] {
			seen[fields[7]] = true
			names = append(names, fields[7])
		}
	}
	return names, lines.Err()
}
