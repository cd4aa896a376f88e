package fstest

import "ovs"

func testSetAttr(s *session) {
	f := s.file(root, "f")
	s.must("Write", s.write(f, 0, []byte("12345")))
	a := s.attr(f)
	w, err := s.fs.SetAttr(s.req(), f, &ovs.SetAttr{Mode: ptr(uint32(0o4711)), UID: ptr(uint32(3)), GID: ptr(uint32(4)), Atime: ptr(int64(-5)), Mtime: ptr(int64(1_000_000_007))})
	s.must("SetAttr", err)
	b := s.attr(f)
	if b.Mode != 0o4711 || b.UID != 3 || b.GID != 4 || b.Atime != -5 || b.Mtime != 1_000_000_007 || b.Ctime <= a.Ctime || b.Size != 5 {
		s.Fatalf("set %+v", b)
	}
	if w.HasAfter && w.After != b {
		s.Fatalf("wcc after %+v, GetAttr %+v", w.After, b)
	}
	if w.HasBefore && (w.CtimeB != a.Ctime || w.MtimeB != a.Mtime || w.SizeBefore != a.Size) {
		s.Fatalf("wcc before %+v, it was %+v", w, a)
	}
	s.must("Write", s.write(f, 0, []byte("x")))
	if c := s.attr(f); c.Mtime <= 1_000_000_007 || c.Ctime <= b.Ctime {
		s.Fatalf("a write after a SETATTR of mtime shows %+v", c)
	}
	// The guard is the ctime shown.
	c := s.attr(f).Ctime
	s.want("a guard that is old", ovs.KindConflict, s.setattr(f, ovs.SetAttr{Mode: ptr(uint32(0o600)), Guard: ptr(a.Ctime)}))
	s.must("the right guard", s.setattr(f, ovs.SetAttr{Mode: ptr(uint32(0o600)), Guard: &c}))
	s.want("the same guard again", ovs.KindConflict, s.setattr(f, ovs.SetAttr{Size: ptr(uint64(0)), Guard: &c}))
	if s.attr(f).Size != 5 {
		s.Fatal("a refused SETATTR changed the size")
	}
	s.must("an empty one", s.setattr(f, ovs.SetAttr{}))
	s.want("Size of a directory", ovs.KindIsDir, s.setattr(root, ovs.SetAttr{Size: ptr(uint64(0))}))
	l, err := s.symlink(root, "l", "x")
	s.must("Symlink", err)
	s.want("Size of a link", ovs.KindInvalid, s.setattr(l.ID, ovs.SetAttr{Size: ptr(uint64(0))}))
	s.must("mode of a directory", s.setattr(root, ovs.SetAttr{Mode: ptr(uint32(0o1777))}))
	if m := s.attr(root).Mode; m != 0o1777 {
		s.Fatalf("mode %o", m)
	}
}

func testSetAttrAccess(s *session) {
	s.must("chmod", s.setattr(root, ovs.SetAttr{Mode: ptr(uint32(0o777))}))
	owner, member, other := s.as(7, 8, 9), s.as(17, 8), s.as(27, 28)
	f := owner.file(root, "f")
	s.must("chmod by the owner", owner.setattr(f, ovs.SetAttr{Mode: ptr(uint32(0o620))}))
	s.want("chmod by another", ovs.KindPermission, member.setattr(f, ovs.SetAttr{Mode: ptr(uint32(0o777))}))
	s.want("chown by the owner", ovs.KindPermission, owner.setattr(f, ovs.SetAttr{UID: ptr(uint32(9))}))
	s.must("chown to oneself", owner.setattr(f, ovs.SetAttr{UID: ptr(uint32(7))}))
	s.must("chgrp to a group of one's own", owner.setattr(f, ovs.SetAttr{GID: ptr(uint32(9))}))
	s.must("and back", owner.setattr(f, ovs.SetAttr{GID: ptr(uint32(8))}))
	s.want("chgrp to a foreign one", ovs.KindPermission, owner.setattr(f, ovs.SetAttr{GID: ptr(uint32(99))}))
	s.want("times by another", ovs.KindPermission, member.setattr(f, ovs.SetAttr{Mtime: ptr(int64(1))}))
	s.must("the server's time with w", member.setattr(f, ovs.SetAttr{Mtime: ptr(ovs.SetToServer)}))
	s.want("the server's time without", ovs.KindAccess, other.setattr(f, ovs.SetAttr{Mtime: ptr(ovs.SetToServer)}))
	s.must("truncate with w", member.setattr(f, ovs.SetAttr{Size: ptr(uint64(10))}))
	s.want("truncate without", ovs.KindAccess, other.setattr(f, ovs.SetAttr{Size: ptr(uint64(0))}))
	s.must("chmod to nothing", owner.setattr(f, ovs.SetAttr{Mode: ptr(uint32(0))}))
	s.must("truncate by the owner", owner.setattr(f, ovs.SetAttr{Size: ptr(uint64(3))}))
}

