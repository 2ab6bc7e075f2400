package catalog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kernelviz/internal/experiment"
	"kernelviz/internal/workload/trial"
)

const (
	odirectBytes      = 1 << 30
	odirectQuickBytes = 256 << 20
	odirectMS         = 1000 // of a trial
	odirectQuickMS    = 400
)

// odirectQuick tells which depths are part of a quick run.
func odirectQuick(depth int) bool {
	return depth == 1 || depth == 8 || depth == 32 || depth == 128
}

// ODirect reads the machine's disk with a given number of reads in flight.
func ODirect() experiment.Definition {
	text := func(en, zh string) experiment.Text { return experiment.Text{En: en, Zh: zh} }
	var series []experiment.Series
	for depth := 1; depth <= 128; depth *= 2 {
		n := strconv.Itoa(depth)
		series = append(series, experiment.Series{
			ID: "qd-" + n, X: float64(depth), Quick: odirectQuick(depth), Baseline: "pread",
			Label: text("Queue depth "+n, "队列深度 "+n),
			Variants: []experiment.Variant{
				{ID: "pread", Label: text("pread one at a time", "一次一个的 pread")},
				{ID: "uring", Label: text("io_uring at that depth", "达到队列深度的 io_uring")},
			},
		})
	}
	return experiment.Definition{
		Info: experiment.Info{
			ID:       "odirect",
			Title:    text("Queue depth of a disk", "磁盘的队列深度"),
			Question: text("How much does a disk give when it is asked for one page after another, or for many at once?", "一页一页地读磁盘，与同时请求许多页，各能读多快？"),
			About: text(
				"Pages of 4 KiB are read from a file of 1 GiB (256 MiB in a quick run) on the disk where experiments keep their files, past the page cache (O_DIRECT), in an order that looks random and has no page twice. pread has one read in flight, always: it is measured again in each series, beside io_uring at that depth, because a disk is not equally fast at all times. io_uring keeps 1, 2, 4, … 128 reads in flight: whatever has completed is asked for anew, with one system call that waits for at least one more. A trial goes on for one second (0.4 s in a quick run), and the content of every page is checked.\n\n"+
					"Latency is from asking for a page to taking it, measured once for all that are asked for or taken together; it is right to one sixteenth.\n\n"+
					"Mind that the disk of a virtual machine is mostly a file or a volume on another machine, with caches and limits of its own: what is measured is that path, not a drive. Others who use the disk meanwhile are measured with it.\n\n"+
					"It takes about two and a quarter minutes; a quick run, of depths 1, 8, 32 and 128, about 25 seconds.",
				"文件大小为 1 GiB（快速运行时为 256 MiB），放在实验存放文件的磁盘上。绕过页缓存（O_DIRECT），以看似随机、但不重复的顺序，每次读一个 4 KiB 的页。pread 始终只有一个读在进行；磁盘的速度会随时间变化，因此每个队列深度都重新测一遍 pread，与该深度的 io_uring 对照。io_uring 让 1、2、4……128 个读同时进行：每完成一些就补上同样多的请求，并用一次系统调用等待至少一个新的结果。每次试验持续一秒（快速运行 0.4 秒），每一页的内容都会检查。\n\n"+
					"延迟是从提出请求到取走结果的时间；同一批提出或取走的请求只读一次时钟；误差不超过十六分之一。\n\n"+
					"请注意，虚拟机的磁盘多半是另一台机器上的文件或卷，它有自己的缓存和限速：测到的是整条路径，而不是某块硬盘。同时使用这块磁盘的其他程序也会影响结果。\n\n"+
					"整个实验大约需要两分二十秒；快速运行只测深度 1、8、32、128，约 25 秒。"),
			Seconds: 140,
			Quick:   25,
			Series:  series,
			Metrics: []experiment.Metric{
				{ID: "gb_per_s", Label: text("Throughput", "吞吐量"), Unit: "GB/s", Better: "higher"},
				{ID: "cpu_per_gb", Label: text("CPU time per gigabyte", "每 GB 的 CPU 时间"), Unit: "s/GB", Better: "lower"},
				{ID: "iops", Label: text("Reads per second", "每秒读取次数"), Unit: "1/s", Better: "higher"},
				{ID: "p50_us", Label: text("Median latency", "延迟中位数"), Unit: "µs", Better: "lower"},
				{ID: "p99_us", Label: text("99th percentile of latency", "p99 延迟"), Unit: "µs", Better: "lower"},
			},
		},
		Rounds:      7,
		QuickRounds: 6,
		Limit:       time.Minute,
		Needs:       odirectNeeds,
		Setup: func(ctx context.Context, dir string, quick bool) error {
			return trial.WritePages(ctx, dir, odirectSize(quick))
		},
		Plan: odirectPlan,
		Measure: func(t experiment.Trial) (map[string]float64, error) {
			r, ok := t.Roles["reader"]
			if !ok || r.Report.Bytes == 0 || r.Report.Seconds <= 0 {
				return nil, errors.New("the reader has reported nothing")
			}
			gb := float64(r.Report.Bytes) / gigabyte
			return map[string]float64{
				"gb_per_s": gb / r.Report.Seconds, "cpu_per_gb": r.CPU / gb, "iops": float64(r.Report.Ops) / r.Report.Seconds,
				"p50_us": r.Report.Metrics["p50_us"], "p99_us": r.Report.Metrics["p99_us"],
			}, nil
		},
		Parameters: func(quick bool) map[string]any {
			return map[string]any{"bytes": odirectSize(quick), "read_bytes": trial.PageSize, "ms": odirectTime(quick)}
		},
	}
}

