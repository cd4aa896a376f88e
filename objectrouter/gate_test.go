package objectrouter

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ovs"
)

// TestEnterOfDismissed: whoever finds the gate open and the object gone has left: the gate can be closed again later.
func TestEnterOfDismissed(t *testing.T) {
	n := &node{drained: make(chan struct{}, 1)}
	n.open.Store(true) // dismiss comes between the two looks of enter
	if n.enter(1) != nil {
		t.Fatal("entered an object that is not there")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := n.shut(ctx); err != nil {
		t.Fatalf("the gate does not close: %v", err)
	}
}

// restless is an object that never comes to rest, and on whose Rest a test acts: onFlush while its data go to the backend,
// onRest behind the gate.
type restless struct {
	ovs.Object
	onFlush, onRest func()
	flushed         bool // its Rest has nothing to bring to the backend any more
}

func (o *restless) Flush(context.Context) error {
	o.onFlush()
	return nil
}

func (o *restless) Rest(ctx context.Context, shut func() error) ([]ovs.Update, error) {
	if !o.flushed {
		o.onFlush()
	}
	if err := shut(); err != nil {
		return nil, err
	}
	o.onRest()
	return nil, ovs.E("restless", ovs.KindBusy, nil, nil)
}

func (o *restless) serve(r *Router, id ovs.ObjectID) {
	n := r.table.get(id)
	s := *n.serve.Load()
	o.Object, s.object = s.object, o
	n.serve.Store(&s)
}

// TestRelieveDuringRest: the log's plea that comes while the gate is closed for a rest is not lost, and the next is heard.
func TestRelieveDuringRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		r := w.router()
		id := newUser(r).file(t, "f")
		var flushed atomic.Bool
		var rests atomic.Int64
		o := &restless{onFlush: func() { flushed.Store(true) }}
		o.onRest = func() {
			if rests.Add(1) == 1 {
				flushed.Store(false)
				r.Relieve(r.ref(id))
				time.Sleep(time.Second) // so that whoever hears it has looked
			}
		}
		o.serve(r, id)
		for rests.Load() == 0 {
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !flushed.Load() || r.table.get(id).relieve.Load() {
			t.Fatal("the plea was lost")
		}
		w.end(r)
	})
}

// TestRestWaitsOpen: an object that cannot be brought to the backend answers, and so does one that came to rest beside it; one
// with an operation that does not end is open again soon.
func TestRestWaitsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		r := w.router()
		u := newUser(r)
		ready, stuck := u.file(t, "ready"), u.file(t, "stuck")
		flushing, gate := make(chan struct{}), make(chan struct{})
		(&restless{onFlush: func() {
			select {
			case flushing <- struct{}{}:
			default:
			}
			<-gate
		}, onRest: func() {}}).serve(r, stuck)
		var rests atomic.Int64
		held := &restless{onFlush: func() { rests.Add(1) }, onRest: func() {}}
		answered := func(id ovs.ObjectID) time.Duration {
			began, done := time.Now(), make(chan error, 1)
			rq := *u.rq
			rq.Deadline = began.Add(5 * time.Minute)
			r.Read(&ovs.Read{Request: rq, File: id, Dst: make([]byte, 4), Done: func(o *ovs.Read) { done <- o.Err }})
			if err := <-done; err != nil {
				t.Fatalf("READ of %d: %v", id, err)
			}
			return time.Since(began)
		}
		<-flushing
		time.Sleep(time.Second) // so that whatever can go on with the other one has
		for _, id := range []ovs.ObjectID{ready, stuck} {
			if d := answered(id); d > time.Second {
				t.Errorf("a READ of %d waited %v for the backend", id, d)
			}
		}
		if w.owner(ready).state != serving || w.owner(ready).epoch != 2 {
			t.Errorf("what was ready has not come to rest: %+v", w.owner(ready))
		}
		close(gate)
		held.serve(r, ready)
		n := r.table.get(ready)
		n.enter(r.table.tick.Load()) // an operation that does not end
		for rests.Load() == 0 || n.open.Load() {
			time.Sleep(100 * time.Millisecond)
		}
		if d := answered(ready); d > gateLimit+time.Second {
			t.Errorf("a READ waited %v for an operation that does not end", d)
		}
		n.leave()
		w.end(r)
	})
}

