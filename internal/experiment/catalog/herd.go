package catalog

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"kernelviz/internal/experiment"
	"kernelviz/internal/workload/trial"
)

// herdConnections are made in each trial.
const herdConnections = 200

func herdWorkers() []int { return []int{4, 16, 64} }

// Herd compares the ways in which many threads wait for connections to one port.
func Herd() experiment.Definition {
	var series []experiment.Series
	for _, n := range herdWorkers() {
		series = append(series, experiment.Series{
			ID:       fmt.Sprintf("workers-%d", n),
			Label:    experiment.Text{En: fmt.Sprintf("%d workers", n), Zh: fmt.Sprintf("%d 个工作线程", n)},
			Baseline: "default", Quick: true, X: float64(n),
			Variants: []experiment.Variant{
				{ID: "default", Label: experiment.Text{En: "epoll each on one listener", Zh: "各用一个 epoll、共用监听套接字"}},
				{ID: "exclusive", Label: experiment.Text{En: "epoll each with EPOLLEXCLUSIVE", Zh: "各用一个 epoll，加 EPOLLEXCLUSIVE"}},
				{ID: "reuseport", Label: experiment.Text{En: "a listener each by SO_REUSEPORT", Zh: "各用一个监听套接字（SO_REUSEPORT）"}},
				{ID: "accept", Label: experiment.Text{En: "blocking accept", Zh: "阻塞的 accept"}},
				{ID: "uring-accept", Label: experiment.Text{En: "io_uring, accept armed anew each time", Zh: "io_uring，每次重新提交 accept"}},
				{ID: "uring-multishot", Label: experiment.Text{En: "io_uring, multishot accept", Zh: "io_uring，multishot accept"}},
			},
		})
	}
	return experiment.Definition{
		Info: experiment.Info{
			ID:    "herd",
			Title: experiment.Text{En: "How many wake for one connection", Zh: "一个连接唤醒多少线程"},
			Question: experiment.Text{
				En: "When many threads wait for connections to one port, how many of them run for each connection, by the way in which they wait?",
				Zh: "许多线程等待同一端口的连接，每来一个连接，会有多少线程被唤醒？不同的等待方式有何差别？",
			},
			About: experiment.Text{
				En: `4, 16 or 64 threads of one process wait for connections to one port, in six ways. Another process makes 200 connections over loopback, each only when the one before is accepted and closed and all threads sleep again. A full run takes about a minute and a quarter, a quick one about 30 seconds.

Measured are voluntary context switches: how often a waiting thread was woken and went back to sleep, per connection. A count of what epoll_wait returns would miss it: a thread that finds nothing left goes back to sleep inside the call. Besides, the CPU time of the waiting threads per connection, and the share of connections that the busiest thread took.

Mind that only one connection is on its way at a time. That shows who is woken, but not how work is shared under load: a way that wakes one thread may wake the same one each time, as the share of the busiest shows.`,
				Zh: `同一进程的 4、16 或 64 个线程以六种方式等待同一端口的连接。另一个进程经回环接口建立 200 个连接：前一个被接受并关闭、所有线程又都睡下之后，才建立下一个。完整运行约 75 秒，快速运行约 30 秒。

测量的是主动上下文切换：平均每个连接使等待的线程被唤醒又睡下多少次。只数 epoll_wait 的返回次数会漏掉它们：发现事件已被别人取走的线程在系统调用内部就又睡了。另外还测量这些线程为每个连接花费的 CPU 时间，以及最忙的线程接走的连接占多大比例。

请注意，任一时刻只有一个连接在途。这能看出谁被唤醒，但看不出高负载时任务怎样分摊：只唤醒一个线程的方式，可能每次唤醒的都是同一个，看“最忙线程的份额”便知。`,
			},
			Seconds: 75, Quick: 30,
			Series: series,
			Metrics: []experiment.Metric{
				{ID: "switches_per_conn", Label: experiment.Text{En: "Context switches per connection", Zh: "每个连接的上下文切换次数"}, Unit: "switches", Better: "lower"},
				{ID: "cpu_us_per_conn", Label: experiment.Text{En: "CPU time of the workers per connection", Zh: "工作线程在每个连接上花费的 CPU 时间"}, Unit: "µs", Better: "lower"},
				{ID: "busiest", Label: experiment.Text{En: "Share of the busiest worker", Zh: "最忙线程所占的份额"}, Unit: "", Better: "lower"},
			},
			Missing: []experiment.Missing{},
		},
		Rounds: 15, QuickRounds: 6, Limit: 30 * time.Second,
		Plan: func(series, _, _ string, _ bool) (experiment.Plan, error) {
			for _, n := range herdWorkers() {
				if series != "workers-"+strconv.Itoa(n) {
					continue
				}
				params := map[string]float64{"workers": float64(n), "connections": float64(herdConnections)}
				return experiment.Plan{Roles: []experiment.Role{
					{Spec: trial.Spec{Role: "workers", Params: params}, Count: true},
					{Spec: trial.Spec{Role: "clients", Params: params}},
				}}, nil
			}
			return experiment.Plan{}, fmt.Errorf("unknown series %q", series)
		},
		Measure: measureHerd,
		Parameters: func(bool) map[string]any {
			return map[string]any{"connections": herdConnections, "trigger": "level"}
		},
	}
}

func measureHerd(t experiment.Trial) (map[string]float64, error) {
	if t.Counted {
		return nil, nil
	}
	workers, clients := t.Roles["workers"].Report, t.Roles["clients"].Report
	if workers.Ops == 0 || workers.Ops != clients.Ops {
		return nil, fmt.Errorf("the clients made %d connections, the workers accepted %d", clients.Ops, workers.Ops)
	}
	n := float64(workers.Ops)
	if clients.Metrics["switches"] == 0 {
		return nil, errors.New("no worker slept: nothing was measured")
	}
	return map[string]float64{
		"switches_per_conn": clients.Metrics["switches"] / n,
		"cpu_us_per_conn":   workers.Metrics["cpu"] / n * 1e6,
		"busiest":           workers.Metrics["busiest"],
	}, nil
}
