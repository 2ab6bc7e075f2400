package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
)

// lessons opens lessons in Chromium, lets their checks tick, and prints 50 MB in
// a terminal beside a live tree.
func lessons(ctx context.Context, e *env, r *report) error {
	s, err := e.startLabserver(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	big, err := bigFile(e.dir)
	if err != nil {
		return err
	}
	chromium, err := e.startBrowser(ctx, "labs", s.url, big, strconv.Itoa(pick(e, 40, 10)))
	if err != nil {
		return err
	}
	defer chromium.stop()

	var first struct {
		Opened  series // ms
		Scripts []string
	}
	if err := tellJSON(chromium, &first); err != nil {
		return err
	}
	size := 0
	for _, name := range first.Scripts {
		n, err := zipped(ctx, s, name)
		if err != nil {
			return err
		}
		size += n
	}
	r.hold("opening a lesson, until its first question can be answered", nanoseconds, first.Opened.times(1e6), "p50", 300e6)
	r.hold("JavaScript loaded by then, gzip", bytes, series{float64(size)}, "max", 150_000)

	var ticked struct{ Ticks series }
	if err := tellJSON(chromium, &ticked); err != nil {
		return err
	}
	r.hold("from epoll_ctl to the tick on the page", nanoseconds, ticked.Ticks.times(1e6), "p99", 200e6)

	var ready struct{ Ready bool }
	if err := tellJSON(chromium, &ready); err != nil {
		return err
	}
	before, err := resident(s.cmd.Process.Pid)
	if err != nil {
		return err
	}
	var printed struct {
		Gaps series
		MS   float64
	}
	if err := tellJSON(chromium, &printed); err != nil {
		return err
	}
	after, err := resident(s.cmd.Process.Pid)
	if err != nil {
		return err
	}
	r.hold("cat of 50 MB in the terminal: from frame to frame", nanoseconds, printed.Gaps.times(1e6), "p50", 33.4e6)
	r.add("cat of 50 MB, until its last line is drawn", nanoseconds, series{1e6 * printed.MS})
	r.hold("memory of the server after it, beside before", ratio, series{after / before}, "max", 1.5)
	return nil
}

// bigFile writes 50 MB of lines.
func bigFile(dir string) (string, error) {
	const line = "0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWX\n"
	text := make([]byte, 0, 50_000_000)
	for len(text)+len(line) <= cap(text) {
		text = append(text, line...)
	}
	path := filepath.Join(dir, "big.txt")
	return path, os.WriteFile(path, text, 0o644)
}
