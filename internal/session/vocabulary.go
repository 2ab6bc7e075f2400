// Package session runs one learner's attempt at one lab: it starts the lab's
// workloads, terminal and program in a sandbox, watches what the stage shows,
// collects facts from all of them and lets the lab's steps judge them. It knows
// nothing of HTTP: the server and `labserver labs check` drive the same
// sessions.
package session

import "kernelviz/internal/kernelviz"

// Vocabulary is every fact that checks may use in a session with these views.
// Lists of events hold what came since the step was armed.
func Vocabulary(views []kernelviz.View) []kernelviz.Fact {
	var all []kernelviz.Fact
	for _, v := range views {
		all = append(all, v.FactList()...)
	}
	return append(all, ownFacts()...)
}

// ownFacts are the facts that a session publishes itself.
func ownFacts() []kernelviz.Fact {
	const (
		b, i, f, s = kernelviz.FactBool, kernelviz.FactInt, kernelviz.FactFloat, kernelviz.FactString
		ints, list = kernelviz.FactInts, kernelviz.FactList
	)
	return []kernelviz.Fact{
		{Name: "calls", Type: list, Doc: "The system calls of the lab's puppet or ring puppet since the step was armed, the latest 4,096, in order; a call that has not returned is pending.", Fields: []kernelviz.Fact{
			{Name: "name", Type: s, Doc: "Name of the call: epoll_ctl; of a write to the memory of a ring what is written first: sq.sqes[2]."},
			{Name: "text", Type: s, Doc: "The call as strace prints it, without the result."},
			{Name: "result", Type: i, Doc: "What it returned; -1 if it failed or is pending."},
			{Name: "errno", Type: s, Doc: "EEXIST; empty if it did not fail."},
			{Name: "note", Type: s, Doc: "What is surprising about it, as docs/protocol.md lists: oneshot_off, timeout, dup_survives, …"},
			{Name: "thread", Type: i, Doc: "Thread that made it: 0 the main one, 1 to 16 those that wait."},
			{Name: "pending", Type: b, Doc: "It has not returned."},
		}},
		{Name: "puppet.running", Type: b, Doc: "The puppet lives."},
		{Name: "puppet.pid", Type: i, Doc: "Its process id."},
		{Name: "puppet.waiting", Type: i, Doc: "Threads of it that are in epoll_wait."},
		{Name: "puppet.fds", Type: list, Doc: "What the puppet has open, by fd.", Fields: []kernelviz.Fact{
			{Name: "fd", Type: i, Doc: "The descriptor."},
			{Name: "kind", Type: s, Doc: "eventfd, pipe, udp, tcp, unix, timerfd, file or epoll."},
			{Name: "peer", Type: i, Doc: "fd of the other end; 0 if none."},
			{Name: "readable", Type: b, Doc: "read would not give EAGAIN."},
			{Name: "in", Type: ints, Doc: "epoll fds that have an item with this file and fd."},
		}},
		{Name: "ring.running", Type: b, Doc: "The ring puppet lives."},
		{Name: "ring.pid", Type: i, Doc: "Its process id."},
		{Name: "ring.waiting", Type: i, Doc: "Threads of it that are in io_uring_enter."},
		{Name: "ring.queued", Type: i, Doc: "SQEs that it has written and no io_uring_enter has taken, in all its rings."},
		{Name: "ring.inflight", Type: i, Doc: "Requests taken whose last CQE it has not reaped, in all its rings."},
		{Name: "ring.reaped", Type: i, Doc: "CQEs that it has reaped since the step was armed."},
		{Name: "ring.fds", Type: list, Doc: "What the ring puppet has open besides its rings, by fd.", Fields: []kernelviz.Fact{
			{Name: "fd", Type: i, Doc: "The descriptor."},
			{Name: "kind", Type: s, Doc: "eventfd, pipe, unix, tcp, listener or file."},
			{Name: "peer", Type: i, Doc: "fd of the other end; 0 if none."},
			{Name: "readable", Type: b, Doc: "read would not give EAGAIN."},
		}},
		{Name: "herd.running", Type: b, Doc: "The workload herd lives."},
		{Name: "herd.pid", Type: i, Doc: "Its process id."},
		{Name: "herd.runs", Type: list, Doc: "Its runs since the step was armed.", Fields: []kernelviz.Fact{
			{Name: "mode", Type: s, Doc: "shared, exclusive, reuseport or oneinstance."},
			{Name: "workers", Type: i, Doc: "Threads that waited."},
			{Name: "connections", Type: i, Doc: "Connections made, one after the other."},
			{Name: "switches", Type: f, Doc: "Voluntary context switches of the workers a connection, from /proc/PID/task/TID/status."},
			{Name: "returns", Type: f, Doc: "Returns of epoll_wait with an event a connection."},
			{Name: "empty", Type: f, Doc: "accept4 that gave EAGAIN a connection."},
		}},
		{Name: "readiness.running", Type: b, Doc: "The workload readiness lives."},
		{Name: "readiness.pid", Type: i, Doc: "Its process id."},
		{Name: "readiness.runs", Type: list, Doc: "Its runs since the step was armed; one run gives one element for each method.", Fields: []kernelviz.Fact{
			{Name: "method", Type: s, Doc: "select, poll or epoll."},
			{Name: "n", Type: i, Doc: "Descriptors watched."},
			{Name: "active", Type: i, Doc: "Descriptors made ready in each round."},
			{Name: "us", Type: f, Doc: "Microseconds of CPU an event, median of the rounds."},
		}},
		{Name: "clients.running", Type: b, Doc: "The workload clients lives."},
		{Name: "clients.pid", Type: i, Doc: "Its process id."},
		{Name: "clients.connected", Type: i, Doc: "Connections of it that are established."},
		{Name: "clients.echoed", Type: i, Doc: "Messages that came back whole and in order since the step was armed."},
		{Name: "clients.failed", Type: i, Doc: "Connections refused, reset or closed by the other side, and messages that came back wrong, since the step was armed."},
		{Name: "program.state", Type: s, Doc: "none, building, failed, running or ended."},
		{Name: "program.running", Type: b, Doc: "The learner's program runs."},
		{Name: "program.pid", Type: i, Doc: "Its process id; 0 if none runs."},
		{Name: "program.exit", Type: i, Doc: "Exit status; -1 while it runs, if a signal ended it, or before the first run."},
		{Name: "program.ended", Type: s, Doc: "How it ended, in words; empty while it runs."},
		{Name: "program.output", Type: s, Doc: "What it wrote since the step was armed, the latest 64 KiB."},
		{Name: "program.threads", Type: i, Doc: "Its threads."},
		{Name: "program.epolls", Type: i, Doc: "epoll instances that it has open."},
		{Name: "program.rings", Type: i, Doc: "io_uring instances that it has open."},
		{Name: "program.ring_maps", Type: i, Doc: "Mappings of rings in its memory (anon_inode:[io_uring] in /proc/PID/maps)."},
		{Name: "program.connections", Type: i, Doc: "Established TCP sockets among its descriptors."},
		{Name: "program.ports", Type: ints, Doc: "TCP ports that it listens on."},
		{Name: "program.nonblocking", Type: i, Doc: "Sockets among its descriptors that have O_NONBLOCK (flags of /proc/PID/fdinfo/FD)."},
		{Name: "program.blocking", Type: i, Doc: "Sockets among its descriptors that do not."},
		{Name: "program.fds", Type: list, Doc: "Its descriptors, the first 4,096.", Fields: []kernelviz.Fact{
			{Name: "fd", Type: i, Doc: "The descriptor."},
			{Name: "kind", Type: s, Doc: "tcp, udp, unix, pipe, eventfd, timerfd, epoll, uring, file or other."},
			{Name: "nonblocking", Type: b, Doc: "O_NONBLOCK is set."},
			{Name: "readable", Type: b, Doc: "poll(2) on a copy of it (pidfd_getfd) gives POLLIN; looks without touching."},
		}},
		{Name: "terminal.output", Type: s, Doc: "What the lab's terminals printed since the step was armed, without escape sequences, the latest 64 KiB."},
		{Name: "terminal.processes", Type: list, Doc: "Processes that run in the lab's terminals.", Fields: []kernelviz.Fact{
			{Name: "pid", Type: i, Doc: "Process id."},
			{Name: "comm", Type: s, Doc: "Name, at most 15 bytes."},
			{Name: "command", Type: s, Doc: "Command line."},
		}},
		{Name: "tracing.probes", Type: list, Doc: "BPF programs attached to events by processes of the lab's terminals (BPF_TASK_FD_QUERY).", Fields: []kernelviz.Fact{
			{Name: "pid", Type: i, Doc: "Process that holds it."},
			{Name: "comm", Type: s, Doc: "Its name: bpftrace."},
			{Name: "kind", Type: s, Doc: "tracepoint, raw_tracepoint, kprobe, kretprobe, uprobe or uretprobe."},
			{Name: "name", Type: s, Doc: "What it is attached to: sys_enter_epoll_ctl."},
		}},
	}
}
