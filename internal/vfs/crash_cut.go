package vfs

import (
	"math/rand/v2"
	"slices"
)

// choice is how one power cut treats what was not flushed.
type choice struct {
	rng    *rand.Rand
	mode   CutMode
	tear   bool
	prefix bool   // everything up to upto survives and nothing after it
	upto   uint64 // a seq
}

// survivor makes the disk after a cut, and leaves this one as it is but for the use of rng. It needs mu.
func (d *Crash) survivor() *Crash {
	c := choice{rng: d.rng, mode: d.mode, tear: d.tear}
	if c.mode == CutAny && d.rng.IntN(5) == 0 {
		// One cut in five is a clean one: all happened in order up to some moment, which is late more often than early.
		c.prefix, c.upto = true, d.seq-min(d.seq, d.rng.Uint64N(1<<d.rng.IntN(12)))
	}
	next := newCrash(rand.New(rand.NewPCG(d.rng.Uint64(), d.rng.Uint64())))
	next.seq, next.capacity, next.mode = d.seq, d.capacity, d.mode
	next.tear, next.noDirect, next.runOn = d.tear, d.noDirect, d.runOn

	names := d.survivingNames(c)
	copies := map[*node]*node{d.root: next.root}
	var visit func(from, to *node)
	visit = func(from, to *node) {
		for _, name := range sortedKeys(names(from)) {
			n := names(from)[name]
			twin := copies[n]
			if twin == nil {
				twin = next.newNode(n.dir)
				twin.mtime = n.mtime
				copies[n] = twin
				if n.dir {
					visit(n, twin)
				} else {
					next.used += c.content(n, twin)
				}
			}
			twin.links++
			to.names[name], to.durableNames[name] = twin, twin
		}
	}
	visit(d.root, next.root)
	return next
}

// survivingNames chooses the directory changes that survive, and tells what each directory holds then.
func (d *Crash) survivingNames(c choice) func(*node) map[string]*node {
	keep := d.closure(c.changes(d.pending))
	changed := map[*node]map[string]*node{}
	for i, ch := range d.pending {
		if !keep[i] {
			continue
		}
		for _, e := range ch.sets {
			m := changed[e.dir]
			if m == nil {
				m = make(map[string]*node, len(e.dir.durableNames)+1)
				for k, v := range e.dir.durableNames {
					m[k] = v
				}
				changed[e.dir] = m
			}
			if e.to == nil {
				delete(m, e.name)
			} else {
				m[e.name] = e.to
			}
		}
	}
	return func(n *node) map[string]*node {
		if m := changed[n]; m != nil {
			return m
		}
		return n.durableNames
	}
}

// changes chooses as a journalling file system may: the changes of each directory survive up to a point of its own. Past
// that, new names may have got through alone, as where an fsync of a file logs its name early; then the older new names of
// files that were flushed got through before them. A removal never overtakes an older change of its directory.
func (c choice) changes(pending []change) func(int, change) bool {
	switch {
	case c.mode == CutAll:
		return func(int, change) bool { return false }
	case c.mode == CutNone:
		return func(int, change) bool { return true }
	case c.prefix:
		return func(_ int, ch change) bool { return ch.seq <= c.upto }
	}
	length := map[*node]int{}
	for _, ch := range pending {
		length[ch.sets[0].dir]++
	}
	left := map[*node]int{}
	chosen := make([]bool, len(pending))
	for i, ch := range pending {
		dir := ch.sets[0].dir
		if _, ok := left[dir]; !ok {
			left[dir] = c.rng.IntN(length[dir] + 1)
		}
		left[dir]--
		adds := slices.ContainsFunc(ch.sets, func(e entry) bool { return e.to != nil })
		chosen[i] = left[dir] >= 0 || adds && c.rng.IntN(8) == 0
	}
	overtaken := map[*node]bool{} // directories of which a later name survives
	for i := len(pending) - 1; i >= 0; i-- {
		ch := pending[i]
		dir := ch.sets[0].dir
		logged := slices.ContainsFunc(ch.sets, func(e entry) bool { return e.to != nil && e.to.synced > ch.seq })
		chosen[i] = chosen[i] || overtaken[dir] && logged
		overtaken[dir] = overtaken[dir] || chosen[i]
	}
	return func(i int, _ change) bool { return chosen[i] }
}

