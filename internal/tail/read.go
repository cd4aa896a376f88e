package tail

import (
	"context"

	"ovs"
	"ovs/internal/planted"
)

// piece is a part of a read that comes from one place.
type piece struct {
	at, n uint64 // in the destination
	from  source
	pos   ovs.LogPos
}

type source uint8

const (
	fromLog source = iota
	fromZeros
	fromBelow
)

// verdict is what a look-up found out.
type verdict uint8

const (
	ready   verdict = iota
	flying          // the range meets a stable record that is not durable yet
	lost            // the range meets a record that never will be durable
	refused         // the object takes no operations
	crowded         // more pieces than there was room for
)

// tryPieces bounds the pieces of a read that TryRead answers.
const tryPieces = 16

// look finds where the bytes of r come from, into ps. Where they meet a stable record in flight and park is set, r is
// parked until that is flushed.
func (t *Tail) look(r *ovs.Read, ps []piece, limit int, park bool) ([]piece, verdict) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == closed {
		return ps, refused
	}
	r.N, r.EOF = 0, true
	if r.Off >= t.shown.size {
		return ps, ready
	}
	n := min(uint64(len(r.Dst)), t.shown.size-r.Off)
	r.N, r.EOF = int(n), r.Off+n >= t.shown.size
	for at := uint64(0); at < n; {
		m, e, ok := t.all.At(r.Off+at, n-at)
		p := piece{at, m, fromBelow, e.Pos}
		if ok {
			p.from = fromLog
			if e.Kind() != Data {
				p.from = fromZeros
			}
			if e.Record() > t.durable {
				switch {
				case t.broken:
					return ps, lost
				case e.Stable() && !planted.ReadInFlight:
					if park {
						t.waiting = append(t.waiting, parked{r, e.Record()})
					}
					return ps, flying
				}
			}
		}
		if len(ps) == limit {
			return ps, crowded
		}
		ps = append(ps, p)
		at += m
	}
	return ps, ready
}

// TryRead fills r from memory; false where it cannot be answered at once.
func (t *Tail) TryRead(r *ovs.Read) bool {
	var room [tryPieces]piece
	ps, v := t.look(r, room[:0], tryPieces, false)
	if v != ready {
		return false
	}
	r.Err = nil
	return t.tryFill(r, ps)
}

func (t *Tail) tryFill(r *ovs.Read, ps []piece) bool {
	for _, p := range ps {
		dst := r.Dst[p.at : p.at+p.n]
		switch p.from {
		case fromZeros:
			clear(dst)
		case fromLog:
			if !t.cfg.Log.TryReadAt(p.pos, dst) {
				return false
			}
		case fromBelow:
			if !t.cfg.Below.TryReadBelow(dst, r.Off+p.at) {
				return false
			}
		}
	}
	return true
}

// Read completes r, from memory at once, or from the pool's goroutines; while it waits for a flush it holds none.
func (t *Tail) Read(r *ovs.Read) {
	t.mu.Lock()
	if t.state == closed {
		t.mu.Unlock()
		r.N, r.Err = 0, ovs.E("tail.Read", ovs.KindFenced, t.cfg.Ref, nil)
		r.Done(r)
		return
	}
	t.running++
	t.mu.Unlock()
	r.Err = nil
	var room [tryPieces]piece
	ps, v := t.look(r, room[:0], tryPieces, true)
	switch {
	case v == flying: // parked: its flush will submit it
	case v == ready && t.tryFill(r, ps):
		t.finish(r, nil)
	default:
		t.submit(r)
	}
}

func (t *Tail) submit(r *ovs.Read) {
	if !t.cfg.Pool.Submit(&reader{t, r}) {
		t.finish(r, ovs.E("tail.Read", ovs.KindClosed, t.cfg.Ref, nil))
	}
}

func (t *Tail) finish(r *ovs.Read, err error) {
	if r.Err = err; err != nil {
		r.N, r.EOF = 0, false
	}
	r.Trace.Mark(ovs.StageFetched)
	r.Done(r)
	t.ended()
}

// staleTries bounds how often a read looks again because what it had found was dropped meanwhile.
const staleTries = 100

// reader is a read that may block, in the pool.
type reader struct {
	t *Tail
	r *ovs.Read
}

// Run reads until nothing changed under its hands.
func (j *reader) Run() {
	t, r := j.t, j.r
	ctx, cancel := t.ctx, context.CancelFunc(func() {})
	if !r.Deadline.IsZero() {
		ctx, cancel = context.WithDeadline(t.ctx, r.Deadline)
	}
	defer cancel()
	var room [tryPieces]piece
	for try := 0; ; try++ {
		ps, v := t.look(r, room[:0], int(^uint(0)>>1), true)
		switch v {
		case flying:
			return
		case lost:
			t.finish(r, ovs.E("tail.Read", ovs.KindIO, t.cfg.Ref, t.Err()))
			return
		case refused:
			t.finish(r, ovs.E("tail.Read", ovs.KindFenced, t.cfg.Ref, nil))
			return
		}
		err := t.fill(ctx, r, ps)
		if ovs.Is(err, ovs.KindStale) && ctx.Err() == nil && try < staleTries { // dropped meanwhile: it is in Below now
			continue
		}
		if err != nil && t.ctx.Err() != nil { // cut short by Close: the client is to ask the next owner
			err = ovs.E("tail.Read", ovs.KindFenced, t.cfg.Ref, err)
		}
		t.finish(r, err)
		return
	}
}

func (t *Tail) fill(ctx context.Context, r *ovs.Read, ps []piece) error {
	for _, p := range ps {
		dst := r.Dst[p.at : p.at+p.n]
		switch p.from {
		case fromZeros:
			clear(dst)
		case fromLog:
			if err := t.cfg.Log.ReadAt(p.pos, dst); err != nil {
				return err
			}
		case fromBelow:
			if err := t.cfg.Below.ReadBelow(ctx, dst, r.Off+p.at); err != nil {
				return err
			}
		}
	}
	return nil
}
