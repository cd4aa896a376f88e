package tail

import (
	"context"
	"slices"

	"ovs"
	"ovs/internal/extent"
	"ovs/internal/pace"
	"ovs/internal/planted"
)

// Sealed is an interval of an object's records, cut off from those that come after: immutable, its overwrites coalesced.
type Sealed struct {
	First, Last ovs.RecordNo
	Data        uint64 // bytes of record data in the log, overwrites included
	Size        uint64 // of the object after Last
	Time        int64  // of Last

	t      *Tail
	weight uint64
	index  extent.Map[Extent]
}

// Seal cuts the records appended so far off as an interval, if there are any.
func (t *Tail) Seal() {
	var a after
	t.mu.Lock()
	t.cut(&a)
	t.unlock(&a)
}

// cut ends the open interval. mu is held.
func (t *Tail) cut(a *after) {
	if t.open.First == 0 {
		return
	}
	t.sealed = append(t.sealed, t.open)
	t.open = &Sealed{t: t}
	a.cut = true
}

// Next is the oldest interval that was not given out before, or nil; where more of them wait, up to most are made one, so that
// a driver that cannot keep up brings each place down once only. One goroutine at a time takes intervals.
func (t *Tail) Next(most int) *Sealed {
	t.mu.Lock()
	cut := slices.Clone(t.sealed[t.taken:min(t.taken+most, len(t.sealed))])
	t.mu.Unlock()
	if len(cut) == 0 {
		return nil
	}
	s := join(cut)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sealed = slices.Replace(t.sealed, t.taken, t.taken+len(cut), s)
	t.taken++
	return s
}

// Waiting is how many intervals are cut and were not given out.
func (t *Tail) Waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sealed) - t.taken
}

// join is one interval instead of some that follow each other.
func join(cut []*Sealed) *Sealed {
	if len(cut) == 1 {
		return cut[0]
	}
	last := cut[len(cut)-1]
	all := &Sealed{First: cut[0].First, Last: last.Last, Size: last.Size, Time: last.Time, t: last.t}
	for _, s := range cut {
		all.Data += s.Data
		s.index.Each(func(off, n uint64, e Extent) bool {
			all.index.Insert(off, n, e)
			return true
		})
	}
	return all
}

// Wait returns when the interval is durable in the log, with an error when it never will be or ctx ends: nothing of it may
// reach the backend before.
func (s *Sealed) Wait(ctx context.Context) error {
	t := s.t
	t.mu.Lock()
	durable, upTo, broken, cause := t.durable, t.last, t.broken, t.cause
	t.mu.Unlock()
	if durable >= s.Last || planted.SealedUnflushed {
		return nil
	}
	if broken {
		return ovs.E("tail.Wait", ovs.KindIO, t.cfg.Ref, cause)
	}
	done := make(chan error, 1)
	t.cfg.Log.Sync(&ovs.LogSync{Done: func(_ *ovs.LogSync, err error) { done <- err }})
	select {
	case err := <-done:
		var a after
		t.mu.Lock()
		if err != nil {
			t.broken = true
			t.halt(err, &a)
		}
		if t.flushed(upTo, &a); !t.broken {
			t.synced = max(t.synced, upTo)
		}
		broken, cause = t.broken, t.cause
		t.unlock(&a)
		if broken {
			return ovs.E("tail.Wait", ovs.KindIO, t.cfg.Ref, cause)
		}
		return nil
	case <-ctx.Done():
		return ovs.E("tail.Wait", ovs.KindTimeout, t.cfg.Ref, ctx.Err())
	}
}

// Each calls f for the interval's extents in the order of their place, until f says false.
func (s *Sealed) Each(f func(off, n uint64, e Extent) bool) { s.index.Each(f) }

// ReadAt reads the data of an extent of s.
func (s *Sealed) ReadAt(e Extent, dst []byte) error { return s.t.cfg.Log.ReadAt(e.Pos, dst) }

