package vfs_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"ovs/internal/vfs"
)

func faulty(t testing.TB, rules ...vfs.Rule) (*vfs.Crash, *vfs.Fault, vfs.File) {
	d := vfs.NewCrash(1)
	d.SetCutMode(vfs.CutAll)
	f := vfs.NewFault(d, rand.New(rand.NewPCG(1, 2)), nil, rules...)
	must(t, f.MkdirAll("log", 0))
	return d, f, open(t, f, "log/seg-1", os.O_RDWR|os.O_CREATE)
}

func TestFaultRules(t *testing.T) {
	_, disk, f := faulty(t,
		vfs.Rule{Op: vfs.OpWrite, Path: "seg-*", Skip: 1, Times: 2, Err: syscall.EIO},
		vfs.Rule{Op: vfs.OpRename, Path: "log/new", Err: syscall.ENOSPC},
		vfs.Rule{Op: vfs.OpSyncDir, Late: true, Err: syscall.EIO})
	for i, want := range []error{nil, syscall.EIO, syscall.EIO, nil} {
		if _, err := f.WriteAt([]byte("x"), int64(i)); !errors.Is(err, want) {
			t.Errorf("write %d: %v, want %v", i, err, want)
		}
	}
	if got := read(t, disk, "log/seg-1"); string(got) != "x\x00\x00x" {
		t.Errorf("content %q", got)
	}
	must(t, disk.Rename("log/seg-1", "log/seg-2"))
	if err := disk.Rename("log/seg-2", "log/new"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("rename: %v", err)
	}
	if err := disk.SyncDir("log"); !errors.Is(err, syscall.EIO) {
		t.Errorf("syncdir: %v", err)
	}
	counts, hits := disk.Counts(), disk.Hits()
	if counts[vfs.OpWrite] != 4 || hits[vfs.OpWrite] != 2 || counts[vfs.OpRename] != 2 || hits[vfs.OpRename] != 1 {
		t.Errorf("counts %v, hits %v", counts, hits)
	}
	disk.Clear()
	must(t, disk.SyncDir("log"))
}

func TestFaultAddRemove(t *testing.T) {
	_, disk, f := faulty(t)
	remove := disk.Add(vfs.Rule{Op: vfs.OpRead, Err: syscall.EIO})
	if _, err := f.Read(make([]byte, 1)); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	remove()
	remove()
	if _, err := f.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
}

func TestFaultShort(t *testing.T) {
	_, disk, f := faulty(t, vfs.Rule{Op: vfs.OpWrite, Short: true, Times: 1},
		vfs.Rule{Op: vfs.OpWrite, Short: true, Err: syscall.ENOSPC, Times: 1})
	if n, err := f.WriteAt([]byte("abcdef"), 0); n != 3 || err == nil || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := f.WriteAt([]byte("abcdef"), 3); n != 3 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%d, %v", n, err)
	}
	if got := read(t, disk, "log/seg-1"); string(got) != "abcabc" {
		t.Errorf("content %q", got)
	}
	disk.Add(vfs.Rule{Op: vfs.OpRead, Short: true})
	p := make([]byte, 4)
	if n, err := f.ReadAt(p, 0); n != 2 || !errors.Is(err, syscall.EIO) {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := f.Read(p); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestFaultProbabilityAndDelay(t *testing.T) {
	var slept time.Duration
	disk := vfs.NewFault(vfs.NewCrash(1), rand.New(rand.NewPCG(1, 2)), func(d time.Duration) { slept += d },
		vfs.Rule{Op: vfs.OpStat, Prob: 0.3, Err: syscall.EIO}, vfs.Rule{Delay: time.Second}, vfs.Rule{Delay: time.Second})
	failed := 0
	for range 1000 {
		if _, err := disk.Stat("/"); err != nil {
			failed++
		}
	}
	if failed < 250 || failed > 350 {
		t.Errorf("%d of 1000 failed", failed)
	}
	if slept != 2000*time.Second {
		t.Errorf("slept %v", slept)
	}
}

// TestFaultFlush: after a failed flush a second one has nothing to do, as in Linux; only what is written again is safe.
func TestFaultFlush(t *testing.T) {
	d, disk, f := faulty(t)
	must(t, disk.SyncDir("/"))
	must(t, disk.SyncDir("log"))
	write(t, f, []byte("first"), 0)
	write(t, f, []byte("second"), 4096)
	disk.Add(vfs.Rule{Op: vfs.OpDatasync, Times: 1, Err: syscall.EIO})
	if err := f.Datasync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	must(t, f.Datasync())
	if got := read(t, disk, "log/seg-1"); string(got[:5]) != "first" {
		t.Errorf("the cache forgot %q", got[:5])
	}
	write(t, f, []byte("SECOND"), 4096)
	must(t, f.Datasync())
	got := read(t, d.Cut(), "log/seg-1")
	if string(got[:5]) == "first" || string(got[4096:]) != "SECOND" {
		t.Errorf("on the disk: %q and %q", got[:5], got[4096:])
	}
}

func TestFaultClose(t *testing.T) {
	_, disk, f := faulty(t, vfs.Rule{Op: vfs.OpClose, Err: syscall.EIO})
	if err := f.Close(); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	disk.Add(vfs.Rule{Op: vfs.OpLock, Late: true, Err: syscall.EIO, Times: 1})
	if _, err := disk.Lock("L"); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	_, err := disk.Lock("L") // the lock that was reported as failed is not held
	must(t, err)
	vfs.Mark(disk, "passes on")
}
