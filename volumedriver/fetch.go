package volumedriver

import (
	"context"
	"fmt"
	"sync"

	"ovs"
	"ovs/internal/pagecache"
	"ovs/internal/unit"
)

// fetchMost is how many clusters one Get brings at most: 1 MiB.
const fetchMost = 256

// key is the whole name of a cluster in the page cache; false for an SCO that the lineage does not know.
func (v *volume) key(l Location) (pagecache.Key, bool) {
	k := pagecache.Key{Pool: uint64(v.claim.Pool), Object: uint64(v.claim.Object), Place: uint64(l)}
	if l.slot() != 0 {
		a := v.layers[l.slot()]
		if a == nil || l.number() >= uint64(len(a.chunks)) {
			return k, false
		}
		// the file's own pages have other keys: there Place is a small number, here the slot stands in its highest byte
		k.Epoch = uint64(a.chunks[l.number()].Epoch)
		return k, true
	}
	e, ok := v.epochOf(ovs.SCONo(l.number()))
	k.Epoch = uint64(e)
	return k, ok
}

// epochOf is the epoch of an SCO of this volume.
func (v *volume) epochOf(n ovs.SCONo) (ovs.Epoch, bool) {
	if n == 0 {
		return 0, false
	}
	if e, ok := v.lineage.epochOf(n); ok {
		return e, true
	}
	return v.claim.Epoch, true
}

// fetch reads a span of data, verifies every cluster, keeps it in the cache and gives it to f. What does not carry its
// proof is an error, never data.
func (v *volume) fetch(ctx context.Context, s span, f func(cluster uint64, data []byte)) error {
	const op = "volumedriver.fetch"
	if s.n == 0 {
		return nil
	}
	ns, name := v.ns, ""
	var from *unit.Chunk
	if a := v.layers[s.loc.slot()]; s.loc.slot() != 0 {
		ns, name, from = a.Namespace, a.Names[s.loc.number()], &a.chunks[s.loc.number()]
	} else {
		e, _ := v.epochOf(ovs.SCONo(s.loc.number()))
		name = scoName(ovs.SCONo(s.loc.number()), e)
	}
	buf := v.d.units.get(int(s.n))
	defer v.d.units.put(buf)
	b := (*buf)[:s.n*unit.Size]
	once, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	got, err := v.d.cfg.Backend.Get(once, ns, name, s.loc.unit()*unit.Size, b)
	if err != nil {
		return ovs.E(op, ovs.KindUnknown, ns+"/"+name, err)
	}
	for i := range s.n {
		u, cluster := b[i*unit.Size:(i+1)*unit.Size], s.cluster+i
		proof := scoUnit(v.claim.Ref, cluster, ovs.SCONo(s.loc.number()))
		if from != nil {
			proof = from.Of(cluster)
		}
		switch {
		case from != nil && int(i)*unit.Size >= got: // a chunk leaves out the zeros at its end
			clear(u)
		case int(i+1)*unit.Size > got, !unit.Check(u, proof, cluster):
			return ovs.E(op, ovs.KindCorrupt, ns+"/"+name, fmt.Errorf("unit %d does not carry the proof of cluster %d", s.loc.unit()+i, cluster))
		}
		key, _ := v.key(s.loc.Advance(i))
		v.d.cfg.Cache.Put(key, u[:ovs.ClusterSize])
		f(cluster, u[:ovs.ClusterSize])
	}
	return nil
}

// units is the driver's stock of buffers for clusters with their proofs.
type units struct{ small, large sync.Pool }

func (p *units) get(n int) *[]byte {
	pool, size := &p.large, fetchMost
	if n <= 4 {
		pool, size = &p.small, 4
	}
	if b, ok := pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, size*unit.Size)
	return &b
}

func (p *units) put(b *[]byte) {
	if len(*b) == 4*unit.Size {
		p.small.Put(b)
	} else {
		p.large.Put(b)
	}
}

// readAhead follows one sequential stream of a volume and brings the next megabyte into the cache before it is asked for.
type readAhead struct {
	mu   sync.Mutex // guards all below
	next uint64     // the cluster at which the stream goes on
	hits int        // reads in a row that went on where the last one ended
	upTo uint64     // brought in up to here
	busy bool
}

const aheadAfter = 3

// saw notes a read of what is below the log, and starts the next fetch where it pays.
func (a *readAhead) saw(v *volume, first, n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if first != a.next && (first < a.next || first > a.upTo) {
		a.hits, a.upTo = 0, 0
	}
	a.hits++
	a.next = first + n
	if a.hits < aheadAfter || a.busy || v.d.cfg.Cache == nil || a.upTo > a.next+fetchMost/2 || !v.reads.Spare() {
		return
	}
	from := max(a.upTo, a.next)
	a.upTo = from + fetchMost
	a.busy = v.reads.Submit(&prefetch{v, from})
}

// prefetch brings fetchMost clusters into the cache; errors are left to who really reads.
type prefetch struct {
	v    *volume
	from uint64
}

// Run implements tail.Runner.
func (p *prefetch) Run() {
	v := p.v
	defer func() {
		v.ahead.mu.Lock()
		v.ahead.busy = false
		v.ahead.mu.Unlock()
	}()
	if p.from >= maxClusters {
		return
	}
	_ = v.visit(v.ctx, p.from, min(fetchMost, maxClusters-p.from), func(s span) error {
		for i := uint64(0); s.loc != hole && i < s.n; i++ {
			if k, ok := v.key(s.loc.Advance(i)); !ok || v.d.cfg.Cache.Has(k) {
				continue
			}
			return v.fetch(v.ctx, span{s.cluster + i, min(s.n-i, fetchMost), s.loc.Advance(i)}, func(uint64, []byte) {})
		}
		return nil
	})
}
