package membackend

import (
	"context"
	"math/rand/v2"
	"time"

	"ovs"
)

// SetFaults begins to draw faults; the zero Faults ends it.
func (b *Backend) SetFaults(f Faults) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults, b.rand = f, rand.New(rand.NewPCG(f.Seed, 1))
}

// SetHook has f called before and after each call, outside the lock; nil ends it. An error before fails the call undone;
// one after it fails the call though it was done. f may block, or call the Backend.
func (b *Backend) SetHook(f func(c Call) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hook = f
}

// SetTotal makes the backend that large, in bytes: Put answers KindNoSpace beyond. 0 is 1 TiB.
func (b *Backend) SetTotal(total uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total = total
}

// Corrupt makes Get of an object answer KindCorrupt from now on. It tells whether there is one.
func (b *Backend) Corrupt(ns, name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.spaces[ns][name]
	if o != nil {
		o.corrupt = true
	}
	return o != nil
}

// Count is how often a method was called, faults included.
func (b *Backend) Count(op string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[op]
}

// draw is true with probability p. mu is held.
func (b *Backend) draw(p float64) bool { return p > 0 && b.rand.Float64() < p }

// call runs do under the lock, with the faults and hooks of method op around it.
func (b *Backend) call(ctx context.Context, op, ns, name string, do func() error) error {
	b.mu.Lock()
	b.counts[op]++
	hook, fate := b.hook, b.fate(op)
	var wait time.Duration
	if b.faults.Latency > 0 {
		wait = time.Duration(b.rand.Int64N(int64(b.faults.Latency)) + 1)
	}
	b.mu.Unlock()

	if err := pause(ctx, wait); err != nil {
		return ovs.E("membackend."+op, ovs.KindTimeout, name, err)
	}
	if hook != nil {
		if err := hook(Call{Ctx: ctx, Op: op, NS: ns, Name: name}); err != nil {
			return err
		}
	}
	if fate.kind != ovs.KindUnknown && !fate.done {
		return ovs.E("membackend."+op, fate.kind, name, nil)
	}
	b.mu.Lock()
	err := do()
	b.mu.Unlock()
	if err == nil && hook != nil {
		err = hook(Call{Ctx: ctx, Op: op, NS: ns, Name: name, After: true})
	}
	if err == nil && fate.kind != ovs.KindUnknown {
		err = ovs.E("membackend."+op, fate.kind, name, nil)
	}
	return err
}

// fate is what becomes of a call: an error of that kind, after it was done or without; KindUnknown: none.
type fate struct {
	kind ovs.Kind
	done bool
}

// fate draws one. mu is held.
func (b *Backend) fate(op string) fate {
	switch {
	case op == "Put" && b.draw(b.faults.PutLost):
		return fate{ovs.KindTimeout, false}
	case op == "Put" && b.draw(b.faults.PutDone):
		return fate{ovs.KindTimeout, true}
	case op == "Get" && b.draw(b.faults.GetFails):
		return fate{ovs.KindIO, false}
	case op != "Put" && op != "Get" && op != "Usage" && b.draw(b.faults.OtherFails):
		return fate{ovs.KindTimeout, b.draw(0.5)}
	}
	return fate{}
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
