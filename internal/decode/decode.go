// Package decode takes hand-written records apart. What is read past the end, or is malformed, makes the Reader bad: it
// then gives zeros, so that a decoder reads all fields of a record and asks once.
package decode

import "encoding/binary"

// Reader takes big-endian numbers and bytes off the front of a record. Once bad, nothing is left of it.
type Reader struct {
	b   []byte
	bad bool
}

// Of reads from b. What it gives shares b's memory.
func Of(b []byte) *Reader { return &Reader{b: b} }

// Left is the number of bytes not yet taken: a bound for what a count in the record may ask for.
func (r *Reader) Left() int { return len(r.b) }

// Bad tells whether something was missing or wrong so far.
func (r *Reader) Bad() bool { return r.bad }

// Check makes the reader bad unless ok holds.
func (r *Reader) Check(ok bool) {
	if !ok {
		r.b, r.bad = nil, true
	}
}

// End tells whether the record was well-formed and is used up.
func (r *Reader) End() bool { return !r.bad && len(r.b) == 0 }

// Take takes n bytes; nil if there are not so many.
func (r *Reader) Take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.Check(false)
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// Uint8 takes a byte.
func (r *Reader) Uint8() uint8 {
	if v := r.Take(1); v != nil {
		return v[0]
	}
	return 0
}

// Uint16 takes 2 bytes.
func (r *Reader) Uint16() uint16 {
	if v := r.Take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

// Uint32 takes 4 bytes.
func (r *Reader) Uint32() uint32 {
	if v := r.Take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// Uint64 takes 8 bytes.
func (r *Reader) Uint64() uint64 {
	if v := r.Take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// Uvarint takes a number as encoding/binary appends it: in its one shortest form, so that each value has one encoding.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.Check(false)
		return 0
	}
	r.b = r.b[n:]
	return v
}
