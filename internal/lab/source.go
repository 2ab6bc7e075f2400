package lab

import (
	"context"
	"fmt"
	"hash/fnv"
	"io/fs"
	"sync"
	"time"

	"kernelviz/internal/kernelviz"
)

// Source is where labs come from: built in, or a folder that is read again when
// a file of it changes. Its methods may be called concurrently.
type Source struct {
	files fs.FS
	facts []kernelviz.Fact

	mu      sync.Mutex
	catalog *Catalog
	print   uint64 // fingerprint of the files that the catalog was made of
}

// NewSource loads the labs.
func NewSource(files fs.FS, facts []kernelviz.Fact) *Source {
	return &Source{files: files, facts: facts, catalog: Load(files, facts), print: fingerprint(files)}
}

// Catalog is the labs as they are now.
func (s *Source) Catalog() *Catalog {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.catalog
}

// Files are where the labs lie.
func (s *Source) Files() fs.FS { return s.files }

// Reload reads the labs again if a file changed since, and tells whether one
// did. Labs that did not change stay the same *Lab.
func (s *Source) Reload() bool {
	print := fingerprint(s.files)
	s.mu.Lock()
	same := print == s.print
	old := s.catalog
	s.mu.Unlock()
	if same {
		return false
	}
	fresh := Load(s.files, s.facts)
	for _, m := range fresh.Modules {
		for i, l := range m.Labs {
			if before := old.Lab(l.ID); before != nil && before.same(l) {
				m.Labs[i] = before
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catalog, s.print = fresh, print
	return true
}

// same tells that nothing that a page shows of the lab changed, its place among
// the others included.
func (l *Lab) same(o *Lab) bool {
	return l.print == o.print && l.Dir == o.Dir && l.Number == o.Number && l.previous == o.previous && l.next == o.next &&
		l.Module.Title == o.Module.Title && len(l.Module.Labs) == len(o.Module.Labs)
}

// Follow reloads at most once a second and calls changed after each, until ctx
// ends.
func (s *Source) Follow(ctx context.Context, changed func()) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.Reload() {
			changed()
		}
	}
}

// fingerprint is a hash of names, sizes and times of all files.
func fingerprint(files fs.FS) uint64 {
	h := fnv.New64a()
	_ = fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			fmt.Fprintln(h, path, err)
			return nil
		}
		if info, err := d.Info(); err == nil {
			fmt.Fprintln(h, path, info.Size(), info.ModTime().UnixNano(), info.Mode())
		}
		return nil
	})
	return h.Sum64()
}
