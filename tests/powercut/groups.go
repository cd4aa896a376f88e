package powercut

import (
	"context"
	"sync"

	"ovs"
	"ovs/internal/memregistry"
)

// gate is what one life sees of the twins. Once its power is gone it changes nothing: a sequence comes before the cut as a
// whole, or not at all.
type gate struct {
	twins  *memregistry.Groups
	points *points
	power  <-chan struct{} // closed when the power goes

	mu   sync.RWMutex // held for reading in a sequence, for writing while a picture is taken
	shut bool
}

// Group implements storagerouter.Groups.
func (g *gate) Group(_ context.Context, name string) (ovs.Registry, error) {
	return &gated{g, name, g.twins.Get(name)}, nil
}

// close waits for the sequences under way; later ones fail.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
}

func (g *gate) dead(op string) error {
	select {
	case <-g.power:
		return ovs.E(op, ovs.KindClosed, nil, nil)
	default:
	}
	if g.shut {
		return ovs.E(op, ovs.KindClosed, nil, nil)
	}
	return nil
}

type gated struct {
	g    *gate
	name string
	r    *memregistry.Registry
}

var _ ovs.Registry = (*gated)(nil)

// Get implements ovs.Registry.
func (x *gated) Get(ctx context.Context, key []byte) ([]byte, error) {
	x.g.mu.RLock()
	defer x.g.mu.RUnlock()
	if err := x.g.dead("powercut.Get"); err != nil {
		return nil, err
	}
	return x.r.Get(ctx, key)
}

// MultiGet implements ovs.Registry.
func (x *gated) MultiGet(ctx context.Context, keys [][]byte) ([][]byte, error) {
	x.g.mu.RLock()
	defer x.g.mu.RUnlock()
	if err := x.g.dead("powercut.MultiGet"); err != nil {
		return nil, err
	}
	return x.r.MultiGet(ctx, keys)
}

// Range implements ovs.Registry.
func (x *gated) Range(ctx context.Context, o ovs.RangeOptions) ([]ovs.Pair, error) {
	x.g.mu.RLock()
	defer x.g.mu.RUnlock()
	if err := x.g.dead("powercut.Range"); err != nil {
		return nil, err
	}
	return x.r.Range(ctx, o)
}

// Sequence implements ovs.Registry: the moments before and after it are points.
func (x *gated) Sequence(ctx context.Context, u ...ovs.Update) (uint64, error) {
	what := sequenceOf(x.name, u)
	x.g.points.at("before " + what)
	index, err := x.sequence(ctx, u)
	if err == nil {
		x.g.points.at("after " + what)
	}
	return index, err
}

func (x *gated) sequence(ctx context.Context, u []ovs.Update) (uint64, error) {
	x.g.mu.RLock()
	defer x.g.mu.RUnlock()
	if err := x.g.dead("powercut.Sequence"); err != nil {
		return 0, err
	}
	return x.r.Sequence(ctx, u...)
}

// Follow implements ovs.Registry.
func (x *gated) Follow(prefix []byte, f func(index uint64, key, value []byte)) (cancel func()) {
	return x.r.Follow(prefix, f)
}
