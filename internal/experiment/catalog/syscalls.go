package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"kernelviz/internal/experiment"
	"kernelviz/internal/iouring"
	"kernelviz/internal/workload/trial"
)

const (
	syscallsBytes      = 4 << 30
	syscallsQuickBytes = 256 << 20
	// syscallsSpare is the memory that is left besides the file and 128 MiB of
	// buffers, so that no page of the file is given up.
	syscallsSpare = 2 << 30
	gigabyte      = 1e9
)

// Syscalls reads one file from the page cache in ways that differ in how many
// system calls they take.
func Syscalls() experiment.Definition {
	text := func(en, zh string) experiment.Text { return experiment.Text{En: en, Zh: zh} }
	return experiment.Definition{
		Info: experiment.Info{
			ID:       "syscalls",
			Title:    text("System calls of a read", "读文件的系统调用次数"),
			Question: text("What does reading a file cost, when the same bytes take a million system calls, or thirty-two?", "读同样多的字节，用一百万次系统调用和用三十二次，代价各是多少？"),
			About: text(
				"One file of 4 GiB (256 MiB in a quick run) is read from beginning to end, five times over: by pread with 4 KiB and with 128 KiB at a time; by io_uring with 4 KiB at a time, where the program fills a ring of 256 or of 32,768 requests, has all of them done by one io_uring_enter, takes the results and begins again; and by a ring of 256 with a kernel thread that looks for requests by itself (SQPOLL). All of the file is in the page cache: the disk is not read. Every read must give all that it asked for, and one page in 61 is looked at.\n\n"+
					"CPU time is that of the trial's control group, with threads of the kernel that work for it. System calls are counted by the kernel in a round of its own, because counting costs time as well. The program is the same in all variants, written in Go with raw system calls, without memory being allocated or collected meanwhile.\n\n"+
					"Mind that the variants differ in more than their calls: pread-4k uses one buffer of 4 KiB again and again, pread-128k one of 128 KiB, a ring of 256 has 1 MiB of buffers, one of 32,768 has 128 MiB, and what lies in the caches of the CPU is quicker to write to. With SQPOLL two threads are busy: on fewer than 3 CPUs they are in each other's way, and in that of everybody else.\n\n"+
					"It takes about a minute and a half; a quick run about ten seconds. It needs 6 GiB of free memory and 4.5 GiB on the disk.",
				"把一个 4 GiB 的文件（快速运行时为 256 MiB）从头到尾读一遍，共有五种读法：pread 每次读 4 KiB；pread 每次读 128 KiB；io_uring 每次读 4 KiB，程序把 256 个或 32768 个请求填进环，用一次 io_uring_enter 全部完成，取走结果，再填下一批（环有两种大小，算两种读法）；以及 256 项、由内核线程自行取走请求（SQPOLL）的环。文件全部在页缓存里，不会读磁盘。每次读都必须得到所要的全部字节；每 61 页抽查一页的内容。\n\n"+
					"CPU 时间取自试验所在的 cgroup，为它工作的内核线程也算在内。系统调用在内核中计数，并单独占一轮，因为计数本身也要花时间。五种读法出自同一个程序：用 Go 写成，直接发出系统调用，测量期间既不分配也不回收内存。\n\n"+
					"请注意，各种读法不只是调用次数不同：pread-4k 反复使用同一个 4 KiB 缓冲区，pread-128k 用一个 128 KiB 的缓冲区，256 项的环有 1 MiB 缓冲区，32768 项的环则有 128 MiB；已在 CPU 缓存里的内存，写起来更快。使用 SQPOLL 时有两个线程同时在忙：CPU 少于 3 个时，它们会互相干扰，也会干扰别的程序。\n\n"+
					"整个实验大约需要一分半钟，快速运行约十秒。需要 6 GiB 空闲内存和 4.5 GiB 磁盘空间。"),
			Seconds: 95,
			Quick:   10,
			Series: []experiment.Series{{
				ID: "read", Label: text("Reading the file once", "读一遍文件"), Quick: true, Baseline: "pread-4k",
				Variants: []experiment.Variant{
					{ID: "pread-4k", Label: text("pread of 4 KiB", "每次 4 KiB 的 pread")},
					{ID: "ring-32768", Label: text("io_uring ring of 32,768", "32768 项的 io_uring 环")},
					{ID: "ring-256", Label: text("io_uring ring of 256", "256 项的 io_uring 环")},
					{ID: "sqpoll-256", Label: text("SQPOLL ring of 256", "256 项的 SQPOLL 环")},
					{ID: "pread-128k", Label: text("pread of 128 KiB", "每次 128 KiB 的 pread")},
				},
			}},
			Metrics: []experiment.Metric{
				{ID: "cpu_per_gb", Label: text("CPU time per gigabyte", "每 GB 的 CPU 时间"), Unit: "s/GB", Better: "lower"},
				{ID: "calls", Label: text("System calls that read", "用于读取的系统调用次数"), Unit: "calls", Better: "lower", Exact: true},
				{ID: "gb_per_s", Label: text("Throughput", "吞吐量"), Unit: "GB/s", Better: "higher"},
			},
		},
		Rounds:      7,
		QuickRounds: 7,
		Limit:       2 * time.Minute,
		Needs:       syscallsNeeds,
		Setup: func(ctx context.Context, dir string, quick bool) error {
			return trial.WritePages(ctx, dir, syscallsSize(quick))
		},
		Plan: func(_, variant, _ string, quick bool) (experiment.Plan, error) {
			return experiment.Plan{Roles: []experiment.Role{{
				Spec:  trial.Spec{Role: "reader", Params: map[string]float64{"bytes": float64(syscallsSize(quick))}},
				Count: true,
			}}}, nil
		},
		Measure: syscallsMeasure,
		Parameters: func(quick bool) map[string]any {
			return map[string]any{"bytes": syscallsSize(quick), "read_bytes": trial.PageSize}
		},
	}
}

