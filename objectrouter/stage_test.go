package objectrouter

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ovs"
)

// stage is a registry on which a test acts between two steps of an operation. Each hook is called once.
type stage struct {
	ovs.Registry
	mu         sync.Mutex // guards the hooks
	afterRead  func()     // a MultiGet or Get has its answer, and has not returned
	beforeDone func()     // a Sequence is built, and not done
	afterDone  func()     // a Sequence is done and followed, and has not returned
}

func (s *stage) act(hook *func()) {
	s.mu.Lock()
	f := *hook
	*hook = nil
	s.mu.Unlock()
	if f != nil {
		f()
	}
}

func (s *stage) set(hook *func(), f func()) {
	s.mu.Lock()
	*hook = f
	s.mu.Unlock()
}

func (s *stage) Get(ctx context.Context, key []byte) ([]byte, error) {
	v, err := s.Registry.Get(ctx, key)
	s.act(&s.afterRead)
	return v, err
}

func (s *stage) MultiGet(ctx context.Context, keys [][]byte) ([][]byte, error) {
	v, err := s.Registry.MultiGet(ctx, keys)
	s.act(&s.afterRead)
	return v, err
}

func (s *stage) Sequence(ctx context.Context, u ...ovs.Update) (uint64, error) {
	s.act(&s.beforeDone)
	i, err := s.Registry.Sequence(ctx, u...)
	s.act(&s.afterDone)
	return i, err
}

func staged(t *testing.T) (*world, *stage, *Router, *user) {
	w := newWorld(t, nil)
	s := &stage{Registry: w.reg}
	w.tune = func(c *Config) { c.Registry = s }
	r := w.router()
	return w, s, r, newUser(r)
}

// TestFillRace: what was read before a change is not kept after it.
func TestFillRace(t *testing.T) {
	_, s, r, u := staged(t)
	d, err := u.create(ovs.RootID, "d", ovs.Create{Type: ovs.TypeDir})
	if err != nil {
		t.Fatal(err)
	}
	r.table.forget()
	r.names.forget()
	mode := uint32(0o711)
	s.set(&s.afterRead, func() {
		if _, err := r.SetAttr(u.rq, d, &ovs.SetAttr{Mode: &mode}); err != nil {
			t.Error(err)
		}
	})
	if _, err := r.GetAttr(u.rq, d); err != nil {
		t.Fatal(err)
	}
	var a ovs.Attr
	if r.TryGetAttr(u.rq, d, &a) && a.Mode != mode {
		t.Fatalf("memory shows mode %o after it became %o", a.Mode, mode)
	}
	attrOf(t, r, ovs.RootID)
	r.names.forget()
	s.set(&s.afterRead, func() { // LOOKUP has read the entry
		if _, err := r.Rmdir(u.rq, ovs.RootID, "d"); err != nil {
			t.Error(err)
		}
	})
	_, _ = r.Lookup(u.rq, ovs.RootID, "d")
	if _, kept := r.names.get(ovs.RootID, "d"); kept {
		t.Fatal("memory keeps a name that is gone")
	}
}

// TestRing: both renames have read their ancestors before the first is done.
func TestRing(t *testing.T) {
	w, s, r, u := staged(t)
	dir := ovs.Create{Type: ovs.TypeDir}
	a, _ := u.create(ovs.RootID, "a", dir)
	b, _ := u.create(ovs.RootID, "b", dir)
	s.set(&s.beforeDone, func() {
		if _, _, err := r.Rename(u.rq, ovs.RootID, "b", a, "b"); err != nil {
			t.Error(err)
		}
	})
	if _, _, err := r.Rename(u.rq, ovs.RootID, "a", b, "a"); !ovs.Is(err, ovs.KindInvalid) {
		t.Fatalf("the second rename: %v", err)
	}
	fsck(t, w.reg)
}

// TestLostUpdate: two SETATTRs at once both count.
func TestLostUpdate(t *testing.T) {
	_, s, r, u := staged(t)
	id := u.file(t, "f")
	uid, mode := uint32(7), uint32(0o600)
	s.set(&s.beforeDone, func() {
		if _, err := r.SetAttr(u.rq, id, &ovs.SetAttr{UID: &uid}); err != nil {
			t.Error(err)
		}
	})
	if _, err := r.SetAttr(u.rq, id, &ovs.SetAttr{Mode: &mode}); err != nil {
		t.Fatal(err)
	}
	if a := attrOf(t, r, id); a.UID != uid || a.Mode != mode {
		t.Fatalf("%+v", a)
	}
}

