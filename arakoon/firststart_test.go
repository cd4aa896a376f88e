package arakoon

import (
	"sync"
	"testing"

	"ovs/internal/vfs"
)

// TestFirstStart cuts the power at each flush of a node's first starts, three ways each. What is left starts, whatever
// half-made files there are, and wherever the directory is.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"/data", "data"} {
		for seed := range uint64(8) {
			firstStart(t, dir, seed)
		}
	}
}

func firstStart(t *testing.T, dir string, seed uint64) {
	open := func(d *vfs.Crash) error {
		d.RunOn(true)
		n, err := Open(Config{Dir: dir, FS: d, Node: 1})
		if err == nil {
			err = n.Close()
		}
		return err
	}
	whole := vfs.NewCrash(seed)
	var mu sync.Mutex
	var cuts []*vfs.Crash
	whole.OnFlush(func(vfs.Op, string) {
		mu.Lock()
		defer mu.Unlock()
		for range 3 {
			cuts = append(cuts, whole.Fork())
		}
	})
	if err := open(whole); err != nil {
		t.Fatal(err)
	}
	whole.OnFlush(nil)
	for i, d := range cuts {
		if err := open(d); err != nil {
			t.Errorf("%s, seed %d, cut %d of %d: %v", dir, seed, i, len(cuts), err)
		}
	}
}