func testAccess(s *session) {
	d := s.mkdir(root, "d")
	f := s.file(d, "f")
	u := s.as(7, 8)
	for _, c := range []struct {
		mode       uint32
		look, make bool
	}{{0o700, false, false}, {0o701, true, false}, {0o703, true, true}, {0o702, false, false}, {0o704, false, false}} {
		s.must("chmod", s.setattr(d, ovs.SetAttr{Mode: &c.mode}))
		_, err := u.lookup(d, "f")
		if c.look != (err == nil) || err != nil && !ovs.Is(err, ovs.KindAccess) {
			s.Fatalf("Lookup in %o: %v", c.mode, err)
		}
		_, err = u.create(d, "g", ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded})
		if c.make != (err == nil) || err != nil && !ovs.Is(err, ovs.KindAccess) {
			s.Fatalf("Create in %o: %v", c.mode, err)
		}
		if c.make {
			s.must("Rename", u.rename(d, "g", d, "h"))
			s.must("Link", u.link(f, d, "g"))
			s.must("Remove", u.remove(d, "g"))
			s.must("Remove", u.remove(d, "h"))
			continue
		}
		s.want("Remove", ovs.KindAccess, u.remove(d, "f"))
		s.want("Rename", ovs.KindAccess, u.rename(d, "f", d, "g"))
		s.want("Link", ovs.KindAccess, u.link(f, d, "g"))
		_, err = u.create(d, "e", ovs.Create{Type: ovs.TypeDir})
		s.want("Mkdir", ovs.KindAccess, err)
	}
	_, err := u.fs.ReadDir(u.req(), d, 0, false, func(*ovs.DirEntry) bool { return true })
	s.must("ReadDir with r", err)
	s.must("chmod", s.setattr(d, ovs.SetAttr{Mode: ptr(uint32(0o703))}))
	_, err = u.fs.ReadDir(u.req(), d, 0, false, func(*ovs.DirEntry) bool { return true })
	s.want("ReadDir without r", ovs.KindAccess, err)
	// The group's bits count for a member, and only they.
	s.must("chmod", s.setattr(d, ovs.SetAttr{Mode: ptr(uint32(0o707)), GID: ptr(uint32(8))}))
	_, err = u.lookup(d, "f")
	s.want("Lookup by a member", ovs.KindAccess, err)
}

func testSticky(s *session) {
	s.must("chmod", s.setattr(root, ovs.SetAttr{Mode: ptr(uint32(0o1777))}))
	a, b := s.as(7, 7), s.as(8, 8)
	a.file(root, "a")
	b.file(root, "b")
	b.mkdir(root, "bd")
	s.want("Remove", ovs.KindPermission, a.remove(root, "b"))
	s.want("Rmdir", ovs.KindPermission, a.rmdir(root, "bd"))
	s.want("Rename", ovs.KindPermission, a.rename(root, "b", root, "c"))
	s.want("Rename over", ovs.KindPermission, a.rename(root, "a", root, "b"))
	s.must("Rename", a.rename(root, "a", root, "c"))
	s.must("Remove by the owner", b.remove(root, "b"))
	s.must("Remove by root", s.remove(root, "c"))
}

