package objectrouter

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ovs"
	"ovs/internal/conformance/fstest"
	"ovs/internal/membackend"
	"ovs/internal/memdriver"
	"ovs/internal/memregistry"
)

// fakeLog knows tails and remembers releases.
type fakeLog struct {
	mu       sync.Mutex
	tails    []ovs.LogTail
	released map[ovs.ObjectID]ovs.RecordNo
}

func (l *fakeLog) Tails() []ovs.LogTail { return l.tails }

func (l *fakeLog) Release(r ovs.Ref, upTo ovs.RecordNo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released == nil {
		l.released = make(map[ovs.ObjectID]ovs.RecordNo)
	}
	l.released[r.Object] = upTo
}

func (l *fakeLog) has(id ovs.ObjectID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.released[id] == ^ovs.RecordNo(0)
}

// world is what outlives a router.
type world struct {
	t     testing.TB
	reg   *memregistry.Registry
	store *memdriver.Store
	log   *fakeLog
	back  ovs.Backend
	tune  func(*Config)
	now   atomic.Int64
}

func newWorld(t testing.TB, tune func(*Config)) *world {
	w := &world{t: t, reg: memregistry.New(), log: &fakeLog{}, back: membackend.New(), tune: tune}
	w.now.Store(1_700_000_000_000_000_000)
	w.store = &memdriver.Store{Now: w.clock, Registry: w.reg}
	t.Cleanup(func() {
		for _, s := range w.store.Wrong() {
			t.Error(s)
		}
	})
	return w
}

// clock moves on a little with each look.
func (w *world) clock() int64 { return w.now.Add(1000) }

// router starts a router in the world; it is closed at the end of the test.
func (w *world) router() *Router {
	w.t.Helper()
	cfg := Config{
		Pool: 1, Node: 1, Registry: w.reg, Log: w.log, Backend: w.back,
		Volumes: w.store.Driver(), Files: w.store.Driver(), Now: w.clock,
	}
	if w.tune != nil {
		w.tune(&cfg)
	}
	r, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := r.Start(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.end(r) })
	return r
}

func (w *world) end(r *Router) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		w.t.Error(err)
	}
}

func conform(t *testing.T, c fstest.Config, tune func(*Config)) {
	var mu sync.Mutex
	worlds := make(map[ovs.FileSystem]*world)
	start := func(w *world) ovs.FileSystem {
		r := w.router()
		mu.Lock()
		defer mu.Unlock()
		worlds[r] = w
		return r
	}
	c.New = func(t *testing.T) ovs.FileSystem { return start(newWorld(t, tune)) }
	c.Restart = func(t *testing.T, fs ovs.FileSystem) ovs.FileSystem {
		mu.Lock()
		w := worlds[fs]
		mu.Unlock()
		w.end(fs.(*Router))
		return start(w)
	}
	fstest.Run(t, c)
}

func TestConformance(t *testing.T) { conform(t, fstest.Config{Entries: 20000}, nil) }

// TestConformanceStrained: the same with a memory of next to nothing, and everything at rest as soon as it is left alone.
func TestConformanceStrained(t *testing.T) {
	conform(t, fstest.Config{Entries: 500, Steps: 1500}, func(c *Config) {
		c.CacheSize, c.RestAfter, c.Workers = 1, 24*time.Millisecond, 2
	})
}
