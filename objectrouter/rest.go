package objectrouter

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"ovs"
)

const (
	restBatch   = 16               // objects brought to rest in one sequence
	restAtOnce  = 4                // of them flushed at a time
	restLimit   = time.Minute      // for one batch
	gateLimit   = 5 * time.Second  // of it with the gates closed
	flushLimit  = 10 * time.Minute // for a flush that the log asked for
	restBytes   = 512 << 10        // in one sequence
	ticksToRest = 12               // the clock of last uses is that coarse
)

// rester is the clock of last uses, and rests what nobody touched.
func (r *Router) rester() {
	defer r.wg.Done()
	rest := time.NewTicker(max(r.cfg.RestAfter/ticksToRest, time.Millisecond))
	defer rest.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-rest.C:
			r.table.tick.Add(1)
			r.restIdle()
		case <-r.cold:
			r.restIdle()
		}
	}
}

// sweeper gives up parked operations whose client has, tries again what could not be brought up, and forgets old requests.
func (r *Router) sweeper() {
	defer r.wg.Done()
	second, age := time.NewTicker(time.Second), time.NewTicker(repeatAge)
	defer second.Stop()
	defer age.Stop()
	r.forgetRequests()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-second.C:
			r.expire(time.Now())
			r.again()
		case <-age.C:
			r.forgetRequests()
		}
	}
}

// expire completes parked operations whose deadline has passed.
func (r *Router) expire(now time.Time) {
	if !r.queue.parking() {
		return
	}
	late := ovs.E("objectrouter.park", ovs.KindTimeout, nil, nil)
	r.table.each(func(n *node) {
		var over []parked
		n.mu.Lock()
		n.parked = slices.DeleteFunc(n.parked, func(p parked) bool {
			d := p.deadline()
			if d.IsZero() || d.After(now) {
				return false
			}
			over = append(over, p)
			return true
		})
		n.mu.Unlock()
		for _, p := range over {
			p.finish(late)
			r.unpark(n)
		}
	})
}

// retry brings n up again at the next second.
func (r *Router) retry(n *node) {
	r.failed.Lock()
	defer r.failed.Unlock()
	r.failed.list = append(r.failed.list, r.table.pin(n.id))
}

func (r *Router) again() {
	r.failed.Lock()
	list := r.failed.list
	r.failed.list = nil
	r.failed.Unlock()
	for _, n := range list {
		r.want(n, false)
		r.table.unpin(n)
	}
}

// restIdle rests all that was not touched for RestAfter, and the coldest where too much is served.
func (r *Router) restIdle() {
	now := r.table.tick.Load()
	var idle, warm []*node
	r.table.each(func(n *node) {
		switch {
		case !n.open.Load():
		case now-n.used.Load() > ticksToRest:
			idle = append(idle, n)
		default:
			warm = append(warm, n)
		}
	})
	if over := len(idle) + len(warm) - r.cfg.MaxServed*9/10; len(idle)+len(warm) > r.cfg.MaxServed && over > len(idle) {
		slices.SortFunc(warm, func(a, b *node) int { return int(a.used.Load() - b.used.Load()) })
		idle = append(idle, warm[:over-len(idle)]...)
	}
	for batch := range slices.Chunk(idle, restBatch) {
		if r.ctx.Err() != nil {
			return
		}
		r.restSome(batch)
	}
}

// resting is an object on its way to rest.
type resting struct {
	n    *node
	used int64        // its last use, when it was found idle
	u    []ovs.Update // of its Rest, which went through: it takes no more operations
}

// restSome flushes a few objects, which may take as long as the backend does, and then closes their gates, rests them and
// makes them clean in one sequence.
func (r *Router) restSome(batch []*node) {
	ctx, cancel := context.WithTimeout(r.ctx, restLimit)
	defer cancel()
	list := make([]resting, len(batch))
	for i, n := range batch {
		list[i] = resting{n: n, used: n.used.Load()}
		r.table.pin(n.id)
		defer r.table.unpin(n)
	}
	list = together(list, func(d *resting) bool { return r.flushIdle(ctx, d) })
	closed, open := context.WithTimeout(ctx, gateLimit)
	list = together(list, func(d *resting) bool { return r.restOne(closed, d) })
	open()
	r.makeClean(ctx, list)
	for _, d := range list {
		// Also where the sequence failed: a rested object takes no operations, so whoever comes takes it from its entry.
		r.dismiss(d.n)
		r.release(d.n)
	}
}

