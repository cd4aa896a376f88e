package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"testing"

	"ovs/internal/vfs"
)

// outcomes plays a history on many seeds, cuts, and counts what look sees.
func outcomes(t *testing.T, history func(d *vfs.Crash), look func(d *vfs.Crash) string) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for seed := range uint64(300) {
		d := vfs.NewCrash(seed)
		history(d)
		seen[look(d.Cut())]++
	}
	return seen
}

func listing(t testing.TB, dir string) func(d *vfs.Crash) string {
	return func(d *vfs.Crash) string {
		list, err := d.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return "none"
		}
		must(t, err)
		var names []string
		for _, e := range list {
			names = append(names, e.Name())
		}
		return strings.Join(names, " ")
	}
}

func expect(t *testing.T, seen map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if seen[w] == 0 {
			t.Errorf("%q never seen in %v", w, seen)
		}
		delete(seen, w)
	}
	if len(seen) > 0 {
		t.Errorf("impossible outcomes %v", seen)
	}
}

func put(t testing.TB, d vfs.FS, name, content string) {
	t.Helper()
	f := open(t, d, name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	_, err := f.Write([]byte(content))
	must(t, err)
	must(t, f.Datasync())
	must(t, f.Close())
}

func TestCrashCreate(t *testing.T) {
	unsynced := func(d *vfs.Crash) { put(t, d, "f", "x") } // the file is flushed, its name is not
	expect(t, outcomes(t, unsynced, listing(t, "/")), "", "f")
	synced := func(d *vfs.Crash) { unsynced(d); must(t, d.SyncDir("/")) }
	expect(t, outcomes(t, synced, listing(t, "/")), "f")
	content := func(d *vfs.Crash) string { return string(read(t, d, "f")) }
	expect(t, outcomes(t, synced, content), "x")
	hollow := func(d *vfs.Crash) { write(t, create(t, d, "f"), []byte("x"), 0) } // the name is synced, the file is not
	expect(t, outcomes(t, hollow, content), "", "x", "\x00")
}

func TestCrashRename(t *testing.T) {
	replace := func(d *vfs.Crash) {
		put(t, d, "f", "old")
		must(t, d.SyncDir("/"))
		put(t, d, "tmp", "new")
		must(t, d.Rename("tmp", "f"))
	}
	see := func(d *vfs.Crash) string { return listing(t, "/")(d) + "=" + string(read(t, d, "f")) }
	expect(t, outcomes(t, replace, see), "f=old", "f tmp=old", "f=new")
	synced := func(d *vfs.Crash) { replace(d); must(t, d.SyncDir("/")) }
	expect(t, outcomes(t, synced, see), "f=new")

	across := func(d *vfs.Crash) {
		must(t, d.MkdirAll("a", 0))
		must(t, d.MkdirAll("b", 0))
		put(t, d, "a/f", "x")
		must(t, d.SyncDir("a"))
		must(t, d.SyncDir("/"))
		must(t, d.Rename("a/f", "b/f"))
	}
	both := func(d *vfs.Crash) string { return listing(t, "a")(d) + "|" + listing(t, "b")(d) }
	expect(t, outcomes(t, across, both), "f|", "|f")
	half := func(d *vfs.Crash) { across(d); must(t, d.SyncDir("a")) } // one side's sync moves both
	expect(t, outcomes(t, half, both), "|f")
}

func TestCrashRemove(t *testing.T) {
	remove := func(d *vfs.Crash) {
		put(t, d, "f", "x")
		must(t, d.SyncDir("/"))
		must(t, d.Remove("f"))
		put(t, d, "f", "y")
	}
	see := func(d *vfs.Crash) string {
		if listing(t, "/")(d) == "" {
			return "none"
		}
		return string(read(t, d, "f"))
	}
	expect(t, outcomes(t, remove, see), "x", "none", "y")
	order := func(d *vfs.Crash) { // a removal never overtakes the creation before it in its directory
		put(t, d, "old", "x")
		must(t, d.SyncDir("/"))
		put(t, d, "new", "x")
		must(t, d.Remove("old"))
	}
	expect(t, outcomes(t, order, listing(t, "/")), "old", "new old", "new")
}

func TestCrashMkdir(t *testing.T) {
	deep := func(d *vfs.Crash) {
		must(t, d.MkdirAll("a/b", 0))
		put(t, d, "a/b/f", "x")
		must(t, d.SyncDir("a/b"))
	}
	expect(t, outcomes(t, deep, listing(t, "a/b")), "none", "f") // b is synced, but hangs on names that are not
	all := func(d *vfs.Crash) { deep(d); must(t, d.SyncDir("a")); must(t, d.SyncDir("/")) }
	expect(t, outcomes(t, all, listing(t, "a/b")), "f")
	gone := func(d *vfs.Crash) { all(d); must(t, d.RemoveAll("a")); must(t, d.SyncDir("/")) }
	expect(t, outcomes(t, gone, listing(t, "/")), "")
	skipped := func(d *vfs.Crash) {
		d.IgnoreSync(func(op, name string) bool { return op == vfs.OpSyncDir && name == "/" })
		all(d)
	}
	expect(t, outcomes(t, skipped, listing(t, "a/b")), "none", "f")
}

func TestCrashLink(t *testing.T) {
	link := func(d *vfs.Crash) {
		put(t, d, "a", "x")
		must(t, d.SyncDir("/"))
		must(t, d.Link("a", "b"))
		must(t, d.SyncDir("/"))
	}
	see := func(d *vfs.Crash) string {
		write(t, open(t, d, "a", os.O_RDWR), []byte("y"), 0)
		return string(read(t, d, "b"))
	}
	expect(t, outcomes(t, link, see), "y") // still one file
}

// TestCrashDead: after a cut nothing goes on.
func TestCrashDead(t *testing.T) {
	d := vfs.NewCrash(1)
	f, l := create(t, d, "f"), func() interface{ Close() error } { l, err := d.Lock("L"); must(t, err); return l }()
	next := d.Cut()
	if d.Cut() != next {
		t.Error("a second cut gave another disk")
	}
	<-d.Done()
	_, readAt := f.ReadAt(make([]byte, 1), 0)
	_, rd := f.Read(make([]byte, 1))
	_, writeAt := f.WriteAt([]byte("x"), 0)
	_, wr := f.Write([]byte("x"))
	_, fstat := f.Stat()
	_, opened := d.OpenFile("g", os.O_CREATE, 0)
	_, list := d.ReadDir("/")
	_, stat := d.Stat("f")
	_, lock := d.Lock("M")
	_, _, space := d.Space("/")
	for i, err := range []error{
		readAt, rd, writeAt, wr, fstat, opened, list, stat, lock, space, f.Datasync(), f.Sync(), f.Truncate(0),
		f.PunchHole(0, 1), f.Preallocate(0, 1), f.Close(), l.Close(), d.MkdirAll("x", 0), d.Remove("f"), d.RemoveAll("f"),
		d.Rename("f", "g"), d.Link("f", "g"), d.SyncDir("/"),
	} {
		if !errors.Is(err, vfs.ErrPowerCut) {
			t.Errorf("call %d after the cut: %v", i, err)
		}
	}
	relock, err := next.Lock("L")
	must(t, err)
	must(t, relock.Close())
}

// history is a small program with every kind of call; it ends at the first error.
func history(d *vfs.Crash) error {
	f, err := d.OpenFile("f", os.O_RDWR|os.O_CREATE, 0)
	if err != nil {
		return err
	}
	_, werr := f.WriteAt(bytes.Repeat([]byte("x"), 9000), 0)
	vfs.Mark(d, "written")
	for i, step := range []func() error{
		func() error { return werr },
		f.Datasync, func() error { return d.SyncDir("/") },
		func() error { return d.MkdirAll("a/b", 0) },
		func() error { return d.Rename("f", "a/b/g") },
		func() error { return d.Link("a/b/g", "h") },
		func() error { return f.PunchHole(0, 4096) },
		func() error { return f.Truncate(8000) },
		f.Sync, func() error { return d.Remove("h") }, func() error { return d.RemoveAll("a") }, f.Close,
	} {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		vfs.Mark(d, "step")
	}
	return nil
}

func TestCrashCutAt(t *testing.T) {
	whole := vfs.NewCrash(1)
	must(t, history(whole))
	if whole.Steps() != 12 || whole.Counts()[vfs.OpWrite] != 1 || whole.Counts()[vfs.OpClose] != 1 {
		t.Fatalf("%d steps, counts %v", whole.Steps(), whole.Counts())
	}
	if m := whole.Marks(); m["written"] != 1 || m["step"] != 12 {
		t.Fatalf("marks %v", m)
	}
	for n := 1; n <= whole.Steps(); n++ {
		d := vfs.NewCrash(uint64(n))
		d.CutAt(n)
		if err := history(d); !errors.Is(err, vfs.ErrPowerCut) {
			t.Errorf("cut at %d: %v", n, err)
		}
		<-d.Done()
		if d.Steps() != n {
			t.Errorf("cut at %d happened at %d", n, d.Steps())
		}
	}
	for n := 1; n <= 11; n++ {
		d := vfs.NewCrash(uint64(n))
		d.CutAtMark("step", n)
		if err := history(d); !errors.Is(err, vfs.ErrPowerCut) || d.Marks()["step"] != n {
			t.Errorf("cut at mark %d: %v, %v", n, err, d.Marks())
		}
	}
	// The step at which the power goes may have got through; a flush at which it goes has not.
	seen := outcomes(t, func(d *vfs.Crash) {
		f := create(t, d, "f")
		d.CutAt(1)
		if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, vfs.ErrPowerCut) {
			t.Fatal(err)
		}
	}, func(d *vfs.Crash) string { return string(read(t, d, "f")) })
	expect(t, seen, "", "x", "\x00")
}

