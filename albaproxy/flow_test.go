package albaproxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/internal/conformance/backendtest"
	"ovs/internal/memregistry"
	"ovs/internal/vfs"
)

var errDown = ovs.E("test", ovs.KindIO, nil, nil)

// TestPolicies takes disks away and gives them back: the first policy that can be met is used, and the object is brought
// to the first preset once it can be.
func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		down int
		k, m int
		n    int // fragments that stand
		full bool
		kind ovs.Kind
	}{
		{0, 4, 2, 6, true, 0}, {1, 4, 2, 5, false, 0}, {2, 2, 1, 3, false, 0}, {3, 2, 1, 3, false, 0}, {4, 1, 1, 2, false, 0},
		{5, 0, 0, 0, false, ovs.KindIO},
	} {
		t.Run(fmt.Sprint(c.down), func(t *testing.T) {
			r := newRig(t, vfs.NewCrash(1), "")
			disks := r.watch()
			p := r.open()
			ok(t, p.CreateNamespace(t.Context(), "ns"))
			for _, w := range (*disks)[:c.down] {
				w.set(func(op string, _ asd.Key) error { return errDown })
			}
			data := backendtest.Bytes(3, 30_000, false)
			full, err := p.Put(t.Context(), "ns", "o", data, ovs.PutOptions{})
			if c.kind != 0 {
				want(t, err, c.kind)
				return
			}
			ok(t, err)
			m, s, g := manifestOf(t, p, "ns", "o")
			if full != c.full || m.k != c.k || m.m != c.m || m.standing() != c.n {
				t.Fatalf("full %v, policy (%d, %d), %d fragments", full, m.k, m.m, m.standing())
			}
			read(t, p, "o", data, 0, len(data))
			entry := objectKey(keyRepair, s.id, "o")
			if _, err := g.reg.Get(t.Context(), entry); (err == nil) == c.full {
				t.Fatalf("repair queue: %v", err)
			}
			ok(t, p.Maintain(t.Context())) // without disks it changes nothing for the worse
			read(t, p, "o", data, 0, len(data))
			for _, w := range *disks {
				w.set(nil)
			}
			forgive(p)
			ok(t, p.Maintain(t.Context()))
			m, _, _ = manifestOf(t, p, "ns", "o")
			if m.k != 4 || m.m != 2 || m.standing() != 6 {
				t.Fatalf("after repair: policy (%d, %d), %d fragments", m.k, m.m, m.standing())
			}
			if _, err := g.reg.Get(t.Context(), entry); !ovs.Is(err, ovs.KindNotFound) {
				t.Fatalf("still queued: %v", err)
			}
			ok(t, p.Maintain(t.Context()))
			read(t, p, "o", data, 0, len(data))
			if full, err := p.Put(t.Context(), "ns", "o", data, ovs.PutOptions{}); !full || err != nil {
				t.Fatal(full, err)
			}
			ok(t, p.Collect(t.Context())) // what could not be deleted while disks were down
			if n := r.count(p); n != 6 {
				t.Fatalf("%d fragments on the disks, want 6", n)
			}
		})
	}
}

// TestSlowDisk: a disk that hangs does not hold up a Put for longer than the slack, and its late fragment goes again.
func TestSlowDisk(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	disks := r.watch()
	p := r.open()
	ok(t, p.CreateNamespace(t.Context(), "ns"))
	release := make(chan struct{})
	(*disks)[2].set(func(op string, _ asd.Key) error {
		if op == "put" {
			<-release
		}
		return nil
	})
	full, err := p.Put(t.Context(), "ns", "o", []byte("data"), ovs.PutOptions{})
	ok(t, err)
	if full {
		t.Fatal("full, though one fragment hangs")
	}
	close(release)
	ok(t, p.Close())
	p = r.open()
	if n := r.count(p); n != 5 {
		t.Fatalf("%d fragments, want 5: what came late is deleted", n)
	}
}

