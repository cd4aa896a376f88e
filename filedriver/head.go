package filedriver

import (
	"encoding/binary"
	"errors"

	"ovs"
)

// Limits of a file.
const (
	inlineMost = 4096      // bytes of content that live in the head
	chunkSize  = 1 << 20   // bytes in a chunk
	chunksMost = 256       // chunks in a table
	fileMost   = 256 << 20 // bytes in a file; beyond it becomes a volume
	headFormat = 1
)

// closed is an epoch that ended: its records up to last count, later ones are garbage.
type closed struct {
	epoch ovs.Epoch
	last  ovs.RecordNo
}

// head is the file's record in Raft: what stands of it outside the log (docs/format/head-file.md).
type head struct {
	size     uint64
	complete ovs.RecordNo // all records up to this one are in the content or in the chunks
	time     int64        // of that record
	open     ovs.Epoch    // records of this epoch and later ones count; of older ones those that closed lists
	closed   []closed     // epochs that ended with records after complete, oldest first
	inline   []byte       // the content where hasTable is false; shorter than size: zeros follow
	hasTable bool
}

// chunk names one immutable piece; the zero chunk is a hole.
type chunk struct {
	epoch  ovs.Epoch
	record ovs.RecordNo // the last record of the flush that made it
}

var errFormat = errors.New("not a head of this format")

func (h *head) encode() []byte {
	b := []byte{headFormat, 0}
	if h.hasTable {
		b[1] = 1
	}
	b = binary.BigEndian.AppendUint64(b, h.size)
	b = binary.BigEndian.AppendUint64(b, uint64(h.complete))
	b = binary.BigEndian.AppendUint64(b, uint64(h.time))
	b = binary.BigEndian.AppendUint64(b, uint64(h.open))
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.closed)))
	for _, c := range h.closed {
		b = binary.BigEndian.AppendUint64(b, uint64(c.epoch))
		b = binary.BigEndian.AppendUint64(b, uint64(c.last))
	}
	return append(b, h.inline...)
}

func decodeHead(b []byte) (h head, err error) {
	const fixed = 2 + 4*8 + 2
	if len(b) < fixed || b[0] != headFormat || b[1] > 1 {
		return h, errFormat
	}
	h.hasTable = b[1] == 1
	h.size = binary.BigEndian.Uint64(b[2:])
	h.complete = ovs.RecordNo(binary.BigEndian.Uint64(b[10:]))
	h.time = int64(binary.BigEndian.Uint64(b[18:]))
	h.open = ovs.Epoch(binary.BigEndian.Uint64(b[26:]))
	n := int(binary.BigEndian.Uint16(b[34:]))
	if b = b[fixed:]; len(b) < 16*n {
		return h, errFormat
	}
	for range n {
		h.closed = append(h.closed, closed{ovs.Epoch(binary.BigEndian.Uint64(b)), ovs.RecordNo(binary.BigEndian.Uint64(b[8:]))})
		b = b[16:]
	}
	if len(b) > inlineMost || h.hasTable && len(b) > 0 || h.size > fileMost || uint64(len(b)) > h.size {
		return h, errFormat
	}
	h.inline = append([]byte(nil), b...)
	return h, nil
}

// valid reports whether record n of epoch e belongs to the file: the lineage.
func (h *head) valid(e ovs.Epoch, n ovs.RecordNo) bool {
	for _, c := range h.closed {
		if c.epoch == e {
			return n <= c.last
		}
	}
	return e >= h.open
}

// trim forgets the epochs whose records are all complete.
func (h *head) trim() {
	keep := h.closed[:0]
	for _, c := range h.closed {
		if c.last > h.complete {
			keep = append(keep, c)
		}
	}
	h.closed = keep
}

func encodeTable(t []chunk) []byte {
	b := []byte{headFormat}
	for _, c := range t {
		b = binary.BigEndian.AppendUint64(b, uint64(c.epoch))
		b = binary.BigEndian.AppendUint64(b, uint64(c.record))
	}
	return b
}

func decodeTable(b []byte) ([]chunk, error) {
	if len(b) < 1 || b[0] != headFormat || (len(b)-1)%16 != 0 || (len(b)-1)/16 > chunksMost {
		return nil, errors.New("not a chunk table of this format")
	}
	t := make([]chunk, 0, (len(b)-1)/16)
	for b = b[1:]; len(b) > 0; b = b[16:] {
		t = append(t, chunk{ovs.Epoch(binary.BigEndian.Uint64(b)), ovs.RecordNo(binary.BigEndian.Uint64(b[8:]))})
	}
	return t, nil
}

// tableKey is the key of the chunk table, beside the head.
func tableKey(id ovs.ObjectID) []byte { return append(ovs.HeadKey(id), 't') }
