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
	"runtime"
	"testing"
	"time"

	"ovs"
	"ovs/internal/membackend"
	"ovs/internal/memlog"
	"ovs/internal/memregistry"
)

// Env is what a driver is made over. Log changes at a power cut; the others stay.
type Env struct {
	Log      *memlog.Log
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
}

func newWorld(t *testing.T, seed uint64, limit int, f Factory) *world {
	clock := int64(1)
	w := &world{t: t, factory: f, limit: limit, rand: rand.New(rand.NewPCG(seed, 99)), epoch: 1,
		backend: membackend.New(), reg: memregistry.New()}
	w.env = &Env{Log: memlog.New(), Backend: w.limbo.Backend(w.backend), Registry: w.limbo.Registry(w.reg), Now: func() int64 { clock++; return clock }}
	w.driver, w.end = f(t, w.env)
	c := w.claim()
	w.sequence(ovs.Set(c.Entry.Key, c.Entry.Value), ovs.Set(ovs.HeadKey(object), w.driver.NewHead(object)))
	w.obj = w.driver.Create(c)
	t.Cleanup(func() { w.obj.Close(); w.end() })
	return w
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

func (w *world) step() {
	switch p := w.rand.IntN(100); {
	case p < 45:
		w.write(ovs.FileSync)
	case p < 60:
		w.write(ovs.Unstable)
	case p < 66:
		w.commit()
	case p < 72:
		w.resize()
	case p < 84:
		w.read()
	case p < 90:
		w.flush()
	case p < 93:
		w.rest()
	case p < 96:
		w.restart()
	default:
		w.crash()
	}
}

func (w *world) write(s ovs.Stability) {
	n := 1 + w.rand.IntN(9000)
	switch w.rand.IntN(3) {
	case 0:
		n = 4096
	case 1:
		n = 1 + w.rand.IntN(600)
	}
	off := w.rand.IntN(max(1, w.limit-n))
	if w.rand.IntN(3) == 0 {
		off &^= 4095
	}
	data := make([]byte, n)
	if w.rand.IntN(5) > 0 {
		for i := range data {
			data[i] = byte(w.rand.Uint32())
		}
	}
	w.put(off, data, s)
}

func (w *world) put(off int, data []byte, s ovs.Stability) {
	done := make(chan struct{})
	op := &ovs.Write{File: object, Off: uint64(off), Data: append([]byte(nil), data...), Stable: s, Done: func(*ovs.Write) { close(done) }}
	w.obj.Write(op)
	<-done
	clear(op.Data) // lent until Done only
	if op.Err != nil {
		w.t.Fatalf("write at %d+%d: %v", off, len(data), op.Err)
	}
	w.since = append(w.since, change{off: off, data: data, size: -1})
	if op.Committed < s || op.Verf != ovs.VerifierOf(ovs.Ref{Pool: pool, Object: object}, w.epoch) {
		w.t.Fatalf("committed %d for %d, verifier %x", op.Committed, s, op.Verf)
	}
	if op.Committed == ovs.FileSync {
		w.durable()
	}
}

func (w *world) flush() {
	if err := w.obj.Flush(ctx(w.t)); err != nil {
		w.t.Fatal("flush:", err)
	}
	w.durable()
}

func (w *world) commit() {
	done := make(chan struct{})
	op := &ovs.Commit{File: object, Done: func(*ovs.Commit) { close(done) }}
	w.obj.Commit(op)
	<-done
	if op.Err != nil {
		w.t.Fatal("commit:", op.Err)
	}
	w.durable()
}

func (w *world) resize() {
	size := w.rand.IntN(w.limit)
	if w.rand.IntN(4) == 0 {
		size = 0
	}
	w.setSize(size)
}

func (w *world) setSize(size int) {
	if err := w.obj.Resize(ctx(w.t), uint64(size)); err != nil {
		w.t.Fatal("resize:", err)
	}
	w.since = append(w.since, change{size: size})
	w.durable()
}

// fetch reads a range, first from memory.
func (w *world) fetch(off, n int) []byte {
	op := &ovs.Read{File: object, Off: uint64(off), Dst: make([]byte, n)}
	if !w.obj.TryRead(op) {
		done := make(chan struct{})
		op.Done = func(*ovs.Read) { close(done) }
		for range 200 { // a fault in a twin passes
			w.obj.Read(op)
			<-done
			if op.Err == nil || ovs.Is(op.Err, ovs.KindCorrupt) {
				break
			}
			done = make(chan struct{})
			op.Done = func(*ovs.Read) { close(done) }
		}
	}
	if op.Err != nil {
		w.t.Fatalf("read %d+%d: %v", off, n, op.Err)
	}
	if size := int(w.obj.Live().Size); op.EOF != (off+op.N >= size) {
		w.t.Fatalf("read %d+%d: EOF %v at %d of %d", off, n, op.EOF, op.N, size)
	}
	return op.Dst[:op.N]
}

func (w *world) read() {
	want := w.now()
	off, n := w.rand.IntN(w.limit), 1+w.rand.IntN(20000)
	got := w.fetch(off, n)
	from := min(off, len(want))
	if !bytes.Equal(got, want[from:min(off+n, len(want))]) {
		w.t.Fatalf("read %d+%d differs at %d", off, n, off+differ(got, want[from:min(off+n, len(want))]))
	}
}

func (w *world) content() []byte {
	var b []byte
	for {
		part := w.fetch(len(b), 256<<10)
		if b = append(b, part...); len(b) >= int(w.obj.Live().Size) {
			return b
		}
	}
}

func (w *world) check(when string) {
	w.t.Helper()
	got, want := w.content(), w.now()
	if !bytes.Equal(got, want) {
		w.t.Fatalf("%s: %d bytes, want %d, differ at %d", when, len(got), len(want), differ(got, want))
	}
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// rest makes the object clean and takes it again.
func (w *world) rest() {
	up, err := w.obj.Rest(ctx(w.t))
	for ovs.Is(err, ovs.KindBusy) { // the Done of an operation may still be running
		runtime.Gosched()
		up, err = w.obj.Rest(ctx(w.t))
	}
	if err != nil {
		w.t.Fatal("rest:", err)
	}
	w.durable()
	w.sequence(append(up, ovs.Set([]byte("o"), []byte("clean")))...)
	w.recover(w.obj)
	if l := w.obj.Live(); int(l.Size) != len(w.stable) {
		w.t.Fatalf("size %d after a rest, want %d", l.Size, len(w.stable))
	}
}

// restart ends the driver as a clean stop does: the log stays.
func (w *world) restart() {
	done := make(chan error, 1)
	w.env.Log.Sync(&ovs.LogSync{Done: func(_ *ovs.LogSync, err error) { done <- err }})
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
	w.durable()
	w.obj.Close()
	w.end()
	w.env.Log = w.env.Log.Crash(-1)
	w.driver, w.end = w.factory(w.t, w.env)
	w.recover(nil)
}

// crash cuts the power: of the records not flushed a prefix survives.
func (w *world) crash() {
	old := w.env.Log
	w.env.Log = old.Crash(w.rand.IntN(3) - 1)
	w.obj.Close()
	w.end()
	w.driver, w.end = w.factory(w.t, w.env)
	w.recover(nil)
	got := w.content()
	b := w.stable
	for i := 0; ; i++ {
		if bytes.Equal(got, b) {
			w.stable, w.since = b, nil
			return
		}
		if i == len(w.since) {
			w.t.Fatalf("after a power cut %d bytes: not the model after any prefix of the last %d operations", len(got), len(w.since))
		}
		b = w.since[i].apply(b)
	}
}

func (w *world) recover(old ovs.Object) {
	if old != nil {
		old.Close()
	}
	w.epoch++
	c := w.claim()
	var rec ovs.Recovery
	var err error
	for range 200 {
		if rec, err = w.driver.Recover(ctx(w.t), c); err == nil {
			break
		}
	}
	if err != nil {
		w.t.Fatal("recover:", err)
	}
	w.sequence(append(rec.Close, ovs.Set(c.Entry.Key, c.Entry.Value))...)
	w.obj = rec.Object
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
	w.env.Log.Release(ovs.Ref{Pool: pool, Object: object}, ^ovs.RecordNo(0))
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
	if up, err := w.obj.Rest(ctx(t)); err == nil && len(up) == 0 {
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
