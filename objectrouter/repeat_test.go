package objectrouter

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ovs"
	"ovs/internal/memregistry"
)

// xid is a request that can be known again.
func xid(n uint32) *ovs.Request {
	return &ovs.Request{
		Client: netip.MustParseAddr("10.0.0.1"), ID: ovs.RequestID{XID: n, Sum: 7}, Deadline: time.Now().Add(20 * time.Second),
	}
}

func repeats(t *testing.T, reg ovs.Registry) (n int) {
	t.Helper()
	if err := ovs.Scan(context.Background(), reg, []byte{spaceRepeat}, func(ovs.Pair) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRepeated: each operation that comes again, also after a restart, is answered as it was and not done again.
func TestRepeated(t *testing.T) {
	w := newWorld(t, nil)
	r := w.router()
	file := &ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded}
	create := func(n uint32, name string, c *ovs.Create) (ovs.ObjectID, error) {
		a, _, err := r.Create(xid(n), ovs.RootID, name, c)
		return a.ID, err
	}
	twice := func(what string, f func() error) {
		t.Helper()
		for round := range 3 {
			if err := f(); err != nil {
				t.Fatalf("%s, time %d: %v", what, round+1, err)
			}
			if round == 1 {
				w.end(r)
				r = w.router()
			}
		}
		fsck(t, w.reg)
	}
	var f ovs.ObjectID
	same := func(id ovs.ObjectID, err error) error {
		if f != 0 && id != f {
			return fmt.Errorf("object %d, then %d", f, id)
		}
		f = id
		return err
	}
	twice("Create", func() error { return same(create(1, "f", file)) })
	if _, err := create(2, "f", file); !ovs.Is(err, ovs.KindExists) {
		t.Fatalf("another request: %v", err)
	}
	other := xid(1)
	other.Client = netip.MustParseAddr("10.0.0.2")
	if _, _, err := r.Create(other, ovs.RootID, "f", file); !ovs.Is(err, ovs.KindExists) {
		t.Fatalf("another client: %v", err)
	}
	twice("Link", func() error { _, _, err := r.Link(xid(3), f, ovs.RootID, "l"); return err })
	twice("Rename", func() error { _, _, err := r.Rename(xid(4), ovs.RootID, "f", ovs.RootID, "g"); return err })
	twice("Mkdir", func() error { _, err := create(5, "d", &ovs.Create{Type: ovs.TypeDir}); return err })
	twice("Symlink", func() error { _, err := create(6, "s", &ovs.Create{Type: ovs.TypeLnk, Target: "x"}); return err })
	twice("Rmdir", func() error { _, err := r.Rmdir(xid(7), ovs.RootID, "d"); return err })
	twice("Remove", func() error { _, err := r.Remove(xid(8), ovs.RootID, "g"); return err })
	// What has the name by now is not taken for what had it then.
	again, err := create(9, "g", file)
	if err != nil {
		t.Fatal(err)
	}
	twice("Remove", func() error { _, err := r.Remove(xid(8), ovs.RootID, "g"); return err })
	attrOf(t, r, again)
}

// TestRepeatedAtOnce: the same request in several places at once makes one object, and all hear of it.
func TestRepeatedAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	r := w.router()
	for n := range uint32(30) {
		ids := make([]ovs.ObjectID, 4)
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				a, _, err := r.Create(xid(n+1), ovs.RootID, fmt.Sprint(n), &ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded})
				if err != nil {
					t.Error(err)
				}
				ids[i] = a.ID
			})
		}
		wg.Wait()
		for _, id := range ids {
			if id != ids[0] {
				t.Fatalf("made %v", ids)
			}
		}
	}
	fsck(t, w.reg)
}

// TestRequestsForgotten: requests are remembered for minutes, not for ever.
func TestRequestsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.tune = func(c *Config) { c.Now = func() int64 { return time.Now().UnixNano() } }
		r := w.router()
		for n := range uint32(1200) {
			if _, _, err := r.Create(xid(n+1), ovs.RootID, fmt.Sprint(n), &ovs.Create{Type: ovs.TypeFIFO}); err != nil {
				t.Fatal(err)
			}
		}
		if n := repeats(t, w.reg); n != 1200 {
			t.Fatalf("%d are remembered", n)
		}
		time.Sleep(repeatAge - time.Second)
		synctest.Wait()
		if _, _, err := r.Create(xid(5), ovs.RootID, "4", &ovs.Create{Type: ovs.TypeFIFO}); err != nil {
			t.Fatalf("after almost an age: %v", err)
		}
		time.Sleep(2 * repeatAge)
		synctest.Wait()
		if n := repeats(t, w.reg); n != 0 {
			t.Fatalf("%d are still remembered", n)
		}
		if _, _, err := r.Create(xid(5), ovs.RootID, "4", &ovs.Create{Type: ovs.TypeFIFO}); !ovs.Is(err, ovs.KindExists) {
			t.Fatalf("after two ages: %v", err)
		}
		w.end(r)
	})
}

