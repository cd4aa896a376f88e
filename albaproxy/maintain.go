package albaproxy

import (
	"context"
	"errors"
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
	for {
		err := p.clear(p.ctx)
		select {
		case <-p.ctx.Done():
			return
		case <-p.kick:
		case <-repair.C:
			err = errors.Join(err, p.clearLeft(p.ctx), p.repairQueues(p.ctx, true))
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
	return errors.Join(p.clear(ctx), p.clearLeft(ctx), p.repairQueues(ctx, false))
}

// clear works off what was deleted.
func (p *Proxy) clear(ctx context.Context) error {
	errs := []error{p.clearSpaces(ctx)}
	for _, g := range p.groups {
		errs = append(errs, p.discardQueue(ctx, g))
	}
	return errors.Join(errs...)
}

// clearLeft works off what ASDs missed while they were away, or could not do.
func (p *Proxy) clearLeft(ctx context.Context) error {
	var errs []error
	for _, g := range p.groups {
		errs = append(errs, p.discardLeft(ctx, g))
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
	errs := []error{err}
	for _, s := range deleted {
		errs = append(errs, p.clearSpace(ctx, s)) // one that a disk holds up does not hold up the others
	}
	return errors.Join(errs...)
}

// clearSpace closes the namespace to every PUT still under way, then deletes its records and its fragments. What a cut-off
// PUT leaves after that is the collector's: it knows no such namespace.
func (p *Proxy) clearSpace(ctx context.Context, s space) error {
	g, err := p.group(s)
	if err != nil {
		return err
	}
	if err := clearRecords(ctx, g, s.id); err != nil {
		return err
	}
	var errs []error
	for _, d := range p.disks {
		errs = append(errs, clearFragments(ctx, d, s.id))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err = p.cfg.ABM.Sequence(ctx, ovs.DeletePrefix(p.abmID(keyDeleted, s.id)))
	return err
}

// clearRecords deletes a namespace's records in its group, the GC epoch first: no PUT succeeds after that.
func clearRecords(ctx context.Context, g *group, ns uint64) error {
	for _, kind := range []byte{keyEpoch, keyManifest, keyRepair, keyDiscard, keyCollected} {
		if err := deleteAll(ctx, g.reg, idKey(kind, ns)); err != nil {
			return err
		}
	}
	return nil
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
