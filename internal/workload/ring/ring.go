// Package ring is a process that does to io_uring what it is told, one step at
// a time, and tells each step: a system call as strace would print it, a write
// to memory that it shares with the kernel as an assignment.
//
// It has no ring but those it was told to make, and no epoll instance: see
// package puppet, whose rules it keeps. Every ring with SQPOLL has an idle time
// of at most 2 s, so that its thread sleeps soon.
package ring

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"

	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

// memoryLimit is where the garbage collector sets in, in bytes; see package
// puppet.
const memoryLimit = 384 << 20

// Main is the life of a ring puppet whose control line is on descriptors 0 and
// 1. It returns when the line ends.
func Main() error {
	if err := control.Quiet("ring"); err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	runtime.LockOSThread()
	out := control.NewOut(control.FD(1))
	return control.Serve(control.FD(0), out, newPuppet(out))
}

// Puppet carries out actions. Do and State are called from the main thread,
// its workers run jobs of it.
type Puppet struct {
	out *control.Out
	tid int // of the main thread

	// mu is held from before a system call until it is recorded and logged,
	// except while a worker sleeps in one.
	mu        sync.Mutex
	rings     map[int]*instance // by fd
	files     table
	memory    arena
	surprises int
	surprised string // the latest
	seq       uint64 // of the last call
	stamp     []byte // buffer of enter

	// Of the running action.
	seqs    []uint64
	made    []int
	cqes    []Completion
	spun    *Spin
	stopped *control.Error
	awaited []expectation // completions that the action should cause at once

	workers [maxThreads + 1]*worker
	buf     []byte // that the main thread reads into
}

func newPuppet(out *control.Out) *Puppet {
	return &Puppet{
		out: out, tid: unix.Gettid(), rings: map[int]*instance{}, files: table{}, buf: make([]byte, maxRead),
	}
}

// Do carries out one action.
func (p *Puppet) Do(data json.RawMessage) (any, error) {
	a, o, err := parse(data)
	if err != nil {
		return nil, err
	}
	p.seqs, p.made, p.cqes, p.spun, p.stopped, p.awaited = []uint64{}, []int{}, nil, nil, nil, nil
	if err := o.run(p, a); err != nil {
		return nil, err
	}
	p.settle()
	return Result{Seqs: p.seqs, FDs: p.made, CQEs: p.cqes, Spin: p.spun, Stopped: p.stopped}, nil
}

// settle lets what the action set going happen first: threads that it woke
// return, an SQPOLL thread that is awake takes what was queued, requests whose
// file became ready complete. It sleeps by a plain system call.
func (p *Puppet) settle() {
	const step, most = 50_000, 200_000_000 // ns
	for slept := 0; p.due() && slept < most; slept += step {
		_ = unix.Nanosleep(&unix.Timespec{Nsec: step}, nil)
	}
}

func (p *Puppet) due() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.workers {
		if w != nil && w.due() {
			return true
		}
	}
	for _, g := range p.rings {
		if g.due() {
			return true
		}
	}
	for _, e := range p.awaited {
		if e.due() {
			return true
		}
	}
	return false
}

// surprise counts what differs from what was foretold. Held: p.mu.
func (p *Puppet) surprise(format string, args ...any) {
	p.surprises++
	p.surprised = fmt.Sprintf(format, args...)
}

// find is a ring of this puppet.
func (p *Puppet) find(fd int) (*instance, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.rings[fd]; g != nil {
		return g, nil
	}
	return nil, &control.Error{
		Code:    "no_ring",
		Message: fmt.Sprintf("fd %d is not a ring of this puppet", fd),
		Fix:     "make one with op setup and use the fd in its result",
	}
}
