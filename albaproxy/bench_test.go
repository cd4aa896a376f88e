package albaproxy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

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
			begin := cpuTime(b)
			for i := 0; b.Loop(); i++ {
				if _, err := p.Put(context.Background(), "ns", fmt.Sprint(i), data, ovs.PutOptions{Unit: 4112}); err != nil {
					b.Fatal(err)
				}
			}
			reportCPU(b, begin)
		})
	}
}

// BenchmarkPutFloor writes what BenchmarkPut does, a new file in each of six directories, by the fewest calls: past the
// page cache, flushed, its name not.
func BenchmarkPutFloor(b *testing.B) {
	for _, size := range []int{4096, 1 << 20, 1024 * 4112} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			dir, l := b.TempDir(), layout{k: 4, m: 2, unit: 4112, stored: uint64(size)}
			fragment := vfs.AlignedBuffer(int(l.room()))
			for n := range l.n() {
				if err := os.Mkdir(fmt.Sprintf("%s/%d", dir, n), 0o755); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(size))
			begin := cpuTime(b)
			for i := 0; b.Loop(); i++ {
				var all sync.WaitGroup
				for n := range l.n() {
					all.Go(func() {
						f, err := vfs.OS().OpenFile(fmt.Sprintf("%s/%d/%d", dir, n, i), os.O_RDWR|os.O_CREATE|vfs.Direct, 0o644)
						if err == nil {
							_, err = f.WriteAt(fragment[:l.size(n)], 0)
							err = errors.Join(err, f.Datasync(), f.Close())
						}
						if err != nil {
							b.Error(err)
						}
					})
				}
				all.Wait()
			}
			reportCPU(b, begin)
		})
	}
}

// cpuTime is what the process has used of its processors.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportCPU(b *testing.B, begin time.Duration) {
	b.ReportMetric(float64((cpuTime(b)-begin).Microseconds())/float64(b.N), "cpu-µs/op")
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
