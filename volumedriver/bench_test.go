package volumedriver

import (
	"testing"

	"ovs"
	"ovs/internal/pagecache"
)

// BenchmarkTryReadBelow is a 4 KiB read past the log: tail, map, cache.
func BenchmarkTryReadBelow(b *testing.B) {
	w := newWorld(b, Config{SCOSize: 4 << 20})
	cache, err := pagecache.New(64 << 20)
	if err != nil {
		b.Fatal(err)
	}
	defer cache.Close()
	w.cfg.Cache = cache
	w.driver()
	v := w.create()
	const n = 8192
	at := func(i int) uint64 { return uint64(i) * 7919 % n << 13 }
	for i := range n {
		write(b, v, at(i), pattern(uint64(i), 4096), ovs.Unstable)
	}
	flush(b, v)
	r := &ovs.Read{Dst: make([]byte, 4096)}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.Off = at(i % n)
		if !v.TryRead(r) {
			b.Fatal("not now")
		}
	}
	v.Close()
}
