package storagerouter

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"path"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"ovs"
	"ovs/internal/memregistry"
	"ovs/internal/vfs"
)

var (
	kept = bytes.Repeat([]byte("on the backend. "), 4096)
	gone = bytes.Repeat([]byte("in the log only "), 4096)
)

// lossWorld is a node whose two objects hold kept on the backend, and gone after it in the log only. The log's identity too.
func lossWorld(t *testing.T) (disk *vfs.Crash, groups *memregistry.Groups, word string) {
	t.Helper()
	disk, groups = newDisk(t), memregistry.NewGroups()
	c := openCore(t, disk, groups, 1)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	fs := c.FileSystem("vpool1")
	for _, name := range []string{"disk.raw", "vm.vmx"} {
		if err := write(fs, create(t, fs, name), 0, kept); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.pools[0].router.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"disk.raw", "vm.vmx"} {
		if err := write(fs, find(t, fs, name), uint64(len(kept)), gone); err != nil {
			t.Fatal(err)
		}
	}
	closeCore(t, c)
	known, err := groups.Get("config").Get(t.Context(), c.logKey())
	if err != nil {
		t.Fatal(err)
	}
	return disk, groups, hex.EncodeToString(known[:8])
}

func find(t *testing.T, fs ovs.FileSystem, name string) ovs.ObjectID {
	t.Helper()
	r := request()
	a, err := fs.Lookup(&r, ovs.RootID, name)
	if err != nil {
		t.Fatal(err)
	}
	return a.ID
}

func accept(ctx context.Context, disk vfs.FS, groups Groups, word string, log *zap.Logger) (*Core, error) {
	cfg := smallConfig()
	cfg.AcceptLogLoss = word
	c, err := OpenCore(ctx, cfg, 1, disk, at, groups, log)
	if err != nil {
		return nil, err
	}
	if err := c.Start(ctx); err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	return c, nil
}

// holdsKept looks that both objects are as the backend has them.
func holdsKept(t *testing.T, c *Core) {
	t.Helper()
	fs := c.FileSystem("vpool1")
	for _, name := range []string{"disk.raw", "vm.vmx"} {
		if got, err := read(fs, find(t, fs, name), 0, len(kept)+len(gone)); err != nil || !bytes.Equal(got, kept) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// TestLostLog: without the operator's word nothing is served and nothing is touched, nor with a word for another log. With it
// what the backend holds is served, each object is named, and the loss stands recorded.
func TestLostLog(t *testing.T) {
	disk, groups, word := lossWorld(t)
	if _, err := accept(t.Context(), disk, groups, word, zap.NewNop()); !ovs.Is(err, ovs.KindInvalid) || !strings.Contains(err.Error(), "nothing is lost") {
		t.Fatalf("the log is there: %v", err)
	}
	if err := disk.Rename(at("log"), at("elsewhere")); err != nil {
		t.Fatal(err)
	}
	before := disk.Steps()
	if _, err := accept(t.Context(), disk, groups, "", zap.NewNop()); !ovs.Is(err, ovs.KindCorrupt) || !strings.Contains(err.Error(), "--accept-log-loss "+word) {
		t.Errorf("without a word: %v", err)
	}
	if _, err := accept(t.Context(), disk, groups, "0123456789abcdef", zap.NewNop()); !ovs.Is(err, ovs.KindInvalid) || !strings.Contains(err.Error(), word) {
		t.Errorf("another log's identity: %v", err)
	}
	if disk.Steps() != before {
		t.Error("the disk was touched")
	}
	core, logs := observer.New(zap.WarnLevel)
	c, err := accept(t.Context(), disk, groups, word, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	holdsKept(t, c)
	named := map[string]bool{}
	for _, e := range logs.FilterMessageSnippet("comes back as the backend holds it").All() {
		named[e.ContextMap()["object"].(string)] = e.ContextMap()["up to its record"].(uint64) > 0
	}
	if len(named) != 2 {
		t.Errorf("named are %v", named)
	}
	fs := c.FileSystem("vpool1")
	if err := write(fs, find(t, fs, "disk.raw"), 0, kept); err != nil {
		t.Errorf("a write after the loss: %v", err)
	}
	closeCore(t, c)
	// Once is enough; the word does no harm where it stays.
	for _, word := range []string{"", word} {
		c, err := accept(t.Context(), disk, groups, word, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		if holdsKept(t, c); len(c.losses) != 1 || c.losses[0].Start != 1 || c.lost != nil {
			t.Errorf("recorded is %+v", c.losses)
		}
		closeCore(t, c)
	}
	// The old one that turns up again is a stranger by now.
	if err := disk.RemoveAll(at("log")); err != nil {
		t.Fatal(err)
	}
	if err := disk.Rename(at("elsewhere"), at("log")); err != nil {
		t.Fatal(err)
	}
	if _, err := accept(t.Context(), disk, groups, word, zap.NewNop()); !ovs.Is(err, ovs.KindInvalid) {
		t.Errorf("the lost log is back: %v", err)
	}
}

// TestLostLogCut lets the power go at every step of the start that accepts the loss. What stood in the log's place is never
// gone, and the same word brings the node back.
func TestLostLogCut(t *testing.T) {
	first, groups, word := lossWorld(t)
	if err := errors.Join(first.Remove(at("log", "superblock")), first.SyncDir(at("log"))); err != nil {
		t.Fatal(err)
	}
	for step, cut := 1, true; cut; step += 1 + step/20 {
		disk, groups := first.Fork(), groups.Fork()
		disk.CutAt(step)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if c, err := accept(ctx, disk, groups, word, zap.NewNop()); err == nil {
			_ = c.Close(ctx) // on a dead disk it cannot end well
		}
		select {
		case <-disk.Done():
		default:
			cut = false
		}
		disk = disk.Cut()
		c, err := accept(ctx, disk, groups, word, zap.NewNop())
		cancel()
		if err != nil {
			t.Fatalf("cut at step %d: %v", step, err)
		}
		holdsKept(t, c)
		closeCore(t, c)
		if _, err := disk.Stat(path.Join(at(), "log.lost-"+word+".1")); err != nil {
			t.Fatalf("cut at step %d: what stood there is gone: %v", step, err)
		}
	}
}

// TestLostLogOfClosedEpoch: an epoch that was closed at a record of the lost log is no prefix to go on from without a cut in
// the lineage, which nothing makes yet: such an object is halted and named, never served with other bytes.
func TestLostLogOfClosedEpoch(t *testing.T) {
	disk, groups, word := lossWorld(t)
	c := openCore(t, disk, groups, 1)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	fs := c.FileSystem("vpool1")
	ids := []ovs.ObjectID{find(t, fs, "disk.raw"), find(t, fs, "vm.vmx")}
	closeCore(t, c)
	if err := disk.RemoveAll(at("log")); err != nil {
		t.Fatal(err)
	}
	c, err := accept(t.Context(), disk, groups, word, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if got, err := read(c.FileSystem("vpool1"), id, 0, len(kept)); err == nil && !bytes.Equal(got, kept) {
			t.Errorf("%x: other bytes", id)
		} else if halted := len(c.pools[0].router.Halted()); err != nil && halted == 0 {
			t.Errorf("%x: %v, but nothing is halted", id, err)
		}
	}
	closeCore(t, c)
}
