package session

import (
	"strings"
	"testing"
	"time"
)

// Labs that are not in order are found out, each for its own reason.
func TestProve(t *testing.T) {
	o := prepare(t)
	step := func(check, solve string) string {
		return "steps:\n  - id: a\n    title: {en: A, zh: A}\n    check: " + check + "\n    solve: " + solve + "\n"
	}
	for _, tt := range []struct {
		name, text string
		files      map[string]string
		want       string // in the only finding; empty: none
	}{
		{"in order", puppetLab + steps, nil, ""},
		{"code", codeLab, codeFiles, ""},
		{"holds at first", puppetLab + step("epoll.nodes == 2", "[{do: add}]"), nil, "holds before the solution"},
		{"level that holds", puppetLab + step(`{expr: "epoll.nodes == 2", kind: level}`, "[{do: add}]"), nil, "done before its turn"},
		{"solution that does nothing", puppetLab + step("epoll.nodes == 3", "[{do: ready}]"), nil, "does not pass after the solution"},
		{"too late", puppetLab + step(`{expr: "epoll.nodes == 4", within: 100ms}`, `[{do: add}, {wait: "epoll.nodes == 3"}, {workload: puppet, do: {op: wait, epfd: 3, timeout: 300, thread: 1}}, {wait: "any(calls, .name == 'epoll_wait' && !.pending)"}, {workload: puppet, do: {op: epoll_create}}]`), nil, "late true"},
		{"solve that hangs", puppetLab + step("epoll.nodes == 3", `[{wait: "epoll.nodes == 99", within: 1s}]`), nil, "waiting for epoll.nodes == 99: not within 1s"},
		{"action that is refused", puppetLab + step("epoll.nodes == 3", "[{workload: puppet, do: {op: fly}}]"), nil, "unknown op"},
		{"check that throws", puppetLab + step("epoll.ready_fds[7] == 3", "[{do: add}]"), nil, "the check failed"},
		{"setup that fails", strings.Replace(puppetLab, "epfd: 3, what: eventfd, n: 2", "epfd: 9, what: eventfd, n: 2", 1) + step("epoll.nodes == 3", "[{do: add}]"), nil, "setup action 2"},
		{"solution that does not compile", codeLab, map[string]string{"starter/main.c": epollProgram, "solution/main.c": "int main(void) { return x; }\n"}, "does not compile"},
		{"script", puppetLab + step(`{shell: checks/a.sh}`, "[{do: add}]"), map[string]string{
			"checks/a.sh": "#!/bin/sh\n[ \"$(grep -c ^tfd: /proc/$KV_PUPPET_PID/fdinfo/3)\" = 3 ] || { echo add one; exit 1; }\n",
		}, ""},
		{"script that is broken", puppetLab + step(`{shell: checks/a.sh}`, "[{do: add}]"), map[string]string{"checks/a.sh": "no-such-command\n"}, "is broken (exit status 127)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			patience := doneWithin
			if tt.want != "" {
				patience = 2 * time.Second
			}
			var passed []string
			findings := proveWithin(t.Context(), o, load(t, tt.text, tt.files), func(step string, _ time.Duration) { passed = append(passed, step) }, patience)
			switch {
			case tt.want == "" && len(findings) > 0:
				t.Errorf("%v", findings)
			case tt.want == "" && len(passed) == 0:
				t.Error("no step passed")
			case tt.want != "" && (len(findings) != 1 || !strings.Contains(findings[0].Error(), tt.want)):
				t.Errorf("findings %v, want one with %q", findings, tt.want)
			}
		})
	}
}
