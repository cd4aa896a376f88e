/*
Package pagecache keeps verified pages of 4 KiB of immutable objects, under whole names, outside the Go heap.

	TryGet(key) ─ hash ─► shard ─► table: open addressing, page numbers ─► keys[page] ─► slab[page × 4 KiB]
	                      (lock)   Go memory without pointers                            anonymous mapping

A key names its content for ever, so nothing is ever invalidated: what lies outside an object's lineage is simply not
asked for any more and falls out. Pages leave by CLOCK: the hand passes over what was used since it came by. The garbage
collector sees a handful of objects, whatever the size.
*/
package pagecache

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ovs"
)

// PageSize is the size of a page in bytes.
const PageSize = ovs.ClusterSize

// Key is the whole name of a page. What Object, Epoch and Place mean is the user's; together they name one content for ever.
type Key struct {
	Pool, Object, Epoch, Place uint64
}

func (k Key) hash() uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, x := range [4]uint64{k.Pool, k.Object, k.Epoch, k.Place} {
		hi, lo := bits.Mul64(h^x, 0xd6e8feb86659fd93)
		h = hi ^ lo ^ 0x9e3779b97f4a7c15
	}
	return h ^ h>>32
}

// Cache is a cache of pages. Its methods may run concurrently. A nil Cache holds nothing.
type Cache struct {
	shards       []shard
	slab         []byte
	hits, misses atomic.Uint64
}

type shard struct {
	mu    sync.Mutex // guards all below; held while a page is copied
	table []uint32   // page + 1, or 0; a power of two in length, at least twice the pages
	keys  []Key      // by page
	used  []bool     // by page: since the hand passed
	slab  []byte
	n     int // pages filled so far
	hand  int
}

// New gives a cache of that many bytes of pages, at least one; memory is taken as it fills.
func New(size int64) (*Cache, error) {
	pages := max(int(size/PageSize), 1)
	shards := 1
	for shards < 64 && pages/shards > 256 {
		shards *= 2
	}
	pages -= pages % shards
	slab, err := unix.Mmap(-1, 0, pages*PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, ovs.E("pagecache.New", ovs.KindNoSpace, nil, err)
	}
	c := &Cache{slab: slab, shards: make([]shard, shards)}
	each := pages / shards
	for i := range c.shards {
		s := &c.shards[i]
		s.slab = slab[i*each*PageSize : (i+1)*each*PageSize]
		s.table = make([]uint32, 1<<bits.Len(uint(2*each-1)))
		s.keys, s.used = make([]Key, each), make([]bool, each)
	}
	return c, nil
}

// Close gives the memory back. Later calls find nothing and keep nothing.
func (c *Cache) Close() error {
	if c == nil {
		return nil
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		defer s.mu.Unlock()
		s.table, s.keys, s.n = nil, nil, 0
	}
	slab := c.slab
	if c.slab = nil; slab == nil {
		return nil
	}
	return unix.Munmap(slab)
}

// Stats is how often TryGet found a page and did not, and the bytes that the pages take.
func (c *Cache) Stats() (hits, misses uint64, bytes int64) {
	if c == nil {
		return 0, 0, 0
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		bytes += int64(s.n) * PageSize
		s.mu.Unlock()
	}
	return c.hits.Load(), c.misses.Load(), bytes
}

func (c *Cache) shard(h uint64) *shard { return &c.shards[h>>57&uint64(len(c.shards)-1)] }

// TryGet copies a part of the page, from byte off on, into dst; false when the page is not there.
func (c *Cache) TryGet(k Key, off int, dst []byte) bool {
	if c == nil {
		return false
	}
	h := k.hash()
	s := c.shard(h)
	s.mu.Lock()
	at, found := s.find(k, h)
	if found {
		page := int(s.table[at] - 1)
		s.used[page] = true
		copy(dst, s.slab[page*PageSize+off:(page+1)*PageSize])
	}
	s.mu.Unlock()
	if found {
		c.hits.Add(1)
	} else {
		c.misses.Add(1)
	}
	return found
}

// Has tells whether the page is there.
func (c *Cache) Has(k Key) bool {
	if c == nil {
		return false
	}
	h := k.hash()
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, found := s.find(k, h)
	return found
}

// Put keeps a verified page; the caller's bytes are copied.
func (c *Cache) Put(k Key, page []byte) {
	if c == nil {
		return
	}
	h := k.hash()
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	at, found := s.find(k, h)
	if found || s.keys == nil {
		return
	}
	p := s.n
	if s.n < len(s.keys) {
		s.n++
	} else {
		p = s.victim()
		at, _ = s.find(k, h) // entries have moved
	}
	s.table[at], s.keys[p], s.used[p] = uint32(p+1), k, false
	copy(s.slab[p*PageSize:(p+1)*PageSize], page)
}

// find is where the key's entry stands in the table, or where it belongs. mu is held.
func (s *shard) find(k Key, h uint64) (at int, found bool) {
	if s.keys == nil {
		return 0, false
	}
	mask := len(s.table) - 1
	for at = int(h) & mask; s.table[at] != 0; at = (at + 1) & mask {
		if s.keys[s.table[at]-1] == k {
			return at, true
		}
	}
	return at, false
}

// victim frees a page that was not used lately. mu is held.
func (s *shard) victim() int {
	for ; ; s.hand = (s.hand + 1) % s.n {
		if s.used[s.hand] {
			s.used[s.hand] = false
			continue
		}
		p := s.hand
		s.hand = (s.hand + 1) % s.n
		s.remove(s.keys[p])
		return p
	}
}

// remove takes a key out of the table and closes the gap, so that every probe still ends at its entry. mu is held.
func (s *shard) remove(k Key) {
	gap, _ := s.find(k, k.hash())
	mask := len(s.table) - 1
	s.table[gap] = 0
	for at := (gap + 1) & mask; s.table[at] != 0; at = (at + 1) & mask {
		home := int(s.keys[s.table[at]-1].hash()) & mask
		if (at-home)&mask >= (at-gap)&mask { // its home is at or before the gap
			s.table[gap], s.table[at] = s.table[at], 0
			gap = at
		}
	}
}
