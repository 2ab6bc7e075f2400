package main

import (
	"context"
	"errors"
	"log/slog"

	"kernelviz/internal/kernelviz"
	"kernelviz/internal/kernelviz/epoll"
	"kernelviz/internal/kernelviz/kernel"
	"kernelviz/internal/kernelviz/uring"
)

// machine is this machine's kernel and the views that show it.
type machine struct {
	kernel *kernel.Info
	epoll  *epoll.View
	uring  *uring.View
	views  []kernelviz.View // every view, in the order of the page
}

// openMachine chooses how each view reads the kernel. A further view is one
// more line here.
func openMachine(ctx context.Context, log *slog.Logger, showAddresses bool) (*machine, error) {
	info, err := kernel.Probe(ctx)
	if err != nil {
		return nil, err
	}
	m := &machine{kernel: info}
	m.epoll, err = epoll.New(ctx, epoll.Options{Logger: log, Kernel: info, ShowAddresses: showAddresses})
	if err != nil {
		return nil, err
	}
	m.uring, err = uring.New(ctx, uring.Options{Logger: log, Kernel: info, ShowAddresses: showAddresses})
	if err != nil {
		return nil, errors.Join(err, m.epoll.Close())
	}
	m.views = []kernelviz.View{m.epoll, m.uring}
	return m, nil
}

func (m *machine) close() error {
	var errs []error
	for _, v := range m.views {
		errs = append(errs, v.Close())
	}
	return errors.Join(errs...)
}
