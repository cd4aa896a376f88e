package volumedriver

import (
	"context"
	"sync"
	"sync/atomic"

	"ovs"
	"ovs/internal/extent"
	"ovs/internal/pace"
)

// stretch is a stretch of the volume that has a segment on the backend.
type stretch struct {
	ref  segmentRef
	seg  atomic.Pointer[segment] // while it is in memory; set and cleared by the Budget
	used atomic.Bool             // since the Budget's hand passed
	load chan struct{}           // held by who reads it
	at   int                     // in the Budget's ring, while loaded: the Budget's
	gone bool                    // no longer the volume's: the Budget's
}

func newStretch(ref segmentRef) *stretch { return &stretch{ref: ref, load: make(chan struct{}, 1)} }

// volumeMap says where every cluster of a volume stands on the backend: a small log-structured merge tree.
//
//	delta     what SCOs have set since the root, sorted, in memory     newest
//	segments  of the root, in memory as far as the budget goes
type volumeMap struct {
	budget *Budget
	fetch  func(ctx context.Context, s *stretch) (*segment, error)

	mu        sync.RWMutex // guards all below
	delta     extent.Map[Location]
	pending   extent.Map[Location] // the part of the delta that stands in no TLog yet
	bytes     int64                // of both, as the budget knows it
	stretches map[uint32]*stretch

	mapped atomic.Int64 // clusters; exact after a checkpoint, else a good guess; changed under mu
}

// span is clusters of consecutive locations, or a hole.
type span struct {
	cluster, n uint64
	loc        Location
}

// look finds the spans of clusters [c, c+n), as far as the first stretch that is not in memory, which it gives back.
func (m *volumeMap) look(c, n uint64, spans []span, limit int) ([]span, *stretch) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for end := c + n; c < end && len(spans) < limit; {
		k, l, ok := m.delta.At(c, end-c)
		if !ok {
			base := c &^ (stretchClusters - 1)
			k = min(k, base+stretchClusters-c)
			l = hole
			if st := m.stretches[uint32(c>>stretchBits)]; st != nil {
				seg := st.seg.Load()
				if seg == nil {
					return spans, st
				}
				st.used.Store(true)
				var more uint64
				l, more = seg.at(c - base)
				k = min(k, more)
			}
		}
		if j := len(spans) - 1; j >= 0 && spans[j].loc.Advance(spans[j].n) == l {
			spans[j].n += k
		} else {
			spans = append(spans, span{c, k, l})
		}
		c += k
	}
	return spans, nil
}

// warm brings a stretch's segment into memory. A stretch that a checkpoint replaced meanwhile is an error that a new look
// heals: KindNotFound.
func (m *volumeMap) warm(ctx context.Context, st *stretch) error {
	select {
	case st.load <- struct{}{}:
	case <-ctx.Done():
		return ovs.E("volumedriver.warm", ovs.KindTimeout, st.ref.name(), ctx.Err())
	}
	defer func() { <-st.load }()
	if st.seg.Load() != nil {
		return nil
	}
	s, err := m.fetch(ctx, st)
	if err == nil {
		m.budget.admit(st, s)
	}
	return err
}

// applyAtOnce is how many runs are set under one hold of mu, some tens of microseconds: readers get in between.
const applyAtOnce = 32

// apply sets where clusters stand, in the order of SCOs; pending: of SCOs whose TLog is still to be made. Readers may see a part
// of it: the log lets go of what is applied only after, so they find there what it sets.
func (m *volumeMap) apply(pending bool, f func(set func(c, n uint64, l Location))) {
	m.mu.Lock()
	defer m.mu.Unlock()
	held := 0
	var work pace.Work
	f(func(c, n uint64, l Location) {
		if held++; held > applyAtOnce {
			m.mu.Unlock()
			work.Did(pace.Step)
			m.mu.Lock()
			held = 1
		}
		more := -m.count(c, n)
		if l != hole {
			more += int64(n)
		}
		m.mapped.Add(more)
		m.delta.Insert(c, n, l)
		if pending {
			m.pending.Insert(c, n, l)
		}
	})
	m.account()
}

// logged says that a TLog holds what was pending.
func (m *volumeMap) logged() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending = extent.Map[Location]{}
	m.account()
}

// account tells the budget how large the delta is. mu is held.
func (m *volumeMap) account() {
	now := m.delta.Bytes() + m.pending.Bytes()
	m.budget.delta(m.bytes, now)
	m.bytes = now
}

