package volumedriver

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ovs"
	"ovs/internal/membackend"
	"ovs/internal/memlog"
	"ovs/internal/memregistry"
	"ovs/internal/pagecache"
)

const (
	pool = ovs.PoolID(3)
	disk = ovs.ObjectID(0x42)
)

var ref = ovs.Ref{Pool: pool, Object: disk}

// world is the twins under one driver, and a router's part: entries, epochs, the sequences of a take-over.
type world struct {
	t       testing.TB
	log     *memlog.Log
	backend *membackend.Backend
	reg     *memregistry.Registry
	cfg     Config
	d       *Driver
	epoch   ovs.Epoch
	entry   []byte
	clock   atomic.Int64
}

func newWorld(t testing.TB, c Config) *world {
	w := &world{t: t, log: memlog.New(), backend: membackend.New(), reg: memregistry.New()}
	cache, err := pagecache.New(64 * pagecache.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	c.Pool, c.Backend, c.Registry, c.Cache = pool, w.backend, w.reg, cache
	c.Now = func() int64 { return w.clock.Add(1000) }
	if c.SCOSize == 0 {
		c.SCOSize = 16 * ovs.ClusterSize
	}
	if c.Budget == nil {
		c.Budget = NewBudget(1 << 20)
	}
	w.cfg = c
	w.driver()
	t.Cleanup(func() {
		w.d.Close()
		w.log.Close()
		cache.Close()
	})
	return w
}

// driver starts a driver on what the twins hold now.
func (w *world) driver() {
	if w.d != nil {
		w.d.Close()
	}
	w.cfg.Log = w.log
	d, err := New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.d, d.retry = d, 100*time.Microsecond
}

// until waits for what something else brings about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("no end of waiting until ", what)
		}
	}
}

func entryKey() []byte { return []byte("entry") }

// claim is the next epoch's.
func (w *world) claim() ovs.Claim {
	w.epoch++
	return ovs.Claim{Ref: ref, Epoch: w.epoch, Entry: ovs.Pair{Key: entryKey(), Value: binary.BigEndian.AppendUint64(nil, uint64(w.epoch))}}
}

// do runs a sequence through whatever the registry's faults do to it.
func (w *world) do(u ...ovs.Update) {
	w.t.Helper()
	for range 100 {
		_, err := w.reg.Sequence(context.Background(), u...)
		if err == nil {
			return
		}
		if now, e := w.reg.Get(context.Background(), entryKey()); e == nil && string(now) == string(w.entry) {
			return // it was done
		}
		if ovs.Is(err, ovs.KindConflict) {
			w.t.Fatal(err)
		}
	}
	w.t.Fatal("the registry does nothing any more")
}

func (w *world) create() *volume {
	c := w.claim()
	w.entry = c.Entry.Value
	w.do(ovs.Set(entryKey(), w.entry), ovs.Set(ovs.HeadKey(disk), w.d.NewHead(disk)))
	return w.d.Create(c).(*volume)
}

// recover takes the volume over, as a start does.
func (w *world) recover() (*volume, error) {
	c := w.claim()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := w.d.Recover(ctx, c)
	if err != nil {
		return nil, err
	}
	was := w.entry
	w.entry = c.Entry.Value
	w.do(append(r.Close, ovs.TestAndSet(entryKey(), was, w.entry))...)
	return r.Object.(*volume), nil
}

func (w *world) mustRecover() *volume {
	w.t.Helper()
	for range 20 {
		v, err := w.recover()
		if err == nil {
			return v
		}
		if k := ovs.KindOf(err); k != ovs.KindIO && k != ovs.KindTimeout && k != ovs.KindBusy {
			w.t.Fatal(err)
		}
	}
	w.t.Fatal("no recovery in 20 tries")
	return nil
}

// crash ends the volume without a word, keeps the first n unflushed records of the log, and starts again.
func (w *world) crash(v *volume, keep int) *volume {
	w.t.Helper()
	log := w.log.Crash(keep)
	v.stop() // what it has under way on the backend stops somewhere
	v.flush.end()
	v.m.close()
	w.log = log
	w.driver()
	return w.mustRecover()
}

func write(t testing.TB, v ovs.Object, off uint64, data []byte, how ovs.Stability) {
	t.Helper()
	done := make(chan *ovs.Write, 1)
	v.Write(&ovs.Write{Off: off, Data: data, Stable: how, Done: func(w *ovs.Write) { done <- w }})
	if w := <-done; w.Err != nil {
		t.Fatalf("write %d+%d: %v", off, len(data), w.Err)
	}
}

func read(t testing.TB, v ovs.Object, off uint64, n int) []byte {
	t.Helper()
	b, err := tryRead(v, off, n)
	if err != nil {
		t.Fatalf("read %d+%d: %v", off, n, err)
	}
	return b
}

func tryRead(v ovs.Object, off uint64, n int) ([]byte, error) {
	done := make(chan *ovs.Read, 1)
	r := &ovs.Read{Off: off, Dst: make([]byte, n), Done: func(r *ovs.Read) { done <- r }}
	if !v.TryRead(r) {
		v.Read(r)
		<-done
	}
	return r.Dst[:r.N], r.Err
}

func commit(v ovs.Object) error {
	done := make(chan error, 1)
	v.Commit(&ovs.Commit{Done: func(c *ovs.Commit) { done <- c.Err }})
	return <-done
}

func flush(t testing.TB, v ovs.Object) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := v.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// open is a gate that nobody stands at.
func open() error { return nil }

// rest brings the volume to rest and closes it; false: it was busy.
func (w *world) rest(v *volume) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	u, err := v.Rest(ctx, open)
	if err != nil {
		w.t.Fatal(err)
	}
	was := w.entry
	w.entry = []byte("clean")
	w.do(append(u, ovs.TestAndSet(entryKey(), was, w.entry))...)
	v.Close()
}

func pattern(seed uint64, n int) []byte {
	g := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32()) | 1
	}
	return b
}

// rested is a volume of these data that came to rest and was taken over.
func (w *world) rested(data []byte) *volume {
	w.t.Helper()
	v := w.create()
	write(w.t, v, 0, data, ovs.FileSync)
	flush(w.t, v)
	w.rest(v)
	return w.mustRecover()
}

// beforeGet has f slip in before the next Get of an object whose name begins so.
func (w *world) beforeGet(prefix string, f func(name string)) {
	w.backend.SetHook(func(c membackend.Call) error {
		if c.Op == "Get" && !c.After && strings.HasPrefix(c.Name, prefix) {
			w.backend.SetHook(nil)
			f(c.Name)
		}
		return nil
	})
}