// TestReplacedMeanwhile: REMOVE takes what has the name at that moment, and only that.
func TestReplacedMeanwhile(t *testing.T) {
	w, s, r, u := staged(t)
	f, g := u.file(t, "f"), u.file(t, "g")
	s.set(&s.beforeDone, func() {
		if _, _, err := r.Rename(u.rq, ovs.RootID, "f", ovs.RootID, "h"); err != nil {
			t.Error(err)
		}
		if _, _, err := r.Rename(u.rq, ovs.RootID, "g", ovs.RootID, "f"); err != nil {
			t.Error(err)
		}
	})
	if _, err := r.Remove(u.rq, ovs.RootID, "f"); err != nil {
		t.Fatal(err)
	}
	attrOf(t, r, f)
	if _, err := r.GetAttr(u.rq, g); !ovs.Is(err, ovs.KindStale) {
		t.Fatalf("GetAttr: %v", err)
	}
	fsck(t, w.reg)
}

// TestSeenBeforeServed: a client that sees a new file before its CREATE has returned waits for it; there is one owner only.
func TestSeenBeforeServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s, r, u := staged(t)
		u.file(t, "before") // the range of inode numbers is there
		s.set(&s.afterDone, func() {
			a, err := w.reg.Get(context.Background(), entryKey(ovs.RootID, "f"))
			if err != nil {
				t.Error(err)
				return
			}
			e, _ := decodeDirent(a)
			r.Write(&ovs.Write{Request: *u.rq, File: e.id, Data: []byte("early"), Done: func(o *ovs.Write) {
				if o.Err != nil {
					t.Error(o.Err)
				}
			}})
			time.Sleep(time.Second)
			synctest.Wait()
		})
		id := u.file(t, "f")
		synctest.Wait()
		if got, err := u.read(id, 0, 5); err != nil || got != "early" {
			t.Fatalf("read %q, %v", got, err)
		}
		if e := w.owner(id); e.epoch != 1 {
			t.Fatalf("%+v", e)
		}
		w.end(r)
	})
}

// TestBuriedAtOnce: data go only when nobody serves them any more, also where the REMOVE has not returned yet.
func TestBuriedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s, r, u := staged(t)
		id := u.file(t, "f")
		s.set(&s.afterDone, func() {
			time.Sleep(time.Second)
			synctest.Wait()
			if w.store.Has(id) {
				t.Error("the undertaker waits for something")
			}
		})
		if _, err := r.Remove(u.rq, ovs.RootID, "f"); err != nil {
			t.Fatal(err)
		}
		w.end(r)
	})
}

// TestAdoptClears: nothing of the file driver's records stays beside the volume's head.
func TestAdoptClears(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.FileLimit = 1 << 20 })
	r := w.router()
	id := newUser(r).file(t, "f")
	table := append(ovs.HeadKey(id), 't')
	if _, err := w.reg.Sequence(context.Background(), ovs.Set(table, []byte("chunks"))); err != nil {
		t.Fatal(err)
	}
	if err := newUser(r).write(id, 1<<20, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.reg.Get(context.Background(), table); !ovs.Is(err, ovs.KindNotFound) {
		t.Fatalf("the chunk table: %v", err)
	}
}

