/*
Package extent maps ranges of a line of numbers to values: an ordered set of runs that never overlap.

	    0        8       16   20                      40
	    ├── gap ─┼── A ──┼─ B ┼────────── gap ────────┤
	Insert(12, 6, C):  A is cut at 12, B loses its first two
	    ├── gap ─┼ A ┼─ C ──┼B'┼──────── gap ─────────┤       B' = B.Advance(2)

The write log's index is one (bytes -> place in the log), the map's newest part another (clusters -> place on the
backend). Runs stand in leaves of up to 128, the leaves in one sorted array: a look-up is two binary searches, an insert
moves at most a leaf, and allocates only when a leaf splits.
*/
package extent

import (
	"slices"
	"unsafe"
)

// Value is what a run carries. Advance is the value n further on in the run; where it reaches an adjacent run's value the
// two are one.
type Value[V any] interface {
	comparable
	Advance(n uint64) V
}

const (
	leafRuns = 128
	spares   = 4 // emptied leaves kept for reuse
)

type run[V any] struct {
	start, end uint64 // start <= x < end
	v          V
}

// Map is an ordered set of runs. The zero Map is empty. It has no lock: its owner does.
type Map[V Value[V]] struct {
	leaves [][]run[V] // none is empty
	spare  [][]run[V]
	n      int
}

// Len is the number of runs.
func (m *Map[V]) Len() int { return m.n }

// Bytes is about the memory that the map takes.
func (m *Map[V]) Bytes() int64 {
	var r run[V]
	per := int64(unsafe.Sizeof(r))*leafRuns + 24
	if len(m.leaves) == 1 {
		per = int64(unsafe.Sizeof(r))*int64(cap(m.leaves[0])) + 24
	}
	return per * int64(len(m.leaves))
}

// keep puts an emptied leaf aside for reuse.
func (m *Map[V]) keep(l []run[V]) {
	if len(m.spare) < spares && cap(l) == leafRuns {
		m.spare = append(m.spare, l[:0])
	}
}

func (m *Map[V]) newLeaf() []run[V] {
	if n := len(m.spare); n > 0 {
		l := m.spare[n-1]
		m.spare = m.spare[:n-1]
		return l
	}
	if len(m.leaves) == 0 {
		return make([]run[V], 0, 8) // most maps stay small
	}
	return make([]run[V], 0, leafRuns)
}

// pos is a place among the runs: leaf and index in it. The end is {len(leaves), 0}.
type pos struct{ leaf, at int }

// find is the first run that ends after x.
func (m *Map[V]) find(x uint64) pos {
	// The last leaf that starts at or before x holds it, or the one after it does. Both searches are written out:
	// sort.Search calls a function for each step.
	i, hi := 0, len(m.leaves)
	for i < hi {
		if mid := int(uint(i+hi) >> 1); m.leaves[mid][0].start > x {
			hi = mid
		} else {
			i = mid + 1
		}
	}
	if i == 0 {
		return pos{0, 0}
	}
	l := m.leaves[i-1]
	lo, hi := 0, len(l)
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); l[mid].end > x {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if lo == len(l) {
		return pos{i, 0}
	}
	return pos{i - 1, lo}
}

func (m *Map[V]) end(p pos) bool       { return p.leaf == len(m.leaves) }
func (m *Map[V]) run(p pos) *run[V]    { return &m.leaves[p.leaf][p.at] }
func add(start, n uint64) (end uint64) { return start + min(n, ^uint64(0)-start) }

// At is what stands at start: a run's value there, or a gap (false), and for how many numbers, at most limit.
func (m *Map[V]) At(start, limit uint64) (n uint64, v V, ok bool) {
	p := m.find(start)
	if m.end(p) {
		return limit, v, false
	}
	r := m.run(p)
	if r.start > start {
		return min(limit, r.start-start), v, false
	}
	return min(limit, r.end-start), r.v.Advance(start - r.start), true
}

// Walk calls f for the runs and gaps (ok false) of [start, start+n) in order, until f says false.
func (m *Map[V]) Walk(start, n uint64, f func(start, n uint64, v V, ok bool) bool) {
	for end := add(start, n); start < end; {
		n, v, ok := m.At(start, end-start)
		if !f(start, n, v, ok) {
			return
		}
		start += n
	}
}

// Each calls f for every run, in order, until f says false. f must not change the map.
func (m *Map[V]) Each(f func(start, n uint64, v V) bool) {
	for _, l := range m.leaves {
		for i := range l {
			if !f(l[i].start, l[i].end-l[i].start, l[i].v) {
				return
			}
		}
	}
}

