package playground

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"kernelviz/internal/kernelviz/process"
	"kernelviz/internal/sandbox"
)

func TestEnds(t *testing.T) {
	p := newPlayground(t)
	tests := []struct {
		name, text string
		ended      string
		code       int
	}{
		{"status", "int main(void) { return 3; }\n", "exit status 3", 3},
		{"segfault", "int main(void)\n{\n\tvolatile int *p = 0;\n\treturn *p;\n}\n", "killed by SIGSEGV", -1},
		{"abort", "#include <stdlib.h>\nint main(void) { abort(); }\n", "killed by SIGABRT", -1},
		{"infinite loop", "int main(void) { for (volatile int i = 0;; i = !i) {} }\n", "killed: deadline of 1s passed", -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			project := inC(tt.text)
			project.Seconds = 1
			r := start(t, p, project)
			await(t, r)
			if end, ok := r.End(); !ok || end.Code != tt.code || r.Ended() != tt.ended {
				t.Errorf("it ended %+v, %q; want %d, %q", end, r.Ended(), tt.code, tt.ended)
			}
			if pids, err := r.PIDs(); err != nil || len(pids) > 0 {
				t.Errorf("it has ended, with processes %v, %v", pids, err)
			}
		})
	}
}

func TestDeadlineInSeconds(t *testing.T) {
	project := Project{}
	if got := project.deadline(); got != time.Minute {
		t.Errorf("deadline %v, want a minute", got)
	}
}

// A line is there when it is printed, although the program goes on.
func TestLinesComeAtOnce(t *testing.T) {
	r := start(t, newPlayground(t), inC("#include <stdio.h>\n#include <unistd.h>\nint main(int argc, char **argv)\n{\n\tprintf(\"%d %s\\n\", argc, argv[argc - 1]);\n\tfprintf(stderr, \"and error\\n\");\n\tpause();\n}\n"))
	awaitOutput(t, r, "and error\n")
	data, at, lost, changed := r.Output(0)
	if !strings.HasPrefix(string(data), "1 /") || at != 0 || lost != 0 || changed == nil {
		t.Errorf("output %q at %d, %d lost", data, at, lost)
	}
	if r.Ended() != "" {
		t.Errorf("it runs, and ended %q", r.Ended())
	}
	if _, ok := r.End(); ok {
		t.Error("it runs, and has an end")
	}
	if err := r.Kill("stopped from the page"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("the end was not told")
	}
	if r.Ended() != "killed: stopped from the page" {
		t.Errorf("it ended %q", r.Ended())
	}
	if err := r.Kill("again"); err != nil {
		t.Errorf("killing what has ended: %v", err)
	}
}

// What prints for ever is slowed by the pipe, and its end is kept.
func TestPrintsForEver(t *testing.T) {
	p := newPlayground(t)
	for name, text := range map[string]string{
		"lines": "#include <stdio.h>\nint main(void) { while (1) printf(\"again and again and again\\n\"); }\n",
		"bytes": "#include <unistd.h>\nint main(void) { while (write(1, \"x\", 1) == 1) {} return 0; }\n",
	} {
		t.Run(name, func(t *testing.T) {
			project := inC(text)
			project.Seconds = 2
			r := start(t, p, project)
			await(t, r)
			data, at, lost, _ := r.Output(0)
			if len(data) != ringSize || at != lost || at+ringSize != r.OutputEnd() {
				t.Errorf("%d bytes at %d, %d lost, of %d; want the last %d", len(data), at, lost, r.OutputEnd(), ringSize)
			}
			// What comes at once, two seconds, and the pipe; half as much again for a busy machine.
			if most := int64(2*rate+2*ringSize) * 3 / 2; r.OutputEnd() > most {
				t.Errorf("%d bytes were read in 2 s, want at most %d", r.OutputEnd(), most)
			}
			if r.Ended() != "killed: deadline of 2s passed" {
				t.Errorf("it ended %q", r.Ended())
			}
		})
	}
}

