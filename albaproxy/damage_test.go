package albaproxy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/internal/conformance/backendtest"
	"ovs/internal/vfs"
)

func read(t *testing.T, p *Proxy, name string, data []byte, from, n int) {
	t.Helper()
	dst := make([]byte, n)
	got, err := p.Get(t.Context(), "ns", name, uint64(from), dst)
	if err != nil {
		t.Fatalf("%s from %d, %d bytes: %v", name, from, n, err)
	}
	if want := data[min(from, len(data)):min(from+n, len(data))]; !bytes.Equal(dst[:got], want) {
		t.Fatalf("%s from %d, %d bytes: wrong content (%d bytes, want %d)", name, from, n, got, len(want))
	}
}

// TestDamage loses and spoils fragments up to the policy's m, in all patterns, and reads; then one more.
func TestDamage(t *testing.T) {
	for _, policy := range []Policy{{4, 2, 5, 6}, {2, 1, 3, 6}, {1, 1, 2, 6}, {1, 2, 3, 6}, {3, 3, 4, 6}, {3, 0, 3, 6}} {
		t.Run(fmt.Sprint(policy.K, policy.M), func(t *testing.T) {
			r := newRig(t, vfs.NewCrash(1), "")
			r.edit = func(c *Config) { c.Presets = []Policy{policy} }
			p := r.open()
			ok(t, p.CreateNamespace(t.Context(), "ns"))
			n := policy.K + policy.M
			rng := rand.New(rand.NewPCG(1, uint64(n)))
			for mask := range 1 << n {
				lost := setBits(mask)
				if len(lost) > policy.M+1 {
					continue
				}
				name := fmt.Sprint("o", mask)
				o := ovs.PutOptions{Unit: 4112, Compress: mask%3 == 1}
				data := backendtest.Bytes(uint64(mask), 4112*9+100, true)
				full, err := p.Put(t.Context(), "ns", name, data, o)
				ok(t, err)
				if !full {
					t.Fatal("not full")
				}
				m, _, _ := manifestOf(t, p, "ns", name)
				for j, i := range lost {
					if j%2 == 0 || m.rowsIn(i) == 0 {
						r.lose(p, "ns", name, i)
					} else {
						for row := range m.rowsIn(i) {
							r.rot(p, "ns", name, i, int64(m.offset(row))+rng.Int64N(int64(m.stride())))
						}
					}
				}
				if len(lost) <= policy.M {
					read(t, p, name, data, 0, len(data))
					for range 5 {
						read(t, p, name, data, rng.IntN(len(data)), rng.IntN(9000))
					}
					continue
				}
				_, err = p.Get(t.Context(), "ns", name, 0, make([]byte, len(data)))
				want(t, err, ovs.KindCorrupt)
			}
		})
	}
}

// TestEdges: objects around the edges of units, rows and blocks, packed or not, are read with all of m fragments lost, by
// ranges too, and repaired to the same content.
func TestEdges(t *testing.T) {
	for _, policy := range []Policy{{4, 2, 5, 6}, {1, 1, 2, 6}, {3, 0, 3, 6}} {
		t.Run(fmt.Sprint(policy.K, policy.M), func(t *testing.T) {
			r := newRig(t, vfs.NewCrash(1), "")
			r.edit = func(c *Config) { c.Presets = []Policy{policy} }
			p := r.open()
			ok(t, p.CreateNamespace(t.Context(), "ns"))
			rng, repaired := rand.New(rand.NewPCG(3, 4)), uint64(0)
			unit := 512
			row := policy.K * unit
			for _, size := range []int{0, 1, unit - 1, unit, unit + 1, row - 1, row, row + 1, 2 * row, blockSize - 1, blockSize, blockSize + 1, 2 * blockSize, 2*blockSize + row} {
				for _, compress := range []bool{false, true} {
					for _, zeros := range []bool{false, true} {
						name, data := fmt.Sprintf("%d-%v-%v", size, compress, zeros), backendtest.Bytes(uint64(size), size, false)
						if zeros {
							clear(data)
						}
						_, err := p.Put(t.Context(), "ns", name, data, ovs.PutOptions{Unit: uint32(unit), Compress: compress})
						ok(t, err)
						for _, i := range rng.Perm(policy.K + policy.M)[:policy.M] {
							r.lose(p, "ns", name, i)
						}
						if policy.M > 0 {
							_, s, _ := manifestOf(t, p, "ns", name)
							p.suspect(s, name, span{}, p.disks[0].id, errChecksum)
							repaired++
						}
						for range 2 {
							read(t, p, name, data, 0, size+1)
							for _, at := range []int{0, size - 1, size / 2, size} {
								read(t, p, name, data, max(at, 0), 1+rng.IntN(2*unit))
							}
							ok(t, p.Maintain(t.Context()))
						}
						if good, err := goodFragments(p, name); err != nil || slices.Contains(good, false) {
							t.Fatalf("%s is not repaired: %v, %v", name, good, err)
						}
					}
				}
			}
			if n := p.Stats().Repaired; n != repaired {
				t.Errorf("%d objects repaired, want %d", n, repaired)
			}
		})
	}
}

