package volumedriver

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"ovs"
	"ovs/internal/memlog"
	"ovs/internal/pagecache"
)

func TestWriteFlushRead(t *testing.T) {
	w := newWorld(t, Config{})
	v := w.create()
	data := pattern(1, 300_000)
	write(t, v, 1000, data, ovs.FileSync)
	if got := read(t, v, 1000, len(data)); !bytes.Equal(got, data) {
		t.Fatal("from the log: not the same")
	}
	flush(t, v)
	if _, n := w.log.Held(ref); n != 0 {
		t.Fatalf("%d records are still in the log", n)
	}
	if got := read(t, v, 1000, len(data)); !bytes.Equal(got, data) {
		t.Fatal("from the backend: not the same")
	}
	if l := v.Live(); l.Size != 301_000 || l.Used != 74*4096 {
		t.Errorf("%+v", l)
	}
	v.Close()
	v = w.mustRecover()
	if got := read(t, v, 0, 301_001); !bytes.Equal(got[1000:], data) || !bytes.Equal(got[:1000], make([]byte, 1000)) {
		t.Fatal("after a recovery: not the same")
	}
	w.rest(v)
	v = w.mustRecover()
	if got := read(t, v, 0, 301_001); !bytes.Equal(got[1000:], data) {
		t.Fatal("after a rest: not the same")
	}
	if !bytes.Equal(v.flush.raw, mustHead(t, w)) {
		t.Fatal("the head is not what the volume thinks")
	}
	v.Close()
}

