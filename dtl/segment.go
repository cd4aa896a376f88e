package dtl

import (
	"fmt"
	"hash/crc32"

	"ovs/internal/vfs"
)

// slot is a segment file: zero-filled once, then used for one segment after the other.
type slot struct {
	n    int
	file vfs.File
}

func slotName(n int) string { return fmt.Sprintf(segmentPattern, n) }

// state is how far a segment's life has come.
type state uint8

const (
	prepared state = iota // its header is, or will be, flushed; no batch yet
	open                  // batches go here
	full                  // no more batches; some may be on their way
	queued                // the preparer is to write its index
	sealing               // the preparer writes its index
	sealed                // its index stands
)

// segment is one life of a slot, under one generation.
type segment struct {
	slot *slot
	gen  uint32
	seed uint32
	sums []uint32 // CRC32C of each flushed block; set by the flusher before the block can leave memory

	// Guarded by Log.mu.
	state   state
	ready   bool    // its header is flushed
	damaged bool    // a part of it did not survive: never sealed, so that each start finds that again
	end     uint32  // where the next batch may begin: a multiple of block
	mark    place   // how far the log was flushed before its first batch
	frames  []byte  // the headers of its records, until they stand in its index
	records int     // how many
	trailer trailer // of a sealed one
	holders int     // objects that hold a record in it
	flights int     // batches not yet flushed

	recalled  []byte // frames as the start read them, for those who were not replayed yet; never changed
	recallers int    // holds that point into it
}

func (l *Log) newSegment(s *slot, gen uint32) *segment {
	return &segment{slot: s, gen: gen, seed: l.seed(gen), sums: make([]uint32, l.size/block), end: block}
}

// seed is where the checksums of a generation of this log begin.
func (l *Log) seed(gen uint32) uint32 {
	if l.cfg.bugs.ignoreGeneration {
		gen = 0
	}
	return seed(l.id, gen)
}

// sumBlocks sets the sums of whole blocks that stand from off on.
func sumBlocks(sums []uint32, off uint32, data []byte) {
	for i := 0; i < len(data); i += block {
		sums[int(off)/block+i/block] = crc32.Checksum(data[i:i+block], castagnoli)
	}
}

// left is the room that is certain to be there for records of any size, in the measure of charge: what a record that
// does not fit leaves unused is taken off.
func (l *Log) left(s *segment) int64 {
	n := l.size - block - int64(s.end) - indexBytes(s.records, l.size) - int64(l.frameMost) - frameSize - block
	return max(0, n)
}

// fits tells whether a batch may grow to end there once it has another record. mu is held.
func (l *Log) fits(s *segment, end int64) bool {
	return up(end) <= l.size-block-indexBytes(s.records+1, l.size)
}

// roll opens the next segment, for the batch that follows. False: there is none. mu is held.
func (l *Log) roll() bool {
	next := l.next
	l.next = nil
	if next == nil {
		if next = l.prepare(); next == nil {
			return false
		}
	}
	if old := l.open; old != nil {
		l.open, old.state = nil, full
		l.settle(old)
	}
	l.open, next.state = next, open
	l.live = append(l.live, next)
	wake(l.preparer)
	if l.free() < l.total/2 {
		wake(l.completer)
	}
	return true
}

// prepare takes a free slot for a new generation and has the preparer write its header. nil: none is free. mu is held.
func (l *Log) prepare() *segment {
	if len(l.slots) == 0 || l.failed != nil {
		return nil
	}
	s := l.slots[0]
	l.slots = l.slots[1:]
	l.gen++
	g := l.newSegment(s, l.gen)
	if n := len(l.spare); n > 0 {
		g.frames, l.spare = l.spare[n-1][:0], l.spare[:n-1]
	}
	l.unready = append(l.unready, g)
	l.views.Lock()
	l.byGen[g.gen] = g
	l.views.Unlock()
	wake(l.preparer)
	return g
}

// settle looks whether a segment's life is over, or its index is due. It is called when the last batch on its way was
// flushed, the last object let go, or its index was written. mu is held.
func (l *Log) settle(g *segment) {
	over := g.state == full || g.state == sealed || g.state == open && l.left(g) < l.least()
	switch {
	case g.flights > 0:
	case over && g.holders == 0:
		l.drop(g)
	case g.state == full && !g.damaged && l.failed == nil:
		g.state = queued
		l.toSeal = append(l.toSeal, g)
		wake(l.preparer)
	}
}

// least is the room that an open segment which nobody holds has at least, or it ends early: for the largest record, since there
// may be no other file, and where there is none, for what is kept for urgent ones besides. mu is held.
func (l *Log) least() int64 {
	n := charge(l.recordMost)
	if l.next == nil && len(l.slots) == 0 {
		n += l.total / 20
	}
	return n
}

// drop ends a segment's life: its slot is free, its positions are stale. mu is held.
func (l *Log) drop(g *segment) {
	if g == l.open {
		l.open = nil
	}
	for i, s := range l.live {
		if s == g {
			l.live = append(l.live[:i], l.live[i+1:]...)
			break
		}
	}
	l.views.Lock()
	delete(l.byGen, g.gen)
	l.views.Unlock()
	l.keep(g)
	l.slots = append(l.slots, g.slot)
	wake(l.preparer)
	l.makeRoom()
}

// keep puts the memory of its frames by for another segment. mu is held.
func (l *Log) keep(g *segment) {
	if g.frames != nil && len(l.spare) < 3 {
		l.spare = append(l.spare, g.frames)
	}
	g.frames = nil
}

// segmentOf finds the life that a position speaks of; nil: it is over.
func (l *Log) segmentOf(gen uint32) *segment {
	l.views.RLock()
	defer l.views.RUnlock()
	return l.byGen[gen]
}
