package filedriver

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"ovs"
	"ovs/internal/membackend"
	"ovs/internal/memlog"
	"ovs/internal/memregistry"
	"ovs/internal/pagecache"
)

// world is the twins under one driver, and a router's part: entries, epochs, the sequences of a take-over.
type world struct {
	t       *testing.T
	log     *memlog.Log
	backend *membackend.Backend
	reg     *memregistry.Registry
	cfg     Config
	d       *Driver
	clock   atomic.Int64
}

func newWorld(t *testing.T, c Config) *world {
	w := &world{t: t, log: memlog.New(), backend: membackend.New(), reg: memregistry.New()}
	cache, err := pagecache.New(1)
	if err != nil {
		t.Fatal(err)
	}
	c.Pool, c.Backend, c.Cache = 7, w.backend, cache
	if c.Registry == nil {
		c.Registry = w.reg
	}
	c.Now = func() int64 { return w.clock.Add(1000) }
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

func claimOf(id ovs.ObjectID, e ovs.Epoch) ovs.Claim {
	key := binary.BigEndian.AppendUint64([]byte{'o'}, uint64(id))
	return ovs.Claim{Ref: ovs.Ref{Pool: 7, Object: id}, Epoch: e, Entry: ovs.Pair{Key: key, Value: binary.BigEndian.AppendUint64(nil, uint64(e))}}
}

func (w *world) do(u ...ovs.Update) {
	w.t.Helper()
	if _, err := w.reg.Sequence(context.Background(), u...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(id ovs.ObjectID) *file {
	c := claimOf(id, 1)
	w.do(ovs.Set(c.Entry.Key, c.Entry.Value), ovs.Set(ovs.HeadKey(id), w.d.NewHead(id)))
	return w.d.Create(c).(*file)
}

// recover takes the file over, as a start does.
func (w *world) recover(id ovs.ObjectID, e ovs.Epoch) *file {
	w.t.Helper()
	c := claimOf(id, e)
	r, err := w.d.Recover(soon(w.t), c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.do(append([]ovs.Update{ovs.Set(c.Entry.Key, c.Entry.Value)}, r.Close...)...)
	return r.Object.(*file)
}

// crash keeps the first n unflushed records of the log, and starts again.
func (w *world) crash(f *file, keep int) *file {
	w.t.Helper()
	log := w.log.Crash(keep)
	f.Close()
	w.log = log
	w.driver()
	return w.recover(f.claim.Object, f.claim.Epoch+1)
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func (f *file) mustWrite(t *testing.T, off uint64, data []byte, how ovs.Stability) {
	t.Helper()
	done := make(chan *ovs.Write, 1)
	f.Write(&ovs.Write{Off: off, Data: data, Stable: how, Done: func(w *ovs.Write) { done <- w }})
	if w := <-done; w.Err != nil {
		t.Fatalf("write %d+%d: %v", off, len(data), w.Err)
	}
}

func (f *file) mustFlush(t *testing.T) {
	t.Helper()
	if err := f.Flush(soon(t)); err != nil {
		t.Fatal(err)
	}
}

func (f *file) expect(t *testing.T, off uint64, want []byte) {
	t.Helper()
	done := make(chan *ovs.Read, 1)
	f.Read(&ovs.Read{Off: off, Dst: make([]byte, len(want)), Done: func(r *ovs.Read) { done <- r }})
	if r := <-done; r.Err != nil || !bytes.Equal(r.Dst[:r.N], want) {
		t.Fatalf("read %d+%d: %d bytes, the same: %v, %v", off, len(want), r.N, bytes.Equal(r.Dst[:r.N], want), r.Err)
	}
}

func pattern(seed uint64, n int) []byte {
	g := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32()) | 1
	}
	return b
}
