package server

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Listen listens on addr. If the port is taken it tries the next ones, up to
// tries in all. Its error names who has the port, where that can be seen.
func Listen(addr string, tries int) (net.Listener, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, problemf(CodeFailed, "give HOST:PORT, for example --addr 127.0.0.1:8080", "listening on %q: %v", addr, err)
	}
	port, err := net.LookupPort("tcp", service)
	if err != nil {
		return nil, problemf(CodeFailed, "give HOST:PORT, for example --addr 127.0.0.1:8080", "listening on %q: %v", addr, err)
	}
	for i := range tries {
		var l net.Listener
		l, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port+i)))
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) || port+i == 65535 {
			break
		}
	}
	return nil, listenProblem(addr, port, tries, err)
}

func listenProblem(addr string, port, tries int, err error) *Problem {
	switch {
	case errors.Is(err, unix.EADDRINUSE) && tries > 1:
		return problemf(CodeFailed, "choose another port: --addr 127.0.0.1:0 takes any free one",
			"listening on %s: port %d is taken%s, and so are the %d after it", addr, port, owner(port), tries-1)
	case errors.Is(err, unix.EADDRINUSE):
		return problemf(CodeFailed, "stop that program, or choose another port with --addr",
			"listening on %s: port %d is taken%s", addr, port, owner(port))
	case errors.Is(err, unix.EACCES):
		return problemf(CodeFailed, "choose a port above 1023 with --addr",
			"listening on %s: this user may not use port %d", addr, port)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return problemf(CodeFailed, "`ip address` lists the addresses of this machine",
			"listening on %s: this machine has no such address", addr)
	}
	return problemf(CodeFailed, "", "listening on %s: %v", addr, err)
}

// owner says " by process 1234 (nginx)", or nothing if that cannot be seen. The
// tables are those of this thread: the process's first thread, which /proc/net
// would take, may be in the network namespace of a lab.
func owner(port int) string {
	inodes := make(map[string]bool)
	for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		listeners(file, port, inodes)
	}
	if len(inodes) == 0 {
		return ""
	}
	fds, err := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	if err != nil {
		return ""
	}
	for _, fd := range fds {
		link, err := os.Readlink(fd)
		if err != nil {
			continue
		}
		inode, isSocket := strings.CutPrefix(link, "socket:[")
		if !isSocket || !inodes[strings.TrimSuffix(inode, "]")] {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		comm, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			return " by process " + pid
		}
		return fmt.Sprintf(" by process %s (%s)", pid, strings.TrimSpace(string(comm)))
	}
	return ""
}

// listeners adds the inodes of the sockets that listen on the port, as
// /proc/net/tcp lists them (net/ipv4/tcp_ipv4.c, tcp4_seq_show).
func listeners(file string, port int, inodes map[string]bool) {
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer f.Close()
	const listen = "0A" // TCP_LISTEN
	suffix := fmt.Sprintf(":%04X", port)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && fields[3] == listen && strings.HasSuffix(fields[1], suffix) {
			inodes[fields[9]] = true
		}
	}
}
