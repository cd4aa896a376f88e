package objectrouter

import (
	"context"
	"time"

	"go.uber.org/zap"

	"ovs"
)

const (
	orphanPage  = 64
	orphanLimit = 10 * time.Minute // for one Drop
	orphanPause = 30 * time.Second // after a Drop that failed
)

// undertaker works off the orphan keys: the data of removed objects. The registry is its list, so that it goes on after a
// restart where it was.
func (r *Router) undertaker() {
	defer r.wg.Done()
	pause := time.NewTimer(orphanPause)
	defer pause.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.orphans:
		case <-pause.C:
		}
		if failed := r.bury(); failed {
			pause.Reset(orphanPause)
		}
	}
}

// bury goes once through the orphan keys and reports whether some must be tried again.
func (r *Router) bury() (failed bool) {
	o := ovs.RangeOptions{From: []byte{spaceOrphan}, To: ovs.PrefixEnd([]byte{spaceOrphan}), Limit: orphanPage}
	for r.ctx.Err() == nil {
		page, err := r.reg.Range(r.ctx, o)
		if err != nil {
			return true
		}
		for _, p := range page {
			if err := r.drop(p); err != nil && r.ctx.Err() == nil {
				failed = true
				r.zap.Warn("data of a removed object stay for now", zap.Stringer("object", r.ref(idOf(p.Key))), zap.Error(err))
			}
		}
		if len(page) < orphanPage {
			return failed
		}
		o.From = append(append([]byte(nil), page[len(page)-1].Key...), 0)
	}
	return failed
}

// drop works off one orphan: service ended, log released, data deleted, key deleted. Each step may be done again.
func (r *Router) drop(p ovs.Pair) error {
	ctx, cancel := context.WithTimeout(r.ctx, orphanLimit)
	defer cancel()
	id := idOf(p.Key)
	o, err := decodeOrphan(p.Value)
	if err != nil {
		return err
	}
	if o.node != r.cfg.Node {
		return nil
	}
	// A worker that meets the object finds it gone, and ends its service before it says so.
	if err := r.await(ctx, id, 0); !ovs.Is(err, ovs.KindStale) {
		return ovs.E("objectrouter.drop", ovs.KindBusy, r.ref(id), err)
	}
	r.halted.remove(id)
	r.cfg.Log.Release(r.ref(id), ^ovs.RecordNo(0))
	if err := r.driver(o.driver).Drop(ctx, id); err != nil {
		return err
	}
	if o.driver == driverVolume { // it may have been a file once, whose chunks are its lowest layer
		if err := r.cfg.Files.Drop(ctx, id); err != nil {
			return err
		}
	}
	_, err = r.reg.Sequence(ctx, ovs.TestAndSet(p.Key, p.Value, nil))
	if conflicted(err) {
		return nil
	}
	return err
}
