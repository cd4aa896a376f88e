package objectrouter

import (
	"context"
	"sync"
	"sync/atomic"

	"ovs"
)

// node is what memory knows of one object. Pinned nodes stay; the others are a bounded cache.
type node struct {
	id  ovs.ObjectID
	rec atomic.Pointer[inode] // nil: not known, or gone. The record is never changed, only replaced
	own atomic.Pointer[entry] // nil: not known; only regular files have one

	serve    atomic.Pointer[served] // set while this node owns and serves the object
	open     atomic.Bool            // operations may enter
	inflight atomic.Int64           // callers inside the served object
	drained  chan struct{}          // a closed gate's last caller knocks here
	used     atomic.Int64           // the tick of the last use
	gone     atomic.Bool            // the inode is deleted; it never comes back
	relieve  atomic.Bool            // the log wants it flushed

	mu      sync.Mutex // guards the fields down to claimed
	parked  []parked   // operations that wait for the object; each holds a pin
	busy    bool       // somebody changes its state: a worker, CREATE, rest
	urgent  bool       // it waits for a worker, and somebody for it; each list holds a pin
	later   bool       // it waits for a worker
	left    bool       // the life before left it unfinished, and nobody looked at it yet; touched by whoever is busy
	claimed *entry     // the recovering entry that this process wrote; touched by whoever is busy

	// Guarded by the shard's mu.
	pins  int
	index uint64 // the sequence that changed the record last, 0 when it was read and not followed
	prev  *inode // the record before that sequence
}

// served is an object that this node owns, and the claim under which it does.
type served struct {
	object ovs.Object
	claim  ovs.Claim
	entry  entry // decoded claim.Entry.Value
	driver driverKind
	size   uint64 // as the inode record says
	used   uint64
}

// enter opens the way to the served object for the length of a call, nil where it is not served. Whoever got one
// leaves. Entering never blocks and may nest: an operation's Done may start the next one.
func (n *node) enter(tick int64) *served {
	n.inflight.Add(1)
	if n.open.Load() {
		if s := n.serve.Load(); s != nil { // else it was dismissed between the two looks
			n.touch(tick)
			return s
		}
	}
	n.leave()
	return nil
}

func (n *node) leave() {
	if n.inflight.Add(-1) == 0 && !n.open.Load() {
		select {
		case n.drained <- struct{}{}:
		default:
		}
	}
}

