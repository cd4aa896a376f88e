package objectrouter

import (
	"hash/maphash"
	"sync"

	"ovs"
)

// dentries is a bounded cache of directory entries that are there. What is absent is not cached: a name that was
// not found is asked for again.
type dentries struct {
	seed  maphash.Seed
	limit int // entries in a shard
	shard [shards]struct {
		mu      sync.RWMutex
		gen     uint64 // moved by every followed change
		entries map[dname]dirent
		_       [64]byte
	}
}

type dname struct {
	dir  ovs.ObjectID
	name string
}

func newDentries(limit int) *dentries {
	d := &dentries{seed: maphash.MakeSeed(), limit: max(limit/shards, 8)}
	for i := range d.shard {
		d.shard[i].entries = make(map[dname]dirent)
	}
	return d
}

func (d *dentries) shardOf(dir ovs.ObjectID, name string) int {
	return int((maphash.String(d.seed, name) ^ uint64(dir)) * 0x9e3779b97f4a7c15 >> 58)
}

func (d *dentries) get(dir ovs.ObjectID, name string) (dirent, bool) {
	s := &d.shard[d.shardOf(dir, name)]
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.entries[dname{dir, name}]
	return e, ok
}

func (d *dentries) generation(dir ovs.ObjectID, name string) uint64 {
	s := &d.shard[d.shardOf(dir, name)]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.gen
}

// fill keeps what was read at generation gen, unless a change was followed since.
func (d *dentries) fill(dir ovs.ObjectID, name string, e dirent, gen uint64) {
	i := d.shardOf(dir, name)
	d.shard[i].mu.Lock()
	defer d.shard[i].mu.Unlock()
	if d.shard[i].gen == gen {
		d.put(i, dname{dir, name}, e)
	}
}

// follow is called in the apply path with each new state of an entry, or with there false when it was deleted.
func (d *dentries) follow(dir ovs.ObjectID, name string, e dirent, there bool) {
	i := d.shardOf(dir, name)
	s := &d.shard[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gen++
	if there {
		d.put(i, dname{dir, name}, e)
	} else {
		delete(s.entries, dname{dir, name})
	}
}

// put keeps an entry; any other makes room for it. The caller holds the shard's lock.
func (d *dentries) put(i int, name dname, e dirent) {
	s := &d.shard[i]
	if _, ok := s.entries[name]; !ok && len(s.entries) >= d.limit {
		for victim := range s.entries {
			delete(s.entries, victim)
			break
		}
	}
	s.entries[name] = e
}

// forget drops everything.
func (d *dentries) forget() {
	for i := range d.shard {
		s := &d.shard[i]
		s.mu.Lock()
		s.gen++
		clear(s.entries)
		s.mu.Unlock()
	}
}
