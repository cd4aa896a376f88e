package arakoon

import (
	"testing"

	"ovs/internal/vfs"
)

// TestFirstStart cuts the power at each step of a node's first start, a few ways each. What is left starts, whatever half-made
// files there are, and whether the directory's name is absolute or not.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"/data", "data"} {
		open := func(d *vfs.Crash) error {
			d.RunOn(true)
			n, err := Open(Config{Dir: dir, FS: d, Node: 1})
			if err == nil {
				err = n.Close()
			}
			return err
		}
		whole := vfs.NewCrash(0)
		if err := open(whole); err != nil {
			t.Fatal(err)
		}
		for step := 1; step <= whole.Steps(); step++ {
			for seed := range uint64(3) {
				d := vfs.NewCrash(uint64(step) + seed<<32)
				d.CutAt(step)
				if err := open(d); err != nil {
					t.Fatal(err)
				}
				if err := open(d.Cut()); err != nil {
					t.Errorf("%s, cut at step %d of %d, seed %d: %v", dir, step, whole.Steps(), seed, err)
				}
			}
		}
	}
}