// content gives twin what survives of file n, and returns the pages that it takes.
func (c choice) content(n, twin *node) int64 {
	pick := c.versions()
	for i, p := range n.durable {
		if p.page != nil {
			twin.durable[i] = p
		}
	}
	for _, i := range n.pageNumbers() {
		v := n.dirty[i]
		if len(v) == 0 {
			continue
		}
		if p := c.page(n.durable[i].page, v, pick); p != nil {
			twin.durable[i] = durablePage{n.durable[i].seq, p}
		} else {
			delete(twin.durable, i)
		}
	}
	twin.durableSize = c.size(n, pick)
	for i, p := range twin.durable {
		end := twin.durableSize - i*pageSize
		switch {
		case end <= 0:
			delete(twin.durable, i)
		case end < pageSize:
			cut := *p.page
			clear(cut[end:])
			twin.durable[i] = durablePage{p.seq, &cut}
		}
	}
	twin.pages = int64(len(twin.durable))
	return twin.pages
}

// picker chooses among the durable content (0) and count un-flushed ones (1 is the oldest); seq tells the age of each.
type picker func(count int, seq func(i int) uint64) int

func (c choice) versions() picker {
	none := func(int, func(int) uint64) int { return 0 }
	all := func(count int, _ func(int) uint64) int { return count }
	switch {
	case c.mode == CutAll:
		return none
	case c.mode == CutNone:
		return all
	case c.prefix:
		return func(count int, seq func(int) uint64) int {
			for count > 0 && seq(count) > c.upto {
				count--
			}
			return count
		}
	}
	// A file at a time: all, nothing, or a subset that is anything between sparse and nearly full.
	newest := c.rng.Float64()
	switch c.rng.IntN(5) {
	case 0:
		return none
	case 1:
		return all
	}
	return func(count int, _ func(int) uint64) int {
		if c.rng.Float64() < newest {
			return count
		}
		return c.rng.IntN(count)
	}
}

// page puts a page together from one content for each sector; torn, a sector has two.
func (c choice) page(durable *page, v []version, pick picker) *page {
	seq := func(i int) uint64 { return v[i-1].seq }
	content := func(i int) *page {
		if i == 0 {
			return durable
		}
		return v[i-1].page
	}
	if c.mode != CutAny || c.prefix {
		return content(pick(len(v), seq))
	}
	var out page
	for s := 0; s < pageSize; s += sectorSize {
		i := pick(len(v), seq)
		copy(out[s:s+sectorSize], content(i).bytes()[s:])
		if c.tear && i > 0 && c.rng.IntN(4) == 0 {
			at := s + c.rng.IntN(sectorSize)
			copy(out[at:s+sectorSize], content(c.rng.IntN(i)).bytes()[at:])
		}
	}
	if out == zeroPage {
		return nil
	}
	return &out
}

// size is one of the sizes that the file had since its last flush, or, where it grew, one on the way.
func (c choice) size(n *node, pick picker) int64 {
	k := len(n.sizes)
	if k == 0 {
		return n.durableSize
	}
	i := pick(k, func(i int) uint64 { return n.sizes[i-1].seq })
	if i == 0 {
		return n.durableSize
	}
	size, before := n.sizes[i-1].size, n.durableSize
	if i > 1 {
		before = n.sizes[i-2].size
	}
	if c.mode == CutAny && !c.prefix && size > before && c.rng.IntN(4) == 0 {
		sectors := (size - before) / sectorSize
		if sectors > 0 {
			size = before/sectorSize*sectorSize + sectorSize*(1+c.rng.Int64N(sectors))
		}
	}
	return size
}
