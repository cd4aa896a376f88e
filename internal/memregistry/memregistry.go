/*
Package memregistry is the twin in memory of one group of the replicated store: an ovs.Registry for the tests of those
who use one, and the model that the real one is compared with.

	Sequence ── sequence.Apply ──► changes ──► sorted map ──► followers, in order
	            (the state machine's own)        all under one lock

Optional faults, drawn from a seed: a Sequence ends in KindTimeout and was done, or was not; nobody is told which.
*/
package memregistry

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"

	"ovs"
	"ovs/internal/sequence"
)

// Registry is an ovs.Registry in memory. Its methods may run concurrently.
type Registry struct {
	mu        sync.RWMutex // guards all below; held while followers are called
	data      sorted
	index     uint64
	followers []*follower
	faults    *Faults
	rand      *rand.Rand
}

type follower struct {
	prefix []byte
	f      func(index uint64, key, value []byte)
}

// Faults are mishaps of Sequence, each with a probability from 0 to 1. The same seed and calls give the same mishaps.
type Faults struct {
	Seed     uint64
	LostCall float64 // KindTimeout, and it was not done
	LostDone float64 // KindTimeout, but it was done
	Busy     float64 // KindBusy: it was not done
}

var _ ovs.Registry = (*Registry)(nil)

// New gives an empty registry that never fails.
func New() *Registry { return &Registry{} }

// SetFaults begins to draw faults; the zero Faults ends it.
func (r *Registry) SetFaults(f Faults) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults, r.rand = &f, rand.New(rand.NewPCG(f.Seed, 0))
}

// Get gives the value of key; KindNotFound when it is absent.
func (r *Registry) Get(ctx context.Context, key []byte) ([]byte, error) {
	if err := ready(ctx, "memregistry.Get"); err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	v, found := r.data.get(key)
	if !found {
		return nil, ovs.E("memregistry.Get", ovs.KindNotFound, string(key), nil)
	}
	return clone(v), nil
}

// MultiGet gives the values of keys, nil for the absent, all of one moment.
func (r *Registry) MultiGet(ctx context.Context, keys [][]byte) ([][]byte, error) {
	if err := sequence.CheckKeys(keys); err != nil {
		return nil, err
	}
	if err := ready(ctx, "memregistry.MultiGet"); err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	values := make([][]byte, len(keys))
	var budget sequence.Budget
	for i, k := range keys {
		if v, found := r.data.get(k); found {
			if err := budget.Take(len(v)); err != nil {
				return nil, err
			}
			values[i] = clone(v)
		}
	}
	return values, nil
}

// Range gives the pairs that o chooses, in its order.
func (r *Registry) Range(ctx context.Context, o ovs.RangeOptions) ([]ovs.Pair, error) {
	if err := ready(ctx, "memregistry.Range"); err != nil {
		return nil, err
	}
	if err := sequence.CheckRange(o); err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	var pairs []ovs.Pair
	var budget sequence.Budget
	var err error
	take := func(k string, v []byte) bool {
		if err = budget.Take(len(k) + len(v)); err != nil {
			return false
		}
		pairs = append(pairs, ovs.Pair{Key: []byte(k), Value: clone(v)})
		return len(pairs) < o.Limit
	}
	if o.Reverse {
		r.data.descend(o.From, o.To, take)
	} else {
		r.data.ascend(o.From, o.To, take)
	}
	if err != nil {
		return nil, err
	}
	return pairs, nil
}

// Sequence applies all updates or none, and calls the followers before it returns.
func (r *Registry) Sequence(ctx context.Context, u ...ovs.Update) (uint64, error) {
	const op = "memregistry.Sequence"
	if err := sequence.Check(u); err != nil {
		return 0, err
	}
	if err := ready(ctx, op); err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	lost := false
	if r.faults != nil {
		switch x := r.rand.Float64(); {
		case x < r.faults.Busy:
			return 0, ovs.E(op, ovs.KindBusy, nil, nil)
		case x < r.faults.Busy+r.faults.LostCall:
			return 0, ovs.E(op, ovs.KindTimeout, nil, nil)
		case x < r.faults.Busy+r.faults.LostCall+r.faults.LostDone:
			lost = true
		}
	}
	result, err := r.apply(cloneUpdates(u))
	if err != nil {
		return 0, ovs.E(op, ovs.KindIO, nil, err)
	}
	if lost {
		return 0, ovs.E(op, ovs.KindTimeout, nil, nil)
	}
	return result.Index, result.Err(op)
}

func (r *Registry) apply(u []ovs.Update) (sequence.Result, error) {
	r.index++
	changes, result, err := sequence.Apply(&r.data, r.index, u)
	if err != nil {
		return result, err
	}
	for _, c := range changes {
		if c.Value == nil {
			r.data.remove(string(c.Key))
		} else {
			r.data.set(string(c.Key), c.Value)
		}
	}
	for _, c := range changes {
		for _, f := range r.followers {
			if bytes.HasPrefix(c.Key, f.prefix) {
				f.f(result.Index, c.Key, c.Value)
			}
		}
	}
	return result, nil
}

// Follow calls f for every change under prefix, while Sequence runs. When cancel has returned f is not called again.
func (r *Registry) Follow(prefix []byte, f func(index uint64, key, value []byte)) (cancel func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	me := &follower{bytes.Clone(prefix), f}
	r.followers = append(r.followers, me)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for i, other := range r.followers {
			if other == me {
				r.followers = append(r.followers[:i:i], r.followers[i+1:]...)
				return
			}
		}
	}
}

// Fork is a copy of what stands at this moment, without followers and faults.
func (r *Registry) Fork() *Registry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return &Registry{data: r.data.fork(), index: r.index}
}

// Len is the number of keys.
func (r *Registry) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.data.len()
}

func ready(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return ovs.E(op, ovs.KindTimeout, nil, err)
	}
	return nil
}

// clone never gives nil: a value that is there is not nil.
func clone(v []byte) []byte { return append([]byte{}, v...) }

func cloneUpdates(u []ovs.Update) []ovs.Update {
	c := make([]ovs.Update, len(u))
	for i := range u {
		c[i] = u[i]
		c[i].Key, c[i].Value = bytes.Clone(u[i].Key), bytes.Clone(u[i].Value)
	}
	return c
}
