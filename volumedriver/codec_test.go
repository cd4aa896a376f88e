package volumedriver

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"hash/crc32"
	"os"
	"reflect"
	"strings"
	"testing"

	"ovs"
	"ovs/internal/unit"
)

var rewrite = flag.Bool("rewrite", false, "write testdata anew")

// golden holds an encoding to the bytes in testdata: a change of them is a change of the format.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var text strings.Builder
	for b := bytes.TrimRight(got, "\x00"); len(b) > 0; b = b[min(len(b), 32):] { // padding is left out
		text.WriteString(hex.EncodeToString(b[:min(len(b), 32)]) + "\n")
	}
	file := "testdata/" + name + ".hex"
	if *rewrite {
		if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("%s is\n%swant\n%s", name, text.String(), want)
	}
}

func sampleHeader() *header {
	return &header{Number: 0x2a, Epoch: 3, Before: 2, First: 100, Last: 140, Part: 1, Final: true, Size: 1 << 30, Time: 1_700_000_000_000_000_000,
		Runs: []run{{runData, 5, 2}, {runZero, 7, 1}, {runData, 1000, 1}, {runDiscard, 5000, maxClusters - 5000}}}
}

func sampleRoot() *root {
	return &root{SCO: 0x2a, Epoch: 3, Record: 140, Size: 1 << 30, Time: 7, Lineage: lineage{{1, 10, 30}, {2, 0x29, 99}},
		Layers: []layerRef{{1, 2, 333}}, Segments: []segmentRef{{0, 0x2a, 3, 7, 12}, {9, 0x20, 2, 1, 65536}}, Live: 2100}
}

func sampleSegment() *segment {
	s := &segment{}
	s.add(0, 5, hole)
	s.add(5, 2, locate(0, 1, 0x2a))
	s.add(7, 993, hole)
	s.add(1000, stretchClusters-1000, locate(1, 3, 77))
	return s
}

func sampleLive() *live {
	t := newLive()
	for _, n := range []ovs.SCONo{3, 0x29, 0x2a, 5 * livePageSCOs} {
		t.stands(n)
	}
	t.move(locate(0, 1, 3), 1)
	t.move(locate(0, 1, 0x2a), 1000)
	return t
}

func sampleTLog() *tlog {
	t := &tlog{First: 0x20, Last: 0x2a, Epoch: 3, Record: 140, Size: 1 << 30, Time: 7}
	t.Runs.Insert(5, 2, locate(0, 1, 0x2a))
	t.Runs.Insert(7, 1, hole)
	t.Runs.Insert(1000, 1, locate(0, 3, 0x21))
	return t
}

func sampleLayer() *layer {
	l, err := newLayer(ovs.Layer{Namespace: "files-0000000000000003", Piece: 1 << 20, Size: 3<<20 - 5, Last: 99, Time: 7, Names: []string{"42/0-1-9", "", "42/2-2-63"}})
	if err != nil {
		panic(err)
	}
	return l
}

func sampleHead() *head {
	return &head{RootSCO: 0x2a, RootEpoch: 3, RootLength: 321, Record: 140, Size: 1 << 30, Time: 7, Closed: lineage{{3, 0x2b, 150}}}
}

func TestGolden(t *testing.T) {
	golden(t, "head", sampleHead().encode())
	golden(t, "head-empty", (&Driver{}).NewHead(disk))
	golden(t, "sco-header", sampleHeader().encode(ref))
	golden(t, "root", sampleRoot().encode(ref))
	golden(t, "segment", sampleSegment().encode(ref, 9))
	golden(t, "live", sampleLive().encode(ref))
	golden(t, "tlog", sampleTLog().encode(ref))
	golden(t, "layer", sampleLayer().encode(ref))
	u := make([]byte, unit.Size)
	copy(u, pattern(1, ovs.ClusterSize))
	unit.Seal(u, scoUnit(ref, 1000, 0x2a), 1000)
	golden(t, "sco-trailer", append([]byte{}, u[ovs.ClusterSize:]...))
	check := func(r ovs.Ref, cluster uint64, n ovs.SCONo) bool {
		return unit.Check(u, scoUnit(r, cluster, n), cluster)
	}
	if !check(ref, 1000, 0x2a) || check(ref, 1001, 0x2a) || check(ref, 1000, 0x2b) || check(ovs.Ref{Pool: pool, Object: disk + 1}, 1000, 0x2a) {
		t.Error("a proof proves the wrong thing")
	}
}

