package objectrouter

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ovs"
)

// owner reads the registry entry of id past all memory.
func (w *world) owner(id ovs.ObjectID) entry {
	w.t.Helper()
	v, err := w.reg.Get(context.Background(), ownerKey(id))
	if err != nil {
		w.t.Fatal(err)
	}
	e, err := decodeEntry(v)
	if err != nil {
		w.t.Fatal(err)
	}
	return *e
}

func attrOf(t *testing.T, r *Router, id ovs.ObjectID) ovs.Attr {
	t.Helper()
	a, err := r.GetAttr(newUser(r).rq, id)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestRest: what is left alone becomes clean, shows the same, and is taken under a new epoch when it is touched.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		r := w.router()
		var ids []ovs.ObjectID
		for i := range 40 {
			id := newUser(r).file(t, fmt.Sprintf("f%d", i))
			ids = append(ids, id)
			if err := newUser(r).write(id, uint64(i)*5000, "data"); err != nil {
				t.Fatal(err)
			}
		}
		mode := uint32(0o600)
		if _, err := r.SetAttr(newUser(r).rq, ids[3], &ovs.SetAttr{Mode: &mode}); err != nil {
			t.Fatal(err)
		}
		before := make([]ovs.Attr, len(ids))
		for i, id := range ids {
			before[i] = attrOf(t, r, id)
		}
		time.Sleep(30 * time.Second)
		if err := newUser(r).write(ids[0], 0, "still busy"); err != nil {
			t.Fatal(err)
		}
		before[0] = attrOf(t, r, ids[0])
		time.Sleep(45 * time.Second)
		synctest.Wait()
		if e := w.owner(ids[0]); e.state != serving || e.epoch != 1 || r.Served() != 1 {
			t.Fatalf("what was touched is %+v; %d are served", e, r.Served())
		}
		time.Sleep(60 * time.Second)
		synctest.Wait()
		if r.Served() != 0 {
			t.Fatalf("%d are still served", r.Served())
		}
		for i, id := range ids {
			if e := w.owner(id); e != (entry{state: clean, epoch: 1}) {
				t.Fatalf("at rest: %+v", e)
			}
			var a ovs.Attr
			if !r.TryGetAttr(newUser(r).rq, id, &a) || a != before[i] {
				t.Fatalf("at rest it shows %+v, before %+v", a, before[i])
			}
		}
		fsck(t, w.reg)
		if got, err := newUser(r).read(ids[1], 5000, 4); err != nil || got != "data" {
			t.Fatalf("read %q, %v", got, err)
		}
		if e := w.owner(ids[1]); e != (entry{state: serving, owner: 1, epoch: 2}) {
			t.Fatalf("touched: %+v", e)
		}
		if a := attrOf(t, r, ids[1]); a != before[1] {
			t.Fatalf("served again it shows %+v, before %+v", a, before[1])
		}
		// A start leaves clean objects alone.
		w.end(r)
		r = w.router()
		synctest.Wait()
		if e := w.owner(ids[2]); e.state != clean || e.epoch != 1 {
			t.Fatalf("a start changed a clean object: %+v", e)
		}
		if e := w.owner(ids[1]); e != (entry{state: serving, owner: 1, epoch: 3}) {
			t.Fatalf("a start makes one's own %+v", e)
		}
		w.end(r)
	})
}

// TestTouchedSinceFound: an object that was found idle, and then touched while others of its round came to rest, stays.
func TestTouchedSinceFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		r := w.router()
		id := newUser(r).file(t, "f")
		found := func() resting {
			n := r.table.pin(id)
			defer r.table.unpin(n)
			return resting{n: n, used: n.used.Load()}
		}
		touch := func(data string) {
			if err := newUser(r).write(id, 0, data); err != nil {
				t.Fatal(err)
			}
		}
		touch("first")
		d := found()
		time.Sleep(30 * time.Second) // the clock of last uses moves on
		touch("again")
		r.restSome([]resting{d})
		if e := w.owner(id); e.state != serving || r.Served() != 1 {
			t.Fatalf("touched, it is %+v; %d are served", e, r.Served())
		}
		r.restSome([]resting{found()})
		if e := w.owner(id); e.state != clean || r.Served() != 0 {
			t.Fatalf("untouched, it is %+v; %d are served", e, r.Served())
		}
		w.end(r)
	})
}

