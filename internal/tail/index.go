package tail

import "ovs"

// Extent is what the index knows of a range: the record that set it last, and where the bytes stand in the log.
type Extent struct {
	Pos ovs.LogPos // of the range's first byte; 0 for zeros
	tag uint64     // record number << 3 | stable << 2 | kind
}

// The kinds of an extent.
const (
	Data    = 0
	Zero    = 1 // reads as zeros
	Discard = 2 // the same, and the user gave the range up
)

func newExtent(pos ovs.LogPos, n ovs.RecordNo, kind uint64, stable bool) Extent {
	e := Extent{Pos: pos, tag: uint64(n)<<3 | kind}
	if stable {
		e.tag |= 4
	}
	return e
}

// Kind is Data, Zero or Discard.
func (e Extent) Kind() int { return int(e.tag & 3) }

// Record is the number of the record.
func (e Extent) Record() ovs.RecordNo { return ovs.RecordNo(e.tag >> 3) }

// Stable tells whether its write was to be durable before its reply.
func (e Extent) Stable() bool { return e.tag&4 != 0 }

// Advance is the extent n bytes further on.
func (e Extent) Advance(n uint64) Extent {
	if e.Kind() == Data {
		e.Pos += ovs.LogPos(n)
	}
	return e
}
