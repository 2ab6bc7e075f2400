package sandbox

import "runtime"

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
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		for f := range t.work {
			f()
		}
	}()
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
