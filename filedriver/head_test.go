package filedriver

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"

	"ovs"
	"ovs/internal/unit"
)

func TestHeadGolden(t *testing.T) {
	h := head{size: 5, complete: 7, time: 9, open: 3, closed: []closed{{2, 11}}, inline: []byte("abc")}
	const want = "0100" + "0000000000000005" + "0000000000000007" + "0000000000000009" + "0000000000000003" +
		"0001" + "0000000000000002" + "000000000000000b" + "616263"
	if got := hex.EncodeToString(h.encode()); got != want {
		t.Fatalf("\n%s, want\n%s", got, want)
	}
	back, err := decodeHead(h.encode())
	if err != nil || !reflect.DeepEqual(back, h) {
		t.Fatalf("%+v, %v", back, err)
	}
}

func TestTableGolden(t *testing.T) {
	table := []chunk{{1, 2}, {}, {3, 4}}
	b := encodeTable(table)
	const want = "01" + "00000000000000010000000000000002" + "00000000000000000000000000000000" + "00000000000000030000000000000004"
	if got := hex.EncodeToString(b); got != want {
		t.Fatalf("%s", got)
	}
	if back, err := decodeTable(b); err != nil || !reflect.DeepEqual(back, table) {
		t.Fatalf("%v, %v", back, err)
	}
}

func TestLineage(t *testing.T) {
	h := head{complete: 10, open: 5, closed: []closed{{2, 12}, {4, 20}}}
	for _, c := range []struct {
		e    ovs.Epoch
		n    ovs.RecordNo
		want bool
	}{
		{1, 11, false}, // older than all, not listed
		{2, 12, true}, {2, 13, false},
		{3, 13, false}, // an epoch that added nothing
		{4, 20, true}, {4, 21, false},
		{5, 21, true}, {6, 22, true},
	} {
		if got := h.valid(c.e, c.n); got != c.want {
			t.Errorf("record %d of epoch %d: %v", c.n, c.e, got)
		}
	}
}

func TestEncodeChunk(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 3*4096/16)
	content = append(content, 7)                          // a cluster that is filled up with zeros
	content = append(content, make([]byte, 3*4096-77)...) // zeros at the end are left out
	name := chunk{3, 9}.of(77, 2)
	b := encodeChunk(content, name)
	if len(b) != 4*unit.Size {
		t.Fatalf("%d bytes", len(b))
	}
	for i := range 4 {
		u, at := b[i*unit.Size:], uint64(512+i)
		if !unit.Check(u, name.Of(at), at) || !bytes.Equal(u[:4096], content[i*4096:][:4096]) {
			t.Errorf("cluster %d", at)
		}
	}
	if encodeChunk(make([]byte, 5000), name) != nil {
		t.Error("zeros take no chunk")
	}
}

func FuzzHead(f *testing.F) {
	f.Add((&head{size: 5, open: 3, closed: []closed{{2, 11}}, inline: []byte("abc")}).encode())
	f.Add((&head{size: 1 << 21, hasTable: true}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHead(b)
		if err != nil {
			return
		}
		if again := h.encode(); !bytes.Equal(again, b) {
			t.Fatalf("%x reads as %+v, which writes as %x", b, h, again)
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add(encodeTable([]chunk{{1, 2}, {}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := decodeTable(b)
		if err == nil && !bytes.Equal(encodeTable(table), b) {
			t.Fatalf("%x", b)
		}
	})
}
