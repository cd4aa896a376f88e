package dtl

import (
	"math/rand/v2"
	"testing"
	"time"

	"ovs"
	"ovs/internal/conformance/logtest"
	"ovs/internal/vfs"
)

const recallObjects = 9

// newRecall is a log that was killed with records of some objects in several segments, and opened again. It gives how many
// each has.
func newRecall(t *testing.T) (b *bench, each int) {
	b = newBench(t)
	for gen := uint32(0); gen < 4; gen, _ = b.where() {
		each++
		for o := range recallObjects {
			b.write(o, ovs.RecordNo(each))
		}
	}
	b.kill()
	b.open()
	return b, each
}

// TestRecall: the first replay of each object reads nothing, and what was kept for it goes.
func TestRecall(t *testing.T) {
	b, each := newRecall(t)
	b.kill()
	disk := vfs.NewFault(b.disk, rand.New(rand.NewPCG(1, 1)), nil, vfs.Rule{Op: vfs.OpRead, Delay: time.Nanosecond})
	b.cfg.FS = disk
	l, err := Open(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.l = l
	count := func(o int) (n int) {
		if err := l.Replay(logtest.Ref(o), 1, func(*ovs.Record) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	reads := disk.Hits()[vfs.OpRead]
	for o := range recallObjects - 1 {
		if n := count(o); n != each-1 {
			t.Errorf("object %d: %d records, want %d", o, n, each-1)
		}
	}
	if n := disk.Hits()[vfs.OpRead] - reads; n != 0 {
		t.Errorf("%d reads", n)
	}
	l.Release(logtest.Ref(recallObjects-1), ^ovs.RecordNo(0))
	for _, g := range l.live {
		if g.recalled != nil || g.recallers != 0 {
			t.Errorf("generation %d keeps %d bytes for %d", g.gen, len(g.recalled), g.recallers)
		}
	}
	if n := count(0); n != each-1 {
		t.Errorf("again: %d records, want %d", n, each-1)
	}
	if disk.Hits()[vfs.OpRead] == reads {
		t.Error("nothing was read again: the test shows nothing")
	}
}

// TestRecallWhileWriting: what is appended and sealed meanwhile changes nothing of it, and is not left out.
func TestRecallWhileWriting(t *testing.T) {
	b, each := newRecall(t)
	newest := recallObjects - 1 // its last record stands in the segment that goes on
	b.write(newest, ovs.RecordNo(each+1))
	b.fill(recallObjects)
	b.want(newest, each+1)
	for o := range newest {
		b.want(o, each)
		b.want(o, each)
	}
}

// TestRecallBounded: the newest segments are kept as far as the memory goes.
func TestRecallBounded(t *testing.T) {
	scans := []*scan{{}, {}, {}, {}}
	for _, c := range []struct {
		sizes [4]int
		from  int
	}{{[4]int{1, 1, 1, 1}, 0}, {[4]int{mostRecalled, 0, 1, 0}, 1}, {[4]int{1, 1, mostRecalled, 0}, 2}, {[4]int{0, 0, 0, mostRecalled + 1}, 4}} {
		for i, n := range c.sizes {
			scans[i].frames = make([]byte, n)
		}
		if from := recallFrom(scans); from != c.from {
			t.Errorf("%v: from %d, want %d", c.sizes, from, c.from)
		}
	}
}
