package sandbox

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// apart runs f on a thread that ends with it, so that f may leave it in another
// namespace. It returns at once. The first thread of the process never takes
// part: Go cannot end it, it would keep the namespace for ever, and it is the
// one that /proc/PID/ns and /proc/self/net speak of.
func apart(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f() // never unlocked: the thread ends with the goroutine
			return
		}
		// While this goroutine holds the first thread, no other is on it.
		defer runtime.UnlockOSThread()
		locked := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(locked)
			f()
		}()
		<-locked
	}()
}

// thread is one OS thread that lives as long as the Sandbox and is the parent
// of all children. PR_SET_PDEATHSIG fires when the parent *thread* dies
// (kernel/exit.c, reparent_leader), and ptrace is tied to a thread as well;
// goroutines move between threads.
type thread struct {
	work  chan func()
	stray bool // it is in a foreign network namespace; used on the thread only
}

func startThread() *thread {
	t := &thread{work: make(chan func())}
	apart(func() {
		for f := range t.work {
			f()
		}
	})
	return t
}

// do runs f on the thread and waits for it.
func (t *thread) do(f func()) {
	done := make(chan struct{})
	t.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

// stop ends the thread. do must not be called afterwards.
func (t *thread) stop() { close(t.work) }
