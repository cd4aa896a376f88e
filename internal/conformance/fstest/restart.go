package fstest

import (
	"fmt"

	"ovs"
)

func testRestartNames(s *session) {
	d := s.mkdir(root, "d")
	f := s.file(d, "f")
	s.must("Link", s.link(f, root, "g"))
	l, err := s.symlink(d, "l", "target")
	s.must("Symlink", err)
	s.must("Rename", s.rename(d, "l", root, "m"))
	s.must("SetAttr", s.setattr(f, ovs.SetAttr{Mode: ptr(uint32(0o604)), Mtime: ptr(int64(77)), UID: ptr(uint32(5))}))
	gone := s.file(root, "gone")
	s.must("Remove", s.remove(root, "gone"))
	before := []ovs.Attr{s.attr(root), s.attr(d), s.attr(f), s.attr(l.ID)}
	list, _ := s.page(root, 0, 100, false)
	for range 3 {
		s.restart()
		for _, a := range before {
			if b := s.attr(a.ID); b != a {
				s.Fatalf("before %+v, after the restart %+v", a, b)
			}
		}
		again, _ := s.page(root, 0, 100, false)
		if fmt.Sprint(again) != fmt.Sprint(list) {
			s.Fatalf("listed %+v, after the restart %+v", list, again)
		}
		_, err := s.fs.GetAttr(s.req(), gone)
		s.want("GetAttr of what was removed", ovs.KindStale, err)
		if got, err := s.fs.Readlink(s.req(), l.ID); err != nil || got != "target" {
			s.Fatalf("Readlink: %q, %v", got, err)
		}
	}
	if id := s.file(root, "new"); id <= gone {
		s.Fatal("an inode number came back")
	}
}

func testRestartExclusive(s *session) {
	c := ovs.Create{Type: ovs.TypeReg, How: ovs.Exclusive, Verf: 99}
	a, err := s.create(root, "f", c)
	s.must("Create", err)
	s.restart()
	again, err := s.create(root, "f", c)
	s.must("the same CREATE after a restart", err)
	if again.ID != a.ID {
		s.Fatal("another file")
	}
	c.Verf = 98
	_, err = s.create(root, "f", c)
	s.want("another verifier", ovs.KindExists, err)
}

func testRestartData(s *session) {
	s.both(func(id ovs.ObjectID) {
		s.must("Write", s.write(id, 100, []byte("stable")))
		v, err := s.commit(id)
		s.must("Commit", err)
		a := s.attr(id)
		s.restart()
		if b := s.attr(id); b != a {
			s.Fatalf("before %+v, after the restart %+v", a, b)
		}
		got, _, err := s.read(id, 100, 6)
		s.must("Read", err)
		if string(got) != "stable" {
			s.Fatalf("read %q", got)
		}
		w, err := s.commit(id)
		s.must("Commit", err)
		if v == w {
			s.Fatal("the write verifier is the same after a restart")
		}
		s.must("Write", s.write(id, 0, []byte("more")))
	})
}

func testRestartModel(s *session) {
	m := newModel(s, 2)
	for range 8 {
		for range s.config.Steps / 20 {
			m.step()
		}
		m.session.restart()
		m.compare()
	}
}
