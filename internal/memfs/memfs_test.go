package memfs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"ovs"
)

func write(t *testing.T, fs *FS, id ovs.ObjectID, off uint64, data []byte, how ovs.Stability) ovs.Write {
	t.Helper()
	done := false
	w := ovs.Write{File: id, Off: off, Data: data, Stable: how, Done: func(*ovs.Write) { done = true }}
	fs.Write(&w)
	if !done || w.Err != nil {
		t.Fatalf("write: done %v, %v", done, w.Err)
	}
	return w
}

func commit(fs *FS, id ovs.ObjectID) ovs.Verifier {
	c := ovs.Commit{File: id, Done: func(*ovs.Commit) {}}
	fs.Commit(&c)
	return c.Verf
}

func content(t *testing.T, fs *FS, id ovs.ObjectID) []byte {
	t.Helper()
	a, err := fs.GetAttr(&ovs.Request{}, id)
	if err != nil {
		t.Fatal(err)
	}
	r := ovs.Read{File: id, Dst: make([]byte, a.Size+10)}
	if !fs.TryRead(&r) || r.Err != nil || !r.EOF || uint64(r.N) != a.Size {
		t.Fatalf("read of %d bytes: %d, eof %v, %v", a.Size, r.N, r.EOF, r.Err)
	}
	return r.Dst[:r.N]
}

func newFile(t *testing.T, fs *FS, name string) ovs.ObjectID {
	t.Helper()
	a, _, err := fs.Create(&ovs.Request{}, ovs.RootID, name, &ovs.Create{Type: ovs.TypeReg})
	if err != nil {
		t.Fatal(err)
	}
	return a.ID
}

// A file against a model of two byte slices: what is shown, and what a crash leaves.
func TestStabilityAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		fs := New(Options{})
		id := newFile(t, fs, "f")
		var now, stable []byte
		put := func(to []byte, off int, data []byte) []byte {
			if need := off + len(data); need > len(to) {
				to = append(to, make([]byte, need-len(to))...)
			}
			copy(to[off:], data)
			return to
		}
		verf := commit(fs, id)
		for step := range 400 {
			off, data := rng.IntN(30_000), make([]byte, 1+rng.IntN(9000))
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			switch rng.IntN(12) {
			case 0, 1, 2, 3, 4:
				write(t, fs, id, uint64(off), data, ovs.Unstable)
				now = put(now, off, data)
			case 5, 6, 7:
				write(t, fs, id, uint64(off), data, ovs.FileSync)
				now, stable = put(now, off, data), put(stable, off, data)
			case 8, 9:
				if v := commit(fs, id); v != verf {
					t.Fatal("the verifier changed without a crash")
				}
				stable = bytes.Clone(now)
			case 10:
				size := uint64(rng.IntN(40_000))
				if _, err := fs.SetAttr(&ovs.Request{}, id, &ovs.SetAttr{Size: &size}); err != nil {
					t.Fatal(err)
				}
				now = append(now, make([]byte, 40_000)...)[:size]
				stable = bytes.Clone(now)
			case 11:
				fs.Crash()
				now = bytes.Clone(stable)
				v := commit(fs, id)
				if v == verf {
					t.Fatal("the verifier survived a crash")
				}
				verf = v
			}
			if got := content(t, fs, id); !bytes.Equal(got, now) {
				t.Fatalf("seed %d step %d: the content differs", seed, step)
			}
		}
		if _, err := fs.Remove(&ovs.Request{}, ovs.RootID, "f"); err != nil {
			t.Fatal(err)
		}
		if fs.pages != 0 {
			t.Fatalf("%d pages are left of nothing", fs.pages)
		}
	}
}

func TestCloneGoesItsOwnWay(t *testing.T) {
	fs := New(Options{})
	id := newFile(t, fs, "f")
	write(t, fs, id, 0, []byte("one"), ovs.Unstable)
	c := fs.Clone()
	write(t, c, id, 0, []byte("two"), ovs.FileSync)
	newFile(t, c, "g")
	if got := content(t, fs, id); string(got) != "one" {
		t.Errorf("%q", got)
	}
	if _, err := fs.Lookup(&ovs.Request{}, ovs.RootID, "g"); !ovs.Is(err, ovs.KindNotFound) {
		t.Error(err)
	}
	fs.Crash()
	if got := content(t, c, id); string(got) != "two" {
		t.Errorf("%q", got)
	}
}