// TestRestUnderLoad: operations never see that their object comes to rest between them.
func TestRestUnderLoad(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.RestAfter = 12 * time.Millisecond })
	r := w.router()
	ids := make([]ovs.ObjectID, 4)
	for i := range ids {
		ids[i] = newUser(r).file(t, fmt.Sprint(i))
	}
	deadline := time.Now().Add(30 * time.Second)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			u, id := newUser(r), ids[i%len(ids)]
			off := uint64(i/len(ids)) * 8192
			// At least 150 times, and until the object was at rest in between.
			for n := 0; n < 150 || w.owner(id).epoch < 2 && time.Now().Before(deadline); n++ {
				if n%10 == 0 {
					time.Sleep(time.Duration(n%40) * time.Millisecond)
				}
				data := fmt.Sprintf("%08d", n)
				if err := u.write(id, off, data); err != nil {
					t.Errorf("Write: %v", err)
					return
				}
				if got, err := u.read(id, off, 8); err != nil || got != data {
					t.Errorf("read %q after %q: %v", got, data, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if e := w.owner(ids[0]); e.epoch < 2 {
		t.Errorf("nothing rested meanwhile: %+v", e)
	}
}

// TestParking: what is not served yet parks operations, a bounded number, and keeps nobody else waiting.
func TestParking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.MaxParked, c.Workers = 10, 2 })
		r := w.router()
		id := newUser(r).file(t, "slow")
		if err := newUser(r).write(id, 0, "data"); err != nil {
			t.Fatal(err)
		}
		w.end(r)
		gate := make(chan struct{})
		w.store.OnRecover = func(ctx context.Context, got ovs.ObjectID) error {
			if got == id {
				select {
				case <-gate:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		}
		r = w.router()
		u := newUser(r)
		other := u.file(t, "quick")
		if err := u.write(other, 0, "x"); err != nil {
			t.Fatal(err)
		}
		var a ovs.Attr
		if r.TryGetAttr(u.rq, id, &a) || r.TryRead(&ovs.Read{Request: *u.rq, File: id, Dst: make([]byte, 4)}) {
			t.Fatal("memory answers for an object that is recovering")
		}
		if ok := listed(t, r, "slow"); ok == nil || ok.Attr != nil {
			t.Fatalf("READDIRPLUS gives %+v for an object that is recovering", ok)
		}
		var completed, busy atomic.Int64
		issue := func(n int, deadline time.Time) {
			for range n {
				q := *u.rq
				q.Deadline = deadline
				r.Read(&ovs.Read{Request: q, File: id, Dst: make([]byte, 4), Done: func(o *ovs.Read) {
					switch {
					case o.Err == nil && string(o.Dst) == "data":
						completed.Add(1)
					case ovs.Is(o.Err, ovs.KindBusy) || ovs.Is(o.Err, ovs.KindTimeout):
						busy.Add(1)
					default:
						t.Errorf("Read: %q, %v", o.Dst, o.Err)
					}
				}})
			}
		}
		issue(3, time.Now().Add(2*time.Second))
		issue(12, time.Now().Add(time.Hour))
		if busy.Load() != 5 || completed.Load() != 0 {
			t.Fatalf("%d refused, %d completed", busy.Load(), completed.Load())
		}
		time.Sleep(4 * time.Second)
		if busy.Load() != 8 {
			t.Fatalf("%d refused after the deadline of three", busy.Load()-5)
		}
		close(gate)
		synctest.Wait()
		if completed.Load() != 7 {
			t.Fatalf("%d completed", completed.Load())
		}
		if e := w.owner(id); e != (entry{state: serving, owner: 1, epoch: 2}) {
			t.Fatalf("%+v", e)
		}
		w.end(r)
	})
}