func mustHead(t testing.TB, w *world) []byte {
	b, err := w.reg.Get(context.Background(), ovs.HeadKey(disk))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSparse64TiB(t *testing.T) {
	w := newWorld(t, Config{})
	v := w.create()
	data := pattern(1, 8192)
	write(t, v, 0, data, ovs.FileSync)
	write(t, v, ovs.MaxFileSize-8192, data, ovs.FileSync)
	flush(t, v)
	check := func() {
		t.Helper()
		if l := v.Live(); l.Size != ovs.MaxFileSize || l.Used != 4*4096 {
			t.Errorf("%+v", l)
		}
		for _, off := range []uint64{0, ovs.MaxFileSize - 8192} {
			if got := read(t, v, off, 8192); !bytes.Equal(got, data) {
				t.Errorf("at %d: not the same", off)
			}
		}
		if got := read(t, v, 1<<44, 1<<20); !bytes.Equal(got, make([]byte, 1<<20)) {
			t.Error("a hole is not zeros")
		}
	}
	check()
	w.rest(v)
	v = w.mustRecover()
	check()
	if err := v.Resize(context.Background(), 4096); err != nil {
		t.Fatal(err)
	}
	if err := v.Resize(context.Background(), ovs.MaxFileSize); err != nil {
		t.Fatal(err)
	}
	flush(t, v)
	if got := read(t, v, ovs.MaxFileSize-8192, 8192); !bytes.Equal(got, make([]byte, 8192)) {
		t.Error("what a shrink cut off is back")
	}
	w.rest(v)
	v = w.mustRecover()
	if l := v.Live(); l.Used != 4096 {
		t.Errorf("%+v", l)
	}
	done := make(chan *ovs.Write, 1)
	v.Write(&ovs.Write{Off: ovs.MaxFileSize - 1, Data: []byte("xy"), Done: func(w *ovs.Write) { done <- w }})
	if w := <-done; !ovs.Is(w.Err, ovs.KindTooBig) {
		t.Errorf("past 64 TiB: %v", w.Err)
	}
	v.Close()
}

// Maps stay within their budget, by checkpoints and by dropping clean segments, and everything is found again.
func TestBudget(t *testing.T) {
	b := NewBudget(64 << 10)
	w := newWorld(t, Config{Budget: b, SCOSize: 1 << 20, TLogSCOs: 1 << 20})
	v := w.create()
	const n = 3000
	at := func(i int) uint64 { return uint64(i) * 7919 % n * 37 << 14 } // no two neighbours; 2 stretches and more
	for i := range n {
		write(t, v, at(i), pattern(uint64(i), 4096), ovs.Unstable)
		if i%256 == 255 {
			flush(t, v)
		}
	}
	flush(t, v)
	if d, _ := b.Use(); d > 64<<10 {
		t.Errorf("deltas take %d bytes", d)
	}
	for i := range n {
		if got := read(t, v, at(i), 4096); !bytes.Equal(got, pattern(uint64(i), 4096)) {
			t.Fatalf("cluster %d is not the same", i)
		}
		if _, c := b.Use(); c > 128<<10 {
			t.Fatalf("clean segments take %d bytes", c)
		}
	}
	if l := v.Live(); l.Used != n*4096 {
		t.Errorf("%d bytes used, want %d", l.Used, n*4096)
	}
	v.Close()
	if d, c := b.Use(); d != 0 || c != 0 {
		t.Errorf("%d, %d after Close", d, c)
	}
}

func TestAgedIntervalIsFlushed(t *testing.T) {
	w := newWorld(t, Config{MaxAge: time.Millisecond})
	v := w.create()
	progress := v.flush.progress
	write(t, v, 0, pattern(1, 100), ovs.FileSync)
	<-progress
	if _, n := w.log.Held(ref); n != 0 {
		t.Errorf("%d records are still in the log", n)
	}
	v.Close()
}

func TestRestIsBusy(t *testing.T) {
	w := newWorld(t, Config{})
	v := w.create()
	write(t, v, 0, pattern(1, 4096), ovs.FileSync)
	flush(t, v)
	w.log.Hold()
	done := make(chan *ovs.Write, 1)
	v.Write(&ovs.Write{Off: 4096, Data: pattern(2, 10), Stable: ovs.FileSync, Done: func(w *ovs.Write) { done <- w }})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := v.Rest(ctx, open); !ovs.Is(err, ovs.KindTimeout) && !ovs.Is(err, ovs.KindBusy) {
		t.Fatalf("%v", err)
	}
	w.log.Resume()
	<-done
	w.rest(v)
	v.Write(&ovs.Write{Off: 4096, Data: pattern(2, 10), Done: func(w *ovs.Write) { done <- w }})
	if w := <-done; !ovs.Is(w.Err, ovs.KindFenced) {
		t.Errorf("a write after a rest: %v", w.Err)
	}
}

// Writers, readers, flushes and checkpoints at once. Each writer owns a part in which a value never goes back.
func TestConcurrent(t *testing.T) {
	w := newWorld(t, Config{TLogSCOs: 3, MostTLogs: 2, Budget: NewBudget(0)})
	w.log.SetFaults(memlog.Faults{Seed: 3, AdmitWaits: 0.1, TryMisses: 0.2})
	v := w.create()
	var wg sync.WaitGroup
	for k := range uint64(4) {
		wg.Go(func() {
			for i := 1; i < 200; i++ {
				off := k<<28 | uint64(i%20)<<12
				data := bytes.Repeat([]byte{byte(i)}, 4096)
				write(t, v, off, data, ovs.Stability(i%3))
				if got := read(t, v, off, 4096); !bytes.Equal(got, data) {
					t.Errorf("read %d after writing %d", got[0], i)
					return
				}
				if i%50 == 0 {
					flush(t, v)
				}
			}
		})
	}
	stop := make(chan struct{})
	var bg sync.WaitGroup
	bg.Go(func() {
		last := byte(0)
		for {
			select {
			case <-stop:
				return
			default:
			}
			v.Live()
			got, err := tryRead(v, 20<<12-4096, 4096)
			if err == nil && len(got) > 0 {
				if got[0] < last && last < 190 || !bytes.Equal(got, bytes.Repeat(got[:1], 4096)) {
					t.Errorf("%d after %d", got[0], last)
				}
				last = got[0]
			}
		}
	})
	wg.Wait()
	close(stop)
	bg.Wait()
	flush(t, v)
	w.rest(v)
}

func TestReadAhead(t *testing.T) {
	w := newWorld(t, Config{SCOSize: 1 << 20})
	cache, err := pagecache.New(16 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	v := w.create()
	data := pattern(1, 4<<20)
	for off := 0; off < len(data); off += 1 << 20 {
		write(t, v, uint64(off), data[off:off+1<<20], ovs.Unstable)
	}
	flush(t, v)
	v.Close()
	w.cfg.Cache = cache
	w.driver()
	v = w.mustRecover()
	before := w.backend.Count("Get")
	for off := 0; off < len(data); off += 64 << 10 {
		if got := read(t, v, uint64(off), 64<<10); !bytes.Equal(got, data[off:off+64<<10]) {
			t.Fatal("not the same")
		}
		until(t, "the read-ahead is done, so that the count says something", func() bool {
			v.ahead.mu.Lock()
			defer v.ahead.mu.Unlock()
			return !v.ahead.busy
		})
	}
	if n := w.backend.Count("Get") - before; n > 16 {
		t.Errorf("%d reads of the backend for 64 of a stream", n)
	}
	v.Close()
}

// A read has seen a stretch whose segment a checkpoint replaces, and deletes, before it is read.
func TestSegmentReplacedUnderARead(t *testing.T) {
	w := newWorld(t, Config{TLogSCOs: 1, MostTLogs: 1})
	v := w.rested(pattern(1, 4096)) // nothing of the map is in memory
	slipped := false
	w.beforeGet("seg/", func(name string) {
		slipped = true
		write(t, v, 1<<20, pattern(2, 4096), ovs.FileSync)
		flush(t, v)
		until(t, "the segment is deleted", func() bool { return !exists(w, name) })
	})
	if got := read(t, v, 0, 4096); !bytes.Equal(got, pattern(1, 4096)) || !slipped {
		t.Fatal("not the same")
	}
	v.Close()
}

// What is not durable in the log may be lost by a crash that the backend outlives: so it is not put.
func TestNothingIsPutBeforeItsFlush(t *testing.T) {
	w := newWorld(t, Config{})
	v := w.create()
	w.log.Hold()
	write(t, v, 0, pattern(1, 4096), ovs.Unstable)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if err := v.Flush(ctx); !ovs.Is(err, ovs.KindTimeout) || w.backend.Count("Put") != 0 {
		t.Fatalf("%v, and %d PUTs", err, w.backend.Count("Put"))
	}
	w.log.Resume()
	flush(t, v)
	v.Close()
}
