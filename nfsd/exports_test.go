package nfsd

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/buildbarn/go-xdr/pkg/protocols/mount"
	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"

	"ovs"
	"ovs/internal/memfs"
)

func pool(id ovs.PoolID) *memfs.FS { return memfs.New(memfs.Options{Pool: id}) }

func TestMount(t *testing.T) {
	s := serve(t, Config{Exports: []Export{
		{Path: "/pool", FS: pool(1)}, {Path: "/pool/inner", FS: pool(2)},
		{Path: "/far", FS: pool(3), Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
	}})
	c := dial(t, s)
	root := c.root()
	c.file(c.mkdir(c.mkdir(root, "a"), "b"), "file")
	status := func(path string) mount.Mountstat3 { return c.mountAt(path).GetFhsStatus() }
	for path, want := range map[string]mount.Mountstat3{
		"/pool": 0, "/pool/": 0, "//pool//a/": 0, "/pool/a/b": 0, "pool": 0, "/pool/inner": 0, "/pool/x/../a": 0,
		"/": 2, "": 2, "/poo": 2, "/pool1": 2, "/pool/nothing": 2, "/nowhere": 2, "/pool/../nowhere": 2,
		"/pool/a/b/file": 20, "/pool/a/b/file/x": 20, "/far": 13, "/pool/" + strings.Repeat("n", 256): 63,
	} {
		if got := status(path); got != want {
			t.Errorf("MNT %.40q: status %d, not %d", path, got, want)
		}
	}
	ok := mustBe[*mount.Mountres3_MNT3_OK](t, c.mountAt("/pool/a/b")).Mountinfo
	if len(ok.AuthFlavors) != 1 || ok.AuthFlavors[0] != 1 || len(ok.Fhandle) != handleSize {
		t.Errorf("MNT: %+v", ok)
	}
	wantStatus(t, "lookup below the mounted directory", c.lookup(nfsv3.NfsFh3{Data: ok.Fhandle}, "file"), nfsv3.NFS3_OK)
	inner := mustBe[*mount.Mountres3_MNT3_OK](t, c.mountAt("/pool/inner")).Mountinfo.Fhandle
	if a := c.getattr(nfsv3.NfsFh3{Data: inner}); a.Fsid != 2 || a.Fileid != 1 {
		t.Errorf("the inner export's root: %+v", a)
	}
	wantStatus(t, "rename between exports", c.rename(root, "a", nfsv3.NfsFh3{Data: inner}, "a"), nfsv3.NFS3ERR_XDEV)
	wantStatus(t, "link between exports", do(c, 15, &nfsv3.Link3args{File: root, Link: at(nfsv3.NfsFh3{Data: inner}, "l")}, nfsv3.ReadLink3res), nfsv3.NFS3ERR_XDEV)
	far := s.key.append(nil, ovs.Ref{Pool: 3, Object: 1})
	wantStatus(t, "a handle does not open what the list forbids", do(c, 1, &nfsv3.Getattr3args{Object: nfsv3.NfsFh3{Data: far}}, nfsv3.ReadGetattr3res), nfsv3.NFS3ERR_ACCES)

	// The lists.
	mounts := func() string {
		c.send(c.record(mountNumber, 3, 2, nil))
		var all []string
		for m := decode(t, c.results(), mount.ReadMountlist); m != nil; m = m.MlNext {
			all = append(all, m.MlHostname+":"+m.MlDirectory)
		}
		return strings.Join(all, " ")
	}
	umnt := func(path string) {
		c.send(c.record(mountNumber, 3, 3, dirpath(path)))
		if b := c.results(); len(b) != 0 {
			t.Errorf("UMNT answers %x", b)
		}
	}
	if got := mounts(); !strings.Contains(got, "127.0.0.1:/pool/a/b") || strings.Contains(got, "nowhere") {
		t.Errorf("DUMP: %s", got)
	}
	umnt("/pool/a/b/")
	if got := mounts(); strings.Contains(got, "/pool/a/b") {
		t.Errorf("DUMP after UMNT: %s", got)
	}
	c.send(c.record(mountNumber, 3, 4, nil))
	c.results()
	if got := mounts(); got != "" {
		t.Errorf("DUMP after UMNTALL: %s", got)
	}
	c.send(c.record(mountNumber, 3, 5, nil))
	var exports []string
	for e := decode(t, c.results(), mount.ReadExports); e != nil; e = e.ExNext {
		line := e.ExDir
		for g := e.ExGroups; g != nil; g = g.GrNext {
			line += " " + g.GrName
		}
		exports = append(exports, line)
	}
	if got := strings.Join(exports, "; "); got != "/pool 127.0.0.0/8 ::1/128; /pool/inner 127.0.0.0/8 ::1/128; /far 10.0.0.0/8" {
		t.Errorf("EXPORT: %s", got)
	}
	c.send(c.record(mountNumber, 3, 0, nil))
	if b := c.results(); len(b) != 0 {
		t.Errorf("NULL answers %x", b)
	}
}

// However much was mounted, DUMP's reply is bounded and sound.
func TestDumpIsBounded(t *testing.T) {
	s := serveFS(t, newMem())
	for i := range 2 * maxMounts {
		s.mounts.add(mounted{netip.MustParseAddr("10.1.2.3"), fmt.Sprintf("/pool/%0*d", mountPathLen-6, i)})
	}
	c := dial(t, s)
	c.send(c.record(mountNumber, 3, 2, nil))
	b := c.results()
	if len(b) > maxDirReply {
		t.Errorf("a reply of %d bytes", len(b))
	}
	n := 0
	for m := decode(t, b, mount.ReadMountlist); m != nil; m = m.MlNext {
		n++
	}
	if n < 50 {
		t.Errorf("%d mounts are told", n)
	}
}

func TestSquash(t *testing.T) {
	for how, want := range map[Squash][2]uint32{SquashNone: {0, 0}, SquashRoot: {Nobody, Nobody}, SquashAll: {Nobody, Nobody}} {
		c := dial(t, serve(t, Config{Exports: []Export{{Path: "/pool", FS: pool(1), Squash: how}}}))
		root := c.root()
		if a := c.getattr(c.file(root, "root's")); a.Uid != want[0] || a.Gid != want[1] {
			t.Errorf("squash %d: root's file belongs to %d:%d", how, a.Uid, a.Gid)
		}
		a := c.as(5, 6).getattr(c.file(root, "user's"))
		if how == SquashAll != (a.Uid == Nobody) || how != SquashAll && (a.Uid != 5 || a.Gid != 6) {
			t.Errorf("squash %d: a user's file belongs to %d:%d", how, a.Uid, a.Gid)
		}
	}
}

func TestReadOnlyExport(t *testing.T) {
	fs := pool(1)
	r := ovs.Request{}
	a, _, err := fs.Create(&r, ovs.RootID, "f", &ovs.Create{Type: ovs.TypeReg})
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, Config{Exports: []Export{{Path: "/pool", FS: fs, ReadOnly: true}}})
	c := dial(t, s)
	root := c.root()
	fh := nfsv3.NfsFh3{Data: s.key.append(nil, ovs.Ref{Pool: 1, Object: a.ID})}
	for what, r := range map[string]any{
		"write": c.write(fh, 0, []byte("data"), 2), "setattr": c.setattr(fh, sattr(), nil), "remove": c.remove(root, "f"),
		"create": c.create(root, "g", exclusive(1)), "rename": c.rename(root, "f", root, "g"),
	} {
		wantStatus(t, what, r, nfsv3.NFS3ERR_ROFS)
	}
	c.content(fh, 0, 10)
	ac := mustBe[*nfsv3.Access3res_NFS3_OK](t, do(c, 4, &nfsv3.Access3args{Object: root, Access: 63}, nfsv3.ReadAccess3res)).Resok
	if ac.Access != accessRead|accessLookup {
		t.Errorf("access %#x", ac.Access)
	}
}

func TestExportsThatCannotBe(t *testing.T) {
	for what, e := range map[string][]Export{
		"no file system": {{Path: "/a"}}, "relative": {{Path: "a", FS: pool(1)}}, "not clean": {{Path: "/a/", FS: pool(1)}},
		"same path": {{Path: "/a", FS: pool(1)}, {Path: "/a", FS: pool(2)}}, "same pool": {{Path: "/a", FS: pool(1)}, {Path: "/b", FS: pool(1)}},
		"too long": {{Path: "/" + strings.Repeat("x", 1024), FS: pool(1)}},
	} {
		if _, err := New(Config{Exports: e, Key: testKey}); !ovs.Is(err, ovs.KindInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := New(Config{Key: []byte("short")}); !ovs.Is(err, ovs.KindInvalid) {
		t.Errorf("short key: %v", err)
	}
}

// Exports may come and go while clients are there.
func TestSetExports(t *testing.T) {
	s := serve(t, Config{Exports: []Export{{Path: "/pool", FS: pool(1)}}})
	c := dial(t, s)
	root := c.root()
	if err := s.SetExports([]Export{{Path: "/other", FS: pool(2)}}); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "getattr", do(c, 1, &nfsv3.Getattr3args{Object: root}, nfsv3.ReadGetattr3res), nfsv3.NFS3ERR_STALE)
	if st := c.mountAt("/other").GetFhsStatus(); st != 0 {
		t.Error("MNT of the new export: ", st)
	}
	if err := s.SetExports([]Export{{Path: "/pool", FS: pool(1)}}); err != nil {
		t.Fatal(err)
	}
	c.getattr(root) // the handle is good again: it names the pool, not the mount
}

func TestCollect(t *testing.T) {
	s := serveFS(t, newMem())
	c := dial(t, s)
	root := c.root()
	c.lookup(root, "nothing")
	c.getattr(root)
	got := map[string]string{}
	st := s.Collect(func(p ProcStat) {
		n := int64(0)
		for _, b := range p.Buckets {
			n += b
		}
		if p.Calls > 0 {
			got[p.Program+"."+p.Proc] = fmt.Sprint(p.Calls, p.Failed, n, p.Nanos > 0)
			if sum := p.Stages[ovs.StageCompleted]; sum != p.Nanos {
				t.Errorf("%s: %d ns up to the last stage, of %d", p.Proc, sum, p.Nanos)
			}
		}
	})
	want := map[string]string{"mount.mnt": "1 0 1 true", "nfs.lookup": "1 1 1 true", "nfs.getattr": "1 0 1 true"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, not %v", got, want)
	}
	if st.Connections != 1 || st.Open != 1 {
		t.Errorf("%+v", st)
	}
}
