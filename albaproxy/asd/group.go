package asd

import (
	"sync"
	"sync/atomic"
)

// group lets one call of sync serve all that wait for it (group commit): who comes while a call runs waits for the next,
// since the running one may have begun before his change.
type group struct {
	sync func() error

	removed atomic.Uint64 // counts names, each before it is removed
	durable atomic.Uint64 // removed, as it was when the last call that went well began

	mu      sync.Mutex // guards below
	running bool
	next    *round // the waiters for the call after the running one; nil: none
}

type round struct {
	lead chan struct{} // one token: whoever takes it makes the call
	done chan struct{} // closed when err stands
	err  error
}

// wait returns after a call of sync that began after wait did.
func (g *group) wait() error {
	g.mu.Lock()
	if g.next == nil {
		g.next = &round{lead: make(chan struct{}, 1), done: make(chan struct{})}
	}
	r := g.next
	if !g.running {
		g.running = true
		r.lead <- struct{}{}
	}
	g.mu.Unlock()

	select {
	case <-r.done:
		return r.err
	case <-r.lead:
	}
	g.mu.Lock()
	g.next = nil // who comes from here on waits for the next round
	g.mu.Unlock()
	removed := g.removed.Load()
	if r.err = g.sync(); r.err == nil {
		g.durable.Store(removed)
	}
	close(r.done)

	g.mu.Lock()
	if g.next != nil {
		g.next.lead <- struct{}{}
	} else {
		g.running = false
	}
	g.mu.Unlock()
	return r.err
}

// settle makes durable what was removed, as far as it may not be: after a sync that failed, say.
func (g *group) settle() error {
	if g.durable.Load() == g.removed.Load() {
		return nil
	}
	return g.wait()
}