func setBits(mask int) (list []int) {
	for i := 0; mask>>i > 0; i++ {
		if mask>>i&1 == 1 {
			list = append(list, i)
		}
	}
	return list
}

// TestScattered spoils single units all over an object, up to m in each row: every unit stays readable.
func TestScattered(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	p := r.open()
	ok(t, p.CreateNamespace(t.Context(), "ns"))
	rng := rand.New(rand.NewPCG(5, 6))
	data := backendtest.Bytes(1, 4096*43+7, false)
	_, err := p.Put(t.Context(), "ns", "o", data, ovs.PutOptions{})
	ok(t, err)
	m, _, _ := manifestOf(t, p, "ns", "o")
	for row := range m.rows() {
		for _, i := range rng.Perm(6)[:2] {
			if row < m.rowsIn(i) {
				r.rot(p, "ns", "o", i, int64(m.offset(row))+rng.Int64N(int64(m.stride())))
			}
		}
	}
	for u := 0; u*4096 < len(data); u++ {
		read(t, p, "o", data, u*4096, 4096)
	}
	read(t, p, "o", data, 0, len(data))
	if p.Stats().BadUnits == 0 || p.Stats().DegradedReads == 0 {
		t.Fatalf("nothing was reported: %+v", p.Stats())
	}
	// The maintenance mends it, and what it read before counts no more.
	ok(t, p.Maintain(t.Context()))
	before := p.Stats().BadUnits
	read(t, p, "o", data, 0, len(data))
	if after := p.Stats().BadUnits; after != before || p.Stats().Repaired != 1 {
		t.Fatalf("not repaired: %+v, %d bad units before", p.Stats(), before)
	}
	ok(t, p.Maintain(t.Context()))
	if n := r.count(p); n != 6 {
		t.Fatalf("%d fragments, want 6: the spoilt ones go", n)
	}
}

// TestSilentDisk: units on disks that do not answer are no corruption.
func TestSilentDisk(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	disks := r.watch()
	p := r.open()
	ok(t, p.CreateNamespace(t.Context(), "ns"))
	data := backendtest.Bytes(1, 50_000, false)
	_, err := p.Put(t.Context(), "ns", "o", data, ovs.PutOptions{})
	ok(t, err)
	for i, w := range *disks {
		read(t, p, "o", data, 0, len(data))
		w.set(func(op string, k asd.Key) error { return ovs.E("test", ovs.KindIO, nil, nil) })
		if i == 2 {
			break
		}
	}
	_, err = p.Get(t.Context(), "ns", "o", 0, make([]byte, len(data)))
	want(t, err, ovs.KindIO)
	(*disks)[1].set(nil)
	read(t, p, "o", data, 0, len(data))
}

// TestOneRead: a read of one unit of uncompressed data is one read of that unit and its CRC from one ASD.
func TestOneRead(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	disks := r.watch()
	p := r.open()
	ok(t, p.CreateNamespace(t.Context(), "ns"))
	const unit = 4112
	data := backendtest.Bytes(1, 100*unit, false)
	_, err := p.Put(t.Context(), "ns", "o", data, ovs.PutOptions{Unit: unit})
	ok(t, err)
	for u := range 100 {
		read(t, p, "o", data, u*unit, unit)
		read(t, p, "o", data, u*unit+100, 512)
	}
	gets := 0
	for _, w := range *disks {
		for _, n := range w.gets {
			gets++
			if n != unit+crcSize {
				t.Fatalf("a read of %d bytes", n)
			}
		}
	}
	if gets != 200 {
		t.Fatalf("%d reads of ASDs, want 200", gets)
	}
}

// TestSwapped: units and fragments that are right in themselves are wrong in another's place.
func TestSwapped(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	p := r.open()
	ok(t, p.CreateNamespace(t.Context(), "ns"))
	a, b := backendtest.Bytes(1, 40_000, false), backendtest.Bytes(2, 40_000, false)
	for name, data := range map[string][]byte{"a": a, "b": b} {
		_, err := p.Put(t.Context(), "ns", name, data, ovs.PutOptions{})
		ok(t, err)
	}
	fa, fb := r.fragmentFile(p, "ns", "a", 1), r.fragmentFile(p, "ns", "b", 1)
	ok(t, r.fs.Rename(fa, fa+"x"))
	ok(t, r.fs.Rename(fb, fa))
	ok(t, r.fs.Rename(fa+"x", fb))
	for range 2 {
		read(t, p, "a", a, 0, len(a))
		read(t, p, "b", b, 4096, 100)
		ok(t, p.Maintain(t.Context()))
	}
}
