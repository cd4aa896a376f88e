package albaproxy

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"reflect"
	"testing"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/internal/conformance/backendtest"
	"ovs/internal/pace"
)

func golden(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if h := hex.EncodeToString(got); h != want {
		t.Errorf("%s is\n%s, want\n%s", what, h, want)
	}
}

func sampleManifest(c codec) *manifest {
	m := &manifest{
		size: 70_000, checksum: 0x01020304, codec: c, layout: layout{k: 2, m: 1, unit: 4112, stored: 70_000},
		fragments: []place{{0x1111111111111111, 7, 0xaaaaaaaaaaaaaaaa}, {}, {0x2222222222222222, 300, 0xbbbbbbbbbbbbbbbb}},
	}
	if c == codecBlocks {
		m.table = []block{{0, 1000, blockSnappy}, {1000, 32768, 0}, {33768, 100, blockSnappy}}
		m.stored = 33868 + uint64(len(encodeTable(m.table)))
	}
	return m
}

func sampleHeader() header {
	return header{
		key: asd.Key{Namespace: 1, Epoch: 2, Attempt: 3, Index: 4}, k: 4, m: 2, codec: codecPlain, unit: 4112, size: 5, checksum: 6,
		stored: 5, storedSum: 6, table: 0, namespace: "ns", name: "sco/1-1",
	}
}

func TestGolden(t *testing.T) {
	golden(t, "a plain manifest", sampleManifest(codecPlain).encode(),
		"01f0a20401020304000002019020f0a204111111111111111107aaaaaaaaaaaaaaaa00000000000000002222222222222222ac02bbbbbbbbbbbbbbbb478061f4")
	golden(t, "a manifest with blocks", sampleManifest(codecBlocks).encode(),
		"01f0a20401020304010002019020db88020f0103e807018080020064012392fd76111111111111111107aaaaaaaaaaaaaaaa00000000000000002222222222222222ac02bbbbbbbbbbbbbbbb3ff45e38")
	h, b := sampleHeader(), bytes.Repeat([]byte{0xEE}, headerSize)
	h.put(b)
	golden(t, "a header", append(bytes.TrimRight(b[:headerSize-4], "\x00"), b[headerSize-4:]...),
		"4f56534652414701000000000000000100000000000000020000000000000003040402000000101000000000000000050000000600000000000000050000000600000000026e730773636f2f312d3138f84adb")
	s := space{state: spaceActive, id: 0x0102030405060708, group: 3, name: "vpool1"}
	golden(t, "a namespace", s.encode(), "010201020304050607080003000676706f6f6c31")
	golden(t, "an ASD", encodeASD(asd.Identity{ID: 9, Start: 5, Node: 1}), "01000000000000000500000000000000015d93e8ce")
	golden(t, "dropped fragments", encodeDropped([]dropped{{1, asd.Key{Epoch: 2, Attempt: 3, Index: 4}}}), "00000000000000010000000000000002000000000000000304")
	slot := append([]byte("unit"), 0, 0, 0, 0)
	sumsOf(asd.Key{Namespace: 1, Epoch: 2, Attempt: 3, Index: 4}).put(5, slot)
	golden(t, "a unit and its CRC", slot, "756e69749cad3dcd")
	if slot[4]--; sumsOf(asd.Key{Namespace: 1, Epoch: 2, Attempt: 3, Index: 4}).right(5, slot) {
		t.Error("a wrong CRC is right")
	}
}

