package memfs

import (
	"maps"
	"slices"
)

// Clone is a copy that goes its own way: the state from which a test tries something twice.
func (fs *FS) Clone() *FS {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	c := New(fs.opt)
	c.lastID, c.cookie, c.epoch, c.clock, c.pages = fs.lastID, fs.cookie, fs.epoch, fs.clock, fs.pages
	for id, n := range fs.nodes {
		m := *n
		m.entries = slices.Clone(n.entries) // an entry never changes
		m.names = maps.Clone(n.names)
		if n.pages != nil {
			m.pages = make(map[uint64]*page, len(n.pages))
			for no, p := range n.pages {
				m.pages[no] = &page{now: slices.Clone(p.now), stable: slices.Clone(p.stable)}
			}
		}
		c.nodes[id] = &m
	}
	return c
}
