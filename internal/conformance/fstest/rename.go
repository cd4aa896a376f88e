package fstest

import "ovs"

func testRename(s *session) {
	f, a, b := s.file(root, "f"), s.mkdir(root, "a"), s.mkdir(root, "b")
	before := s.attr(f)
	s.must("Rename", s.rename(root, "f", root, "g"))
	s.absent(root, "f")
	if s.find(root, "g") != f || s.attr(f).Ctime <= before.Ctime {
		s.Fatal("not renamed")
	}
	s.must("Rename to another directory", s.rename(root, "g", a, "g"))
	s.absent(root, "g")
	if s.find(a, "g") != f {
		s.Fatal("not moved")
	}
	s.must("Rename onto itself", s.rename(a, "g", a, "g"))
	s.find(a, "g")
	s.want("Rename of nothing", ovs.KindNotFound, s.rename(a, "nothing", a, "x"))
	s.want("Rename of nothing onto a file", ovs.KindNotFound, s.rename(a, "nothing", a, "g"))

	s.must("Rename of a directory", s.rename(root, "a", b, "c"))
	if s.find(b, "c") != a || s.find(a, "..") != b || s.find(a, "g") != f {
		s.Fatal("a directory moved wrongly")
	}
	if s.attr(root).Links != 3 || s.attr(b).Links != 3 || s.attr(a).Links != 2 {
		s.Fatalf("links: root %d, b %d, a %d", s.attr(root).Links, s.attr(b).Links, s.attr(a).Links)
	}
	s.must("Rename of a directory in place", s.rename(b, "c", b, "d"))
	if s.attr(b).Links != 3 || s.find(b, "d") != a || s.find(a, "..") != b {
		s.Fatal("a directory renamed wrongly")
	}
}

func testRenameOver(s *session) {
	f, g := s.file(root, "f"), s.file(root, "g")
	s.must("Write", s.write(f, 0, []byte("new")))
	s.must("Write", s.write(g, 0, []byte("older")))
	s.must("Rename over a file", s.rename(root, "f", root, "g"))
	s.absent(root, "f")
	if s.find(root, "g") != f || s.attr(f).Links != 1 {
		s.Fatal("not replaced")
	}
	_, err := s.fs.GetAttr(s.req(), g)
	s.want("GetAttr of what was replaced", ovs.KindStale, err)
	if got, _, err := s.read(f, 0, 10); err != nil || string(got) != "new" {
		s.Fatalf("read %q, %v", got, err)
	}
	// Over one of two names: the other stays.
	h := s.file(root, "h")
	s.must("Link", s.link(h, root, "h2"))
	s.must("Rename", s.rename(root, "g", root, "h"))
	if s.find(root, "h2") != h || s.attr(h).Links != 1 || s.find(root, "h") != f {
		s.Fatal("over one of two names")
	}

	d, e := s.mkdir(root, "d"), s.mkdir(root, "e")
	s.want("a directory over a file", ovs.KindNotDir, s.rename(root, "d", root, "h"))
	s.want("a file over a directory", ovs.KindIsDir, s.rename(root, "h", root, "d"))
	s.file(e, "x")
	s.want("over a filled directory", ovs.KindNotEmpty, s.rename(root, "d", root, "e"))
	s.must("Remove", s.remove(e, "x"))
	s.must("over an empty directory", s.rename(root, "d", root, "e"))
	if s.find(root, "e") != d || s.attr(root).Links != 3 {
		s.Fatalf("directory over directory: root has %d links", s.attr(root).Links)
	}
	_, err = s.fs.GetAttr(s.req(), e)
	s.want("GetAttr of the directory replaced", ovs.KindStale, err)
	// Across directories.
	sub := s.mkdir(d, "sub")
	i := s.mkdir(root, "i")
	s.must("an empty one across directories", s.rename(d, "sub", root, "i"))
	if s.find(root, "i") != sub || s.find(sub, "..") != root || s.attr(root).Links != 4 || s.attr(d).Links != 2 {
		s.Fatal("directory over directory across directories")
	}
	_, err = s.fs.GetAttr(s.req(), i)
	s.want("GetAttr", ovs.KindStale, err)
	// Over a parent: it is not empty, it holds what is renamed.
	s.mkdir(sub, "child")
	s.want("over one's parent", ovs.KindNotEmpty, s.rename(sub, "child", root, "i"))
	s.find(sub, "child")
}

func testRenameRings(s *session) {
	a := s.mkdir(root, "a")
	b := s.mkdir(a, "b")
	c := s.mkdir(b, "c")
	s.want("into itself", ovs.KindInvalid, s.rename(root, "a", a, "x"))
	s.want("below itself", ovs.KindInvalid, s.rename(root, "a", c, "x"))
	s.want("below its child", ovs.KindInvalid, s.rename(root, "a", b, "c"))
	s.must("up", s.rename(b, "c", root, "c"))
	s.must("down", s.rename(root, "a", c, "a"))
	if s.find(a, "..") != c || s.find(b, "..") != a || s.find(c, "..") != root {
		s.Fatal("wrong parents")
	}
	s.want("back into a ring", ovs.KindInvalid, s.rename(root, "c", b, "x"))
}