func listed(t *testing.T, r *Router, name string) (found *ovs.DirEntry) {
	t.Helper()
	_, err := r.ReadDir(newUser(r).rq, ovs.RootID, 0, true, func(e *ovs.DirEntry) bool {
		if e.Name == name {
			c := *e
			found = &c
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestHalted: an object whose data are corrupt serves no data, is listed, can be removed, and harms nobody else.
func TestHalted(t *testing.T) {
	w := newWorld(t, nil)
	r := w.router()
	id, other := newUser(r).file(t, "bad"), newUser(r).file(t, "good")
	w.end(r)
	w.store.OnRecover = func(_ context.Context, got ovs.ObjectID) error {
		if got == id {
			return ovs.E("test", ovs.KindCorrupt, got, nil)
		}
		return nil
	}
	r = w.router()
	u := newUser(r)
	if err := u.write(id, 0, "x"); !ovs.Is(err, ovs.KindIO) {
		t.Fatalf("Write: %v", err)
	}
	if _, err := u.read(id, 0, 1); !ovs.Is(err, ovs.KindIO) {
		t.Fatalf("Read: %v", err)
	}
	if err := u.write(other, 0, "x"); err != nil {
		t.Fatal(err)
	}
	if h := r.Halted(); len(h) != 1 || h[0].ID != id || !ovs.Is(h[0].Err, ovs.KindIO) {
		t.Fatalf("halted: %v", h)
	}
	if a := attrOf(t, r, id); a.ID != id || a.Size == 0 {
		t.Fatalf("%+v: a client would not read it, and think it empty", a)
	}
	if _, err := r.Remove(u.rq, ovs.RootID, "bad"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the burial", func() bool { return len(r.Halted()) == 0 && len(readTree(t, w.reg).orphans) == 0 })
}

// TestRetry: trouble that passes is tried again by itself.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		r := w.router()
		id := newUser(r).file(t, "f")
		w.end(r)
		var tries atomic.Int64
		w.store.OnRecover = func(context.Context, ovs.ObjectID) error {
			if tries.Add(1) < 3 {
				return ovs.E("test", ovs.KindIO, nil, nil)
			}
			return nil
		}
		r = w.router()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if e := w.owner(id); e != (entry{state: serving, owner: 1, epoch: 2}) || tries.Load() != 3 {
			t.Fatalf("%+v after %d tries", e, tries.Load())
		}
		w.end(r)
	})
}

// TestAdopt: a file that outgrows the file driver becomes a volume in place, while it is written.
func TestAdopt(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.FileLimit = 1 << 20 })
	r := w.router()
	u := newUser(r)
	id := u.file(t, "growing")
	if err := u.write(id, 0, "begin"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 40 {
				if err := newUser(r).write(id, uint64(n)<<16+uint64(i)*8192, fmt.Sprintf("%d.%02d", i, n)); err != nil {
					t.Errorf("Write: %v", err)
				}
			}
		})
	}
	wg.Wait()
	check := func(r *Router) {
		t.Helper()
		for i := range 8 {
			for n := range 40 {
				want := fmt.Sprintf("%d.%02d", i, n)
				if got, err := newUser(r).read(id, uint64(n)<<16+uint64(i)*8192, 4); err != nil || got != want {
					t.Fatalf("read %q, %v, want %q", got, err, want)
				}
			}
		}
	}
	check(r)
	x := fsck(t, w.reg)
	if x.inodes[id].driver != driverVolume || x.owners[id].epoch != 3 {
		t.Fatalf("%+v, %+v", x.inodes[id], x.owners[id])
	}
	other := u.file(t, "truncated")
	size := uint64(5 << 20)
	if _, err := r.SetAttr(u.rq, other, &ovs.SetAttr{Size: &size}); err != nil {
		t.Fatal(err)
	}
	if a := attrOf(t, r, other); a.Size != size || readTree(t, w.reg).inodes[other].driver != driverVolume {
		t.Fatalf("%+v", a)
	}
	w.end(r)
	r = w.router()
	check(r)
}

// TestAdoptDeath: the node dies at each sequence of a conversion; the file is whole after it.
func TestAdoptDeath(t *testing.T) {
	for _, done := range []bool{false, true} {
		for at := int64(1); at < 6; at++ {
			w := newWorld(t, func(c *Config) { c.FileLimit = 1 << 20 })
			r := w.router()
			id := newUser(r).file(t, "f")
			if err := newUser(r).write(id, 0, "begin"); err != nil {
				t.Fatal(err)
			}
			w.end(r)
			m := &mortal{Registry: w.reg, done: done}
			m.left.Store(at)
			w.tune = func(c *Config) { c.FileLimit, c.Registry = 1<<20, m }
			acked := false
			_ = w.try(func(r *Router) error {
				acked = newUser(r).write(id, 2<<20, "far") == nil
				return nil
			})
			fsck(t, w.reg)
			w.tune = func(c *Config) { c.FileLimit = 1 << 20 }
			r = w.router()
			if got, err := newUser(r).read(id, 0, 5); err != nil || got != "begin" {
				t.Fatalf("read %q, %v", got, err)
			}
			if got, err := newUser(r).read(id, 2<<20, 3); acked && (err != nil || got != "far") {
				t.Fatalf("read %q, %v", got, err)
			}
			w.end(r)
		}
	}
}

// TestRelieve: the log's plea flushes the object, served or not.
func TestRelieve(t *testing.T) {
	w := newWorld(t, nil)
	r := w.router()
	id := newUser(r).file(t, "f")
	r.Relieve(ovs.Ref{Pool: 1, Object: id})
	r.Relieve(ovs.Ref{Pool: 2, Object: id})
	eventually(t, "the flush", func() bool { return w.store.Flushes() == 1 })
	w.end(r)
	gate := make(chan struct{})
	w.store.OnRecover = func(context.Context, ovs.ObjectID) error { <-gate; return nil }
	r = w.router()
	r.Relieve(ovs.Ref{Pool: 1, Object: id})
	close(gate)
	// Twice where a second worker came by before the flush began.
	eventually(t, "the flush after the recovery", func() bool { return w.store.Flushes() >= 2 })
}

