package oracle

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Sector is the unit in bytes: no write is torn within one.
const Sector = 512

const magic = 0x5345_4354_4f52_4f56 // "VOROTCES"

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Stamp is what a sector says about itself.
type Stamp struct {
	Volume   uint64
	Sector   uint64 // its number in the volume
	Sequence uint64 // of the write, counted per Table from 1
	Writer   uint64
}

// Put fills one sector. What is between stamp and CRC does not compress and differs with each stamp.
func (s Stamp) Put(b []byte) {
	b = b[:Sector]
	le.PutUint64(b, magic)
	le.PutUint64(b[8:], s.Volume)
	le.PutUint64(b[16:], s.Sector)
	le.PutUint64(b[24:], s.Sequence)
	le.PutUint64(b[32:], s.Writer)
	x := s.Volume*0x9e3779b97f4a7c15 ^ s.Sector*0xbf58476d1ce4e5b9 ^ s.Sequence*0x94d049bb133111eb ^ s.Writer | 1
	for i := 40; i < Sector-8; i += 8 { // xorshift64*
		x ^= x >> 12
		x ^= x << 25
		x ^= x >> 27
		le.PutUint64(b[i:], x*0x2545f4914f6cdd1d)
	}
	le.PutUint32(b[504:], uint32(x))
	le.PutUint32(b[508:], crc32.Checksum(b[:508], castagnoli))
}

// Parse reads a sector. zero: it holds nothing but zeros. An error: it is neither, so it is torn or foreign.
func Parse(b []byte) (s Stamp, zero bool, err error) {
	b = b[:Sector]
	if le.Uint64(b) == 0 && isZero(b) {
		return Stamp{}, true, nil
	}
	if le.Uint64(b) != magic {
		return Stamp{}, false, fmt.Errorf("no stamp, it begins with % x", b[:16])
	}
	s = Stamp{Volume: le.Uint64(b[8:]), Sector: le.Uint64(b[16:]), Sequence: le.Uint64(b[24:]), Writer: le.Uint64(b[32:])}
	if got, want := crc32.Checksum(b[:508], castagnoli), le.Uint32(b[508:]); got != want {
		return s, false, fmt.Errorf("torn: CRC is %08x, must be %08x, stamp %+v", got, want, s)
	}
	return s, false, nil
}

func isZero(b []byte) bool {
	for len(b) >= 8 {
		if le.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	return true
}
