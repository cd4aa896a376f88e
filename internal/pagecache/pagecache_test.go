package pagecache

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
)

func pageOf(k Key) []byte {
	p := make([]byte, PageSize)
	for i := 0; i < PageSize; i += 8 {
		binary.LittleEndian.PutUint64(p[i:], k.hash()+uint64(i))
	}
	return p
}

func open(t testing.TB, pages int64) *Cache {
	c, err := New(pages * PageSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestHoldsAndEvicts(t *testing.T) {
	c := open(t, 64)
	r := rand.New(rand.NewPCG(1, 1))
	put := map[Key]bool{}
	for range 20_000 {
		k := Key{1, r.Uint64N(4), r.Uint64N(3), r.Uint64N(30)}
		got := make([]byte, 100)
		if c.TryGet(k, 512, got) {
			if !put[k] {
				t.Fatalf("%v was never put", k)
			}
			if !bytes.Equal(got, pageOf(k)[512:612]) {
				t.Fatalf("%v holds another page", k)
			}
		} else if c.Put(k, pageOf(k)); !c.Has(k) {
			t.Fatalf("%v is not there after Put", k)
		}
		put[k] = true
	}
	hits, misses, size := c.Stats()
	if hits == 0 || misses == 0 || size != 64*PageSize {
		t.Errorf("%d hits, %d misses, %d bytes", hits, misses, size)
	}
}

func TestClockKeepsWhatIsUsed(t *testing.T) {
	c := open(t, 16)
	hot := Key{Place: 1 << 40}
	c.Put(hot, pageOf(hot))
	for i := range uint64(1000) {
		if !c.TryGet(hot, 0, make([]byte, 1)) {
			t.Fatalf("the page in use is gone after %d others", i)
		}
		k := Key{Place: i}
		c.Put(k, pageOf(k))
	}
}

func TestConcurrentAndClosed(t *testing.T) {
	c := open(t, 1000)
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(g, 1))
			got := make([]byte, PageSize)
			for range 3000 {
				k := Key{Place: r.Uint64N(3000)}
				if c.TryGet(k, 0, got) && !bytes.Equal(got, pageOf(k)) {
					t.Errorf("%v holds another page", k)
				}
				c.Put(k, pageOf(k))
			}
		})
	}
	wg.Go(func() { c.Close() })
	wg.Wait()
	if c.Put(Key{}, pageOf(Key{})); c.Has(Key{}) {
		t.Error("a closed cache keeps a page")
	}
	var none *Cache
	none.Put(Key{}, nil)
	if none.TryGet(Key{}, 0, nil) {
		t.Error("a nil cache has a page")
	}
}

func BenchmarkTryGet(b *testing.B) {
	c := open(b, 1<<14)
	for i := range uint64(1 << 13) {
		c.Put(Key{Place: i}, pageOf(Key{Place: i}))
	}
	dst := make([]byte, PageSize)
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		c.TryGet(Key{Place: i & (1<<13 - 1)}, 0, dst)
	}
}