// TestMaxServed: more objects than may be served are rested early, and beyond the bound nothing is brought up.
func TestMaxServed(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxServed = 20 })
	r := w.router()
	made := 0
	for i := range 400 {
		_, err := newUser(r).create(ovs.RootID, fmt.Sprint(i), ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded})
		if err == nil {
			made++
		} else if !ovs.Is(err, ovs.KindBusy) {
			t.Fatal(err)
		}
		if n := r.Served(); n > 26 {
			t.Fatalf("%d are served", n)
		}
	}
	eventually(t, "rest", func() bool { return r.Served() <= 20 })
	if made < 25 {
		t.Fatalf("only %d made", made)
	}
	fsck(t, w.reg)
}

// TestClose: what is parked is told, and what comes later is refused.
func TestClose(t *testing.T) {
	w := newWorld(t, nil)
	r := w.router()
	id := newUser(r).file(t, "f")
	w.end(r)
	w.store.OnRecover = func(ctx context.Context, _ ovs.ObjectID) error { <-ctx.Done(); return ctx.Err() }
	r = w.router()
	errs := make(chan error, 1)
	r.Write(&ovs.Write{Request: *newUser(r).rq, File: id, Data: []byte("x"), Done: func(o *ovs.Write) { errs <- o.Err }})
	w.end(r)
	if err := <-errs; err == nil {
		t.Fatal("a parked write succeeded")
	}
	if err := newUser(r).write(id, 0, "x"); !ovs.Is(err, ovs.KindClosed) {
		t.Fatalf("Write: %v", err)
	}
}

// TestMemoryIsTrue: with a memory of next to nothing and many who change and look, nobody ever sees a time fall.
func TestMemoryIsTrue(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.CacheSize = 1; c.RestAfter = 24 * time.Millisecond })
	r := w.router()
	var ids []ovs.ObjectID
	for i := range 16 {
		id, err := newUser(r).create(ovs.RootID, fmt.Sprint(i), ovs.Create{Type: []ovs.FileType{ovs.TypeReg, ovs.TypeDir}[i%2]})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	stop := make(chan struct{})
	var lookers, writers sync.WaitGroup
	for range 4 {
		lookers.Go(func() {
			last := make(map[ovs.ObjectID]ovs.Attr)
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, id := range ids {
					a, err := r.GetAttr(newUser(r).rq, id)
					if err != nil {
						t.Errorf("GetAttr: %v", err)
						return
					}
					if b := last[id]; a.Ctime < b.Ctime || a.Mtime < b.Mtime || a.Links < b.Links {
						t.Errorf("attributes went back: %+v, then %+v", b, a)
						return
					}
					last[id] = a
				}
			}
		})
	}
	for i := range 4 {
		writers.Go(func() {
			for n := range 100 {
				id := ids[(i*4+n)%16]
				var err error
				if n%2 == 0 && (i*4+n)%2 == 0 {
					err = newUser(r).write(id, 0, strings.Repeat("x", n+1))
				} else if (i*4+n)%2 == 1 {
					_, err = newUser(r).create(id, fmt.Sprintf("%d-%d", i, n), ovs.Create{Type: ovs.TypeDir})
				} else {
					mode := uint32(n)
					_, err = r.SetAttr(newUser(r).rq, id, &ovs.SetAttr{Mode: &mode})
				}
				if err != nil {
					t.Errorf("change: %v", err)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	lookers.Wait()
	fsck(t, w.reg)
}

// TestHotPathAllocatesNothing: what memory answers, and what is handed on, costs no garbage.
func TestHotPathAllocatesNothing(t *testing.T) {
	w := newWorld(t, nil)
	w.store.Registry = nil
	r := w.router()
	u := newUser(r)
	id := u.file(t, "f")
	if err := u.write(id, 0, "data"); err != nil {
		t.Fatal(err)
	}
	var a ovs.Attr
	rd := &ovs.Read{Request: *u.rq, File: id, Dst: make([]byte, 4), Done: func(*ovs.Read) {}}
	wr := &ovs.Write{Request: *u.rq, File: id, Data: []byte("atad"), Stable: ovs.FileSync, Done: func(*ovs.Write) {}}
	cm := &ovs.Commit{Request: *u.rq, File: id, Done: func(*ovs.Commit) {}}
	for name, f := range map[string]func() bool{
		"TryGetAttr": func() bool { return r.TryGetAttr(u.rq, id, &a) },
		"TryLookup":  func() bool { return r.TryLookup(u.rq, ovs.RootID, "f", &a) },
		"TryRead":    func() bool { return r.TryRead(rd) },
		"Read":       func() bool { r.Read(rd); return rd.Err == nil },
		"Write":      func() bool { r.Write(wr); return wr.Err == nil },
		"Commit":     func() bool { r.Commit(cm); return cm.Err == nil },
	} {
		if n := testing.AllocsPerRun(200, func() {
			if !f() {
				t.Fatalf("%s fails", name)
			}
		}); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
