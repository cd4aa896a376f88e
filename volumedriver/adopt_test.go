package volumedriver

import (
	"bytes"
	"context"
	"testing"
	"time"

	"ovs"
	"ovs/internal/conformance/drivertest"
	"ovs/internal/unit"
)

const filesNamespace = "files-0000000000000003"

// putFile stores data as filedriver does, chunk 1 left out as a hole, and gives its layer.
func putFile(t *testing.T, w *world, data []byte) ovs.Layer {
	t.Helper()
	ctx := context.Background()
	if err := w.backend.CreateNamespace(ctx, filesNamespace); err != nil {
		t.Fatal(err)
	}
	l := ovs.Layer{Namespace: filesNamespace, Piece: 1 << 20, Size: uint64(len(data)), Last: 77, Time: 5}
	for i := 0; i*(1<<20) < len(data); i++ {
		if i == 1 {
			l.Names = append(l.Names, "")
			continue
		}
		c := unit.Chunk{Object: disk, N: uint64(i), Epoch: ovs.Epoch(1 + i%2), Record: ovs.RecordNo(70 + i)}
		var body []byte
		for at := i << 20; at < min(len(data), (i+1)<<20); at += 4096 {
			u := make([]byte, unit.Size)
			copy(u[:4096], data[at:])
			unit.Seal(u, c.Of(uint64(at/4096)), uint64(at/4096))
			body = append(body, u...)
		}
		if i == 2 { // the zeros at the end of a chunk are not stored
			body = body[:100*unit.Size]
		}
		name := c.Name()
		if _, err := w.backend.Put(ctx, filesNamespace, name, body, ovs.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		l.Names = append(l.Names, name)
	}
	return l
}

func TestAdopt(t *testing.T) {
	w := newWorld(t, Config{TLogSCOs: 2, MostTLogs: 1})
	data := pattern(1, 3<<20+5000)
	clear(data[1<<20 : 2<<20])
	clear(data[2<<20+100*4096 : 3<<20])
	layer := putFile(t, w, data)

	c := w.claim()
	w.entry = c.Entry.Value
	u, err := w.d.Adopt(c, layer)
	if err != nil {
		t.Fatal(err)
	}
	w.do(append(u, ovs.Set(entryKey(), w.entry))...)
	v := w.mustRecover()
	if l := v.Live(); l.Size != uint64(len(data)) || l.Time != 5 {
		t.Errorf("%+v", l)
	}
	check := func() {
		t.Helper()
		for off := 0; off < len(data); off += 1 << 20 {
			n := min(1<<20, len(data)-off)
			if got := read(t, v, uint64(off), n); !bytes.Equal(got, data[off:off+n]) {
				t.Fatalf("chunk %d is not the same", off>>20)
			}
		}
	}
	check()
	for i := range 12 {
		off, b := i*250_000, pattern(uint64(9+i), 3000)
		write(t, v, uint64(off), b, ovs.FileSync)
		copy(data[off:], b)
		check()
		flush(t, v)
		check()
		if i%4 == 3 {
			v = w.crash(v, -1)
			check()
		}
	}
	if last, _ := v.tail.Last(); last != 77+12 {
		t.Errorf("record numbers do not go on: %d", last)
	}
	w.rest(v)
	v = w.mustRecover()
	check()
	v.Close()
	for range 2 {
		if err := w.d.Drop(context.Background(), disk); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.backend.Objects(); n != 3 {
		t.Errorf("%d objects are left; the file's chunks are 3", n)
	}
}

func TestAdoptRefusesWhatItCannotRead(t *testing.T) {
	w := newWorld(t, Config{})
	for _, l := range []ovs.Layer{
		{Namespace: filesNamespace, Piece: 0, Size: 1},
		{Namespace: filesNamespace, Piece: 1000, Size: 1, Names: []string{"42/0-1-1"}},
		{Namespace: filesNamespace, Piece: 1 << 20, Size: 1, Names: []string{"42/1-1-1"}},
		{Namespace: filesNamespace, Piece: 1 << 20, Size: 1, Names: []string{"anything"}},
	} {
		if _, err := w.d.Adopt(w.claim(), l); !ovs.Is(err, ovs.KindInvalid) {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

// A file becomes a volume while one call goes wrong, in every way: it is tried again, and what the file held is there.
func TestAdoptExhaust(t *testing.T) {
	data := pattern(1, 3<<20+5000)
	clear(data[1<<20 : 2<<20])
	clear(data[2<<20+100*4096 : 3<<20])
	drivertest.EachFate(t, func(t *testing.T, fate *drivertest.Fate) {
		w := newWorld(t, Config{})
		layer := putFile(t, w, data)
		w.cfg.Backend, w.cfg.Registry = fate.Backend(w.backend), fate.Registry(w.reg)
		w.driver()
		var up []ovs.Update
		var c ovs.Claim
		for tries := 0; up == nil; tries++ {
			c = w.claim()
			var err error
			if up, err = w.d.Adopt(c, layer); err != nil && (fate.Met() == "" || tries > 0) {
				t.Fatal(err)
			}
		}
		w.entry = c.Entry.Value
		w.do(append(up, ovs.Set(entryKey(), w.entry))...)
		v, err := w.recover()
		if err != nil {
			if fate.Met() == "" {
				t.Fatal(err)
			}
			v = w.mustRecover()
		}
		for off := uint64(0); off < uint64(len(data)); off += 1 << 20 {
			want := data[off:min(off+1<<20, uint64(len(data)))]
			got, err := tryRead(v, off, len(want))
			if err != nil && fate.Met() != "" {
				got, err = tryRead(v, off, len(want))
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("not the same at %d: %v", off, err)
			}
		}
		v.Close()
		for range 2 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			err = w.d.Drop(ctx, disk)
			cancel()
			if err == nil || fate.Met() == "" {
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}