func TestRoundTrip(t *testing.T) {
	for _, c := range []codec{codecPlain, codecBlocks} {
		m := sampleManifest(c)
		got, err := decodeManifest(m.encode())
		ok(t, err)
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%+v, want %+v", got, m)
		}
	}
	h, b := sampleHeader(), make([]byte, headerSize)
	h.put(b)
	got, err := decodeHeader(b)
	ok(t, err)
	if got != h {
		t.Errorf("%+v, want %+v", got, h)
	}
	list := []dropped{{1, asd.Key{Namespace: 9, Epoch: 2, Attempt: 3, Index: 4}}, {5, asd.Key{Namespace: 9, Epoch: 6, Attempt: 7, Index: 8}}}
	key := discardUpdate(9, 3, list).Key
	if back, err := decodeDropped(key, encodeDropped(list)); err != nil || !reflect.DeepEqual(back, list) {
		t.Errorf("%v, %v", back, err)
	}
	if f, ok := parseLeftKey(leftKey(list[0])); !ok || f != list[0] {
		t.Errorf("%v", f)
	}
	for _, size := range []int{0, 1, blockSize - 1, blockSize, blockSize + 1, 5*blockSize + 7} {
		data := backendtest.Bytes(uint64(size), size, true)
		stored, table := pack(data, new(pace.Work))
		if n := uint64(len(stored)); n > packedMost(size) || cap(stored) != int(packedMost(size)) {
			t.Errorf("%d bytes are packed in %d, more than %d", size, n, packedMost(size))
		}
		tail := encodeTable(table)
		if !bytes.HasSuffix(stored, tail) {
			t.Fatal("the table does not end the stream")
		}
		for i, e := range table {
			raw := make([]byte, min(blockSize, size-i*blockSize))
			if !e.unpack(raw, stored[e.offset:][:e.stored]) || !bytes.Equal(raw, data[i*blockSize:][:len(raw)]) {
				t.Fatalf("size %d, block %d", size, i)
			}
		}
	}
}

// TestBroken: every cut and every changed bit of a record is found.
func TestBroken(t *testing.T) {
	h, b := sampleHeader(), make([]byte, headerSize)
	h.put(b)
	for _, c := range []struct {
		name   string
		bytes  []byte
		decode func([]byte) error
	}{
		{"manifest", sampleManifest(codecBlocks).encode(), func(b []byte) error { _, err := decodeManifest(b); return err }},
		{"header", b, func(b []byte) error { _, err := decodeHeader(b); return err }},
		{"table", encodeTable(sampleManifest(codecBlocks).table), func(b []byte) error { _, err := decodeTable(b); return err }},
		{"asd", encodeASD(asd.Identity{ID: 9, Start: 5}), func(b []byte) error { _, _, err := decodeASD(b); return err }},
	} {
		ok(t, c.decode(c.bytes))
		for n := range c.bytes {
			if c.decode(c.bytes[:n]) == nil {
				t.Errorf("%s: %d of %d bytes are enough", c.name, n, len(c.bytes))
			}
			wrong := bytes.Clone(c.bytes)
			wrong[n] ^= 1 << (n % 8)
			want(t, c.decode(wrong), ovs.KindCorrupt)
		}
	}
	sealed := sampleManifest(codecPlain)
	newer := sealed.encode()
	newer[0] = 9
	_, err := decodeManifest(resealed(newer))
	want(t, err, ovs.KindNotSupported)
	// A right checksum over what is wrong inside.
	b[headerSize/2] = 1
	binary.BigEndian.PutUint32(b[headerSize-crcSize:], checksum(b[:headerSize-crcSize]))
	_, err = decodeHeader(b)
	want(t, err, ovs.KindCorrupt)
	packed, table := sampleManifest(codecBlocks).encode(), encodeTable(sampleManifest(codecBlocks).table)
	packed[bytes.Index(packed, table)+len(table)-1] ^= 1
	_, err = decodeManifest(resealed(packed))
	want(t, err, ovs.KindCorrupt)
	if (&block{flags: blockSnappy}).unpack(make([]byte, 10), bytes.Repeat([]byte{0xff}, 10)) {
		t.Error("a block whose length has no end is unpacked")
	}
}

func resealed(b []byte) []byte { return sealed(bytes.Clone(b[:len(b)-4])) }

