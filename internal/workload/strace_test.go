package workload

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kernelviz/internal/workload/control"
)

// script is made of every op, with its failures.
var script = []string{
	`{"op":"epoll_create"}`,
	`{"op":"add","epfd":3,"what":"eventfd","n":2,"events":["EPOLLIN"]}`,
	`{"op":"add","epfd":3,"what":"pipe","events":["EPOLLIN","EPOLLRDHUP"]}`,
	`{"op":"add","epfd":3,"what":"unix","n":2,"events":["EPOLLIN","EPOLLET"]}`,
	`{"op":"add","epfd":3,"what":"timerfd","events":["EPOLLIN","EPOLLONESHOT"]}`,
	`{"op":"add","epfd":3,"what":"udp","events":["EPOLLIN","EPOLLOUT","EPOLLET"]}`,
	`{"op":"add","epfd":3,"what":"tcp","n":2,"events":["EPOLLIN","EPOLLPRI","EPOLLERR","EPOLLHUP"]}`,
	`{"op":"add","epfd":3,"what":"file"}`, // EPERM
	`{"op":"make","what":"eventfd"}`,
	`{"op":"ready","fd":4}`, `{"op":"ready","fd":6}`, `{"op":"ready","fd":8}`, `{"op":"ready","fd":12}`,
	`{"op":"ready","fd":13}`, `{"op":"ready","fd":17}`, `{"op":"ready","fd":99}`,
	`{"op":"ready","fd":17}`, `{"op":"ready","fd":13}`,
	`{"op":"wait","epfd":3,"timeout":0,"maxevents":64}`,
	`{"op":"wait","epfd":3,"timeout":1,"maxevents":1,"thread":2}`,
	`{"op":"drain","fd":4}`, `{"op":"drain","fd":6}`, `{"op":"drain","fd":8}`, `{"op":"drain","fd":12}`,
	`{"op":"drain","fd":13}`, `{"op":"drain","fd":17}`, `{"op":"drain","fd":99}`, `{"op":"drain","fd":3}`,
	`{"op":"ctl","epfd":3,"ctl":"add","fd":4,"events":["EPOLLIN"]}`, // EEXIST
	`{"op":"ctl","epfd":3,"ctl":"mod","fd":4,"events":["EPOLLIN","EPOLLET"],"data":4294967301}`,
	`{"op":"ctl","epfd":3,"ctl":"mod","fd":4,"events":[]}`,
	`{"op":"ctl","epfd":3,"ctl":"mod","fd":99,"events":["EPOLLIN"]}`, // EBADF
	`{"op":"ctl","epfd":3,"ctl":"mod","fd":-1,"events":["EPOLLIN"]}`,
	`{"op":"ctl","epfd":4,"ctl":"add","fd":5,"events":["EPOLLIN"]}`, // EINVAL
	`{"op":"ctl","epfd":3,"ctl":"add","fd":3,"events":["EPOLLIN"]}`, // EINVAL
	`{"op":"ctl","epfd":3,"ctl":"del","fd":5}`,
	`{"op":"ctl","epfd":3,"ctl":"del","fd":5}`, // ENOENT
	`{"op":"ctl","epfd":3,"ctl":"add","fd":5,"events":["EPOLLIN","EPOLLEXCLUSIVE"]}`,
	`{"op":"ctl","epfd":3,"ctl":"mod","fd":5,"events":["EPOLLIN","EPOLLEXCLUSIVE"]}`, // EINVAL
	`{"op":"ctl","epfd":3,"ctl":"mod","fd":6,"events":["EPOLLRDNORM","EPOLLRDBAND","EPOLLWRNORM","EPOLLWRBAND","EPOLLMSG","EPOLLNVAL","EPOLLWAKEUP"]}`,
	`{"op":"dup","fd":4}`, `{"op":"close","fd":4}`, `{"op":"close","fd":4}`, `{"op":"dup","fd":99}`,
	`{"op":"close","fd":9}`, `{"op":"drain","fd":8}`, `{"op":"close","fd":7}`,
	`{"op":"wait","epfd":3,"timeout":0,"maxevents":0}`,
	`{"op":"wait","epfd":3,"timeout":0,"maxevents":-1}`,
	`{"op":"wait","epfd":99,"timeout":0,"maxevents":8}`,
	`{"op":"wait","epfd":5,"timeout":0,"maxevents":8}`,
	`{"op":"write","fd":5,"n":2}`, `{"op":"read","fd":5,"n":4}`, `{"op":"read","fd":5}`, `{"op":"read","fd":99}`,
	`{"op":"write","fd":14,"n":3}`, `{"op":"read","fd":14,"n":2}`, `{"op":"read","fd":14}`, `{"op":"read","fd":14}`,
	`{"op":"write","fd":18,"n":3}`, `{"op":"read","fd":18,"n":2}`,
	`{"op":"dup_add","epfd":3,"fd":14,"n":3,"events":["EPOLLIN","EPOLLET"]}`, `{"op":"dup_add","epfd":3,"fd":99}`,
	`{"op":"close_range","first":4,"last":4}`, `{"op":"close_range","first":7,"last":7}`, `{"op":"close_range","first":9,"last":8}`,
	`{"op":"close","fd":9}`,
	`{"op":"cycle"}`,
	`{"op":"epoll_create"}`,
	`{"op":"add","epfd":9,"what":"eventfd","n":40,"events":["EPOLLIN","EPOLLOUT"]}`,
	`{"op":"wait","epfd":9,"timeout":0,"maxevents":64}`,
	`{"op":"add","epfd":3,"what":"eventfd","n":1}`,
	`{"op":"epoll_create"}`,
	`{"op":"wait","epfd":63,"timeout":-1,"thread":4}`, // asleep at the end
	`{"op":"dup","fd":10}`,
}

