package albaproxy

import (
	"context"
	"time"

	"ovs"
)

// Health is what an operator should know of a backend.
type Health struct {
	InUse   int       // ASDs in use
	Pausing int       // of these: ASDs that take no fragments for a while, because a Put failed or hangs, or they are full
	Devices int       // devices under the ASDs in use: with fewer than the fragments of an object, parity mends damage, not a dead disk
	LeftOut []LeftOut // ASDs that are not in use: their fragments count as lost
	Rank    int       // the preset's policy that a Put would use now, from 0; -1: none can be met
	Queued  int       // objects in the repair queues, counted up to 10,000
}

// LeftOut is an ASD that is not in use, and why.
type LeftOut struct {
	ID     uint64
	Reason string
}

const countQueued = 10_000

// Health looks at disks and queues. It changes nothing.
func (p *Proxy) Health(ctx context.Context) (Health, error) {
	const op = "albaproxy.Health"
	if err := p.begin(ctx, op); err != nil {
		return Health{}, err
	}
	defer p.running.Done()
	h := Health{InUse: len(p.disks), LeftOut: p.leftOut, Rank: -1}
	devices := map[string]bool{}
	for _, d := range p.disks {
		if u, err := d.Usage(ctx); err == nil {
			devices[u.Device] = true
		}
		d.mu.Lock()
		if d.late > 0 || d.behind.Load() > 0 || time.Now().Before(d.until) {
			h.Pausing++
		}
		d.mu.Unlock()
	}
	h.Devices = len(devices)
	if pl, err := p.choose(ctx); err == nil {
		h.Rank = pl.rank
	}
	for _, g := range p.groups {
		page, err := g.reg.Range(ctx, ovs.RangeOptions{From: []byte{keyRepair}, To: []byte{keyRepair + 1}, Limit: countQueued})
		if err != nil {
			return h, ovs.E(op, ovs.KindUnknown, nil, err)
		}
		h.Queued += len(page)
	}
	return h, nil
}