// TestWaitersGiveUp: those who wait for an object and give up leave nothing behind that counts against the others.
func TestWaitersGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		r := w.router()
		id := newUser(r).file(t, "f")
		w.end(r)
		w.store.OnRecover = func(ctx context.Context, _ ovs.ObjectID) error { <-ctx.Done(); return ctx.Err() }
		r = w.router()
		for range 3 {
			q := &ovs.Request{Deadline: time.Now().Add(time.Second)}
			if _, err := r.GetAttr(q, id); !ovs.Is(err, ovs.KindTimeout) {
				t.Fatalf("GetAttr: %v", err)
			}
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if r.queue.parking() {
			t.Fatal("operations that gave up are still parked")
		}
		w.end(r)
	})
}

// TestCreateMeetsClose: what a CREATE makes while the router is closed is not served by it.
func TestCreateMeetsClose(t *testing.T) {
	w, s, r, u := staged(t)
	u.file(t, "before")
	s.set(&s.beforeDone, func() { w.end(r) })
	_, _ = u.create(ovs.RootID, "f", ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded})
	if n := r.Served(); n != 0 {
		t.Fatalf("%d are served after Close", n)
	}
}

// TestOwnIsTriedAgain: what may have records in this node's log is brought up by itself, also when the try that failed was
// for a client, and the turn of the start came meanwhile.
func TestOwnIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Workers = 2 })
		r := w.router()
		first, id := newUser(r).file(t, "first"), newUser(r).file(t, "f")
		w.end(r)
		w.log.tails = []ovs.LogTail{{Ref: r.ref(first), First: 1, Last: 1, Time: 2}, {Ref: r.ref(id), First: 1, Last: 1, Time: 1}}
		firstGate, gate := make(chan struct{}), make(chan struct{})
		var tries atomic.Int64
		w.store.OnRecover = func(_ context.Context, got ovs.ObjectID) error {
			if got == first {
				<-firstGate
				return nil
			}
			if tries.Add(1) > 1 {
				return nil
			}
			<-gate
			return ovs.E("test", ovs.KindIO, nil, nil)
		}
		r = w.router()
		synctest.Wait() // the general worker is at the first
		read := make(chan error, 1)
		r.Read(&ovs.Read{Request: *newUser(r).rq, File: id, Dst: make([]byte, 1), Done: func(o *ovs.Read) { read <- o.Err }})
		synctest.Wait() // the other worker is at the second
		close(firstGate)
		synctest.Wait()
		close(gate)
		if err := <-read; !ovs.Is(err, ovs.KindIO) {
			t.Fatalf("Read: %v", err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if e := w.owner(id); e.state != serving {
			t.Fatalf("%+v after %d tries", e, tries.Load())
		}
		w.end(r)
	})
}

// TestAdoptWaitsOpen: while a file that is to become a volume cannot be flushed, it is still read.
func TestAdoptWaitsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.FileLimit = 1 << 20 })
		r := w.router()
		u := newUser(r)
		id := u.file(t, "f")
		if err := u.write(id, 0, "data"); err != nil {
			t.Fatal(err)
		}
		gate := make(chan struct{})
		(&restless{onFlush: func() { <-gate }, onRest: func() {}}).serve(r, id)
		wrote := make(chan error, 1)
		r.Write(&ovs.Write{Request: *u.rq, File: id, Off: 2 << 20, Data: []byte("x"), Done: func(o *ovs.Write) { wrote <- o.Err }})
		synctest.Wait()
		done := make(chan error, 1)
		r.Read(&ovs.Read{Request: *u.rq, File: id, Dst: make([]byte, 4), Done: func(o *ovs.Read) { done <- o.Err }})
		time.Sleep(10 * time.Second)
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("a read waits for the flush")
		}
		close(gate)
		if err := <-wrote; !ovs.Is(err, ovs.KindBusy) {
			t.Errorf("Write: %v", err)
		}
		w.end(r)
	})
}

// TestForeignRecord: what a newer version wrote is not shown as what it was before.
func TestForeignRecord(t *testing.T) {
	w := newWorld(t, nil)
	r := w.router()
	u := newUser(r)
	id, err := u.create(ovs.RootID, "d", ovs.Create{Type: ovs.TypeDir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.reg.Sequence(context.Background(), ovs.Set(inodeKey(id), []byte{2, 2})); err != nil {
		t.Fatal(err)
	}
	var a ovs.Attr
	if r.TryGetAttr(u.rq, id, &a) {
		t.Fatalf("memory shows %+v", a)
	}
	if _, err := r.GetAttr(u.rq, id); !ovs.Is(err, ovs.KindCorrupt) {
		t.Fatalf("GetAttr: %v", err)
	}
}
