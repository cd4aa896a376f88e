package objectrouter

import (
	"context"

	"ovs"
)

// outgrows says that a file must become a volume to hold end bytes.
func (r *Router) outgrows(s *served, end uint64) bool {
	return s.driver == driverFile && end > r.cfg.FileLimit
}

// TryRead answers from memory, or says false.
func (r *Router) TryRead(o *ovs.Read) bool {
	n := r.table.get(o.File)
	if n == nil {
		return false
	}
	rec := n.rec.Load()
	if rec == nil || !rec.mayRead(&o.Cred) || len(o.Dst) > ovs.MaxIO {
		return false
	}
	s := n.enter(r.table.tick.Load())
	if s == nil {
		return false
	}
	defer n.leave()
	return s.object.TryRead(o)
}

// Read hands a READ to the object, or parks it until the object is served.
func (r *Router) Read(o *ovs.Read) {
	p := parked{read: o}
	if n := r.table.get(o.File); n == nil || !r.dispatch(n, &p) {
		r.park(o.File, p)
	}
}

// Write hands a WRITE to the object, or parks it until the object is served.
func (r *Router) Write(o *ovs.Write) {
	p := parked{write: o}
	if n := r.table.get(o.File); n == nil || !r.dispatch(n, &p) {
		r.park(o.File, p)
	}
}

// Commit hands a COMMIT to the object, or parks it until the object is served.
func (r *Router) Commit(o *ovs.Commit) {
	p := parked{commit: o}
	if n := r.table.get(o.File); n == nil || !r.dispatch(n, &p) {
		r.park(o.File, p)
	}
}

// dispatch hands an operation to n's served object, or completes it with an error; false where n is not served, or
// has to become a volume first. It does not block.
func (r *Router) dispatch(n *node, p *parked) bool {
	s := n.enter(r.table.tick.Load())
	if s == nil {
		return false
	}
	defer n.leave()
	rec := n.rec.Load()
	if rec == nil {
		return false
	}
	switch {
	case p.read != nil:
		o := p.read
		if !rec.mayRead(&o.Cred) {
			p.finish(ovs.E("objectrouter.Read", ovs.KindAccess, n.id, nil))
		} else if len(o.Dst) > ovs.MaxIO {
			p.finish(ovs.E("objectrouter.Read", ovs.KindInvalid, n.id, nil))
		} else {
			o.Trace.Mark(ovs.StageRouted)
			s.object.Read(o)
		}
	case p.write != nil:
		o := p.write
		size := uint64(len(o.Data))
		if !rec.mayWrite(&o.Cred) {
			p.finish(ovs.E("objectrouter.Write", ovs.KindAccess, n.id, nil))
		} else if size > ovs.MaxIO {
			p.finish(ovs.E("objectrouter.Write", ovs.KindInvalid, n.id, nil))
		} else if o.Off > ovs.MaxFileSize-size {
			p.finish(ovs.E("objectrouter.Write", ovs.KindTooBig, n.id, nil))
		} else if r.outgrows(s, o.Off+size) {
			p.end = o.Off + size
			return false
		} else {
			o.Trace.Mark(ovs.StageRouted)
			s.object.Write(o)
		}
	case p.commit != nil:
		p.commit.Trace.Mark(ovs.StageRouted)
		s.object.Commit(p.commit)
	case r.outgrows(s, p.end):
		return false
	default:
		p.wait <- nil
	}
	return true
}

// park lets an operation wait for its object, which a worker brings up. It does not block.
func (r *Router) park(id ovs.ObjectID, p parked) {
	const op = "objectrouter.park"
	if r.closed.Load() {
		p.finish(ovs.E(op, ovs.KindClosed, nil, nil))
		return
	}
	if !r.queue.admit(r.cfg.MaxParked) {
		p.finish(ovs.E(op, ovs.KindBusy, id, nil))
		return
	}
	n := r.table.pin(id)
	n.touch(r.table.tick.Load()) // so that no rest closes the gate on it again
	n.mu.Lock()
	n.parked = append(n.parked, p)
	n.mu.Unlock()
	r.want(n, true)
	if r.closed.Load() { // Close may have looked at this node already
		r.failParked(n, ovs.E(op, ovs.KindClosed, nil, nil))
	}
}

// want puts a pinned node into the queue, unless it is there or somebody is at work on it (who looks again).
func (r *Router) want(n *node, urgent bool) {
	n.mu.Lock()
	flag := &n.later
	if urgent {
		flag = &n.urgent
	}
	push := !*flag && !(urgent && n.busy)
	if push {
		*flag = true
	}
	n.mu.Unlock()
	if push {
		r.queue.push(r.table.pin(n.id), urgent)
	}
}

// takeParked empties n's parked operations.
func (n *node) takeParked() []parked {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.parked
	n.parked = nil
	return list
}

// failParked completes all that waits for n.
func (r *Router) failParked(n *node, err error) {
	for _, p := range n.takeParked() {
		p.finish(err)
		r.unpark(n)
	}
}

func (r *Router) unpark(n *node) {
	r.queue.discharge()
	r.table.unpin(n)
}

// await waits until id is served and can hold end bytes. It may stop to be so at any moment after.
func (r *Router) await(ctx context.Context, id ovs.ObjectID, end uint64) error {
	p := parked{wait: make(chan error, 1), end: end}
	p.until, _ = ctx.Deadline()
	r.park(id, p)
	select {
	case err := <-p.wait:
		return err
	case <-ctx.Done():
		return ovs.E("objectrouter.await", ovs.KindTimeout, r.ref(id), ctx.Err())
	}
}

// acquire enters the served object of id, which can hold end bytes. The caller leaves.
func (r *Router) acquire(ctx context.Context, id ovs.ObjectID, end uint64) (*node, *served, error) {
	for range maxTries {
		if n := r.table.get(id); n != nil {
			if s := n.enter(r.table.tick.Load()); s != nil {
				if !r.outgrows(s, end) {
					return n, s, nil
				}
				n.leave()
			}
		}
		if err := r.await(ctx, id, end); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, ovs.E("objectrouter.acquire", ovs.KindBusy, r.ref(id), nil)
}
