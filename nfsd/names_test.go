package nfsd

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"

	"ovs"
)

func exclusive(verf byte) nfsv3.Createhow3 { return &nfsv3.Createhow3_EXCLUSIVE{Verf: [8]byte{verf}} }

func TestCreateModes(t *testing.T) {
	c := dial(t, serveFS(t, newMem()))
	root := c.root()
	guarded := &nfsv3.Createhow3_GUARDED{ObjAttributes: sattr(withMode(0o640))}
	unchecked := &nfsv3.Createhow3_UNCHECKED{ObjAttributes: sattr(withMode(0o600))}

	ok := mustBe[*nfsv3.Create3res_NFS3_OK](t, c.create(root, "g", guarded)).Resok
	a := mustBe[*nfsv3.PostOpAttr_TRUE](t, ok.ObjAttributes).Attributes
	if a.Mode != 0o640 || a.Nlink != 1 || a.Type != nfsv3.NF3REG {
		t.Errorf("new file: %+v", a)
	}
	before := mustBe[*nfsv3.PreOpAttr_TRUE](t, ok.DirWcc.Before).Attributes
	after := mustBe[*nfsv3.PostOpAttr_TRUE](t, ok.DirWcc.After).Attributes
	if before.Mtime == after.Mtime {
		t.Error("the directory's mtime stood still")
	}
	wantStatus(t, "guarded again", c.create(root, "g", guarded), nfsv3.NFS3ERR_EXIST)

	fh := mustBe[*nfsv3.PostOpFh3_TRUE](t, ok.Obj).Handle
	c.write(fh, 0, pattern(5000, 1), nfsv3.FILE_SYNC)
	wantStatus(t, "unchecked on a file that is there", c.create(root, "g", unchecked), nfsv3.NFS3_OK)
	if a := c.getattr(fh); a.Size != 5000 || a.Mode != 0o640 {
		t.Errorf("UNCHECKED without a size changed the file: size %d, mode %o", a.Size, a.Mode)
	}
	wantStatus(t, "unchecked, size 0", c.create(root, "g", &nfsv3.Createhow3_UNCHECKED{ObjAttributes: sattr(withSize(0))}), nfsv3.NFS3_OK)
	if a := c.getattr(fh); a.Size != 0 {
		t.Errorf("UNCHECKED with size 0 left %d bytes", a.Size)
	}

	wantStatus(t, "exclusive", c.create(root, "x", exclusive(1)), nfsv3.NFS3_OK)
	c.xid++ // the same verifier in another request: no retransmission
	wantStatus(t, "exclusive, same verifier", c.create(root, "x", exclusive(1)), nfsv3.NFS3_OK)
	wantStatus(t, "exclusive, other verifier", c.create(root, "x", exclusive(2)), nfsv3.NFS3ERR_EXIST)
	x := mustBe[*nfsv3.Lookup3res_NFS3_OK](t, c.lookup(root, "x")).Resok.Object
	wantStatus(t, "setattr", c.setattr(x, sattr(withMode(0o600)), nil), nfsv3.NFS3_OK)
	wantStatus(t, "exclusive after SETATTR", c.create(root, "x", exclusive(1)), nfsv3.NFS3ERR_EXIST)
}

// ESXi's locks are files made GUARDED: of many takers one must win.
func TestGuardedCreateHasOneWinner(t *testing.T) {
	s := serveFS(t, newMem())
	const takers, rounds = 8, 50
	root := dial(t, s).root()
	clients := make([]*client, takers)
	for i := range clients {
		clients[i] = dial(t, s)
		clients[i].xid = uint32(i+1) << 16
	}
	for r := range rounds {
		var wins sync.Map
		var wg sync.WaitGroup
		for i, c := range clients {
			wg.Go(func() {
				if status(c.create(root, fmt.Sprintf(".lck-%016x", r), &nfsv3.Createhow3_GUARDED{ObjAttributes: sattr()})) == nfsv3.NFS3_OK {
					wins.Store(i, true)
				}
			})
		}
		wg.Wait()
		n := 0
		wins.Range(func(any, any) bool { n++; return true })
		if n != 1 {
			t.Fatalf("round %d: %d winners", r, n)
		}
	}
}

