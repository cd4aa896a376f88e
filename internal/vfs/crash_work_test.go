package vfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"ovs/internal/vfs"
)

// lostAcks lets some writers write and flush sectors until the power goes, and counts the acknowledged writes that are
// not there afterwards.
func lostAcks(t *testing.T, seed uint64, plant func(d *vfs.Crash)) int {
	const writers, each = 4, 16
	d := vfs.NewCrash(seed)
	create(t, d, "log")
	if plant != nil {
		plant(d)
	}
	rng := rand.New(rand.NewPCG(seed, 9))
	d.CutAt(1 + rng.IntN(200))
	var acked [writers * each]int // each writer has its own
	var wg sync.WaitGroup
	for w := range writers {
		draw := rand.New(rand.NewPCG(seed, uint64(100+w)))
		wg.Go(func() {
			f, err := d.OpenFile("log", os.O_RDWR, 0)
			for n := 1; err == nil; n++ {
				i := w + writers*draw.IntN(each)
				if _, err = f.WriteAt(sectorOf(i, n), int64(i*sector)); err == nil {
					if err = f.Datasync(); err == nil {
						acked[i] = n
						vfs.Mark(d, "acknowledged")
					}
				}
			}
			if !errors.Is(err, vfs.ErrPowerCut) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, lost := make([]byte, len(acked)*sector), 0
	copy(got, read(t, d.Cut(), "log"))
	for i, n := range acked {
		s := got[i*sector : (i+1)*sector]
		found := int(binary.LittleEndian.Uint32(s[4:]))
		if found < n {
			lost++
		}
		if found > 0 && !bytes.Equal(s, sectorOf(i, found)) {
			t.Errorf("seed %d: sector %d is torn", seed, i)
		}
	}
	return lost
}

func TestCrashUnderWork(t *testing.T) {
	noticed := 0
	for seed := range uint64(200) {
		if lost := lostAcks(t, seed, nil); lost > 0 {
			t.Fatalf("seed %d: %d acknowledged writes lost", seed, lost)
		}
		ignore := func(d *vfs.Crash) { d.IgnoreSync(func(op, _ string) bool { return op == vfs.OpDatasync }) }
		if lostAcks(t, seed, ignore) > 0 {
			noticed++
		}
	}
	if noticed < 100 {
		t.Errorf("a missing fdatasync was noticed in %d of 200 cuts", noticed)
	}
}

// TestCrashSparse: what is not there costs nothing.
func TestCrashSparse(t *testing.T) {
	d := vfs.NewCrash(1)
	f := create(t, d, "f")
	must(t, f.Truncate(64<<40))
	write(t, f, []byte("far"), 63<<40)
	must(t, f.PunchHole(0, 63<<40))
	must(t, f.Datasync())
	next := d.Cut()
	p := make([]byte, 3)
	_, err := open(t, next, "f", os.O_RDONLY).ReadAt(p, 63<<40)
	must(t, err)
	total, free, err := next.Space("/")
	must(t, err)
	if string(p) != "far" || total-free != 4096 {
		t.Errorf("%q, %d bytes in use", p, total-free)
	}
	f = open(t, next, "f", os.O_RDWR)
	must(t, f.PunchHole(0, 1<<62))
	must(t, f.Truncate(0))
	if total, free, _ := next.Space("/"); total != free {
		t.Errorf("%d bytes in use", total-free)
	}
}
