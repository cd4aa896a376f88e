package dtl

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/vfs"
)

// recover finds out what is in the segments, oldest generation first, and where the log goes on: behind the last good
// batch, or in a fresh segment.
func (l *Log) recover(s super) error {
	lives, err := l.openSegments()
	if err != nil {
		return err
	}
	marks := map[uint32]uint32{s.mark.gen: s.mark.off} // how far each generation was flushed at least
	scans := l.readSegments(lives)
	for _, s := range scans {
		for _, m := range s.marks {
			marks[m.gen] = max(marks[m.gen], m.off)
		}
	}
	if l.cfg.bugs.ignoreMarks {
		clear(marks)
	}
	last := -1
	for i, g := range lives {
		l.judge(g, scans[i], marks[g.gen])
		if scans[i].batches > 0 || g.damaged {
			last = i
		}
	}
	if last >= 0 && !lives[last].damaged && lives[last].state != sealed {
		if err := l.renew(lives[last], max(block, marks[lives[last].gen]), scans[last].end); err != nil {
			return ovs.E("dtl.Open", ovs.KindIO, lives[last].slot.file.Name(), err)
		}
	}
	records, recalled := 0, recallFrom(scans)
	for i, g := range lives {
		if i >= recalled {
			g.recalled = scans[i].frames
		}
		l.adopt(g, scans[i], i == last)
		records += g.records
	}
	l.zap.Info("write log read", zap.Int("segments", len(l.live)), zap.Int("records", records), zap.Int("objects", len(l.objects)))
	return nil
}

// renew writes the last batch once more, from which on no mark says that it was flushed. Its flush may have failed in an earlier
// process: then a cache shows it, takes it for flushed, and will never flush it. What follows it would stand behind a hole.
func (l *Log) renew(g *segment, from, to uint32) error {
	if from >= to {
		return nil
	}
	b, err := readRange(g.slot.file, int64(from), int64(to-from))
	if err == nil {
		err = writeRange(g.slot.file, b, int64(from))
	}
	if err == nil {
		err = g.slot.file.Datasync()
	}
	return err
}

// openSegments opens all files and sorts them by generation.
func (l *Log) openSegments() ([]*segment, error) {
	const op = "dtl.Open"
	names, half, err := l.segmentNames()
	if err != nil {
		return nil, err
	}
	for _, name := range half { // a kill came in between; their space may be all that there is
		if err := l.cfg.FS.Remove(l.cfg.Dir + "/" + name); err != nil {
			return nil, ovs.E(op, ovs.KindIO, name, err)
		}
	}
	var lives []*segment
	for _, name := range names {
		s := &slot{}
		if _, err := fmt.Sscanf(name, segmentPattern, &s.n); err != nil || name != slotName(s.n) {
			return nil, ovs.E(op, ovs.KindCorrupt, name, errors.New("not the name of a segment"))
		}
		l.slotNext = max(l.slotNext, s.n+1)
		if s.file, err = l.cfg.FS.OpenFile(l.cfg.Dir+"/"+name, os.O_RDWR|vfs.Direct, 0); err != nil {
			return nil, ovs.E(op, ovs.KindIO, name, err)
		}
		l.all = append(l.all, s)
		// Before anything is believed: what is read may be in a cache that a power cut would take along.
		if err := s.file.Datasync(); err != nil {
			return nil, ovs.E(op, ovs.KindIO, name, err)
		}
		gen, err := l.readHeader(s.file)
		if err != nil {
			return nil, err
		}
		lives = append(lives, l.newSegment(s, gen))
		if gen != lost {
			l.gen = max(l.gen, gen)
		}
	}
	if slices.ContainsFunc(lives, func(g *segment) bool { return g.gen == lost }) {
		l.gen += 1 << 16 // past whatever the lost one had
	}
	l.slotsMost = max(l.slotsMost, len(l.all))
	l.reckon()
	slices.SortFunc(lives, func(a, b *segment) int { return int(int64(a.gen) - int64(b.gen)) })
	return lives, nil
}

const segmentPattern = "segment-%06d"

// segmentNames lists the segments, and those that were never completed.
func (l *Log) segmentNames() (names, half []string, err error) {
	entries, err := l.cfg.FS.ReadDir(l.cfg.Dir)
	if err != nil {
		return nil, nil, ovs.E("dtl.Open", ovs.KindIO, l.cfg.Dir, err)
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case !strings.HasPrefix(name, "segment-"):
		case strings.HasSuffix(name, halfMade):
			half = append(half, name)
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, half, nil
}

// lost is the generation of a segment of which not even that is known.
const lost = math.MaxUint32

// readHeader gives the generation of a segment file. A header that does not read is damage, for a sector is never torn;
// the first batch may still say which generation it is.
func (l *Log) readHeader(f vfs.File) (uint32, error) {
	img, _ := readable(f, 2*block)
	var h header
	err := h.decode(img)
	if err == nil && h.id != l.id {
		return 0, ovs.E("dtl.Open", ovs.KindCorrupt, f.Name(), errors.New("belongs to another log"))
	}
	if err == nil {
		return h.gen, nil
	}
	var b batchHeader
	gen := le.Uint32(img[block+28:])
	if b.decode(img[block:], l.seed(gen), block) {
		l.zap.Error("a segment of the write log has lost its header; its batches are there", zap.String("file", f.Name()))
		return gen, nil
	}
	return lost, nil
}

// readable reads the first n bytes of a file. What the disk refuses is zero, and said to be missing.
func readable(f vfs.File, n int64) (img []byte, missing []uint32) {
	img = vfs.AlignedBuffer(int(n))
	for at := int64(0); at < n; at += chunk {
		b := img[at:min(n, at+chunk)]
		if readFull(f, b, at) == nil {
			continue
		}
		for i := 0; i < len(b); i += block {
			if readFull(f, b[i:i+block], at+int64(i)) != nil {
				clear(b[i : i+block])
				missing = append(missing, uint32(at)+uint32(i))
			}
		}
	}
	return img, missing
}

// readSegments reads all segments, two at a time: after a kill two have no index, and are read and summed whole.
func (l *Log) readSegments(lives []*segment) []*scan {
	scans := make([]*scan, len(lives))
	var next atomic.Int64
	next.Store(int64(len(lives)))
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			for i := next.Add(-1); i >= 0; i = next.Add(-1) { // the newest first: they take longest
				scans[i] = l.readSegment(lives[i])
			}
		})
	}
	both.Wait()
	return scans
}

