package arakoon

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"
	sm "github.com/lni/dragonboat/v4/statemachine"
	"go.uber.org/zap"

	"ovs"
	"ovs/internal/sequence"
)

// maxReads is how many reads of one group run at once; others wait.
const maxReads = 64

// largeOverhead is how many commands stay in Raft's log for members that lag when the log was cut for its bytes: up to
// 1 MiB each.
const largeOverhead = 32

// Group is one group of the store.
type Group struct {
	node    *Node
	name    string
	place   place
	machine *machine
	session *client.Session
	window  *window
	reads   chan struct{}                                     // one token per read that runs
	try     func(ctx context.Context, command []byte) outcome // hands a command to Raft once
	index   func(ctx context.Context) outcome                 // asks Raft for a read index once
	alone   atomic.Bool                                       // this member is the only voter, and has applied all that was committed before it led

	started chan struct{} // closed when start has ended; failed holds then
	failed  error
}

var _ ovs.Registry = (*Group)(nil)

// Group gives the group of that name: config, framework, abm, nsm-<number>, voldrv-<pool>, or another of 1 to 128 letters,
// digits, dots, dashes and underscores. The first call makes it (well under a second), with this node as its only member,
// if it is new. KindCorrupt: the group was here and Raft's log of it is gone.
func (n *Node) Group(ctx context.Context, name string) (ovs.Registry, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	n.mu.Lock()
	var g *Group
	if !n.closed {
		g = n.groups[name]
	}
	if g == nil && !n.closed {
		g = n.begin(name)
	}
	n.mu.Unlock()
	if g == nil {
		return nil, ovs.E("arakoon.Group", ovs.KindClosed, name, nil)
	}
	select {
	case <-g.started:
	case <-ctx.Done():
		return nil, ovs.E("arakoon.Group", ovs.KindTimeout, name, ctx.Err())
	}
	if g.failed != nil {
		return nil, ovs.E("arakoon.Group", ovs.KindUnknown, name, g.failed)
	}
	return g, nil
}

// begin starts a group. mu is held.
func (n *Node) begin(name string) *Group {
	g := &Group{
		node: n, name: name, window: newWindow(), reads: make(chan struct{}, maxReads), started: make(chan struct{}),
	}
	g.try, g.index = g.proposeOnce, g.indexOnce
	n.groups[name] = g
	n.workers.Go(g.run)
	return g
}

// run starts the group and keeps its log short until the node closes.
func (g *Group) run() {
	g.failed = g.start()
	if g.failed != nil {
		g.node.mu.Lock()
		delete(g.node.groups, g.name) // the next call of Node.Group tries again
		g.node.mu.Unlock()
	}
	close(g.started)
	if g.failed != nil {
		return
	}
	for {
		select {
		case <-g.node.ctx.Done():
			return
		case <-g.machine.large:
			g.compact()
		}
	}
}

func (g *Group) start() (err error) {
	n := g.node
	if g.place, err = n.identity.group(g.name); err != nil {
		return err
	}
	shard, id := g.place.Shard, g.place.Replica
	if g.place.Started && !n.host.HasNodeInfo(shard, id) {
		return ovs.E("arakoon.start", ovs.KindCorrupt, g.name, errors.New("its Raft log is gone from this node"))
	}
	g.machine = newMachine(n.store, shard, id)
	g.session = n.host.GetNoOPSession(shard)
	members := map[uint64]dragonboat.Target{id: n.identity.Host}
	create := func(uint64, uint64) sm.IOnDiskStateMachine { return g.machine }
	err = n.host.StartOnDiskReplica(members, false, create, replicaConfig(g.place))
	if errors.Is(err, dragonboat.ErrShardAlreadyExist) { // an earlier try is still being stopped
		return ovs.E("arakoon.start", ovs.KindBusy, g.name, err)
	}
	if err != nil {
		return ovs.E("arakoon.start", ovs.KindIO, g.name, err)
	}
	// A read index is answered by a leader that has committed in its own term: all older commands are applied then.
	err = g.barrier(n.ctx)
	if err == nil {
		g.alone.Store(true)
		err = n.identity.started(g.name)
	}
	if err != nil {
		err = errors.Join(err, n.host.StopReplica(shard, id))
	}
	return err
}

// compact snapshots the group, which flushes the store, and drops most of Raft's log.
func (g *Group) compact() {
	ctx, cancel := context.WithTimeout(g.node.ctx, time.Minute)
	defer cancel()
	_, err := g.node.host.SyncRequestSnapshot(ctx, g.place.Shard, dragonboat.SnapshotOption{
		OverrideCompactionOverhead: true, CompactionOverhead: largeOverhead,
	})
	if err != nil && g.node.ctx.Err() == nil {
		g.node.log.Warn("Raft's log was not cut", zap.String("group", g.name), zap.Error(err))
	}
}

