package catalog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/experiment"
	"kernelviz/internal/workload/trial"
)

// echoMost is the most connections of a series.
const echoMost = 1000

// echoSize is how much a series does: about a second's worth here.
type echoSize struct {
	conns, messages, quick int // messages of all connections together
}

func echoSizes() []echoSize {
	return []echoSize{{1, 20_000, 10_000}, {100, 200_000, 60_000}, {echoMost, 200_000, 60_000}}
}

// Echo compares servers that send back what they receive.
func Echo() experiment.Definition {
	text := func(en, zh string) experiment.Text { return experiment.Text{En: en, Zh: zh} }
	labels := map[int]experiment.Text{
		1:        text("1 connection", "1 个连接"),
		100:      text("100 connections", "100 个连接"),
		echoMost: text("1,000 connections", "1000 个连接"),
	}
	var series []experiment.Series
	for _, s := range echoSizes() {
		series = append(series, experiment.Series{
			ID: "conns-" + strconv.Itoa(s.conns), X: float64(s.conns), Quick: true, Baseline: "epoll", Label: labels[s.conns],
			Variants: []experiment.Variant{
				{ID: "epoll", Label: text("epoll", "epoll")},
				{ID: "uring", Label: text("io_uring", "io_uring")},
				{ID: "uring-defer", Label: text("io_uring with DEFER_TASKRUN", "使用 DEFER_TASKRUN 的 io_uring")},
			},
		})
	}
	return experiment.Definition{
		Info: experiment.Info{
			ID:       "echo",
			Title:    text("Echo servers", "回显服务器"),
			Question: text("What does a message cost a TCP server that is written with epoll, or with io_uring?", "分别用 epoll 和 io_uring 编写的 TCP 服务器，处理一条消息的代价各是多少？"),
			About: text(
				"A server with one thread sends back what it receives. Its client, the same program for all servers, sends a message of 64 bytes on each of 1, 100 or 1,000 connections, waits for the echo, checks every byte of it and sends the next, until 20,000 messages (one connection) or 200,000 have come back, fewer in a quick run. Both run in a network namespace of their own, over loopback.\n\n"+
					"With epoll, level-triggered, the server makes an epoll_pwait for all connections that are ready, and a read and a write for each. With io_uring it has one multishot accept, a multishot receive on each connection into buffers that the kernel picks from a ring of them, and a send for each message; one io_uring_enter tells the kernel of all new requests and waits for completions. The third variant is the same with IORING_SETUP_SINGLE_ISSUER and IORING_SETUP_DEFER_TASKRUN: the kernel finishes requests when the server waits, not as they come. All are in Go with raw system calls, without memory being allocated or collected meanwhile.\n\n"+
					"CPU time is the server's alone, kernel threads that work for it included; accepting and closing the connections is part of it. System calls are counted by the kernel in a round of their own. Mind that loopback hands a packet over on the CPU of whoever sends it, so that a part of the receiving is paid for by the client; and that messages per second is about both sides together: with fewer than 3 CPUs they compete. A single connection is about waking up, more than about serving.\n\n"+
					"It takes about a minute and a half; a quick run about half a minute. Multishot receive needs Linux 6.0, DEFER_TASKRUN Linux 6.1; without, only those variants fail.",
				"服务器只有一个线程，收到什么就发回什么。客户端对所有服务器都是同一个程序：它在 1 个、100 个或 1000 个连接上各发一条 64 字节的消息，等待回显，检查每一个字节，再发下一条，直到收回 20000 条（1 个连接时）或 200000 条消息，快速运行时更少。两者都在一个单独的网络命名空间里，经回环接口通信。\n\n"+
					"epoll 版（水平触发）用一次 epoll_pwait 得到所有就绪的连接，再对每个连接做一次 read 和一次 write。io_uring 版有一个多次触发（multishot）的 accept，每个连接有一个多次触发的 recv，数据放进内核从缓冲区环里挑选的缓冲区，每条消息再发一个 send 请求；一次 io_uring_enter 提交全部新请求，同时等待完成。第三种再加上 IORING_SETUP_SINGLE_ISSUER 和 IORING_SETUP_DEFER_TASKRUN：内核在服务器等待时才完成请求的收尾工作，而不是随到随做。三种服务器都用 Go 写成，直接发出系统调用，测量期间既不分配也不回收内存。\n\n"+
					"CPU 时间只算服务器的，为它工作的内核线程也算在内；接受和关闭连接包括在其中。系统调用在内核中计数，单独占一轮。请注意，回环接口是在发送方的 CPU 上把数据包交给接收方的，所以一部分接收工作由客户端承担；每秒消息数则取决于双方，CPU 少于 3 个时双方互相竞争。只有一个连接时，测到的主要是唤醒的代价，而不是处理的代价。\n\n"+
					"整个实验大约需要一分半钟，快速运行约半分钟。多次触发的 recv 需要 Linux 6.0，DEFER_TASKRUN 需要 Linux 6.1；内核不支持时，只有相应的服务器失败。"),
			Seconds: 100,
			Quick:   30,
			Series:  series,
			Metrics: []experiment.Metric{
				{ID: "cpu_us_per_msg", Label: text("Server CPU time per message", "每条消息的服务器 CPU 时间"), Unit: "µs", Better: "lower"},
				{ID: "msgs_per_s", Label: text("Messages per second", "每秒消息数"), Unit: "1/s", Better: "higher"},
				{ID: "syscalls_per_msg", Label: text("Server system calls per message", "每条消息的服务器系统调用次数"), Unit: "calls", Better: "lower"},
			},
		},
		Rounds:      7,
		QuickRounds: 6,
		Limit:       time.Minute,
		Needs:       echoNeeds,
		Plan:        echoPlan,
		Measure:     echoMeasure,
		Parameters: func(quick bool) map[string]any {
			p := map[string]any{"message_bytes": trial.EchoSize}
			for _, s := range echoSizes() {
				p[fmt.Sprintf("messages_%d", s.conns)] = s.total(quick)
			}
			return p
		},
	}
}

