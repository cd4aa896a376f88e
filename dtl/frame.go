package dtl

import "ovs"

// batchHeader begins what one flush wrote. The batch's records follow; the rest of its last block is zero.
type batchHeader struct {
	length  uint32 // bytes, header included, padding not
	records uint32
	mark    place  // all before it was flushed when this batch was written
	gen     uint32 // of the segment: it is in the checksum already, and is said for a segment whose header is lost
	start   uint64
}

// encode writes the header of a batch at offset off of its segment.
func (h *batchHeader) encode(b []byte, seed, off uint32) {
	clear(b[:batchSize])
	le.PutUint32(b[4:], batchMagic)
	le.PutUint32(b[8:], off)
	le.PutUint32(b[12:], h.length)
	le.PutUint32(b[16:], h.records)
	le.PutUint32(b[20:], h.mark.gen)
	le.PutUint32(b[24:], h.mark.off)
	le.PutUint32(b[28:], h.gen)
	le.PutUint64(b[32:], h.start)
	le.PutUint32(b, crc(seed, b[4:batchSize]))
}

// decode tells whether b begins with the header of a batch that belongs at off.
func (h *batchHeader) decode(b []byte, seed, off uint32) bool {
	if len(b) < batchSize || le.Uint32(b[4:]) != batchMagic || le.Uint32(b[8:]) != off {
		return false
	}
	if le.Uint32(b) != crc(seed, b[4:batchSize]) {
		return false
	}
	*h = batchHeader{
		length: le.Uint32(b[12:]), records: le.Uint32(b[16:]),
		mark: place{le.Uint32(b[20:]), le.Uint32(b[24:])}, gen: le.Uint32(b[28:]), start: le.Uint64(b[32:]),
	}
	return h.length >= batchSize && h.length <= MaxSegment
}

// frameBytes is what a record with n bytes of data takes in a batch.
func frameBytes(n int) int { return (frameSize + n + 7) &^ 7 }

// encodeFrame writes a record's header at offset off of its segment; the data follow it at frameSize. dataSum is the
// CRC32C of the data. The record's own checksum goes on from there over bytes 16 to 104: it travels with the record. The
// frame's covers that, the place and the length, and begins from the generation's seed.
func encodeFrame(b []byte, r *ovs.Record, dataSum, seed, off uint32) {
	_ = b[frameSize-1]
	le.PutUint32(b[8:], off)
	le.PutUint32(b[12:], uint32(len(r.Data)))
	le.PutUint64(b[16:], uint64(r.Kind))
	le.PutUint64(b[24:], uint64(r.Pool))
	le.PutUint64(b[32:], uint64(r.Object))
	le.PutUint64(b[40:], uint64(r.Epoch))
	le.PutUint64(b[48:], uint64(r.Number))
	le.PutUint64(b[56:], uint64(r.Time))
	le.PutUint64(b[64:], r.Off)
	le.PutUint64(b[72:], r.Len)
	le.PutUint64(b[80:], uint64(r.Origin.Router))
	le.PutUint64(b[88:], r.Origin.Sequence)
	le.PutUint64(b[96:], r.Origin.Lowest)
	le.PutUint32(b[4:], crc(dataSum, b[16:frameSize]))
	le.PutUint32(b, crc(seed, b[4:frameSize]))
}

// decodeFrame reads a record's header. length is that of its data, which stand at r.Pos. It does not look at them.
func decodeFrame(b []byte, r *ovs.Record, seed, gen uint32) (off, length uint32, ok bool) {
	if len(b) < frameSize || le.Uint32(b) != crc(seed, b[4:frameSize]) {
		return 0, 0, false
	}
	off = le.Uint32(b[8:])
	*r = ovs.Record{
		Ref:    ovs.Ref{Pool: ovs.PoolID(le.Uint64(b[24:])), Object: ovs.ObjectID(le.Uint64(b[32:]))},
		Epoch:  ovs.Epoch(le.Uint64(b[40:])),
		Number: ovs.RecordNo(le.Uint64(b[48:])),
		Kind:   ovs.RecordKind(b[16]),
		Time:   int64(le.Uint64(b[56:])),
		Off:    le.Uint64(b[64:]),
		Len:    le.Uint64(b[72:]),
		Origin: ovs.Origin{
			Router: ovs.NodeID(le.Uint64(b[80:])), Sequence: le.Uint64(b[88:]), Lowest: le.Uint64(b[96:]),
		},
		Pos: place{gen, off + frameSize}.pos(),
	}
	return off, le.Uint32(b[12:]), true
}

// recordIntact checks a record's own checksum over frame header and data.
func recordIntact(frame, data []byte) bool {
	return le.Uint32(frame[4:]) == crc(crc(0, data), frame[16:frameSize])
}
