/*
Package drivertest is the conformance suite of ovs.Driver. It drives one object through random histories of writes at any byte,
resizes, commits, flushes, rests, restarts and power cuts, over the twins of log, backend and registry, against a model:

	model = bytes after the last durable point, and the operations since. After a power cut the object must be the
	model after some prefix of those operations.
*/
package drivertest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"ovs"
	"ovs/internal/membackend"
	"ovs/internal/memlog"
	"ovs/internal/memregistry"
)

// Env is what a driver is made over. Log changes at a power cut; the others stay.
type Env struct {
	Log      ovs.Log
	Backend  ovs.Backend
	Registry ovs.Registry
	Now      func() int64
}

// Factory makes a driver over e, and says how to end it.
type Factory func(t *testing.T, e *Env) (d ovs.Driver, end func())

const pool, object = 7, 42

// world is one object, its driver and the model.
type world struct {
	t       *testing.T
	env     *Env
	log     *memlog.Log
	fate    *Fate // nil: nothing goes wrong but what the twins' faults say
	backend *membackend.Backend
	reg     *memregistry.Registry
	limbo   Limbo
	factory Factory
	rand    *rand.Rand
	limit   int

	driver ovs.Driver
	end    func()
	obj    ovs.Object
	epoch  ovs.Epoch

	stable []byte   // the object at the last durable point
	since  []change // acknowledged or under way since then
}

// change is one operation of the model.
type change struct {
	off  int
	data []byte
	size int // -1: a write
}

func (c change) apply(b []byte) []byte {
	if c.size >= 0 {
		if c.size <= len(b) {
			return append([]byte(nil), b[:c.size]...)
		}
		return append(append([]byte(nil), b...), make([]byte, c.size-len(b))...)
	}
	out := append([]byte(nil), b...)
	if need := c.off + len(c.data); need > len(out) {
		out = append(out, make([]byte, need-len(out))...)
	}
	copy(out[c.off:], c.data)
	return out
}

func (w *world) now() []byte {
	b := w.stable
	for _, c := range w.since {
		b = c.apply(b)
	}
	return b
}

func (w *world) durable() { w.stable, w.since = w.now(), nil }

// Run runs the suite. limit is the largest size that the histories give the object, in bytes.
func Run(t *testing.T, limit int, f Factory) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprintf("history/%d", seed), func(t *testing.T) {
			w := newWorld(t, seed, limit, f)
			for range 150 {
				w.step()
			}
			w.check("at the end")
			w.rest()
			w.check("after the last rest")
		})
	}
	t.Run("faults", func(t *testing.T) {
		for seed := range uint64(10) {
			w := newWorld(t, 1000+seed, limit, f)
			w.backend.SetFaults(membackend.Faults{Seed: seed, PutLost: 0.1, PutDone: 0.1, PutPartial: 0.1, GetFails: 0.05, OtherFails: 0.1})
			w.reg.SetFaults(memregistry.Faults{Seed: seed, LostCall: 0.1, LostDone: 0.1, Busy: 0.1})
			for i := range 80 {
				if i%8 == 7 {
					w.limbo.Land(w.rand)
				}
				w.step()
			}
			w.backend.SetFaults(membackend.Faults{})
			w.reg.SetFaults(memregistry.Faults{})
			w.limbo.Land(w.rand)
			w.check("after faults")
			w.crash()
		}
	})
	t.Run("drop", func(t *testing.T) { testDrop(t, limit, f) })
	t.Run("fenced", func(t *testing.T) { testFenced(t, limit, f) })
	t.Run("halted", func(t *testing.T) { testHalted(t, limit, f) })
}

func newWorld(t *testing.T, seed uint64, limit int, f Factory) *world {
	w := &world{t: t, factory: f, limit: limit, rand: rand.New(rand.NewPCG(seed, 99)), backend: membackend.New(), reg: memregistry.New()}
	w.env = &Env{Backend: w.limbo.Backend(w.backend), Registry: w.limbo.Registry(w.reg)}
	w.create()
	return w
}