// TestRemovedMeanwhile: a file goes while it is brought up, at each sequence of that, and while it comes to rest.
func TestRemovedMeanwhile(t *testing.T) {
	for skip := range 2 {
		w, s, r, u := staged(t)
		id := u.file(t, "f")
		w.end(r)
		gate := make(chan struct{})
		w.store.OnRecover = func(context.Context, ovs.ObjectID) error { <-gate; return nil }
		r = w.router()
		u = newUser(r)
		remove := func() {
			if _, err := r.Remove(u.rq, ovs.RootID, "f"); err != nil {
				t.Error(err)
			}
		}
		if skip == 0 { // before it serves
			s.set(&s.beforeDone, remove)
		} else { // after, when nobody knows that yet
			s.set(&s.afterDone, remove)
		}
		close(gate)
		eventually(t, "the drop", func() bool { return !w.store.Has(id) && len(readTree(t, w.reg).orphans) == 0 })
		if err := u.write(id, 0, "x"); !ovs.Is(err, ovs.KindStale) {
			t.Fatalf("Write: %v", err)
		}
		w.end(r)
		fsck(t, w.reg)
	}
	for before := range 2 {
		synctest.Test(t, func(t *testing.T) {
			w, s, r, u := staged(t)
			id := u.file(t, "f")
			u.file(t, "g")
			s.set([]*func(){&s.afterDone, &s.beforeDone}[before], func() {
				if _, err := r.Remove(newUser(r).rq, ovs.RootID, "f"); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(3 * time.Minute)
			synctest.Wait()
			if x := fsck(t, w.reg); x.inodes[id] != nil || len(x.orphans) != 0 || len(x.owners) != 1 || r.Served() != 0 || w.store.Has(id) {
				t.Fatalf("left: %+v, %+v; %d served", x.inodes[id], x.owners, r.Served())
			}
			for _, e := range readTree(t, w.reg).owners {
				if e.state != clean {
					t.Errorf("the other one did not come to rest: %+v", e)
				}
			}
			w.end(r)
		})
	}
}

// TestEveryChangeShows: of two changes at once, the one whose time was taken first and that is done last shows too.
func TestEveryChangeShows(t *testing.T) {
	mode, far := uint32(0o700), int64(4e18)
	for what, meanwhile := range map[string]func(r *Router, u *user, d ovs.ObjectID) error{
		"a CREATE": func(_ *Router, u *user, d ovs.ObjectID) error {
			_, err := u.create(d, "other", ovs.Create{Type: ovs.TypeFIFO})
			return err
		},
		"a SETATTR of the mode": func(r *Router, u *user, d ovs.ObjectID) error {
			_, err := r.SetAttr(u.rq, d, &ovs.SetAttr{Mode: &mode})
			return err
		},
		"a SETATTR of the mtime": func(r *Router, u *user, d ovs.ObjectID) error {
			_, err := r.SetAttr(u.rq, d, &ovs.SetAttr{Mtime: &far})
			return err
		},
	} {
		for op, f := range map[string]func(r *Router, u *user, d, file ovs.ObjectID) error{
			"Create": func(_ *Router, u *user, d, _ ovs.ObjectID) error {
				_, err := u.create(d, "new", ovs.Create{Type: ovs.TypeFIFO})
				return err
			},
			"Link": func(r *Router, u *user, d, file ovs.ObjectID) error {
				_, _, err := r.Link(u.rq, file, d, "new")
				return err
			},
			"Remove": func(r *Router, u *user, d, _ ovs.ObjectID) error {
				_, err := r.Remove(u.rq, d, "f")
				return err
			},
			"Rename": func(r *Router, u *user, d, _ ovs.ObjectID) error {
				_, _, err := r.Rename(u.rq, d, "f", ovs.RootID, "f")
				return err
			},
		} {
			_, s, r, u := staged(t)
			d, err := u.create(ovs.RootID, "d", ovs.Create{Type: ovs.TypeDir})
			if err != nil {
				t.Fatal(err)
			}
			file, err := u.create(d, "f", ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded})
			if err != nil {
				t.Fatal(err)
			}
			var between ovs.Attr
			s.set(&s.beforeDone, func() {
				if err := meanwhile(r, u, d); err != nil {
					t.Error(err)
				}
				between = attrOf(t, r, d)
			})
			if err := f(r, u, d, file); err != nil {
				t.Fatal(err)
			}
			if a := attrOf(t, r, d); a.Ctime <= between.Ctime || a.Mtime == between.Mtime {
				t.Errorf("%s after %s: ctime %d, then %d; mtime %d, then %d", op, what, between.Ctime, a.Ctime, between.Mtime, a.Mtime)
			}
		}
	}
}

// TestRenamedShows: a RENAME shows in the file's ctime, also behind a SETATTR that was done meanwhile.
func TestRenamedShows(t *testing.T) {
	_, s, r, u := staged(t)
	id := u.file(t, "f")
	var between ovs.Attr
	s.set(&s.beforeDone, func() {
		mode := uint32(0o600)
		if _, err := r.SetAttr(u.rq, id, &ovs.SetAttr{Mode: &mode}); err != nil {
			t.Error(err)
		}
		between = attrOf(t, r, id)
	})
	if _, _, err := r.Rename(u.rq, ovs.RootID, "f", ovs.RootID, "g"); err != nil {
		t.Fatal(err)
	}
	if a := attrOf(t, r, id); a.Ctime <= between.Ctime || a.Mtime != between.Mtime {
		t.Fatalf("before %+v, after %+v", between, a)
	}
}

// TestRenamedMeanwhile: of two that rename one name to the same other one, the second finds nothing.
func TestRenamedMeanwhile(t *testing.T) {
	w, s, r, u := staged(t)
	u.file(t, "a")
	r.names.forget()
	s.set(&s.afterRead, func() {
		if _, _, err := r.Rename(u.rq, ovs.RootID, "a", ovs.RootID, "b"); err != nil {
			t.Error(err)
		}
	})
	if _, _, err := r.Rename(u.rq, ovs.RootID, "a", ovs.RootID, "b"); !ovs.Is(err, ovs.KindNotFound) {
		t.Fatalf("the second: %v", err)
	}
	fsck(t, w.reg)
}
