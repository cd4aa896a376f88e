package asd_test

import (
	"bytes"
	crand "crypto/rand"
	"errors"
	"io/fs"
	"os"
	"testing"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/albaproxy/asd/asdtest"
	"ovs/internal/vfs"
)

func TestDirectory(t *testing.T) {
	asdtest.Run(t, func(t *testing.T) asdtest.Disk {
		dir := t.TempDir() + "/asd"
		return func() (asd.ASD, error) {
			d, err := asd.Open(asd.Options{FS: vfs.OS(), Dir: dir, Rand: crand.Reader})
			if err != nil {
				return nil, err
			}
			return d, nil
		}
	})
}

func TestOneOwner(t *testing.T) {
	o := asd.Options{FS: vfs.OS(), Dir: t.TempDir(), Rand: crand.Reader}
	d, err := asd.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := asd.Open(o); !ovs.Is(err, ovs.KindBusy) {
		t.Fatal(err)
	}
	if err := errors.Join(d.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestKeep: what is others' is left alone, by repair too, and is no room in Usage.
func TestKeep(t *testing.T) {
	disk := vfs.NewCrash(1)
	disk.SetCapacity(200 << 20)
	d, err := asd.Open(asd.Options{FS: disk, Dir: "asd", Keep: 100 << 20, Rand: crand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	u, err := d.Usage(t.Context())
	if err != nil || u.Total != 90<<20 || u.Free > u.Total || u.Free < u.Total-1<<20 {
		t.Fatalf("%+v, %v", u, err)
	}
	fragment := make([]byte, 5<<20)
	fill := func(attempt uint64, repair bool) (n int64, err error) {
		for err == nil {
			err = d.Put(t.Context(), asd.Key{Namespace: 1, Epoch: 1, Attempt: attempt}, fragment, asd.PutOptions{Repair: repair})
			attempt++
		}
		_, free, spaceErr := disk.Space("asd")
		return int64(free), errors.Join(err, spaceErr)
	}
	if free, err := fill(1, false); !ovs.Is(err, ovs.KindNoSpace) || free < 110<<20 {
		t.Errorf("%d MiB are left of 110, %v", free>>20, err)
	}
	if free, err := fill(1000, true); !ovs.Is(err, ovs.KindNoSpace) || free < 100<<20 || free > 106<<20 {
		t.Errorf("repair leaves %d MiB of 100, %v", free>>20, err)
	}
}

// flagged notes the flags of the last file that was made.
type flagged struct {
	vfs.FS
	flag int
}

func (f *flagged) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if flag&os.O_EXCL != 0 {
		f.flag = flag
	}
	return f.FS.OpenFile(name, flag, perm)
}

// TestDirect: whole blocks in aligned memory go past the page cache, where the file system lets them; all else is buffered.
func TestDirect(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		disk := vfs.NewCrash(1)
		disk.RefuseDirect(refuse)
		noted := &flagged{FS: disk}
		d, err := asd.Open(asd.Options{FS: noted, Dir: "asd", Rand: crand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		memory := vfs.AlignedBuffer(4 * vfs.Align)
		for i := range memory {
			memory[i] = byte(i % 251)
		}
		for i, c := range []struct {
			fragment []byte
			direct   bool
		}{{memory, true}, {memory[vfs.Align:], true}, {memory[1:], false}, {memory[:vfs.Align+1], false}, {memory[1 : vfs.Align+1], false}} {
			k := asd.Key{Namespace: 1, Epoch: 1, Attempt: uint64(i)}
			if err := d.Put(t.Context(), k, c.fragment, asd.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			if direct := noted.flag&vfs.Direct != 0; direct != c.direct {
				t.Errorf("fragment %d: direct is %v", i, direct)
			}
			got := make([]byte, len(memory)+1)
			if n, err := d.Get(t.Context(), k, 0, got); err != nil || !bytes.Equal(got[:n], c.fragment) {
				t.Errorf("fragment %d: %d bytes come back, %v", i, n, err)
			}
		}
	}
}
