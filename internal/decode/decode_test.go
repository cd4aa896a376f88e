package decode

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
)

// record is one of each: its fields, read back, are these.
func record() []byte {
	b := []byte{1}
	b = binary.BigEndian.AppendUint16(b, 0x0203)
	b = binary.BigEndian.AppendUint32(b, 0x04050607)
	b = binary.BigEndian.AppendUint64(b, 0x08090a0b0c0d0e0f)
	b = binary.AppendUvarint(b, math.MaxUint64)
	b = binary.AppendUvarint(b, 0)
	return append(b, "tail"...)
}

func read(r *Reader) (numbers [6]uint64, tail []byte) {
	numbers = [6]uint64{uint64(r.Uint8()), uint64(r.Uint16()), uint64(r.Uint32()), r.Uint64(), r.Uvarint(), r.Uvarint()}
	return numbers, r.Take(4)
}

func TestReader(t *testing.T) {
	b := record()
	r := Of(b)
	numbers, tail := read(r)
	if numbers != [6]uint64{1, 0x0203, 0x04050607, 0x08090a0b0c0d0e0f, math.MaxUint64, 0} || string(tail) != "tail" || !r.End() || r.Bad() {
		t.Fatalf("%x %q", numbers, tail)
	}
	if _ = append(tail, 'x'); cap(tail) != 4 {
		t.Error("what was taken can be appended over what follows")
	}
	// However short it is cut: bad at the end, never a panic, and zeros from the cut on.
	for n := range b {
		r := Of(b[:n])
		numbers, tail := read(r)
		if !r.Bad() || r.End() || r.Left() != 0 || tail != nil || r.Uint8() != 0 || r.Take(0) != nil {
			t.Errorf("%d of %d bytes: %x %q", n, len(b), numbers, tail)
		}
	}
}

func TestBad(t *testing.T) {
	for name, f := range map[string]func(r *Reader){
		"more than there is":    func(r *Reader) { r.Take(5) },
		"a length that is huge": func(r *Reader) { r.Take(math.MaxUint64) },
		"a check":               func(r *Reader) { r.Check(false) },
	} {
		r := Of([]byte{1, 2, 3, 4})
		if f(r); !r.Bad() || r.End() || r.Uint8() != 0 || r.Uvarint() != 0 {
			t.Errorf("%s is taken", name)
		}
	}
	r := Of([]byte{7})
	if r.Check(true); r.Bad() || r.End() || r.Left() != 1 || r.Uint8() != 7 || !r.End() {
		t.Error("a check that holds spoils the reader")
	}
	for _, b := range [][]byte{nil, {0x80}, {0x80, 0}, {0x81, 0x80, 0}, bytes.Repeat([]byte{0xff}, 10)} {
		if r := Of(b); r.Uvarint() != 0 || !r.Bad() {
			t.Errorf("%x is a number", b)
		}
	}
}

// FuzzReader: whatever is asked of whatever bytes, what is given is from there, in order; bad is bad for ever and gives zeros.
func FuzzReader(f *testing.F) {
	f.Add(record(), []byte{0, 1, 2, 3, 4, 4, 9})
	f.Add([]byte{0x80, 0}, []byte{4})
	f.Fuzz(func(t *testing.T, b, asks []byte) {
		r := Of(b)
		for _, ask := range asks {
			left, bad := r.Left(), r.Bad()
			var v, size uint64
			switch ask % 6 {
			case 0:
				v, size = uint64(r.Uint8()), 1
			case 1:
				v, size = uint64(r.Uint16()), 2
			case 2:
				v, size = uint64(r.Uint32()), 4
			case 3:
				v, size = r.Uint64(), 8
			case 4:
				v = r.Uvarint()
				size = uint64(len(binary.AppendUvarint(nil, v)))
			case 5:
				size = uint64(ask) << (ask % 64)
				if got := r.Take(size); uint64(len(got)) == size && !r.Bad() && !bytes.Equal(got, b[len(b)-left:][:size]) {
					t.Fatalf("%x is not what stands there", got)
				}
			}
			switch {
			case r.Bad() && (v != 0 || r.Left() != 0 || r.End()), bad && !r.Bad():
				t.Fatalf("ask %d of a bad reader: %d, %d left", ask, v, r.Left())
			case !r.Bad() && uint64(left-r.Left()) != size:
				t.Fatalf("ask %d took %d bytes, not %d", ask, left-r.Left(), size)
			}
		}
	})
}
