package vfs

import (
	"maps"
	"slices"
	"syscall"
)

const (
	pageSize   = 4096
	sectorSize = 512

	// maxVersions bounds the un-flushed contents that are kept of one page. With more writes than that between two flushes
	// some of the older contents cannot come back after a cut.
	maxVersions = 6
)

// page never changes once it hangs in a node: a write makes a new one. So disks after a cut share pages with the one
// before. A nil page reads as zeros.
type page [pageSize]byte

var zeroPage page

func (p *page) bytes() []byte {
	if p == nil {
		p = &zeroPage
	}
	return p[:]
}

// version is a content of a page that is not durable yet.
type version struct {
	seq  uint64
	page *page
	lost bool // a flush of it failed: the cache holds it, later flushes believe that it is on the disk
}

type sizeVersion struct {
	seq  uint64
	size int64
}

// node is a file or a directory, apart from its names. Its disk's mu guards it.
type node struct {
	id    uint64
	dir   bool
	links int // names, in the live view
	opens int
	mtime uint64 // seq of the last change
	pages int64  // that are not zero, in the live view

	// Files. The live content of a page is its newest version, or the durable page.
	durable     map[int64]durablePage
	dirty       map[int64][]version // oldest first, never empty
	durableSize int64
	sizes       []sizeVersion // oldest first
	sizeSeq     uint64        // of durableSize
	synced      uint64        // the seq that the newest flush covers

	// Directories.
	names        map[string]*node // live
	durableNames map[string]*node
}

type durablePage struct {
	seq  uint64
	page *page
}

func (d *Crash) newNode(dir bool) *node {
	d.nodes++
	n := &node{id: d.nodes, dir: dir}
	if dir {
		n.names, n.durableNames = map[string]*node{}, map[string]*node{}
	} else {
		n.durable, n.dirty = map[int64]durablePage{}, map[int64][]version{}
	}
	return n
}

func (n *node) size() int64 {
	if k := len(n.sizes); k > 0 {
		return n.sizes[k-1].size
	}
	return n.durableSize
}

func (n *node) live(i int64) *page {
	if v := n.dirty[i]; len(v) > 0 {
		return v[len(v)-1].page
	}
	return n.durable[i].page
}

func (n *node) readAt(p []byte, off int64) int {
	p = p[:max(0, min(int64(len(p)), n.size()-off))]
	for done := 0; done < len(p); {
		at := off + int64(done)
		done += copy(p[done:], n.live(at / pageSize).bytes()[at%pageSize:])
	}
	return len(p)
}

// write puts p at off, or zeros where p is nil, without a change of size. It asks for space page by page, so a full disk
// makes it short, as a real one does.
func (d *Crash) write(n *node, p []byte, off, length int64) (int64, error) {
	d.seq++
	n.mtime = d.seq
	for done := int64(0); done < length; {
		at := off + done
		i, in := at/pageSize, at%pageSize
		part := min(pageSize-in, length-done)
		old := n.live(i)
		if p == nil && (old == nil || part == pageSize) {
			if old != nil {
				d.push(n, i, nil)
			}
			done += part
			continue
		}
		if old == nil && d.used >= d.capacity {
			return done, syscall.ENOSPC
		}
		fresh := new(page)
		if old != nil && part < pageSize {
			*fresh = *old
		}
		if p == nil {
			clear(fresh[in : in+part])
		} else {
			copy(fresh[in:in+part], p[done:])
		}
		d.push(n, i, fresh)
		done += part
	}
	return length, nil
}

// push makes p the live content of page i.
func (d *Crash) push(n *node, i int64, p *page) {
	old := n.live(i)
	if (old == nil) != (p == nil) {
		delta := int64(1)
		if p == nil {
			delta = -1
		}
		n.pages += delta
		d.used += delta
	}
	v := append(n.dirty[i], version{seq: d.seq, page: p})
	if len(v) > maxVersions {
		drop := int(d.seq % (maxVersions - 1)) // never the newest; no use of rng, so that writes do not disturb later cuts
		v = slices.Delete(v, drop, drop+1)
	}
	n.dirty[i] = v
}

// grow is the size after a write that ended at end.
func (d *Crash) grow(n *node, end int64) {
	if end > n.size() {
		n.sizes = append(n.sizes, sizeVersion{d.seq, end})
	}
}

// truncate cuts or extends the file; what lies past the end is zeros from then on.
func (d *Crash) truncate(n *node, size int64) {
	d.zero(n, size, n.size())
	d.seq++
	n.mtime = d.seq
	if size != n.size() {
		n.sizes = append(n.sizes, sizeVersion{d.seq, size})
	}
}

// zero makes a range read as zeros. Files may be sparse and ranges long: it goes by what there is less of.
func (d *Crash) zero(n *node, from, to int64) {
	if from >= to {
		return
	}
	page := func(i int64) {
		first, end := max(from, i*pageSize), min(to, (i+1)*pageSize)
		if first < end {
			d.write(n, nil, first, end-first) // zeros take no space: no error
		}
	}
	first, last := from/pageSize, (to-1)/pageSize
	if last-first <= int64(len(n.durable)+len(n.dirty)) {
		for i := first; i <= last; i++ {
			page(i)
		}
		return
	}
	for _, i := range n.pageNumbers() {
		page(i)
	}
}

// pageNumbers lists the pages that have any content, live or durable, in order.
func (n *node) pageNumbers() []int64 {
	list := slices.Collect(maps.Keys(n.durable))
	for i := range n.dirty {
		if _, ok := n.durable[i]; !ok {
			list = append(list, i)
		}
	}
	slices.Sort(list)
	return list
}

// capture fixes what a flush covers: the content and size of now, which is seq. The returned func makes it durable; versions that came
// later stay un-flushed. Flushes of one file may overlap: a page that is durable from a later one stays.
func (n *node) capture(seq uint64) (commit func()) {
	type item struct {
		index int64
		version
	}
	items := make([]item, 0, len(n.dirty))
	for i, v := range n.dirty {
		if newest := v[len(v)-1]; !newest.lost {
			items = append(items, item{i, newest})
		}
	}
	var size *sizeVersion
	if k := len(n.sizes); k > 0 {
		size = &sizeVersion{n.sizes[k-1].seq, n.sizes[k-1].size}
	}
	return func() {
		n.synced = max(n.synced, seq)
		for _, it := range items {
			n.commitPage(it.index, it.version)
		}
		if size != nil && size.seq > n.sizeSeq {
			n.durableSize, n.sizeSeq = size.size, size.seq
			n.sizes = slices.DeleteFunc(n.sizes, func(s sizeVersion) bool { return s.seq <= size.seq })
		}
	}
}

func (n *node) commitPage(i int64, v version) {
	if v.seq <= n.durable[i].seq {
		return
	}
	rest := slices.DeleteFunc(n.dirty[i], func(o version) bool { return o.seq <= v.seq })
	if len(rest) == 0 {
		delete(n.dirty, i)
	} else {
		n.dirty[i] = rest
	}
	n.durable[i] = durablePage{v.seq, v.page} // zeros too: the seq tells an older flush that still runs to keep off
}

// failSync is a flush that fails: the kernel marks the pages clean all the same, so that a second flush has nothing to
// do and says so. They reach the disk, by chance, or never.
func (n *node) failSync() {
	for _, v := range n.dirty {
		for k := range v {
			v[k].lost = true
		}
	}
}