func TestNamesThatCannotBe(t *testing.T) {
	c := dial(t, serveFS(t, newMem()))
	root := c.root()
	guarded := &nfsv3.Createhow3_GUARDED{ObjAttributes: sattr()}
	for _, e := range []struct {
		name           string
		lookup, create nfsv3.Nfsstat3
	}{
		{strings.Repeat("n", 255), nfsv3.NFS3ERR_NOENT, nfsv3.NFS3_OK},
		{strings.Repeat("n", 256), nfsv3.NFS3ERR_NAMETOOLONG, nfsv3.NFS3ERR_NAMETOOLONG},
		{strings.Repeat("n", 60_000), nfsv3.NFS3ERR_NAMETOOLONG, nfsv3.NFS3ERR_NAMETOOLONG},
		{"a/b", nfsv3.NFS3ERR_INVAL, nfsv3.NFS3ERR_INVAL},
		{"a\x00b", nfsv3.NFS3ERR_INVAL, nfsv3.NFS3ERR_INVAL},
		{"", nfsv3.NFS3ERR_INVAL, nfsv3.NFS3ERR_INVAL},
		{".", nfsv3.NFS3_OK, nfsv3.NFS3ERR_EXIST},
		{"..", nfsv3.NFS3_OK, nfsv3.NFS3ERR_EXIST},
	} {
		what := fmt.Sprintf("%.20q", e.name)
		wantStatus(t, "lookup "+what, c.lookup(root, e.name), e.lookup)
		wantStatus(t, "create "+what, c.create(root, e.name, guarded), e.create)
		if e.create != nfsv3.NFS3_OK {
			if status(c.remove(root, e.name)) == nfsv3.NFS3_OK || status(c.rename(root, e.name, root, "y")) == nfsv3.NFS3_OK {
				t.Errorf("%s was removed or renamed", what)
			}
		}
	}
}

func TestRemoveAndRename(t *testing.T) {
	c := dial(t, serveFS(t, newMem()))
	root := c.root()
	dir := c.mkdir(root, "d")
	sub := c.mkdir(dir, "sub")
	f := c.file(root, "f")
	rmdir := func(d nfsv3.NfsFh3, name string) nfsv3.Rmdir3res {
		return do(c, 13, &nfsv3.Rmdir3args{Object: at(d, name)}, nfsv3.ReadRmdir3res)
	}
	wantStatus(t, "rmdir of a file", rmdir(root, "f"), nfsv3.NFS3ERR_NOTDIR)
	wantStatus(t, "remove of a directory", c.remove(root, "d"), nfsv3.NFS3ERR_ISDIR)
	wantStatus(t, "rmdir of a full directory", rmdir(root, "d"), nfsv3.NFS3ERR_NOTEMPTY)
	wantStatus(t, "remove of nothing", c.remove(root, "nothing"), nfsv3.NFS3ERR_NOENT)
	wantStatus(t, "rmdir .", rmdir(root, "."), nfsv3.NFS3ERR_INVAL)
	wantStatus(t, "rmdir ..", rmdir(root, ".."), nfsv3.NFS3ERR_EXIST)
	wantStatus(t, "a directory into itself", c.rename(root, "d", sub, "d"), nfsv3.NFS3ERR_INVAL)
	wantStatus(t, "a directory over a file", c.rename(root, "d", root, "f"), nfsv3.NFS3ERR_NOTDIR)
	wantStatus(t, "a file over a directory", c.rename(root, "f", root, "d"), nfsv3.NFS3ERR_ISDIR)
	wantStatus(t, "lookup in a file", c.lookup(f, "x"), nfsv3.NFS3ERR_NOTDIR)

	// Renaming an open file, and over another one: the handle stays with its object.
	id := c.getattr(f).Fileid
	over := c.file(dir, "over")
	wantStatus(t, "rename over", c.rename(root, "f", dir, "over"), nfsv3.NFS3_OK)
	if got := c.getattr(f).Fileid; got != id {
		t.Errorf("fileid %d became %d", id, got)
	}
	wantStatus(t, "write to the renamed file", c.write(f, 0, []byte("abcd"), nfsv3.FILE_SYNC), nfsv3.NFS3_OK)
	wantStatus(t, "the replaced file", do(c, 1, &nfsv3.Getattr3args{Object: over}, nfsv3.ReadGetattr3res), nfsv3.NFS3ERR_STALE)
	wantStatus(t, "write to the replaced file", c.write(over, 0, []byte("abcd"), nfsv3.FILE_SYNC), nfsv3.NFS3ERR_STALE)

	// A name that comes back is another object.
	wantStatus(t, "remove", c.remove(dir, "over"), nfsv3.NFS3_OK)
	again := c.file(dir, "over")
	if c.getattr(again).Fileid == id {
		t.Error("a fileid came back")
	}
	wantStatus(t, "the removed file", do(c, 1, &nfsv3.Getattr3args{Object: f}, nfsv3.ReadGetattr3res), nfsv3.NFS3ERR_STALE)
}

