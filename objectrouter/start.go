package objectrouter

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"go.uber.org/zap"

	"ovs"
)

const (
	firstID   = 16  // inode numbers below are the router's: 1 is the root
	takeBatch = 512 // registry entries taken in one sequence at a start
)

// Start makes the root of a new vPool, takes over this node's own objects under new epochs, and begins to bring them up in
// the background, those with records in the log first. The router serves when it returns.
func (r *Router) Start(ctx context.Context) error {
	const op = "objectrouter.Start"
	if r.cancel != nil || r.closed.Load() {
		return ovs.E(op, ovs.KindInvalid, nil, errors.New("started before"))
	}
	r.cancel = r.follow()
	if err := r.found(ctx); err != nil {
		return wrap(op, err)
	}
	begin := time.Now()
	own, err := r.takeOwn(ctx)
	if err != nil {
		return wrap(op, err)
	}
	r.began = begin
	r.left.Store(int64(len(own)))
	for _, n := range own {
		n.left = true
		r.want(n, false)
		r.table.unpin(n)
	}
	r.wg.Add(r.cfg.Workers + 5)
	for i := range r.cfg.Workers {
		// Half of them take only what somebody waits for: long recoveries in the background cannot hold everybody up.
		go r.worker(i < r.cfg.Workers/2)
	}
	go r.flusher()
	go r.flusher()
	go r.rester()
	go r.sweeper()
	go r.undertaker()
	knock(r.orphans)
	r.zap.Info("vPool names are served", zap.Uint64("pool", uint64(r.cfg.Pool)), zap.Int("objects to bring up", len(own)),
		zap.Duration("took", time.Since(begin)))
	return nil
}

// found makes what every vPool has, in a new one. Cookies are indices of sequences and stay above 2: so three go first.
func (r *Router) found(ctx context.Context) error {
	now := r.stamp(0)
	root := &inode{
		typ: ovs.TypeDir, mode: 0o755, links: 2, parent: ovs.RootID,
		atime: now, mtime: now, ctime: now, settled: now, changed: now,
	}
	for range maxTries {
		v, err := r.reg.MultiGet(ctx, [][]byte{inodeKey(ovs.RootID), renameKey()})
		if err != nil {
			return err
		}
		if v[0] != nil {
			return nil
		}
		turns := uint64(0)
		if v[1] != nil {
			if turns, err = decodeCounter(v[1]); err != nil {
				return err
			}
		}
		u := []ovs.Update{ovs.TestAndSet(renameKey(), v[1], encodeCounter(turns+1))}
		if turns >= 2 {
			u = append(u, ovs.AssertAbsent(inodeKey(ovs.RootID)), ovs.Set(inodeKey(ovs.RootID), root.encode()),
				ovs.TestAndSet(allocKey(), nil, encodeCounter(firstID)))
		}
		if _, err = r.reg.Sequence(ctx, u...); err != nil && !undecided(err) {
			return err
		}
	}
	return ovs.E("objectrouter.found", ovs.KindBusy, nil, nil)
}

// takeOwn takes every entry that names this node as owner under the next epoch, and gives the nodes, pinned, in the
// order in which they are to be brought up. Log tails that no object needs are released.
func (r *Router) takeOwn(ctx context.Context) ([]*node, error) {
	tails := make(map[ovs.ObjectID]int64)
	for _, t := range r.cfg.Log.Tails() {
		if t.Pool == r.cfg.Pool {
			tails[t.Object] = t.Time
		}
	}
	needed := make(map[ovs.ObjectID]bool)
	var own []*node
	var batch []ovs.Pair
	flush := func() error {
		got, err := r.takeBatch(ctx, batch)
		own, batch = append(own, got...), batch[:0]
		return err
	}
	err := ovs.Scan(ctx, r.reg, []byte{spaceOwner}, func(p ovs.Pair) error {
		e, err := decodeEntry(p.Value)
		if err != nil {
			return ovs.E("objectrouter.takeOwn", ovs.KindUnknown, idOf(p.Key), err)
		}
		if e.state == clean {
			return nil
		}
		if _, has := tails[idOf(p.Key)]; has {
			needed[idOf(p.Key)] = true
		}
		if e.owner != r.cfg.Node {
			return nil
		}
		if batch = append(batch, p); len(batch) == takeBatch {
			return flush()
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return nil, err
	}
	for id := range tails {
		if !needed[id] { // removed, or clean: all that counts is on the backend
			r.cfg.Log.Release(r.ref(id), ^ovs.RecordNo(0))
		}
	}
	newest := func(n *node) int64 {
		if t, has := tails[n.id]; has {
			return t
		}
		return math.MinInt64
	}
	slices.SortStableFunc(own, func(a, b *node) int { return cmp.Compare(newest(b), newest(a)) })
	return own, nil
}

// takeBatch takes some entries in one sequence. Where it does not go through they are left to whoever brings each up.
func (r *Router) takeBatch(ctx context.Context, batch []ovs.Pair) (own []*node, err error) {
	var u []ovs.Update
	for _, p := range batch {
		e, err := decodeEntry(p.Value)
		if err != nil {
			return nil, err
		}
		next, _ := e.take(r.cfg.Node)
		n := r.table.pin(idOf(p.Key))
		n.claimed = &next
		own = append(own, n)
		u = append(u, ovs.TestAndSet(bytes.Clone(p.Key), p.Value, next.encode()))
	}
	if len(u) == 0 {
		return nil, nil
	}
	if _, err = r.reg.Sequence(ctx, u...); undecided(err) {
		err = nil
	}
	return own, err
}

// Close ends the service: parked operations get KindClosed, running ones complete. What is in the log stays there.
func (r *Router) Close(ctx context.Context) error {
	r.usage.mu.Lock() // so that whoever starts a goroutine has counted it before it is waited for
	before := r.closed.Swap(true)
	r.usage.mu.Unlock()
	if before {
		return nil
	}
	r.stop()
	r.queue.close()
	r.flushes.close()
	done := make(chan struct{})
	go func() { r.wg.Wait(); close(done) }()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ovs.E("objectrouter.Close", ovs.KindTimeout, nil, ctx.Err())
	}
	if r.cancel != nil {
		r.cancel()
	}
	closed := ovs.E("objectrouter.Close", ovs.KindClosed, nil, nil)
	r.table.each(func(n *node) {
		r.failParked(n, closed)
		if n.seize() { // else a CREATE is at it, and ends it
			r.dismiss(n)
		}
	})
	return err
}