// TestOnceDespiteTimeouts: sequences whose outcome is unknown are found out about: each operation is done once, and its
// answer is the true one.
func TestOnceDespiteTimeouts(t *testing.T) {
	for seed := range uint64(5) {
		w := newWorld(t, nil)
		r := w.router()
		w.reg.SetFaults(memregistry.Faults{Seed: seed, LostCall: 0.1, LostDone: 0.2})
		rnd := rand.New(rand.NewPCG(seed, 3))
		there := make(map[string]bool)
		for n := range uint32(400) {
			name, to := fmt.Sprintf("f%d", rnd.IntN(5)), fmt.Sprintf("f%d", rnd.IntN(5))
			var err error
			want := ovs.KindUnknown
			switch rnd.IntN(3) {
			case 0:
				if there[name] {
					want = ovs.KindExists
				}
				_, _, err = r.Create(xid(n+1), ovs.RootID, name, &ovs.Create{Type: ovs.TypeFIFO})
				there[name] = true
			case 1:
				if !there[name] {
					want = ovs.KindNotFound
				}
				_, err = r.Remove(xid(n+1), ovs.RootID, name)
				delete(there, name)
			case 2:
				if !there[name] {
					want = ovs.KindNotFound
				}
				_, _, err = r.Rename(xid(n+1), ovs.RootID, name, ovs.RootID, to)
				if there[name] {
					delete(there, name)
					there[to] = true
				}
			}
			if want == ovs.KindUnknown && err != nil || want != ovs.KindUnknown && !ovs.Is(err, want) {
				t.Fatalf("seed %d, operation %d on %s, %s: %v, want %v", seed, n, name, to, err, want)
			}
		}
		w.reg.SetFaults(memregistry.Faults{})
		if x := fsck(t, w.reg); len(x.entries[ovs.RootID]) != len(there) {
			t.Fatalf("%v, want %v", x.entries[ovs.RootID], there)
		}
	}
}

// TestRepeatedTruncation: a SETATTR or CREATE that cut a file off does not do it again when it comes again, also after a
// restart: what was written since stays. So does a guarded SETATTR have its first answer.
func TestRepeatedTruncation(t *testing.T) {
	w := newWorld(t, nil)
	r := w.router()
	zero, mode := uint64(0), uint32(0o600)
	var id ovs.ObjectID
	var guard int64
	truncate := &ovs.Create{Type: ovs.TypeReg, Attr: ovs.SetAttr{Size: &zero}}
	for n, f := range []func(q *ovs.Request) error{
		func(q *ovs.Request) error { // makes it
			a, _, err := r.Create(q, ovs.RootID, "f", truncate)
			id = a.ID
			return err
		},
		func(q *ovs.Request) error { // finds it
			a, _, err := r.Create(q, ovs.RootID, "f", truncate)
			if err == nil && a.ID != id {
				err = fmt.Errorf("file %d, was %d", a.ID, id)
			}
			return err
		},
		func(q *ovs.Request) error { _, err := r.SetAttr(q, id, &ovs.SetAttr{Size: &zero}); return err },
		func(q *ovs.Request) error {
			_, err := r.SetAttr(q, id, &ovs.SetAttr{Mode: &mode, Guard: &guard})
			return err
		},
		func(q *ovs.Request) error {
			_, err := r.SetAttr(q, id, &ovs.SetAttr{Size: &zero, Guard: &guard})
			return err
		},
	} {
		if id != 0 {
			guard = attrOf(t, r, id).Ctime
		}
		for round := range 3 {
			if err := f(xid(uint32(n + 1))); err != nil {
				t.Fatalf("operation %d, time %d: %v", n, round+1, err)
			}
			if round == 0 {
				if err := newUser(r).write(id, 0, "since"); err != nil {
					t.Fatal(err)
				}
			} else if got, err := newUser(r).read(id, 0, 10); err != nil || got != "since" {
				t.Fatalf("operation %d, time %d: %q, %v", n, round+1, got, err)
			}
			if round == 1 {
				w.end(r)
				r = w.router()
			}
		}
	}
}

// TestRepeatedAcrossAges: an age of keys ends while a request is under way, and it comes again and is done before the first.
func TestRepeatedAcrossAges(t *testing.T) {
	w, s, r, u := staged(t)
	u.file(t, "f")
	var id ovs.ObjectID
	s.set(&s.beforeDone, func() {
		w.now.Add(int64(repeatAge))
		if _, err := r.Remove(xid(1), ovs.RootID, "f"); err != nil {
			t.Error(err)
		}
		id = u.file(t, "f")
	})
	if _, err := r.Remove(xid(1), ovs.RootID, "f"); err != nil {
		t.Fatal(err)
	}
	attrOf(t, r, id)
	w.now.Add(int64(repeatAge)) // the second came in the age before this one
	if _, err := r.Remove(xid(1), ovs.RootID, "f"); err != nil {
		t.Fatal(err)
	}
	attrOf(t, r, id)
}
