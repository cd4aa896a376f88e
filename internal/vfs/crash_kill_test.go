package vfs_test

import (
	"errors"
	"os"
	"testing"

	"ovs/internal/vfs"
)

// After a kill all that was written is there, until a cut takes what was not flushed.
func TestKill(t *testing.T) {
	d := vfs.NewCrash(1)
	d.SetCutMode(vfs.CutAll)
	f, err := d.OpenFile("a", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("flushed")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Datasync(), d.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("FLUSHED"), 0); err != nil {
		t.Fatal(err)
	}
	next := d.Kill()
	if _, err := f.WriteAt([]byte("too late"), 0); !errors.Is(err, vfs.ErrPowerCut) {
		t.Errorf("a write after the kill: %v", err)
	}
	if next != d.Cut() || next != d.Kill() {
		t.Error("the kill was not the end")
	}
	read := func(d *vfs.Crash) string {
		f, err := d.OpenFile("a", os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 7)
		if _, err := f.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := read(next); got != "FLUSHED" {
		t.Errorf("after the kill: %q", got)
	}
	if got := read(next.Cut()); got != "flushed" {
		t.Errorf("after the cut: %q", got)
	}
}