func syscallsSize(quick bool) int64 {
	if quick {
		return syscallsQuickBytes
	}
	return syscallsBytes
}

func syscallsMeasure(t experiment.Trial) (map[string]float64, error) {
	r, ok := t.Roles["reader"]
	if !ok || r.Report.Bytes == 0 || r.Report.Seconds <= 0 {
		return nil, errors.New("the reader has reported nothing")
	}
	if t.Counted {
		call := "io_uring_enter"
		if strings.HasPrefix(t.Variant, "pread-") {
			call = "pread64"
		}
		return map[string]float64{"calls": float64(r.Syscalls[call])}, nil
	}
	gb := float64(r.Report.Bytes) / gigabyte
	return map[string]float64{"cpu_per_gb": r.CPU / gb, "gb_per_s": gb / r.Report.Seconds}, nil
}

func syscallsNeeds(_ context.Context, dir string, quick bool) []experiment.Missing {
	size := uint64(syscallsSize(quick))
	missing := append(needRings(), experiment.NeedDisk(dir, size)...)
	return append(missing, needMemory(size, quick)...)
}

// needRings is what keeps this process from having io_uring.
func needRings() []experiment.Missing {
	err := iouring.Available()
	if err == nil {
		return nil
	}
	fix := "use a kernel with CONFIG_IO_URING, outside of a container whose seccomp profile forbids it"
	if errors.Is(err, iouring.ErrDisabled) {
		fix = "sysctl kernel.io_uring_disabled=0"
	}
	return []experiment.Missing{{Name: "io_uring", Reason: err.Error(), Fix: fix}}
}

// needMemory is free memory for a file that must stay in the page cache.
func needMemory(file uint64, quick bool) []experiment.Missing {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return []experiment.Missing{{Name: "memory", Reason: fmt.Sprintf("the free memory cannot be read: %v", err), Fix: "mount /proc"}}
	}
	return memoryMissing(string(info), file, quick)
}

func memoryMissing(meminfo string, file uint64, quick bool) []experiment.Missing {
	need, fix := file+syscallsSpare, "end programs that use memory, or run it with --quick, which reads 256 MiB"
	if quick {
		need, fix = file+syscallsSpare/8, "end programs that use memory"
	}
	free, err := available(meminfo)
	if err != nil {
		return []experiment.Missing{{Name: "memory", Reason: err.Error(), Fix: "mount /proc"}}
	}
	if free >= need {
		return nil
	}
	return []experiment.Missing{{
		Name:   "memory",
		Reason: fmt.Sprintf("the file must stay in the page cache: it needs %.1f GiB of free memory, and %.1f GiB are available", float64(need)/(1<<30), float64(free)/(1<<30)),
		Fix:    fix,
	}}
}

// available is MemAvailable of /proc/meminfo, in bytes.
func available(meminfo string) (uint64, error) {
	for line := range strings.Lines(meminfo) {
		v, ok := strings.CutPrefix(line, "MemAvailable:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("MemAvailable in /proc/meminfo: %w", err)
		}
		return kib << 10, nil
	}
	return 0, errors.New("/proc/meminfo has no MemAvailable")
}
