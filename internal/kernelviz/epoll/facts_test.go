package epoll

import (
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"kernelviz/internal/kernelviz"
)

// checkFactTypes holds what a snapshot publishes against what FactList says.
// Every fact that is there has its type; with all, every fact is there.
func checkFactTypes(t *testing.T, f kernelviz.Facts, all bool) {
	t.Helper()
	known := map[string]bool{}
	for _, fact := range new(View).FactList() {
		known[fact.Name] = true
		v, ok := f[fact.Name]
		if !ok {
			if all {
				t.Errorf("%s is not published", fact.Name)
			}
			continue
		}
		if !hasType(v, fact.Type) {
			t.Errorf("%s is a %T, FactList says %s", fact.Name, v, fact.Type)
		}
		elements, _ := v.([]map[string]any)
		for _, e := range elements {
			if len(e) != len(fact.Fields) {
				t.Errorf("an element of %s has %d fields, FactList says %d", fact.Name, len(e), len(fact.Fields))
			}
			for _, field := range fact.Fields {
				if !hasType(e[field.Name], field.Type) {
					t.Errorf("%s of %s is a %T, FactList says %s", field.Name, fact.Name, e[field.Name], field.Type)
				}
			}
		}
	}
	for name := range f {
		if !known[name] {
			t.Errorf("%s is published and FactList does not have it", name)
		}
	}
}

func hasType(v any, want kernelviz.FactType) bool {
	switch v.(type) {
	case bool:
		return want == kernelviz.FactBool
	case int:
		return want == kernelviz.FactInt
	case string:
		return want == kernelviz.FactString
	case []int:
		return want == kernelviz.FactInts
	case []map[string]any:
		return want == kernelviz.FactList
	}
	return false
}

func TestFactsOfTheTree(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		w := watchOf(t, v, ep)
		f := wholeSample(t, w).Facts()
		checkFactTypes(t, f, true)
		if f["epoll.root"] != -1 || f["epoll.nodes"] != 0 {
			t.Errorf("of an empty tree: root %v, %v nodes", f["epoll.root"], f["epoll.nodes"])
		}
		fds := ep.addEventfds(t, 20)
		ep.mod(t, fds[3], unix.EPOLLIN|unix.EPOLLET)
		rng := rand.New(rand.NewPCG(7, 7))
		var ready []int
		for _, i := range rng.Perm(20)[:6] {
			ring(t, fds[i])
			ready = append(ready, fds[i])
		}
		s := wholeSample(t, w)
		f = s.Facts()
		checkFactTypes(t, f, true)
		if got := f["epoll.ready_fds"].([]int); !slices.Equal(got, ready) {
			t.Errorf("ready_fds is %v, they became ready as %v", got, ready)
		}
		checkItems(t, f, ready)
		items := f["epoll.items"].([]map[string]any)
		for i, n := range s.Show(make([]kernelviz.Tier, 3)).Nodes {
			if items[i]["fd"] != int(n.FD) {
				t.Fatalf("item %d is fd %v; in tree order it is %d", i, items[i]["fd"], n.FD)
			}
			want := "EPOLLIN|EPOLLERR|EPOLLHUP"
			if int(n.FD) == fds[3] {
				want += "|EPOLLET"
			}
			if items[i]["events"] != want || items[i]["kind"] != "eventfd" {
				t.Errorf("fd %d is a %v with %v, want an eventfd with %s", n.FD, items[i]["kind"], items[i]["events"], want)
			}
		}
	})
}

