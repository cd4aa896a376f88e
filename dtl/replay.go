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
	segs, frames, err := l.framesOf(r, after)
	if err != nil {
		return err
	}
	var all []found
	for i, g := range segs {
		if frames[i] == nil {
			if frames[i], err = l.readFrames(g); err != nil {
				return ovs.E(op, ovs.KindUnknown, r, err)
			}
		}
		if all, err = pick(all, g, frames[i], r, after); err != nil {
			return err
		}
		frames[i] = nil
	}
	slices.SortStableFunc(all, found.compare)
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

// pick adds the frames of r above after, copied, so that those of all other objects can go.
func pick(all []found, g *segment, frames []byte, r ovs.Ref, after ovs.RecordNo) ([]found, error) {
	var rec ovs.Record
	var mine []byte
	from := len(all)
	for ; len(frames) > 0; frames = frames[frameSize:] {
		if _, _, ok := decodeFrame(frames, &rec, g.seed, g.gen); !ok {
			return nil, ovs.E("dtl.Replay", ovs.KindCorrupt, r, nil)
		}
		if rec.Ref == r && rec.Number > after {
			mine = append(mine, frames[:frameSize]...)
			all = append(all, found{number: rec.Number, epoch: rec.Epoch, seg: g})
		}
	}
	for i := range all[from:] {
		all[from+i].frame = mine[i*frameSize : (i+1)*frameSize]
	}
	return all, nil
}

// framesOf lists the segments that hold records of r above after, with copies of the frames that are in memory.
func (l *Log) framesOf(r ovs.Ref, after ovs.RecordNo) (segs []*segment, frames [][]byte, err error) {
	const op = "dtl.Replay"
	l.mu.Lock()
	defer l.mu.Unlock()
	if d, ok := l.damage[r]; l.damageAll || ok && d > after {
		return nil, nil, ovs.E(op, ovs.KindCorrupt, r, nil)
	}
	o := l.objects[r]
	if o == nil {
		return nil, nil, nil
	}
	for _, h := range o.holds {
		if h.hi <= after {
			continue
		}
		segs = append(segs, h.seg)
		if h.seg.state == sealed {
			frames = append(frames, nil)
		} else {
			frames = append(frames, slices.Clone(h.seg.frames))
		}
	}
	return segs, frames, nil
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
