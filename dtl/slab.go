package dtl

import (
	"ovs"
	"ovs/internal/bufpool"
)

// slab is a stretch of a segment in memory: batches are gathered in it, written from it, and read from it as long as it
// stays. Batches in it are contiguous, as they are on disk.
type slab struct {
	buf []byte

	// Guarded by views.
	gen   uint32 // of the segment; 0: holds nothing
	base  uint32 // offset in the segment of buf[0]
	limit int    // bytes of buf that belong to the stretch; all, until the slab is left

	flights int // batches not yet flushed; guarded by mu
}

// slabs is the ring of all slabs. A slab is taken again when it is the oldest and all of it is flushed.
type slabs struct {
	pool *bufpool.Pool
	ring []*slab
	cur  int // guarded by mu
}

// slabCount is the least number of slabs: two at work, the others so that appends need not wait for a flush.
const slabCount = 8

// newSlabs makes as many as memory holds. One that were larger than a segment would never be filled.
func newSlabs(memory int64, frameMost, segment int) (*slabs, error) {
	size := max(min(int(memory/32), segment), 2*(frameMost+block))
	pool, err := bufpool.New(size, max(memory, int64(slabCount*up(int64(size)))))
	if err != nil {
		return nil, err
	}
	s := &slabs{pool: pool}
	for range pool.Count() {
		s.ring = append(s.ring, &slab{buf: pool.Get()})
	}
	return s, nil
}

// dirtyMost is how many bytes may be reserved or not yet flushed, so that there is always a slab to take: a slab is at
// least half full when it is left.
func (s *slabs) dirtyMost() int64 { return int64(len(s.ring)-2) * int64(s.pool.Size()) / 4 }

// take gives the next slab to the stretch from at on. nil: all hold what is not flushed. mu is held.
func (l *Log) take(at place) *slab {
	m := l.memory
	next := (m.cur + 1) % len(m.ring)
	s := m.ring[next]
	if s.flights > 0 {
		return nil
	}
	old := m.ring[m.cur]
	m.cur = next
	l.views.Lock()
	if old.gen == at.gen {
		old.limit = int(at.off - old.base)
	}
	s.gen, s.base, s.limit = at.gen, at.off, len(s.buf)
	l.views.Unlock()
	return s
}

// TryReadAt implements ovs.Log.
func (l *Log) TryReadAt(p ovs.LogPos, dst []byte) bool {
	at := placeOf(p)
	l.views.RLock()
	defer l.views.RUnlock()
	for _, s := range l.memory.ring {
		if s.gen == at.gen && s.base <= at.off && uint64(at.off-s.base)+uint64(len(dst)) <= uint64(s.limit) {
			copy(dst, s.buf[at.off-s.base:])
			return true
		}
	}
	return false
}

// closeMemory gives the slabs up; a late TryReadAt finds nothing.
func (l *Log) closeMemory() error {
	l.views.Lock()
	defer l.views.Unlock()
	for _, s := range l.memory.ring {
		l.memory.pool.Put(s.buf)
	}
	l.memory.ring = nil
	return l.memory.pool.Close()
}
