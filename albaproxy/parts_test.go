package albaproxy

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/conformance/backendtest"
	"ovs/internal/memregistry"
	"ovs/internal/vfs"
)

// slowGet is a registry whose Get a test holds up between the read and the return.
type slowGet struct {
	ovs.Registry
	read    chan struct{} // closed when the value was read
	release chan struct{}
}

func (s *slowGet) Get(ctx context.Context, key []byte) ([]byte, error) {
	v, err := s.Registry.Get(ctx, key)
	close(s.read)
	<-s.release
	return v, err
}

// TestViewKeepsNoStaleLoad: a value read before a change, and kept after it, would be wrong for ever.
func TestViewKeepsNoStaleLoad(t *testing.T) {
	mem := memregistry.New()
	set := func(v uint64) {
		_, err := mem.Sequence(t.Context(), ovs.Set([]byte("gx"), epochValue(v)))
		ok(t, err)
	}
	set(1)
	slow := &slowGet{Registry: mem, read: make(chan struct{}), release: make(chan struct{})}
	v := newView[uint64](slow, []byte("g"), 1000, decodeEpoch, func(uint64) uint32 { return 1 })
	defer v.close()
	var wg sync.WaitGroup
	wg.Go(func() {
		if got, err := v.get(t.Context(), "gx"); got != 1 || err != nil { // it read while 1 was true
			t.Error(got, err)
		}
	})
	<-slow.read
	mem2 := newView[uint64](mem, []byte("g"), 1000, decodeEpoch, func(uint64) uint32 { return 1 })
	defer mem2.close()
	set(2)
	if got, ok := v.peek("gx"); !ok || got != 2 {
		t.Fatalf("%d, %v right after the change", got, ok)
	}
	close(slow.release)
	wg.Wait()
	if got, _ := v.peek("gx"); got != 2 {
		t.Fatalf("the old value %d was kept", got)
	}
	_, err := mem.Sequence(t.Context(), ovs.Delete([]byte("gx")))
	ok(t, err)
	if _, there := v.peek("gx"); there {
		t.Fatal("a deleted record is still cached")
	}
	_, err = mem2.get(t.Context(), "gx")
	want(t, err, ovs.KindNotFound)
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(100)
		first, err := b.take(t.Context(), 60)
		ok(t, err)
		var mu sync.Mutex
		var order []int64
		var wg sync.WaitGroup
		for _, n := range []int64{1000, 30, 5} {
			wg.Go(func() {
				got, err := b.take(t.Context(), n)
				ok(t, err)
				mu.Lock()
				order = append(order, got)
				mu.Unlock()
				b.put(got)
			})
			synctest.Wait()
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = b.take(short, 1)
		want(t, err, ovs.KindTimeout)
		if len(order) != 0 {
			t.Fatalf("%v were served out of turn", order)
		}
		b.put(first)
		wg.Wait()
		if len(order) != 3 || order[0] != 100 {
			t.Fatalf("served %v", order)
		}
		if b.used != 0 || len(b.waiting) != 0 {
			t.Fatalf("%d used, %d waiting", b.used, len(b.waiting))
		}
	})
}

// TestBackoff: pauses grow from a second to a minute, and end with a success.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewCrash(1), "")
		c, err := r.config()
		ok(t, err)
		d := &disk{ASD: c.ASDs[0]}
		var last time.Duration
		for range 20 {
			d.failed(zap.NewNop(), errDown)
			if d.backoff < last || d.backoff < minBackoff || d.backoff > maxBackoff {
				t.Fatalf("%v after %v", d.backoff, last)
			}
			last = d.backoff
			if _, _, usable := d.free(t.Context(), false); usable {
				t.Fatal("usable in its pause")
			}
			time.Sleep(last)
			if _, _, usable := d.free(t.Context(), false); !usable {
				t.Fatal("not usable after its pause")
			}
		}
		if d.worked(); last != maxBackoff || d.backoff != 0 {
			t.Fatal(last, d.backoff)
		}
	})
}

func TestConfigRefused(t *testing.T) {
	for i, edit := range []func(*Config){
		func(c *Config) { c.ASDs = nil }, func(c *Config) { c.NSM = nil }, func(c *Config) { c.ABM = nil },
		func(c *Config) { c.Rand = nil }, func(c *Config) { c.Name = "" }, func(c *Config) { c.Name = "a b" },
		func(c *Config) { c.Presets = []Policy{{0, 1, 1, 1}} }, func(c *Config) { c.Presets = []Policy{{4, 2, 4, 1}} },
		func(c *Config) { c.Presets = []Policy{{4, 2, 7, 1}} }, func(c *Config) { c.Presets = []Policy{{40, 2, 41, 1}} },
		func(c *Config) { c.Presets = []Policy{{4, 2, 5, 0}} },
	} {
		r := newRig(t, vfs.NewCrash(1), "")
		c, err := r.config()
		ok(t, err)
		edit(&c)
		if _, err := Open(t.Context(), c); !ovs.Is(err, ovs.KindInvalid) {
			t.Errorf("case %d: %v", i, err)
		}
	}
}

// TestClosed: Close waits for what runs, and what comes later is told.
func TestClosed(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	p := r.open()
	ctx := context.Background()
	ok(t, p.CreateNamespace(ctx, "ns"))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				if _, err := p.Put(ctx, "ns", fmt.Sprint(w, "-", i), []byte("data"), ovs.PutOptions{}); err != nil {
					if !ovs.Is(err, ovs.KindClosed) {
						t.Error(err)
					}
					return
				}
			}
			t.Error("never closed")
		})
	}
	_, err := p.List(ctx, "ns", "", "", 10)
	ok(t, err)
	ok(t, p.Close())
	wg.Wait()
	ok(t, p.Close())
	_, err = p.Get(ctx, "ns", "x", 0, nil)
	want(t, err, ovs.KindClosed)
	want(t, p.CreateNamespace(ctx, "ns"), ovs.KindClosed)
	want(t, p.DeleteNamespace(ctx, "ns"), ovs.KindClosed)
	want(t, p.Delete(ctx, "ns", "x"), ovs.KindClosed)
	want(t, p.Collect(ctx), ovs.KindClosed)
	want(t, p.Maintain(ctx), ovs.KindClosed)
	_, err = p.Usage(ctx)
	want(t, err, ovs.KindClosed)
	_, err = p.Health(ctx)
	want(t, err, ovs.KindClosed)
}

// TestBudgetCountsCompression: what compression makes is the proxy's memory, and is not made before the budget has room.
func TestBudgetCountsCompression(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewCrash(1), "")
		r.edit = func(c *Config) { c.InFlight, c.RepairEvery = 4<<20, 24*time.Hour }
		p := r.open()
		defer p.Close()
		ok(t, p.CreateNamespace(t.Context(), "ns"))
		all, err := p.budget.take(t.Context(), 4<<20)
		ok(t, err)
		data := backendtest.Bytes(1, 1<<20, false)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				_, err := p.Put(context.Background(), "ns", fmt.Sprint("o", i), data, ovs.PutOptions{Compress: true})
				if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
			t.Errorf("20 Puts that wait for a budget of 4 MiB have allocated %d MiB", grown>>20)
		}
		p.budget.put(all)
		wg.Wait()
		one, err := p.budget.take(t.Context(), 4<<20)
		ok(t, err) // all of it came back
		p.budget.put(one)
	})
}