func (s echoSize) total(quick bool) int {
	if quick {
		return s.quick
	}
	return s.messages
}

func echoPlan(series, _, _ string, quick bool) (experiment.Plan, error) {
	for _, s := range echoSizes() {
		if series != "conns-"+strconv.Itoa(s.conns) {
			continue
		}
		params := map[string]float64{"conns": float64(s.conns), "messages": float64(s.total(quick) / s.conns)}
		return experiment.Plan{Roles: []experiment.Role{
			{Spec: trial.Spec{Role: "server", Params: params}, Count: true},
			{Spec: trial.Spec{Role: "load", Params: params}},
		}}, nil
	}
	return experiment.Plan{}, fmt.Errorf("echo has no series %q", series)
}

// echoCalls are the system calls of a server; others are those of Go's runtime.
func echoCalls() []string {
	return []string{"accept4", "epoll_ctl", "epoll_pwait", "read", "write", "close", "io_uring_enter"}
}

func echoMeasure(t experiment.Trial) (map[string]float64, error) {
	server, load := t.Roles["server"], t.Roles["load"]
	n := float64(load.Report.Ops)
	switch {
	case n == 0 || load.Report.Seconds <= 0:
		return nil, errors.New("the client has reported nothing")
	case server.Report.Ops != load.Report.Ops:
		return nil, fmt.Errorf("the server has sent %d messages back, the client has received %d", server.Report.Ops, load.Report.Ops)
	}
	if t.Counted {
		calls := uint64(0)
		for _, name := range echoCalls() {
			calls += server.Syscalls[name]
		}
		return map[string]float64{"syscalls_per_msg": float64(calls) / n}, nil
	}
	return map[string]float64{"cpu_us_per_msg": server.CPU * 1e6 / n, "msgs_per_s": n / load.Report.Seconds}, nil
}

// echoFiles is how many files a side has open besides its connections, at most.
const echoFiles = 64

func echoNeeds(_ context.Context, _ string, _ bool) []experiment.Missing {
	missing := needRings()
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return append(missing, experiment.Missing{Name: "files", Reason: fmt.Sprintf("RLIMIT_NOFILE cannot be read: %v", err)})
	}
	return append(missing, filesMissing(l.Max)...)
}

func filesMissing(most uint64) []experiment.Missing {
	if most >= echoMost+echoFiles {
		return nil
	}
	return []experiment.Missing{{
		Name:   "files",
		Reason: fmt.Sprintf("a process may have %d files open (hard limit of RLIMIT_NOFILE), and %d connections need %d", most, echoMost, echoMost+echoFiles),
		Fix:    fmt.Sprintf("ulimit -Hn %d before labserver is started", 4*echoMost),
	}}
}