// together does a step for each, a few at a time, and keeps those for which it succeeds.
func together(list []resting, step func(d *resting) bool) []resting {
	var wg sync.WaitGroup
	slots := make(chan struct{}, restAtOnce)
	good := make([]bool, len(list))
	for i := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			good[i] = step(&list[i])
		})
	}
	wg.Wait()
	kept := list[:0]
	for i, ok := range good {
		if ok {
			kept = append(kept, list[i])
		}
	}
	return kept
}

// makeClean does the sequences that make rested objects clean. A conflict of one must not keep the others.
func (r *Router) makeClean(ctx context.Context, done []resting) {
	for len(done) > 0 {
		var u []ovs.Update
		count, size := 0, 0
		for _, d := range done {
			if size += sizeOf(d.u); count > 0 && size > restBytes {
				break
			}
			u = append(u, d.u...)
			count++
		}
		if _, err := r.reg.Sequence(ctx, u...); conflicted(err) && count > 1 {
			for _, d := range done[:count] {
				r.makeClean(ctx, []resting{d})
			}
		} else if err != nil && !undecided(err) {
			r.zap.Warn("objects do not come to rest", zap.Error(err))
		}
		done = done[count:]
	}
}

func sizeOf(u []ovs.Update) (n int) {
	for i := range u {
		n += len(u[i].Key) + len(u[i].Value) + len(u[i].Expect) + 32
	}
	return n
}

// flushIdle brings an object's data to the backend while it takes operations; false where it cannot rest now.
func (r *Router) flushIdle(ctx context.Context, d *resting) bool {
	s := d.n.enter(d.n.used.Load())
	if s == nil {
		return false
	}
	err := s.object.Flush(ctx)
	d.n.leave()
	if err != nil && d.n.seize() {
		r.yield(d.n, err)
		r.release(d.n)
	}
	return err == nil
}

// restOne closes the gate of an object that nobody has touched and rests it. After a success the caller is busy with it,
// and dismisses it.
func (r *Router) restOne(ctx context.Context, d *resting) bool {
	n := d.n
	if !n.seize() {
		return false
	}
	s := n.serve.Load()
	if s == nil || !n.open.Load() || n.used.Load() != d.used {
		r.release(n)
		return false
	}
	u, err := r.restNow(ctx, n, s)
	if err != nil {
		r.yield(n, err)
		r.release(n)
		return false
	}
	d.u = append(u, ovs.TestAndSet(ownerKey(n.id), s.claim.Entry.Value, s.entry.rest().encode()))
	return true
}

// restNow closes the gate and rests the object. Its updates bring the inode record up to date too: they come before the
// entry's own change (peek). On an error the gate is open again.
func (r *Router) restNow(ctx context.Context, n *node, s *served) ([]ovs.Update, error) {
	err := n.shut(ctx)
	var u []ovs.Update
	if err == nil {
		u, err = s.object.Rest(ctx)
	}
	if err != nil {
		n.open.Store(true)
		return nil, err
	}
	live, key := s.object.Live(), inodeKey(n.id)
	u = append(slices.Clone(u), // only the owner changes size and used, so the difference is exact
		ovs.Add(key, sizeAt, int64(live.Size-s.size)), ovs.Add(key, usedAt, int64(live.Used-s.used)))
	if live.Time > 0 {
		u = append(u, ovs.Max(key, changedAt, timeBits(live.Time)))
	}
	return u, nil
}

// yield ends the service of an object that another epoch took over; other errors of a flush pass.
func (r *Router) yield(n *node, err error) {
	if ovs.Is(err, ovs.KindFenced) {
		r.dismiss(n)
	}
}

// Relieve is the log's plea to bring an object's data to the backend, because it needs the room. It does not block.
func (r *Router) Relieve(ref ovs.Ref) {
	if ref.Pool != r.cfg.Pool || r.closed.Load() {
		return
	}
	n := r.table.pin(ref.Object)
	defer r.table.unpin(n)
	if n.relieve.Swap(true) {
		return
	}
	if n.open.Load() {
		r.flushes.push(r.table.pin(n.id), true)
	} else {
		r.want(n, false) // its worker goes on to flush it
	}
}

// flusher flushes what the log wants flushed.
func (r *Router) flusher() {
	defer r.wg.Done()
	for {
		n, _ := r.flushes.pop(false)
		if n == nil {
			return
		}
		n.relieve.Store(false)
		if s := n.enter(n.used.Load()); s != nil {
			ctx, cancel := context.WithTimeout(r.ctx, flushLimit)
			// Fenced: it came to rest or was removed meanwhile, and holds no room any more.
			if err := s.object.Flush(ctx); err != nil && !ovs.Is(err, ovs.KindFenced) {
				r.zap.Warn("flush for the log's room failed", zap.Stringer("object", r.ref(n.id)), zap.Error(err))
			}
			cancel()
			n.leave()
		}
		r.table.unpin(n)
	}
}
