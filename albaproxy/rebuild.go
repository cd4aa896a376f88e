package albaproxy

import (
	"slices"

	"ovs"
)

/*
stripe is some rows of an object in memory, across all fragments, to be made complete: the one place where lost units are
computed. A data unit past the stream's end is zeros and never lost.

	          d0  d1  d2  d3  p0  p1
	row 7     ok  --  ok  ok  ok            enough: d1 = f(d0, d2, d3, p0)
	row 8     ok  --  --  ok  ok  ok        one more fragment was read for this row
*/
type stripe struct {
	r        *reader
	from, to uint64
	units    [][]byte // by fragment: rows from..to with their CRC places
	right    [][]bool // by fragment and row
	tried    []bool   // by fragment
	silent   []bool   // by fragment: its ASD did not answer
	slab     *buffer
}

func (r *reader) newStripe(from, to uint64) *stripe {
	n, size := r.n(), (to-from)*r.stride()
	s := &stripe{
		r: r, from: from, to: to, slab: r.p.buffers.get(uint64(n) * size),
		units: make([][]byte, n), right: make([][]bool, n), tried: make([]bool, n), silent: make([]bool, n),
	}
	for i := range s.units {
		s.units[i] = s.slab.b[uint64(i)*size:][:size:size]
		s.right[i] = make([]bool, to-from)
		stored := r.rowsIn(i)
		for row := max(from, stored); row < to; row++ {
			clear(s.units[i][(row-from)*r.stride():][:r.unit])
			s.right[i][row-from] = true
		}
	}
	return s
}

func (s *stripe) release() {
	if !slices.Contains(s.silent, true) { // else a call may still write to it
		s.slab.release()
	}
}

// load reads the fragment's rows, as far as they are stored.
func (s *stripe) load(i int) {
	s.tried[i] = true
	to := min(s.to, s.r.rowsIn(i))
	if to <= s.from {
		return
	}
	right, answered := s.r.fetch(span{i, s.from, to}, s.units[i][:(to-s.from)*s.r.stride()])
	s.silent[i] = s.silent[i] || !answered
	copy(s.right[i], right)
}

// loadAll loads fragments at once.
func (s *stripe) loadAll(list []int) {
	done := make(chan struct{}, len(list))
	for _, i := range list {
		s.r.p.running.Go(func() {
			s.load(i)
			done <- struct{}{}
		})
	}
	for range list {
		<-done
	}
}

// poor tells whether some row that wanted names has fewer than k units.
func (s *stripe) poor(wanted func(row uint64) bool) bool {
	for row := range s.to - s.from {
		if n := s.have(row); n < s.r.k && wanted(s.from+row) {
			return true
		}
	}
	return false
}

func (s *stripe) have(row uint64) (n int) {
	for i := range s.right {
		if s.right[i][row] {
			n++
		}
	}
	return n
}

// fill loads untried fragments until each wanted row has k units, at first as many as are needed if all are good. False:
// not enough are to be had.
func (s *stripe) fill(wanted func(row uint64) bool) bool {
	for s.poor(wanted) {
		var next []int
		least := s.r.k
		for row := range s.to - s.from {
			least = min(least, s.have(row))
		}
		for i := range s.tried {
			if !s.tried[i] && s.r.fragments[i].disk != 0 && len(next) < s.r.k-least {
				next = append(next, i)
			}
		}
		if len(next) == 0 {
			return false
		}
		s.loadAll(next)
	}
	return true
}

// solve computes the data units of the wanted rows that are not right. Each such row has k units. Rows in which the same
// fragments are right are computed in one go.
func (s *stripe) solve(wanted func(row uint64) bool) error {
	code, err := s.r.p.code(s.r.k, s.r.m)
	if err != nil {
		return err
	}
	rows, stride := s.to-s.from, s.r.stride()
	for a := uint64(0); a < rows; {
		b := a + 1
		for b < rows && s.alike(a, b) && wanted(s.from+a) == wanted(s.from+b) {
			b++
		}
		if wanted(s.from+a) && slices.ContainsFunc(s.right[:s.r.k], func(right []bool) bool { return !right[a] }) {
			shards := make([][]byte, len(s.units))
			for i := range shards {
				shards[i] = s.units[i][a*stride : b*stride : b*stride]
				if !s.right[i][a] {
					shards[i] = shards[i][:0]
				}
			}
			if err := code.ReconstructData(shards); err != nil {
				return ovs.E("albaproxy.solve", ovs.KindCorrupt, s.r.name, err)
			}
		}
		a = b
	}
	return nil
}

func (s *stripe) alike(a, b uint64) bool {
	for i := range s.right {
		if s.right[i][a] != s.right[i][b] {
			return false
		}
	}
	return true
}

// fault is the error where rows have too few units: KindIO if ASDs that did not answer could still help, else KindCorrupt.
func (s *stripe) fault() error {
	for row := range s.to - s.from {
		n := s.have(row)
		if n >= s.r.k {
			continue
		}
		for i := range s.silent {
			if s.silent[i] && !s.right[i][row] {
				n++
			}
		}
		if n < s.r.k {
			return ovs.E("albaproxy.rebuild", ovs.KindCorrupt, s.r.name, nil)
		}
	}
	return ovs.E("albaproxy.rebuild", ovs.KindIO, s.r.name, nil)
}

// rebuildRows bounds the rows that are decoded at once, and with them the memory.
const rebuildRows = 256

// rebuild decodes lost rows of data fragments from others and copies what dst, at off of the stream, wants of them.
func (r *reader) rebuild(lost []span, off uint64, dst []byte) error {
	r.p.stats.degraded.Add(1)
	from, to := lost[0].from, lost[0].to
	for _, l := range lost {
		from, to = min(from, l.from), max(to, l.to)
	}
	for ; from < to; from += rebuildRows {
		if err := r.rebuildPart(lost, from, min(to, from+rebuildRows), off, dst); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) rebuildPart(lost []span, from, to uint64, off uint64, dst []byte) error {
	wanted := func(row uint64) bool {
		return slices.ContainsFunc(lost, func(l span) bool { return l.from <= row && row < l.to })
	}
	s := r.newStripe(from, to)
	defer s.release()
	for _, l := range lost {
		// A fragment that lost all its rows here is not asked again; one that lost some may help with the others.
		s.tried[l.fragment] = s.tried[l.fragment] || l.from <= from && to <= l.to
	}
	if !s.fill(wanted) {
		// What the first read found wanting is read once more, so that the error is true, and in case it was passing.
		for _, l := range lost {
			s.load(l.fragment)
		}
		if s.poor(wanted) {
			if r.ctx.Err() != nil {
				return ovs.E("albaproxy.rebuild", ovs.KindTimeout, r.name, r.ctx.Err())
			}
			return s.fault()
		}
	}
	if err := s.solve(wanted); err != nil {
		return err
	}
	for _, l := range lost {
		for row := max(l.from, from); row < min(l.to, to); row++ {
			r.copyUnit(l.fragment, row, s.units[l.fragment][(row-from)*r.stride():], off, dst)
		}
	}
	return nil
}
