package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"kernelviz/internal/experiment"
	"kernelviz/internal/workload/trial"
)

// zerocopySeries is one setting.
type zerocopySeries struct {
	chunk int
	veth  bool
	quick bool
}

func zerocopyAll() []zerocopySeries {
	return []zerocopySeries{
		{chunk: 4096},
		{chunk: 65_536, quick: true},
		{chunk: 1 << 20},
		{chunk: 4096, veth: true, quick: true},
		{chunk: 65_536, veth: true, quick: true},
		{chunk: 1 << 20, veth: true},
	}
}

func (s zerocopySeries) id() string {
	if s.veth {
		return fmt.Sprintf("veth-%d", s.chunk)
	}
	return fmt.Sprintf("lo-%d", s.chunk)
}

func (s zerocopySeries) label() experiment.Text {
	size := fmt.Sprintf("%d KiB", s.chunk>>10)
	if s.chunk == 1<<20 {
		size = "1 MiB"
	}
	if s.veth {
		return experiment.Text{En: size + ", veth between namespaces", Zh: size + "，网络命名空间之间的 veth"}
	}
	return experiment.Text{En: size + ", loopback", Zh: size + "，回环"}
}

// bytes are those of a trial. Small calls are slower, so there are fewer.
func (s zerocopySeries) bytes(quick bool) int {
	n := zerocopyFile(quick)
	if s.chunk == 4096 {
		n /= 2
	}
	return n
}

// zerocopyFile is the size of the file.
func zerocopyFile(quick bool) int {
	if quick {
		return 128 << 20
	}
	return 512 << 20
}

// Zerocopy compares the ways of a file from the page cache into a TCP socket.
func Zerocopy() experiment.Definition {
	var series []experiment.Series
	for _, s := range zerocopyAll() {
		series = append(series, experiment.Series{
			ID: s.id(), Label: s.label(), Baseline: "readwrite", Quick: s.quick,
			Variants: []experiment.Variant{
				{ID: "readwrite", Label: experiment.Text{En: "read + write", Zh: "read + write"}},
				{ID: "mmap-write", Label: experiment.Text{En: "mmap + write", Zh: "mmap + write"}},
				{ID: "sendfile", Label: experiment.Text{En: "sendfile", Zh: "sendfile"}},
				{ID: "splice", Label: experiment.Text{En: "splice through a pipe", Zh: "经管道的 splice"}},
				{ID: "msg-zerocopy", Label: experiment.Text{En: "mmap + MSG_ZEROCOPY", Zh: "mmap + MSG_ZEROCOPY"}},
				{ID: "uring-send", Label: experiment.Text{En: "io_uring READ linked to SEND", Zh: "io_uring READ 链接 SEND"}},
				{ID: "uring-sendzc", Label: experiment.Text{En: "mmap + io_uring SEND_ZC", Zh: "mmap + io_uring SEND_ZC"}},
			},
		})
	}
	return experiment.Definition{
		Info: experiment.Info{
			ID:    "zerocopy",
			Title: experiment.Text{En: "From a file to a socket", Zh: "从文件到套接字"},
			Question: experiment.Text{
				En: "How much CPU time does it take to send a cached file over TCP, by the way in which its data gets into the socket?",
				Zh: "把页缓存中的文件经 TCP 发出去，数据以不同方式进入套接字，各要花多少 CPU 时间？",
			},
			About: experiment.Text{
				En: `A sender sends a file that lies in the page cache over one TCP connection, in seven ways and with 4 KiB, 64 KiB or 1 MiB a call: over loopback, and over a veth pair between two network namespaces. A receiver in another process reads it all and looks at both ends of every page. A trial moves 512 MiB, 256 MiB with 4 KiB a call (quick: 128 and 64 MiB). A full run takes two to three minutes, a quick one about 20 seconds.

Measured is the CPU time of the control groups of sender and receiver apart, in seconds per gigabyte (1,000,000,000 bytes), and the throughput. With MSG_ZEROCOPY and SEND_ZC completions tell whether the kernel copied the data after all; their share is the last figure.

Mind that sender and receiver share one machine. Throughput depends on both, and they compete for its CPUs: the CPU time of the sender is the fairer figure. Much of what the receiver's side of the stack does with a packet runs on the sender's time. What the sender spares by not copying may come back at the receiver, over loopback up to twice its CPU time with sendfile. Memory lent by MSG_ZEROCOPY and SEND_ZC is always copied for a receiver on the same machine, over loopback and over veth; only a network card that reads the pages itself spares that copy.

Mapping the file and its page faults are part of the work of the ways with mmap. With io_uring eight chunks of 4 KiB go in one system call. The sockets are as they are made, without TCP_NODELAY or MSG_MORE, except that all use CUBIC.`,
				Zh: `发送方把页缓存里的文件经一条 TCP 连接发出去，共七种方式，每次调用 4 KiB、64 KiB 或 1 MiB；分别走回环接口，以及两个网络命名空间之间的 veth。另一个进程里的接收方真正读完全部数据，并检查每一页的首尾。每次试验传 512 MiB，每次调用 4 KiB 时传 256 MiB（快速运行为 128 和 64 MiB）。完整运行约两三分钟，快速运行约 20 秒。

测量的是发送方与接收方各自 cgroup 的 CPU 时间（每 GB 多少秒，1 GB 为 10 亿字节）和吞吐量。使用 MSG_ZEROCOPY 和 SEND_ZC 时，完成通知会说明内核最后是否还是复制了数据，其比例是最后一项指标。

请注意，收发双方在同一台机器上：吞吐量取决于双方，而且双方会争用 CPU，所以发送方的 CPU 时间更公允。接收侧协议栈处理数据包的工作，大多记在发送方的时间里。发送方不复制而省下的，可能要由接收方来付：走回环用 sendfile 时，接收方的 CPU 时间最多可到两倍。MSG_ZEROCOPY 和 SEND_ZC 借出的内存，只要接收方在同一台机器上，无论走回环还是 veth，总会被复制；只有能自己读取这些页的网卡才省得掉这次复制。

用到 mmap 的方式，映射文件和缺页的开销都计算在内。io_uring 每次系统调用提交八个 4 KiB 的块。套接字保持默认设置，不用 TCP_NODELAY 和 MSG_MORE；只有拥塞控制统一用 CUBIC。`,
			},
			Seconds: 150, Quick: 20,
			Series: series,
			Metrics: []experiment.Metric{
				{ID: "sender_cpu_per_gb", Label: experiment.Text{En: "Sender's CPU time per gigabyte", Zh: "发送方每 GB 的 CPU 时间"}, Unit: "s/GB", Better: "lower"},
				{ID: "receiver_cpu_per_gb", Label: experiment.Text{En: "Receiver's CPU time per gigabyte", Zh: "接收方每 GB 的 CPU 时间"}, Unit: "s/GB", Better: "lower"},
				{ID: "cpu_per_gb", Label: experiment.Text{En: "CPU time of both per gigabyte", Zh: "双方每 GB 的 CPU 时间之和"}, Unit: "s/GB", Better: "lower"},
				{ID: "gb_per_s", Label: experiment.Text{En: "Throughput", Zh: "吞吐量"}, Unit: "GB/s", Better: "higher"},
				{ID: "copied", Label: experiment.Text{En: "Share of completions that say it was copied", Zh: "报告数据被复制的完成通知所占比例"}, Unit: "", Better: "lower"},
			},
			Missing: []experiment.Missing{},
		},
		Rounds: 9, QuickRounds: 6, Limit: 30 * time.Second,
		Needs: func(_ context.Context, dir string, quick bool) []experiment.Missing {
			n := uint64(zerocopyFile(quick))
			return slices.Concat(experiment.NeedDisk(dir, n), needCache(n, quick))
		},
		Setup: func(ctx context.Context, dir string, quick bool) error {
			return trial.WritePages(ctx, dir, int64(zerocopyFile(quick)))
		},
		Plan: func(series, _, _ string, quick bool) (experiment.Plan, error) {
			for _, s := range zerocopyAll() {
				if s.id() == series {
					return s.plan(quick), nil
				}
			}
			return experiment.Plan{}, fmt.Errorf("unknown series %q", series)
		},
		Measure: measureZerocopy,
		Parameters: func(quick bool) map[string]any {
			return map[string]any{
				"file": zerocopyFile(quick), "bytes at 4 KiB": zerocopyFile(quick) / 2, "congestion control": "cubic",
			}
		},
	}
}

