package albaproxy

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"testing"
	"testing/synctest"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/internal/exhaust"
	"ovs/internal/memregistry"
	"ovs/internal/vfs"
)

// story is a backend with something going wrong in it, and what it was asked for and answered.
type story struct {
	t        *testing.T
	c        *exhaust.Call
	kinds    []ovs.Kind // of errors that may come
	lasting  bool       // it does not end by itself
	crash    *vfs.Crash // the disks, past what goes wrong
	disk     *exhaust.FS
	abm, nsm *memregistry.Registry // the groups, past what goes wrong
	groups   func(ovs.Registry) ovs.Registry
	rand     io.Reader

	p     *Proxy
	over  bool // it lasts, and nothing can be done any more
	data  map[string][]byte
	state map[string]fate
}

func newStory(t *testing.T, c *exhaust.Call) *story {
	crash := vfs.NewCrash(1)
	s := &story{
		t: t, c: c, crash: crash, disk: exhaust.Disk(crash, c, vfs.Rule{Op: "none"}),
		abm: memregistry.New(), nsm: memregistry.New(), groups: func(r ovs.Registry) ovs.Registry { return r },
		rand: rand.NewChaCha8([32]byte{1}), data: map[string][]byte{}, state: map[string]fate{},
	}
	t.Cleanup(func() { // of a story that failed
		if s.p != nil {
			_ = s.p.Close()
		}
	})
	return s
}

// do asks for something, up to three times, and tells whether it was done.
func (s *story) do(what string, ask func(p *Proxy) error) bool {
	s.t.Helper()
	var err error
	for range 3 {
		if s.over {
			return false
		}
		err = ask(s.p)
		if err == nil {
			return true
		}
		var e *ovs.Error
		switch {
		case s.c.Met() == "":
			s.t.Fatalf("%s: %v, and nothing has gone wrong", what, err)
		case !errors.As(err, &e) || e.Op == "" || !slices.Contains(s.kinds, e.Kind):
			s.t.Errorf("%s: %v: kind %v", what, err, ovs.KindOf(err))
		}
		s.settle()
	}
	if s.over = s.lasting; !s.over {
		s.t.Fatalf("%s: it fails again and again: %v", what, err)
	}
	return false
}

// settle waits for what is late, and ends the pauses of disks.
func (s *story) settle() {
	synctest.Wait()
	if s.p == nil {
		return
	}
	for _, d := range s.p.disks {
		for d.behind.Load() > 0 {
			pause(s.ctx(), usageAge)
		}
	}
	forgive(s.p)
}

// open opens the first n ASDs, and the backend with those that can be had.
func (s *story) open(n int) {
	s.t.Helper()
	s.do("Open", func(*Proxy) error {
		c := Config{
			Name: "backend1", ABM: s.groups(s.abm), NSM: []ovs.Registry{s.groups(s.nsm)}, Rand: s.rand,
			Presets: []Policy{{2, 2, 3, 6}, {1, 1, 2, 6}}, CollectEvery: -1, RepairEvery: 1 << 50,
		}
		var err error
		for i := 0; i < n && err == nil; i++ {
			var d *asd.Directory
			if d, err = asd.Open(asd.Options{FS: s.disk, Dir: s.dir(i), Device: s.dir(i), Node: 1, Rand: s.rand}); err == nil {
				c.ASDs = append(c.ASDs, d)
			}
		}
		if err == nil {
			s.p, err = Open(context.Background(), c)
		}
		if err != nil {
			s.p = nil
			for _, d := range c.ASDs {
				_ = d.Close()
			}
		}
		return err
	})
}

func (s *story) close() {
	if s.p != nil {
		if err := s.p.Close(); err != nil && s.c.Met() == "" {
			s.t.Errorf("Close: %v", err)
		}
	}
	s.p = nil
	if n := s.disk.Open(); n != 0 {
		s.t.Errorf("%d files are left open", n)
	}
}

func (s *story) dir(i int) string { return "/asd" + string(rune('0'+i)) }

// space and manifest are the records as they stand.
func (s *story) space() space {
	b, err := s.abm.Get(s.ctx(), append([]byte("backend1\x00n"), "ns"...))
	ok(s.t, err)
	ns, err := decodeSpace(b)
	ok(s.t, err)
	return ns
}

func (s *story) manifest(name string) *manifest {
	b, err := s.nsm.Get(s.ctx(), objectKey(keyManifest, s.space().id, name))
	ok(s.t, err)
	m, err := decodeManifest(b)
	ok(s.t, err)
	return m
}

// damage spoils as much of an object as it can bear: a fragment goes, and if all four stand a unit of another one rots.
func (s *story) damage(name string) {
	if s.over {
		return
	}
	m, removed := s.manifest(name), false
	for i, f := range m.fragments {
		switch file := s.file(m.key(s.space().id, i)); {
		case f.disk == 0 || file == "":
		case !removed:
			ok(s.t, s.crash.Remove(file))
			removed = true
		case m.standing() == 4 && m.k == 2:
			s.write(file, []byte{0xee}, 1030)
			return
		}
	}
}

// stray leaves fragments behind that no manifest names: one that says what it is of, one that does not, and one of a
// namespace that never was. In such a namespace there is a GC epoch, too.
func (s *story) stray(of string) {
	if s.over {
		return
	}
	m, ns, from := s.manifest(of), s.space().id, ""
	for i := range m.fragments {
		from = max(from, s.file(m.key(ns, i)))
	}
	f, err := s.crash.OpenFile(from, os.O_RDONLY, 0)
	ok(s.t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	ok(s.t, err)
	h, err := decodeHeader(b)
	ok(s.t, err)
	for n, k := range []asd.Key{{Namespace: ns, Epoch: h.key.Epoch, Attempt: 1}, {Namespace: ns, Epoch: h.key.Epoch, Attempt: 2}, {Namespace: 999, Epoch: 1, Attempt: 3}} {
		if h.key = k; n == 1 {
			h.key.Attempt = 7 // not what its name says
		}
		h.put(b)
		file := path.Join(path.Dir(from), "../..", k.String())
		ok(s.t, s.crash.MkdirAll(path.Dir(file), 0o755))
		s.write(file, b, 0)
	}
	_, err = s.nsm.Sequence(s.ctx(), ovs.Set(idKey(keyEpoch, 999), epochValue(1)))
	ok(s.t, err)
}

func (s *story) write(file string, b []byte, at int64) {
	f, err := s.crash.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
	ok(s.t, err)
	defer f.Close()
	_, err = f.WriteAt(b, at)
	ok(s.t, err)
}

// file is where a fragment is; "" if nowhere.
func (s *story) file(k asd.Key) string {
	for i := range 4 {
		name := path.Join(s.dir(i), "fragments", k.String())
		if _, err := s.crash.Stat(name); err == nil {
			return name
		}
	}
	return ""
}

// fragments counts what is on the disks.
func (s *story) fragments() (n int) {
	for i := range 4 {
		n += len(s.walk(path.Join(s.dir(i), "fragments")))
	}
	return n
}

func (s *story) walk(dir string) (files []string) {
	list, err := s.crash.ReadDir(dir)
	ok(s.t, err)
	for _, e := range list {
		if name := path.Join(dir, e.Name()); e.IsDir() {
			files = append(files, s.walk(name)...)
		} else {
			files = append(files, name)
		}
	}
	return files
}
