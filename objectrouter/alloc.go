package objectrouter

import (
	"context"
	"sync"
	"sync/atomic"

	"ovs"
)

// idRange is how many inode numbers a node takes at a time. What it does not use before it stops never comes back.
const idRange = 1024

// allocator hands out inode numbers, each once in the life of the vPool.
type allocator struct {
	reg  ovs.Registry
	high atomic.Uint64 // the end of the newest range that this node took

	mu        sync.Mutex // guards next, end; held while a range is fetched
	next, end ovs.ObjectID
}

func (a *allocator) take(ctx context.Context) (ovs.ObjectID, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for try := 0; a.next == a.end; try++ {
		v, err := a.reg.Get(ctx, allocKey())
		if err != nil {
			return 0, err
		}
		first, err := decodeCounter(v)
		if err != nil {
			return 0, err
		}
		_, err = a.reg.Sequence(ctx, ovs.TestAndSet(allocKey(), v, encodeCounter(first+idRange)))
		switch {
		case err == nil:
			a.high.Store(first + idRange)
			a.next, a.end = ovs.ObjectID(first), ovs.ObjectID(first+idRange)
		case !undecided(err) || try == maxTries:
			return 0, ovs.E("objectrouter.allocate", ovs.KindUnknown, nil, err)
		}
	}
	a.next++
	return a.next - 1, nil
}
