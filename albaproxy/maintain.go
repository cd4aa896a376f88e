package albaproxy

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/albaproxy/asd"
)

// maintain is the one goroutine that works the queues off, until Close. Each pass is bounded and paced.
func (p *Proxy) maintain() {
	repair := time.NewTicker(p.cfg.RepairEvery)
	defer repair.Stop()
	var collect <-chan time.Time
	if p.cfg.CollectEvery > 0 {
		t := time.NewTicker(p.cfg.CollectEvery)
		defer t.Stop()
		collect = t.C
	}
	left := true
	for {
		err := p.clear(p.ctx, left)
		left = left && err != nil
		select {
		case <-p.ctx.Done():
			return
		case <-p.kick:
		case <-repair.C:
			err = errors.Join(err, p.repairQueues(p.ctx, true))
		case <-collect:
			err = errors.Join(err, p.collect(p.ctx))
		}
		if err != nil && p.ctx.Err() == nil {
			p.log.Warn("maintenance will try again", zap.Error(err))
		}
	}
}

// Maintain makes one pass over all queues now: deleted namespaces, dropped fragments, repairs. It returns what could not
// be done yet and stays queued.
func (p *Proxy) Maintain(ctx context.Context) error {
	if err := p.begin(ctx, "albaproxy.Maintain"); err != nil {
		return err
	}
	defer p.running.Done()
	return errors.Join(p.clear(ctx, true), p.repairQueues(ctx, false))
}

// clear works off what was deleted; left says whether to look for what ASDs missed while they were away.
func (p *Proxy) clear(ctx context.Context, left bool) error {
	errs := []error{p.clearSpaces(ctx)}
	for _, g := range p.groups {
		errs = append(errs, p.discardQueue(ctx, g))
		if left {
			errs = append(errs, p.discardLeft(ctx, g))
		}
	}
	return errors.Join(errs...)
}

// clearSpaces works off the namespaces that were deleted. After a crash it begins again: each step may be repeated.
func (p *Proxy) clearSpaces(ctx context.Context) error {
	var deleted []space
	err := ovs.Scan(ctx, p.cfg.ABM, p.abmKey(keyDeleted), func(pair ovs.Pair) error {
		s, err := decodeSpace(pair.Value)
		deleted = append(deleted, s)
		return err
	})
	for _, s := range deleted {
		if err == nil {
			err = p.clearSpace(ctx, s)
		}
	}
	return err
}

// clearSpace closes the namespace to every PUT still under way, then deletes its records and its fragments. What a cut-off
// PUT leaves after that is the collector's: it knows no such namespace.
func (p *Proxy) clearSpace(ctx context.Context, s space) error {
	g, err := p.group(s)
	if err != nil {
		return err
	}
	if _, err := g.reg.Sequence(ctx, ovs.DeletePrefix(idKey(keyEpoch, s.id))); err != nil {
		return err
	}
	for _, kind := range []byte{keyManifest, keyRepair, keyDiscard, keyCollected} {
		if err := deleteAll(ctx, g.reg, idKey(kind, s.id)); err != nil {
			return err
		}
	}
	for _, d := range p.disks {
		if err := clearFragments(ctx, d, s.id); err != nil {
			return err
		}
	}
	_, err = p.cfg.ABM.Sequence(ctx, ovs.DeletePrefix(p.abmID(keyDeleted, s.id)))
	return err
}

const clearPage = 500

// deleteAll deletes all keys under prefix, in pages.
func deleteAll(ctx context.Context, reg ovs.Registry, prefix []byte) error {
	for {
		page, err := reg.Range(ctx, ovs.RangeOptions{From: prefix, To: ovs.PrefixEnd(prefix), Limit: clearPage})
		if err != nil || len(page) == 0 {
			return err
		}
		updates := make([]ovs.Update, len(page))
		for i, pair := range page {
			updates[i] = ovs.DeletePrefix(pair.Key) // unlike Delete it does not mind a key that is gone
		}
		if _, err := reg.Sequence(ctx, updates...); err != nil {
			return err
		}
	}
}

// clearFragments deletes all fragments of a namespace on one disk.
func clearFragments(ctx context.Context, d *disk, ns uint64) error {
	for {
		keys, err := d.List(ctx, asd.Key{Namespace: ns}, asd.Key{Namespace: ns + 1}, clearPage)
		if err != nil || len(keys) == 0 {
			return err
		}
		if err := d.Delete(ctx, keys...); err != nil {
			return err
		}
	}
}

// suspects are objects of which a read found something wrong, until the maintenance queues their repair.
type suspects struct {
	mu     sync.Mutex // guards below
	list   map[suspectKey]*group
	warned time.Time
	silent int // reports since the last warning
}

type suspectKey struct {
	ns   uint64
	name string
}

const (
	maxSuspects  = 10_000 // beyond these, reads that meet the others report them again later
	warnInterval = time.Second
)

// suspect reports rows of an object that could not be read: at most one warning a second, the rest are counted in it.
func (p *Proxy) suspect(s space, name string, rows span, disk uint64, err error) {
	q := &p.suspects
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) < maxSuspects && int(s.group) < len(p.groups) {
		q.list[suspectKey{s.id, name}] = p.groups[s.group]
	}
	if now := time.Now(); now.Sub(q.warned) >= warnInterval {
		p.log.Warn("units are missing or wrong, others stand in for them", zap.String("namespace", s.name), zap.String("object", name),
			zap.Int("fragment", rows.fragment), zap.Uint64("row", rows.from), zap.Uint64("rows", rows.to-rows.from),
			zap.Uint64("asd", disk), zap.Int("more", q.silent), zap.Error(err))
		q.warned, q.silent = now, 0
		return
	}
	q.silent++
}

// queueSuspects puts what reads reported into the repair queues.
func (p *Proxy) queueSuspects(ctx context.Context) error {
	q := &p.suspects
	q.mu.Lock()
	list := q.list
	q.list = map[suspectKey]*group{}
	q.mu.Unlock()
	byGroup := map[*group][]ovs.Update{}
	for k, g := range list {
		byGroup[g] = append(byGroup[g], ovs.Set(objectKey(keyRepair, k.ns, k.name), []byte{repairSuspect}))
	}
	var errs []error
	for g, updates := range byGroup {
		for len(updates) > 0 {
			n := min(len(updates), clearPage)
			_, err := g.reg.Sequence(ctx, updates[:n]...)
			errs = append(errs, err)
			updates = updates[n:]
		}
	}
	return errors.Join(errs...)
}
