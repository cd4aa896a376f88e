package albaproxy

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"ovs"
	"ovs/internal/decode"
	"ovs/internal/pace"
)

var (
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
	errMalformed = errors.New("malformed")
	errChecksum  = errors.New("checksum is wrong")
	errVersion   = errors.New("of a version that this server does not know")
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// longChecksum is checksum of what may be large.
func longChecksum(b []byte, work *pace.Work) (sum uint32) {
	for len(b) > 0 {
		n := min(len(b), pace.Step)
		sum = crc32.Update(sum, castagnoli, b[:n])
		b = b[n:]
		work.Did(n)
	}
	return sum
}

// sealed appends the CRC32C of b to it.
func sealed(b []byte) []byte { return binary.BigEndian.AppendUint32(b, checksum(b)) }

// unsealed takes the CRC32C off, when it is right, and the version byte.
func unsealed(op string, b []byte, version byte) (*decode.Reader, error) {
	if len(b) < 5 || checksum(b[:len(b)-4]) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, ovs.E(op, ovs.KindCorrupt, nil, errChecksum)
	}
	if b[0] != version {
		return nil, ovs.E(op, ovs.KindNotSupported, nil, errVersion)
	}
	return decode.Of(b[1 : len(b)-4]), nil
}

// whole is the error of a record that is malformed or has bytes left.
func whole(op string, d *decode.Reader) error {
	if !d.End() {
		return ovs.E(op, ovs.KindCorrupt, nil, errMalformed)
	}
	return nil
}
