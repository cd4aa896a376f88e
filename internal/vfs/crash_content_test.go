package vfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"ovs/internal/vfs"
)

const sector = 512

// sectorOf is a sector that says what it is: its place and the write that made it.
func sectorOf(index, write int) []byte {
	p := bytes.Repeat([]byte{byte(write)}, sector)
	binary.LittleEndian.PutUint32(p, uint32(index))
	binary.LittleEndian.PutUint32(p[4:], uint32(write))
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, d vfs.FS, name string, flag int) vfs.File {
	t.Helper()
	f, err := d.OpenFile(name, flag, 0o644)
	must(t, err)
	return f
}

func create(t testing.TB, d vfs.FS, name string) vfs.File {
	t.Helper()
	f := open(t, d, name, os.O_RDWR|os.O_CREATE)
	must(t, d.SyncDir("/"))
	return f
}

func write(t testing.TB, f vfs.File, p []byte, off int64) {
	t.Helper()
	_, err := f.WriteAt(p, off)
	must(t, err)
}

func read(t testing.TB, d vfs.FS, name string) []byte {
	t.Helper()
	f := open(t, d, name, os.O_RDONLY)
	defer f.Close()
	info, err := f.Stat()
	must(t, err)
	p := make([]byte, info.Size())
	_, err = f.ReadAt(p, 0)
	must(t, err)
	return p
}

// TestCrashSectors holds every cut against a model: a sector has its last flushed content or one that came later, whole.
func TestCrashSectors(t *testing.T) {
	const sectors = 64
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		d := vfs.NewCrash(seed)
		f := create(t, d, "f")
		write(t, f, make([]byte, sectors*sector), 0)
		must(t, f.Datasync())
		may := [sectors]map[int]bool{}
		last := [sectors]int{}
		for i := range may {
			may[i] = map[int]bool{0: true}
		}
		old, fresh := 0, 0
		for n := 1; n <= 200; n++ {
			from := rng.IntN(sectors)
			count := 1 + rng.IntN(min(12, sectors-from))
			var p []byte
			for i := from; i < from+count; i++ {
				p = append(p, sectorOf(i, n)...)
				last[i], may[i][n] = n, true
			}
			switch rng.IntN(6) {
			case 0:
				must(t, f.PunchHole(int64(from*sector), int64(count*sector)))
				for i := from; i < from+count; i++ {
					delete(may[i], n)
					last[i], may[i][0] = 0, true
				}
			default:
				write(t, f, p, int64(from*sector))
			}
			if rng.IntN(10) == 0 {
				must(t, f.Datasync())
				for i := range may {
					may[i] = map[int]bool{last[i]: true}
				}
			}
			got := read(t, d.Fork(), "f")
			if len(got) != sectors*sector {
				t.Fatalf("size %d", len(got))
			}
			for i := range may {
				s := got[i*sector : (i+1)*sector]
				w := int(binary.LittleEndian.Uint32(s[4:]))
				if !may[i][w] || w != 0 && !bytes.Equal(s, sectorOf(i, w)) {
					t.Fatalf("seed %d write %d sector %d: content of write %d, possible %v", seed, n, i, w, may[i])
				}
				if len(may[i]) > 1 {
					if w == last[i] {
						fresh++
					} else {
						old++
					}
				}
			}
		}
		if old < 100 || fresh < 100 {
			t.Errorf("seed %d: of the un-flushed sectors %d were old and %d new: too one-sided", seed, old, fresh)
		}
	}
}

func TestCrashModes(t *testing.T) {
	for mode, want := range map[vfs.CutMode]string{vfs.CutAll: "old\x00", vfs.CutNone: "newer"} {
		d := vfs.NewCrash(1)
		f := create(t, d, "f")
		write(t, f, []byte("old\x00"), 0)
		must(t, f.Datasync())
		write(t, f, []byte("newer"), 0)
		d.SetCutMode(mode)
		if got := read(t, d.Cut(), "f"); string(got) != want {
			t.Errorf("mode %d: %q", mode, got)
		}
	}
}

// TestCrashSize: an un-flushed size is one of those since the flush, or one on the way; what lies past it never returns.
func TestCrashSize(t *testing.T) {
	sizes := map[int]int{}
	for seed := range uint64(300) {
		d := vfs.NewCrash(seed)
		f := create(t, d, "f")
		write(t, f, bytes.Repeat([]byte("a"), 10000), 0)
		must(t, f.Datasync())
		must(t, f.Truncate(5000))
		must(t, f.Datasync())
		write(t, f, bytes.Repeat([]byte("b"), 4096), 12288)
		next := d.Cut()
		got := read(t, next, "f")
		sizes[len(got)]++
		if !bytes.Equal(got[:5000], bytes.Repeat([]byte("a"), 5000)) || bytes.Contains(got[5000:], []byte("a")) {
			t.Fatalf("seed %d: flushed bytes are gone, or cut ones are back", seed)
		}
		f = open(t, next, "f", os.O_RDWR)
		must(t, f.Truncate(20000))
		if tail := read(t, next, "f")[len(got):]; !bytes.Equal(tail, make([]byte, len(tail))) {
			t.Fatalf("seed %d: bytes past the end came back", seed)
		}
	}
	if sizes[5000] == 0 || sizes[16384] == 0 || len(sizes) < 4 {
		t.Errorf("sizes seen: %v", sizes)
	}
}

