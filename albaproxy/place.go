package albaproxy

import (
	"context"
	"math"
	"math/rand/v2"
	"sort"

	"ovs"
)

// placement is where an object's fragments go: by the rank-th policy, fragment i to disks[i], nil where none is to be had.
type placement struct {
	Policy
	rank  int
	disks []*disk
}

// candidates are the disks that may be written to, in an order drawn at random, weighted by free space. why is the kind of
// error if they do not suffice.
func (p *Proxy) candidates(ctx context.Context, repair bool) (list []*disk, why ovs.Kind, err error) {
	seed, err := p.attemptID()
	if err != nil {
		return nil, 0, err
	}
	r := rand.New(rand.NewPCG(seed, 0))
	order := map[*disk]float64{}
	why = ovs.KindIO
	for _, d := range p.disks {
		free, reason, ok := d.free(ctx, repair)
		if !ok {
			if reason == ovs.KindNoSpace {
				why = reason
			}
			continue
		}
		// The smallest of exponential variates with these rates is each one with a probability in proportion to its rate.
		order[d] = r.ExpFloat64() / math.Max(float64(free), 1)
		list = append(list, d)
	}
	sort.Slice(list, func(i, j int) bool { return order[list[i]] < order[list[j]] })
	return list, why, nil
}

// choose places a new object by the first policy that can be met.
func (p *Proxy) choose(ctx context.Context) (placement, error) {
	list, why, err := p.candidates(ctx, false)
	if err != nil {
		return placement{}, err
	}
	for rank, policy := range p.cfg.Presets {
		found := spread(list, policy.K+policy.M, policy.X, nil)
		if len(found) < policy.C {
			continue
		}
		pl := placement{Policy: policy, rank: rank, disks: make([]*disk, policy.K+policy.M)}
		// Which fragments are left out, where disks are wanting, is by the last ones: parity.
		copy(pl.disks, found)
		return pl, nil
	}
	return placement{}, ovs.E("albaproxy.choose", why, nil, nil)
}

// spread takes up to n disks from the list, in order, at most x on one node; have counts what its nodes hold already.
func spread(list []*disk, n, x int, have map[ovs.NodeID]int) []*disk {
	on := map[ovs.NodeID]int{}
	for node, count := range have {
		on[node] = count
	}
	var found []*disk
	for _, d := range list {
		if len(found) < n && on[d.node] < x {
			on[d.node]++
			found = append(found, d)
		}
	}
	return found
}

// Usage tells the space in bytes of user data under the first preset that the number of ASDs can meet. ASDs on one device
// share its space: it counts once.
func (p *Proxy) Usage(ctx context.Context) (ovs.Usage, error) {
	const op = "albaproxy.Usage"
	if err := p.begin(ctx, op); err != nil {
		return ovs.Usage{}, err
	}
	defer p.running.Done()
	type device struct {
		total, free uint64
		asds        int
	}
	devices := map[string]*device{}
	for _, d := range p.disks {
		u, err := d.Usage(ctx)
		if err != nil {
			continue // a disk that does not answer has no room
		}
		if devices[u.Device] == nil {
			devices[u.Device] = &device{total: u.Total, free: u.Free}
		}
		devices[u.Device].asds++
	}
	var total, free []uint64
	for _, v := range devices {
		for range v.asds {
			total = append(total, v.total/uint64(v.asds))
			free = append(free, v.free/uint64(v.asds))
		}
	}
	for _, policy := range p.cfg.Presets {
		if n := policy.K + policy.M; len(total) >= n {
			return ovs.Usage{Total: capacity(total, policy.K, n), Free: capacity(free, policy.K, n)}, nil
		}
	}
	return ovs.Usage{}, nil
}

// capacity is the user bytes for which n fragments of each object, on n different disks, find room; k of them are data.
// It is k times the largest s for which the disks hold n*s bytes if none takes more than s.
func capacity(room []uint64, k, n int) uint64 {
	sort.Slice(room, func(i, j int) bool { return room[i] > room[j] })
	sum := uint64(0)
	for _, r := range room {
		sum += r
	}
	for i := 0; i < n; i++ {
		s := sum / uint64(n-i) // the i largest disks hold s each, the others all they can
		if i >= len(room) || room[i] <= s {
			return uint64(k) * s
		}
		sum -= room[i]
	}
	return 0
}
