package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"kernelviz/internal/experiment"
	"kernelviz/internal/workload/trial"
)

// readinessFiles is what a process of readiness opens besides its eventfds.
const readinessFiles = 64

// readinessSeries is one setting.
type readinessSeries struct {
	n, active int
	rounds    int // so that a trial takes up to half a second
	quick     bool
}

func readinessAll() []readinessSeries {
	return []readinessSeries{
		{n: 9000, active: 10, rounds: 200, quick: true},
		{n: 9000, active: 100, rounds: 300},
		{n: 9000, active: 900, rounds: 100, quick: true},
		{n: 9000, active: 4500, rounds: 30},
		{n: 9000, active: 9000, rounds: 20, quick: true},
		{n: 1000, active: 10, rounds: 1500},
		{n: 100, active: 10, rounds: 2500},
	}
}

func (s readinessSeries) id() string { return fmt.Sprintf("n%d-a%d", s.n, s.active) }

func (s readinessSeries) label() experiment.Text {
	return experiment.Text{
		En: fmt.Sprintf("%d of %d descriptors ready", s.active, s.n),
		Zh: fmt.Sprintf("%d 个描述符中 %d 个就绪", s.n, s.active),
	}
}

// Readiness compares the ways to learn which of many descriptors are ready.
func Readiness() experiment.Definition {
	most := 0
	var series []experiment.Series
	for _, s := range readinessAll() {
		most = max(most, s.n)
		x := float64(s.active)
		if s.n != 9000 {
			x = 0 // not on the curve of the others
		}
		series = append(series, experiment.Series{
			ID: s.id(), Label: s.label(), Baseline: "epoll", Quick: s.quick, X: x,
			Variants: []experiment.Variant{
				{ID: "select", Label: experiment.Text{En: "select", Zh: "select"}},
				{ID: "poll", Label: experiment.Text{En: "poll", Zh: "poll"}},
				{ID: "epoll", Label: experiment.Text{En: "epoll", Zh: "epoll"}},
				{ID: "uring-poll", Label: experiment.Text{En: "io_uring multishot poll", Zh: "io_uring multishot poll"}},
			},
		})
	}
	return experiment.Definition{
		Info: experiment.Info{
			ID:    "readiness",
			Title: experiment.Text{En: "Finding the ready ones", Zh: "找出就绪的描述符"},
			Question: experiment.Text{
				En: "What does it cost to learn which of many descriptors are ready, and how does that depend on how many there are and how many are ready?",
				Zh: "在许多描述符中找出就绪的那些，要花多少 CPU 时间？它如何随描述符总数和就绪数变化？",
			},
			About: experiment.Text{
				En: `One thread holds up to 9,000 eventfds. Each round it makes some of them ready, asks which are, and reads those; the same program asks by select, poll, epoll (level-triggered) and io_uring (one multishot POLL_ADD armed per descriptor, completions reaped from the ring). A full run takes about a minute and a half, a quick one about 30 seconds.

Measured is the CPU time of the thread per event: from the question until the event is read. The second figure counts making the descriptors ready too. The difference matters: with epoll and io_uring a callback notes each descriptor while it is made ready, and that is paid by whoever does it, here the same thread.

Mind that nothing else is done with an event: in a real server the handling outweighs small differences. Registering the descriptors is not measured. select is called directly with sets as large as needed; libc's FD_SETSIZE of 1,024 is not a limit of the kernel.`,
				Zh: `一个线程持有最多 9000 个 eventfd。每一轮它先让其中一部分就绪，再询问哪些就绪，并逐个读取。同一个程序分别用 select、poll、epoll（水平触发）和 io_uring（每个描述符挂一个multishot POLL_ADD，从环中收取完成事件）来询问。完整运行约一分半钟，快速运行约 30 秒。

测量的是线程为每个事件花费的 CPU 时间：从询问开始，到该事件读完为止。第二个指标把“让描述符就绪”的开销也算进去。两者有区别：epoll 和 io_uring 在描述符变为就绪时由回调函数记下它，这份开销由触发者承担，在这里就是同一个线程。

请注意，这里读到事件后不做别的事；真实服务器里，处理请求的开销会盖过细小的差别。注册描述符的开销不计。select 直接走系统调用，位图要多大有多大；1024 的 FD_SETSIZE 是 libc 的限制，不是内核的。`,
			},
			Seconds: 85, Quick: 30,
			Series: series,
			Metrics: []experiment.Metric{
				{ID: "us_per_event", Label: experiment.Text{En: "CPU time per event", Zh: "每个事件的 CPU 时间"}, Unit: "µs", Better: "lower"},
				{ID: "us_with_making", Label: experiment.Text{En: "CPU time per event, with making it ready", Zh: "每个事件的 CPU 时间（含使其就绪）"}, Unit: "µs", Better: "lower"},
			},
			Missing: []experiment.Missing{},
		},
		Rounds: 9, QuickRounds: 6, Limit: 20 * time.Second,
		Needs: func(context.Context, string, bool) []experiment.Missing { return readinessNeeds(most) },
		Plan: func(series, variant, _ string, _ bool) (experiment.Plan, error) {
			for _, s := range readinessAll() {
				if s.id() == series {
					return experiment.Plan{Roles: []experiment.Role{{
						Spec: trial.Spec{Role: "server", Params: map[string]float64{
							"n": float64(s.n), "active": float64(s.active), "rounds": float64(s.rounds),
						}},
						Count: true,
					}}}, nil
				}
			}
			return experiment.Plan{}, fmt.Errorf("unknown series %q", series)
		},
		Measure: measureReadiness,
		Parameters: func(bool) map[string]any {
			p := map[string]any{"trigger": "level", "descriptors": "eventfd"}
			for _, s := range readinessAll() {
				p["passes "+s.id()] = s.rounds
			}
			return p
		},
	}
}

func measureReadiness(t experiment.Trial) (map[string]float64, error) {
	if t.Counted {
		return nil, nil
	}
	r := t.Roles["server"].Report
	if r.Ops == 0 {
		return nil, errors.New("no event was served")
	}
	us := 1e6 / float64(r.Ops)
	return map[string]float64{"us_per_event": r.Metrics["serving"] * us, "us_with_making": r.Metrics["all"] * us}, nil
}

// readinessNeeds is that a process may open so many files.
func readinessNeeds(n int) []experiment.Missing {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return []experiment.Missing{{Name: "files", Reason: fmt.Sprintf("RLIMIT_NOFILE cannot be read: %v", err)}}
	}
	return readinessMissing(l.Max, n)
}

func readinessMissing(most uint64, n int) []experiment.Missing {
	need := n + readinessFiles
	if most >= uint64(need) {
		return nil
	}
	return []experiment.Missing{{
		Name:   "files",
		Reason: fmt.Sprintf("a process may have %d files open (hard limit of RLIMIT_NOFILE), and %d descriptors need %d", most, n, need),
		Fix:    "ulimit -Hn 20000 before labserver is started",
	}}
}
