package albaproxy

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"ovs"
)

const (
	repairPage = 256         // objects that one pass looks at, in each group
	repairRest = time.Second // longest pause after an object, while paced
)

// repairQueues looks at the queued objects of each group. Paced, it looks at a page of them, from where the last pass
// ended, and rests after each object for as long as that took; else at all of them.
func (p *Proxy) repairQueues(ctx context.Context, paced bool) error {
	p.repairing.Lock()
	defer p.repairing.Unlock()
	errs := []error{p.queueSuspects(ctx)}
	spaces, err := p.spacesByID(ctx)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, g := range p.groups {
		o := ovs.RangeOptions{From: []byte{keyRepair}, To: []byte{keyRepair + 1}, Limit: repairPage}
		if paced && g.repaired != nil {
			o.From = g.repaired
		}
		for {
			page, err := g.reg.Range(ctx, o)
			if err != nil {
				errs = append(errs, err)
				break
			}
			errs = append(errs, p.repairPage(ctx, g, spaces, page, paced))
			g.repaired = nil
			if len(page) < repairPage || ctx.Err() != nil {
				break
			}
			o.From = append(page[len(page)-1].Key, 0)
			if paced {
				g.repaired = o.From
				break
			}
		}
	}
	return errors.Join(errs...)
}

func (p *Proxy) repairPage(ctx context.Context, g *group, spaces map[uint64]space, page []ovs.Pair, paced bool) error {
	var errs []error
	for _, pair := range page {
		ns, name, _ := parseObjectKey(pair.Key)
		s, ok := spaces[ns]
		if !ok || len(pair.Value) != 1 {
			continue // the namespace goes, and its queue with it
		}
		begin := time.Now()
		if err := p.repairOne(ctx, g, s, name, pair); err != nil {
			errs = append(errs, ovs.E("albaproxy.repair", ovs.KindUnknown, s.name+"/"+name, err))
		}
		if paced && pause(ctx, min(time.Since(begin), repairRest)) != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// spacesByID are all namespaces, those being deleted left out.
func (p *Proxy) spacesByID(ctx context.Context) (map[uint64]space, error) {
	all := map[uint64]space{}
	err := ovs.Scan(ctx, p.cfg.ABM, p.abmKey(keyNamespace), func(pair ovs.Pair) error {
		s, err := decodeSpace(pair.Value)
		all[s.id] = s
		return err
	})
	return all, err
}

// suspects are objects of which a read found something wrong, until the maintenance queues their repair.
type suspects struct {
	mu     sync.Mutex          // guards below
	list   map[suspectKey]byte // why it is to be queued
	warned time.Time
	silent int // reports since the last warning
}

type suspectKey struct {
	space space
	name  string
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
	why := byte(repairSuspect)
	if p.byID[disk] == nil { // known to be gone: the object need not be read to find out
		why = repairIncomplete
	}
	if k := (suspectKey{s, name}); len(q.list) < maxSuspects {
		q.list[k] = max(q.list[k], why)
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

// queueSuspects puts what reads reported into the repair queues. What cannot be queued is reported by later reads.
func (p *Proxy) queueSuspects(ctx context.Context) error {
	q := &p.suspects
	q.mu.Lock()
	list := q.list
	q.list = map[suspectKey]byte{}
	q.mu.Unlock()
	bySpace := map[space][]ovs.Pair{}
	for k, why := range list {
		bySpace[k.space] = append(bySpace[k.space], ovs.Pair{Key: objectKey(keyRepair, k.space.id, k.name), Value: []byte{why}})
	}
	var errs []error
	for s, entries := range bySpace {
		g, err := p.group(s)
		for len(entries) > 0 && err == nil {
			n := min(len(entries), clearPage)
			err = queueSome(ctx, g.reg, s, entries[:n])
			entries = entries[n:]
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// queueSome queues some objects of a namespace, those left out that are in the queue for the same reason or a better one.
func queueSome(ctx context.Context, reg ovs.Registry, s space, entries []ovs.Pair) error {
	keys := make([][]byte, len(entries))
	for i, e := range entries {
		keys[i] = e.Key
	}
	there, err := reg.MultiGet(ctx, keys)
	if err != nil {
		return err
	}
	updates := []ovs.Update{ovs.AssertExists([]byte(s.epoch))} // no queue of a namespace that went
	for i, e := range entries {
		if bytes.Compare(there[i], e.Value) < 0 {
			updates = append(updates, ovs.Set(e.Key, e.Value))
		}
	}
	if len(updates) == 1 {
		return nil
	}
	_, err = reg.Sequence(ctx, updates...)
	return ignoreConflict(err)
}
