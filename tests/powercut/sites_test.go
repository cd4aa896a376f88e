//go:build planted

package powercut

import (
	"slices"
	"sync"

	"ovs/internal/vfs"
	"ovs/internal/vfs/vfstest"
)

// A site is a place in the product that flushes: what is flushed, and the function that asks for it. Sites are found by
// looking at who calls, so a flush that is added to the product is found and left out in turn without a list to keep.

// sites collects those that histories pass.
type sites struct {
	mu  sync.Mutex
	all map[string]int
}

func (s *sites) note(op vfs.Op, name string) bool {
	site := siteOf(op, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]int{}
	}
	s.all[site]++
	return false
}

func (s *sites) sorted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for site := range s.all {
		list = append(list, site)
	}
	slices.Sort(list)
	return list
}

// siteOf names the site of a flush that is being called.
func siteOf(op vfs.Op, name string) string {
	who := vfstest.Asker()
	if who == "" {
		who = "the test"
	}
	return flushed(op, name) + ", in " + who
}

// without is the plant that leaves out one site's flushes.
func without(site string) Plant {
	return Plant{Name: "no flush: " + site, Lie: func(op vfs.Op, name string) bool { return siteOf(op, name) == site }}
}
