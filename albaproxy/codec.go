package albaproxy

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"ovs"
)

var (
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
	errMalformed = errors.New("malformed")
	errChecksum  = errors.New("checksum is wrong")
	errVersion   = errors.New("of a version that this server does not know")
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// sealed appends the CRC32C of b to it.
func sealed(b []byte) []byte { return binary.BigEndian.AppendUint32(b, checksum(b)) }

// unsealed takes the CRC32C off, when it is right, and the version byte.
func unsealed(op string, b []byte, version byte) (*decoder, error) {
	if len(b) < 5 || checksum(b[:len(b)-4]) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, ovs.E(op, ovs.KindCorrupt, nil, errChecksum)
	}
	if b[0] != version {
		return nil, ovs.E(op, ovs.KindNotSupported, nil, errVersion)
	}
	return &decoder{b: b[1 : len(b)-4]}, nil
}

// decoder takes values off the front of b. Once something is missing or wrong it is bad and gives zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) uint16() uint16 {
	if v := d.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if v := d.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if v := d.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// uvarint reads a number in its one shortest form, so that each value has one encoding.
func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.bad || n <= 0 || n > 1 && d.b[n-1] == 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

// end is the error of a decoder that is bad or has bytes left.
func (d *decoder) end(op string) error {
	if d.bad || len(d.b) > 0 {
		return ovs.E(op, ovs.KindCorrupt, nil, errMalformed)
	}
	return nil
}
