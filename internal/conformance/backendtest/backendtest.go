/*
Package backendtest is the conformance suite of ovs.Backend: every implementation passes it unchanged.

	Run(t, func(t) ovs.Backend)     each subtest asks for an empty backend of its own, of at least 256 MiB
*/
package backendtest

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"ovs"
)

// Run runs the suite. open gives an empty backend and cleans up after itself (t.Cleanup).
func Run(t *testing.T, open func(t *testing.T) ovs.Backend) {
	for _, c := range []struct {
		name string
		f    func(t *testing.T, b ovs.Backend)
	}{
		{"Namespaces", testNamespaces},
		{"Names", testNames},
		{"PutIfAbsent", testPutIfAbsent},
		{"Ranges", testRanges},
		{"Sizes", testSizes},
		{"List", testList},
		{"Delete", testDelete},
		{"Usage", testUsage},
		{"Races", testRaces},
		{"Model", testModel},
		{"Cancelled", testCancelled},
	} {
		t.Run(c.name, func(t *testing.T) { c.f(t, open(t)) })
	}
}

func want(t *testing.T, err error, k ovs.Kind) {
	t.Helper()
	if !ovs.Is(err, k) {
		t.Fatalf("error %v, want kind %q", err, k)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, b ovs.Backend, ns, name string, data []byte, o ovs.PutOptions) {
	t.Helper()
	full, err := b.Put(t.Context(), ns, name, data, o)
	if err != nil {
		t.Fatalf("Put %s/%s: %v", ns, name, err)
	}
	if !full {
		t.Fatalf("Put %s/%s: not full, though nothing is amiss", ns, name)
	}
}

func get(t *testing.T, b ovs.Backend, ns, name string, size int) []byte {
	t.Helper()
	dst := make([]byte, size+1) // one more: the end must be found
	n, err := b.Get(t.Context(), ns, name, 0, dst)
	if err != nil {
		t.Fatalf("Get %s/%s: %v", ns, name, err)
	}
	return dst[:n]
}

// Bytes gives n bytes drawn from a seed; every second KiB compresses when mixed is set.
func Bytes(seed uint64, n int, mixed bool) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		if mixed && i>>10&1 == 1 {
			b[i] = byte(i >> 7)
		} else {
			b[i] = byte(r.Uint32())
		}
	}
	return b
}

func testNamespaces(t *testing.T, b ovs.Backend) {
	ctx := t.Context()
	_, err := b.Put(ctx, "a", "x", nil, ovs.PutOptions{})
	want(t, err, ovs.KindNotFound)
	_, err = b.Get(ctx, "a", "x", 0, make([]byte, 1))
	want(t, err, ovs.KindNotFound)
	_, err = b.List(ctx, "a", "", "", 10)
	want(t, err, ovs.KindNotFound)
	ok(t, b.Delete(ctx, "a", "x"))
	ok(t, b.DeleteNamespace(ctx, "a"))
	for range 2 {
		ok(t, b.CreateNamespace(ctx, "a"))
	}
	ok(t, b.CreateNamespace(ctx, "b"))
	put(t, b, "a", "x", []byte("in a"), ovs.PutOptions{})
	put(t, b, "b", "x", []byte("in b"), ovs.PutOptions{})
	ok(t, b.CreateNamespace(ctx, "a")) // changes nothing
	if got := get(t, b, "a", "x", 10); string(got) != "in a" {
		t.Fatalf("got %q", got)
	}
	for range 2 {
		ok(t, b.DeleteNamespace(ctx, "a"))
	}
	_, err = b.Get(ctx, "a", "x", 0, make([]byte, 1))
	want(t, err, ovs.KindNotFound)
	ok(t, b.CreateNamespace(ctx, "a")) // another one of that name: empty
	list, err := b.List(ctx, "a", "", "", 10)
	ok(t, err)
	if len(list) != 0 {
		t.Fatalf("a new namespace holds %v", list)
	}
	put(t, b, "a", "x", []byte("other"), ovs.PutOptions{})
	if got := get(t, b, "a", "x", 10); string(got) != "other" {
		t.Fatalf("got %q", got)
	}
	if got := get(t, b, "b", "x", 10); string(got) != "in b" {
		t.Fatalf("got %q", got)
	}
}