func TestNames(t *testing.T) {
	for _, n := range []string{namespace(ref), scoName(maxSCO, ^ovs.Epoch(0)), tlogName(1, maxSCO, 3), rootName(0, 1), segmentName(7, 1, 2), liveName(maxSCO, 3), layerName(1, 9)} {
		if err := ovs.CheckBackendName("test", n); err != nil {
			t.Error(err)
		}
	}
	if !(scoName(9, ^ovs.Epoch(0)) < "sco/00000000009." && "sco/00000000009." < scoName(10, 1)) {
		t.Error("a listing after an SCO begins in the wrong place")
	}
}

func TestRoundTrips(t *testing.T) {
	h := sampleHeader()
	got, err := decodeHeader(ref, h.encode(ref))
	same(t, h, got, err)
	o := sampleRoot()
	gotRoot, err := decodeRoot(ref, o.encode(ref))
	same(t, o, gotRoot, err)
	s := sampleSegment()
	gotSegment, err := decodeSegment(ref, 9, s.encode(ref, 9))
	same(t, s, gotSegment, err)
	lv := sampleLive()
	gotLive, err := decodeLive(ref, lv.encode(ref))
	same(t, lv, gotLive, err)
	l := sampleLayer()
	gotLayer, err := decodeLayer(ref, l.encode(ref))
	same(t, l, gotLayer, err)
	hd := sampleHead()
	gotHead, err := decodeHead(hd.encode())
	same(t, hd, gotHead, err)
	tl := sampleTLog()
	gotTLog, err := decodeTLog(ref, tl.encode(ref))
	if err != nil || !bytes.Equal(gotTLog.encode(ref), tl.encode(ref)) {
		t.Errorf("a TLog: %+v, %v", gotTLog, err)
	}
	if _, err := decodeSegment(ref, 8, s.encode(ref, 9)); !ovs.Is(err, ovs.KindCorrupt) {
		t.Errorf("another stretch's segment: %v", err)
	}
	if _, err := decodeRoot(ovs.Ref{Pool: pool, Object: 1}, o.encode(ref)); !ovs.Is(err, ovs.KindCorrupt) {
		t.Errorf("another volume's root: %v", err)
	}
	old := o.encode(ref)
	if got, err := decodeRoot(ref, closeFrame(old[:len(old)-4])); err != nil || got.Live != 0 {
		t.Errorf("a root without counts: %+v, %v", got, err)
	}
	newer := hd.encode()
	newer[0]++
	if _, err := decodeHead(newer); !ovs.Is(err, ovs.KindNotSupported) {
		t.Errorf("a newer head: %v", err)
	}
}

