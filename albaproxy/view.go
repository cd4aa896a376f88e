package albaproxy

import (
	"bytes"
	"context"
	"sync"

	"github.com/maypok86/otter/v2"

	"ovs"
)

/*
view is a coherent cache of one kind of record of a group. Changes come in the group's apply path (Registry.Follow), so
an entry is never older than any change that a finished Sequence made.

	change of a key ──► the entry is replaced, and a load of that key that is under way is marked stale
	load of a key   ──► kept only if no change of the key came in between
*/
type view[V any] struct {
	reg    ovs.Registry
	prefix []byte
	decode func([]byte) (V, error)
	cache  *otter.Cache[string, V]
	close  func()

	mu    sync.Mutex // guards loads, and orders changes and kept loads of the cache
	loads map[string]*load[V]
}

type load[V any] struct {
	done  chan struct{}
	stale bool // guarded by view.mu
	value V
	err   error
}

func newView[V any](reg ovs.Registry, prefix []byte, weight uint64, decode func([]byte) (V, error), weigh func(V) uint32) *view[V] {
	v := &view[V]{reg: reg, prefix: prefix, decode: decode, loads: map[string]*load[V]{}}
	v.cache = otter.Must(&otter.Options[string, V]{
		MaximumWeight: weight,
		Weigher:       func(_ string, value V) uint32 { return weigh(value) },
	})
	v.close = reg.Follow(prefix, v.changed)
	return v
}

func (v *view[V]) changed(_ uint64, key, value []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if key == nil {
		v.cache.InvalidateAll()
		for _, l := range v.loads {
			l.stale = true
		}
		return
	}
	k := string(key)
	if l := v.loads[k]; l != nil {
		l.stale = true
	}
	if value != nil {
		if decoded, err := v.decode(bytes.Clone(value)); err == nil {
			v.cache.Set(k, decoded)
			return
		}
	}
	v.cache.Invalidate(k)
}

// peek gives a record if it is cached.
func (v *view[V]) peek(key string) (V, bool) { return v.cache.GetIfPresent(key) }

// get gives a record as it stands at some time during the call. KindNotFound: it is absent.
func (v *view[V]) get(ctx context.Context, k string) (V, error) {
	for {
		if value, ok := v.cache.GetIfPresent(k); ok {
			return value, nil
		}
		v.mu.Lock()
		l, joined := v.loads[k]
		if !joined {
			l = &load[V]{done: make(chan struct{})}
			v.loads[k] = l
		}
		v.mu.Unlock()
		if !joined {
			v.load(ctx, k, l)
			return l.value, l.err
		}
		select {
		case <-l.done:
		case <-ctx.Done():
			var none V
			return none, ovs.E("albaproxy.view", ovs.KindTimeout, nil, ctx.Err())
		}
		v.mu.Lock()
		stale := l.stale
		v.mu.Unlock()
		if !stale && l.err == nil {
			return l.value, nil
		}
		if !stale && ovs.Is(l.err, ovs.KindNotFound) {
			return l.value, l.err
		}
	}
}

// load reads the record for all that wait.
func (v *view[V]) load(ctx context.Context, key string, l *load[V]) {
	l.value, l.err = v.fresh(ctx, key)
	v.mu.Lock()
	delete(v.loads, key)
	if l.err == nil && !l.stale {
		v.cache.Set(key, l.value)
	}
	v.mu.Unlock()
	close(l.done)
}

// fresh reads the record from the group, past the cache.
func (v *view[V]) fresh(ctx context.Context, key string) (V, error) {
	var none V
	b, err := v.reg.Get(ctx, []byte(key))
	if err != nil {
		return none, err
	}
	return v.decode(b)
}