func TestPermissions(t *testing.T) {
	fs := New(Options{})
	root := &ovs.Request{}
	user := &ovs.Request{Cred: ovs.Cred{UID: 10, GID: 20, NGroups: 1, Groups: [16]uint32{30}}}
	other := &ovs.Request{Cred: ovs.Cred{UID: 11, GID: 21}}
	mode := func(m uint32) ovs.SetAttr { return ovs.SetAttr{Mode: &m} }
	d, _, err := fs.Create(user, ovs.RootID, "d", &ovs.Create{Type: ovs.TypeDir, Attr: mode(0o755)})
	if err != nil {
		t.Fatal(err)
	}
	f, _, err := fs.Create(user, d.ID, "f", &ovs.Create{Type: ovs.TypeReg, Attr: mode(0o400)})
	if err != nil {
		t.Fatal(err)
	}
	do := func(r *ovs.Request, off uint64) error {
		w := ovs.Write{Request: *r, File: f.ID, Off: off, Data: []byte("x"), Done: func(*ovs.Write) {}}
		fs.Write(&w)
		return w.Err
	}
	if err := do(user, 0); err != nil {
		t.Errorf("the owner writes whatever the mode says: %v", err)
	}
	for what, err := range map[string]error{
		"write": do(other, 0),
		"create": func() error {
			_, _, err := fs.Create(other, d.ID, "g", &ovs.Create{Type: ovs.TypeReg})
			return err
		}(),
		"remove": func() error { _, err := fs.Remove(other, d.ID, "f"); return err }(),
		"rename": func() error { _, _, err := fs.Rename(other, d.ID, "f", ovs.RootID, "f"); return err }(),
	} {
		if !ovs.Is(err, ovs.KindAccess) {
			t.Errorf("%s by another: %v", what, err)
		}
	}
	gid := uint32(30)
	if _, err := fs.SetAttr(user, f.ID, &ovs.SetAttr{GID: &gid}); err != nil {
		t.Errorf("chgrp to one's own group: %v", err)
	}
	gid = 31
	if _, err := fs.SetAttr(user, f.ID, &ovs.SetAttr{GID: &gid}); !ovs.Is(err, ovs.KindPermission) {
		t.Errorf("chgrp to another group: %v", err)
	}
	sticky := mode(0o1777)
	if _, err := fs.SetAttr(root, ovs.RootID, &sticky); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Rmdir(other, ovs.RootID, "d"); !ovs.Is(err, ovs.KindPermission) {
		t.Errorf("removal from a sticky directory: %v", err)
	}
	suid := mode(0o6755)
	if _, err := fs.SetAttr(user, f.ID, &suid); err != nil {
		t.Fatal(err)
	}
	if err := do(user, 1); err != nil {
		t.Fatal(err)
	}
	if a, _ := fs.GetAttr(root, f.ID); a.Mode != 0o755 {
		t.Errorf("mode %o after a write", a.Mode)
	}
}

func TestNoSpace(t *testing.T) {
	fs := New(Options{Capacity: 16 * pageSize})
	id := newFile(t, fs, "f")
	var err error
	for i := 0; err == nil && i < 20; i++ {
		w := ovs.Write{File: id, Off: uint64(i) * pageSize, Data: make([]byte, pageSize), Done: func(*ovs.Write) {}}
		fs.Write(&w)
		err = w.Err
	}
	if !ovs.Is(err, ovs.KindNoSpace) {
		t.Error(err)
	}
}

func TestCookies(t *testing.T) {
	fs := New(Options{})
	for i := range 10 {
		newFile(t, fs, fmt.Sprint(i))
	}
	list := func(after uint64) (names string, last uint64) {
		_, err := fs.ReadDir(&ovs.Request{}, ovs.RootID, after, true, func(e *ovs.DirEntry) bool {
			if e.Cookie <= last || e.Attr == nil || e.Attr.ID != e.ID {
				t.Fatalf("%+v", e)
			}
			names, last = names+e.Name, e.Cookie
			return len(names) < 6
		})
		if err != nil {
			t.Fatal(err)
		}
		return names, last
	}
	first, at := list(0)
	if first != "...012" {
		t.Errorf("%q", first)
	}
	for _, n := range []string{"2", "3"} {
		if _, err := fs.Remove(&ovs.Request{}, ovs.RootID, n); err != nil {
			t.Fatal(err)
		}
	}
	if next, _ := list(at); next != "456789" {
		t.Errorf("%q", next)
	}
}
