package albaproxy

import (
	"fmt"
	"testing"

	"ovs"
	"ovs/albaproxy/asd"
	"ovs/internal/conformance/backendtest"
	"ovs/internal/vfs"
)

// TestReverted puts an older state of one disk, a disk of another backend, a copy and an empty disk in a disk's place.
func TestReverted(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	own := vfs.NewCrash(2)
	r.each = map[int]vfs.FS{3: own}
	p := r.open()
	ctx := t.Context()
	ok(t, p.CreateNamespace(ctx, "ns"))
	ok(t, p.Close())
	older := own.Fork()
	p = r.open()
	data := backendtest.Bytes(1, 50_000, false)
	full, err := p.Put(ctx, "ns", "o", data, ovs.PutOptions{})
	if err != nil || !full {
		t.Fatal(full, err)
	}
	ok(t, p.Close())

	foreign := vfs.NewCrash(3)
	other := newRig(t, foreign, "")
	q := other.open()
	ok(t, q.CreateNamespace(ctx, "ns"))
	_, err = q.Put(ctx, "ns", "o", data, ovs.PutOptions{})
	ok(t, err)
	ok(t, q.Close())

	for name, disk := range map[string]vfs.FS{"older": older, "foreign": foreign} {
		r.each[3] = disk
		p = r.open()
		if len(p.disks) != 5 {
			t.Fatalf("%s: %d disks in use, want 5", name, len(p.disks))
		}
		h, err := p.Health(ctx)
		if err != nil || h.InUse != 5 || len(h.LeftOut) != 1 || h.Devices != 1 || h.Rank != 0 || h.Pausing != 0 {
			t.Fatalf("%s: %+v, %v", name, h, err)
		}
		read(t, p, "o", data, 0, len(data))
		full, err := p.Put(ctx, "ns", "o-"+name, data, ovs.PutOptions{})
		if err != nil || full {
			t.Fatal(name, full, err)
		}
		if h, err := p.Health(ctx); err != nil || h.Queued == 0 {
			t.Fatalf("%s: %+v, %v", name, h, err)
		}
		ok(t, p.Maintain(ctx))
		ok(t, p.Close())
	}

	r.each[3] = vfs.NewCrash(4)
	p = r.open()
	if len(p.disks) != 6 {
		t.Fatalf("%d disks in use, want 6: an empty one is taken in", len(p.disks))
	}
	for _, name := range []string{"o", "o-older", "o-foreign"} {
		read(t, p, name, data, 0, len(data)) // "o" names a fragment on the disk that is gone: reported
	}
	ok(t, p.Maintain(ctx))
	for _, name := range []string{"o", "o-older", "o-foreign"} {
		ok(t, allGood(p, name))
	}
	ok(t, p.Close())

	r.each[3] = own
	p = r.open() // the true disk is back: its fragment of "o" was replaced, and goes
	if len(p.disks) != 6 {
		t.Fatalf("%d disks in use, want 6", len(p.disks))
	}
	ok(t, p.Maintain(ctx))
	if keys, err := p.disks[3].List(ctx, asd.Key{}, asd.Key{Namespace: ^uint64(0)}, 10); err != nil || len(keys) != 0 {
		t.Fatal(keys, err)
	}
}

func TestTwin(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	r.open()
	c, err := newRig(t, vfs.NewCrash(2), "").config()
	ok(t, err)
	copied := &watched{ASD: c.ASDs[0]}
	c.ASDs = append(c.ASDs, copied)
	p, err := Open(t.Context(), c)
	ok(t, err)
	defer p.Close()
	if len(p.disks) != 6 {
		t.Fatalf("%d disks in use, want 6", len(p.disks))
	}
}

