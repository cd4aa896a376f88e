package dtl

import "ovs"

// scan is what the batches of one segment say. It is made from the bytes alone, by readBatches.
type scan struct {
	end     uint32 // behind the last good batch
	batches int
	frames  []byte // headers of all records in good batches, and of damaged records that can be told
	sums    []uint32
	marks   []place  // how far the log was flushed, as the batches say; the first is that of the first batch
	holes   []hole   // between good batches
	missing []uint32 // blocks that the disk refused to read
}

// hole is a stretch between good batches that does not parse.
type hole struct {
	from, to uint32
	hit      []hit // the records in it that can be told
	unknown  bool  // there was, or may have been, more
}

// hit is a record whose data did not survive.
type hit struct {
	ref    ovs.Ref
	number ovs.RecordNo
}

// readBatches goes through the image of a segment. What begins at end is a torn tail, or what an earlier life left, or
// damage: only the marks of others can tell (Log.judge).
func readBatches(img []byte, seed, gen uint32) *scan {
	s := &scan{end: block, sums: make([]uint32, len(img)/block)}
	for off := uint32(block); int(off) < len(img); {
		var b batchHeader
		frames, whole := readBatch(img, &b, seed, gen, off)
		if whole {
			if off > s.end {
				s.holes = append(s.holes, s.damage(img, seed, gen, s.end, off))
			}
			next := off + up(b.length)
			s.frames = append(s.frames, frames...)
			s.marks = append(s.marks, b.mark)
			s.batches++
			sumBlocks(s.sums, off, img[off:next])
			s.end, off = next, next
			continue
		}
		off += block
	}
	return s
}

// readBatch reads the batch at off, and tells whether all of it is there and intact. frames are the headers of its records.
func readBatch(img []byte, b *batchHeader, seed, gen, off uint32) (frames []byte, whole bool) {
	if !b.decode(img[off:], seed, off) || uint64(off)+uint64(b.length) > uint64(len(img)) {
		return nil, false
	}
	at, end := off+batchSize, off+b.length
	for range b.records {
		frame, data, ok := readRecord(img, seed, gen, at, end)
		if !ok || !recordIntact(frame, data) {
			return nil, false
		}
		frames = append(frames, frame...)
		at += uint32(frameBytes(len(data)))
	}
	return frames, at == end
}

// readRecord cuts the record at at out of a batch that ends at end. Its data need not be intact.
func readRecord(img []byte, seed, gen, at, end uint32) (frame, data []byte, ok bool) {
	if uint64(at)+frameSize > uint64(end) {
		return nil, nil, false
	}
	frame = img[at : at+frameSize]
	var r ovs.Record
	off, n, ok := decodeFrame(frame, &r, seed, gen)
	if !ok || off != at || uint64(at)+frameSize+uint64(n) > uint64(end) {
		return nil, nil, false
	}
	return frame, img[at+frameSize : at+frameSize+n], true
}

// damage looks at a stretch that should have been batches: whose records did not survive? All whose headers are intact are
// entered in frames, so that the segment is kept. The sums are of what stands there now: a block may hold a part of a good
// record beside one that is gone, and that one is never read, because its object is not replayed.
func (s *scan) damage(img []byte, seed, gen, from, to uint32) hole {
	h := hole{from: from, to: to}
	sumBlocks(s.sums, from, img[from:to])
	for off := from; off < to; {
		var b batchHeader
		if !b.decode(img[off:], seed, off) || off+up(b.length) > to || off+up(b.length) < off {
			h.unknown = true
			return h
		}
		at, end := off+batchSize, off+b.length
		for range b.records {
			frame, data, ok := readRecord(img, seed, gen, at, end)
			if !ok {
				h.unknown = true
				return h
			}
			if !recordIntact(frame, data) {
				var r ovs.Record
				decodeFrame(frame, &r, seed, gen)
				h.hit = append(h.hit, hit{r.Ref, r.Number})
			}
			s.frames = append(s.frames, frame...)
			at += uint32(frameBytes(len(data)))
		}
		off += up(b.length)
	}
	return h
}
