package dtl

import (
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/vfs"
)

// lazily is how long a record that nobody waits for may stay unflushed.
const lazily = 50 * time.Millisecond

// inline is how many callbacks the flusher makes itself when nobody waits for the next flush: with one client at work the
// reply leaves without another switch of goroutines, with many the next flush does not wait for their callbacks.
const inline = 2

// wake makes the goroutine that sleeps on c look again.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// flush is the flusher's goroutine: it writes one batch after the other until the log is closed and all are written.
func (l *Log) flush() {
	defer close(l.flusherGone)
	timer := time.NewTimer(lazily)
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		b := l.nextBatch(timer)
		if b == nil {
			return
		}
		mark := l.flushed
		l.mu.Unlock()
		err := l.write(b, mark)
		l.mu.Lock()
		l.landed(b, mark, err)
	}
}

// nextBatch waits for a batch that is due and takes it. nil: the log is closed and nothing is left. mu is held, and let
// go while it waits.
func (l *Log) nextBatch(timer *time.Timer) *batch {
	late := false
	for {
		if l.head == nil && l.closing && !l.closingMark() {
			return nil
		}
		b := l.head
		if b != nil && (b.waits || b != l.tail || late || l.closing) && (b.seg.ready || l.failed != nil) {
			if l.head = b.next; l.head == nil {
				l.tail = nil
			}
			b.next, l.writing = nil, b
			return b
		}
		l.resting = true
		l.mu.Unlock()
		if b != nil && !late {
			timer.Reset(lazily)
		} else {
			timer.Stop()
		}
		select {
		case <-l.flusher:
		case <-timer.C:
			late = true
		}
		l.mu.Lock()
		l.resting = false
	}
}

// closingMark queues a batch without records, once, so that the last ones too stand below a mark. mu is held.
func (l *Log) closingMark() bool {
	g := l.open
	if l.marked || l.failed != nil || g == nil || !g.ready || !l.fits(g, int64(g.end)+batchSize) {
		return false
	}
	l.marked = true
	return l.newBatch(batchSize) != nil
}

// write brings a batch to the disk. Nothing else touches its bytes: appends go to later batches.
func (l *Log) write(b *batch, mark place) error {
	if err := l.Failed(); err != nil {
		return err
	}
	data := b.slab.buf[b.start:up(b.end)]
	clear(data[b.end-b.start:])
	h := batchHeader{length: uint32(b.end - b.start), records: b.records, mark: mark, gen: b.seg.gen, start: l.start}
	h.encode(data, b.seg.seed, b.off())
	sumBlocks(b.seg.sums, b.off(), data)
	began := time.Now()
	if err := writeFull(b.seg.slot.file, data, int64(b.off())); err != nil {
		return err
	}
	vfs.Mark(l.cfg.FS, "log written")
	err := b.seg.slot.file.Datasync()
	l.latency.Store(int64(time.Since(began)))
	vfs.Mark(l.cfg.FS, "log flushed")
	return err
}

// landed does the accounts of a batch that was written, or failed to be, and sees to its callbacks. mu is held, and let go
// around callbacks.
func (l *Log) landed(b *batch, mark place, err error) {
	l.writing = nil
	done, waiting := b.done, b.syncs
	b.done, b.syncs = records{}, syncs{}
	if err != nil {
		l.fail(err)
		l.due.tooLate(&done, &waiting)
	}
	l.dirty -= b.bytes
	b.slab.flights--
	b.seg.flights--
	if err == nil {
		size := up(b.end) - b.start
		if b.seg.mark == (place{}) {
			b.seg.mark = mark
		}
		l.flushed = place{b.seg.gen, b.off() + uint32(size)}
		l.marked = b.records == 0
		l.stats.Flushes++
		l.stats.Records += uint64(b.records)
		l.stats.Written += uint64(size)
		l.stats.Padding += uint64(up(b.end) - b.end)
	}
	l.settle(b.seg)
	l.makeRoom()
	b.next, l.idle = l.idle, b
	l.finish(done, waiting)
}

// finish makes the callbacks of a flushed batch, or leaves them to the completer. Either way they come in order: never
// here while the completer is at it. mu is held, and let go around callbacks.
func (l *Log) finish(done records, waiting syncs) {
	if l.due.busy || !l.due.empty() || !few(&done, &waiting) || l.head != nil && l.head.waits {
		l.due.done.Join(&done)
		l.due.syncs.Join(&waiting)
		wake(l.completer)
		return
	}
	l.due.busy = true
	l.mu.Unlock()
	callBack(done, waiting, nil)
	l.mu.Lock()
	l.due.busy = false
	if !l.due.empty() {
		wake(l.completer)
	}
}

func few(q *records, s *syncs) bool {
	r := q.First()
	for i := 0; i < inline && r != nil; i++ {
		r = r.Next
	}
	w := s.First()
	return r == nil && (w == nil || w.Next == nil)
}

// fail ends the log: nothing is written any more, and all that is not flushed is lost to it. mu is held.
func (l *Log) fail(err error) {
	if l.failed != nil {
		return
	}
	l.failed = ovs.E("dtl.flush", ovs.KindIO, l.cfg.Dir, err)
	l.zap.Error("write log failed: nothing is written to it any more", zap.Error(err))
	var done records
	var waiting syncs
	for b := l.head; b != nil; b = b.next {
		done.Join(&b.done)
		waiting.Join(&b.syncs)
	}
	l.due.tooLate(&done, &waiting)
	l.makeRoom()
	wake(l.flusher)
	wake(l.completer)
}

// Failed is the error that ended the log; nil while it is sound.
func (l *Log) Failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}