// TestFullDisk fills the disk: what stands stays, new Puts are refused in time, the reserve is left for repair, and
// deleting gives the space back.
func TestFullDisk(t *testing.T) {
	disk := vfs.NewCrash(1)
	disk.SetCapacity(32 << 20)
	r := newRig(t, disk, "")
	p := r.open()
	ctx := t.Context()
	ok(t, p.CreateNamespace(ctx, "ns"))
	model := map[string][]byte{}
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		name, data := fmt.Sprint("o", i), backendtest.Bytes(uint64(i), 300_000, false)
		if _, err = p.Put(ctx, "ns", name, data, ovs.PutOptions{}); err == nil {
			model[name] = data
		}
		forgive(p)
	}
	want(t, err, ovs.KindNoSpace)
	total, free, err := disk.Space("/")
	ok(t, err)
	// The ASDs of one disk do not see one another's Puts under way: the reserve may be short of one stripe.
	const stripe = 6 * 80_000
	if free+stripe < total/20 || len(model) < 50 {
		t.Fatalf("%d of %d bytes free, %d objects", free, total, len(model))
	}
	u, err := p.Usage(ctx)
	ok(t, err)
	if u.Free > 1<<20 || u.Total > 32<<20*4/6 || u.Total < 18<<20 {
		t.Fatalf("usage %+v", u)
	}
	for name, data := range model {
		read(t, p, name, data, 0, len(data))
	}
	r.lose(p, "ns", "o0", 1)
	read(t, p, "o0", model["o0"], 0, 300_000)
	ok(t, p.Maintain(ctx))
	if p.Stats().Repaired == 0 {
		t.Fatal("the reserve was not used for repair")
	}
	for i := range 20 {
		ok(t, p.Delete(ctx, "ns", fmt.Sprint("o", i)))
	}
	ok(t, p.Maintain(ctx))
	forgive(p)
	full, err := p.Put(ctx, "ns", "new", model["o30"], ovs.PutOptions{})
	if err != nil || !full {
		t.Fatal(full, err)
	}
}

// TestUsageCountsDevicesOnce: six directories on one file system are one disk's space; six disks are six.
func TestUsageCountsDevicesOnce(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		devices     []int // the device of each ASD, each of 60 GiB with 30 free
		total, free uint64
	}{
		{[]int{0, 0, 0, 0, 0, 0}, 40, 20},
		{[]int{0, 1, 2, 3, 4, 5}, 240, 120},
		{[]int{0, 0, 0, 1, 1, 1}, 80, 40},
		{[]int{0, 0, 0, 0, 0, 1}, 48, 24}, // the ASD that is alone cannot take more than the others
	} {
		r := newRig(t, vfs.NewCrash(1), "")
		disks := r.watch()
		p := r.open()
		for i, w := range *disks {
			w.u = &asd.Usage{Total: 60 * gib, Free: 30 * gib, Device: fmt.Sprint(c.devices[i])}
		}
		u, err := p.Usage(t.Context())
		ok(t, err)
		if u.Total != c.total*gib || u.Free != c.free*gib {
			t.Errorf("%v: %d and %d GiB, want %d and %d", c.devices, u.Total/gib, u.Free/gib, c.total, c.free)
		}
	}
	if capacity(nil, 1, 2) != 0 || capacity([]uint64{5}, 1, 2) != 0 || capacity([]uint64{5, 3}, 1, 2) != 3 {
		t.Error("capacity of few disks is wrong")
	}
}

// TestGroupMissing: without the NSM group of a namespace nothing can be done there, and nothing is lost; the others go on.
func TestGroupMissing(t *testing.T) {
	r := newRig(t, vfs.NewCrash(1), "")
	p, ctx := r.open(), t.Context()
	in := map[uint16]string{} // group -> a namespace in it
	for i := 0; len(in) < 2; i++ {
		ns := fmt.Sprint("ns", i)
		ok(t, p.CreateNamespace(ctx, ns))
		_, err := p.Put(ctx, ns, "o", []byte("data"), ovs.PutOptions{})
		ok(t, err)
		s, _, err := p.space(ctx, "test", ns)
		ok(t, err)
		in[s.group] = ns
	}
	ok(t, p.Close())
	r.edit = func(c *Config) { c.NSM = c.NSM[:1] }
	p = r.open()
	making := space{state: spaceMaking, group: 1, name: "making"}
	key := p.abmKey(keyNamespace, []byte("making")...)
	_, err := r.abm.Sequence(ctx, ovs.SetStamped(key, making.encode(), -1, spaceIDAt))
	ok(t, err)
	want(t, p.CreateNamespace(ctx, "making"), ovs.KindInvalid)
	_, err = p.Get(ctx, in[1], "o", 0, make([]byte, 4))
	want(t, err, ovs.KindInvalid)
	n, err := p.Get(ctx, in[0], "o", 0, make([]byte, 4))
	if n != 4 || err != nil {
		t.Error(n, err)
	}
	want(t, p.Collect(ctx), ovs.KindInvalid)
	ok(t, p.DeleteNamespace(ctx, in[1]))
	want(t, p.Maintain(ctx), ovs.KindInvalid)
	ok(t, p.Close())
	r.edit = nil
	p = r.open()
	ok(t, p.CreateNamespace(ctx, "making"))
	ok(t, p.DeleteNamespace(ctx, in[0]))
	ok(t, p.Maintain(ctx))
	ok(t, p.Collect(ctx))
	want(t, p.DeleteNamespace(ctx, "no:name"), ovs.KindInvalid)
}