// testTimes: times never fall, and every change shows.
func testTimes(s *session) {
	d, e := s.mkdir(root, "d"), s.mkdir(root, "e")
	changed := func(what string, id ovs.ObjectID, mtime bool, f func()) {
		s.Helper()
		a := s.attr(id)
		f()
		b := s.attr(id)
		if b.Ctime <= a.Ctime || mtime != (b.Mtime > a.Mtime) || b.Mtime < a.Mtime {
			s.Fatalf("%s: times from %+v to %+v", what, a, b)
		}
	}
	var f ovs.ObjectID
	changed("Create", d, true, func() { f = s.file(d, "f") })
	changed("Mkdir", d, true, func() { s.mkdir(d, "g") })
	changed("Rmdir", d, true, func() { s.must("", s.rmdir(d, "g")) })
	changed("Link", d, true, func() { s.must("", s.link(f, d, "h")) })
	changed("Link", f, false, func() { s.must("", s.link(f, d, "i")) })
	changed("Remove", d, true, func() { s.must("", s.remove(d, "h")) })
	changed("Remove", f, false, func() { s.must("", s.remove(d, "i")) })
	changed("Rename from", d, true, func() { s.must("", s.rename(d, "f", e, "f")) })
	changed("Rename to", d, true, func() { s.must("", s.rename(e, "f", d, "f")) })
	changed("Rename", f, false, func() { s.must("", s.rename(d, "f", d, "j")) })
	changed("Write", f, true, func() { s.must("", s.write(f, 0, []byte("x"))) })
	changed("Truncate", f, true, func() { s.must("", s.setattr(f, ovs.SetAttr{Size: ptr(uint64(0))})) })
	changed("Truncate to the same", f, true, func() { s.must("", s.setattr(f, ovs.SetAttr{Size: ptr(uint64(0))})) })
	changed("Chmod", f, false, func() { s.must("", s.setattr(f, ovs.SetAttr{Mode: ptr(uint32(0o600))})) })
	changed("Write after a Chmod", f, true, func() { s.must("", s.write(f, 0, []byte("x"))) })
	changed("Chmod of a directory", d, false, func() { s.must("", s.setattr(d, ovs.SetAttr{Mode: ptr(uint32(0o711))})) })
	changed("Link after a write", f, false, func() { s.must("", s.link(f, d, "k")) })
	far := int64(4e18)
	s.must("a far mtime", s.setattr(d, ovs.SetAttr{Mtime: &far}))
	if m := s.attr(d).Mtime; m != far {
		s.Fatalf("mtime %d, want %d", m, far)
	}
	s.file(d, "l")
	if m := s.attr(d).Mtime; m == far {
		s.Fatal("a change does not show behind a far mtime")
	}
}

// testWcc: attributes before, where they are given, are those before, and attributes after those after.
func testWcc(s *session) {
	check := func(what string, dir ovs.ObjectID, f func() (ovs.Wcc, error)) {
		s.Helper()
		before := s.attr(dir)
		w, err := f()
		s.must(what, err)
		if w.HasBefore && (w.CtimeB != before.Ctime || w.MtimeB != before.Mtime || w.SizeBefore != before.Size) {
			s.Fatalf("%s: before %+v, it was %+v", what, w, before)
		}
		if after := s.attr(dir); w.HasAfter && w.After != after {
			s.Fatalf("%s: after %+v, it is %+v", what, w.After, after)
		}
	}
	d, sized := s.mkdir(root, "d"), s.file(root, "sized")
	for _, size := range []uint64{10, 10, 0} {
		check("SetAttr of the size", sized, func() (ovs.Wcc, error) {
			return s.fs.SetAttr(s.req(), sized, &ovs.SetAttr{Size: &size})
		})
	}
	check("SetAttr of the mode", sized, func() (ovs.Wcc, error) {
		return s.fs.SetAttr(s.req(), sized, &ovs.SetAttr{Mode: ptr(uint32(0o600))})
	})
	check("Create", root, func() (ovs.Wcc, error) {
		_, w, err := s.fs.Create(s.req(), root, "f", &ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded})
		return w, err
	})
	check("Rename from", root, func() (ovs.Wcc, error) {
		w, _, err := s.fs.Rename(s.req(), root, "f", d, "g")
		return w, err
	})
	check("Rename to", root, func() (ovs.Wcc, error) {
		_, w, err := s.fs.Rename(s.req(), d, "g", root, "h")
		return w, err
	})
	check("Link", d, func() (ovs.Wcc, error) {
		_, w, err := s.fs.Link(s.req(), s.find(root, "h"), d, "i")
		return w, err
	})
	check("Remove", root, func() (ovs.Wcc, error) { return s.fs.Remove(s.req(), root, "h") })
	check("Remove", d, func() (ovs.Wcc, error) { return s.fs.Remove(s.req(), d, "i") })
	check("Rmdir", root, func() (ovs.Wcc, error) { return s.fs.Rmdir(s.req(), root, "d") })
}

func testStat(s *session) {
	st, err := s.fs.Stat(s.req())
	s.must("Stat", err)
	if st.TotalBytes == 0 || st.FreeBytes > st.TotalBytes || st.AvailBytes > st.FreeBytes || st.TotalFiles == 0 || st.FreeFiles > st.TotalFiles {
		s.Fatalf("%+v", st)
	}
}
