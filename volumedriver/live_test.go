package volumedriver

import (
	"bytes"
	"context"
	"testing"
	"time"

	"ovs"
	"ovs/internal/membackend"
)

// audit compares the counts that go with the head's root with the map, and with what stands on the backend: every SCO that is
// reached, and, unless leftovers are to be expected, no other.
func (w *world) audit(v *volume, leftovers bool) {
	w.t.Helper()
	v.flush.gate <- struct{}{}
	defer func() { <-v.flush.gate }()
	f := &v.flush
	if f.head.RootEpoch == 0 {
		return
	}
	counts, err := v.liveBefore(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	walked := newLive()
	if err := v.insist(context.Background(), "", func() (err error) { walked, err = v.countLive(context.Background()); return err }); err != nil {
		w.t.Fatal(err)
	}
	stands := map[ovs.SCONo]bool{}
	for _, o := range w.scos() {
		var n ovs.SCONo
		var e ovs.Epoch
		if !parse(o.Name, "sco/%x-%x", &n, &e) {
			w.t.Fatal(o.Name)
		}
		if of, _ := v.epochOf(n); n <= f.head.RootSCO && of == e {
			stands[n] = true
		}
	}
	for n := range f.head.RootSCO + 1 {
		x, y := counts.at(n), walked.at(n)
		if max(x, 1) != max(y, 1) {
			w.t.Fatalf("SCO %d of %d: %d clusters are counted, %d are reached", n, f.head.RootSCO, int(x)-1, int(y)-1)
		}
		if x > 1 && !stands[n] || !leftovers && stands[n] && (x == 0 || x == 1 && f.cleared) {
			w.t.Fatalf("SCO %d of %d: stands: %v; counted: %d", n, f.head.RootSCO, stands[n], int(x)-1)
		}
	}
}

// scos is the SCOs on the backend.
func (w *world) scos() []ovs.ObjectInfo {
	w.t.Helper()
	var err error
	for range 1000 {
		var l []ovs.ObjectInfo
		if l, err = w.backend.List(context.Background(), namespace(ref), "sco/", "", 1<<20); err == nil {
			return l
		}
	}
	w.t.Fatal(err)
	return nil
}

// overwrite sets the first 16 clusters, an SCO, again and again until the head has named that many new roots. It gives the last data.
func (w *world) overwrite(v *volume, roots int) (data []byte) {
	w.t.Helper()
	named, end := w.head().RootSCO, time.Now().Add(20*time.Second)
	for i := uint64(1000); roots > 0; i++ {
		if time.Now().After(end) {
			w.t.Fatalf("%d roots are not made", roots)
		}
		data = pattern(i, 16*ovs.ClusterSize)
		write(w.t, v, 0, data, ovs.FileSync)
		flush(w.t, v)
		if now := w.head().RootSCO; now != named {
			named, roots = now, roots-1
		}
	}
	return data
}

func (w *world) head() *head {
	w.t.Helper()
	raw, err := w.reg.Get(context.Background(), ovs.HeadKey(disk))
	if err != nil {
		w.t.Fatal(err)
	}
	h, err := decodeHead(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// Overwriting a volume many times leaves about what it holds, whatever the defaults of TLogs.
func TestDeadSCOsGo(t *testing.T) {
	w := newWorld(t, Config{TLogSCOs: 4})
	v := w.create()
	for i := range 50 {
		write(t, v, 0, pattern(uint64(i), 32*ovs.ClusterSize), ovs.FileSync) // two SCOs
		flush(t, v)
	}
	until(t, "a few SCOs are left for a volume of two", func() bool { return len(w.scos()) <= 8 })
	w.audit(v, false)
	if got := read(t, v, 0, 32*ovs.ClusterSize); !bytes.Equal(got, pattern(49, 32*ovs.ClusterSize)) {
		t.Error("not the same")
	}
	v.Close()
}

// What died in an epoch that ended before it was deleted goes with the next root.
func TestDeadOfAnEarlierEpoch(t *testing.T) {
	for _, how := range []string{"rest", "crash before the deletion"} {
		w := newWorld(t, Config{TLogSCOs: 4})
		v := w.rested(pattern(1, 16*ovs.ClusterSize))
		write(t, v, 0, pattern(2, 16*ovs.ClusterSize), ovs.FileSync)
		flush(t, v)
		if how == "rest" {
			w.rest(v) // its root reaches SCO 1 no more
		} else {
			w.backend.SetHook(func(c membackend.Call) error {
				if c.Op == "Delete" {
					return ovs.E("test", ovs.KindIO, nil, nil)
				}
				return nil
			})
			w.overwrite(v, 1)
			v.Close()
			w.backend.SetHook(nil)
		}
		if v = w.mustRecover(); !exists(w, scoName(1, 1)) {
			t.Fatalf("%s: it went too early", how)
		}
		w.audit(v, false)
		w.overwrite(v, 1)
		until(t, how+": the dead are gone", func() bool { return !exists(w, scoName(1, 1)) && !exists(w, scoName(2, 2)) })
		w.audit(v, false)
		v.Close()
	}
}

// Counts that are lost are made anew from the map, and those that do not fit it delete nothing.
func TestCountsAreLost(t *testing.T) {
	for _, how := range []string{"lost", "without what is reached", "too few"} {
		w := newWorld(t, Config{TLogSCOs: 4})
		v := w.rested(pattern(1, 32*ovs.ClusterSize))
		name := liveName(v.flush.head.RootSCO, v.flush.head.RootEpoch)
		if err := w.backend.Delete(context.Background(), v.ns, name); err != nil {
			t.Fatal(err)
		}
		if how != "lost" {
			counts := newLive()
			if how == "too few" {
				counts.stands(1)
				counts.stands(2)
				counts.move(locate(0, 1, 1), 1) // of 16: the second that dies would seem to be the last
			}
			b := counts.encode(ref)
			v.flush.live = uint32(len(b))
			if _, err := w.backend.Put(context.Background(), v.ns, name, b, ovs.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		last := w.overwrite(v, 2)
		w.audit(v, true)
		if got := read(t, v, 0, 32*ovs.ClusterSize); !bytes.Equal(got[:65536], last) || !bytes.Equal(got[65536:], pattern(1, 131072)[65536:]) {
			t.Errorf("%s: not the same", how)
		}
		v.Close()
	}
}

// A read has looked into the map when a checkpoint deletes the SCO that it was shown.
func TestSCODeletedUnderARead(t *testing.T) {
	w := newWorld(t, Config{TLogSCOs: 1})
	v := w.create()
	write(t, v, 0, pattern(1, 16*ovs.ClusterSize), ovs.FileSync)
	flush(t, v)
	slipped := false
	w.beforeGet("sco/", func(name string) {
		slipped = true
		write(t, v, 0, pattern(2, 16*ovs.ClusterSize), ovs.FileSync)
		flush(t, v)
		until(t, "the SCO is deleted", func() bool { return !exists(w, name) })
	})
	got := read(t, v, 0, 4096)
	if !slipped || !bytes.Equal(got, pattern(2, 16*ovs.ClusterSize)[:4096]) {
		t.Fatalf("slipped in: %v; not the same", slipped)
	}
	v.Close()
}

// An SCO that is gone though the map reaches it is an error, and the read ends.
func TestReachedSCOIsGone(t *testing.T) {
	w := newWorld(t, Config{})
	v := w.create()
	write(t, v, 0, pattern(1, 16*ovs.ClusterSize), ovs.FileSync)
	flush(t, v)
	if err := w.backend.Delete(context.Background(), v.ns, scoName(1, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := tryRead(v, 0, 4096); err == nil {
		t.Fatal("read without an error")
	}
	v.Close()
}