// Get gives the value of key; KindNotFound when it is absent.
func (g *Group) Get(ctx context.Context, key []byte) (value []byte, err error) {
	const op = "arakoon.Get"
	err = g.read(ctx, op, func(v view) error {
		got, found, err := v.Get(key)
		if err == nil && !found {
			err = ovs.E(op, ovs.KindNotFound, string(bytes.ToValidUTF8(key, []byte("?"))), nil)
		}
		value = got
		return err
	})
	return value, err
}

// MultiGet gives the values of keys, nil for the absent, all of one moment.
func (g *Group) MultiGet(ctx context.Context, keys [][]byte) (values [][]byte, err error) {
	if err := sequence.CheckKeys(keys); err != nil {
		return nil, err
	}
	err = g.read(ctx, "arakoon.MultiGet", func(v view) error {
		snapshot := v.r.(*pebble.DB).NewSnapshot()
		defer snapshot.Close()
		v.r = snapshot
		got := make([][]byte, len(keys))
		var budget sequence.Budget
		for i, k := range keys {
			if got[i], _, err = v.Get(k); err == nil {
				err = budget.Take(len(got[i]))
			}
			if err != nil {
				return err
			}
		}
		values = got
		return nil
	})
	return values, err
}

// Range gives the pairs that o chooses, in its order, all of one moment.
func (g *Group) Range(ctx context.Context, o ovs.RangeOptions) (pairs []ovs.Pair, err error) {
	if err := sequence.CheckRange(o); err != nil {
		return nil, err
	}
	err = g.read(ctx, "arakoon.Range", func(v view) error {
		pairs, err = v.pairs(o)
		return err
	})
	return pairs, err
}

// read runs f on the store when what it sees is linearizable.
func (g *Group) read(ctx context.Context, op string, f func(view) error) error {
	if !g.node.calls.enter() {
		return ovs.E(op, ovs.KindClosed, g.name, nil)
	}
	defer g.node.calls.leave()
	if err := ctx.Err(); err != nil {
		return ovs.E(op, ovs.KindTimeout, g.name, err)
	}
	select {
	case g.reads <- struct{}{}:
		defer func() { <-g.reads }()
	case <-ctx.Done():
		return ovs.E(op, ovs.KindTimeout, g.name, ctx.Err())
	}
	if !g.alone.Load() {
		if err := g.barrier(ctx); err != nil {
			return err
		}
	}
	if !g.machine.recovery.TryRLock() {
		return ovs.E(op, ovs.KindBusy, g.name, errors.New("a snapshot is being loaded"))
	}
	defer g.machine.recovery.RUnlock()
	err := f(view{g.node.store.db, g.machine.data})
	if err != nil && ovs.KindOf(err) == ovs.KindUnknown {
		err = ovs.E(op, ovs.KindIO, g.name, err)
	}
	return err
}

// Sequence applies all updates or none, exactly once. Its index is the command's.
func (g *Group) Sequence(ctx context.Context, u ...ovs.Update) (uint64, error) {
	const op = "arakoon.Sequence"
	if err := sequence.Check(u); err != nil {
		return 0, err
	}
	if !g.node.calls.enter() {
		return 0, ovs.E(op, ovs.KindClosed, g.name, nil)
	}
	defer g.node.calls.leave()
	if err := g.admit(ctx, u); err != nil {
		return 0, ovs.E(op, ovs.KindNoSpace, g.name, err)
	}
	seq, lowest, err := g.window.begin(ctx)
	if err != nil {
		return 0, ovs.E(op, ovs.KindTimeout, g.name, err)
	}
	defer g.window.end(seq)
	c := sequence.Command{
		Node: uint64(g.node.cfg.Node), Incarnation: g.node.identity.Incarnation, Seq: seq, Lowest: lowest, Updates: u,
	}
	command, err := c.Encode()
	if err != nil {
		return 0, err
	}
	result, err := g.propose(ctx, command)
	if err != nil {
		return 0, err
	}
	return result.Index, result.Err(op)
}

// Follow calls f for every change under prefix, in order, before the Sequence that caused it returns. When cancel has
// returned f is not called again.
func (g *Group) Follow(prefix []byte, f func(index uint64, key, value []byte)) (cancel func()) {
	return g.machine.followers.add(prefix, f)
}
