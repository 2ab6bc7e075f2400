package workload

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kernelviz/internal/iouring"
	"kernelviz/internal/workload/control"
)

// ringScript is made of every op that makes system calls, with failures.
var ringScript = []string{
	`{"op":"setup","entries":5}`, // fd 3
	`{"op":"setup","entries":4,"cq_entries":32,"flags":["SUBMIT_ALL","COOP_TASKRUN"]}`,
	`{"op":"setup","entries":2,"flags":["TASKRUN_FLAG"]}`,                  // EINVAL
	`{"op":"setup","entries":8,"flags":["SINGLE_ISSUER","DEFER_TASKRUN"]}`, // by thread 1
	`{"op":"make","what":"eventfd"}`,                                       // 6
	`{"op":"make","what":"pipe"}`,                                          // 7, 8
	`{"op":"make","what":"unix"}`,                                          // 9, 10
	`{"op":"make","what":"tcp"}`,                                           // 13, 12
	`{"op":"make","what":"file"}`,                                          // 11
	`{"op":"make","what":"listener"}`,                                      // 14
	`{"op":"connect","fd":14}`,                                             // 15
	`{"op":"ready","fd":6}`, `{"op":"ready","fd":7}`, `{"op":"write","fd":9,"n":3}`, `{"op":"ready","fd":13}`, `{"op":"ready","fd":99}`,
	`{"op":"read","fd":6}`, `{"op":"read","fd":7}`, `{"op":"drain","fd":7}`, `{"op":"read","fd":9,"n":2}`, `{"op":"drain","fd":9}`,
	`{"op":"drain","fd":13}`, `{"op":"read","fd":11,"n":40}`, `{"op":"read","fd":99}`, `{"op":"drain","fd":14}`,
	`{"op":"queue","ring":3,"what":"nop","n":3}`, `{"op":"submit","ring":3,"n":2}`, `{"op":"submit","ring":3}`, `{"op":"reap","ring":3}`,
	`{"op":"queue","ring":3,"what":"accept","fd":14}`, `{"op":"submit","ring":3,"wait":1,"thread":2}`, `{"op":"reap","ring":3}`,
	`{"op":"queue","ring":5,"what":"nop"}`, `{"op":"submit","ring":5,"thread":2}`, // EEXIST
	`{"op":"submit","ring":5}`, `{"op":"flush","ring":5}`, `{"op":"reap","ring":5}`,
	`{"op":"register","ring":3,"what":"files","n":40}`, `{"op":"register","ring":3,"what":"files"}`, // EBUSY
	`{"op":"register","ring":3,"what":"buffers","n":33}`, `{"op":"register","ring":5,"what":"buf_ring","n":4}`,
	`{"op":"unregister","ring":3,"what":"files"}`, `{"op":"unregister","ring":3,"what":"buffers"}`,
	`{"op":"unregister","ring":3,"what":"buffers"}`,                                                    // ENXIO
	`{"op":"unregister","ring":5,"what":"buf_ring"}`, `{"op":"unregister","ring":5,"what":"buf_ring"}`, // EINVAL
	`{"op":"overflow","ring":4,"extra":3}`, `{"op":"reap","ring":4}`, `{"op":"wakeup","ring":4}`,
	`{"op":"bad_index","ring":3}`, `{"op":"submit","ring":3}`,
	`{"op":"close","fd":7}`, `{"op":"ready","fd":8}`, `{"op":"close","fd":4}`, `{"op":"close","fd":4}`,
	`{"op":"queue","ring":3,"what":"timeout","ms":60000}`, `{"op":"submit","ring":3,"wait":2,"thread":4}`, // asleep at the end
	`{"op":"close","fd":9}`,
}