// TestLatePut holds a Put up before its manifest, while the collector raises the GC epoch and takes its fragments: the
// manifest must fail, and the Put succeed under the new epoch.
func TestLatePut(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	reg := &hooked{Registry: memregistry.New()}
	r.edit = func(c *Config) { c.NSM = []ovs.Registry{reg} }
	p := r.open()
	ok(t, p.CreateNamespace(t.Context(), "ns"))
	once := sync.Once{}
	reg.set(func(u []ovs.Update) error {
		if len(u) > 1 && u[1].Op == ovs.OpAssertAbsent && u[1].Key[0] == keyManifest {
			once.Do(func() {
				if n := r.count(p); n != 6 {
					t.Errorf("%d fragments before the manifest, want 6", n)
				}
				ok(t, p.Collect(context.Background()))
				if n := r.count(p); n != 0 {
					t.Errorf("%d fragments left by the collector", n)
				}
			})
		}
		return nil
	})
	data := backendtest.Bytes(1, 20_000, false)
	full, err := p.Put(t.Context(), "ns", "o", data, ovs.PutOptions{})
	if err != nil || !full {
		t.Fatal(full, err)
	}
	read(t, p, "o", data, 0, len(data))
	if m, _, _ := manifestOf(t, p, "ns", "o"); m.fragments[0].epoch != 2 {
		t.Fatalf("epoch %d, want 2", m.fragments[0].epoch)
	}
}

// TestCollect: what cut-off Puts left goes, what manifests name stays, and idle namespaces are left alone.
func TestCollect(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	p := r.open()
	ctx := t.Context()
	model := map[string][]byte{}
	ok(t, p.CreateNamespace(ctx, "ns"))
	for round := range 3 {
		for i := range 5 {
			name := fmt.Sprintf("o%d-%d", round, i)
			model[name] = backendtest.Bytes(uint64(i), 9000, false)
			_, err := p.Put(ctx, "ns", name, model[name], ovs.PutOptions{})
			ok(t, err)
			strand(t, p, fmt.Sprintf("stray%d-%d", round, i))
		}
		if n := r.count(p); n != 6*len(model)+20 {
			t.Fatalf("%d fragments", n)
		}
		ok(t, p.Collect(ctx))
		if n := r.count(p); n != 6*len(model) {
			t.Fatalf("round %d: %d fragments, want %d", round, n, 6*len(model))
		}
	}
	raised := p.Stats().CollectorRaise
	for range 4 {
		ok(t, p.Collect(ctx))
	}
	if n := p.Stats().CollectorRaise - raised; n != 1 {
		t.Fatalf("an idle namespace was raised %d times, want 1", n)
	}
	for name, data := range model {
		read(t, p, name, data, 0, len(data))
	}
	// A fragment whose header is spoilt, but which a manifest names, stays, and is repaired.
	_, err := p.Put(ctx, "ns", "dark", model["o0-0"], ovs.PutOptions{})
	ok(t, err)
	r.rot(p, "ns", "dark", 3, 50)
	stray := strand(t, p, "dark2")
	r.rotKey(p, stray, 50)
	ok(t, p.Collect(ctx))
	if n := r.count(p); n != 6*len(model)+6 {
		t.Fatalf("%d fragments, want %d", n, 6*len(model)+6)
	}
	ok(t, p.Maintain(ctx))
	if p.Stats().Repaired != 1 {
		t.Fatalf("%+v", p.Stats())
	}
}

