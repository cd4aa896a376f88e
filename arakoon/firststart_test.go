package arakoon

import (
	"testing"

	"ovs/internal/vfs"
)

// TestFirstStart cuts the power at each step of a node's first start. What is left starts, whatever half-made files
// there are.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	open := func(d *vfs.Crash) error {
		d.RunOn(true)
		n, err := Open(Config{Dir: "/data", FS: d, Node: 1})
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
		d := vfs.NewCrash(uint64(step))
		d.CutAt(step)
		if err := open(d); err != nil {
			t.Fatal(err)
		}
		if err := open(d.Cut()); err != nil {
			t.Errorf("cut at step %d of %d: %v", step, whole.Steps(), err)
		}
	}
}
