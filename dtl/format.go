package dtl

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"ovs"
)

// block is the unit in which the log is written, in bytes.
const block = 4096

// formatVersion is the version of all that this package writes. A newer one is refused.
const formatVersion = 1

// Sizes of what is encoded, in bytes.
const (
	superSize   = 64
	headerSize  = 48
	batchSize   = 48
	frameSize   = 104
	trailerSize = 64
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	superMagic = [8]byte{'o', 'v', 's', 'w', 'l', 'o', 'g', '\n'}
)

const (
	segmentMagic = 0x5347564f // "OVGS"
	batchMagic   = 0x5442564f // "OVBT"
	trailerMagic = 0x5849564f // "OVIX"
)

func crc(seed uint32, b []byte) uint32 { return crc32.Update(seed, castagnoli, b) }

// up rounds up to whole blocks.
func up[T int | int64 | uint32](n T) T { return (n + block - 1) &^ (block - 1) }

// place is a position in the log: where something begins, or how far it was flushed.
type place struct {
	gen, off uint32
}

func (p place) pos() ovs.LogPos { return ovs.LogPos(uint64(p.gen)<<32 | uint64(p.off)) }

func placeOf(p ovs.LogPos) place { return place{uint32(p >> 32), uint32(p)} }

// super is the superblock: two blocks, written in turn (start number even or odd), the newer one counts.
type super struct {
	id      uint64 // of the log, random
	start   uint64 // how often it was opened
	segment uint64 // bytes of a segment
	mark    place  // all before it was flushed when this was written
}

var (
	errForeign = errors.New("not a block of a write log")
	errSum     = errors.New("checksum does not match")
	errNewer   = errors.New("written by a newer version")
)

func (s *super) encode(b []byte) {
	clear(b[:superSize])
	copy(b, superMagic[:])
	le.PutUint32(b[8:], formatVersion)
	le.PutUint64(b[16:], s.id)
	le.PutUint64(b[24:], s.start)
	le.PutUint64(b[32:], s.segment)
	le.PutUint32(b[40:], s.mark.gen)
	le.PutUint32(b[44:], s.mark.off)
	le.PutUint32(b[12:], crc(crc(0, b[8:12]), b[16:superSize]))
}

// decode reads a superblock. The version comes first: what a newer one means by the rest is not known.
func (s *super) decode(b []byte) error {
	if len(b) < superSize || [8]byte(b[:8]) != superMagic {
		return errForeign
	}
	if le.Uint32(b[8:]) > formatVersion {
		return errNewer
	}
	if le.Uint32(b[12:]) != crc(crc(0, b[8:12]), b[16:superSize]) {
		return errSum
	}
	*s = super{
		id: le.Uint64(b[16:]), start: le.Uint64(b[24:]), segment: le.Uint64(b[32:]),
		mark: place{le.Uint32(b[40:]), le.Uint32(b[44:])},
	}
	return nil
}

// header is the first block of a segment file. It lies within one sector, so it is never torn.
type header struct {
	id    uint64
	gen   uint32
	start uint64 // the start that prepared it
}

func (h *header) encode(b []byte) {
	clear(b[:headerSize])
	le.PutUint32(b[4:], segmentMagic)
	le.PutUint32(b[8:], h.gen)
	le.PutUint64(b[16:], h.id)
	le.PutUint64(b[24:], h.start)
	le.PutUint32(b, crc(0, b[4:headerSize]))
}

func (h *header) decode(b []byte) error {
	if len(b) < headerSize || le.Uint32(b[4:]) != segmentMagic {
		return errForeign
	}
	if le.Uint32(b) != crc(0, b[4:headerSize]) {
		return errSum
	}
	*h = header{id: le.Uint64(b[16:]), gen: le.Uint32(b[8:]), start: le.Uint64(b[24:])}
	return nil
}

// seed is where the checksums of one generation of one log begin.
func seed(id uint64, gen uint32) uint32 {
	var b [12]byte
	le.PutUint64(b[:], id)
	le.PutUint32(b[8:], gen)
	return crc(0, b[:])
}