func TestLinksAndSpecialFiles(t *testing.T) {
	c := dial(t, serveFS(t, newMem()))
	root := c.root()
	f := c.file(root, "f")
	link := func(fh, d nfsv3.NfsFh3, name string) nfsv3.Link3res {
		return do(c, 15, &nfsv3.Link3args{File: fh, Link: at(d, name)}, nfsv3.ReadLink3res)
	}
	ok := mustBe[*nfsv3.Link3res_NFS3_OK](t, link(f, root, "g")).Resok
	if a := mustBe[*nfsv3.PostOpAttr_TRUE](t, ok.FileAttributes).Attributes; a.Nlink != 2 {
		t.Errorf("%d links", a.Nlink)
	}
	wantStatus(t, "link to a name that is there", link(f, root, "g"), nfsv3.NFS3ERR_EXIST)
	wantStatus(t, "link to a directory", link(root, root, "h"), nfsv3.NFS3ERR_PERM)

	target := "../some/where " + strings.Repeat("x", 1000)
	sym := mustBe[*nfsv3.Symlink3res_NFS3_OK](t, do(c, 10, &nfsv3.Symlink3args{Where: at(root, "s"),
		Symlink: nfsv3.Symlinkdata3{SymlinkAttributes: sattr(), SymlinkData: target}}, nfsv3.ReadSymlink3res)).Resok
	sfh := mustBe[*nfsv3.PostOpFh3_TRUE](t, sym.Obj).Handle
	readlink := func(fh nfsv3.NfsFh3) nfsv3.Readlink3res {
		return do(c, 5, &nfsv3.Readlink3args{Symlink: fh}, nfsv3.ReadReadlink3res)
	}
	if got := mustBe[*nfsv3.Readlink3res_NFS3_OK](t, readlink(sfh)).Resok.Data; got != target {
		t.Errorf("the link leads to %q", got)
	}
	wantStatus(t, "readlink of a file", readlink(f), nfsv3.NFS3ERR_INVAL)

	mknod := func(name string, what nfsv3.Mknoddata3) nfsv3.Mknod3res {
		return do(c, 11, &nfsv3.Mknod3args{Where: at(root, name), What: what}, nfsv3.ReadMknod3res)
	}
	for name, e := range map[string]struct {
		what nfsv3.Mknoddata3
		want nfsv3.Nfsstat3
	}{
		"fifo": {&nfsv3.Mknoddata3_NF3FIFO{PipeAttributes: sattr(withMode(0o600))}, nfsv3.NFS3_OK},
		"sock": {&nfsv3.Mknoddata3_NF3SOCK{PipeAttributes: sattr(withMode(0o600))}, nfsv3.NFS3_OK},
		"chr":  {&nfsv3.Mknoddata3_NF3CHR{Device: nfsv3.Devicedata3{DevAttributes: sattr()}}, nfsv3.NFS3ERR_NOTSUPP},
		"blk":  {&nfsv3.Mknoddata3_NF3BLK{Device: nfsv3.Devicedata3{DevAttributes: sattr()}}, nfsv3.NFS3ERR_NOTSUPP},
		"reg":  {&nfsv3.Mknoddata3_default{Type: nfsv3.NF3REG}, nfsv3.NFS3ERR_BADTYPE},
	} {
		wantStatus(t, name, mknod(name, e.what), e.want)
	}
	fifo := mustBe[*nfsv3.Lookup3res_NFS3_OK](t, c.lookup(root, "fifo")).Resok
	if a := mustBe[*nfsv3.PostOpAttr_TRUE](t, fifo.ObjAttributes).Attributes; a.Type != nfsv3.NF3FIFO {
		t.Errorf("the FIFO is of type %v", a.Type)
	}
}

