package trial

import (
	"fmt"
	"math"
	"runtime"

	"golang.org/x/sys/unix"
)

// quiet keeps the goroutine on its thread, and from that thread the signals by
// which Go's scheduler asks a goroutine for a pause after 10 ms: they would cut
// waits short (EINTR), which the same program in C would not see. What it
// returns undoes both.
func quiet() (func(), error) {
	runtime.LockOSThread()
	var mask, old unix.Sigset_t
	mask.Val[0] = 1 << (unix.SIGURG - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &mask, &old); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("rt_sigprocmask: %w", err)
	}
	return func() {
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
		runtime.UnlockOSThread()
	}, nil
}

// param is a whole number among the parameters of a trial.
func param(s Spec, name string, least, most int64) (int64, error) {
	v, ok := s.Params[name]
	if !ok || v != math.Trunc(v) || v < float64(least) || v > float64(most) {
		return 0, fmt.Errorf("%s %s: parameter %q is %v, not a whole number from %d to %d", s.Experiment, s.Variant, name, v, least, most)
	}
	return int64(v), nil
}

// atLeast3 is the remark of variants with a thread of the kernel that spins.
func atLeast3() []Note {
	if n := runtime.NumCPU(); n < 3 {
		return []Note{{
			Code: "few_cpus",
			Text: fmt.Sprintf("SQPOLL keeps a kernel thread and this program busy at once: a fair comparison takes at least 3 CPUs, and there are %d.", n),
			Zh:   fmt.Sprintf("使用 SQPOLL 时，内核线程和程序同时在忙：至少要有 3 个 CPU 才能公平比较，而本机只有 %d 个。", n),
		}}
	}
	return nil
}