func same(t *testing.T, want, got any, err error) {
	t.Helper()
	if err != nil || !reflect.DeepEqual(want, got) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

// Every flipped bit is found.
func TestFlips(t *testing.T) {
	h := sampleHead().encode()
	o := sampleRoot().encode(ref)
	for i := range len(h) * 8 {
		h[i/8] ^= 1 << (i % 8)
		if _, err := decodeHead(h); err == nil {
			t.Fatalf("bit %d of a head", i)
		}
		h[i/8] ^= 1 << (i % 8)
	}
	for i := range len(o) * 8 {
		o[i/8] ^= 1 << (i % 8)
		if _, err := decodeRoot(ref, o); err == nil {
			t.Fatalf("bit %d of a root", i)
		}
		o[i/8] ^= 1 << (i % 8)
	}
}

// fuzzFrame feeds a decoder bodies under a right checksum; what it takes must encode to the same again.
// What has a right checksum and is cut short, too long or senseless is refused as well.
func TestMalformed(t *testing.T) {
	layer := sampleLayer()
	risen := sampleRoot()
	risen.Lineage = lineage{{2, 10, 30}, {1, 29, 99}}
	nowhere := sampleLayer()
	nowhere.Names[0] = "42/7-1-9"
	frames := map[string]struct {
		b      []byte
		decode func(b []byte) error
	}{
		"header":  {sampleHeader().encode(ref), func(b []byte) error { _, err := decodeHeader(ref, b); return err }},
		"tlog":    {sampleTLog().encode(ref), func(b []byte) error { _, err := decodeTLog(ref, b); return err }},
		"segment": {sampleSegment().encode(ref, 9), func(b []byte) error { _, err := decodeSegment(ref, 9, b); return err }},
		"root":    {sampleRoot().encode(ref), func(b []byte) error { _, err := decodeRoot(ref, b); return err }},
		"live":    {sampleLive().encode(ref), func(b []byte) error { _, err := decodeLive(ref, b); return err }},
		"layer":   {layer.encode(ref), func(b []byte) error { _, err := decodeLayer(ref, b); return err }},
	}
	for name, x := range frames {
		b := x.b[:frameLength(x.b, binary.BigEndian.Uint32(x.b))]
		for what, bad := range map[string][]byte{"short": bytes.Clone(b[:len(b)-1]), "long": append(bytes.Clone(b), 0)} {
			if err := x.decode(closeFrame(bad)); !ovs.Is(err, ovs.KindCorrupt) {
				t.Errorf("a %s that is too %s: %v", name, what, err)
			}
		}
		if err := x.decode(x.b[1:]); !ovs.Is(err, ovs.KindCorrupt) {
			t.Errorf("no %s at all: %v", name, err)
		}
	}
	if _, err := decodeRoot(ref, risen.encode(ref)); !ovs.Is(err, ovs.KindCorrupt) {
		t.Errorf("a root whose lineage falls: %v", err)
	}
	if _, err := decodeLayer(ref, nowhere.encode(ref)); !ovs.Is(err, ovs.KindCorrupt) {
		t.Errorf("a layer with a piece in the wrong place: %v", err)
	}
	h := sampleHead().encode()
	long := append(bytes.Clone(h[:len(h)-4]), 0)
	if _, err := decodeHead(put32(long, crc32.Checksum(long, castagnoli))); !ovs.Is(err, ovs.KindCorrupt) {
		t.Errorf("a head that is too long: %v", err)
	}
	if _, err := decodeHead((&head{Closed: risen.Lineage}).encode()); !ovs.Is(err, ovs.KindCorrupt) {
		t.Errorf("a head whose lineage falls: %v", err)
	}
}

func fuzzFrame(f *testing.F, magic uint32, sample []byte, again func(b []byte) ([]byte, error)) {
	f.Add(sample[frameSize:frameLength(sample, magic)])
	f.Fuzz(func(t *testing.T, body []byte) {
		b := closeFrame(append(newFrame(magic, ref, len(body)), body...))
		got, err := again(b)
		if err != nil {
			return
		}
		back, err := again(got)
		if err != nil || !bytes.Equal(got, back) {
			t.Fatalf("%x becomes %x, then %x (%v)", b, got, back, err)
		}
	})
}

func FuzzSCOHeader(f *testing.F) {
	fuzzFrame(f, magicSCO, sampleHeader().encode(ref), func(b []byte) ([]byte, error) {
		h, err := decodeHeader(ref, b)
		if err != nil {
			return nil, err
		}
		h.each(func(c, n uint64, l Location) {
			if l != hole && (l.unit() == 0 || l.unit()+n > maxUnits) {
				f.Errorf("units %d+%d", l.unit(), n)
			}
		})
		return h.encode(ref), nil
	})
}

func FuzzTLog(f *testing.F) {
	fuzzFrame(f, magicTLog, sampleTLog().encode(ref), func(b []byte) ([]byte, error) {
		x, err := decodeTLog(ref, b)
		if err != nil {
			return nil, err
		}
		return x.encode(ref), nil
	})
}

func FuzzSegment(f *testing.F) {
	fuzzFrame(f, magicSegment, sampleSegment().encode(ref, 9), func(b []byte) ([]byte, error) {
		x, err := decodeSegment(ref, 9, b)
		if err != nil {
			return nil, err
		}
		for c := uint64(0); c < stretchClusters; {
			_, n := x.at(c)
			c += n
		}
		return x.encode(ref, 9), nil
	})
}

func FuzzRoot(f *testing.F) {
	fuzzFrame(f, magicRoot, sampleRoot().encode(ref), func(b []byte) ([]byte, error) {
		x, err := decodeRoot(ref, b)
		if err != nil {
			return nil, err
		}
		return x.encode(ref), nil
	})
}

func FuzzLive(f *testing.F) {
	fuzzFrame(f, magicLive, sampleLive().encode(ref), func(b []byte) ([]byte, error) {
		x, err := decodeLive(ref, b)
		if err != nil {
			return nil, err
		}
		y := x.encode(ref)
		x.forgetDead()
		if d := x.dead(); len(d) > 0 {
			f.Errorf("%v are still dead", d)
		}
		return y, nil
	})
}

func FuzzLayer(f *testing.F) {
	fuzzFrame(f, magicLayer, sampleLayer().encode(ref), func(b []byte) ([]byte, error) {
		x, err := decodeLayer(ref, b)
		if err != nil {
			return nil, err
		}
		return x.encode(ref), nil
	})
}

func FuzzHead(f *testing.F) {
	f.Add(sampleHead().encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHead(b)
		if err == nil && !bytes.Equal(h.encode(), b) {
			t.Fatalf("%x is not what was read", h.encode())
		}
	})
}
