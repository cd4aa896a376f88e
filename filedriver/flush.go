package filedriver

import (
	"context"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/planted"
	"ovs/internal/settle"
	"ovs/internal/tail"
	"ovs/internal/unit"
)

// ioTimeout bounds one call of backend or registry; what it did is unknown then, and asked again.
const ioTimeout = time.Minute

// startFlush queues a flush of all cut intervals, unless one is queued already.
func (f *file) startFlush() {
	pool := f.d.flushes
	if f.tail.Live().Size <= inlineMost { // needs no backend: not kept waiting by those that do, should that be full
		pool = f.d.inline
	}
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
	if !pool.Submit(flusher{f}) {
		f.flushing = false
		f.ended.Done()
	}
}

type flusher struct{ f *file }

// Run flushes all cut intervals and answers those who waited. Whoever asked meanwhile has it queued anew, behind other files.
func (j flusher) Run() {
	f := j.f
	defer f.ended.Done()
	f.mu.Lock()
	waiters := f.waiters
	f.waiters, f.again = nil, false
	f.mu.Unlock()
	err := f.flushAll()
	for _, w := range waiters {
		w <- err
	}
	f.mu.Lock()
	f.flushing = false
	more := f.again || len(f.waiters) > 0
	f.mu.Unlock()
	if more {
		f.startFlush()
	}
}

// joined is how many intervals that wait are flushed as one. A file is written anew by the chunk, so one that is written faster
// than its chunks can be put would hold ever more of the log if each of its intervals put them all.
const joined = 64

// flushAll brings the cut intervals to the backend in their order. An interval that failed for good halts the file and is
// not passed over: what is in the log stays readable, and nothing is lost.
func (f *file) flushAll() error {
	for f.failed == nil {
		s := f.tail.Next(joined)
		if s == nil {
			return f.tail.Err()
		}
		if f.failed = f.flush(s); f.failed != nil && f.ctx.Err() == nil {
			f.tail.Halt(f.failed)
		}
	}
	if f.ctx.Err() != nil {
		return ovs.E("filedriver.flush", ovs.KindClosed, f.claim.Ref, f.failed)
	}
	return f.failed
}

// halted is told once when the file takes no more writes. Live says so from then on.
func (f *file) halted(err error) {
	f.d.cfg.Zap.Error("file halted: it takes no more writes until the next start; what is durable is still read",
		zap.Stringer("object", f.claim.Ref), zap.Error(err))
}

// flush makes a new version out of the current one and an interval, in steps that may each be repeated.
func (f *file) flush(s *tail.Sealed) error {
	if err := s.Wait(f.ctx); err != nil {
		return err
	}
	old := f.cur.Load()
	if planted.FileHeadFirst {
		next, err := f.build(s, old, func(context.Context, string, []byte) error { return nil })
		if err == nil {
			err = f.swing(old, next)
		}
		if err != nil {
			return err
		}
	}
	next, err := f.build(s, old, f.put)
	if err != nil {
		return err
	}
	if planted.FileDeleteFirst {
		f.clean(old, next)
	}
	if err := f.swing(old, next); err != nil {
		return err
	}
	f.cur.Store(next)
	f.tail.Drop(s)
	f.clean(old, next)
	return nil
}

// swing makes head and table those of the next version.
func (f *file) swing(old, next *version) error {
	id := f.claim.Object
	var table []ovs.Update
	switch {
	case next.head.hasTable:
		table = append(table, ovs.Set(tableKey(id), encodeTable(next.table)))
	case old.head.hasTable:
		table = append(table, ovs.DeletePrefix(tableKey(id)))
	}
	from, to := old.head.encode(), next.head.encode()
	return f.retry(f.ctx, func(ctx context.Context) error {
		return settle.Swing(ctx, f.d.cfg.Registry, &f.claim, from, to, table...)
	})
}

// put brings a chunk to the backend.
func (f *file) put(ctx context.Context, name string, data []byte) error {
	b, ns := f.d.cfg.Backend, f.d.namespace
	return f.retry(ctx, func(ctx context.Context) error {
		_, err := b.Put(ctx, ns, name, data, ovs.PutOptions{Unit: unit.Size})
		if ovs.Is(err, ovs.KindNotFound) { // the first file of the vPool
			if err = b.CreateNamespace(ctx, ns); err == nil {
				_, err = b.Put(ctx, ns, name, data, ovs.PutOptions{Unit: unit.Size})
			}
		}
		return err
	})
}

// retry repeats a step while its trouble may pass, until ctx ends: the log keeps the data meanwhile.
func (f *file) retry(ctx context.Context, step func(context.Context) error) error {
	say := func(cause error) {
		f.d.cfg.Zap.Warn("flush of a file waits; the log keeps its data", zap.Stringer("object", f.claim.Ref), zap.Error(cause))
	}
	return settle.Do(ctx, f.d.retry, say, func() error {
		once, cancel := context.WithTimeout(ctx, ioTimeout)
		defer cancel()
		return step(once)
	})
}

// clean deletes the chunks that the new version no longer names. What a failure or crash leaves is found by the next flush,
// if need be of the next life.
func (f *file) clean(old, next *version) {
	id := f.claim.Object
	ctx, cancel := context.WithTimeout(f.ctx, ioTimeout)
	defer cancel()
	var err error
	if f.leftovers.Swap(false) {
		keep := map[string]bool{}
		for i, c := range next.table {
			keep[c.of(id, i).Name()] = true
		}
		err = f.d.sweep(ctx, id, func(name string) bool {
			c, ok := unit.ParseChunk(name) // those of a newer epoch are another owner's
			return !keep[name] && ok && c.Epoch <= f.claim.Epoch
		})
	} else {
		var gone []string
		for i, c := range old.table {
			if c != (chunk{}) && (i >= len(next.table) || next.table[i] != c) {
				gone = append(gone, c.of(id, i).Name())
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
