package volumedriver

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"ovs"
	"ovs/internal/decode"
)

// Every object of a volume begins with the same 32 bytes, big-endian, and a CRC over all that follows it:
//
//	0 magic  4 CRC32C of 8..length  8 length  12 version  14 zero  16 vPool  24 object  32 body
const (
	frameSize    = 32
	frameVersion = 1

	magicSCO     = 0x4f565343 // "OVSC"
	magicTLog    = 0x4f56544c // "OVTL"
	magicSegment = 0x4f565347 // "OVSG"
	magicRoot    = 0x4f565254 // "OVRT"
	magicLayer   = 0x4f564c59 // "OVLY"
	magicLive    = 0x4f564c56 // "OVLV"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newFrame begins an object; its body is appended, then closeFrame ends it.
func newFrame(magic uint32, r ovs.Ref, room int) []byte {
	b := make([]byte, frameSize, frameSize+room)
	binary.BigEndian.PutUint32(b, magic)
	binary.BigEndian.PutUint16(b[12:], frameVersion)
	binary.BigEndian.PutUint64(b[16:], uint64(r.Pool))
	binary.BigEndian.PutUint64(b[24:], uint64(r.Object))
	return b
}

func closeFrame(b []byte) []byte {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)))
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b
}

// frameLength is the length that a frame claims, 0 where there is none.
func frameLength(b []byte, magic uint32) int {
	if len(b) < frameSize || binary.BigEndian.Uint32(b) != magic {
		return 0
	}
	return int(binary.BigEndian.Uint32(b[8:]))
}

// openFrame verifies a frame and gives its body.
func openFrame(magic uint32, r ovs.Ref, b []byte) (*decode.Reader, error) {
	n := frameLength(b, magic)
	switch {
	case n < frameSize || n > len(b):
		return nil, corrupt("not a whole frame of %08x", magic)
	case binary.BigEndian.Uint32(b[4:]) != crc32.Checksum(b[8:n], castagnoli):
		return nil, corrupt("the checksum of %08x is wrong", magic)
	case binary.BigEndian.Uint16(b[12:]) != frameVersion:
		return nil, ovs.E("volumedriver.decode", ovs.KindNotSupported, r, fmt.Errorf("version %d of %08x", binary.BigEndian.Uint16(b[12:]), magic))
	case ovs.PoolID(binary.BigEndian.Uint64(b[16:])) != r.Pool || ovs.ObjectID(binary.BigEndian.Uint64(b[24:])) != r.Object:
		return nil, corrupt("an object of another volume")
	}
	return decode.Of(b[frameSize:n]), nil
}

func corrupt(format string, args ...any) error {
	return ovs.E("volumedriver.decode", ovs.KindCorrupt, nil, fmt.Errorf(format, args...))
}

// count reads a number of things that take at least size bytes each, so that a wrong one cannot ask for much memory.
func count(r *decode.Reader, size int) int {
	n := r.Uint32()
	r.Check(uint64(n)*uint64(size) <= uint64(r.Left()))
	if r.Bad() {
		return 0
	}
	return int(n)
}

// end is an error unless the body was well formed and is used up.
func end(r *decode.Reader, what string) error {
	if !r.End() {
		return corrupt("%s is malformed", what)
	}
	return nil
}

func put32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }
func put64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }
