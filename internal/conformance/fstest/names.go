package fstest

import (
	"strings"

	"ovs"
)

const root = ovs.RootID

func testRoot(s *session) {
	a := s.attr(root)
	if a.ID != root || a.Type != ovs.TypeDir || a.Mode&0o700 != 0o700 || a.UID != 0 || a.Links != 2 {
		s.Fatalf("root is %+v", a)
	}
	if s.fs.Pool() == 0 {
		s.Fatal("pool 0")
	}
	for _, name := range []string{".", ".."} {
		if s.find(root, name) != root {
			s.Fatalf("root's %q is not the root", name)
		}
	}
	if len(s.list(root)) != 0 {
		s.Fatal("not empty")
	}
}

func testNames(s *session) {
	f := s.file(root, "f")
	long := strings.Repeat("x", ovs.MaxName)
	s.file(root, long)
	s.find(root, long)
	s.file(root, "\xff\xfe né")
	s.find(root, "\xff\xfe né")
	s.absent(root, "F")
	for _, c := range []struct {
		name string
		kind ovs.Kind
	}{{"", ovs.KindInvalid}, {"a/b", ovs.KindInvalid}, {"a\x00", ovs.KindInvalid}, {long + "x", ovs.KindNameTooLong}} {
		_, err := s.lookup(root, c.name)
		s.want("Lookup", c.kind, err)
		_, err = s.create(root, c.name, ovs.Create{Type: ovs.TypeReg})
		s.want("Create", c.kind, err)
		_, err = s.create(root, c.name, ovs.Create{Type: ovs.TypeDir})
		s.want("Mkdir", c.kind, err)
		s.want("Remove", c.kind, s.remove(root, c.name))
		s.want("Rmdir", c.kind, s.rmdir(root, c.name))
		s.want("Rename from", c.kind, s.rename(root, c.name, root, "g"))
		s.want("Rename to", c.kind, s.rename(root, "f", root, c.name))
		s.want("Link", c.kind, s.link(f, root, c.name))
	}
	for _, name := range []string{".", ".."} {
		_, err := s.create(root, name, ovs.Create{Type: ovs.TypeReg})
		s.want("Create", ovs.KindExists, err)
		_, err = s.create(root, name, ovs.Create{Type: ovs.TypeDir})
		s.want("Mkdir", ovs.KindExists, err)
		s.want("Link", ovs.KindExists, s.link(f, root, name))
		s.want("Remove", ovs.KindInvalid, s.remove(root, name))
		s.want("Rename from", ovs.KindInvalid, s.rename(root, name, root, "g"))
		s.want("Rename to", ovs.KindInvalid, s.rename(root, "f", root, name))
	}
	d := s.mkdir(root, "d")
	s.want("Rmdir .", ovs.KindInvalid, s.rmdir(d, "."))
	s.want("Rmdir ..", ovs.KindExists, s.rmdir(d, ".."))
	// A file is no directory, whatever the name.
	_, err := s.lookup(f, "x")
	s.want("Lookup in a file", ovs.KindNotDir, err)
	_, err = s.create(f, "x", ovs.Create{Type: ovs.TypeReg})
	s.want("Create in a file", ovs.KindNotDir, err)
	s.want("Remove in a file", ovs.KindNotDir, s.remove(f, "x"))
	s.want("Rmdir in a file", ovs.KindNotDir, s.rmdir(f, "x"))
	s.want("Rename from a file", ovs.KindNotDir, s.rename(f, "x", root, "y"))
	s.want("Rename to a file", ovs.KindNotDir, s.rename(root, "f", f, "y"))
	s.want("Link in a file", ovs.KindNotDir, s.link(f, f, "y"))
}

func testCreate(s *session) {
	for _, how := range []ovs.CreateHow{ovs.Unchecked, ovs.Guarded} {
		a, err := s.create(root, "f", ovs.Create{Type: ovs.TypeReg, How: how, Attr: ovs.SetAttr{Mode: ptr(uint32(0o640)), Size: ptr(uint64(5000))}})
		s.must("Create", err)
		if a.Type != ovs.TypeReg || a.Mode != 0o640 || a.Size != 5000 || a.Links != 1 || a.ID == root || a.ID == 0 {
			s.Fatalf("made %+v", a)
		}
		if got := s.attr(a.ID); got != a {
			s.Fatalf("GetAttr %+v, Create %+v", got, a)
		}
		if s.find(root, "f") != a.ID {
			s.Fatal("another object has the name")
		}
		s.must("Remove", s.remove(root, "f"))
	}
	for _, typ := range []ovs.FileType{ovs.TypeFIFO, ovs.TypeSock} {
		a, err := s.create(root, "special", ovs.Create{Type: typ})
		s.must("Mknod", err)
		if a.Type != typ {
			s.Fatalf("made %+v", a)
		}
		s.must("Remove", s.remove(root, "special"))
	}
	for _, typ := range []ovs.FileType{ovs.TypeBlk, ovs.TypeChr} {
		_, err := s.create(root, "device", ovs.Create{Type: typ, Major: 1, Minor: 3})
		s.want("Mknod of a device", ovs.KindNotSupported, err)
	}
	_, err := s.create(root, "big", ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded, Attr: ovs.SetAttr{Size: ptr(uint64(ovs.MaxFileSize + 1))}})
	s.want("Create too big", ovs.KindTooBig, err)
	s.absent(root, "big")
}

func testCreateExisting(s *session) {
	f := s.file(root, "f")
	d := s.mkdir(root, "d")
	_, err := s.symlink(root, "l", "f")
	s.must("Symlink", err)
	s.must("Write", s.write(f, 0, []byte("content")))
	before := s.attr(f)

	for _, c := range []struct {
		name string
		c    ovs.Create
	}{
		{"f", ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded}}, {"f", ovs.Create{Type: ovs.TypeDir}},
		{"f", ovs.Create{Type: ovs.TypeLnk, Target: "x"}}, {"f", ovs.Create{Type: ovs.TypeReg, How: ovs.Exclusive, Verf: 0}},
		{"d", ovs.Create{Type: ovs.TypeReg}}, {"d", ovs.Create{Type: ovs.TypeDir}}, {"l", ovs.Create{Type: ovs.TypeReg}},
		{"d", ovs.Create{Type: ovs.TypeReg, How: ovs.Exclusive, Verf: 1}},
	} {
		_, err := s.create(root, c.name, c.c)
		s.want("Create of "+c.name, ovs.KindExists, err)
	}
	// UNCHECKED keeps the file as it is, whatever else it asks for; only a size of 0 counts.
	a, err := s.create(root, "f", ovs.Create{Type: ovs.TypeReg, Attr: ovs.SetAttr{Mode: ptr(uint32(0o777)), Size: ptr(uint64(99))}})
	s.must("Create", err)
	if a != before {
		s.Fatalf("UNCHECKED changed %+v to %+v", before, a)
	}
	a, err = s.create(root, "f", ovs.Create{Type: ovs.TypeReg, Attr: ovs.SetAttr{Size: ptr(uint64(0))}})
	s.must("Create", err)
	if a.ID != f || a.Size != 0 || a.Mode != before.Mode || a.Ctime <= before.Ctime || a.Mtime <= before.Mtime {
		s.Fatalf("UNCHECKED with size 0 gives %+v, before %+v", a, before)
	}
	if s.find(root, "d") != d {
		s.Fatal("the directory changed")
	}
	// It is a SETATTR of the size: w is needed for it and for nothing else, and it ends an EXCLUSIVE create.
	x := ovs.Create{Type: ovs.TypeReg, How: ovs.Exclusive, Verf: 7}
	_, err = s.create(root, "x", x)
	s.must("Create", err)
	u := s.as(7, 7)
	_, err = u.create(root, "x", ovs.Create{Type: ovs.TypeReg, Attr: ovs.SetAttr{Size: ptr(uint64(99))}})
	s.must("UNCHECKED without w", err)
	_, err = u.create(root, "x", ovs.Create{Type: ovs.TypeReg, Attr: ovs.SetAttr{Size: ptr(uint64(0))}})
	s.want("UNCHECKED with size 0 without w", ovs.KindAccess, err)
	_, err = s.create(root, "x", ovs.Create{Type: ovs.TypeReg, Attr: ovs.SetAttr{Size: ptr(uint64(0))}})
	s.must("UNCHECKED with size 0", err)
	_, err = s.create(root, "x", x)
	s.want("the EXCLUSIVE create after it", ovs.KindExists, err)
}

func testExclusive(s *session) {
	c := ovs.Create{Type: ovs.TypeReg, How: ovs.Exclusive, Verf: 0x1234567890abcdef}
	a, err := s.create(root, "f", c)
	s.must("Create", err)
	again, err := s.create(root, "f", c)
	s.must("the same CREATE again", err)
	if again.ID != a.ID {
		s.Fatal("another file")
	}
	s.must("Write", s.write(a.ID, 0, []byte("x")))
	_, err = s.create(root, "f", c)
	s.must("the same CREATE after a write", err)
	c.Verf++
	_, err = s.create(root, "f", c)
	s.want("another verifier", ovs.KindExists, err)
	c.Verf--
	s.must("SetAttr", s.setattr(a.ID, ovs.SetAttr{Mode: ptr(uint32(0o600))}))
	_, err = s.create(root, "f", c)
	s.want("after the first SETATTR", ovs.KindExists, err)
}

func testNewAttributes(s *session) {
	s.must("chmod", s.setattr(root, ovs.SetAttr{Mode: ptr(uint32(0o777))}))
	u := s.as(7, 8, 9)
	a := s.attr(u.file(root, "f"))
	if a.UID != 7 || a.GID != 8 || a.Mode != 0o644 {
		s.Fatalf("made %+v", a)
	}
	a = s.attr(u.mkdir(root, "d"))
	if a.UID != 7 || a.GID != 8 || a.Mode != 0o755 || a.Links != 2 {
		s.Fatalf("made %+v", a)
	}
	_, err := u.create(root, "g", ovs.Create{Type: ovs.TypeReg, Attr: ovs.SetAttr{UID: ptr(uint32(5))}})
	s.want("a file for another", ovs.KindPermission, err)
	_, err = u.create(root, "g", ovs.Create{Type: ovs.TypeReg, Attr: ovs.SetAttr{GID: ptr(uint32(5))}})
	s.want("a file for another group", ovs.KindPermission, err)
	a, err = u.create(root, "g", ovs.Create{Type: ovs.TypeReg, Attr: ovs.SetAttr{GID: ptr(uint32(9)), Mtime: ptr(int64(12345)), Atime: ptr(ovs.SetToServer)}})
	s.must("Create", err)
	if a.GID != 9 || a.Mtime != 12345 || a.Atime <= 12345 || a.Ctime <= 12345 {
		s.Fatalf("made %+v", a)
	}
	s.must("setgid", s.setattr(root, ovs.SetAttr{Mode: ptr(uint32(0o2777)), GID: ptr(uint32(33))}))
	if a = s.attr(u.file(root, "h")); a.GID != 33 || a.Mode != 0o644 {
		s.Fatalf("made %+v in a set-gid directory", a)
	}
	if a = s.attr(u.mkdir(root, "e")); a.GID != 33 || a.Mode != 0o2755 {
		s.Fatalf("made %+v in a set-gid directory", a)
	}
}

func testDirectories(s *session) {
	a := s.mkdir(root, "a")
	b := s.mkdir(a, "b")
	if s.find(b, "..") != a || s.find(b, ".") != b || s.find(a, "..") != root {
		s.Fatal("dots")
	}
	if n := s.attr(a).Links; n != 3 {
		s.Fatalf("a directory with one in it has %d links", n)
	}
	s.want("Rmdir of a filled one", ovs.KindNotEmpty, s.rmdir(root, "a"))
	s.want("Remove of a directory", ovs.KindIsDir, s.remove(a, "b"))
	s.must("Rmdir", s.rmdir(a, "b"))
	if n := s.attr(a).Links; n != 2 {
		s.Fatalf("an empty directory has %d links", n)
	}
	s.file(a, "f")
	s.want("Rmdir of a filled one", ovs.KindNotEmpty, s.rmdir(root, "a"))
	s.want("Rmdir of a file", ovs.KindNotDir, s.rmdir(a, "f"))
	s.must("Remove", s.remove(a, "f"))
	s.must("Rmdir", s.rmdir(root, "a"))
	s.want("Rmdir of nothing", ovs.KindNotFound, s.rmdir(root, "a"))
	if n := s.attr(root).Links; n != 2 {
		s.Fatalf("the root has %d links", n)
	}
}

func testRemove(s *session) {
	s.want("Remove of nothing", ovs.KindNotFound, s.remove(root, "f"))
	f := s.file(root, "f")
	s.must("Remove", s.remove(root, "f"))
	s.absent(root, "f")
	if g := s.file(root, "f"); g == f {
		s.Fatal("an inode number came back")
	}
	_, err := s.symlink(root, "l", "f")
	s.must("Symlink", err)
	s.must("Remove of a link", s.remove(root, "l"))
	s.find(root, "f")
}

