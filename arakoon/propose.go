package arakoon

import (
	"context"
	"errors"
	"time"

	"github.com/lni/dragonboat/v4"

	"ovs"
	"ovs/internal/sequence"
)

const (
	tryTimeout = time.Second            // of one proposal; a lost leader eats it silently
	minBackOff = 10 * time.Millisecond  // after a proposal that was not taken
	maxBackOff = 100 * time.Millisecond // it doubles up to this
)

// outcome is what became of one try.
type outcome struct {
	answer []byte
	done   bool  // answer holds
	taken  bool  // Raft has it: it may be applied even if done is false
	err    error // nothing can come of further tries
}

// propose hands the same command to Raft until it is applied, ctx ends or the node closes.
func (g *Group) propose(ctx context.Context, command []byte) (sequence.Result, error) {
	const op = "arakoon.Sequence"
	answer, err := g.repeat(ctx, op, func(ctx context.Context) outcome { return g.try(ctx, command) })
	if err != nil {
		return sequence.Result{}, err
	}
	return sequence.DecodeResult(answer)
}

// barrier returns once the local store holds all that was committed before the call.
func (g *Group) barrier(ctx context.Context) error {
	_, err := g.repeat(ctx, "arakoon.read", g.index)
	return err
}

// repeat tries until something comes of it, ctx ends or the node closes.
func (g *Group) repeat(ctx context.Context, op string, try func(ctx context.Context) outcome) ([]byte, error) {
	taken, wait := false, minBackOff
	for {
		o := try(ctx)
		if o.done {
			return o.answer, nil
		}
		if taken = taken || o.taken; o.err != nil {
			return nil, g.failure(op, taken, o.err)
		}
		if o.taken {
			continue // it took its time already
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-g.node.ctx.Done():
		}
		timer.Stop()
		wait = min(2*wait, maxBackOff)
	}
}

// proposeOnce hands a command to Raft and waits for it at most tryTimeout.
func (g *Group) proposeOnce(ctx context.Context, command []byte) outcome {
	return g.once(ctx, func() (*dragonboat.RequestState, error) {
		return g.node.host.Propose(g.session, command, tryTimeout)
	})
}

// indexOnce asks Raft for a read index and waits at most tryTimeout until it is applied here. A read has no effect to be
// in doubt of. (SyncRead would do the same, but refuses a deadline that is nearer than a tick.)
func (g *Group) indexOnce(ctx context.Context) outcome {
	o := g.once(ctx, func() (*dragonboat.RequestState, error) {
		return g.node.host.ReadIndex(g.place.Shard, tryTimeout)
	})
	o.taken = false
	return o
}

// once makes one request of Dragonboat's.
func (g *Group) once(ctx context.Context, ask func() (*dragonboat.RequestState, error)) outcome {
	if err := ctx.Err(); err != nil {
		return outcome{err: err}
	}
	if g.node.ctx.Err() != nil {
		return outcome{err: dragonboat.ErrClosed}
	}
	rs, err := ask()
	if err != nil {
		if passes(err) {
			err = nil
		}
		return outcome{err: err}
	}
	select {
	case <-ctx.Done():
		return outcome{taken: true, err: ctx.Err()}
	case <-g.node.ctx.Done():
		return outcome{taken: true, err: dragonboat.ErrClosed}
	case r := <-rs.AppliedC():
		defer rs.Release()
		switch {
		case r.Completed():
			return outcome{answer: r.GetResult().Data, done: true}
		case r.Terminated():
			return outcome{taken: true, err: dragonboat.ErrShardClosed}
		case r.Dropped():
			return outcome{}
		}
		return outcome{taken: true} // timed out or aborted
	}
}

// passes tells whether Dragonboat's error goes away by itself.
func passes(err error) bool {
	return errors.Is(err, dragonboat.ErrShardNotReady) || errors.Is(err, dragonboat.ErrSystemBusy) ||
		errors.Is(err, dragonboat.ErrTimeout) || errors.Is(err, dragonboat.ErrShardNotInitialized)
}

// failure is the error of a call that gave up.
func (g *Group) failure(op string, taken bool, err error) error {
	kind := ovs.KindIO
	switch {
	case taken || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		kind = ovs.KindTimeout
	case errors.Is(err, dragonboat.ErrClosed), errors.Is(err, dragonboat.ErrShardClosed),
		errors.Is(err, dragonboat.ErrShardNotFound):
		kind = ovs.KindClosed
	}
	return ovs.E(op, kind, g.name, err)
}