func newFated(t *testing.T, fate *Fate, f Factory) *world {
	w := &world{t: t, factory: f, limit: 100_000, fate: fate, rand: rand.New(rand.NewPCG(1, 99)), backend: membackend.New(), reg: memregistry.New()}
	fate.log = func() *memlog.Log { return w.log }
	w.env = &Env{Backend: fate.Backend(w.backend), Registry: fate.Registry(w.reg)}
	w.create()
	return w
}

func (w *world) create() {
	var clock atomic.Int64
	w.epoch, w.env.Now = 1, func() int64 { return clock.Add(1) }
	w.use(memlog.New())
	w.driver, w.end = w.factory(w.t, w.env)
	c := w.claim()
	w.sequence(ovs.Set(c.Entry.Key, c.Entry.Value), ovs.Set(ovs.HeadKey(object), w.driver.NewHead(object)))
	w.obj = w.driver.Create(c)
	w.t.Cleanup(func() { w.obj.Close(); w.end() })
}

// use has the next driver write to that log.
func (w *world) use(l *memlog.Log) {
	w.log, w.env.Log = l, l
	if w.fate != nil {
		w.env.Log = w.fate.Log(l)
	}
}

// claim is the right to the object in the current epoch; its entry is the epoch.
func (w *world) claim() ovs.Claim {
	return ovs.Claim{Ref: ovs.Ref{Pool: pool, Object: object}, Epoch: w.epoch,
		Entry: ovs.Pair{Key: []byte("o"), Value: binary.BigEndian.AppendUint64(nil, uint64(w.epoch))}}
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return c
}

// sequence repeats what a fault hid: the updates are idempotent.
func (w *world) sequence(u ...ovs.Update) {
	w.t.Helper()
	var err error
	for range 100 {
		if _, err = w.reg.Sequence(ctx(w.t), u...); err == nil {
			return
		}
	}
	w.t.Fatal(err)
}

func testDrop(t *testing.T, limit int, f Factory) {
	w := newWorld(t, 5, limit, f)
	for range 40 {
		w.write(ovs.FileSync)
	}
	if err := w.obj.Flush(ctx(t)); err != nil {
		t.Fatal(err)
	}
	w.obj.Close()
	w.sequence(ovs.DeletePrefix(ovs.HeadKey(object)), ovs.Delete([]byte("o")))
	w.log.Release(ovs.Ref{Pool: pool, Object: object}, ^ovs.RecordNo(0))
	for range 2 { // idempotent
		if err := w.driver.Drop(ctx(t), object); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.backend.Objects(); n != 0 {
		t.Errorf("%d objects are left on the backend", n)
	}
}

// testFenced: an owner whose entry was taken changes nothing any more.
func testFenced(t *testing.T, limit int, f Factory) {
	w := newWorld(t, 6, limit, f)
	w.write(ovs.FileSync)
	if err := w.obj.Flush(ctx(t)); err != nil {
		t.Fatal(err)
	}
	before, err := w.env.Registry.Get(ctx(t), ovs.HeadKey(object))
	if err != nil {
		t.Fatal(err)
	}
	w.sequence(ovs.Set([]byte("o"), []byte("another owner")))
	w.write(ovs.FileSync) // acknowledged by the old owner's log: only the lease could know better
	if up, err := w.obj.Rest(ctx(t), open); err == nil && len(up) == 0 {
		t.Error("a fenced owner came to rest")
	}
	after, err := w.env.Registry.Get(ctx(t), ovs.HeadKey(object))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("a fenced owner changed the head (%v)", err)
	}
}

// Steps is a history written by hand; the model goes along.
type Steps struct{ w *world }

// Script runs one over a new object.
func Script(t *testing.T, f Factory, run func(*Steps)) { run(&Steps{newWorld(t, 1, 1<<30, f)}) }

// Write is a stable write.
func (s *Steps) Write(off int, data []byte) { s.w.put(off, data, ovs.FileSync) }

// Resize sets the size.
func (s *Steps) Resize(size int) { s.w.setSize(size) }

// Flush brings all to the backend.
func (s *Steps) Flush() { s.w.flush() }

// Rest makes the object clean and takes it again.
func (s *Steps) Rest() { s.w.rest() }

// Crash cuts the power.
func (s *Steps) Crash() { s.w.crash() }

// Check compares the whole object with the model.
func (s *Steps) Check() { s.w.t.Helper(); s.w.check("in a script") }
