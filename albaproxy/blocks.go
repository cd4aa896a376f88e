package albaproxy

import (
	"encoding/binary"

	"github.com/klauspost/compress/s2"

	"ovs"
	"ovs/internal/pace"
)

// codec says how the stored stream is made from the object.
type codec byte

const (
	codecPlain  codec = 0 // it is the object
	codecBlocks codec = 1 // blocks, one behind the other, then their table
)

// blockSize is the raw length of a block, the last one's left out.
const blockSize = 32 << 10

// block is a table entry: where a block lies in the stored stream, and how it is stored.
type block struct {
	offset uint64 // in the stored stream; the sum of the lengths before, not stored
	stored uint32 // bytes
	flags  byte
}

// The flags of a block. The others are 0; 0x80 is kept for a block that is sealed, whose nonce is the block's number.
const blockSnappy = 0x01 // in snappy's block format; else as it is

const (
	tableVersion = 1
	maxBlocks    = MaxObject / blockSize
)

// pack makes the stored stream of compressed data, table included.
func pack(data []byte, work *pace.Work) (stored []byte, table []block) {
	stored = make([]byte, 0, packedMost(len(data)))
	scratch := make([]byte, s2.MaxEncodedLen(blockSize))
	for off := 0; off < len(data); off += blockSize {
		raw := data[off:min(off+blockSize, len(data))]
		b := block{offset: uint64(len(stored)), flags: blockSnappy}
		out := s2.EncodeSnappy(scratch, raw)
		if len(out) >= len(raw) {
			out, b.flags = raw, 0
		}
		b.stored = uint32(len(out))
		stored = append(stored, out...)
		table = append(table, b)
		work.Did(pace.Step)
	}
	return append(stored, encodeTable(table)...), table
}

// packedMost is the most bytes that pack makes of n: a table entry has at most 4, the table 8 more.
func packedMost(n int) uint64 { return uint64(n) + 4*((uint64(n)+blockSize-1)/blockSize) + 8 }

// encodeTable is the table's bytes, as they end the stored stream and stand in the manifest.
func encodeTable(table []block) []byte {
	b := binary.AppendUvarint([]byte{tableVersion}, uint64(len(table)))
	for _, e := range table {
		b = binary.AppendUvarint(b, uint64(e.stored))
		b = append(b, e.flags)
	}
	return sealed(b)
}

// decodeTable reads a table. KindCorrupt: it is none; KindNotSupported: stored in a way that this version does not know.
func decodeTable(b []byte) ([]block, error) {
	const op = "albaproxy.decodeTable"
	d, err := unsealed(op, b, tableVersion)
	if err != nil {
		return nil, err
	}
	n := d.Uvarint()
	if n > maxBlocks || n > uint64(d.Left()) {
		return nil, ovs.E(op, ovs.KindCorrupt, nil, errMalformed)
	}
	table := make([]block, n)
	offset := uint64(0)
	for i := range table {
		stored := d.Uvarint()
		table[i] = block{offset: offset, stored: uint32(stored), flags: d.Uint8()}
		d.Check(stored <= blockSize)
		if table[i].flags&^blockSnappy != 0 {
			return nil, ovs.E(op, ovs.KindNotSupported, nil, errVersion)
		}
		offset += stored
	}
	return table, whole(op, d)
}

// unpack writes a block's raw bytes to dst, which is as long as they are.
func (b *block) unpack(dst, stored []byte) bool {
	if b.flags&blockSnappy == 0 {
		return copy(dst, stored) == len(dst) && len(stored) == len(dst)
	}
	if n, err := s2.DecodedLen(stored); err != nil || n != len(dst) {
		return false
	}
	out, err := s2.Decode(dst, stored)
	return err == nil && len(out) == len(dst) && &out[0] == &dst[0]
}