func TestLayout(t *testing.T) {
	for _, l := range []layout{{4, 2, 4096, 0}, {4, 2, 4096, 1}, {4, 2, 4096, 4096 * 7}, {1, 1, 512, 5000}, {5, 3, 4112, 1 << 20}} {
		seen := map[string]uint64{}
		for i := range l.k {
			for row := range l.rowsIn(i) {
				seen[fmt.Sprint(i, row)]++
			}
		}
		if uint64(len(seen)) != l.units() {
			t.Errorf("%+v: %d units stored, want %d", l, len(seen), l.units())
		}
		for off := uint64(0); off < l.stored; off += 1 + l.stored/50 {
			for _, n := range []uint64{1, 4096, l.stored} {
				end := min(off+n, l.stored)
				got := map[uint64]bool{}
				for _, s := range l.spans(off, end) {
					for row := s.from; row < s.to; row++ {
						got[row*uint64(l.k)+uint64(s.fragment)] = true
					}
				}
				first, last := off/uint64(l.unit), (end-1)/uint64(l.unit)
				for u := first; u <= last; u++ {
					if !got[u] {
						t.Fatalf("%+v: bytes %d to %d need unit %d", l, off, end, u)
					}
				}
				if uint64(len(got)) != last-first+1 {
					t.Fatalf("%+v: bytes %d to %d: %d units, want %d", l, off, end, len(got), last-first+1)
				}
			}
		}
	}
}

// What decodes encodes to the same bytes: each record has one form.
func FuzzManifest(f *testing.F) {
	f.Add(sampleManifest(codecPlain).encode())
	f.Add(sampleManifest(codecBlocks).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, sealed(bytes.Clone(b))} {
			m, err := decodeManifest(b)
			if err == nil && !bytes.Equal(m.encode(), b) {
				t.Fatalf("%x encodes to %x", b, m.encode())
			}
		}
	})
}

func FuzzHeader(f *testing.F) {
	h, b := sampleHeader(), make([]byte, headerSize)
	h.put(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > headerSize {
			b = b[:headerSize]
		}
		full := make([]byte, headerSize)
		copy(full, b)
		for _, b := range [][]byte{b, sealed(full[:headerSize-4])} {
			h, err := decodeHeader(b)
			if err != nil {
				continue
			}
			again := make([]byte, headerSize)
			if h.put(again); !bytes.Equal(again, b[:headerSize]) {
				t.Fatalf("%x encodes to %x", b, again)
			}
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add(encodeTable(sampleManifest(codecBlocks).table))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, sealed(bytes.Clone(b))} {
			table, err := decodeTable(b)
			if err == nil && !bytes.Equal(encodeTable(table), b) {
				t.Fatalf("%x encodes to %x", b, encodeTable(table))
			}
		}
	})
}

func FuzzRecords(f *testing.F) {
	s := space{state: spaceActive, id: 1, group: 3, preset: "p", name: "vpool1"}
	f.Add(s.encode(), []byte{keyDiscard})
	f.Add(encodeASD(asd.Identity{ID: 9, Start: 5, Node: 1}), leftKey(dropped{disk: 1}))
	f.Add(encodeDropped([]dropped{{1, asd.Key{Epoch: 2}}}), discardUpdate(1, 2, nil).Key)
	f.Fuzz(func(t *testing.T, value, key []byte) {
		if s, err := decodeSpace(value); err == nil && !bytes.Equal(s.encode(), value) {
			t.Fatalf("namespace %x", value)
		}
		if start, node, err := decodeASD(value); err == nil && !bytes.Equal(encodeASD(asd.Identity{Start: start, Node: node}), value) {
			t.Fatalf("ASD %x", value)
		}
		if list, err := decodeDropped(key, value); err == nil && !bytes.Equal(encodeDropped(list), value) {
			t.Fatalf("dropped %x", value)
		}
		if n, err := decodeEpoch(value); err == nil && !bytes.Equal(binary.BigEndian.AppendUint64(nil, n), value) {
			t.Fatalf("epoch %x", value)
		}
		parseLeftKey(key)
		parseObjectKey(key)
	})
}

func FuzzUnpack(f *testing.F) {
	stored, table := pack(backendtest.Bytes(1, 5000, true), new(pace.Work))
	f.Add(stored[:table[0].stored], byte(blockSnappy), 5000)
	f.Fuzz(func(t *testing.T, stored []byte, flags byte, size int) {
		if size < 1 || size > blockSize {
			return
		}
		b := block{stored: uint32(len(stored)), flags: flags}
		dst := make([]byte, size, size+1)
		dst[:size+1][size] = 7
		b.unpack(dst, stored)
		if dst[:size+1][size] != 7 {
			t.Fatal("written past the block")
		}
	})
}
