package nfsd

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"testing/iotest"
)

func newRecords(src io.Reader) (*records, *budget) {
	all := newBudget(64 << 20)
	bufs := &buffers{pool: new(bufferPool), own: newBudget(64 << 20), all: all}
	return &records{src: src, buffer: bufs.get, before: func(bool) {}, after: func() {}}, all
}

// cut is the specification of records: slow and plain.
func cut(stream []byte) (recs [][]byte) {
	var rec []byte
	for len(stream) >= 4 {
		mark := binary.BigEndian.Uint32(stream)
		n := int(mark &^ lastFragment)
		if len(rec)+n > maxRecord || 4+n > len(stream) {
			break
		}
		rec = append(rec, stream[4:4+n]...)
		stream = stream[4+n:]
		if mark&lastFragment != 0 {
			recs = append(recs, rec)
			rec = nil
		}
	}
	return recs
}

func checkRecords(t *testing.T, stream []byte, src io.Reader, keep bool) {
	t.Helper()
	s, all := newRecords(src)
	var held []*buffer
	var got [][]byte
	want := cut(stream)
	for i := 0; ; i++ {
		rec, buf, err := s.next()
		if err != nil {
			if i != len(want) {
				t.Fatalf("%d records, then %v; %d are there", i, err, len(want))
			}
			break
		}
		if i >= len(want) || !bytes.Equal(rec, want[i]) {
			t.Fatalf("record %d of %d bytes differs", i, len(rec))
		}
		got = append(got, rec)
		if keep && len(held) < 50 {
			held = append(held, buf)
		} else {
			buf.release()
		}
	}
	for i := range held { // what is still held must not have been written over
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("record %d changed while it was held", i)
		}
	}
	for _, b := range held {
		b.release()
	}
	s.close()
	if n := all.used.Load(); n != 0 {
		t.Fatalf("%d bytes are not given back", n)
	}
}

func TestRecords(t *testing.T) {
	var stream []byte
	for i := range 300 {
		n := []int{0, 1, 40, 4200, 70_000, slabSize - 8, slabSize - 4, slabSize - 3, maxRecord, 100}[i%10]
		if i%10 > 4 && i > 60 {
			n = i
		}
		rec := pattern(n, byte(i))
		if i%7 == 3 && n > 10 {
			stream = append(binary.BigEndian.AppendUint32(stream, 10), rec[:10]...)
			rec = rec[10:]
		}
		stream = append(stream, marked(rec)...)
	}
	for _, keep := range []bool{false, true} {
		checkRecords(t, stream, bytes.NewReader(stream), keep)
		checkRecords(t, stream, iotest.HalfReader(bytes.NewReader(stream)), keep)
	}
	short := stream[:20_000]
	checkRecords(t, short, iotest.OneByteReader(bytes.NewReader(short)), true)
}

func FuzzRecords(f *testing.F) {
	f.Add(marked([]byte("hello")), byte(3))
	f.Add(append([]byte{0, 0, 0, 2, 'a', 'b'}, marked([]byte("c"))...), byte(0))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1}, byte(1))
	f.Fuzz(func(t *testing.T, stream []byte, step byte) {
		checkRecords(t, stream, &stepReader{stream, int(step)%64 + 1}, step&1 == 0)
	})
}

// stepReader gives at most n bytes at a time.
type stepReader struct {
	b []byte
	n int
}

func (r *stepReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b[:min(r.n, len(r.b))])
	r.b = r.b[n:]
	return n, nil
}
