package sandbox

import (
	"slices"
	"strings"
)

// Running lists the names of the children that run and begin with prefix.
func (s *Sandbox) Running(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.children {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