func testNames(t *testing.T, b ovs.Backend) {
	ctx := t.Context()
	ok(t, b.CreateNamespace(ctx, "vpool-1.Vol_2"))
	for _, bad := range []string{"", "a b", "ä", "a\x00", "a\n", "a*"} {
		_, err := b.Put(ctx, "vpool-1.Vol_2", bad, nil, ovs.PutOptions{})
		want(t, err, ovs.KindInvalid)
		want(t, b.CreateNamespace(ctx, bad), ovs.KindInvalid)
	}
	long := strings.Repeat("n", ovs.MaxName)
	_, err := b.Put(ctx, "vpool-1.Vol_2", long+"n", nil, ovs.PutOptions{})
	want(t, err, ovs.KindNameTooLong)
	want(t, b.CreateNamespace(ctx, long+"n"), ovs.KindNameTooLong)
	ok(t, b.CreateNamespace(ctx, long))
	names := []string{long, ".", "..", "/", "../../x", "a/b", "a/b/", "sco/0000000001-2", "A", "-", "_"}
	for i, name := range names {
		put(t, b, long, name, fmt.Appendf(nil, "content %d", i), ovs.PutOptions{})
	}
	for i, name := range names {
		if got := get(t, b, long, name, 20); string(got) != fmt.Sprintf("content %d", i) {
			t.Errorf("%q: %q", name, got)
		}
	}
}

func testPutIfAbsent(t *testing.T, b ovs.Backend) {
	ctx := t.Context()
	ok(t, b.CreateNamespace(ctx, "ns"))
	data := Bytes(1, 100_000, true)
	for _, compress := range []bool{false, true} {
		name := fmt.Sprint("o-", compress)
		o := ovs.PutOptions{Unit: 4112, Compress: compress}
		for range 3 {
			put(t, b, "ns", name, data, o)
		}
		other := bytes.Clone(data)
		other[99_999]++
		for _, wrong := range [][]byte{other, data[:99_999], append(other[:99_999:99_999], 0, 0), nil} {
			_, err := b.Put(ctx, "ns", name, wrong, o)
			want(t, err, ovs.KindConflict)
		}
		if !bytes.Equal(get(t, b, "ns", name, len(data)), data) {
			t.Fatal("the first content is gone")
		}
		ok(t, b.Delete(ctx, "ns", name))
		put(t, b, "ns", name, other, o) // a name that is free again takes any content
		if !bytes.Equal(get(t, b, "ns", name, len(other)), other) {
			t.Fatal("wrong content")
		}
	}
	// The caller's bytes are its own again.
	mine := []byte("mine")
	put(t, b, "ns", "mine", mine, ovs.PutOptions{})
	mine[0] = 'f'
	if got := get(t, b, "ns", "mine", 4); string(got) != "mine" {
		t.Fatalf("got %q", got)
	}
}

func testRanges(t *testing.T, b ovs.Backend) {
	ok(t, b.CreateNamespace(t.Context(), "ns"))
	const unit = 4112
	for _, compress := range []bool{false, true} {
		for _, size := range []int{9*unit + 17, 3 * 32 << 10, 70_001} {
			data := Bytes(uint64(size), size, true)
			name := fmt.Sprintf("o-%v-%d", compress, size)
			put(t, b, "ns", name, data, ovs.PutOptions{Unit: unit, Compress: compress})
			edges := []int{0, 1, 4095, unit - 1, unit, unit + 1, 4 * unit, 8*unit - 1, 32<<10 - 1, 32 << 10, 32<<10 + 1,
				64 << 10, size - 1, size, size + 1, size + unit}
			for _, from := range edges {
				for _, n := range []int{0, 1, 4096, unit, unit + 1, 2 * unit, 32 << 10, size} {
					checkRange(t, b, "ns", name, data, from, n)
				}
			}
		}
	}
	n, err := b.Get(t.Context(), "ns", "o-false-70001", 1<<63, make([]byte, 10))
	if n != 0 || err != nil {
		t.Fatalf("far past the end: %d, %v", n, err)
	}
}