// TestRingCallsAreWhatStracePrints compares line by line, as the puppet's test.
func TestRingCallsAreWhatStracePrints(t *testing.T) {
	told, traced := traceRings(t, ringScript)
	if len(told) < len(ringScript) {
		t.Fatalf("only %d calls told", len(told))
	}
	for i := range max(len(told), len(traced)) {
		a, b := at(told, i), at(traced, i)
		if a != b {
			t.Errorf("call %d of %d told, %d traced:\n  told %q\nstrace %q", i, len(told), len(traced), a, b)
			return
		}
	}
	if last := at(told, len(told)-2); last != "io_uring_enter(3, 1, 2, IORING_ENTER_GETEVENTS, NULL, 8 <unfinished ...>" {
		t.Errorf("the call before the last is %q, want one that is pending", last)
	}
}

// traceRings runs a ring puppet under strace. It returns the system calls that
// were told and those that were traced.
func traceRings(t *testing.T, script []string) (told, traced []string) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("host only: needs strace: apt-get install strace")
	}
	trace := t.TempDir() + "/trace"
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const calls = "io_uring_setup,io_uring_enter,io_uring_register,mmap,munmap,eventfd2,pipe2,socketpair,socket,bind,listen,connect," +
		"accept4,getsockname,memfd_create,pwrite64,ppoll,read,write,recvfrom,close"
	cmd := exec.Command("strace", "-f", "-qq", "-a", "0", "-o", trace, "-e", "signal=none", "-e", "trace="+calls, exe, "workload", "ring")
	var in, out bytes.Buffer
	for i, a := range script {
		line, err := json.Marshal(control.Request{ID: uint64(i + 1), Do: []byte(a)})
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(line, '\n'))
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	told, traced = toldBy(t, &out), tracedIn(t, trace)
	isCall := regexp.MustCompile(`^[a-z0-9_]+\(`)
	told = slices.DeleteFunc(told, func(s string) bool { return !isCall.MatchString(s) })
	first := slices.IndexFunc(traced, func(s string) bool { return strings.HasPrefix(s, "io_uring_setup(") })
	if first < 0 {
		t.Fatalf("no io_uring_setup in %d lines", len(traced))
	}
	// The Go runtime maps memory as well.
	traced = slices.DeleteFunc(traced[first:], func(s string) bool {
		return strings.HasPrefix(s, "mmap(") && !strings.Contains(s, "MAP_SHARED") ||
			strings.HasPrefix(s, "munmap(") && !slices.Contains(told, s)
	})
	for i := range told {
		told[i] = byNumber(told[i])
	}
	for i := range traced {
		traced[i] = byNumber(traced[i])
		if head, asleep := strings.CutSuffix(traced[i], ") = ?"); asleep {
			traced[i] = head + unfinished // the process ended meanwhile
		}
	}
	return told, traced
}

var (
	flagsRE   = regexp.MustCompile(`(?:(?:IORING_(?:SETUP|FEAT)_\w+|0x[0-9a-f]+)\|)*IORING_(?:SETUP|FEAT)_\w+(?:\|0x[0-9a-f]+)?|flags=0x[0-9a-f]+`)
	unknownRE = regexp.MustCompile(` /\* IORING_\w+_\?\?\? \*/`)
)

// byNumber writes flags of io_uring_setup as one number: strace 6.1 has no names
// for those that came later.
func byNumber(line string) string {
	if !strings.HasPrefix(line, "io_uring_setup(") {
		return line
	}
	return flagsRE.ReplaceAllStringFunc(unknownRE.ReplaceAllString(line, ""), func(list string) string {
		var v uint64
		for _, name := range strings.Split(strings.TrimPrefix(list, "flags="), "|") {
			n, err := strconv.ParseUint(name, 0, 32)
			if err != nil {
				n = flagOf(name)
			}
			v |= n
		}
		if strings.HasPrefix(list, "flags=") {
			return "flags=" + strconv.FormatUint(v, 16)
		}
		return strconv.FormatUint(v, 16)
	})
}

func flagOf(name string) uint64 {
	if f, ok := iouring.SetupFlag(name); ok {
		return uint64(f)
	}
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if iouring.FeatureNames(bit) == name {
			return uint64(bit)
		}
	}
	return 1 << 40 // no flag has it
}
