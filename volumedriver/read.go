package volumedriver

import (
	"context"

	"ovs"
)

// trySpans bounds the spans of a read that is answered from memory.
const trySpans = 16

// TryReadBelow fills dst with what the backend holds at off, where map and cache have it all. It implements tail.Below.
func (v *volume) TryReadBelow(dst []byte, off uint64) bool {
	var room [trySpans]span
	first, n := clusters(off, len(dst))
	spans, cold := v.m.look(first, n, room[:0], trySpans)
	if cold != nil {
		return false
	}
	for _, s := range spans {
		for i := range s.n {
			part, in := within(dst, off, s.cluster+i)
			if s.loc == hole {
				clear(part)
			} else if key, ok := v.key(s.loc.Advance(i)); !ok || !v.d.cfg.Cache.TryGet(key, in, part) {
				return false
			}
		}
		first = s.cluster + s.n
	}
	begin, k := clusters(off, len(dst))
	if first != begin+k { // there were too many spans
		return false
	}
	v.ahead.saw(v, begin, k)
	return true
}

// clusters is the clusters that n bytes at off lie in.
func clusters(off uint64, n int) (first, count uint64) {
	first = off / ovs.ClusterSize
	return first, (off+uint64(n)+ovs.ClusterSize-1)/ovs.ClusterSize - first
}

// within is the part of dst, which begins at off, that lies in a cluster, and where in the cluster it begins.
func within(dst []byte, off, cluster uint64) (part []byte, in int) {
	start := cluster * ovs.ClusterSize
	from, to := max(start, off), min(start+ovs.ClusterSize, off+uint64(len(dst)))
	return dst[from-off : to-off], int(from - start)
}

// ReadBelow is TryReadBelow that reads what is not in memory. It implements tail.Below.
func (v *volume) ReadBelow(ctx context.Context, dst []byte, off uint64) error {
	first, n := clusters(off, len(dst))
	err := v.visit(ctx, first, n, func(s span) error { return v.fill(ctx, s, dst, off) })
	if err == nil {
		v.ahead.saw(v, first, n)
	}
	return err
}

// visit calls f for the spans of clusters [c, c+n), reading segments as it goes.
func (v *volume) visit(ctx context.Context, c, n uint64, f func(span) error) error {
	const batch = 64
	var room [batch]span
	for end := c + n; c < end; {
		spans, cold := v.m.look(c, end-c, room[:0], batch)
		for _, s := range spans {
			err := f(s)
			if ovs.Is(err, ovs.KindNotFound) && v.m.moved(s) {
				cold = nil // its SCO was deleted meanwhile, since nothing is reached in it any more
				break
			}
			if err != nil {
				return err
			}
			c = s.cluster + s.n
		}
		if cold == nil {
			continue
		}
		err := v.m.warm(ctx, cold)
		if ovs.Is(err, ovs.KindNotFound) && v.m.replaced(cold) {
			continue // a checkpoint put another one in its place
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// moved tells whether a span stands elsewhere by now, or may.
func (m *volumeMap) moved(s span) bool {
	now, _ := m.look(s.cluster, s.n, nil, 1)
	return len(now) == 0 || now[0] != s
}

// replaced tells whether a stretch is no longer the volume's.
func (m *volumeMap) replaced(st *stretch) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.stretches[st.ref.Stretch] != st
}

// fill copies a span's part of dst from the cache, and fetches what is not there: neighbours together.
func (v *volume) fill(ctx context.Context, s span, dst []byte, off uint64) error {
	if s.loc == hole {
		from, to := max(s.cluster*ovs.ClusterSize, off), min((s.cluster+s.n)*ovs.ClusterSize, off+uint64(len(dst)))
		clear(dst[from-off : to-off])
		return nil
	}
	copyOut := func(cluster uint64, data []byte) {
		part, in := within(dst, off, cluster)
		copy(part, data[in:])
	}
	missing := span{}
	for i := range s.n {
		l := s.loc.Advance(i)
		key, ok := v.key(l)
		if !ok {
			return ovs.E("volumedriver.Read", ovs.KindCorrupt, v.claim.Ref, corrupt("location %x is outside the lineage", uint64(l)))
		}
		part, in := within(dst, off, s.cluster+i)
		if v.d.cfg.Cache.TryGet(key, in, part) {
			continue
		}
		if missing.n > 0 && missing.cluster+missing.n == s.cluster+i && missing.n < fetchMost {
			missing.n++
			continue
		}
		if err := v.fetch(ctx, missing, copyOut); err != nil {
			return err
		}
		missing = span{s.cluster + i, 1, l}
	}
	return v.fetch(ctx, missing, copyOut)
}
