package albaproxy

import (
	"context"
	"fmt"
	"testing"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/internal/conformance/backendtest"
	"ovs/internal/memregistry"
	"ovs/internal/vfs"

	crand "crypto/rand"
)

func benchProxy(b *testing.B) *Proxy {
	dir := b.TempDir()
	c := Config{Name: "b", ABM: memregistry.New(), NSM: []ovs.Registry{memregistry.New()}, Rand: crand.Reader, CollectEvery: -1}
	for i := range 6 {
		d, err := asd.Open(asd.Options{FS: vfs.OS(), Dir: fmt.Sprint(dir, "/", i), Rand: crand.Reader})
		if err != nil {
			b.Fatal(err)
		}
		c.ASDs = append(c.ASDs, d)
	}
	p, err := Open(context.Background(), c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = p.Close() })
	if err := p.CreateNamespace(context.Background(), "ns"); err != nil {
		b.Fatal(err)
	}
	return p
}

// BenchmarkPut puts SCOs of 4 MiB, and small chunks, that do not compress.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{4096, 1 << 20, 1024 * 4112} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := benchProxy(b)
			data := backendtest.Bytes(1, size, false)
			b.SetBytes(int64(size))
			for i := 0; b.Loop(); i++ {
				if _, err := p.Put(context.Background(), "ns", fmt.Sprint(i), data, ovs.PutOptions{Unit: 4112}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkGet reads one unit from warm files, and whole SCOs.
func BenchmarkGet(b *testing.B) {
	for _, size := range []int{4112, 1024 * 4112} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := benchProxy(b)
			data := backendtest.Bytes(1, 1024*4112, false)
			if _, err := p.Put(context.Background(), "ns", "o", data, ovs.PutOptions{Unit: 4112}); err != nil {
				b.Fatal(err)
			}
			dst := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				off := uint64(i * 4112 % (len(data) - size + 4112))
				if _, err := p.Get(context.Background(), "ns", "o", off, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
