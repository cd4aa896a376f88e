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
	ring  []*stretch // those that were loaded; some may have been dropped since
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

// admit makes s known as loaded, and drops others where the budget is passed.
func (b *Budget) admit(st *stretch, s *segment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !st.seg.CompareAndSwap(nil, s) {
		return
	}
	b.clean += s.bytes()
	b.ring = append(b.ring, st)
	for room := b.limit - b.deltas.Load(); b.clean > room && len(b.ring) > 1; {
		b.hand %= len(b.ring)
		x := b.ring[b.hand]
		if x == st || x.used.Swap(false) { // what was just asked for stays, even alone over the budget
			b.hand++
			continue
		}
		b.forget(x)
		b.ring[b.hand] = b.ring[len(b.ring)-1]
		b.ring = b.ring[:len(b.ring)-1]
	}
}

// drop forgets a loaded segment: its stretch has another one now, or its volume is closed.
func (b *Budget) drop(st *stretch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.forget(st) {
		return
	}
	for i, x := range b.ring {
		if x == st {
			b.ring[i] = b.ring[len(b.ring)-1]
			b.ring = b.ring[:len(b.ring)-1]
			return
		}
	}
}

// forget lets go of a stretch's segment. mu is held.
func (b *Budget) forget(st *stretch) bool {
	s := st.seg.Swap(nil)
	if s == nil {
		return false
	}
	b.clean -= s.bytes()
	return true
}
