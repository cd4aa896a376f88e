package drivertest

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"

	"ovs"
)

// Limbo keeps PUTs and sequences whose outcome their caller does not know, and lets them happen later: after a retry,
// or after a take-over. None may do any harm then.
type Limbo struct {
	mu   sync.Mutex
	late []func() // in no order
}

func (l *Limbo) keep(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = append(l.late, f)
}

// Land lets some of them happen.
func (l *Limbo) Land(g *rand.Rand) {
	l.mu.Lock()
	late := l.late
	l.late = nil
	l.mu.Unlock()
	for _, f := range late {
		if g.IntN(2) == 0 {
			f()
		} else {
			l.keep(f)
		}
	}
}

// Backend is b with its lost PUTs in limbo.
func (l *Limbo) Backend(b ovs.Backend) ovs.Backend { return limboBackend{b, l} }

// Registry is r with its lost sequences in limbo.
func (l *Limbo) Registry(r ovs.Registry) ovs.Registry { return limboRegistry{r, l} }

type limboBackend struct {
	ovs.Backend
	limbo *Limbo
}

func (b limboBackend) Put(ctx context.Context, ns, name string, data []byte, o ovs.PutOptions) (bool, error) {
	full, err := b.Backend.Put(ctx, ns, name, data, o)
	if ovs.Is(err, ovs.KindTimeout) {
		again := bytes.Clone(data)
		b.limbo.keep(func() { b.Backend.Put(context.Background(), ns, name, again, o) })
	}
	return full, err
}

type limboRegistry struct {
	ovs.Registry
	limbo *Limbo
}

func (r limboRegistry) Sequence(ctx context.Context, u ...ovs.Update) (uint64, error) {
	i, err := r.Registry.Sequence(ctx, u...)
	if ovs.Is(err, ovs.KindTimeout) {
		r.limbo.keep(func() { r.Registry.Sequence(context.Background(), u...) })
	}
	return i, err
}
