package nfsd

import (
	"bytes"
	"sync/atomic"
	"testing"

	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"

	"ovs"
	"ovs/internal/memfs"
)

func TestReadAndWrite(t *testing.T) {
	c := dial(t, serveFS(t, newMem()))
	fh := c.file(c.root(), "disk-flat.vmdk", withMode(0o600))
	for _, n := range []int{1, 3, 4096, 65536, 300_001, ovs.MaxIO} {
		data := pattern(n, byte(n))
		ok := mustBe[*nfsv3.Write3res_NFS3_OK](t, c.write(fh, uint64(n), data, nfsv3.FILE_SYNC)).Resok
		if ok.Count != uint32(n) || ok.Committed != nfsv3.FILE_SYNC {
			t.Fatalf("write of %d bytes: %+v", n, ok)
		}
		if _, hidden := ok.FileWcc.Before.(*nfsv3.PreOpAttr_FALSE); !hidden {
			t.Fatal("WRITE shows attributes from before, which nobody took atomically")
		}
		after := mustBe[*nfsv3.PostOpAttr_TRUE](t, ok.FileWcc.After).Attributes
		if after.Size < uint64(2*n) || after.Fsid != 0x1122334455667788 {
			t.Fatalf("attributes after the write: %+v", after)
		}
		if got := c.content(fh, uint64(n), uint32(n)); !bytes.Equal(got, data) {
			t.Fatalf("read of %d bytes differs", n)
		}
	}
	size := uint64(2 * ovs.MaxIO)
	end := mustBe[*nfsv3.Read3res_NFS3_OK](t, c.read(fh, size-10, 4096)).Resok
	if end.Count != 10 || !end.Eof || len(end.Data) != 10 {
		t.Errorf("read across the end: count %d, eof %v", end.Count, end.Eof)
	}
	past := mustBe[*nfsv3.Read3res_NFS3_OK](t, c.read(fh, size+5, 4096)).Resok
	if past.Count != 0 || !past.Eof {
		t.Errorf("read past the end: count %d, eof %v", past.Count, past.Eof)
	}
	if got := mustBe[*nfsv3.Read3res_NFS3_OK](t, c.read(fh, 0, 1<<31)).Resok; got.Count != ovs.MaxIO {
		t.Errorf("a read of 2 GiB gives %d bytes", got.Count)
	}
}

func TestOffsetsAtTheEdge(t *testing.T) {
	c := dial(t, serveFS(t, newMem()))
	fh := c.file(c.root(), "f")
	data := []byte{1, 2, 3, 4}
	for _, e := range []struct {
		off  uint64
		want nfsv3.Nfsstat3
	}{
		{ovs.MaxFileSize - 4, nfsv3.NFS3_OK},
		{ovs.MaxFileSize - 3, nfsv3.NFS3ERR_FBIG},
		{1 << 62, nfsv3.NFS3ERR_FBIG},
		{1<<63 - 1, nfsv3.NFS3ERR_FBIG},
		{1 << 63, nfsv3.NFS3ERR_FBIG},
		{1<<64 - 1, nfsv3.NFS3ERR_FBIG},
	} {
		wantStatus(t, "write", c.write(fh, e.off, data, nfsv3.FILE_SYNC), e.want)
	}
	for _, e := range []struct {
		off  uint64
		want nfsv3.Nfsstat3
	}{
		{ovs.MaxFileSize, nfsv3.NFS3_OK}, {1<<63 - 1, nfsv3.NFS3_OK}, {1 << 63, nfsv3.NFS3ERR_INVAL}, {1<<64 - 1, nfsv3.NFS3ERR_INVAL},
	} {
		wantStatus(t, "read", c.read(fh, e.off, 4), e.want)
	}
	wantStatus(t, "setattr size", c.setattr(fh, sattr(withSize(1<<63)), nil), nfsv3.NFS3ERR_FBIG)
	wantStatus(t, "commit", do(c, 21, &nfsv3.Commit3args{File: fh, Offset: 1<<64 - 1, Count: 2}, nfsv3.ReadCommit3res), nfsv3.NFS3ERR_INVAL)
	big := c.create(c.root(), "big", &nfsv3.Createhow3_UNCHECKED{ObjAttributes: sattr(withSize(1 << 60))})
	wantStatus(t, "create", big, nfsv3.NFS3ERR_FBIG)
	short := do(c, 7, &nfsv3.Write3args{File: fh, Count: 8, Stable: nfsv3.FILE_SYNC, Data: data}, nfsv3.ReadWrite3res)
	wantStatus(t, "count and length differ", short, nfsv3.NFS3ERR_INVAL)
}

func TestUnstableIsLostUntilCommitted(t *testing.T) {
	fs := newMem()
	c := dial(t, serveFS(t, fs))
	fh := c.file(c.root(), "f")
	write := func(off uint64, how nfsv3.StableHow) nfsv3.Write3resok {
		return mustBe[*nfsv3.Write3res_NFS3_OK](t, c.write(fh, off, pattern(4096, byte(off)), how)).Resok
	}
	first := write(0, nfsv3.UNSTABLE)
	if first.Committed != nfsv3.UNSTABLE {
		t.Fatalf("unstable write committed as %v", first.Committed)
	}
	if verf := c.commit(fh); verf != first.Verf {
		t.Fatal("WRITE and COMMIT tell different verifiers in one epoch")
	}
	if how := write(4096, nfsv3.DATA_SYNC).Committed; how != nfsv3.FILE_SYNC {
		t.Errorf("DATA_SYNC committed as %v", how)
	}
	write(8192, nfsv3.UNSTABLE)
	fs.Crash()
	if size := c.getattr(fh).Size; size != 8192 {
		t.Errorf("size after the crash: %d", size)
	}
	for _, off := range []uint64{0, 4096} {
		if !bytes.Equal(c.content(fh, off, 4096), pattern(4096, byte(off))) {
			t.Errorf("stable data at %d are gone", off)
		}
	}
	if c.commit(fh) == first.Verf {
		t.Error("the verifier survived the crash")
	}
}

// Attributes that memory does not know are left out, and the reply must still be built right around its data.
func TestColdFileSystem(t *testing.T) {
	var isCold atomic.Bool
	fs := memfs.New(memfs.Options{Cold: isCold.Load, Later: func(f func()) { go f() }})
	c := dial(t, serveFS(t, fs))
	root := c.root()
	fh := c.file(root, "f")
	for _, cold := range []bool{false, true} {
		isCold.Store(cold)
		data := pattern(777, 9)
		w := mustBe[*nfsv3.Write3res_NFS3_OK](t, c.write(fh, 0, data, nfsv3.FILE_SYNC)).Resok
		_, hasAttr := w.FileWcc.After.(*nfsv3.PostOpAttr_TRUE)
		r := mustBe[*nfsv3.Read3res_NFS3_OK](t, c.read(fh, 0, 777)).Resok
		if !bytes.Equal(r.Data, data) {
			t.Errorf("cold %v: data differ", cold)
		}
		_, readAttr := r.FileAttributes.(*nfsv3.PostOpAttr_TRUE)
		if hasAttr == cold || readAttr == cold {
			t.Errorf("cold %v: attributes there after WRITE %v, READ %v", cold, hasAttr, readAttr)
		}
		if size := c.getattr(fh).Size; size != 777 {
			t.Errorf("cold %v: size %d", cold, size)
		}
		wantStatus(t, "lookup", c.lookup(root, "f"), nfsv3.NFS3_OK)
		wantStatus(t, "lookup of nothing", c.lookup(root, "g"), nfsv3.NFS3ERR_NOENT)
	}
}