func TestSetattr(t *testing.T) {
	c := dial(t, serveFS(t, newMem()))
	fh := c.file(c.root(), "f", withMode(0o600))
	before := c.getattr(fh)
	times := func(s *nfsv3.Sattr3) {
		s.Atime = &nfsv3.SetAtime_SET_TO_CLIENT_TIME{Atime: nfsv3.Nfstime3{Seconds: 1_000_000_000, Nseconds: 7}}
		s.Mtime = &nfsv3.SetMtime_SET_TO_CLIENT_TIME{Mtime: nfsv3.Nfstime3{Seconds: 4_000_000_000, Nseconds: 999_999_999}}
	}
	wrong := &nfsv3.Sattrguard3_TRUE{ObjCtime: nfsv3.Nfstime3{Seconds: 1}}
	wantStatus(t, "wrong guard", c.setattr(fh, sattr(withMode(0)), wrong), nfsv3.NFS3ERR_NOT_SYNC)
	guard := &nfsv3.Sattrguard3_TRUE{ObjCtime: before.Ctime}
	r := c.setattr(fh, sattr(withMode(0o6755), withOwner(10, 20), withSize(12345), times), guard)
	wcc := mustBe[*nfsv3.Setattr3res_NFS3_OK](t, r).Resok.ObjWcc
	if b := mustBe[*nfsv3.PreOpAttr_TRUE](t, wcc.Before).Attributes; b.Size != 0 || b.Ctime != before.Ctime {
		t.Errorf("wcc before: %+v", b)
	}
	a := mustBe[*nfsv3.PostOpAttr_TRUE](t, wcc.After).Attributes
	if a.Mode != 0o6755 || a.Uid != 10 || a.Gid != 20 || a.Size != 12345 || a.Used != 0 ||
		a.Atime != (nfsv3.Nfstime3{Seconds: 1_000_000_000, Nseconds: 7}) ||
		a.Mtime != (nfsv3.Nfstime3{Seconds: 4_000_000_000, Nseconds: 999_999_999}) || a.Ctime == before.Ctime {
		t.Errorf("after: %+v", a)
	}
	if got := c.getattr(fh); got != a {
		t.Errorf("GETATTR %+v, wcc %+v", got, a)
	}
	now := func(s *nfsv3.Sattr3) {
		s.Atime, s.Mtime = &nfsv3.SetAtime_default{SetIt: 1}, &nfsv3.SetMtime_default{SetIt: 1}
	}
	wantStatus(t, "times to the server's", c.setattr(fh, sattr(now), nil), nfsv3.NFS3_OK)
	if a := c.getattr(fh); a.Mtime.Seconds == 4_000_000_000 || a.Mtime != a.Atime {
		t.Errorf("times %+v %+v", a.Atime, a.Mtime)
	}
	wantStatus(t, "chown by another", c.as(99, 99).setattr(fh, sattr(withOwner(99, 99)), nil), nfsv3.NFS3ERR_PERM)
}

