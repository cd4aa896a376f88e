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
	gateLimit   = 5 * time.Second  // for the operations under way when a gate closes
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
	var idle, warm []resting
	r.table.each(func(n *node) {
		switch d := (resting{n: n, used: n.used.Load()}); {
		case !n.open.Load():
		case now-d.used > ticksToRest:
			idle = append(idle, d)
		default:
			warm = append(warm, d)
		}
	})
	if over := len(idle) + len(warm) - r.cfg.MaxServed*9/10; len(idle)+len(warm) > r.cfg.MaxServed && over > len(idle) {
		slices.SortFunc(warm, func(a, b resting) int { return int(a.used - b.used) })
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

// restSome rests a few objects, a few at a time. Those that came to rest while the sequence of the ones before them was on its
// way are made clean in the next one: no gate is closed while another object's data are on their way to the backend.
func (r *Router) restSome(batch []resting) {
	ctx, cancel := context.WithTimeout(r.ctx, restLimit)
	defer cancel()
	rested := make(chan resting, len(batch))
	for i, d := range batch {
		batch[i].n = r.table.pin(d.n.id) // which may be another one by now, used since
		defer r.table.unpin(batch[i].n)
	}
	go func() {
		defer close(rested)
		var wg sync.WaitGroup
		defer wg.Wait()
		slots := make(chan struct{}, restAtOnce)
		for _, d := range batch {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if r.restOne(ctx, &d) {
					rested <- d
				}
			})
		}
	}()
	for d := range rested {
		list := []resting{d}
		for len(rested) > 0 {
			list = append(list, <-rested)
		}
		r.makeClean(list)
		for _, d := range list {
			// Also where the sequence failed: a rested object takes no operations, so whoever comes takes it from its entry.
			r.dismiss(d.n)
			r.release(d.n)
		}
	}
}

// makeClean does the sequences that make rested objects clean. A conflict of one must not keep the others.
func (r *Router) makeClean(done []resting) {
	ctx, cancel := context.WithTimeout(r.ctx, restLimit)
	defer cancel()
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
				r.makeClean([]resting{d})
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

// restOne rests an object that nobody touches meanwhile. After a success the caller is busy with it, and dismisses it.
func (r *Router) restOne(ctx context.Context, d *resting) bool {
	n := d.n
	if !n.seize() {
		return false
	}
	s := n.serve.Load()
	if s == nil || !n.open.Load() {
		r.release(n)
		return false
	}
	u, err := r.restNow(ctx, n, s, func() error {
		if n.used.Load() != d.used {
			return ovs.E("objectrouter.rest", ovs.KindBusy, r.ref(n.id), nil)
		}
		ctx, cancel := context.WithTimeout(ctx, gateLimit)
		defer cancel()
		return n.shut(ctx)
	})
	if err != nil {
		r.yield(n, err)
		r.release(n)
		return false
	}
	d.u = append(u, ovs.TestAndSet(ownerKey(n.id), s.claim.Entry.Value, s.entry.rest().encode()))
	return true
}

// restNow rests the object; on an error the gate is open again. The updates bring the inode record up to date too: they come
// before the entry's own change (peek).
func (r *Router) restNow(ctx context.Context, n *node, s *served, shut func() error) ([]ovs.Update, error) {
	u, err := s.object.Rest(ctx, shut)
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
		if n.relieve.Swap(false) { // else it was in the queue twice
			r.flushForRoom(n)
		}
		r.table.unpin(n)
	}
}

func (r *Router) flushForRoom(n *node) {
	s := n.enter(n.used.Load())
	if s == nil {
		return
	}
	defer n.leave()
	ctx, cancel := context.WithTimeout(r.ctx, flushLimit)
	defer cancel()
	// Fenced: it came to rest or was removed meanwhile, and holds no room any more.
	if err := s.object.Flush(ctx); err != nil && !ovs.Is(err, ovs.KindFenced) {
		r.zap.Warn("flush for the log's room failed", zap.Stringer("object", r.ref(n.id)), zap.Error(err))
	}
}
