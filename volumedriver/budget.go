package volumedriver

import (
	"sync"
	"sync/atomic"
)

// Budget bounds the memory of all maps of a node: what is new since their roots (deltas), and segments read from the
// backend. Segments are clean: they are dropped by CLOCK and read again. Deltas are not: where they pass half of the
// budget, the volumes that hold most of them make a checkpoint.
type Budget struct {
	limit   int64
	deltas  atomic.Int64
	holders atomic.Int64 // volumes with a delta

	mu    sync.Mutex // guards what follows
	clean int64
	ring  []*stretch // those that are loaded
	hand  int
}

// NewBudget gives a budget of that many bytes.
func NewBudget(bytes int64) *Budget { return &Budget{limit: max(bytes, 64<<10)} }

// Use is the bytes that deltas and clean segments take.
func (b *Budget) Use() (deltas, clean int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.deltas.Load(), b.clean
}

// delta accounts for a delta that went from old to new bytes.
func (b *Budget) delta(from, to int64) {
	b.deltas.Add(to - from)
	switch {
	case from == 0 && to > 0:
		b.holders.Add(1)
	case from > 0 && to == 0:
		b.holders.Add(-1)
	}
}

// heavy tells whether a delta of that size should become segments.
func (b *Budget) heavy(delta int64) bool {
	half := b.limit / 2
	total := b.deltas.Load()
	return delta > half || total > half && delta >= total/max(b.holders.Load(), 1)
}

// admit makes s known as loaded, and drops others where the budget is passed. What a stretch that was dropped for good is
// brought too late is not kept.
func (b *Budget) admit(st *stretch, s *segment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if st.gone || st.seg.Load() != nil {
		return
	}
	st.seg.Store(s)
	st.at = len(b.ring)
	b.ring = append(b.ring, st)
	b.clean += s.bytes()
	for room := b.limit - b.deltas.Load(); b.clean > room && len(b.ring) > 1; {
		b.hand %= len(b.ring)
		x := b.ring[b.hand]
		if x == st || x.used.Swap(false) { // what was just asked for stays, even alone over the budget
			b.hand++
			continue
		}
		b.forget(x)
	}
}

// drop forgets a stretch for good: it has another segment now, or its volume is closed.
func (b *Budget) drop(st *stretch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	st.gone = true
	if st.seg.Load() != nil {
		b.forget(st)
	}
}

// forget lets go of a loaded segment; the last of the ring takes its place. mu is held.
func (b *Budget) forget(st *stretch) {
	b.clean -= st.seg.Swap(nil).bytes()
	last := b.ring[len(b.ring)-1]
	b.ring[st.at], last.at = last, st.at
	b.ring[len(b.ring)-1] = nil
	b.ring = b.ring[:len(b.ring)-1]
}
