package asd_test

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/internal/vfs"
)

// faulty opens a disk over crash, with a fault twin in between.
func faulty(t *testing.T, crash *vfs.Crash, sleep func(time.Duration)) (*asd.Directory, *vfs.Fault) {
	t.Helper()
	disk := vfs.NewFault(crash, rand.New(rand.NewPCG(1, 1)), sleep)
	d, err := asd.Open(asd.Options{FS: disk, Dir: "asd", Rand: rand.NewChaCha8([32]byte{})})
	must(t, err)
	return d, disk
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// left is how many fragments are on the disk.
func left(t *testing.T, d *asd.Directory) int {
	t.Helper()
	keys, err := d.List(t.Context(), asd.Key{}, asd.Key{Namespace: 100}, 100)
	must(t, err)
	return len(keys)
}

// TestDeleteMeetsDelete: the first Delete drops the directory that it emptied, while the second, which took the last fragment
// out of it, has not synced it yet. Both did what they should.
func TestDeleteMeetsDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := asd.Key{Namespace: 1, Epoch: 1, Attempt: 1}, asd.Key{Namespace: 1, Epoch: 1, Attempt: 2}
		var d *asd.Directory
		syncs, done, result := 0, make(chan struct{}), make(chan error, 1)
		d, disk := faulty(t, vfs.NewCrash(1), func(time.Duration) {
			if syncs++; syncs == 1 { // the first one's
				go func() { result <- d.Delete(t.Context(), second) }()
				synctest.Wait() // it waits for the next round
			} else {
				<-done
			}
		})
		for _, k := range []asd.Key{first, second, {Namespace: 1, Epoch: 2}} {
			must(t, d.Put(t.Context(), k, nil, asd.PutOptions{}))
		}
		disk.Add(vfs.Rule{Op: vfs.OpSyncDir, Path: "0000000000000001/0000000000000001", Delay: 1})
		must(t, d.Delete(t.Context(), first))
		close(done)
		if err := <-result; err != nil {
			t.Errorf("the second Delete: %v", err)
		}
		must(t, d.Close())
	})
}

// TestDropNotDurable: an emptied directory is removed, but not durably. Who deletes what was in it hears nothing else than
// that, until it is.
func TestDropNotDurable(t *testing.T) {
	crash := vfs.NewCrash(1)
	crash.SetCutMode(vfs.CutAll)
	d, disk := faulty(t, crash, nil)
	k := asd.Key{Namespace: 1, Epoch: 1}
	for _, k := range []asd.Key{k, {Namespace: 1, Epoch: 2}} {
		must(t, d.Put(t.Context(), k, nil, asd.PutOptions{}))
	}
	heal := disk.Add(vfs.Rule{Op: vfs.OpSyncDir, Path: "fragments/0000000000000001", Err: syscall.EIO})
	for range 2 {
		if err := d.Delete(t.Context(), k); !ovs.Is(err, ovs.KindIO) {
			t.Errorf("Delete: %v", err)
		}
	}
	heal()
	must(t, d.Delete(t.Context(), k))
	if list, err := crash.Fork().ReadDir("asd/fragments/0000000000000001"); err != nil || len(list) != 1 {
		t.Errorf("after a power cut: %d directories, %v", len(list), err)
	}
	must(t, d.Delete(t.Context(), k))
	if n := left(t, d); n != 1 {
		t.Errorf("%d fragments are left", n)
	}
	must(t, d.Close())
}

// TestHiddenIsGone: what List does not show does not come back with a power cut: what a Delete or a failed Put removed without
// making that durable, in this process or one before it.
func TestHiddenIsGone(t *testing.T) {
	for i := range 4 {
		restart, alone := i&1 == 1, i&2 == 2 // in its directory, which the next start removes
		crash := vfs.NewCrash(1)
		crash.SetCutMode(vfs.CutAll)
		d, disk := faulty(t, crash, nil)
		stays, goes := asd.Key{Namespace: 1, Epoch: 1}, asd.Key{Namespace: 1, Epoch: 1, Attempt: 1}
		if alone {
			stays.Epoch = 2
		}
		must(t, d.Put(t.Context(), stays, nil, asd.PutOptions{}))
		must(t, d.Put(t.Context(), goes, nil, asd.PutOptions{}))
		heal := disk.Add(vfs.Rule{Op: vfs.OpSyncDir, Err: syscall.EIO})
		if err := d.Delete(t.Context(), goes); !ovs.Is(err, ovs.KindIO) {
			t.Errorf("Delete: %v", err)
		}
		if _, err := d.List(t.Context(), asd.Key{}, asd.Key{Namespace: 2}, 10); !ovs.Is(err, ovs.KindIO) {
			t.Errorf("List: %v", err)
		}
		heal()
		if restart {
			must(t, d.Close())
			d, _ = faulty(t, crash, nil)
		}
		if n := left(t, d); n != 1 {
			t.Errorf("%d are shown", n)
		}
		again, _ := faulty(t, crash.Fork(), nil)
		if n := left(t, again); n != 1 {
			t.Errorf("%d are there after a power cut (restart %v, alone %v)", n, restart, alone)
		}
		must(t, again.Close())
		must(t, d.Close())
	}
}

// TestNoNewIdentityUnseen: a disk without an identity is a new one only if it is seen to be empty.
func TestNoNewIdentityUnseen(t *testing.T) {
	crash := vfs.NewCrash(1)
	d, disk := faulty(t, crash, nil)
	must(t, d.Put(t.Context(), asd.Key{Namespace: 1}, nil, asd.PutOptions{}))
	must(t, d.Close())
	must(t, crash.Remove("asd/Identity"))
	disk.Add(vfs.Rule{Op: vfs.OpReadDir, Err: syscall.EIO, Times: 1})
	if _, err := asd.Open(asd.Options{FS: disk, Dir: "asd", Rand: rand.NewChaCha8([32]byte{1})}); !ovs.Is(err, ovs.KindIO) {
		t.Errorf("opened: %v", err)
	}
	if _, err := crash.Stat("asd/Identity"); err == nil {
		t.Error("it has a new identity")
	}
}

// TestLockFails: only a disk that another process has open is busy.
func TestLockFails(t *testing.T) {
	crash := vfs.NewCrash(1)
	disk := vfs.NewFault(crash, rand.New(rand.NewPCG(1, 1)), nil, vfs.Rule{Op: vfs.OpLock, Err: syscall.EIO})
	if _, err := asd.Open(asd.Options{FS: disk, Dir: "asd", Rand: rand.NewChaCha8([32]byte{})}); !ovs.Is(err, ovs.KindIO) {
		t.Errorf("the lock fails: %v", err)
	}
}
