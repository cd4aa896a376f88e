package nfsd

import "encoding/binary"

// dec reads XDR (RFC 4506) from a record in place. A read past the end, or of a value out of range, sets bad and gives
// zeros from then on, so that a procedure decodes all of its arguments and then asks once.
type dec struct {
	b   []byte
	bad bool
}

func (d *dec) u32() uint32 {
	if len(d.b) < 4 {
		d.b, d.bad = nil, true
		return 0
	}
	v := binary.BigEndian.Uint32(d.b)
	d.b = d.b[4:]
	return v
}

func (d *dec) u64() uint64 {
	if len(d.b) < 8 {
		d.b, d.bad = nil, true
		return 0
	}
	v := binary.BigEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *dec) bool() bool {
	v := d.u32()
	if v > 1 {
		d.bad = true
	}
	return v == 1
}

// opaque is a counted byte string of at most limit bytes, as a part of the record. The length is checked before
// anything is done with it.
func (d *dec) opaque(limit int) []byte {
	n := d.u32()
	if uint64(n) > uint64(limit) {
		d.b, d.bad = nil, true
		return nil
	}
	padded := int(n+3) &^ 3
	if padded > len(d.b) {
		d.b, d.bad = nil, true
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[padded:]
	return v
}

// pad is how many zero bytes follow n bytes of opaque data.
func pad(n int) int { return -n & 3 }

// enc appends XDR to b. Its methods allocate only when b's capacity is too small.
type enc struct{ b []byte }

func (e *enc) u32(v uint32) { e.b = binary.BigEndian.AppendUint32(e.b, v) }
func (e *enc) u64(v uint64) { e.b = binary.BigEndian.AppendUint64(e.b, v) }

func (e *enc) bool(v bool) {
	if v {
		e.u32(1)
	} else {
		e.u32(0)
	}
}

var zeros [4]byte

func (e *enc) string(v string) {
	e.u32(uint32(len(v)))
	e.b = append(append(e.b, v...), zeros[:pad(len(v))]...)
}