func TestCrashRunOn(t *testing.T) {
	d := vfs.NewCrash(1)
	d.RunOn(true)
	d.SetCutMode(vfs.CutAll)
	f := create(t, d, "f")
	write(t, f, []byte("1"), 0)
	d.CutAt(1)
	must(t, f.Datasync())
	<-d.Done()
	must(t, history(d))
	if next := d.Cut(); len(read(t, next, "f")) != 0 || listing(t, "/")(next) != "f" {
		t.Error("the picture shows what came after the cut")
	}
}

// random plays a longer random history over files and directories.
func random(t testing.TB, d *vfs.Crash, seed uint64, ops int) {
	rng := rand.New(rand.NewPCG(seed, 7))
	must(t, d.MkdirAll("a/b", 0))
	dirs := []string{"/", "a", "a/b"}
	for range ops {
		dir := dirs[rng.IntN(len(dirs))]
		name := path.Join(dir, fmt.Sprint("f", rng.IntN(4)))
		f := open(t, d, name, os.O_RDWR|os.O_CREATE)
		p := bytes.Repeat([]byte{byte(rng.Uint32())}, 1+rng.IntN(64<<10))
		write(t, f, p, rng.Int64N(2<<20))
		switch rng.IntN(8) {
		case 0:
			must(t, f.Datasync())
		case 1:
			must(t, d.SyncDir(dir))
		case 2:
			must(t, d.Rename(name, path.Join(dirs[rng.IntN(3)], fmt.Sprint("f", rng.IntN(4)))))
		case 3:
			must(t, d.Remove(name))
		case 4:
			must(t, f.Truncate(rng.Int64N(2<<20)))
		}
		must(t, f.Close())
	}
}

