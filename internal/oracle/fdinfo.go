// Package oracle starts real servers for tests and reads what procfs says of
// their epoll instances, so that a view can be held against both. Only tests
// import it.
package oracle

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Item is one line of /proc/PID/fdinfo/EPFD: an item of an epoll instance as
// ep_show_fdinfo (fs/eventpoll.c) prints it.
type Item struct {
	FD     int    // tfd
	Events uint32 // event.events, private bits included
	Data   uint64 // event.data
	Inode  uint64 // of the watched file; 0 if this kernel does not say
}

// Instance names an epoll instance by a descriptor that is open on it.
type Instance struct {
	PID int
	FD  int
}

// Items reads the items of an epoll instance, in the order of its tree: the
// kernel walks it in order under ep->mtx while it prints.
func (i Instance) Items() ([]Item, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", i.PID, i.FD))
	if err != nil {
		return nil, fmt.Errorf("reading the items of epoll instance %d:%d: %w", i.PID, i.FD, err)
	}
	items, err := parseFdinfo(b)
	if err != nil {
		return nil, fmt.Errorf("reading the items of epoll instance %d:%d: %w", i.PID, i.FD, err)
	}
	return items, nil
}

// parseFdinfo reads lines like
//
//	tfd:        6 events:       19 data:      55d0c0a4e010  pos:0 ino:9 sdev:8
func parseFdinfo(b []byte) ([]Item, error) {
	var items []Item
	for in := bufio.NewScanner(bytes.NewReader(b)); in.Scan(); {
		line := in.Text()
		if !strings.HasPrefix(line, "tfd:") {
			continue // pos, flags, mnt_id, ino of the instance itself
		}
		item, err := parseItem(line)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		items = append(items, item)
	}
	return items, nil
}

func parseItem(line string) (Item, error) {
	// "tfd:    6" and "ino:9": the space after a colon may be missing.
	f := strings.Fields(strings.ReplaceAll(line, ":", ": "))
	values := map[string]string{}
	for n := 0; n+1 < len(f); n += 2 {
		values[f[n]] = f[n+1]
	}
	fd, err := strconv.ParseInt(values["tfd:"], 10, 32)
	if err != nil {
		return Item{}, err
	}
	events, err := strconv.ParseUint(values["events:"], 16, 32)
	if err != nil {
		return Item{}, err
	}
	data, err := strconv.ParseUint(values["data:"], 16, 64)
	if err != nil {
		return Item{}, err
	}
	item := Item{FD: int(fd), Events: uint32(events), Data: data}
	if text, ok := values["ino:"]; ok {
		if item.Inode, err = strconv.ParseUint(text, 16, 64); err != nil {
			return Item{}, err
		}
	}
	return item, nil
}

// Instances lists the descriptors of a process that are epoll instances, in
// ascending order of the descriptor's text.
func Instances(pid int) ([]Instance, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing the epoll instances of process %d: %w", pid, err)
	}
	var found []Instance
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil || target != "anon_inode:[eventpoll]" {
			continue // closed since the directory was read, or something else
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, fmt.Errorf("listing the epoll instances of process %d: %w", pid, err)
		}
		found = append(found, Instance{PID: pid, FD: fd})
	}
	return found, nil
}
