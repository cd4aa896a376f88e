package nfsd

import (
	"sync"
	"sync/atomic"
)

// budget is a bound on requests or bytes. Taking within the bound is one atomic step; past it the taker waits until
// others gave back.
type budget struct {
	limit   int64
	used    atomic.Int64
	waiting atomic.Int32 // who may sleep in cond

	mu   sync.Mutex // of cond
	cond *sync.Cond
}

func newBudget(limit int64) *budget {
	b := &budget{limit: limit}
	b.cond = sync.NewCond(&b.mu)
	return b
}

// try takes n if it is there. A single taker may always have something, however large, when nothing is out.
func (b *budget) try(n int64) bool {
	if u := b.used.Add(n); u <= b.limit || u == n {
		return true
	}
	b.give(n)
	return false
}

// take waits until n is there. What is out comes back without the taker's doing: calls end by their deadlines, replies are
// written or their connections closed.
func (b *budget) take(n int64) {
	if b.try(n) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	for {
		// A giver that came before this try is seen by it; one that comes later sees waiting and needs mu to wake us.
		if u := b.used.Add(n); u <= b.limit || u == n {
			return
		}
		if b.used.Add(-n) == 0 {
			continue // the last giver may have looked between the two steps
		}
		b.cond.Wait()
	}
}

// give returns n.
func (b *budget) give(n int64) {
	b.used.Add(-n)
	if b.waiting.Load() > 0 {
		b.mu.Lock()
		b.cond.Broadcast()
		b.mu.Unlock()
	}
}

// idle waits until everything was given back.
func (b *budget) idle() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	for b.used.Load() != 0 {
		b.cond.Wait()
	}
}
