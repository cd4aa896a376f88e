package dtl

import (
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/vfs"
)

// ahead is how many segments that can be used at once there are to be, as long as the log may still grow.
const ahead = 2

// again is when the making of a segment is tried again after it failed.
const again = time.Second

// makeReady is the preparer's goroutine. In this order it writes the headers of segments that are about to be used, makes
// a segment ahead of need, and writes the indexes of full ones. It ends when the log ends.
func (l *Log) makeReady() {
	defer l.work.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		for l.prepareOne() {
		}
		wait := time.Hour
		if l.lacking() {
			wait = again
		}
		timer.Reset(wait)
		select {
		case <-l.preparer:
		case <-timer.C:
		case <-l.quit:
			for l.sealOne() {
			}
			return
		}
	}
}

// prepareOne does the most urgent piece of work and tells whether there may be more.
func (l *Log) prepareOne() bool {
	l.mu.Lock()
	if l.failed != nil {
		l.mu.Unlock()
		return false
	}
	if l.next == nil && len(l.unready) == 0 && len(l.slots) > 0 {
		l.next = l.prepare()
	}
	if len(l.unready) > 0 {
		g := l.unready[0]
		l.unready = l.unready[1:]
		l.mu.Unlock()
		l.writeHeader(g)
		return true
	}
	grow := len(l.all) < l.slotsMost && len(l.slots)+1 < ahead
	l.mu.Unlock()
	if grow && l.grow() {
		return true
	}
	return l.sealOne()
}

// lacking tells whether a segment is to be made and could not.
func (l *Log) lacking() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed == nil && len(l.all) < l.slotsMost && len(l.slots)+1 < ahead
}

// writeHeader makes a segment ready: from now on batches of its generation may be written.
func (l *Log) writeHeader(g *segment) {
	b := vfs.AlignedBuffer(block)
	h := header{id: l.id, gen: g.gen, start: l.start}
	h.encode(b)
	err := writeFull(g.slot.file, b, 0)
	vfs.Mark(l.cfg.FS, "log header written")
	if err == nil && !l.cfg.bugs.noHeaderFlush {
		err = g.slot.file.Datasync()
	}
	vfs.Mark(l.cfg.FS, "log header flushed")
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.fail(err)
		return
	}
	g.ready = true
	wake(l.flusher)
}

// grow makes a segment file and tells whether it did. A full disk is no failure of the log: it goes on with what it has,
// and says so once. It takes nothing of what is to be kept free: a segment that is filled with zeros until the disk is full
// would be an accident for all others on it.
func (l *Log) grow() bool {
	l.mu.Lock()
	n := l.slotNext
	l.mu.Unlock()
	err := l.mayGrow()
	var s *slot
	if err == nil {
		s, err = l.makeSlot(n)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.slots = append(l.slots, s)
		l.slotNext++
		l.all = append(l.all, s)
		l.makeRoom()
	} else if !l.cramped {
		l.zap.Warn("no new segment for the write log, which goes on with what it has", zap.Int("segment", n), zap.Error(err))
	}
	l.cramped = err != nil
	l.reckon()
	return err == nil
}

// mayGrow refuses where a segment more would take what is to be kept free.
func (l *Log) mayGrow() error {
	if l.cfg.KeepFree == 0 {
		return nil
	}
	_, free, err := l.cfg.FS.Space(l.cfg.Dir)
	if err == nil && free < uint64(l.size)+l.cfg.KeepFree {
		err = fmt.Errorf("%d MiB are free, %d are to be kept", free>>20, l.cfg.KeepFree>>20)
	}
	return err
}

// makeSlot makes a file, zero-filled, whose header speaks of generation 0, which holds nothing.
func (l *Log) makeSlot(n int) (*slot, error) {
	b := make([]byte, headerSize)
	h := header{id: l.id, start: l.start}
	h.encode(b)
	if err := create(l.cfg.FS, l.cfg.Dir, slotName(n), l.size, b); err != nil {
		return nil, err
	}
	f, err := l.cfg.FS.OpenFile(l.cfg.Dir+"/"+slotName(n), os.O_RDWR|vfs.Direct, 0)
	if err != nil {
		return nil, err
	}
	return &slot{n: n, file: f}, nil
}

// sealOne writes the index of a full segment and tells whether there was one.
func (l *Log) sealOne() bool {
	l.mu.Lock()
	if len(l.toSeal) == 0 || l.failed != nil {
		l.mu.Unlock()
		return false
	}
	g := l.toSeal[0]
	l.toSeal = l.toSeal[1:]
	if g.holders == 0 {
		g.state = full
		l.settle(g)
		l.mu.Unlock()
		return true
	}
	g.state = sealing
	frames, end, mark := g.frames, g.end, g.mark
	l.mu.Unlock()

	buf, at := encodeIndex(l.size, g.seed, end, mark, frames, g.sums, l.index)
	l.index = buf
	err := writeRange(g.slot.file, buf, at)
	vfs.Mark(l.cfg.FS, "log index written")
	if err == nil {
		err = g.slot.file.Datasync()
	}
	vfs.Mark(l.cfg.FS, "log index flushed")
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		g.state = full
		l.fail(err)
		return false
	}
	var t trailer
	t.decode(buf[len(buf)-block:], g.seed, uint32(l.size-block))
	g.state, g.trailer = sealed, t
	l.keep(g)
	l.settle(g)
	return true
}

var _ ovs.Log = (*Log)(nil)