// checkItems walks epoll.items as a tree, by fd, and counts what the other
// facts say.
func checkItems(t *testing.T, f kernelviz.Facts, ready []int) {
	t.Helper()
	byFD := map[int]map[string]any{}
	red, deepest := 0, 0
	for _, item := range f["epoll.items"].([]map[string]any) {
		byFD[item["fd"].(int)] = item
		if item["red"].(bool) {
			red++
		}
		deepest = max(deepest, item["depth"].(int)+1)
		if item["ready"] != slices.Contains(ready, item["fd"].(int)) {
			t.Errorf("fd %v: ready is %v", item["fd"], item["ready"])
		}
		if item["open"] != true {
			t.Errorf("fd %v is open", item["fd"])
		}
	}
	if len(byFD) != f["epoll.nodes"] || red != f["epoll.red"] || deepest != f["epoll.depth"] {
		t.Errorf("%d items, %d red, %d levels; the facts are %v, %v, %v", len(byFD), red, deepest, f["epoll.nodes"], f["epoll.red"], f["epoll.depth"])
	}
	reached := 0
	var visit func(fd, parent int)
	visit = func(fd, parent int) {
		if fd == -1 {
			return
		}
		item := byFD[fd]
		if item == nil || item["parent"] != parent {
			t.Fatalf("fd %d is %v, want one whose parent is %d", fd, item, parent)
		}
		reached++
		visit(item["left"].(int), fd)
		visit(item["right"].(int), fd)
	}
	visit(f["epoll.root"].(int), -1)
	if reached != len(byFD) {
		t.Errorf("%d of %d items hang below the root", reached, len(byFD))
	}
}

func TestFactsOfAClosedFD(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		fd := newEventfd(t)
		ep.add(t, fd, unix.EPOLLIN)
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(dup) })
		w := watchOf(t, v, ep)
		if items := wholeSample(t, w).Facts()["epoll.items"].([]map[string]any); len(items) != 1 || items[0]["open"] != true {
			t.Fatalf("items are %v, want one that is open", items)
		}
		if err := unix.Close(fd); err != nil {
			t.Fatal(err)
		}
		await(t, w, "the item of a closed fd to say so", func(s *Snapshot) bool {
			items := s.Facts()["epoll.items"].([]map[string]any)
			return len(items) == 1 && items[0]["fd"] == fd && items[0]["open"] == false
		})
	})
}

func TestFactsOfKinds(t *testing.T) {
	eachBPFTier(t, func(t *testing.T, v *View) {
		ep := newInstance(t)
		want := map[int]string{newEventfd(t): "eventfd", newInstance(t).fd: "epoll"}
		for _, k := range []struct {
			family, kind int
			word         string
		}{{unix.AF_INET, unix.SOCK_STREAM, "tcp"}, {unix.AF_INET6, unix.SOCK_DGRAM, "udp"}, {unix.AF_UNIX, unix.SOCK_STREAM, "unix"}} {
			fd, err := unix.Socket(k.family, k.kind|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Close(fd) })
			want[fd] = k.word
		}
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(pipe[0]); unix.Close(pipe[1]) })
		want[pipe[0]] = "pipe"
		for fd := range want {
			ep.add(t, fd, unix.EPOLLIN)
		}
		f := wholeSample(t, watchOf(t, v, ep)).Facts()
		items := f["epoll.items"].([]map[string]any)
		if len(items) != len(want) {
			t.Fatalf("%d items, want %d", len(items), len(want))
		}
		for _, item := range items {
			if item["kind"] != want[item["fd"].(int)] {
				t.Errorf("fd %v is a %v, want %s", item["fd"], item["kind"], want[item["fd"].(int)])
			}
		}
	})
}

// TestFactsOfFdinfo: without BPF there are items, and no shape.
func TestFactsOfFdinfo(t *testing.T) {
	ep := newInstance(t)
	fds := ep.addEventfds(t, 3)
	f := sample(t, watchOf(t, viewOf(t, TierFdinfo), ep)).Facts()
	checkFactTypes(t, f, false)
	var got []int
	for _, item := range f["epoll.items"].([]map[string]any) {
		got = append(got, item["fd"].(int))
	}
	slices.Sort(got)
	if f["epoll.nodes"] != 3 || !slices.Equal(got, fds) {
		t.Errorf("%v nodes, items %v; want the fds %v", f["epoll.nodes"], got, fds)
	}
}
