package filedriver

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/planted"
	"ovs/internal/tail"
)

// A step that fails for a passing reason is tried again after a pause that doubles between these bounds.
const (
	pauseLeast = 50 * time.Millisecond
	pauseMost  = 5 * time.Second
)

// startFlush queues a flush of all cut intervals, unless one is queued already.
func (f *file) startFlush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if f.flushing {
		f.again = true
		return
	}
	f.flushing = true
	f.ended.Add(1)
	if !f.d.flushes.Submit(flusher{f}) {
		f.flushing = false
		f.ended.Done()
	}
}

type flusher struct{ f *file }

// Run flushes interval after interval and answers those who waited, until nobody asked again.
func (j flusher) Run() {
	f := j.f
	defer f.ended.Done()
	for {
		f.mu.Lock()
		waiters := f.waiters
		f.waiters, f.again = nil, false
		f.mu.Unlock()
		err := f.flushAll()
		for _, w := range waiters {
			w <- err
		}
		f.mu.Lock()
		if !f.again && len(f.waiters) == 0 {
			f.flushing = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
	}
}

// flushAll brings the cut intervals to the backend in their order. An interval that failed for good halts the file: what is
// in the log stays readable, and nothing is lost.
func (f *file) flushAll() error {
	for {
		s := f.tail.Next()
		if s == nil {
			return f.tail.Err()
		}
		if err := f.flush(s); err != nil {
			if f.ctx.Err() != nil {
				return ovs.E("filedriver.flush", ovs.KindClosed, f.claim.Ref, err)
			}
			f.d.cfg.Zap.Error("file halted: it cannot be brought to the backend", zap.Stringer("object", f.claim.Ref), zap.Error(err))
			f.tail.Halt(err)
			return err
		}
	}
}

// flush makes a new version out of the current one and an interval, in steps that may each be repeated.
func (f *file) flush(s *tail.Sealed) error {
	if err := s.Wait(f.ctx); err != nil {
		return err
	}
	old := f.cur.Load()
	next, pieces, err := f.build(s, old)
	if err != nil {
		return err
	}
	if !planted.FileHeadFirst {
		if err := f.putAll(pieces); err != nil {
			return err
		}
	}
	id := f.claim.Object
	steps := []ovs.Update{f.claim.Assert(), ovs.Set(ovs.HeadKey(id), next.head.encode())}
	switch {
	case next.head.hasTable:
		steps = append(steps, ovs.Set(tableKey(id), encodeTable(next.table)))
	case old.head.hasTable:
		steps = append(steps, ovs.DeletePrefix(tableKey(id)))
	}
	if err := f.retry(func(ctx context.Context) error {
		_, err := f.d.cfg.Registry.Sequence(ctx, steps...)
		return err
	}); err != nil {
		return err
	}
	if planted.FileHeadFirst {
		if err := f.putAll(pieces); err != nil {
			return err
		}
	}
	f.cur.Store(next)
	f.tail.Drop(s)
	f.clean(old, next)
	return nil
}

func (f *file) putAll(pieces []piece) error {
	for _, p := range pieces {
		if err := f.retry(func(ctx context.Context) error { return f.put(ctx, p) }); err != nil {
			return err
		}
	}
	return nil
}

func (f *file) put(ctx context.Context, p piece) error {
	_, err := f.d.cfg.Backend.Put(ctx, f.d.namespace, p.name, p.data, ovs.PutOptions{Unit: unit})
	if ovs.Is(err, ovs.KindNotFound) { // the first file of the vPool
		if err := f.d.cfg.Backend.CreateNamespace(ctx, f.d.namespace); err != nil {
			return err
		}
		_, err = f.d.cfg.Backend.Put(ctx, f.d.namespace, p.name, p.data, ovs.PutOptions{Unit: unit})
	}
	return err
}

// retry repeats a step while its trouble may pass: the log keeps the data meanwhile.
func (f *file) retry(step func(context.Context) error) error {
	pause := pauseLeast
	for {
		ctx, cancel := context.WithTimeout(f.ctx, time.Minute)
		err := step(ctx)
		cancel()
		switch ovs.KindOf(err) {
		case ovs.KindConflict, ovs.KindFenced, ovs.KindCorrupt, ovs.KindInvalid, ovs.KindNotSupported:
			if err != nil {
				return err
			}
		}
		if err == nil {
			return nil
		}
		f.d.cfg.Zap.Debug("flush of a file waits", zap.Stringer("object", f.claim.Ref), zap.Error(err))
		select {
		case <-f.ctx.Done():
			return errors.Join(err, f.ctx.Err())
		case <-time.After(pause):
			pause = min(2*pause, pauseMost)
		}
	}
}

// clean deletes the chunks that the new version no longer names. What a failure or crash leaves is found by the first flush
// of the next life.
func (f *file) clean(old, next *version) {
	id := f.claim.Object
	ctx, cancel := context.WithTimeout(f.ctx, time.Minute)
	defer cancel()
	var err error
	if f.leftovers.Swap(false) {
		keep := map[string]bool{}
		for i, c := range next.table {
			keep[chunkName(id, i, c)] = true
		}
		err = f.d.sweep(ctx, id, keep)
	} else {
		var gone []string
		for i, c := range old.table {
			if c != (chunk{}) && (i >= len(next.table) || next.table[i] != c) {
				gone = append(gone, chunkName(id, i, c))
			}
		}
		if len(gone) > 0 {
			err = f.d.cfg.Backend.Delete(ctx, f.d.namespace, gone...)
		}
	}
	if err != nil && !ovs.Is(err, ovs.KindNotFound) {
		f.leftovers.Store(true)
	}
}
