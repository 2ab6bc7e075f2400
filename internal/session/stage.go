package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"kernelviz/internal/kernelviz"
)

// sampleTimeout bounds one look at the stage.
const sampleTimeout = 10 * time.Second

// stage is the kernel object that the lab shows. It is owned by the session's
// loop, but for topic, which Session.mu guards.
type stage struct {
	watch kernelviz.Watch
	topic string        // "epoll/1234:3"; empty while there is none
	quit  chan struct{} // closed with the watch
	tried time.Time     // when the object was last looked for
}

// findEvery is how often an object that is not there yet is looked for.
const findEvery = 40 * time.Millisecond

// sampleStage returns the facts of what the stage shows; none while there is
// nothing.
func (s *Session) sampleStage() kernelviz.Facts {
	if s.lab.Stage == nil {
		return nil
	}
	if s.stage.watch == nil && !s.openStage() {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, sampleTimeout)
	defer cancel()
	snap, err := s.stage.watch.Sample(ctx)
	if err != nil {
		if s.ctx.Err() == nil && !errors.Is(err, kernelviz.ErrGone) {
			s.warn("looking at "+s.stage.topic, err)
		}
		s.closeStage()
		return nil
	}
	return snap.Facts()
}

// openStage watches the object if it exists by now.
func (s *Session) openStage() bool {
	if time.Since(s.stage.tried) < findEvery {
		return false
	}
	s.stage.tried = time.Now()
	pid, fd, ok := s.stageTarget()
	if !ok {
		return false
	}
	view := s.manager.view(s.lab.Stage.View)
	if view == nil {
		return false // Missing says so
	}
	name := fmt.Sprintf("%d:%d", pid, fd)
	ctx, cancel := context.WithTimeout(s.ctx, sampleTimeout)
	defer cancel()
	w, err := view.Open(ctx, name)
	if err != nil {
		if !errors.Is(err, kernelviz.ErrNotFound) {
			s.warn("watching "+name, err)
		}
		return false
	}
	s.stage.watch, s.stage.quit = w, make(chan struct{})
	s.setTopic(kernelviz.Topic{View: view.Name(), Name: name}.String())
	if wake := w.Wake(); wake != nil {
		quit := s.stage.quit
		s.loops.Go(func() { s.wakes(wake, quit) })
	}
	return true
}

// wakes looks at once when the kernel reports a change, while the watch is open.
func (s *Session) wakes(wake, quit <-chan struct{}) {
	for {
		select {
		case _, ok := <-wake:
			if !ok {
				return
			}
			s.nudge()
		case <-quit:
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// stageTarget is the process and fd that the stage shows.
func (s *Session) stageTarget() (pid, fd int, ok bool) {
	of := s.lab.Stage
	if of.Of == "program" {
		return firstOf(of.View, s.programPIDs())
	}
	s.mu.Lock()
	w := s.works[of.Of]
	s.mu.Unlock()
	if w == nil {
		return 0, 0, false
	}
	select {
	case <-w.process.Done():
		return 0, 0, false
	default:
	}
	pid = w.process.PID()
	return pid, of.FD, shows(of.View, pid, strconv.Itoa(of.FD))
}

// firstOf finds the object of a view with the lowest fd of the first process
// that has one.
func firstOf(view string, pids []int) (pid, fd int, ok bool) {
	const most = 256 // fds looked at: a server makes its instance early
	slices.Sort(pids)
	for _, pid := range pids {
		d, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
		if err != nil {
			continue
		}
		names, _ := d.Readdirnames(most)
		d.Close()
		for _, name := range names {
			if !shows(view, pid, name) {
				continue
			}
			if n, err := strconv.Atoi(name); err == nil && (!ok || n < fd) {
				fd, ok = n, true
			}
		}
		if ok {
			return pid, fd, true
		}
	}
	return 0, 0, false
}

// shows tells whether a view shows what is behind a descriptor, by the name
// that fs/eventpoll.c and io_uring/io_uring.c give their files.
func shows(view string, pid int, fd string) bool {
	names := map[string]string{"epoll": "anon_inode:[eventpoll]", "uring": "anon_inode:[io_uring]"}
	to, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "fd", fd))
	return err == nil && to == names[view]
}

func (s *Session) setTopic(topic string) {
	s.mu.Lock()
	s.stage.topic = topic
	s.mu.Unlock()
	s.tell()
}

// closeStage ends the watch. Only the session's loop calls it, or Close after
// the loop has ended.
func (s *Session) closeStage() {
	if s.stage.watch == nil {
		return
	}
	s.warn("closing the watch of "+s.stage.topic, s.stage.watch.Close())
	close(s.stage.quit)
	s.stage.watch = nil
	s.setTopic("")
}