// count is how many of the clusters are mapped; where a segment is not in memory, how many are likely to be. mu is held.
func (m *volumeMap) count(c, n uint64) (mapped int64) {
	m.delta.Walk(c, n, func(c, n uint64, l Location, ok bool) bool {
		switch {
		case ok && l != hole:
			mapped += int64(n)
		case !ok:
			mapped += m.countSegments(c, n)
		}
		return true
	})
	return mapped
}

func (m *volumeMap) countSegments(c, n uint64) (mapped int64) {
	first, last := uint32(c>>stretchBits), uint32((c+n-1)>>stretchBits)
	if int64(last-first) >= int64(len(m.stretches)) { // a long hole in a small map
		for i, st := range m.stretches {
			if i >= first && i <= last {
				mapped += st.count(c, n)
			}
		}
		return mapped
	}
	for i := first; i <= last; i++ {
		if st := m.stretches[i]; st != nil {
			mapped += st.count(c, n)
		}
	}
	return mapped
}

// count is how many of clusters [c, c+n) the segment maps, those outside the stretch left out.
func (st *stretch) count(c, n uint64) (mapped int64) {
	base := uint64(st.ref.Stretch) << stretchBits
	from, to := max(c, base)-base, min(c+n, base+stretchClusters)-base
	seg := st.seg.Load()
	switch {
	case to-from == stretchClusters:
		return int64(st.ref.Mapped)
	case seg == nil:
		return int64(uint64(st.ref.Mapped) * (to - from) / stretchClusters)
	}
	for from < to {
		l, k := seg.at(from)
		if k = min(k, to-from); l != hole {
			mapped += int64(k)
		}
		from += k
	}
	return mapped
}

// touched is the stretches that the delta changes, in order. Holes in stretches without a segment change nothing.
func (m *volumeMap) touched() []uint32 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	hit := map[uint32]bool{}
	m.delta.Each(func(c, n uint64, l Location) bool {
		first, last := uint32(c>>stretchBits), uint32((c+n-1)>>stretchBits)
		if l == hole && int64(last-first) >= int64(len(m.stretches)) {
			for i := range m.stretches {
				if i >= first && i <= last {
					hit[i] = true
				}
			}
			return true
		}
		for i := first; i <= last; i++ {
			if l != hole || m.stretches[i] != nil {
				hit[i] = true
			}
		}
		return true
	})
	return sortedKeys(hit)
}

// merge makes the segment of a stretch out of the delta and the old one (nil: there was none); nil when nothing is mapped. It tells
// moved what the new one reaches and the old one does not (clusters > 0), and the other way round (< 0).
func (m *volumeMap) merge(i uint32, old *segment, moved func(l Location, clusters int)) *segment {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := &segment{}
	base := uint64(i) << stretchBits
	m.delta.Walk(base, stretchClusters, func(c, n uint64, l Location, ok bool) bool {
		rel := c - base
		if ok {
			s.add(rel, n, l)
			moved(l, int(n))
		} else if old == nil {
			s.add(rel, n, hole)
		}
		for old != nil && n > 0 {
			l, k := old.at(rel)
			k = min(k, n)
			if ok {
				moved(l, -int(k))
			} else {
				s.add(rel, k, l)
			}
			rel, n = rel+k, n-k
		}
		return true
	})
	if s.mapped == 0 {
		return nil
	}
	return s
}

// replace puts merged segments in their place and empties the delta that went into them.
func (m *volumeMap) replace(merged map[uint32]*stretch) (old []*stretch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, st := range merged {
		if was := m.stretches[i]; was != nil {
			old = append(old, was)
		}
		if st == nil {
			delete(m.stretches, i)
		} else {
			m.stretches[i] = st
		}
	}
	m.delta, m.pending = extent.Map[Location]{}, extent.Map[Location]{}
	m.account()
	mapped := int64(0)
	for _, st := range m.stretches {
		mapped += int64(st.ref.Mapped)
	}
	m.mapped.Store(mapped)
	return old
}

// close gives all memory back to the budget.
func (m *volumeMap) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.delta, m.pending = extent.Map[Location]{}, extent.Map[Location]{}
	m.budget.delta(m.bytes, 0)
	m.bytes = 0
	for _, st := range m.stretches {
		m.budget.drop(st)
	}
}