// shut closes the gate and waits until the last caller has left. Only whoever is busy with n does that.
func (n *node) shut(ctx context.Context) error {
	n.open.Store(false)
	for n.inflight.Load() != 0 {
		select {
		case <-n.drained:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (n *node) touch(tick int64) {
	if n.used.Load() != tick {
		n.used.Store(tick)
	}
}

const shards = 64

// table holds the nodes. Followers of the registry keep what it knows true.
type table struct {
	shard [shards]struct {
		mu    sync.RWMutex
		gen   uint64 // moved by every followed change: what was read before it may be old
		nodes map[ovs.ObjectID]*node
		idle  int // nodes without a pin
		_     [64]byte
	}
	limit int // idle nodes in a shard
	tick  atomic.Int64
}

func newTable(limit int) *table {
	t := &table{limit: max(limit/shards, 8)}
	for i := range t.shard {
		t.shard[i].nodes = make(map[ovs.ObjectID]*node)
	}
	return t
}

func shardOf(id ovs.ObjectID) int { return int(uint64(id) * 0x9e3779b97f4a7c15 >> 58) }

// get is the node of id, nil where memory knows nothing of it.
func (t *table) get(id ovs.ObjectID) *node {
	s := &t.shard[shardOf(id)]
	s.mu.RLock()
	n := s.nodes[id]
	s.mu.RUnlock()
	return n
}

// pin is the node of id, which stays until it is unpinned as often.
func (t *table) pin(id ovs.ObjectID) *node {
	s := &t.shard[shardOf(id)]
	s.mu.Lock()
	defer s.mu.Unlock()
	n := t.make(id)
	if n.pins++; n.pins == 1 {
		s.idle--
	}
	return n
}

func (t *table) unpin(n *node) {
	s := &t.shard[shardOf(n.id)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.pins--; n.pins == 0 {
		s.idle++
		if n.gone.Load() {
			t.remove(n)
		} else {
			t.trim(shardOf(n.id))
		}
	}
}

// make finds or makes the node of id; the caller holds the shard's lock, and pins the node or trims the shard next.
func (t *table) make(id ovs.ObjectID) *node {
	s := &t.shard[shardOf(id)]
	if n := s.nodes[id]; n != nil {
		return n
	}
	n := &node{id: id, drained: make(chan struct{}, 1)}
	n.used.Store(t.tick.Load())
	s.nodes[id] = n
	s.idle++
	return n
}

// trim evicts idle nodes beyond the limit, the longest unused of a small sample; the caller holds the shard's lock.
// The newest may be among them: whoever holds it can still use what it reads there at once.
func (t *table) trim(i int) {
	s := &t.shard[i]
	for s.idle > t.limit {
		var oldest *node
		sample := 4
		for _, n := range s.nodes {
			if n.pins > 0 {
				continue
			}
			if oldest == nil || n.used.Load() < oldest.used.Load() {
				oldest = n
			}
			if sample--; sample == 0 {
				break
			}
		}
		t.remove(oldest)
	}
}

// remove takes an idle node out; the caller holds the shard's lock.
func (t *table) remove(n *node) {
	s := &t.shard[shardOf(n.id)]
	delete(s.nodes, n.id)
	s.idle--
}

// followInode is called in the apply path with each new state of an inode record; nil: deleted, or there and not known.
func (t *table) followInode(index uint64, id ovs.ObjectID, rec *inode, deleted bool) {
	s := &t.shard[shardOf(id)]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gen++
	n := s.nodes[id]
	if n == nil {
		if rec == nil {
			return
		}
		n = t.make(id)
		defer t.trim(shardOf(id))
	}
	if n.index != index {
		n.index, n.prev = index, n.rec.Load()
	}
	n.rec.Store(rec)
	if deleted {
		n.gone.Store(true)
		if n.pins == 0 {
			t.remove(n)
		}
	}
}

// followOwner is called in the apply path with each new state of a registry entry; nil: deleted.
func (t *table) followOwner(id ovs.ObjectID, own *entry) {
	s := &t.shard[shardOf(id)]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gen++
	if n := s.nodes[id]; n != nil {
		n.own.Store(own)
	} else if own != nil {
		t.make(id).own.Store(own)
		t.trim(shardOf(id))
	}
}

// forget drops all that was followed or read: the local store was replaced under it.
func (t *table) forget() {
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.Lock()
		s.gen++
		for _, n := range s.nodes {
			n.rec.Store(nil)
			n.own.Store(nil)
			n.index, n.prev = 0, nil
			if n.pins == 0 {
				t.remove(n)
			}
		}
		s.mu.Unlock()
	}
}

// each calls f for every pinned node, outside the locks.
func (t *table) each(f func(*node)) {
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.RLock()
		var some []*node
		for _, n := range s.nodes {
			if n.pins > 0 {
				some = append(some, n)
			}
		}
		s.mu.RUnlock()
		for _, n := range some {
			f(n)
		}
	}
}

// known is an object's records of one moment, and its node where memory kept it.
type known struct {
	id  ovs.ObjectID
	n   *node // nil: not kept
	rec *inode
	own *entry // nil for all but regular files
}

// complete says that memory knows all that there is to know.
func (k *known) complete() bool {
	return k.rec != nil && (k.rec.typ != ovs.TypeReg || k.own != nil)
}

// peek is what memory knows of id.
func (t *table) peek(id ovs.ObjectID) (known, bool) {
	n := t.get(id)
	if n == nil {
		return known{}, false
	}
	n.touch(t.tick.Load())
	// The entry is loaded first: a sequence that makes an object clean changes its record before its entry, and both
	// are followed in that order, so a record loaded after a clean entry is the one that came to rest with it.
	k := known{id: id, n: n, own: n.own.Load()}
	k.rec = n.rec.Load()
	return k, k.complete()
}

// fill keeps what was read at generation gen, unless a change was followed since.
func (t *table) fill(k *known, gen uint64) bool {
	s := &t.shard[shardOf(k.id)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen != gen {
		return false
	}
	k.n = t.make(k.id)
	k.n.rec.Store(k.rec)
	k.n.own.Store(k.own)
	t.trim(shardOf(k.id))
	return true
}

func (t *table) generation(id ovs.ObjectID) uint64 {
	s := &t.shard[shardOf(id)]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.gen
}

// change is the record of id before and after the sequence of that index, if memory saw it.
func (t *table) change(id ovs.ObjectID, index uint64) (before, after *inode) {
	s := &t.shard[shardOf(id)]
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := s.nodes[id]; n != nil {
		if after = n.rec.Load(); n.index == index {
			before = n.prev
		}
	}
	return before, after
}