func checkRange(t *testing.T, b ovs.Backend, ns, name string, data []byte, from, n int) {
	t.Helper()
	dst := bytes.Repeat([]byte{0xEE}, n)
	expect := data[min(from, len(data)):min(from+n, len(data))]
	got, err := b.Get(t.Context(), ns, name, uint64(from), dst)
	if err != nil || got != len(expect) || !bytes.Equal(dst[:got], expect) {
		t.Fatalf("%s from %d, %d bytes: %d bytes, %v; want %d", name, from, n, got, err, len(expect))
	}
	for _, c := range dst[got:] {
		if c != 0xEE {
			t.Fatalf("%s from %d: bytes past the count were written", name, from)
		}
	}
}

func testSizes(t *testing.T, b ovs.Backend) {
	ok(t, b.CreateNamespace(t.Context(), "ns"))
	for i, size := range []int{0, 1, 511, 4095, 4096, 4097, 4112, 16384, 16448, 16449, 65536, 1 << 20, 4<<20 + 4096} {
		for _, o := range []ovs.PutOptions{{}, {Unit: 4112}, {Unit: 4096, Compress: true}} {
			data := Bytes(uint64(size), size, true)
			name := fmt.Sprintf("%d/%d-%v", i, o.Unit, o.Compress)
			put(t, b, "ns", name, data, o)
			if got := get(t, b, "ns", name, size); !bytes.Equal(got, data) {
				t.Fatalf("size %d, %+v: wrong content (%d bytes)", size, o, len(got))
			}
		}
	}
}

func testList(t *testing.T, b ovs.Backend) {
	ctx := t.Context()
	ok(t, b.CreateNamespace(ctx, "ns"))
	ok(t, b.CreateNamespace(ctx, "ns2"))
	sum := map[string][]byte{}
	for i := range 25 {
		name := fmt.Sprintf("sco/%04d-1", i*3)
		sum[name] = Bytes(uint64(i), 100+i, false)
		put(t, b, "ns", name, sum[name], ovs.PutOptions{})
	}
	put(t, b, "ns", "a", nil, ovs.PutOptions{})
	put(t, b, "ns", "tlog/1", nil, ovs.PutOptions{})
	put(t, b, "ns2", "sco/0001-1", nil, ovs.PutOptions{})
	var seen []ovs.ObjectInfo
	for after := ""; ; {
		page, err := b.List(ctx, "ns", "sco/", after, 7)
		ok(t, err)
		if len(page) == 0 {
			break
		}
		if len(page) > 7 {
			t.Fatalf("%d objects in a page of 7", len(page))
		}
		seen, after = append(seen, page...), page[len(page)-1].Name
	}
	if len(seen) != 25 {
		t.Fatalf("%d objects, want 25", len(seen))
	}
	for i, o := range seen {
		data := sum[o.Name]
		if o.Name != fmt.Sprintf("sco/%04d-1", i*3) || o.Size != uint64(len(data)) ||
			o.Checksum != crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) {
			t.Fatalf("object %d: %+v", i, o)
		}
	}
	for _, c := range []struct {
		prefix, after string
		limit, count  int
		first         string
	}{
		{"", "", 100, 27, "a"}, {"", "a", 100, 26, "sco/0000-1"}, {"sco/", "a", 100, 25, "sco/0000-1"},
		{"sco/", "sco/0001-1", 100, 24, "sco/0003-1"}, {"sco/", "t", 100, 0, ""}, {"sco/0003-1", "", 10, 1, "sco/0003-1"},
		{"x", "", 10, 0, ""}, {"", "tlog/1", 10, 0, ""}, {"sco/", "", 1, 1, "sco/0000-1"},
	} {
		list, err := b.List(ctx, "ns", c.prefix, c.after, c.limit)
		ok(t, err)
		if len(list) != c.count || c.count > 0 && list[0].Name != c.first {
			t.Errorf("List(%q, %q, %d): %d objects %v; want %d from %q", c.prefix, c.after, c.limit, len(list), list, c.count, c.first)
		}
	}
}

