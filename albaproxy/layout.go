package albaproxy

import (
	"encoding/binary"
	"hash/crc32"

	"ovs/albaproxy/asd"
	"ovs/internal/vfs"
)

/*
layout says where the bytes of an object's stored stream lie: unit u is in row u/k of data fragment u mod k, and each row
has m parity units, one in each parity fragment.

	            fragment 0    1    2    3    4    5        k = 4, m = 2
	row 0              u0   u1   u2   u3   p0   p0'
	row 1              u4   u5   u6   --   p1   p1'        stream of 7 units

	a fragment:  | header 1,024 | unit | CRC | unit | CRC | ... | zeros to whole blocks

The last unit is filled up with zeros. Units past the stream's end (--) count as zeros and are not stored, so the data
fragments of a small object are headers only; parity fragments always have all rows.
*/
type layout struct {
	k, m   int
	unit   uint32 // bytes in a unit
	stored uint64 // bytes in the stored stream
}

const (
	crcSize   = 4
	rowFactor = 0x9E3779B1 // odd, so that it keeps 2^32 rows apart
)

func (l *layout) n() int         { return l.k + l.m }
func (l *layout) units() uint64  { return (l.stored + uint64(l.unit) - 1) / uint64(l.unit) }
func (l *layout) stride() uint64 { return uint64(l.unit) + crcSize }
func (l *layout) rows() uint64   { return (l.units() + uint64(l.k) - 1) / uint64(l.k) }

// rowsIn is how many rows of fragment i are stored.
func (l *layout) rowsIn(i int) uint64 {
	if i >= l.k {
		return l.rows()
	}
	if u := l.units(); u > uint64(i) {
		return (u - uint64(i) + uint64(l.k) - 1) / uint64(l.k)
	}
	return 0
}

// offset is where a row begins in a fragment.
func (l *layout) offset(row uint64) uint64 { return headerSize + row*l.stride() }

// end is where the last row of fragment i ends.
func (l *layout) end(i int) uint64 { return l.offset(l.rowsIn(i)) }

// size is the bytes in fragment i: whole blocks, so that it can be written past the page cache.
func (l *layout) size(i int) uint64 { return blocksOf(l.end(i)) }

// room is the memory for one fragment of which all rows are stored.
func (l *layout) room() uint64 { return blocksOf(l.offset(l.rows())) }

// sizeAll is the bytes of the buffers in which an object is encoded.
func (l *layout) sizeAll() uint64 { return uint64(l.n()) * l.room() }

// blocksOf is n rounded up to whole blocks of the disk.
func blocksOf(n uint64) uint64 { return (n + vfs.Align - 1) &^ (vfs.Align - 1) }

// span is a run of rows of one fragment.
type span struct {
	fragment int
	from, to uint64 // rows, to not included
}

// spans are the rows that hold bytes from off to end of the stream: at most one span for each data fragment.
func (l *layout) spans(off, end uint64) []span {
	first, last, k := off/uint64(l.unit), (end-1)/uint64(l.unit), uint64(l.k)
	list := make([]span, 0, min(k, last-first+1))
	for u := first; u <= last && u < first+k; u++ {
		i := u % k
		list = append(list, span{fragment: int(i), from: u / k, to: (last-i)/k + 1})
	}
	return list
}

// unitSums checks units of one fragment: their CRC32C covers the fragment's key and the row too, so that a right unit in
// a wrong place is found.
type unitSums struct{ seed uint32 }

func sumsOf(k asd.Key) unitSums {
	var b [25]byte
	return unitSums{checksum(keyBytes(b[:0], k))}
}

// sum begins the CRC not from 0 but from a number that differs for each row: different beginnings give different CRCs.
func (s unitSums) sum(row uint64, unit []byte) uint32 {
	return crc32.Update(s.seed^uint32(row)*rowFactor, castagnoli, unit)
}

// put writes the CRC behind the unit at the front of slot.
func (s unitSums) put(row uint64, slot []byte) {
	end := len(slot) - crcSize
	binary.BigEndian.PutUint32(slot[end:], s.sum(row, slot[:end]))
}

// right tells whether the unit in slot is the one of that row.
func (s unitSums) right(row uint64, slot []byte) bool {
	end := len(slot) - crcSize
	return binary.BigEndian.Uint32(slot[end:]) == s.sum(row, slot[:end])
}