// readSegment reads what a segment holds: from its index, or from its batches where it has none.
func (l *Log) readSegment(g *segment) *scan {
	if g.gen == lost {
		return &scan{end: block, sums: g.sums, missing: []uint32{block}}
	}
	if g.gen == 0 {
		return &scan{end: block, sums: g.sums}
	}
	if s := l.readIndex(g); s != nil {
		return s
	}
	img, missing := readable(g.slot.file, l.size)
	s := readBatches(img, g.seed, g.gen)
	s.missing = missing
	return s
}

// readIndex reads a sealed segment's index; nil: there is none that holds.
func (l *Log) readIndex(g *segment) *scan {
	last := vfs.AlignedBuffer(block)
	if readFull(g.slot.file, last, l.size-block) != nil {
		return nil
	}
	var t trailer
	if !t.decode(last, g.seed, uint32(l.size-block)) {
		return nil
	}
	body, err := readRange(g.slot.file, int64(t.at), l.size-block-int64(t.at))
	if err != nil {
		return nil
	}
	s := &scan{end: t.end, batches: 1, sums: make([]uint32, l.size/block), marks: []place{t.mark}}
	var ok bool
	if s.frames, ok = t.decodeIndex(body, s.sums); !ok {
		return nil
	}
	g.state, g.trailer = sealed, t
	return s
}

// judge decides what in a segment is damage: holes between good batches, and what is missing though some later batch, or
// the superblock, says that it was flushed (mark). All else behind the last good batch is a torn tail, or an earlier life's.
func (l *Log) judge(g *segment, s *scan, mark uint32) {
	if mark > s.end && g.state != sealed {
		img, _ := readable(g.slot.file, l.size)
		s.holes = append(s.holes, s.damage(img, g.seed, g.gen, s.end, mark))
		s.end = mark
	}
	for _, at := range s.missing {
		if at >= s.end || g.gen == lost { // it may have been the last batch
			s.holes = append(s.holes, hole{from: at, to: at + block, unknown: true})
			break
		}
	}
	for _, h := range s.holes {
		g.damaged = true
		l.zap.Error("the write log is damaged", zap.String("file", g.slot.file.Name()), zap.Uint32("generation", g.gen),
			zap.Uint32("from", h.from), zap.Uint32("to", h.to), zap.Int("records", len(h.hit)), zap.Bool("others", h.unknown))
		for _, x := range h.hit {
			l.damage[x.ref] = max(l.damage[x.ref], x.number)
		}
		if h.unknown {
			l.doubted = max(l.doubted, g.gen)
		}
	}
}

// adopt takes over what a segment holds; last: the log may go on in it.
func (l *Log) adopt(g *segment, s *scan, last bool) {
	if g.gen == lost {
		return // neither used nor overwritten
	}
	if len(s.frames) == 0 && !g.damaged && !last {
		l.slots = append(l.slots, g.slot)
		return
	}
	g.ready, g.sums, g.end = true, s.sums, s.end
	if g.state != sealed {
		g.frames = slices.Clone(s.frames) // its memory is used again once it is sealed; recalled frames stay as they are
	}
	g.records = len(s.frames) / frameSize
	if len(s.marks) > 0 {
		g.mark = s.marks[0]
	}
	l.byGen[g.gen] = g
	l.live = append(l.live, g)
	var r ovs.Record
	for at := 0; at < len(s.frames); at += frameSize {
		_, n, _ := decodeFrame(s.frames[at:], &r, g.seed, g.gen)
		h := l.note(l.object(r.Ref), &r, g, int64(frameBytes(int(n))))
		if g.recalled != nil {
			h.recall(at)
		}
	}
	if l.doubted != 0 && g.damaged {
		g.holders++ // nobody can say when it is no longer needed
	}
	if last {
		l.flushed = place{g.gen, g.end}
	}
	switch {
	case g.state == sealed:
	case last && !g.damaged && l.left(g) > 0:
		g.state, l.open = open, g
	default:
		g.state = full
	}
	l.settle(g)
}

// firstSlot makes the first segment of an empty log, so that there is one to begin in. A log in which something stands opens
// without one: the preparer sees to it, and where there is no space its owners bring to the backend what it holds.
func (l *Log) firstSlot() error {
	if len(l.live) > 0 || len(l.slots) > 0 || len(l.all) == l.slotsMost {
		return nil
	}
	s, err := l.makeSlot(l.slotNext)
	if err != nil {
		return err
	}
	l.slotNext++
	l.all, l.slots = append(l.all, s), append(l.slots, s)
	return nil
}
