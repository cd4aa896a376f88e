package fstest

import (
	"bytes"

	"ovs"
)

// both runs a test on a file and on what the usual patterns make a volume.
func (s *session) both(f func(id ovs.ObjectID)) {
	for _, name := range []string{"file", "disk-flat.vmdk"} {
		f(s.file(root, name))
	}
}

func testData(s *session) {
	s.both(func(id ovs.ObjectID) {
		got, eof, err := s.read(id, 0, 10)
		s.must("Read of nothing", err)
		if len(got) != 0 || !eof {
			s.Fatalf("read %d bytes of an empty file, eof %v", len(got), eof)
		}
		s.must("Write", s.write(id, 0, []byte("hello world")))
		s.must("Write", s.write(id, 6, []byte("there")))
		got, eof, err = s.read(id, 0, 100)
		s.must("Read", err)
		if string(got) != "hello there" || !eof {
			s.Fatalf("read %q, eof %v", got, eof)
		}
		if got, eof, _ = s.read(id, 0, 5); string(got) != "hello" || eof {
			s.Fatalf("read %q, eof %v", got, eof)
		}
		if got, eof, _ = s.read(id, 6, 5); string(got) != "there" || !eof {
			s.Fatalf("read %q, eof %v: the read ends at the end", got, eof)
		}
		if got, eof, _ = s.read(id, 1<<40, 5); len(got) != 0 || !eof {
			s.Fatal("read past the end")
		}
		// A hole reads as zeros and takes no space.
		big := bytes.Repeat([]byte{0xa5}, 64<<10)
		s.must("Write far out", s.write(id, 8<<20, big))
		a := s.attr(id)
		if a.Size != 8<<20+64<<10 {
			s.Fatalf("size %d", a.Size)
		}
		got, _, err = s.read(id, 11, 64<<10)
		s.must("Read of a hole", err)
		if !bytes.Equal(got, make([]byte, 64<<10)) {
			s.Fatal("a hole is not zero")
		}
		if got, _, _ = s.read(id, 8<<20-100, 200); !bytes.Equal(got, append(make([]byte, 100), big[:100]...)) {
			s.Fatal("read across the end of a hole")
		}
		v, err := s.commit(id)
		s.must("Commit", err)
		if w, _ := s.commit(id); w != v {
			s.Fatal("the verifier changed by itself")
		}
		s.must("an empty write", s.write(id, 1<<30, nil))
		if s.attr(id).Size != a.Size {
			s.Fatal("an empty write changed the size")
		}
	})
}

func testDataErrors(s *session) {
	l, err := s.symlink(root, "l", "x")
	s.must("Symlink", err)
	for _, c := range []struct {
		id   ovs.ObjectID
		kind ovs.Kind
	}{{root, ovs.KindIsDir}, {l.ID, ovs.KindInvalid}} {
		_, _, err := s.read(c.id, 0, 1)
		s.want("Read", c.kind, err)
		s.want("Write", c.kind, s.write(c.id, 0, []byte("x")))
		_, err = s.commit(c.id)
		s.want("Commit", c.kind, err)
	}
	s.both(func(id ovs.ObjectID) {
		s.want("Write past the largest size", ovs.KindTooBig, s.write(id, ovs.MaxFileSize, []byte("x")))
		s.want("Write at the end of numbers", ovs.KindTooBig, s.write(id, 1<<64-1, []byte("x")))
		s.want("Resize past the largest size", ovs.KindTooBig, s.setattr(id, ovs.SetAttr{Size: ptr(uint64(ovs.MaxFileSize + 1))}))
		_, eof, err := s.read(id, 1<<64-1, 10)
		s.must("Read at the end of numbers", err)
		if !eof {
			s.Fatal("no end")
		}
	})
}

func testDataAccess(s *session) {
	s.must("chmod", s.setattr(root, ovs.SetAttr{Mode: ptr(uint32(0o777))}))
	owner, other := s.as(7, 8), s.as(17, 18)
	f := owner.file(root, "f")
	for _, c := range []struct {
		mode        uint32
		read, write bool
	}{{0o000, false, false}, {0o004, true, false}, {0o002, false, true}, {0o001, true, false}, {0o770, false, false}} {
		s.must("chmod", s.setattr(f, ovs.SetAttr{Mode: &c.mode}))
		s.must("Write by the owner", owner.write(f, 0, []byte("x")))
		_, _, err := owner.read(f, 0, 1)
		s.must("Read by the owner", err)
		s.must("Write by root", s.write(f, 0, []byte("x")))
		if err = other.write(f, 0, []byte("x")); c.write != (err == nil) || err != nil && !ovs.Is(err, ovs.KindAccess) {
			s.Fatalf("Write in mode %o: %v", c.mode, err)
		}
		if _, _, err = other.read(f, 0, 1); c.read != (err == nil) || err != nil && !ovs.Is(err, ovs.KindAccess) {
			s.Fatalf("Read in mode %o: %v", c.mode, err)
		}
	}
}

func testResize(s *session) {
	s.both(func(id ovs.ObjectID) {
		s.must("Write", s.write(id, 0, bytes.Repeat([]byte{1}, 10000)))
		s.must("shrink", s.setattr(id, ovs.SetAttr{Size: ptr(uint64(5000))}))
		s.must("grow", s.setattr(id, ovs.SetAttr{Size: ptr(uint64(20000))}))
		got, _, err := s.read(id, 0, 20000)
		s.must("Read", err)
		want := append(bytes.Repeat([]byte{1}, 5000), make([]byte, 15000)...)
		if !bytes.Equal(got, want) {
			s.Fatal("what a shrink cut off came back")
		}
		s.must("to nothing", s.setattr(id, ovs.SetAttr{Size: ptr(uint64(0))}))
		if a := s.attr(id); a.Size != 0 {
			s.Fatalf("size %d", a.Size)
		}
		s.must("to 64 TiB", s.setattr(id, ovs.SetAttr{Size: ptr(uint64(ovs.MaxFileSize))}))
		if a := s.attr(id); a.Size != ovs.MaxFileSize || a.Used > 1<<20 {
			s.Fatalf("sparse: %+v", a)
		}
	})
}