// TestCrashFlushCoversWhatWasBefore: a write that arrives while a flush runs is not covered by it.
func TestCrashFlushCoversWhatWasBefore(t *testing.T) {
	d := vfs.NewCrash(1)
	d.SetCutMode(vfs.CutAll)
	f := create(t, d, "f")
	write(t, f, []byte("before"), 0)
	d.OnFlush(func(op vfs.Op, _ string) {
		d.OnFlush(nil)
		if op == vfs.OpDatasync {
			write(t, f, []byte("DURING, and more"), 0)
		}
	})
	must(t, f.Datasync())
	if got := read(t, d.Fork(), "f"); string(got) != "before" {
		t.Errorf("after one flush: %q", got)
	}
	must(t, f.Datasync())
	if got := read(t, d.Fork(), "f"); string(got) != "DURING, and more" {
		t.Errorf("after two: %q", got)
	}
}

// TestCrashOverlappingFlushes: the flush that began first ends last, and takes nothing back.
func TestCrashOverlappingFlushes(t *testing.T) {
	d := vfs.NewCrash(1)
	d.SetCutMode(vfs.CutAll)
	f := create(t, d, "f")
	write(t, f, bytes.Repeat([]byte("1"), 8192), 0)
	d.OnFlush(func(vfs.Op, string) {
		d.OnFlush(nil)
		must(t, f.PunchHole(0, 4096))
		write(t, f, []byte("2"), 4096)
		write(t, f, []byte("2"), 8192)
		must(t, f.Datasync())
	})
	must(t, f.Datasync())
	got := read(t, d.Cut(), "f")
	if len(got) != 8193 || got[0] != 0 || got[4096] != '2' || got[4097] != '1' || got[8192] != '2' {
		t.Errorf("size %d, bytes %q", len(got), got[4094:4098])
	}
}

func TestCrashTear(t *testing.T) {
	torn := 0
	for seed := range uint64(100) {
		d := vfs.NewCrash(seed)
		d.SetTear(true)
		f := create(t, d, "f")
		write(t, f, sectorOf(0, 1), 0)
		must(t, f.Datasync())
		write(t, f, sectorOf(0, 2), 0)
		got := read(t, d.Cut(), "f")
		if got[8] == 2 && got[sector-1] == 1 {
			torn++
		}
	}
	if torn < 5 {
		t.Errorf("%d of 100 sectors torn", torn)
	}
}

func TestCrashIgnoreSync(t *testing.T) {
	d := vfs.NewCrash(1)
	d.SetCutMode(vfs.CutAll)
	f, g := create(t, d, "wal"), create(t, d, "other")
	d.IgnoreSync(func(op, name string) bool { return op == vfs.OpDatasync && name == "wal" })
	write(t, f, []byte("lost"), 0)
	write(t, g, []byte("kept"), 0)
	must(t, f.Datasync())
	must(t, g.Datasync())
	next := d.Cut()
	if got := read(t, next, "wal"); len(got) != 0 {
		t.Errorf("a flush that was to be ignored kept %q", got)
	}
	if got := read(t, next, "other"); string(got) != "kept" {
		t.Errorf("the other file holds %q", got)
	}
}

func TestCrashDirectContract(t *testing.T) {
	d := vfs.NewCrash(1)
	f := open(t, d, "f", os.O_RDWR|os.O_CREATE|vfs.Direct)
	if !f.Direct() {
		t.Fatal("not direct")
	}
	p := vfs.AlignedBuffer(2 * vfs.Align)
	for name, bad := range map[string]func() (int, error){
		"memory": func() (int, error) { return f.WriteAt(p[512:512+vfs.Align], 0) },
		"length": func() (int, error) { return f.WriteAt(p[:100], 0) },
		"offset": func() (int, error) { return f.WriteAt(p, 512) },
		"read":   func() (int, error) { return f.ReadAt(p[:100], 0) },
	} {
		if _, err := bad(); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("wrong %s: error %v", name, err)
		}
	}
	d.RefuseDirect(true)
	if open(t, d, "f", os.O_RDWR|vfs.Direct).Direct() {
		t.Error("direct, though refused")
	}
}

func TestCrashCapacity(t *testing.T) {
	d := vfs.NewCrash(1)
	d.SetCapacity(10 * 4096)
	f := create(t, d, "f")
	n, err := f.WriteAt(make([]byte, 11*4096), 0)
	if n != 10*4096 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("wrote %d, %v", n, err)
	}
	write(t, f, []byte("in place"), 0)
	if _, free, _ := d.Space("/"); free != 0 {
		t.Errorf("%d free on a full disk", free)
	}
	must(t, f.PunchHole(0, 2*4096))
	if _, free, _ := d.Space("/"); free != 2*4096 {
		t.Errorf("%d free after a hole", free)
	}
	must(t, f.Truncate(4*4096))
	must(t, d.Remove("f"))
	if _, free, _ := d.Space("/"); free != 8*4096 {
		t.Errorf("%d free while the file is open", free)
	}
	must(t, f.Close())
	if total, free, _ := d.Space("/"); free != total || total != 10*4096 {
		t.Errorf("%d of %d free at the end", free, total)
	}
	g := create(t, d, "g")
	write(t, g, make([]byte, 3*4096), 0)
	must(t, g.Datasync())
	if _, free, _ := d.Cut().Space("/"); free != 7*4096 {
		t.Errorf("%d free after a cut", free)
	}
}
