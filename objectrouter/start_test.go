package objectrouter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"ovs"
)

// TestStartOrder: what has records in the log comes first, the newest of them foremost; tails that nobody needs are let go.
func TestStartOrder(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Workers = 1 })
	r := w.router()
	var ids []ovs.ObjectID
	for i := range takeBatch + 100 {
		ids = append(ids, newUser(r).file(t, fmt.Sprint(i)))
	}
	gone := newUser(r).file(t, "gone")
	if _, err := r.Remove(newUser(r).rq, ovs.RootID, "gone"); err != nil {
		t.Fatal(err)
	}
	w.end(r)
	for i, id := range []ovs.ObjectID{ids[100], ids[7], ids[120], gone, 9999} {
		w.log.tails = append(w.log.tails, ovs.LogTail{Ref: ovs.Ref{Pool: 1, Object: id}, First: 1, Last: 5, Time: int64(i)})
	}
	w.log.tails = append(w.log.tails, ovs.LogTail{Ref: ovs.Ref{Pool: 2, Object: 9998}})
	w.log.released = nil
	var mu sync.Mutex
	var order []ovs.ObjectID
	w.store.OnRecover = func(_ context.Context, id ovs.ObjectID) error {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, id)
		return nil
	}
	before := seqCount(t, w)
	r = w.router()
	eventually(t, "the end of all recoveries", func() bool { return r.Served() == len(ids) })
	eventually(t, "the word that all are brought up", func() bool { return r.left.Load() == 0 })
	if order[0] != ids[120] || order[1] != ids[7] || order[2] != ids[100] {
		t.Fatalf("recovered first: %v", order[:3])
	}
	if !w.log.has(gone) || !w.log.has(9999) || w.log.has(9998) || w.log.has(ids[7]) {
		t.Fatalf("released: %v", w.log.released)
	}
	if n := seqCount(t, w) - before; n > uint64(len(ids)+6) {
		t.Errorf("a start of %d objects took %d sequences", len(ids), n)
	}
}

// seqCount is the index of a sequence that changes nothing.
func seqCount(t *testing.T, w *world) uint64 {
	t.Helper()
	i, err := w.reg.Sequence(context.Background(), ovs.AssertExists(renameKey()))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestOrphans: data of removed objects go, also when the first try fails and when the node restarts before the second.
func TestOrphans(t *testing.T) {
	w := newWorld(t, nil)
	var failing atomic.Bool
	failing.Store(true)
	w.store.OnDrop = func(ovs.ObjectID) error {
		if failing.Load() {
			return errors.New("not now")
		}
		return nil
	}
	r := w.router()
	id := newUser(r).file(t, "f")
	if err := newUser(r).write(id, 0, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Remove(newUser(r).rq, ovs.RootID, "f"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log's release", func() bool { return w.log.has(id) })
	if r.Served() != 0 || !w.store.Has(id) {
		t.Fatalf("%d served", r.Served())
	}
	w.end(r)
	failing.Store(false)
	w.router()
	eventually(t, "the drop", func() bool { return !w.store.Has(id) && len(readTree(t, w.reg).orphans) == 0 })
}
