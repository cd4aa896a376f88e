package storagerouter

import (
	"context"
	"path"
	"testing"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/memregistry"
	"ovs/internal/vfs"
)

// onceGroups are registries in memory that outlive a disk.
type onceGroups map[string]*memregistry.Registry

func (g onceGroups) Group(_ context.Context, name string) (ovs.Registry, error) {
	if g[name] == nil {
		g[name] = memregistry.New()
	}
	return g[name], nil
}

// TestFirstStartCut cuts the power at every step of a first start, the disk keeping nothing that was not flushed. The
// next start knows no disk that is not there: what the registries name had been made durable, with all directories above.
func TestFirstStartCut(t *testing.T) {
	cfg := DefaultConfig()
	cfg.LogSize, cfg.LogSegment, cfg.MapMemory, cfg.ReadCache = 4*256<<10, 256<<10, 1<<20, 1<<20
	dir := func(elem ...string) string { return path.Join(append([]string{"data"}, elem...)...) }
	ctx := context.Background()
	start := func(d *vfs.Crash, g Groups) error {
		c, err := OpenCore(ctx, cfg, 1, d, dir, g, zap.NewNop())
		if err != nil {
			return err
		}
		return c.Close(ctx)
	}
	for step, cut := 1, true; cut; step++ {
		d, groups := vfs.NewCrash(1), onceGroups{}
		d.SetCutMode(vfs.CutAll)
		if err := d.MkdirAll(dir(), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := d.SyncDir("."); err != nil {
			t.Fatal(err)
		}
		d.CutAt(step)
		_ = start(d, groups) // cut off, mostly
		select {
		case <-d.Done():
		default:
			cut = false
		}
		if err := start(d.Cut(), groups); err != nil {
			t.Fatalf("cut at step %d: %v", step, err)
		}
		asds := 0
		err := ovs.Scan(ctx, groups["abm"], append([]byte(cfg.Backend.Name), 0, 'a'), func(ovs.Pair) error { asds++; return nil })
		if err != nil || asds != cfg.Backend.ASDs {
			t.Fatalf("cut at step %d: %d ASDs are known, %d are there (%v)", step, asds, cfg.Backend.ASDs, err)
		}
	}
}