// TestCollectPastBadSector: a header that its disk cannot read is one that cannot be read: it holds the collection of the
// rest up no more than a spoilt one, and its object is repaired.
func TestCollectPastBadSector(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	disks := r.watch()
	p := r.open()
	ctx := t.Context()
	ok(t, p.CreateNamespace(ctx, "ns"))
	data := backendtest.Bytes(1, 9000, false)
	_, err := p.Put(ctx, "ns", "o", data, ovs.PutOptions{})
	ok(t, err)
	m, s, _ := manifestOf(t, p, "ns", "o")
	bad, at := m.key(s.id, 5), r.asdNumber(p, m.fragments[5].disk) // parity: no read meets it
	(*disks)[at].set(func(op string, k asd.Key) error {
		if op == "get" && k == bad {
			return errDown
		}
		return nil
	})
	for range 5 {
		strand(t, p, "stray")
	}
	ok(t, p.Collect(ctx))
	if n := r.count(p); n != 6 {
		t.Fatalf("%d fragments, want 6", n)
	}
	ok(t, p.Maintain(ctx))
	ok(t, p.Maintain(ctx))
	ok(t, allGood(p, "o"))
	if n := r.count(p); n != 6 || p.Stats().Repaired != 1 {
		t.Fatalf("%d fragments, %+v", n, p.Stats())
	}
}

// strand writes fragments as a Put does that is cut off before its manifest, and gives the key of the first on disk 0.
func strand(t *testing.T, p *Proxy, name string) asd.Key {
	t.Helper()
	s, g, err := p.space(t.Context(), "test", "ns")
	ok(t, err)
	epoch, err := g.epochs.get(t.Context(), s.epoch)
	ok(t, err)
	id, err := p.attemptID()
	ok(t, err)
	c := &content{space: s, name: name, stored: make([]byte, 5000), size: 5000, unit: 4096}
	e, err := p.encode(c, c.layout(2, 2), func() {})
	ok(t, err)
	k := asd.Key{Namespace: s.id, Epoch: epoch, Attempt: id}
	for i := range 4 {
		k.Index = uint8(i)
		ok(t, p.disks[i].Put(t.Context(), k, e.seal(c, 0, k), asd.PutOptions{}))
	}
	e.release()
	k.Index = 0
	return k
}

// TestPutOutcomes draws lost answers of the group: whatever a Put says, the object is whole or absent, a retry settles it,
// and the collector leaves exactly the fragments that are named.
func TestPutOutcomes(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	p := r.open()
	ctx := t.Context()
	ok(t, p.CreateNamespace(ctx, "ns"))
	for i, g := range r.nsm {
		g.SetFaults(memregistry.Faults{Seed: uint64(i), LostCall: 0.2, LostDone: 0.2, Busy: 0.1})
	}
	stored := 0
	for i := range 150 {
		name, data := fmt.Sprint("o", i), backendtest.Bytes(uint64(i), 5000, false)
		var err error
		for range 1 + i%3 {
			if _, err = p.Put(ctx, "ns", name, data, ovs.PutOptions{}); err == nil {
				break
			}
		}
		_, got := p.Get(ctx, "ns", name, 0, make([]byte, 1))
		if err == nil || got == nil {
			read(t, p, name, data, 0, len(data))
			stored++
			continue
		}
		want(t, got, ovs.KindNotFound)
		if !ovs.Is(err, ovs.KindTimeout) && !ovs.Is(err, ovs.KindBusy) {
			t.Fatal(err)
		}
	}
	for _, g := range r.nsm {
		g.SetFaults(memregistry.Faults{})
	}
	ok(t, p.Close())
	p = r.open()
	ok(t, p.Collect(ctx))
	if n := r.count(p); n != 6*stored {
		t.Fatalf("%d fragments, want %d", n, 6*stored)
	}
}

// TestDeleteDrops: deleted objects' fragments go, also from a disk that was away meanwhile.
func TestDeleteDrops(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	p := r.open()
	ctx := t.Context()
	ok(t, p.CreateNamespace(ctx, "ns"))
	var names []string
	for i := range 200 {
		names = append(names, fmt.Sprint("o", i))
		_, err := p.Put(ctx, "ns", names[i], []byte(names[i]), ovs.PutOptions{})
		ok(t, err)
	}
	ok(t, p.Close())
	r.asds = 5
	p = r.open()
	ok(t, p.Delete(ctx, "ns", names[:150]...))
	ok(t, p.Maintain(ctx))
	if n := r.count(p); n != 250 {
		t.Fatalf("%d fragments, want 250", n)
	}
	ok(t, p.Close())
	r.asds = 6
	p = r.open()
	ok(t, p.Maintain(ctx))
	if n := r.count(p); n != 300 {
		t.Fatalf("%d fragments, want 300", n)
	}
	for _, kind := range []byte{keyDiscard, keyLeft, keyRepair} {
		for _, g := range p.groups {
			if left, err := g.reg.Range(ctx, ovs.RangeOptions{From: []byte{kind}, To: []byte{kind + 1}, Limit: 10}); err != nil || len(left) > 0 {
				t.Fatalf("queue %c: %d left, %v", kind, len(left), err)
			}
		}
	}
}