func (s zerocopySeries) plan(quick bool) experiment.Plan {
	params := map[string]float64{"file": float64(zerocopyFile(quick)), "size": float64(s.bytes(quick)), "chunk": float64(s.chunk), "veth": 0}
	receiver := 0
	if s.veth {
		params["veth"], receiver = 1, 1
	}
	return experiment.Plan{Veth: s.veth, Roles: []experiment.Role{
		{Spec: trial.Spec{Role: "receiver", Params: params}, Side: receiver},
		{Spec: trial.Spec{Role: "sender", Params: params}, Count: true},
	}}
}

func measureZerocopy(t experiment.Trial) (map[string]float64, error) {
	sender, receiver := t.Roles["sender"], t.Roles["receiver"]
	if sender.Report.Bytes == 0 || sender.Report.Bytes != receiver.Report.Bytes {
		return nil, fmt.Errorf("the sender sent %d bytes, the receiver got %d", sender.Report.Bytes, receiver.Report.Bytes)
	}
	if t.Counted {
		return nil, nil
	}
	gb := float64(sender.Report.Bytes) / 1e9
	if sender.Report.Seconds <= 0 || sender.CPU <= 0 || receiver.CPU <= 0 {
		return nil, errors.New("it took no time: the clock or the cgroup's CPU time cannot be read")
	}
	m := map[string]float64{
		"sender_cpu_per_gb":   sender.CPU / gb,
		"receiver_cpu_per_gb": receiver.CPU / gb,
		"cpu_per_gb":          (sender.CPU + receiver.CPU) / gb,
		"gb_per_s":            gb / sender.Report.Seconds,
	}
	if copied, ok := sender.Report.Metrics["copied"]; ok {
		m["copied"] = copied
	}
	return m, nil
}

// needCache is free memory for the file, which must stay in the page cache, for
// the processes and for what is on its way.
func needCache(file uint64, quick bool) []experiment.Missing {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return []experiment.Missing{{Name: "memory", Reason: fmt.Sprintf("the free memory cannot be read: %v", err), Fix: "mount /proc"}}
	}
	return cacheMissing(string(info), file, quick)
}

func cacheMissing(meminfo string, file uint64, quick bool) []experiment.Missing {
	free, err := available(meminfo)
	if err != nil {
		return []experiment.Missing{{Name: "memory", Reason: err.Error(), Fix: "mount /proc"}}
	}
	need := file + file/2 + 128<<20
	if free >= need {
		return nil
	}
	fix := "end programs that use memory, or run it with --quick"
	if quick {
		fix = "end programs that use memory"
	}
	return []experiment.Missing{{
		Name:   "memory",
		Reason: fmt.Sprintf("a file of %d MiB must stay in the page cache: it needs %d MiB of free memory, and %d MiB are available", file>>20, need>>20, free>>20),
		Fix:    fix,
	}}
}
