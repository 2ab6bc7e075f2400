package puppet

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"kernelviz/internal/workload/control"

	"golang.org/x/sys/unix"
)

// childName is the workload that Hold is the life of.
const childName = "holder"

// Hold is the life of a puppet's child: it keeps what it inherited open and
// sleeps until it is killed.
func Hold() error {
	if err := control.Rename("puppet-child"); err != nil {
		return err
	}
	for {
		_ = unix.Pause() // only a signal that was ignored ends it
	}
}

func (p *Puppet) doFork(*Action) error {
	if p.child != 0 {
		return &control.Error{
			Code:    "not_possible",
			Message: fmt.Sprintf("the puppet has a child already, process %d", p.child),
			Fix:     "end it first, with op reap",
		}
	}
	p.fork()
	return nil
}

func (p *Puppet) doReap(*Action) error {
	if p.child == 0 {
		return &control.Error{Code: "not_possible", Message: "the puppet has no child", Fix: "make one first, with op fork"}
	}
	p.releasing(func() { p.reap() })
	return nil
}

// fork makes a child that holds a copy of every fd, as fork(2) would: a Go
// process cannot go on in a copy of itself, so the child executes this program
// again, with the files under the same numbers.
func (p *Puppet) fork() syscall.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	files := []uintptr{none, none, none} // the control line is the puppet's alone
	for _, fd := range p.table.FDs() {
		for len(files) < fd {
			files = append(files, none)
		}
		files = append(files, uintptr(fd))
	}
	args := append(append([]string{}, os.Args[:len(os.Args)-1]...), childName)
	e := p.begin()
	// It dies with this thread, the main one, also where the sandbox has no cgroup.
	pid, err := syscall.ForkExec("/proc/self/exe", args, &syscall.ProcAttr{
		Env: os.Environ(), Files: files, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err == nil {
		p.child = pid
		p.table.Fork()
	}
	return p.leave(e, "clone(child_stack=NULL, flags=CLONE_VM|CLONE_VFORK|SIGCHLD)", pid, errnoOf(err), "")
}

// none is a number that the child has nothing open under.
const none = ^uintptr(0)

// reap kills the child and waits for its end. By then its fds are closed.
func (p *Puppet) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.begin()
	err := unix.Kill(p.child, unix.SIGKILL)
	if p.leave(e, p.text.start("kill").int(p.child).raw("SIGKILL").end(), 0, errnoOf(err), "") != 0 {
		return
	}
	e = p.begin()
	var status unix.WaitStatus
	pid, err := unix.Wait4(p.child, &status, 0, nil)
	for err == unix.EINTR {
		pid, err = unix.Wait4(p.child, &status, 0, nil)
	}
	c := p.text.start("wait4").int(p.child)
	if err == nil {
		c.raw("[{" + ending(status) + "}]")
		p.table.Reap()
		p.child = 0
	} else {
		c.raw("NULL")
	}
	p.leave(e, c.int(0).raw("NULL").end(), pid, errnoOf(err), "")
}

// ending is how strace prints a status.
func ending(s unix.WaitStatus) string {
	if s.Signaled() {
		return "WIFSIGNALED(s) && WTERMSIG(s) == " + unix.SignalName(s.Signal())
	}
	return "WIFEXITED(s) && WEXITSTATUS(s) == " + strconv.Itoa(s.ExitStatus())
}