// TestStuckDisk: a disk that cannot delete holds no other disk's deletions up, nor has them done again and again.
func TestStuckDisk(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	disks := r.watch()
	p := r.open()
	ctx := t.Context()
	ok(t, p.CreateNamespace(ctx, "ns"))
	for i := range 20 {
		_, err := p.Put(ctx, "ns", fmt.Sprint("o", i), []byte("data"), ovs.PutOptions{})
		ok(t, err)
	}
	var mu sync.Mutex
	deletions := 0
	for i, w := range *disks {
		w.set(func(op string, _ asd.Key) error {
			mu.Lock()
			defer mu.Unlock()
			if op != "delete" {
				return nil
			}
			if i == 0 {
				return errDown
			}
			deletions++
			return nil
		})
	}
	for i := range 20 {
		ok(t, p.Delete(ctx, "ns", fmt.Sprint("o", i)))
	}
	_ = p.Maintain(ctx)
	for range 3 {
		_ = p.Maintain(ctx)
	}
	mu.Lock()
	if deletions > 200 { // 100, some of them by two passes at once
		t.Errorf("%d deletions on the other disks, 100 are to be done", deletions)
	}
	mu.Unlock()
	if n := r.count(p); n != 20 {
		t.Fatalf("%d fragments, want 20 on the disk that fails", n)
	}
	(*disks)[0].set(nil)
	ok(t, p.Maintain(ctx))
	if n := r.count(p); n != 0 {
		t.Fatalf("%d fragments left", n)
	}
}

// queued are the repair queues' entries.
func queued(t *testing.T, p *Proxy) (all []ovs.Pair) {
	t.Helper()
	for _, g := range p.groups {
		page, err := g.reg.Range(t.Context(), ovs.RangeOptions{From: []byte{keyRepair}, To: []byte{keyRepair + 1}, Limit: 1000})
		ok(t, err)
		all = append(all, page...)
	}
	return all
}

// TestLostDiskIsNoWork: while an object's disk is away and no other can take its fragment, the maintenance does not read
// the object, however often reads meet it; once the disk is back the queue empties.
func TestLostDiskIsNoWork(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	disks := r.watch()
	p := r.open()
	ok(t, p.CreateNamespace(t.Context(), "ns"))
	data := backendtest.Bytes(1, 90_000, false)
	_, err := p.Put(t.Context(), "ns", "o", data, ovs.PutOptions{})
	ok(t, err)
	ok(t, p.Close())
	r.asds = 5
	p = r.open()
	repairGets := func() (n int) {
		t.Helper()
		read(t, p, "o", data, 0, len(data))
		for _, w := range *disks {
			w.gets = nil
		}
		ok(t, p.Maintain(t.Context()))
		for _, w := range *disks {
			n += len(w.gets)
		}
		return n
	}
	for round := range 3 {
		if n := repairGets(); n > 0 && round > 0 {
			t.Errorf("round %d: the repair made %d reads for nothing", round, n)
		}
		if len(queued(t, p)) != 1 {
			t.Fatal("not queued")
		}
	}
	ok(t, p.Close())
	r.asds = 6
	p = r.open()
	read(t, p, "o", data, 0, len(data))
	ok(t, p.Maintain(t.Context()))
	if q := queued(t, p); len(q) != 0 {
		t.Fatalf("still queued once the disk is back: %v", q)
	}
	ok(t, allGood(p, "o"))
}

