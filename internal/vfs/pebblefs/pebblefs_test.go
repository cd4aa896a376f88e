package pebblefs_test

import (
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	ovfs "ovs/internal/vfs"
	"ovs/internal/vfs/pebblefs"
)

// listener keeps what Pebble would have ended the process for.
type listener struct {
	mu    sync.Mutex
	fatal []string
}

func (l *listener) Infof(string, ...any)  {}
func (l *listener) Errorf(string, ...any) {}

func (l *listener) Fatalf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = append(l.fatal, fmt.Sprintf(format, args...))
}

func openDB(disk ovfs.FS, l *listener) (*pebble.DB, error) {
	return pebble.Open("store/db", &pebble.Options{
		FS: pebblefs.New(disk), Logger: l,
		FormatMajorVersion:    pebble.FormatNewest,
		MemTableSize:          64 << 10, // small, so that flushes and compactions happen
		L0CompactionThreshold: 2,
	})
}

// lost cuts the power under a Pebble in full work, opens what is left, and returns the synced keys that are gone or old.
// Where Pebble finds its own store corrupt, that comes back too.
func lost(t *testing.T, seed uint64, plant func(d *ovfs.Crash)) (gone []string, err error) {
	t.Helper()
	disk := ovfs.NewCrash(seed)
	disk.RunOn(true)
	before, after := &listener{}, &listener{}
	db, err := openDB(disk, before)
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.SyncDir("/"); err != nil { // "store" itself: Pebble syncs the parent of its directory, not more
		t.Fatal(err)
	}
	if plant != nil {
		plant(disk)
	}
	rng := rand.New(rand.NewPCG(seed, 3))
	disk.CutAt(1 + rng.IntN(300))

	acked := make([]map[string]int, 2) // a writer each: the newest acknowledged version of each key
	var wg sync.WaitGroup
	for w := range acked {
		acked[w] = map[string]int{}
		draw := rand.New(rand.NewPCG(seed, uint64(w)))
		wg.Go(func() {
			for n := 1; ; n++ {
				key, value := fmt.Sprintf("%d-%02d", w, draw.IntN(40)), fmt.Sprintf("%06d%s", n, strings.Repeat("v", draw.IntN(4000)))
				if err := db.Set([]byte(key), []byte(value), pebble.Sync); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-disk.Done():
					return
				default:
					acked[w][key] = n
				}
			}
		})
	}
	wg.Wait()
	if err := db.Close(); err != nil || len(before.fatal) > 0 {
		t.Fatal(err, before.fatal)
	}
	next := disk.Cut()
	if db, err = openDB(next, after); err != nil {
		return nil, err
	}
	for _, keys := range acked {
		for key, n := range keys {
			value, closer, err := db.Get([]byte(key))
			var got int
			if err == nil {
				fmt.Sscanf(string(value[:6]), "%d", &got)
				closer.Close()
			}
			if got < n {
				gone = append(gone, fmt.Sprintf("%s: version %d, acknowledged %d, %v", key, got, n, err))
			}
		}
	}
	err = db.Close()
	return append(gone, after.fatal...), err
}

func TestPowerCut(t *testing.T) {
	for seed := range uint64(60) {
		if gone, err := lost(t, seed, nil); err != nil || len(gone) > 0 {
			t.Fatalf("seed %d: open: %v, lost: %v", seed, err, gone)
		}
	}
}

// TestPowerCutNotices: without the flushes of Pebble's WAL, its tables, its manifest or its directory the test above
// fails: the twin does cut.
func TestPowerCutNotices(t *testing.T) {
	for what, skip := range map[string]func(op, name string) bool{
		"wal":       func(_, name string) bool { return path.Ext(name) == ".log" },
		"tables":    func(_, name string) bool { return path.Ext(name) == ".sst" },
		"manifest":  func(_, name string) bool { return strings.HasPrefix(path.Base(name), "MANIFEST") },
		"directory": func(op, _ string) bool { return op == ovfs.OpSyncDir },
	} {
		t.Run(what, func(t *testing.T) {
			noticed := 0
			for seed := range uint64(20) {
				if gone, err := lost(t, seed, func(d *ovfs.Crash) { d.IgnoreSync(skip) }); err != nil || len(gone) > 0 {
					noticed++
				}
			}
			t.Logf("noticed in %d of 20 cuts", noticed)
			if noticed == 0 {
				t.Error("a missing flush went unnoticed")
			}
		})
	}
}

// TestOS: the operating system's disk is Pebble's own, and what one wrote the other reads.
func TestOS(t *testing.T) {
	if pebblefs.New(ovfs.OS()) != vfs.Default {
		t.Error("not Pebble's own")
	}
}

// TestFiles checks the calls whose meaning differs from vfs.FS.
func TestFiles(t *testing.T) {
	disk := pebblefs.New(ovfs.NewCrash(1))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := disk.Create("a", vfs.WriteCategoryUnspecified)
	must(err)
	_, err = f.Write([]byte("first"))
	must(err)
	must(disk.Link("a", "b"))
	_, err = disk.Create("a", vfs.WriteCategoryUnspecified)
	must(err)
	if info, err := disk.Stat("b"); err != nil || info.Size() != 5 {
		t.Error("Create truncated a file that has another name")
	}
	f, err = disk.ReuseForWrite("b", "c", vfs.WriteCategoryUnspecified)
	must(err)
	_, err = f.Write([]byte("F"))
	must(err)
	p := make([]byte, 5)
	if _, err := f.ReadAt(p, 0); err != nil || string(p) != "First" {
		t.Errorf("reused: %q, %v", p, err)
	}
	names, err := disk.List("/")
	must(err)
	if fmt.Sprint(names) != "[a c]" {
		t.Errorf("List: %v", names)
	}
	d, err := disk.OpenDir("/")
	must(err)
	must(d.Sync())
	must(d.Close())
	usage, err := disk.GetDiskUsage("/")
	must(err)
	if usage.UsedBytes != 4096 {
		t.Errorf("used %d bytes", usage.UsedBytes)
	}
}