// Somebody outside of the sandbox who holds the pipe does not hold us.
func TestPipeHeldOutside(t *testing.T) {
	r := start(t, newPlayground(t), inC("#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf(\"up\\n\"); pause(); }\n"))
	awaitOutput(t, r, "up\n")
	f, err := os.OpenFile(filepath.Join("/proc", strconv.Itoa(r.PID()), "fd/1"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := r.Kill("stopped"); err != nil {
		t.Fatal(err)
	}
	await(t, r)
}

func limited(t *testing.T, box *sandbox.Sandbox, name string) string {
	t.Helper()
	for _, l := range box.Describe().Limits {
		if l.Name == name {
			return l.By
		}
	}
	return ""
}

// The bomb is one that bounds itself, in case that nothing else does.
const forks = `#include <stdio.h>
#include <unistd.h>
int main(void)
{
	int n = 0;
	while (n < 300) {
		pid_t pid = fork();
		if (pid < 0)
			break;
		if (pid == 0) {
			pause();
			_exit(0);
		}
		n++;
	}
	printf("%d children\n", n);
	pause();
}
`

func TestForksAreBounded(t *testing.T) {
	p := newPlayground(t)
	r := start(t, p, inC(forks))
	awaitOutput(t, r, " children\n")
	data, _, _, _ := r.Output(0)
	// Other tasks of the same user may come and go where RLIMIT_NPROC bounds.
	if got := strings.TrimSpace(string(data)); got == "300 children" {
		t.Errorf("%s: nothing bounds them", got)
	}
	pids, err := r.PIDs()
	if err != nil || len(pids) < 2 || len(pids) > 2*maxTasks {
		t.Errorf("%d processes, %v", len(pids), err)
	}
	if err := r.Kill("enough"); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if list := process.List([]int{pid}); len(list) > 0 && list[0].Command != "" {
			t.Errorf("%+v survived", list[0])
		}
	}
}

func TestAllocatesWithoutEnd(t *testing.T) {
	p := newPlayground(t)
	r := start(t, p, inC(`#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
	for (int i = 0; i < 2048; i++) {
		char *p = malloc(1 << 20);
		if (p == NULL) {
			printf("refused after %d MiB\n", i);
			return 3;
		}
		memset(p, 1, 1 << 20);
	}
	return 0;
}
`))
	said := ran(t, r)
	if limited(t, p.box, "memory") == "memory.max" {
		if !strings.Contains(r.Ended(), "out of the sandbox's memory") {
			t.Errorf("it ended %q, said %q", r.Ended(), said)
		}
		return
	}
	if r.Ended() != "exit status 3" || !strings.HasPrefix(said, "refused after 5") { // of 512
		t.Errorf("it ended %q, said %q", r.Ended(), said)
	}
}

func TestFilesAndFileSize(t *testing.T) {
	r := start(t, newPlayground(t), inC(`#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>
int main(void)
{
	struct rlimit l;
	getrlimit(RLIMIT_NOFILE, &l);
	printf("%s\n", l.rlim_cur <= 20000 && l.rlim_cur >= 1024 ? "files" : "no");
	getrlimit(RLIMIT_CORE, &l);
	printf("%s\n", l.rlim_cur == 0 ? "core" : "no");
	int fd = open("big", O_CREAT | O_WRONLY, 0600);
	return ftruncate(fd, 65 << 20) == 0;
}
`))
	said := ran(t, r)
	if said != "files\ncore\n" || !strings.Contains(r.Ended(), "67108864") {
		t.Errorf("it said %q and ended %q; want a file too big to end it", said, r.Ended())
	}
}

func TestEpollInstanceIsVisible(t *testing.T) {
	r := start(t, newPlayground(t), inC("#include <stdio.h>\n#include <sys/epoll.h>\n#include <unistd.h>\nint main(void) { printf(\"%d\\n\", epoll_create1(0)); pause(); }\n"))
	awaitOutput(t, r, "\n")
	pids, err := r.PIDs()
	if err != nil || len(pids) != 1 || pids[0] != r.PID() {
		t.Fatalf("processes %v, %v; want %d", pids, err, r.PID())
	}
	if s, err := process.Look(pids, true); err != nil || s.Epolls != 1 || s.Threads != 1 {
		t.Errorf("Look = %+v, %v; want one epoll instance", s, err)
	}
}

func TestProgramInNetwork(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: sudo make test")
	}
	n, err := sandbox.NewNetwork()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	b, _, err := newPlayground(t).Build(t.Context(), inC("#include <stdio.h>\n#include <unistd.h>\nint main(void)\n{\n\tchar b[64] = \"\";\n\tif (readlink(\"/proc/self/ns/net\", b, 63) < 0) return 1;\n\tprintf(\"%s %d\\n\", b, getuid());\n}\n"))
	if err != nil || b == nil {
		t.Fatal(err)
	}
	// Not /proc/self: the first thread may be one that made a namespace.
	ours, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, where := range []*sandbox.Network{nil, n} {
		r, err := b.Start(t.Context(), where)
		if err != nil {
			t.Fatal(err)
		}
		if said := ran(t, r); strings.HasPrefix(said, ours) != (where == nil) || !strings.HasSuffix(said, " 65534\n") {
			t.Errorf("in network %v it said %q", where, said)
		}
	}
}