// TestSuspectOfDeletedSpace: what a read reported of a namespace that goes leaves nothing behind.
func TestSuspectOfDeletedSpace(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	p := r.open()
	ok(t, p.CreateNamespace(t.Context(), "ns"))
	data := backendtest.Bytes(1, 9000, false)
	_, err := p.Put(t.Context(), "ns", "o", data, ovs.PutOptions{})
	ok(t, err)
	r.lose(p, "ns", "o", 0)
	read(t, p, "o", data, 0, len(data))
	ok(t, p.DeleteNamespace(t.Context(), "ns"))
	ok(t, p.Maintain(t.Context()))
	ok(t, p.Maintain(t.Context()))
	if q := queued(t, p); len(q) != 0 {
		t.Fatalf("left in the queue: %q", q)
	}
}

// TestNamespaceResumed cuts the deletion of a namespace off at each of its sequences, and opens again: it ends, and
// nothing is left in the groups nor on the disks.
func TestNamespaceResumed(t *testing.T) {
	for step := 1; ; step++ {
		r := newRig(t, vfs.NewCrash(1), "")
		abm, nsm := &hooked{Registry: r.abm}, &hooked{Registry: memregistry.New()}
		r.edit = func(c *Config) { c.ABM, c.NSM = abm, []ovs.Registry{nsm} }
		p := r.open()
		ctx := t.Context()
		ok(t, p.CreateNamespace(ctx, "keep"))
		ok(t, p.CreateNamespace(ctx, "ns"))
		empty := nsm.Registry.(*memregistry.Registry).Len()
		for i := range 7 {
			_, err := p.Put(ctx, "ns", fmt.Sprint("o", i), []byte("data"), ovs.PutOptions{})
			ok(t, err)
		}
		ok(t, p.Delete(ctx, "ns", "o3"))
		strand(t, p, "stray")
		var mu sync.Mutex
		n := 0
		cut := func(u []ovs.Update) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; n > step {
				return errors.New("cut off")
			}
			return nil
		}
		abm.set(cut)
		nsm.set(cut)
		cutOff := p.DeleteNamespace(ctx, "ns") // the maintenance may have used up the sequences that pass
		_ = p.Maintain(ctx)
		ok(t, p.Close())
		done := n < step
		abm.set(nil)
		nsm.set(nil)
		p = r.open()
		if cutOff != nil {
			ok(t, p.DeleteNamespace(ctx, "ns"))
		}
		ok(t, p.Maintain(ctx))
		_, err := p.List(ctx, "ns", "", "", 10)
		want(t, err, ovs.KindNotFound)
		if n := r.count(p); n != 0 {
			t.Fatalf("cut off at %d: %d fragments left", step, n)
		}
		if n := nsm.Registry.(*memregistry.Registry).Len(); n != empty-1 {
			t.Fatalf("cut off at %d: %d keys left, want %d", step, n, empty-1)
		}
		ok(t, p.Close())
		if done {
			return
		}
	}
}

// TestUnknownSpace: fragments of a namespace that nobody knows are collected.
func TestUnknownSpace(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	p := r.open()
	ok(t, p.CreateNamespace(t.Context(), "ns"))
	ok(t, p.disks[0].Put(t.Context(), asd.Key{Namespace: 1 << 40, Epoch: 3}, []byte("x"), asd.PutOptions{}))
	ok(t, p.disks[5].Put(t.Context(), asd.Key{Namespace: 1 << 41, Epoch: 3}, []byte("x"), asd.PutOptions{}))
	_, err := p.groups[1].reg.Sequence(t.Context(), ovs.Set(idKey(keyEpoch, 77), epochValue(1)))
	ok(t, err)
	ok(t, p.Collect(t.Context()))
	if n := r.count(p); n != 0 {
		t.Fatalf("%d fragments left", n)
	}
	_, err = p.groups[1].reg.Get(t.Context(), idKey(keyEpoch, 77))
	want(t, err, ovs.KindNotFound)
}
