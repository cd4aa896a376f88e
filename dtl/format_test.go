package dtl

import (
	"bytes"
	"encoding/hex"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"

	"ovs"
)

// Golden bytes: docs/format/log.md speaks of exactly these. A change of them is a new format version.

func golden(t *testing.T, name string, got []byte, want string) {
	t.Helper()
	want = strings.Join(strings.Fields(want), "")
	if hex.EncodeToString(got) != want {
		t.Errorf("%s is\n%s\nwant\n%s", name, hex.EncodeToString(got), want)
	}
}

const (
	goldenID  = 0x1122334455667788
	goldenGen = 7
	goldenOff = 0x3000
)

func goldenRecord() ovs.Record {
	return ovs.Record{
		Ref: ovs.Ref{Pool: 0xa1, Object: 0xa2}, Epoch: 0xa3, Number: 0xa4, Kind: ovs.RecordWrite, Time: 0xa5,
		Off: 0xa6, Len: 5, Origin: ovs.Origin{Router: 0xa7, Sequence: 0xa8, Lowest: 0xa9}, Data: []byte("hello"),
	}
}

func TestGolden(t *testing.T) {
	b := make([]byte, superSize)
	(&super{id: goldenID, start: 3, segment: 64 << 20, mark: place{6, 0x2000}}).encode(b)
	golden(t, "superblock", b, `6f7673776c6f670a 01000000 f215baa3 8877665544332211 0300000000000000 0000000400000000 06000000
		00200000 00000000000000000000000000000000`)

	b = make([]byte, headerSize)
	(&header{id: goldenID, gen: goldenGen, start: 3}).encode(b)
	golden(t, "segment header", b, `43be35b0 4f564753 07000000 00000000 8877665544332211 0300000000000000 00000000000000000000000000000000`)

	s := seed(goldenID, goldenGen)
	b = make([]byte, batchSize)
	(&batchHeader{length: 0xa0, records: 1, mark: place{6, 0x2000}, gen: goldenGen, start: 3}).encode(b, s, goldenOff)
	golden(t, "batch header", b, `02112889 4f564254 00300000 a0000000 01000000 06000000 00200000 07000000 0300000000000000 0000000000000000`)

	r := goldenRecord()
	b = make([]byte, frameBytes(len(r.Data)))
	encodeFrame(b, &r, crc32.Checksum(r.Data, castagnoli), s, goldenOff+batchSize)
	copy(b[frameSize:], r.Data)
	golden(t, "record", b, `f9dacd66 c1bec571 30300000 05000000 0100000000000000 a100000000000000 a200000000000000 a300000000000000
		a400000000000000 a500000000000000 a600000000000000 0500000000000000 a700000000000000 a800000000000000
		a900000000000000 68656c6c6f000000`)

	index, at := encodeIndex(128<<10, s, 0x2000, place{6, 0x1000}, b[:frameSize], []uint32{1, 2, 3}, nil)
	if at != 0x1e000 || len(index) != 2*block {
		t.Errorf("the index takes %d bytes at %x", len(index), at)
	}
	golden(t, "index", index[:frameSize+16], hex.EncodeToString(b[:frameSize])+`01000000 02000000 0000000000000000`)
	golden(t, "trailer", index[block:block+trailerSize], `348744a5 4f564958 00f00100 00e00100 01000000 00200000 eb861c40 06000000 00100000
		00000000 0000000000000000 00000000000000000000000000000000`)
}

func TestDecode(t *testing.T) {
	s := seed(goldenID, goldenGen)
	r := goldenRecord()
	b := make([]byte, frameBytes(len(r.Data)))
	encodeFrame(b, &r, crc32.Checksum(r.Data, castagnoli), s, goldenOff)
	copy(b[frameSize:], r.Data)
	var got ovs.Record
	off, n, ok := decodeFrame(b, &got, s, goldenGen)
	want := r
	want.Data, want.Pos = nil, place{goldenGen, goldenOff + frameSize}.pos()
	if !ok || off != goldenOff || n != 5 || !reflect.DeepEqual(got, want) {
		t.Fatalf("decoded %+v, want %+v", got, want)
	}
	if !recordIntact(b, b[frameSize:frameSize+5]) {
		t.Fatal("an intact record does not count as one")
	}
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 0x10
		_, _, ok := decodeFrame(c, &got, s, goldenGen)
		if ok && i < frameSize || i >= frameSize && i < frameSize+5 && recordIntact(c, c[frameSize:frameSize+5]) {
			t.Fatalf("a flip in byte %d is not noticed", i)
		}
	}
	for _, other := range []uint32{seed(goldenID, goldenGen-1), seed(goldenID+1, goldenGen)} {
		if _, _, ok := decodeFrame(b, &got, other, goldenGen); ok {
			t.Fatal("a record of another life parses")
		}
	}
}

