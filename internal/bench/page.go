package main

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// page opens an instance of a million items in Chromium, without a GPU, and
// pans and zooms.
func page(ctx context.Context, e *env, r *report) error {
	n := pick(e, 1_000_000, 100_000)
	tree, err := e.startChurn(ctx, n)
	if err != nil {
		return err
	}
	defer tree.stop()
	s, err := e.startLabserver(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	ms := pick(e, 6000, 1500)
	chromium, err := e.startBrowser(ctx, "page", s.url, "epoll/"+tree.target(), strconv.Itoa(ms))
	if err != nil {
		return err
	}
	defer chromium.stop()

	r.of("%s items, 1280 × 800", grouped(n))
	var first struct {
		First struct {
			Scripts []string
			At      float64 // ms since the navigation
		}
	}
	if err := tellJSON(chromium, &first); err != nil {
		return err
	}
	size := 0
	var parts []string
	for _, name := range first.First.Scripts {
		n, err := zipped(ctx, s, name)
		if err != nil {
			return err
		}
		size += n
		parts = append(parts, fmt.Sprintf("%s %s", path.Base(name), bytes.format(float64(n))))
	}
	r.add("first picture after the navigation", nanoseconds, series{1e6 * first.First.At})
	r.hold("JavaScript loaded before it, gzip", bytes, series{float64(size)}, "max", 60_000)

	var still series
	for range 4 {
		var got struct {
			Kind       string
			Gaps, Work series // ms
			Glyphs     series
		}
		if err := tellJSON(chromium, &got); err != nil {
			return err
		}
		gaps := got.Gaps.times(1e6)
		if got.Kind == "still" {
			still = append(still, gaps...)
			continue
		}
		// 60 frames a second, as the clock of animation frames rounds them.
		r.hold(got.Kind+": from frame to frame", nanoseconds, gaps, "p95", 17.5e6)
		r.add(got.Kind+": the page's own work for a frame", nanoseconds, got.Work.times(1e6))
		r.add(got.Kind+": glyphs drawn", count, got.Glyphs)
	}
	r.add("nothing moves: from frame to frame", nanoseconds, still)
	r.note("loaded before the first picture: %s", strings.Join(parts, ", "))
	r.note("the page asks for an animation frame at every one; Chromium paints without a GPU")
	return nil
}

func tellJSON(from *peer, into any) error {
	line, err := from.line()
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(line), into); err != nil {
		return fmt.Errorf("line %.100q of the browser: %w", line, err)
	}
	return nil
}

// zipped is the size of a file of the server as gzip sends it.
func zipped(ctx context.Context, s *labserver, name string) (int, error) {
	body, err := get(ctx, s.addr, s.token, name)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	var n counter
	w := gzip.NewWriter(&n)
	_, err = io.Copy(w, body)
	err = errors.Join(err, w.Close())
	return int(n), err
}

type counter int

func (n *counter) Write(b []byte) (int, error) {
	*n += counter(len(b))
	return len(b), nil
}