// Insert sets [start, start+n) to v, over whatever stood there.
func (m *Map[V]) Insert(start, n uint64, v V) {
	if n == 0 {
		return
	}
	end := add(start, n)
	p := m.find(start)
	if !m.end(p) {
		switch r := m.run(p); {
		case r.start == start && r.end == end: // the same range again: the common overwrite
			r.v = v
			return
		case r.start < end:
			m.Delete(start, end-start)
			p = m.find(start)
		}
	}
	// p is the first run after the range.
	if m.join(p, start, end, v) {
		return
	}
	m.put(p, run[V]{start, end, v})
}

// join makes the new range part of the run before it, where values allow.
func (m *Map[V]) join(p pos, start, end uint64, v V) bool {
	var before *run[V]
	switch {
	case p.at > 0:
		before = &m.leaves[p.leaf][p.at-1]
	case p.leaf > 0:
		l := m.leaves[p.leaf-1]
		before = &l[len(l)-1]
	default:
		return false
	}
	if before.end != start || before.v.Advance(start-before.start) != v {
		return false
	}
	before.end = end
	return true
}

// put inserts a run before p.
func (m *Map[V]) put(p pos, r run[V]) {
	m.n++
	if p.leaf == len(m.leaves) || p.at == 0 && p.leaf > 0 { // it may as well go to the end of the leaf before
		if p.leaf == 0 {
			m.leaves = append(m.leaves, append(m.newLeaf(), r))
			return
		}
		p = pos{p.leaf - 1, len(m.leaves[p.leaf-1])}
	}
	l := m.leaves[p.leaf]
	if len(l) == leafRuns {
		half := leafRuns / 2
		if p.at == leafRuns {
			half = leafRuns // ascending inserts leave full leaves behind
		}
		right := append(m.newLeaf(), l[half:]...)
		if half == leafRuns {
			m.leaves = slices.Insert(m.leaves, p.leaf+1, append(right, r))
			return
		}
		clear(l[half:])
		m.leaves[p.leaf] = l[:half]
		m.leaves = slices.Insert(m.leaves, p.leaf+1, right)
		if p.at > half {
			p = pos{p.leaf + 1, p.at - half}
		}
		l = m.leaves[p.leaf]
	}
	m.leaves[p.leaf] = slices.Insert(l, p.at, r)
}

// Delete leaves a gap at [start, start+n).
func (m *Map[V]) Delete(start, n uint64) {
	end := add(start, n)
	a := m.find(start)
	if n == 0 || m.end(a) {
		return
	}
	switch r := m.run(a); {
	case r.start >= end: // a gap already
		return
	case r.start == start && r.end == end: // one whole run, the common case
		m.remove(a, pos{a.leaf, a.at + 1})
		return
	}
	m.cut(start)
	m.cut(end)
	a = m.find(start)
	b := m.find(end) // nothing spans either now: the runs from a to before b go
	if b.leaf > a.leaf || b.at > a.at {
		m.remove(a, b)
	}
}

// cut divides the run that spans x.
func (m *Map[V]) cut(x uint64) {
	p := m.find(x)
	if m.end(p) {
		return
	}
	if r := m.run(p); r.start < x {
		right := run[V]{x, r.end, r.v.Advance(x - r.start)}
		r.end = x
		m.put(m.find(x), right)
	}
}

// remove takes out the runs from a to before b.
func (m *Map[V]) remove(a, b pos) {
	if a.leaf == b.leaf {
		m.n -= b.at - a.at
		m.leaves[a.leaf] = slices.Delete(m.leaves[a.leaf], a.at, b.at)
		if len(m.leaves[a.leaf]) == 0 {
			m.drop(a.leaf, a.leaf+1)
		}
		return
	}
	m.n -= len(m.leaves[a.leaf]) - a.at
	m.leaves[a.leaf] = slices.Delete(m.leaves[a.leaf], a.at, len(m.leaves[a.leaf]))
	if b.leaf < len(m.leaves) {
		m.n -= b.at
		m.leaves[b.leaf] = slices.Delete(m.leaves[b.leaf], 0, b.at)
	}
	for _, l := range m.leaves[a.leaf+1 : b.leaf] {
		m.n -= len(l)
	}
	from := a.leaf + 1
	if len(m.leaves[a.leaf]) == 0 {
		from--
	}
	m.drop(from, b.leaf)
}

// drop removes whole leaves.
func (m *Map[V]) drop(from, to int) {
	for _, l := range m.leaves[from:to] {
		clear(l)
		m.keep(l)
	}
	m.leaves = slices.Delete(m.leaves, from, to)
}
