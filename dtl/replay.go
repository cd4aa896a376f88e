package dtl

import (
	"cmp"
	"slices"

	"ovs"
)

// Tails implements ovs.Log.
func (l *Log) Tails() []ovs.LogTail {
	l.mu.Lock()
	var tails []ovs.LogTail
	for _, o := range l.objects {
		if o.tail.First != 0 {
			tails = append(tails, o.tail)
		}
	}
	l.mu.Unlock()
	slices.SortFunc(tails, func(a, b ovs.LogTail) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Object, b.Object))
	})
	return tails
}

// found is a record to be replayed: the header of its frame, and of which segment.
type found struct {
	number ovs.RecordNo
	epoch  ovs.Epoch
	seg    *segment
	frame  []byte
}

func (a found) compare(b found) int {
	return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.epoch, b.epoch))
}

// Replay implements ovs.Log. What is appended while it runs is not in it.
func (l *Log) Replay(r ovs.Ref, after ovs.RecordNo, f func(*ovs.Record) error) error {
	const op = "dtl.Replay"
	sources, err := l.sourcesOf(r, after)
	if err != nil {
		return err
	}
	var all []found
	for i := range sources {
		x := &sources[i]
		if x.frames == nil {
			if x.frames, err = l.readFrames(x.seg); err != nil {
				return ovs.E(op, ovs.KindUnknown, r, err)
			}
		}
		if all, err = x.pick(all, r, after); err != nil {
			return err
		}
		x.frames = nil
	}
	slices.SortStableFunc(all, found.compare)
	l.mu.Lock()
	l.stats.Replayed += uint64(len(all))
	l.mu.Unlock()
	for i, x := range all {
		if i+1 < len(all) && x.compare(all[i+1]) == 0 {
			continue // appended again later: that one counts
		}
		var rec ovs.Record
		decodeFrame(x.frame, &rec, x.seg.seed, x.seg.gen)
		if err := f(&rec); err != nil {
			return err
		}
	}
	return nil
}

// source is where frames of an object are: those of a segment, or where among them.
type source struct {
	seg    *segment
	frames []byte   // nil: in its index
	at     []uint32 // nil: anywhere
}

// pick adds the frames of r above after, those out of an index copied, so that those of all other objects can go.
func (x *source) pick(all []found, r ovs.Ref, after ovs.RecordNo) ([]found, error) {
	var mine []byte
	from := len(all)
	one := func(frame []byte, copied bool) error {
		var rec ovs.Record
		if _, _, ok := decodeFrame(frame, &rec, x.seg.seed, x.seg.gen); !ok {
			return ovs.E("dtl.Replay", ovs.KindCorrupt, r, nil)
		}
		if rec.Ref != r || rec.Number <= after {
			return nil
		}
		if copied {
			mine = append(mine, frame...)
		}
		all = append(all, found{number: rec.Number, epoch: rec.Epoch, seg: x.seg, frame: frame})
		return nil
	}
	if x.at != nil {
		for _, at := range x.at {
			if err := one(x.frames[at:at+frameSize], false); err != nil {
				return nil, err
			}
		}
		return all, nil
	}
	for at := 0; at < len(x.frames); at += frameSize {
		if err := one(x.frames[at:at+frameSize], true); err != nil {
			return nil, err
		}
	}
	for i := range all[from:] {
		all[from+i].frame = mine[i*frameSize : (i+1)*frameSize]
	}
	return all, nil
}

// sourcesOf lists where the records of r above after are, with copies of the frames that are in memory. Recalled ones are
// given once: they are not needed after.
func (l *Log) sourcesOf(r ovs.Ref, after ovs.RecordNo) (all []source, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.objects[r]
	if d, ok := l.damage[r]; ok && d > after || l.doubted != 0 && !o.behind(l.doubted, after) {
		return nil, ovs.E("dtl.Replay", ovs.KindCorrupt, r, nil)
	}
	if o == nil {
		return nil, nil
	}
	for i := range o.holds {
		h := &o.holds[i]
		x := source{seg: h.seg, frames: h.seg.recalled, at: h.at}
		if h.at == nil {
			x.frames = nil
			if h.seg.state != sealed {
				x.frames = slices.Clone(h.seg.frames)
			}
		}
		h.forget()
		if h.hi > after {
			all = append(all, x)
		}
	}
	return all, nil
}

// behind tells whether the first record above after stands behind a generation. Numbers rise, so what was lost in that
// generation or before it had a lower one. mu is held.
func (o *object) behind(gen uint32, after ovs.RecordNo) bool {
	return o != nil && slices.ContainsFunc(o.holds, func(h hold) bool { return h.seg.gen > gen && h.lo <= after+1 && h.hi > after })
}

// readFrames reads the frames of a sealed segment back from its index.
func (l *Log) readFrames(g *segment) ([]byte, error) {
	const op = "dtl.readFrames"
	l.mu.Lock()
	t := g.trailer
	l.mu.Unlock()
	body, err := readRange(g.slot.file, int64(t.at), l.size-block-int64(t.at))
	if l.segmentOf(g.gen) != g {
		return nil, errStale
	}
	if err != nil {
		return nil, ovs.E(op, ovs.KindIO, g.slot.file.Name(), err)
	}
	if frames, ok := t.decodeIndex(body, make([]uint32, l.size/block)); ok {
		return frames, nil
	}
	// The index has rotted: the batches say the same.
	img, _ := readable(g.slot.file, l.size)
	s := readBatches(img, g.seed, g.gen)
	if l.segmentOf(g.gen) != g {
		return nil, errStale
	}
	if len(s.holes) > 0 || s.end != t.end {
		return nil, ovs.E(op, ovs.KindCorrupt, g.slot.file.Name(), nil)
	}
	return s.frames, nil
}
