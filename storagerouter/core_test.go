package storagerouter

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/memregistry"
	"ovs/internal/vfs"
)

func at(elem ...string) string { return path.Join(append([]string{"/data"}, elem...)...) }

// smallConfig is the default one with a log of 4 MiB.
func smallConfig() Config {
	c := DefaultConfig()
	c.LogSize, c.LogSegment, c.MapMemory, c.ReadCache = 4<<20, 1<<20, 1<<20, 1<<20
	return c
}

func newDisk(t *testing.T) *vfs.Crash {
	t.Helper()
	d := vfs.NewCrash(1)
	if err := d.MkdirAll(at(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	return d
}

func openCore(t *testing.T, disk vfs.FS, groups Groups, node ovs.NodeID) *Core {
	t.Helper()
	c, err := OpenCore(t.Context(), smallConfig(), node, disk, at, groups, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func closeCore(t *testing.T, c *Core) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func request() ovs.Request { return ovs.Request{Deadline: time.Now().Add(10 * time.Second)} }

func create(t *testing.T, fs ovs.FileSystem, name string) ovs.ObjectID {
	t.Helper()
	r := request()
	a, _, err := fs.Create(&r, ovs.RootID, name, &ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded})
	if err != nil {
		t.Fatal(err)
	}
	return a.ID
}

func write(fs ovs.FileSystem, id ovs.ObjectID, off uint64, data []byte) error {
	done := make(chan error, 1)
	fs.Write(&ovs.Write{Request: request(), File: id, Off: off, Data: data, Stable: ovs.FileSync, Done: func(w *ovs.Write) { done <- w.Err }})
	return <-done
}

func read(fs ovs.FileSystem, id ovs.ObjectID, off uint64, n int) ([]byte, error) {
	done := make(chan *ovs.Read, 1)
	fs.Read(&ovs.Read{Request: request(), File: id, Off: off, Dst: make([]byte, n), Done: func(r *ovs.Read) { done <- r }})
	r := <-done
	return r.Dst[:r.N], r.Err
}

// TestCoreRemembers: what was written is there after a close, and after a power cut.
func TestCoreRemembers(t *testing.T) {
	disk, groups := newDisk(t), memregistry.NewGroups()
	data := bytes.Repeat([]byte("0123456789abcdef"), 5000)
	ids := map[string]ovs.ObjectID{}
	c := openCore(t, disk, groups, 1)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"disk.raw", "vm.vmx"} {
		ids[name] = create(t, c.FileSystem("vpool1"), name)
		if err := write(c.FileSystem("vpool1"), ids[name], 512, data); err != nil {
			t.Fatal(err)
		}
	}
	if c.FileSystem("vpool2") != nil {
		t.Error("there is a vPool of which nobody spoke")
	}
	for life := range 3 {
		if life == 1 {
			next := disk.Cut()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			_ = c.Close(ctx) // on a dead disk it cannot end well
			cancel()
			disk = next
		} else {
			closeCore(t, c)
		}
		c = openCore(t, disk, groups, 1)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, id := range ids {
			got, err := read(c.FileSystem("vpool1"), id, 0, 512+len(data)+100)
			if err != nil || len(got) != 512+len(data) || !bytes.Equal(got[512:], data) || !bytes.Equal(got[:512], make([]byte, 512)) {
				t.Fatalf("life %d, %s: %d bytes, %v", life, name, len(got), err)
			}
		}
	}
	closeCore(t, c)
}

// TestLogIdentity: the log is served from only where the config group knows it, under this start or an older one.
func TestLogIdentity(t *testing.T) {
	key := func(node ovs.NodeID) []byte { return (&Core{node: node}).logKey() }
	disk, groups := newDisk(t), memregistry.NewGroups()
	for start := uint64(1); start <= 3; start++ {
		closeCore(t, openCore(t, disk, groups, 1))
		known, err := groups.Get("config").Get(t.Context(), key(1))
		if err != nil || len(known) != 16 || binary.BigEndian.Uint64(known[8:]) != start {
			t.Fatalf("after start %d the group knows %x (%v)", start, known, err)
		}
	}
	known, err := groups.Get("config").Get(t.Context(), key(1))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   string // empty: taken
	}{
		"the one we left":       {func(b []byte) []byte { return b }, ""},
		"the group fell behind": {func(b []byte) []byte { b[15]--; return b }, ""}, // a crash came between superblock and group
		"an older copy":         {func(b []byte) []byte { b[15]++; return b }, "older copy"},
		"another's":             {func(b []byte) []byte { b[0] ^= 1; return b }, "not the write log"},
		"a broken record":       {func(b []byte) []byte { return b[:15] }, "16 bytes"},
	} {
		disk, groups := disk.Fork(), groups.Fork()
		if _, err := groups.Get("config").Sequence(t.Context(), ovs.Set(key(1), c.change(bytes.Clone(known)))); err != nil {
			t.Fatal(err)
		}
		before := disk.Steps()
		core, err := OpenCore(t.Context(), smallConfig(), 1, disk, at, groups, zap.NewNop())
		switch {
		case c.want == "" && err == nil:
			closeCore(t, core)
		case c.want == "" || !ovs.Is(err, ovs.KindCorrupt) || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %v", name, err)
		case disk.Steps() != before:
			t.Errorf("%s: the disk was touched", name)
		}
	}
	if _, err := groups.Get("config").Sequence(t.Context(), ovs.Set(key(1), known)); err != nil {
		t.Fatal(err)
	}
	if err := disk.RemoveAll(at("log")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCore(t.Context(), smallConfig(), 1, disk, at, groups, zap.NewNop()); !ovs.Is(err, ovs.KindCorrupt) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("no log at all: %v", err)
	}
}

// TestFullBackend: on a full disk writes are refused for lack of space, at once, and go on when there is room again.
func TestFullBackend(t *testing.T) {
	disk, groups := newDisk(t), memregistry.NewGroups()
	c := openCore(t, disk, groups, 1)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	fs := c.FileSystem("vpool1")
	id := create(t, fs, "disk.raw")
	disk.SetCapacity(asdKeep + 10<<20)
	c.lookForRoom(t.Context())
	if !c.full.Load() {
		t.Fatal("the backend is not full")
	}
	block := bytes.Repeat([]byte{7}, 64<<10)
	var err error
	taken := uint64(0)
	for ; err == nil && taken < 8<<20; taken += uint64(len(block)) {
		err = write(fs, id, taken, block)
	}
	if !ovs.Is(err, ovs.KindNoSpace) || taken < 1<<20 {
		t.Fatalf("after %d KiB: %v", taken>>10, err)
	}
	if got, err := read(fs, id, 0, len(block)); err != nil || !bytes.Equal(got, block) {
		t.Errorf("a read: %v", err)
	}
	if err := write(fs, create(t, fs, "vm.lck"), 0, make([]byte, 84)); err != nil {
		t.Errorf("a small file: %v", err)
	}
	disk.SetCapacity(1 << 40)
	c.lookForRoom(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.pools[0].router.Flush(ctx); err != nil {
		t.Errorf("with room again the log does not empty: %v", err)
	}
	if err := write(fs, id, taken, block); err != nil {
		t.Errorf("with room again: %v", err)
	}
	closeCore(t, c)
}

// TestHaltedIsSeen: an object that meets other content under the name of its next SCO takes no more writes, is still read, and
// the operator sees which one it is, why, and what to do; the others go on.
func TestHaltedIsSeen(t *testing.T) {
	disk, groups := newDisk(t), memregistry.NewGroups()
	c := openCore(t, disk, groups, 1)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	fs, p := c.FileSystem("vpool1"), c.pools[0]
	id, other := create(t, fs, "disk.raw"), create(t, fs, "other.raw")
	data := bytes.Repeat([]byte{7}, 64<<10)
	ns := fmt.Sprintf("vol-%x-%x", uint64(p.id), uint64(id))
	if err := c.backend.CreateNamespace(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	if _, err := c.backend.Put(t.Context(), ns, fmt.Sprintf("sco/%011x-%016x", 1, 1), data, ovs.PutOptions{Unit: 4096}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []ovs.ObjectID{id, other} {
		if err := write(fs, id, 0, data); err != nil {
			t.Fatal(err)
		}
	}
	_ = p.router.Flush(t.Context()) // it may say that one of them cannot
	if got := p.status(nil, false).Halted; len(got) != 1 || got[0].Fileid != uint64(id) || !got[0].Reads || got[0].Next == "" ||
		!strings.Contains(got[0].Why, "sco/00000000001-0000000000000001") {
		t.Errorf("the operator sees %+v", got)
	}
	if err := write(fs, id, 0, data); !ovs.Is(err, ovs.KindIO) {
		t.Errorf("a write: %v", err)
	}
	for _, id := range []ovs.ObjectID{id, other} {
		if got, err := read(fs, id, 0, len(data)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("a read of %x: %v", id, err)
		}
	}
	if err := write(fs, other, 0, data); err != nil {
		t.Errorf("a write to another: %v", err)
	}
	closeCore(t, c)
}