// testStale: a handle to what is gone is stale for every operation, also where the same name exists again.
func testStale(s *session) {
	f, d := s.file(root, "f"), s.mkdir(root, "d")
	s.must("Write", s.write(f, 0, []byte("x")))
	s.must("Remove", s.remove(root, "f"))
	s.must("Rmdir", s.rmdir(root, "d"))
	g := s.file(root, "g")
	s.file(root, "f")
	for _, id := range []ovs.ObjectID{f, d, 1 << 40} {
		_, err := s.fs.GetAttr(s.req(), id)
		s.want("GetAttr", ovs.KindStale, err)
		var a ovs.Attr
		if s.fs.TryGetAttr(s.req(), id, &a) {
			s.Fatal("TryGetAttr of what is gone")
		}
		s.want("SetAttr", ovs.KindStale, s.setattr(id, ovs.SetAttr{Mode: ptr(uint32(0))}))
		s.want("Size", ovs.KindStale, s.setattr(id, ovs.SetAttr{Size: ptr(uint64(0))}))
		_, err = s.lookup(id, "x")
		s.want("Lookup", ovs.KindStale, err)
		_, err = s.fs.Readlink(s.req(), id)
		s.want("Readlink", ovs.KindStale, err)
		_, err = s.create(id, "x", ovs.Create{Type: ovs.TypeReg})
		s.want("Create", ovs.KindStale, err)
		s.want("Remove", ovs.KindStale, s.remove(id, "x"))
		s.want("Rmdir", ovs.KindStale, s.rmdir(id, "x"))
		s.want("Rename from", ovs.KindStale, s.rename(id, "x", root, "y"))
		s.want("Rename to", ovs.KindStale, s.rename(root, "g", id, "y"))
		s.want("Link", ovs.KindStale, s.link(id, root, "y"))
		s.want("Link in", ovs.KindStale, s.link(g, id, "y"))
		_, err = s.fs.ReadDir(s.req(), id, 0, false, func(*ovs.DirEntry) bool { return true })
		s.want("ReadDir", ovs.KindStale, err)
		s.want("Write", ovs.KindStale, s.write(id, 0, []byte("y")))
		_, _, err = s.read(id, 0, 1)
		s.want("Read", ovs.KindStale, err)
		_, err = s.commit(id)
		s.want("Commit", ovs.KindStale, err)
	}
}

func testLinks(s *session) {
	f, d := s.file(root, "f"), s.mkdir(root, "d")
	before := s.attr(f)
	a, _, err := s.fs.Link(s.req(), f, d, "g")
	s.must("Link", err)
	if a.Links != 2 || a.Ctime <= before.Ctime || a != s.attr(f) || s.find(d, "g") != f {
		s.Fatalf("linked %+v", a)
	}
	s.want("Link over a name", ovs.KindExists, s.link(f, d, "g"))
	s.want("Link of a directory", ovs.KindPermission, s.link(d, root, "e"))
	s.must("Write", s.write(f, 0, []byte("shared")))
	s.must("Remove", s.remove(root, "f"))
	if n := s.attr(f); n.Links != 1 || n.Size != 6 || n.Ctime <= a.Ctime {
		s.Fatalf("after the first name is gone: %+v", n)
	}
	s.must("Link", s.link(f, root, "f"))
	s.must("Rename of one name onto the other", s.rename(root, "f", d, "g"))
	if s.find(root, "f") != f || s.find(d, "g") != f {
		s.Fatal("a rename between two names of one object did something")
	}
	s.must("Remove", s.remove(root, "f"))
	s.must("Remove", s.remove(d, "g"))
	_, err = s.fs.GetAttr(s.req(), f)
	s.want("GetAttr", ovs.KindStale, err)
}

func testSymlinks(s *session) {
	target := strings.Repeat("t/", ovs.MaxPath/2)
	a, err := s.symlink(root, "l", target)
	s.must("Symlink", err)
	if a.Type != ovs.TypeLnk || a.Size != uint64(len(target)) || a.Links != 1 {
		s.Fatalf("made %+v", a)
	}
	got, err := s.fs.Readlink(s.req(), a.ID)
	s.must("Readlink", err)
	if got != target {
		s.Fatal("another target")
	}
	_, err = s.symlink(root, "m", target+"x")
	s.want("a target too long", ovs.KindNameTooLong, err)
	_, err = s.fs.Readlink(s.req(), root)
	s.want("Readlink of a directory", ovs.KindInvalid, err)
	_, err = s.lookup(a.ID, "x")
	s.want("Lookup in a link", ovs.KindNotDir, err)
}
