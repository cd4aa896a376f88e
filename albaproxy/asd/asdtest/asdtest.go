/*
Package asdtest is the conformance suite of asd.ASD: every kind of disk passes it unchanged.

	Run(t, Disk)     a Disk opens the same disk again and again; each subtest asks for a new one
*/
package asdtest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"ovs"
	"ovs/albaproxy/asd"
)

// Disk opens one disk, as often as it is called: each time with what the last one left. Only one is open at a time.
type Disk func() (asd.ASD, error)

// Run runs the suite. disk gives a new, empty disk of at least 64 MiB.
func Run(t *testing.T, disk func(t *testing.T) Disk) {
	for _, c := range []struct {
		name string
		f    func(t *testing.T, open Disk)
	}{
		{"Identity", testIdentity},
		{"PutGet", testPutGet},
		{"List", testList},
		{"Delete", testDelete},
		{"Reopen", testReopen},
		{"Usage", testUsage},
		{"Closed", testClosed},
		{"Concurrent", testConcurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.f(t, disk(t)) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err error, k ovs.Kind) {
	t.Helper()
	if !ovs.Is(err, k) {
		t.Fatalf("error %v, want kind %q", err, k)
	}
}

// start opens the disk for the rest of the test.
func start(t *testing.T, open Disk) asd.ASD {
	t.Helper()
	a, err := open()
	must(t, err)
	t.Cleanup(func() { must(t, a.Close()) })
	return a
}

func fragment(k asd.Key, n int) []byte {
	r := rand.New(rand.NewPCG(k.Attempt, uint64(k.Index)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func testIdentity(t *testing.T, open Disk) {
	var last asd.Identity
	for i := range 3 {
		a, err := open()
		must(t, err)
		id := a.Identity()
		must(t, a.Close())
		if id.ID == 0 || i > 0 && id.ID != last.ID || id.Start <= last.Start {
			t.Fatalf("opening %d: %+v after %+v", i, id, last)
		}
		last = id
	}
}

func testPutGet(t *testing.T, open Disk) {
	a, ctx := start(t, open), t.Context()
	for i, size := range []int{0, 1, 4095, 4096, 100_000, 2 << 20} {
		k := asd.Key{Namespace: 1, Epoch: 2, Attempt: 1<<63 + uint64(i), Index: uint8(i * 50)}
		_, err := a.Get(ctx, k, 0, make([]byte, 1))
		want(t, err, ovs.KindNotFound)
		data := fragment(k, size)
		must(t, a.Put(ctx, k, data, asd.PutOptions{Repair: i%2 == 0}))
		want(t, a.Put(ctx, k, []byte("other"), asd.PutOptions{}), ovs.KindExists)
		for _, r := range [][2]int{{0, size}, {0, size + 10}, {size / 2, size}, {size, 5}, {size + 5, 5}, {1, 3}, {0, 0}} {
			dst := make([]byte, r[1])
			n, err := a.Get(ctx, k, uint64(r[0]), dst)
			must(t, err)
			if expect := data[min(r[0], size):min(r[0]+r[1], size)]; !bytes.Equal(dst[:n], expect) {
				t.Fatalf("size %d, from %d: %d bytes, want %d", size, r[0], n, len(expect))
			}
		}
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	want(t, a.Put(cancelled, asd.Key{Namespace: 9}, nil, asd.PutOptions{}), ovs.KindTimeout)
}

// keys is a spread of keys, in order.
func keys() []asd.Key {
	var all []asd.Key
	for _, ns := range []uint64{1, 2, 1 << 40, ^uint64(0)} {
		for _, epoch := range []uint64{0, 1, 7, ^uint64(0)} {
			for _, attempt := range []uint64{0, 5, ^uint64(0) - 1} {
				for _, index := range []uint8{0, 3, 255} {
					all = append(all, asd.Key{Namespace: ns, Epoch: epoch, Attempt: attempt, Index: index})
				}
			}
		}
	}
	return all
}

func testList(t *testing.T, open Disk) {
	a, ctx := start(t, open), t.Context()
	all := keys()
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(all)) {
		must(t, a.Put(ctx, all[i], []byte("x"), asd.PutOptions{}))
	}
	top := asd.Key{Namespace: ^uint64(0), Epoch: ^uint64(0), Attempt: ^uint64(0), Index: 255}
	for _, c := range []struct {
		from, to asd.Key
		limit    int
	}{
		{asd.Key{}, top, 1000}, {asd.Key{}, top, 7}, {asd.Key{Namespace: 2}, asd.Key{Namespace: 3}, 4},
		{asd.Key{Namespace: 1, Epoch: 1}, asd.Key{Namespace: 1, Epoch: 7}, 5}, {all[4], all[90], 3}, {all[4], all[4], 3},
		{asd.Key{Namespace: 3}, asd.Key{Namespace: 4}, 10}, {asd.Key{}, top, 9}, {asd.Key{}, top, 1},
	} {
		var expect, got []asd.Key
		for _, k := range all {
			if k.Compare(c.from) >= 0 && k.Compare(c.to) < 0 {
				expect = append(expect, k)
			}
		}
		for from := c.from; ; {
			page, err := a.List(ctx, from, c.to, c.limit)
			must(t, err)
			if len(page) > c.limit {
				t.Fatalf("%d keys in a page of %d", len(page), c.limit)
			}
			if got = append(got, page...); len(page) < c.limit {
				break
			}
			from = page[len(page)-1].Next()
		}
		if !slices.Equal(got, expect) {
			t.Fatalf("from %v to %v by %d: %d keys, want %d", c.from, c.to, c.limit, len(got), len(expect))
		}
	}
}

func testDelete(t *testing.T, open Disk) {
	a, ctx := start(t, open), t.Context()
	all := keys()
	for _, k := range all {
		must(t, a.Put(ctx, k, fragment(k, 10), asd.PutOptions{}))
	}
	must(t, a.Delete(ctx))
	must(t, a.Delete(ctx, append(all[10:70:70], asd.Key{Namespace: 77})...))
	must(t, a.Delete(ctx, all[20:30]...))
	_, err := a.Get(ctx, all[10], 0, make([]byte, 1))
	want(t, err, ovs.KindNotFound)
	must(t, a.Put(ctx, all[20], fragment(all[20], 10), asd.PutOptions{}))
	left := slices.Concat(all[:10], all[20:21], all[70:])
	got, err := a.List(ctx, asd.Key{}, asd.Key{Namespace: ^uint64(0), Epoch: ^uint64(0), Attempt: ^uint64(0)}, 1000)
	must(t, err)
	if !slices.Equal(got, left) {
		t.Fatalf("%d left, want %d", len(got), len(left))
	}
}

func testReopen(t *testing.T, open Disk) {
	ctx, all := t.Context(), keys()
	for round := range 3 {
		a, err := open()
		must(t, err)
		for i, k := range all {
			switch {
			case round == 0:
				must(t, a.Put(ctx, k, fragment(k, 5000), asd.PutOptions{}))
			case i%2 == 0 && round == 1:
				must(t, a.Delete(ctx, k))
			case i%2 == 0:
				_, err := a.Get(ctx, k, 0, make([]byte, 1))
				want(t, err, ovs.KindNotFound)
			default:
				dst := make([]byte, 5000)
				_, err := a.Get(ctx, k, 0, dst)
				must(t, err)
				if !bytes.Equal(dst, fragment(k, 5000)) {
					t.Fatal("wrong content after opening again")
				}
			}
		}
		must(t, a.Close())
	}
}

func testUsage(t *testing.T, open Disk) {
	a := start(t, open)
	u, err := a.Usage(t.Context())
	must(t, err)
	if u.Total == 0 || u.Free > u.Total || u.Device == "" {
		t.Fatalf("usage %+v", u)
	}
}

func testClosed(t *testing.T, open Disk) {
	a, err := open()
	must(t, err)
	must(t, a.Close())
	must(t, a.Close())
	ctx := t.Context()
	want(t, a.Put(ctx, asd.Key{}, nil, asd.PutOptions{}), ovs.KindClosed)
	_, err = a.Get(ctx, asd.Key{}, 0, nil)
	want(t, err, ovs.KindClosed)
	want(t, a.Delete(ctx, asd.Key{}), ovs.KindClosed)
	_, err = a.List(ctx, asd.Key{}, asd.Key{Namespace: 1}, 1)
	want(t, err, ovs.KindClosed)
	_, err = a.Usage(ctx)
	want(t, err, ovs.KindClosed)
}

// testConcurrent puts, reads and deletes from many sides at once, over epochs that come and go.
func testConcurrent(t *testing.T, open Disk) {
	a := start(t, open)
	ctx := context.Background()
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for w := range uint64(8) {
		wg.Go(func() {
			for i := range uint64(30) {
				k := asd.Key{Namespace: w % 3, Epoch: i / 10, Attempt: w<<32 | i}
				if err := a.Put(ctx, k, fragment(k, 3000), asd.PutOptions{}); err != nil {
					errs <- err
					return
				}
				dst := make([]byte, 3001)
				if n, err := a.Get(ctx, k, 0, dst); err != nil || !bytes.Equal(dst[:n], fragment(k, 3000)) {
					errs <- fmt.Errorf("%v: %d bytes, %v", k, n, err)
					return
				}
				if i%3 == 0 {
					continue
				}
				if err := a.Delete(ctx, k); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	left, err := a.List(ctx, asd.Key{}, asd.Key{Namespace: 100}, 1000)
	must(t, err)
	if len(left) != 80 {
		t.Fatalf("%d fragments left, want 80", len(left))
	}
}