func TestAccess(t *testing.T) {
	c := dial(t, serveFS(t, newMem()))
	root := c.root()
	f := c.file(root, "f", withMode(0o640), withOwner(10, 20))
	d := c.mkdir(root, "d") // 0755
	const all = accessRead | accessLookup | accessModify | accessExtend | accessDelete | accessExecute
	check := func(uid, gid uint32, groups []uint32, fh nfsv3.NfsFh3, want uint32) {
		t.Helper()
		r := do(c.as(uid, gid, groups...), 4, &nfsv3.Access3args{Object: fh, Access: all}, nfsv3.ReadAccess3res)
		if got := mustBe[*nfsv3.Access3res_NFS3_OK](t, r).Resok.Access; got != want {
			t.Errorf("uid %d gid %d %v: access %#x, not %#x", uid, gid, groups, got, want)
		}
	}
	check(0, 0, nil, f, accessRead|accessModify|accessExtend)
	check(10, 1, nil, f, accessRead|accessModify|accessExtend)
	check(11, 1, []uint32{5, 20}, f, accessRead)
	check(11, 1, []uint32{100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 20}, f, accessRead) // as many as there may be
	check(11, 1, nil, f, 0)
	check(0, 0, nil, d, accessRead|accessLookup|accessModify|accessExtend|accessDelete)
	check(11, 1, nil, d, accessRead|accessLookup)
}

func TestFileSystemCalls(t *testing.T) {
	c := dial(t, serveFS(t, newMem()))
	root := c.root()
	fsinfo := mustBe[*nfsv3.Fsinfo3res_NFS3_OK](t, do(c, 19, &nfsv3.Fsinfo3args{Fsroot: root}, nfsv3.ReadFsinfo3res)).Resok
	if fsinfo.Rtmax != 1<<20 || fsinfo.Wtmax != 1<<20 || fsinfo.Dtpref != 64<<10 || fsinfo.Maxfilesize != ovs.MaxFileSize ||
		fsinfo.TimeDelta != (nfsv3.Nfstime3{Nseconds: 1}) || fsinfo.Properties != 0x1b {
		t.Errorf("FSINFO: %+v", fsinfo)
	}
	pathconf := mustBe[*nfsv3.Pathconf3res_NFS3_OK](t, do(c, 20, &nfsv3.Pathconf3args{Object: root}, nfsv3.ReadPathconf3res)).Resok
	if pathconf.NameMax != 255 || !pathconf.NoTrunc || pathconf.CaseInsensitive || !pathconf.CasePreserving || pathconf.Linkmax != 65535 {
		t.Errorf("PATHCONF: %+v", pathconf)
	}
	f := c.file(root, "f")
	c.write(f, 1<<40, pattern(8192, 3), nfsv3.FILE_SYNC)
	fsstat := mustBe[*nfsv3.Fsstat3res_NFS3_OK](t, do(c, 18, &nfsv3.Fsstat3args{Fsroot: root}, nfsv3.ReadFsstat3res)).Resok
	if fsstat.Tbytes-fsstat.Fbytes != 8192 || fsstat.Abytes != fsstat.Fbytes || fsstat.Tfiles-fsstat.Ffiles != 2 {
		t.Errorf("FSSTAT: %+v", fsstat)
	}
	if a := c.getattr(f); a.Size != 1<<40+8192 || a.Used != 8192 {
		t.Errorf("sparse file: size %d, used %d", a.Size, a.Used)
	}
	c.remove(root, "f")
	for proc, res := range map[uint32]any{
		19: do(c, 19, &nfsv3.Fsinfo3args{Fsroot: f}, nfsv3.ReadFsinfo3res),
		20: do(c, 20, &nfsv3.Pathconf3args{Object: f}, nfsv3.ReadPathconf3res),
		4:  do(c, 4, &nfsv3.Access3args{Object: f}, nfsv3.ReadAccess3res),
		6:  c.read(f, 0, 1),
		2:  c.setattr(f, sattr(), nil),
		21: do(c, 21, &nfsv3.Commit3args{File: f}, nfsv3.ReadCommit3res),
	} {
		wantStatus(t, fmt.Sprint("procedure ", proc, " on a removed file"), res, nfsv3.NFS3ERR_STALE)
	}
}
