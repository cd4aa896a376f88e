package filedriver

import (
	"encoding/binary"
	"errors"

	"ovs"
	"ovs/internal/decode"
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

var errFormat = errors.New("not a head or chunk table of this format")

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
	d := decode.Of(b)
	format, hasTable := d.Uint8(), d.Uint8()
	h = head{hasTable: hasTable == 1, size: d.Uint64(), complete: ovs.RecordNo(d.Uint64()), time: int64(d.Uint64()), open: ovs.Epoch(d.Uint64())}
	for n := d.Uint16(); n > 0 && !d.Bad(); n-- {
		h.closed = append(h.closed, closed{ovs.Epoch(d.Uint64()), ovs.RecordNo(d.Uint64())})
	}
	h.inline = append([]byte(nil), d.Take(uint64(d.Left()))...)
	n := uint64(len(h.inline))
	if d.Bad() || format != headFormat || hasTable > 1 || n > inlineMost || h.hasTable && n > 0 || h.size > fileMost || n > h.size {
		return head{}, errFormat
	}
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
	d := decode.Of(b)
	if d.Uint8() != headFormat || d.Left() > 16*chunksMost {
		return nil, errFormat
	}
	var t []chunk
	for d.Left() > 0 {
		t = append(t, chunk{ovs.Epoch(d.Uint64()), ovs.RecordNo(d.Uint64())})
	}
	if d.Bad() {
		return nil, errFormat
	}
	return t, nil
}

// tableKey is the key of the chunk table, beside the head.
func tableKey(id ovs.ObjectID) []byte { return append(ovs.HeadKey(id), 't') }
