package dtl

import "ovs/internal/vfs"

// The end of a sealed segment is its index: the headers of all its records once more, the CRC32C of each block before
// it, and in the last block of the file a trailer that finds and proves the two.
//
//	│ … batches │ free │ frame headers, 104 bytes each │ sums, 4 bytes each │ pad │ trailer │
//	            ▲end   ▲at                                                        ▲size - 4 KiB

// trailer is the last block of a sealed segment.
type trailer struct {
	at      uint32 // where the index begins
	records uint32
	end     uint32 // where the batches end; sums are of the blocks before it
	bodySum uint32 // CRC32C of all from at to the trailer
	mark    place  // how far the log was flushed before the segment's first batch
}

// encode writes the trailer of a segment whose last block begins at off.
func (t *trailer) encode(b []byte, seed, off uint32) {
	clear(b[:trailerSize])
	le.PutUint32(b[4:], trailerMagic)
	le.PutUint32(b[8:], off)
	le.PutUint32(b[12:], t.at)
	le.PutUint32(b[16:], t.records)
	le.PutUint32(b[20:], t.end)
	le.PutUint32(b[24:], t.bodySum)
	le.PutUint32(b[28:], t.mark.gen)
	le.PutUint32(b[32:], t.mark.off)
	le.PutUint32(b, crc(seed, b[4:trailerSize]))
}

// decode tells whether b is the trailer that belongs at off, with fields that make sense.
func (t *trailer) decode(b []byte, seed, off uint32) bool {
	if len(b) < trailerSize || le.Uint32(b[4:]) != trailerMagic || le.Uint32(b[8:]) != off {
		return false
	}
	if le.Uint32(b) != crc(seed, b[4:trailerSize]) {
		return false
	}
	*t = trailer{
		at: le.Uint32(b[12:]), records: le.Uint32(b[16:]), end: le.Uint32(b[20:]),
		bodySum: le.Uint32(b[24:]), mark: place{le.Uint32(b[28:]), le.Uint32(b[32:])},
	}
	return t.at%block == 0 && t.end%block == 0 && t.end <= t.at && t.at <= off &&
		uint64(t.records)*frameSize+uint64(t.end/block)*4 <= uint64(off-t.at)
}

// indexBytes is how much an index of that many records takes in a segment of size bytes, without the trailer.
func indexBytes(records int, size int64) int64 { return up(int64(records)*frameSize + size/block*4) }

// encodeIndex makes index and trailer, ready to be written at the offset that it returns, in buf where that is large enough.
func encodeIndex(size int64, seed, end uint32, mark place, frames []byte, sums []uint32, buf []byte) ([]byte, int64) {
	body := up(int64(len(frames)) + int64(end/block)*4)
	at := size - block - body
	if int64(cap(buf)) < body+block {
		buf = vfs.AlignedBuffer(int(body + block))
	}
	buf = append(buf[:0], frames...)
	for _, s := range sums[:end/block] {
		buf = le.AppendUint32(buf, s)
	}
	n := len(buf)
	buf = buf[:body+block]
	clear(buf[n:])
	t := trailer{
		at: uint32(at), records: uint32(len(frames) / frameSize), end: end, mark: mark,
		bodySum: crc(0, buf[:body]),
	}
	t.encode(buf[body:], seed, uint32(size-block))
	return buf, at
}

// decodeIndex takes the body of an index apart: the frame headers, and the sums into sums. False: it is damaged.
func (t *trailer) decodeIndex(body []byte, sums []uint32) (frames []byte, ok bool) {
	if crc(0, body) != t.bodySum || int(t.end/block) > len(sums) {
		return nil, false
	}
	n := int(t.records) * frameSize
	for i := range int(t.end / block) {
		sums[i] = le.Uint32(body[n+4*i:])
	}
	return body[:n], true
}