func sum(t testing.TB, d *vfs.Crash, dir string) uint32 {
	h := uint32(0)
	list, err := d.ReadDir(dir)
	must(t, err)
	for _, e := range list {
		h = crc32.Update(h, crc32.IEEETable, []byte(e.Name()))
		name := path.Join(dir, e.Name())
		if e.IsDir() {
			h = h*31 + sum(t, d, name)
		} else {
			h = crc32.Update(h, crc32.IEEETable, read(t, d, name))
		}
	}
	return h
}

// TestCrashSeed: the same seed and history leave the same disk; a fork does not disturb the disk that it came from.
func TestCrashSeed(t *testing.T) {
	results := map[uint32]int{}
	for seed := range uint64(10) {
		var first uint32
		for try := range 2 {
			d := vfs.NewCrash(seed)
			random(t, d, 1, 60)
			before := sum(t, d, "/")
			got := sum(t, d.Fork(), "/")
			if sum(t, d, "/") != before {
				t.Fatal("a fork changed its disk")
			}
			if try == 0 {
				first = got
			} else if got != first {
				t.Fatalf("seed %d: two outcomes", seed)
			}
		}
		results[first]++
	}
	if len(results) < 8 {
		t.Errorf("10 seeds gave only %d outcomes", len(results))
	}
}

func BenchmarkCrash(b *testing.B) {
	for i := range b.N {
		d := vfs.NewCrash(uint64(i))
		random(b, d, uint64(i), 300)
		d.Cut()
	}
}

func BenchmarkFork(b *testing.B) {
	d := vfs.NewCrash(1)
	random(b, d, 1, 300)
	for b.Loop() {
		d.Fork()
	}
}

// TestFlushedNameIsNotOvertaken: where a later name of a directory survives a cut, so does an older one whose file was
// flushed: Pebble's CURRENT never names a manifest that is not there.
func TestFlushedNameIsNotOvertaken(t *testing.T) {
	for seed := range uint64(300) {
		d := vfs.NewCrash(seed)
		for _, name := range []string{"manifest", "marker"} {
			f, err := d.OpenFile("/"+name, os.O_RDWR|os.O_CREATE, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write([]byte(name)); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(f.Sync(), f.Close()); err != nil {
				t.Fatal(err)
			}
		}
		after := d.Cut()
		_, noMarker := after.Stat("/marker")
		_, noManifest := after.Stat("/manifest")
		if noMarker == nil && noManifest != nil {
			t.Fatalf("seed %d: the marker is there, the manifest is not", seed)
		}
	}
}