// ReadUnder fills dst from off with the object as it was before the interval's first record: from older intervals, and
// Below under them.
func (s *Sealed) ReadUnder(ctx context.Context, dst []byte, off uint64) error {
	t := s.t
	for try := 0; ; try++ {
		var older []*Sealed
		t.mu.Lock()
		for i, o := range t.sealed {
			if o == s {
				older = append(older, t.sealed[:i]...)
				break
			}
		}
		t.mu.Unlock()
		err := t.readUnder(ctx, older, dst, off)
		if !ovs.Is(err, ovs.KindStale) || ctx.Err() != nil || try == staleTries {
			return err
		}
	}
}

// readUnder reads through the newest of the intervals, the rest and Below showing in its gaps.
func (t *Tail) readUnder(ctx context.Context, older []*Sealed, dst []byte, off uint64) error {
	if len(older) == 0 {
		return t.cfg.Below.ReadBelow(ctx, dst, off)
	}
	top, rest := older[len(older)-1], older[:len(older)-1]
	for len(dst) > 0 {
		n, e, ok := top.index.At(off, uint64(len(dst)))
		var err error
		switch {
		case !ok:
			err = t.readUnder(ctx, rest, dst[:n], off)
		case e.Kind() == Data:
			err = top.ReadAt(e, dst[:n])
		default:
			clear(dst[:n])
		}
		if err != nil {
			return err
		}
		dst, off = dst[n:], off+n
	}
	return nil
}

// dropStep bounds the extents that Drop takes out of the index in one go.
const dropStep = 64

// Drop says that Below shows the interval, the oldest one: it leaves the index, and the log lets go of its records.
func (t *Tail) Drop(s *Sealed) {
	type rng struct{ off, n uint64 }
	var step []rng
	flush := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, r := range step {
			t.forget(r.off, r.n, s.Last)
		}
		step = step[:0]
	}
	var work pace.Work
	s.index.Each(func(off, n uint64, _ Extent) bool {
		if step = append(step, rng{off, n}); len(step) == dropStep {
			flush()
			work.Did(pace.Step)
		}
		return true
	})
	flush()
	t.mu.Lock()
	if len(t.sealed) == 0 || t.sealed[0] != s {
		t.mu.Unlock()
		panic("tail: intervals are dropped in their order")
	}
	t.sealed = append(t.sealed[:0], t.sealed[1:]...)
	t.taken--
	t.dropped = s.Last
	t.mu.Unlock()
	t.cfg.Log.Release(t.cfg.Ref, s.Last)
}

// forget takes what records up to last set in a range out of the index. mu is held.
func (t *Tail) forget(off, n uint64, last ovs.RecordNo) {
	for n > 0 {
		m, e, ok := t.all.At(off, n)
		if ok && e.Record() <= last {
			t.all.Delete(off, m)
		}
		off, n = off+m, n-m
	}
}

// Release tells the log again what Below holds: after a start, what an earlier one did not live to say.
func (t *Tail) Release() {
	t.mu.Lock()
	upTo := t.dropped
	t.mu.Unlock()
	t.cfg.Log.Release(t.cfg.Ref, upTo)
}

// Restore takes a record that a replay gave, before the object serves. Their numbers go on from Config.Last without a gap.
func (t *Tail) Restore(r *ovs.Record) error {
	const op = "tail.Restore"
	var a after
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case r.Number != t.last+1:
		return ovs.E(op, ovs.KindCorrupt, t.cfg.Ref, gap{t.last, r.Number})
	case r.Kind < ovs.RecordWrite || r.Kind > ovs.RecordMark:
		return ovs.E(op, ovs.KindNotSupported, t.cfg.Ref, nil)
	case r.Off > ovs.MaxFileSize || r.Len > ovs.MaxFileSize-r.Off:
		return ovs.E(op, ovs.KindCorrupt, t.cfg.Ref, nil)
	}
	if t.full(r) {
		t.cut(&a)
	}
	t.last, t.durable, t.synced = r.Number, r.Number, r.Number
	t.time = max(t.time, r.Time)
	t.index(r, true)
	t.shown.size, t.shown.time = t.size, t.time
	return nil
}