func testDelete(t *testing.T, b ovs.Backend) {
	ctx := t.Context()
	ok(t, b.CreateNamespace(ctx, "ns"))
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprint("o", i))
		put(t, b, "ns", names[i], Bytes(uint64(i), 5000, false), ovs.PutOptions{})
	}
	ok(t, b.Delete(ctx, "ns"))
	ok(t, b.Delete(ctx, "ns", append(names[:20:20], "never", "o1")...))
	ok(t, b.Delete(ctx, "ns", names[:20]...))
	list, err := b.List(ctx, "ns", "", "", 100)
	ok(t, err)
	if len(list) != 10 {
		t.Fatalf("%d objects left, want 10", len(list))
	}
	_, err = b.Get(ctx, "ns", "o0", 0, make([]byte, 10))
	want(t, err, ovs.KindNotFound)
	if got := get(t, b, "ns", "o29", 5000); !bytes.Equal(got, Bytes(29, 5000, false)) {
		t.Fatal("a neighbour was harmed")
	}
}

func testUsage(t *testing.T, b ovs.Backend) {
	u, err := b.Usage(t.Context())
	ok(t, err)
	if u.Total == 0 || u.Free > u.Total {
		t.Fatalf("usage %+v", u)
	}
}

// testRaces puts different contents under the same names at once: for each name one content wins, all that offered it
// succeed, all others get KindConflict.
func testRaces(t *testing.T, b ovs.Backend) {
	ok(t, b.CreateNamespace(t.Context(), "ns"))
	const names, writers = 12, 8
	errs := [names][writers]error{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range names {
				_, errs[n][w] = b.Put(context.Background(), "ns", fmt.Sprint(n), Bytes(uint64(w/2), 9000, false), ovs.PutOptions{})
			}
		})
	}
	wg.Wait()
	for n := range names {
		got := get(t, b, "ns", fmt.Sprint(n), 9000)
		for w, err := range errs[n] {
			if bytes.Equal(got, Bytes(uint64(w/2), 9000, false)) {
				ok(t, err)
			} else {
				want(t, err, ovs.KindConflict)
			}
		}
	}
}

// testModel runs random operations beside a map.
func testModel(t *testing.T, b ovs.Backend) {
	ctx := t.Context()
	ok(t, b.CreateNamespace(ctx, "ns"))
	r := rand.New(rand.NewPCG(11, 12))
	model := map[string][]byte{}
	for i := range 400 {
		name := fmt.Sprint("n", r.IntN(40))
		switch r.IntN(8) {
		case 0, 1, 2:
			data := Bytes(r.Uint64(), r.IntN(60_000), true)
			_, err := b.Put(ctx, "ns", name, data, ovs.PutOptions{Unit: []uint32{0, 4112}[r.IntN(2)], Compress: r.IntN(2) == 0})
			if old, there := model[name]; there && !bytes.Equal(old, data) {
				want(t, err, ovs.KindConflict)
				continue
			}
			ok(t, err)
			model[name] = data
		case 3:
			ok(t, b.Delete(ctx, "ns", name))
			delete(model, name)
		case 4:
			list, err := b.List(ctx, "ns", "n", "", 1000)
			ok(t, err)
			if len(list) != len(model) {
				t.Fatalf("step %d: %d objects listed, %d in the model", i, len(list), len(model))
			}
		default:
			data, there := model[name]
			if !there {
				_, err := b.Get(ctx, "ns", name, 0, make([]byte, 9))
				want(t, err, ovs.KindNotFound)
				continue
			}
			checkRange(t, b, "ns", name, data, r.IntN(len(data)+10), r.IntN(20_000))
		}
	}
}

func testCancelled(t *testing.T, b ovs.Backend) {
	ok(t, b.CreateNamespace(t.Context(), "ns"))
	put(t, b, "ns", "x", []byte("x"), ovs.PutOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Put(ctx, "ns", "y", []byte("y"), ovs.PutOptions{})
	want(t, err, ovs.KindTimeout)
	_, err = b.Get(ctx, "ns", "x", 0, make([]byte, 1))
	want(t, err, ovs.KindTimeout)
	_, err = b.List(ctx, "ns", "", "", 1)
	want(t, err, ovs.KindTimeout)
	want(t, b.Delete(ctx, "ns", "x"), ovs.KindTimeout)
}
