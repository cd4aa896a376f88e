package albaproxy

import (
	"context"
	"sync"
)

// attempts are the GC epochs that attempts under way in this process carry. The collector's marks stay below them, so that
// whatever an attempt leaves, however late, is judged once more after it ended.
type attempts struct {
	mu   sync.Mutex // guards held
	held map[heldEpoch]int
}

type heldEpoch struct{ ns, epoch uint64 }

// begin gives the namespace's GC epoch and holds it. KindNotFound: the namespace goes.
func (a *attempts) begin(ctx context.Context, g *group, s space) (uint64, error) {
	epoch, err := g.epochs.get(ctx, s.epoch)
	for err == nil {
		a.add(s.id, epoch, 1)
		// A collector that did not see the hold had raised the epoch before it looked: then it shows here.
		var now uint64
		if now, err = g.epochs.get(ctx, s.epoch); now == epoch && err == nil {
			return epoch, nil
		}
		a.add(s.id, epoch, -1)
		epoch = now
	}
	return 0, err
}

// end lets go of a held epoch.
func (a *attempts) end(ns, epoch uint64) { a.add(ns, epoch, -1) }

func (a *attempts) add(ns, epoch uint64, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := heldEpoch{ns, epoch}
	if a.held[k] += n; a.held[k] == 0 {
		delete(a.held, k)
	}
}

// lowest is the oldest epoch held of a namespace, or none.
func (a *attempts) lowest(ns, none uint64) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k := range a.held {
		if k.ns == ns {
			none = min(none, k.epoch)
		}
	}
	return none
}