// TestCallsAreWhatStracePrints runs the puppet under strace and compares line
// by line. Only thread ids are taken off, and what strace splits in two
// because another thread's call came between is put together.
func TestCallsAreWhatStracePrints(t *testing.T) {
	told, traced := runTraced(t, script, "epoll_create1,epoll_ctl,epoll_wait,epoll_pwait,eventfd2,pipe2,socketpair,socket,bind,listen,connect,accept4,"+
		"getsockname,fcntl,timerfd_create,timerfd_settime,memfd_create,poll,ppoll,read,write,close,close_range,dup,ioctl")
	first := slices.IndexFunc(traced, func(s string) bool { return strings.HasPrefix(s, "epoll_create1(") })
	if first < 0 {
		t.Fatalf("no epoll_create1 in %d lines", len(traced))
	}
	traced = traced[first:]
	if len(told) < len(script) {
		t.Fatalf("only %d calls told", len(told))
	}
	for i := range max(len(told), len(traced)) {
		a, b := at(told, i), at(traced, i)
		if a != b {
			t.Errorf("call %d of %d told, %d traced:\n  told %q\nstrace %q", i, len(told), len(traced), a, b)
			return
		}
	}
	if last := at(told, len(told)-2); !strings.HasPrefix(last, "epoll_wait(63,  <unfinished ...>") {
		t.Errorf("the call before the last is %q, want one that is pending", last)
	}
}

// TestForkIsWhatStracePrints: a child is made by more calls than are told (a
// pipe over which it says that it runs); those that are told are traced.
func TestForkIsWhatStracePrints(t *testing.T) {
	script := []string{`{"op":"epoll_create"}`, `{"op":"fork"}`, `{"op":"reap"}`}
	told, traced := runTraced(t, script, "clone,kill,wait4")
	traced = slices.DeleteFunc(traced, func(s string) bool { return strings.Contains(s, "CLONE_THREAD") })
	if len(told) != 4 || !slices.Equal(told[1:], traced) {
		t.Errorf("told\n%s\ntraced\n%s", strings.Join(told, "\n"), strings.Join(traced, "\n"))
	}
}

// runTraced runs a puppet under strace. It returns the calls that were told and
// those that were traced.
func runTraced(t *testing.T, script []string, calls string) (told, traced []string) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("host only: needs strace: apt-get install strace")
	}
	trace := t.TempDir() + "/trace"
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("strace", "-f", "-qq", "-a", "0", "-o", trace, "-e", "signal=none", "-e", "trace="+calls, exe, "workload", "puppet")
	var in bytes.Buffer
	for i, a := range script {
		line, err := json.Marshal(control.Request{ID: uint64(i + 1), Do: []byte(a)})
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(line, '\n'))
	}
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return toldBy(t, &out), tracedIn(t, trace)
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

// toldBy are the finished calls in the order in which they began.
func toldBy(t *testing.T, out *bytes.Buffer) []string {
	t.Helper()
	bySeq := map[uint64]string{}
	var seqs []uint64
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, control.MaxMessage)
	for lines.Scan() {
		var m control.Message
		if err := control.Decode(lines.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		if m.Error != nil {
			t.Fatalf("request %d: %v", m.ID, m.Error)
		}
		for _, c := range m.Calls {
			if _, known := bySeq[c.Seq]; !known {
				seqs = append(seqs, c.Seq)
			}
			bySeq[c.Seq] = strings.TrimSuffix(c.Text+" "+c.Result, " ")
		}
	}
	slices.Sort(seqs)
	var told []string
	for _, seq := range seqs {
		told = append(told, bySeq[seq])
	}
	return told
}

const unfinished = " <unfinished ...>"

var (
	tidRE     = regexp.MustCompile(`^(\d+) +(.*)$`)
	resumedRE = regexp.MustCompile(`^<\.\.\. \w+ resumed>(.*)$`)
)

// tracedIn are strace's lines in the order in which the calls began, without
// those of the control line.
func tracedIn(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	begun := map[string]int{} // by thread: the line of its unfinished call
	for line := range strings.Lines(string(data)) {
		m := tidRE.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("strace printed %q", line)
		}
		tid, text := m[1], m[2]
		if r := resumedRE.FindStringSubmatch(text); r != nil {
			if r[1] == unfinished+") = ?" {
				continue // the process ended meanwhile
			}
			head := strings.TrimSuffix(lines[begun[tid]], unfinished)
			lines[begun[tid]] = head + strings.TrimPrefix(r[1], " ")
			continue
		}
		if strings.HasSuffix(text, unfinished) {
			begun[tid] = len(lines)
		}
		lines = append(lines, text)
	}
	return slices.DeleteFunc(lines, func(s string) bool {
		return strings.HasPrefix(s, "read(0, ") || strings.HasPrefix(s, "write(1, ") ||
			strings.HasPrefix(s, "+++")
	})
}
