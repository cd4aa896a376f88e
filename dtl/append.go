package dtl

import (
	"hash/crc32"

	"ovs"
	"ovs/internal/fifo"
)

// batch is what one flush writes. The last of the queue is open to appends until the flusher takes it.
type batch struct {
	seg        *segment
	slab       *slab
	start, end int // in slab.buf; start is a multiple of block
	records    uint32
	bytes      int64 // counted in Log.dirty
	waits      bool  // somebody waits for it
	done       records
	syncs      syncs
	next       *batch
}

// off is the batch's offset in its segment. The slab stays as long as the batch is not flushed.
func (b *batch) off() uint32 { return b.slab.base + uint32(b.start) }

type (
	records = fifo.Queue[ovs.Record, *ovs.Record]
	syncs   = fifo.Queue[ovs.LogSync, *ovs.LogSync]
)

// Append implements ovs.Log. What takes time, the checksum of the data, comes before the lock.
func (l *Log) Append(r *ovs.Record) {
	dataSum := crc32.Checksum(r.Data, castagnoli)
	l.mu.Lock()
	reserved := r.Room
	r.Room, r.Pos = 0, 0
	o := l.object(r.Ref)
	l.reserved -= reserved
	o.reserved -= reserved
	b, err := l.gather(len(r.Data))
	if err != nil {
		l.refuse(r, err)
		l.forget(o)
		l.mu.Unlock()
		return
	}
	n := frameBytes(len(r.Data))
	dst := b.slab.buf[b.end : b.end+n]
	off := b.slab.base + uint32(b.end)
	encodeFrame(dst, r, dataSum, b.seg.seed, off)
	clear(dst[frameSize+copy(dst[frameSize:], r.Data):])
	r.Pos = place{b.seg.gen, off + frameSize}.pos()
	b.seg.frames = append(b.seg.frames, dst[:frameSize]...)
	b.seg.records++
	b.end += n
	b.records++
	b.bytes += int64(n)
	l.dirty += int64(n)
	b.seg.end = up(off + uint32(n))
	l.note(o, r, b.seg, int64(n)).forget()
	if r.Done != nil {
		b.done.Push(r)
		b.waits = true
	}
	l.rouse(b)
	l.mu.Unlock()
}

// gather finds the batch for a record with n bytes of data: the open one, or a new one behind it. mu is held.
func (l *Log) gather(n int) (*batch, error) {
	const op = "dtl.Append"
	if err := l.refused(); err != nil {
		return nil, err
	}
	if n > l.recordMost {
		return nil, ovs.E(op, ovs.KindTooBig, n, nil)
	}
	need := frameBytes(n)
	if b := l.tail; b != nil && b.end+need <= len(b.slab.buf) && b.seg == l.open &&
		l.fits(b.seg, int64(b.off())+int64(b.end-b.start+need)) {
		return b, nil
	}
	need += batchSize
	if l.open == nil || !l.fits(l.open, int64(l.open.end)+int64(need)) {
		if !l.roll() {
			return nil, ovs.E(op, ovs.KindNoSpace, nil, nil)
		}
	}
	b := l.newBatch(need)
	if b == nil {
		return nil, ovs.E(op, ovs.KindNoSpace, "memory", nil)
	}
	return b, nil
}

// newBatch begins a batch at the end of the open segment, of need bytes at first. nil: there is no memory. mu is held.
func (l *Log) newBatch(need int) *batch {
	g := l.open
	s := l.memory.ring[l.memory.cur]
	start := int(g.end) - int(s.base)
	if s.gen != g.gen || start < 0 || start+up(need) > len(s.buf) {
		if s = l.take(place{g.gen, g.end}); s == nil {
			return nil
		}
		start = 0
	}
	b := l.idle
	if b == nil {
		b = &batch{}
	} else {
		l.idle = b.next
	}
	*b = batch{seg: g, slab: s, start: start, end: start + batchSize, bytes: batchSize}
	l.dirty += batchSize
	g.flights++
	s.flights++
	g.end += block
	if l.tail == nil {
		l.head = b
	} else {
		l.tail.next = b
	}
	l.tail = b
	return b
}

// rouse wakes the flusher if it sleeps and there is a reason: somebody waits, or the batch's 50 ms begin. mu is held.
func (l *Log) rouse(b *batch) {
	if l.resting && (b.waits || b.records == 1 || l.head != l.tail) {
		wake(l.flusher)
	}
}

// Sync implements ovs.Log.
func (l *Log) Sync(s *ovs.LogSync) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.refused() != nil:
		l.due.lateSyncs.Push(s)
		l.answer()
	case l.tail != nil:
		l.tail.syncs.Push(s)
		l.tail.waits = true
		l.rouse(l.tail)
	case l.writing != nil:
		l.writing.syncs.Push(s)
	default:
		l.due.syncs.Push(s)
		wake(l.completer)
	}
}

// refuse has a record Done with an error, by and by. mu is held.
func (l *Log) refuse(r *ovs.Record, err error) {
	if r.Done == nil {
		return
	}
	if l.refused() == nil { // this one alone: no room, or too big
		l.due.odd = append(l.due.odd, oddRecord{r, err})
	} else {
		l.due.late.Push(r)
	}
	l.answer()
}