// image makes a segment with two batches, the second of two records, and an index if asked for.
func image(sealed bool) []byte {
	const size = 64 << 10
	img := make([]byte, size)
	s := seed(goldenID, goldenGen)
	(&header{id: goldenID, gen: goldenGen, start: 1}).encode(img)
	off := uint32(block)
	var frames []byte
	for i, sizes := range [][]int{{5000}, {0, 700}} {
		at := off + batchSize
		for j, n := range sizes {
			r := goldenRecord()
			r.Number, r.Data = ovs.RecordNo(10*i+j), bytes.Repeat([]byte{byte(i + 1)}, n)
			encodeFrame(img[at:], &r, crc32.Checksum(r.Data, castagnoli), s, at)
			copy(img[at+frameSize:], r.Data)
			frames = append(frames, img[at:at+frameSize]...)
			at += uint32(frameBytes(n))
		}
		h := batchHeader{length: at - off, records: uint32(len(sizes)), mark: place{goldenGen, off}, gen: goldenGen, start: 1}
		h.encode(img[off:], s, off)
		off = up(at)
	}
	if sealed {
		sums := make([]uint32, size/block)
		sumBlocks(sums, block, img[block:off])
		b, at := encodeIndex(size, s, off, place{goldenGen, block}, frames, sums, nil)
		copy(img[at:], b)
	}
	return img
}

func TestImage(t *testing.T) {
	s := readBatches(image(false), seed(goldenID, goldenGen), goldenGen)
	if s.end != 4*block || s.batches != 2 || len(s.frames) != 3*frameSize || len(s.holes) != 0 {
		t.Fatalf("read %d batches to %x, %d bytes of frames, holes %v", s.batches, s.end, len(s.frames), s.holes)
	}
	if s := readBatches(image(false), seed(goldenID, goldenGen+1), goldenGen+1); s.batches != 0 || s.end != block {
		t.Fatal("batches of another generation parse")
	}
}

// FuzzBatches: whatever a segment holds, reading it neither fails nor gives a record that was not written there whole.
func FuzzBatches(f *testing.F) {
	f.Add(image(false)[:4*block], uint32(2*block), uint32(7))
	f.Add(image(false)[:5*block], uint32(block+batchSize), uint32(1))
	sd := seed(goldenID, goldenGen)
	f.Fuzz(func(t *testing.T, img []byte, at, x uint32) {
		img = append(bytes.Clone(img), make([]byte, up(len(img))-len(img))...)
		if len(img) < 2*block || len(img) > 1<<20 {
			return
		}
		if int(at)+4 <= len(img) {
			le.PutUint32(img[at:], le.Uint32(img[at:])^x)
		}
		s := readBatches(img, sd, goldenGen)
		if int(s.end) > len(img) || s.end%block != 0 || len(s.frames)%frameSize != 0 {
			t.Fatalf("end %x of %x, %d bytes of frames", s.end, len(img), len(s.frames))
		}
		var r ovs.Record
		for fr := s.frames; len(fr) > 0; fr = fr[frameSize:] {
			off, n, ok := decodeFrame(fr, &r, sd, goldenGen)
			if !ok || int(off)+frameSize+int(n) > len(img) {
				t.Fatal("a frame that does not decode, or leads out of the segment")
			}
		}
		s.damage(img, sd, goldenGen, s.end, uint32(len(img)))
	})
}

// FuzzIndex: a trailer and index either are what was written or are refused.
func FuzzIndex(f *testing.F) {
	f.Add(image(true)[64<<10-2*block:])
	sd := seed(goldenID, goldenGen)
	f.Fuzz(func(t *testing.T, b []byte) {
		const size = 64 << 10
		if len(b) < block || len(b) > size {
			return
		}
		var tr trailer
		if !tr.decode(b[len(b)-block:], sd, size-block) || int(size-block-tr.at) > len(b)-block {
			return
		}
		body := b[len(b)-block-int(size-block-tr.at) : len(b)-block]
		sums := make([]uint32, size/block)
		frames, ok := tr.decodeIndex(body, sums)
		if !ok {
			return
		}
		again, _ := encodeIndex(size, sd, tr.end, tr.mark, frames, sums, nil)
		known := len(again) - block + trailerSize // what follows in the last block has no meaning
		if tr.at == uint32(size-len(again)) && !bytes.Equal(again[:known], b[len(b)-len(again):][:known]) {
			t.Fatal("decoded and encoded again it differs")
		}
	})
}

// FuzzBlocks: superblock and segment header.
func FuzzBlocks(f *testing.F) {
	b := make([]byte, superSize)
	(&super{id: goldenID, start: 3, segment: 64 << 20}).encode(b)
	f.Add(b)
	h := make([]byte, headerSize)
	(&header{id: goldenID, gen: 3, start: 3}).encode(h)
	f.Add(h)
	f.Fuzz(func(t *testing.T, b []byte) {
		var s super
		if s.decode(b) == nil {
			again := make([]byte, superSize)
			s.encode(again)
			var s2 super
			if s2.decode(again) != nil || s2 != s {
				t.Fatalf("superblock %+v became %+v", s, s2)
			}
		}
		var h header
		if h.decode(b) == nil {
			again := make([]byte, headerSize)
			h.encode(again)
			var h2 header
			if h2.decode(again) != nil || h2 != h {
				t.Fatalf("header %+v became %+v", h, h2)
			}
		}
	})
}
