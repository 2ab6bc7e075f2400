// Package puppet is a process that does to epoll what it is told, one system
// call at a time, and tells each call as strace would print it.
//
// It makes plain system calls only. The Go runtime opens an epoll instance of
// its own as soon as a timer is started or an os.File, a socket or a pipe is
// used through package os or net; here the learner's instance must be the only
// one, so nothing in this process does any of that. For the same reason the
// garbage collector is off (its scavenger sleeps on a timer) until memoryLimit.
package puppet

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"

	"kernelviz/internal/workload/control"
	"kernelviz/internal/workload/puppet/oracle"

	"golang.org/x/sys/unix"
)

// memoryLimit is where the garbage collector sets in, in bytes. A puppet makes
// about 2 kB of garbage an action. When it sets in, an epoll instance of the
// runtime may appear beside the puppet's.
const memoryLimit = 384 << 20

// Main is the life of a puppet whose control line is on descriptors 0 and 1.
// It returns when the line ends.
func Main() error {
	if err := control.Quiet("puppet"); err != nil {
		return fmt.Errorf("puppet: %w", err)
	}
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	runtime.LockOSThread()
	out := control.NewOut(control.FD(1))
	return control.Serve(control.FD(0), out, newPuppet(out))
}

// Puppet carries out actions. Do and State are called from the main thread,
// the threads that wait call the methods of threads.go.
type Puppet struct {
	out *control.Out
	tid int // of the main thread

	// mu is held from before a system call until it is recorded and logged, so
	// that a thread woken by the call is recorded after it.
	mu    sync.Mutex
	table *oracle.Table
	seq   uint64   // of the last call
	seqs  []uint64 // of the running action
	stamp []byte   // buffer of enter
	text  call     // buffer of the main thread

	child   int            // process id of the forked child; 0 if there is none
	made    []int          // fds of the running action
	stopped *control.Error // why the running action stopped early
	workers [maxThreads + 1]*worker
	buf     []byte // that the main thread reads into
}

func newPuppet(out *control.Out) *Puppet {
	return &Puppet{out: out, tid: unix.Gettid(), table: oracle.New(), buf: make([]byte, maxRead)}
}

// Do carries out one action.
func (p *Puppet) Do(data json.RawMessage) (any, error) {
	a, o, err := parse(data)
	if err != nil {
		return nil, err
	}
	p.seqs, p.made, p.stopped = []uint64{}, []int{}, nil
	if err := o.run(p, a); err != nil {
		return nil, err
	}
	p.settle()
	return Result{Seqs: p.seqs, FDs: p.made, Stopped: p.stopped}, nil
}

// State tells what the puppet knows.
func (p *Puppet) State() any {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.table.State()
	s.Child = p.child
	return s
}

// settle lets threads that the action woke return first, so that calls are
// logged in the order of cause and effect. It sleeps by a plain system call.
func (p *Puppet) settle() {
	const step, most = 50_000, 200_000_000 // ns
	for slept := 0; p.due() && slept < most; slept += step {
		_ = unix.Nanosleep(&unix.Timespec{Nsec: step}, nil)
	}
}

func (p *Puppet) due() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.table.Due()
}