func odirectSize(quick bool) int64 {
	if quick {
		return odirectQuickBytes
	}
	return odirectBytes
}

func odirectTime(quick bool) int {
	if quick {
		return odirectQuickMS
	}
	return odirectMS
}

func odirectPlan(series, _, _ string, quick bool) (experiment.Plan, error) {
	depth, err := strconv.Atoi(strings.TrimPrefix(series, "qd-"))
	if err != nil {
		return experiment.Plan{}, fmt.Errorf("series %q is no queue depth", series)
	}
	return experiment.Plan{Roles: []experiment.Role{{Spec: trial.Spec{
		Role:   "reader",
		Params: map[string]float64{"bytes": float64(odirectSize(quick)), "depth": float64(depth), "ms": float64(odirectTime(quick))},
	}}}}, nil
}

func odirectNeeds(_ context.Context, dir string, quick bool) []experiment.Missing {
	missing := append(needRings(), experiment.NeedDisk(dir, uint64(odirectSize(quick)))...)
	return append(missing, needDirect(dir)...)
}

// needDirect tries whether files in dir can be read past the page cache, from
// something that is no memory.
func needDirect(dir string) []experiment.Missing {
	fix := "give a directory on a disk with --experiment-dir DIR"
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && (fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC) {
		// Newer kernels open files there with O_DIRECT, and read memory all the same.
		return []experiment.Missing{{Name: "O_DIRECT", Reason: dir + " lies in memory (tmpfs), on no disk", Fix: fix}}
	}
	if err := tryDirect(dir); err != nil {
		return []experiment.Missing{{Name: "O_DIRECT", Reason: err.Error(), Fix: fix}}
	}
	return nil
}

// tryDirect reads a page of a file of its own, which it removes.
func tryDirect(dir string) (err error) {
	f, err := os.CreateTemp(dir, "direct-")
	if err != nil {
		return fmt.Errorf("making a file to try it: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := f.Write(make([]byte, trial.PageSize)); err != nil {
		return fmt.Errorf("making a file to try it: %w", err)
	}
	fd, err := unix.Open(f.Name(), unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("the file system of %s knows no O_DIRECT: open gives EINVAL", dir)
	}
	if err != nil {
		return fmt.Errorf("opening a file in %s with O_DIRECT: %w", dir, err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	// At least one page of it is aligned.
	memory := make([]byte, 2*trial.PageSize)
	ahead := -uintptr(unsafe.Pointer(&memory[0])) % trial.PageSize
	n, err := unix.Pread(fd, memory[ahead:ahead+trial.PageSize], 0)
	if err != nil {
		return fmt.Errorf("reading 4 KiB with O_DIRECT in %s: %w", dir, err)
	}
	if n != trial.PageSize {
		return fmt.Errorf("reading 4 KiB with O_DIRECT in %s gave %d bytes", dir, n)
	}
	return nil
}
