package objectrouter

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"ovs"
)

var errHalted = errors.New("the object is halted: its data were found corrupt")

// Halted is an object that takes no writes until the next start, and why.
type Halted struct {
	ID    ovs.ObjectID
	Err   error
	Reads bool // it halted while it was served: what is durable is still read. Else no operation on data reaches it
}

// haltedSet lists the objects that no operation on data reaches until the next start.
type haltedSet struct {
	mu  sync.Mutex
	ids map[ovs.ObjectID]error
}

func (h *haltedSet) add(id ovs.ObjectID, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ids == nil {
		h.ids = make(map[ovs.ObjectID]error)
	}
	h.ids[id] = err
}

func (h *haltedSet) get(id ovs.ObjectID) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ids[id]
}

func (h *haltedSet) remove(id ovs.ObjectID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.ids, id)
}

func (h *haltedSet) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ids)
}

// Halted lists the objects whose data were found corrupt when they were brought up, and those that halted since.
func (r *Router) Halted() []Halted {
	r.halted.mu.Lock()
	list := make([]Halted, 0, len(r.halted.ids))
	for id, err := range r.halted.ids {
		list = append(list, Halted{ID: id, Err: err})
	}
	r.halted.mu.Unlock()
	r.table.each(func(n *node) {
		if s := n.serve.Load(); s != nil {
			if err := s.object.Live().Halted; err != nil {
				list = append(list, Halted{ID: n.id, Err: err, Reads: true})
			}
		}
	})
	slices.SortFunc(list, func(a, b Halted) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Recovering is the number of objects that wait for a worker to bring them up.
func (r *Router) Recovering() int { return r.queue.waiting() }

// Served is the number of objects that this node serves at this moment.
func (r *Router) Served() int { return int(r.nserved.Load()) }

// worker brings objects up until the router is closed.
func (r *Router) worker(urgentOnly bool) {
	defer r.wg.Done()
	for {
		n, urgent := r.queue.pop(urgentOnly)
		if n == nil {
			return
		}
		r.work(n, urgent)
		r.table.unpin(n)
	}
}

// work brings n up and serves what is parked there.
func (r *Router) work(n *node, urgent bool) {
	n.mu.Lock()
	if urgent {
		n.urgent = false
	} else {
		n.later = false
	}
	if n.busy { // whoever is will look at the parked operations
		n.mu.Unlock()
		return
	}
	n.busy = true
	n.mu.Unlock()

	err := r.bringUp(r.ctx, n)
	var grow error // why a file could not become a volume
	if err == nil && r.outgrown(n) {
		if grow = r.adopt(r.ctx, n); n.serve.Load() == nil {
			err = r.bringUp(r.ctx, n)
		}
	}
	if n.gone.Load() {
		r.dismiss(n)
		err = ovs.E("objectrouter.bringUp", ovs.KindStale, r.ref(n.id), nil)
	}
	r.serveParked(n, err, grow)
	// What may have records in the log is brought up by itself, whoever came first.
	if owes := n.claimed != nil && !n.claimed.stands(); err != nil && (owes || !urgent) && retryable(err) {
		r.zap.Warn("an object is not served yet, it is tried again", zap.Stringer("object", r.ref(n.id)), zap.Error(err))
		r.retry(n)
	} else if n.left {
		n.left = false
		if r.left.Add(-1) == 0 {
			r.zap.Info("all objects of the last life are brought up", zap.Duration("since start", time.Since(r.began)), zap.Int("halted", r.halted.count()))
		}
	}
	r.release(n)
}

// serveParked hands what is parked at n on, or completes it: all with err, what needs a bigger object with grow.
func (r *Router) serveParked(n *node, err, grow error) {
	for _, p := range n.takeParked() {
		switch {
		case err != nil:
			p.finish(err)
		case grow != nil && p.end > r.cfg.FileLimit:
			p.finish(grow)
		case !r.dispatch(n, &p):
			n.mu.Lock()
			n.parked = append(n.parked, p) // the file has outgrown its driver meanwhile: once more
			n.mu.Unlock()
			continue
		}
		r.unpark(n)
	}
}

// retryable says that another try may go better.
func retryable(err error) bool {
	switch ovs.KindOf(err) {
	case ovs.KindStale, ovs.KindIsDir, ovs.KindInvalid, ovs.KindClosed:
		return false
	}
	return !errors.Is(err, errHalted)
}

// release ends the right to change n's state. What was parked meanwhile gets a worker, and what the log asked for meanwhile
// is done.
func (r *Router) release(n *node) {
	n.mu.Lock()
	if (n.gone.Load() || r.closed.Load()) && n.serve.Load() != nil {
		n.mu.Unlock()
		r.dismiss(n)
		n.mu.Lock()
	}
	n.busy = false
	waiting := len(n.parked) > 0
	n.mu.Unlock()
	if waiting {
		r.want(n, true)
	}
	if n.relieve.Load() && n.open.Load() {
		r.flushes.push(r.table.pin(n.id), true)
	}
}

// seize takes the right to change n's state; false where somebody has it.
func (n *node) seize() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy {
		return false
	}
	n.busy = true
	return true
}

// bringUp makes n served: it takes the registry entry, lets the driver recover, and swings the entry to serving. The caller is
// busy with n.
func (r *Router) bringUp(ctx context.Context, n *node) error {
	const op = "objectrouter.bringUp"
	if n.open.Load() && n.rec.Load() != nil {
		return nil
	}
	for range maxTries {
		k, err := r.read(ctx, n.id)
		if err == nil {
			err = r.halted.get(n.id)
		}
		if err != nil {
			return err
		}
		if n.open.Load() {
			return nil
		}
		if err := checkData(op, n.id, k.rec.typ); err != nil {
			return err
		}
		if n.claimed != nil && *k.own == *n.claimed {
			if up, err := r.recover(ctx, n, &k); up || err != nil {
				return err
			}
			continue
		}
		if int(r.nserved.Load()) >= r.cfg.MaxServed+r.cfg.MaxServed/4 {
			knock(r.cold)
			return ovs.E(op, ovs.KindBusy, "too many objects are served", nil)
		}
		next, ok := k.own.take(r.cfg.Node)
		if !ok {
			return ovs.E(op, ovs.KindBusy, r.ref(n.id), errors.New("another node owns it"))
		}
		// Whatever becomes of the sequence, reading the entry again tells: nobody else writes these bytes.
		n.claimed = &next
		_, err = r.reg.Sequence(ctx, ovs.TestAndSet(ownerKey(n.id), k.own.encode(), next.encode()))
		if err != nil && !undecided(err) {
			return err
		}
	}
	return ovs.E(op, ovs.KindBusy, r.ref(n.id), nil)
}

// recover does the steps from a claimed entry to a served object. False without an error: the entry has changed, look again.
func (r *Router) recover(ctx context.Context, n *node, k *known) (up bool, err error) {
	own := n.claimed.serve()
	s := &served{entry: own, driver: k.rec.driver, size: k.rec.size, used: k.rec.used}
	s.claim = ovs.Claim{Ref: r.ref(n.id), Epoch: own.epoch, Entry: ovs.Pair{Key: ownerKey(n.id), Value: own.encode()}}
	driver := r.driver(k.rec.driver)
	if driver == nil {
		return false, r.halt(n, errors.New("its inode names no driver"))
	}
	got, err := driver.Recover(ctx, s.claim)
	if err != nil {
		if ovs.Is(err, ovs.KindCorrupt) {
			err = r.halt(n, err)
		}
		return false, err
	}
	s.object = got.Object
	// The entry first: what the driver asserts of its claim must hold in the same sequence.
	u := append([]ovs.Update{ovs.TestAndSet(ownerKey(n.id), n.claimed.encode(), s.claim.Entry.Value)}, got.Close...)
	up, err = r.settle(ctx, n, u, own)
	if !up {
		s.object.Close()
		return false, err
	}
	n.claimed = nil
	r.publish(n, s)
	return true, nil
}

// settle carries a sequence through that swings n's entry from claimed to want, also where the outcome was unknown at first.
func (r *Router) settle(ctx context.Context, n *node, u []ovs.Update, want entry) (bool, error) {
	for range maxTries {
		_, err := r.reg.Sequence(ctx, u...)
		if err == nil {
			return true, nil
		}
		if !undecided(err) {
			return false, err
		}
		k, readErr := r.read(ctx, n.id)
		switch {
		case readErr != nil:
			return false, readErr
		case *k.own == want:
			return true, nil
		case conflicted(err):
			return false, nil
		}
	}
	return false, ovs.E("objectrouter.settle", ovs.KindBusy, r.ref(n.id), nil)
}

// publish lets operations in. The node stays pinned while it is served.
func (r *Router) publish(n *node, s *served) {
	r.table.pin(n.id)
	n.touch(r.table.tick.Load())
	n.serve.Store(s)
	n.open.Store(true)
	if int(r.nserved.Add(1)) > r.cfg.MaxServed {
		knock(r.cold)
	}
}

// dismiss ends the service of n, if there is one. The caller is busy with n.
func (r *Router) dismiss(n *node) {
	n.open.Store(false)
	if s := n.serve.Swap(nil); s != nil {
		s.object.Close()
		r.nserved.Add(-1)
		r.table.unpin(n)
	}
}

// halt takes an object out of service until the next start.
func (r *Router) halt(n *node, cause error) error {
	err := ovs.E("objectrouter.bringUp", ovs.KindIO, r.ref(n.id), errors.Join(errHalted, cause))
	r.halted.add(n.id, err)
	r.zap.Error("object halted: its data are corrupt; nothing of it is served", zap.Stringer("object", r.ref(n.id)), zap.Error(cause))
	return err
}

// makeData does the sequence of a CREATE of a regular file and serves it. Nobody else brings it up meanwhile: the node is
// taken before its name can be seen.
func (r *Router) makeData(ctx context.Context, at *attempt, id ovs.ObjectID, rec *inode, u []ovs.Update) (index uint64, err error) {
	driver := r.driver(rec.driver)
	own := created(r.cfg.Node)
	s := &served{entry: own, driver: rec.driver}
	s.claim = ovs.Claim{Ref: r.ref(id), Epoch: own.epoch, Entry: ovs.Pair{Key: ownerKey(id), Value: own.encode()}}
	if r.closed.Load() {
		return 0, ovs.E("objectrouter.Create", ovs.KindClosed, nil, nil)
	}
	if int(r.nserved.Load()) >= r.cfg.MaxServed+r.cfg.MaxServed/4 {
		knock(r.cold)
		return 0, ovs.E("objectrouter.Create", ovs.KindBusy, "too many objects are served", nil)
	}
	n := r.table.pin(id)
	defer r.table.unpin(n)
	if !n.seize() { // somebody guessed the number and looks for it: take another
		return 0, errAgain
	}
	defer r.release(n)
	index, err = at.sequence(ctx, id, append(u,
		ovs.Set(ovs.HeadKey(id), driver.NewHead(id)), ovs.Set(ownerKey(id), s.claim.Entry.Value))...)
	if err != nil {
		return 0, err // where it was done after all, whoever comes takes the object as at a start
	}
	s.object = driver.Create(s.claim)
	r.publish(n, s)
	return index, nil
}

// outgrown says that something parked at n needs a bigger object than its driver keeps.
func (r *Router) outgrown(n *node) bool {
	s := n.serve.Load()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.parked {
		p := &n.parked[i]
		if p.write != nil {
			p.end = p.write.Off + uint64(len(p.write.Data))
		}
		if s != nil && r.outgrows(s, p.end) && p.end <= ovs.MaxFileSize {
			return true
		}
	}
	return false
}

// retire ends the service of an object that was just removed.
func (r *Router) retire(id ovs.ObjectID) {
	if n := r.table.get(id); n != nil && n.seize() {
		r.dismiss(n)
		r.release(n)
	}
}
