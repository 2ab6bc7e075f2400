package epoll

import (
	"fmt"

	"kernelviz/internal/kernelviz"
)

// Target implements kernelviz.Watch.
func (w *watch) Target() kernelviz.Target { return w.view.target(&w.target) }

// Target implements kernelviz.Watch. The number of items is left to the first
// snapshot.
func (w *fdinfoWatch) Target() kernelviz.Target {
	return kernelviz.Target{
		View: w.view.Name(), Name: fmt.Sprintf("%d:%d", w.pid, w.fd), PID: w.pid, Comm: comm(w.pid), FD: w.fd, Items: -1,
	}
}
