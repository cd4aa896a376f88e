package volumedriver

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

// putsPerVolume is how many PUTs of one volume are under way at most.
const putsPerVolume = 4

// job is an SCO that is being put.
type job struct {
	s    *tail.Sealed
	sco  *sco
	done bool
}

// Flush implements ovs.Object: on return all that was acknowledged before the call stands on the backend, and the log has
// let go of it.
func (v *volume) Flush(ctx context.Context) error {
	const op = "volumedriver.Flush"
	v.start()
	target, _ := v.tail.Last()
	v.tail.Seal()
	v.kick()
	for {
		f := &v.flush
		f.mu.Lock()
		stands, progress, ended := f.stands, f.progress, f.ended
		f.mu.Unlock()
		if stands.Record >= target {
			v.tail.Release()
			return nil
		}
		if err := v.tail.Err(); err != nil {
			return ovs.E(op, ovs.KindUnknown, v.claim.Ref, err)
		}
		if ended {
			return ovs.E(op, ovs.KindFenced, v.claim.Ref, nil)
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return ovs.E(op, ovs.KindTimeout, v.claim.Ref, ctx.Err())
		}
	}
}

// kick sees to it that the flusher looks for intervals.
func (v *volume) kick() {
	f := &v.flush
	f.mu.Lock()
	defer f.mu.Unlock()
	f.again = true
	if f.running || f.ended {
		return
	}
	f.running = true
	f.wg.Go(v.flushLoop)
}

// moved wakes who waits for progress.
func (f *flusher) moved() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.progress)
	f.progress = make(chan struct{})
}

// more tells the goroutine whether to look once more; else it has ended.
func (f *flusher) more() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running = f.again && !f.ended
	f.again = false
	return f.running
}

// end waits for the flusher and its PUTs, whose context has ended.
func (f *flusher) end() {
	f.mu.Lock()
	f.ended = true
	if f.timer != nil {
		f.timer.Stop()
	}
	f.mu.Unlock()
	f.moved()
	f.wg.Wait()
}

// flushLoop is the flusher's goroutine: it takes intervals as long as there are any.
func (v *volume) flushLoop() {
	f := &v.flush
	for f.more() {
		select {
		case f.gate <- struct{}{}:
		case <-v.ctx.Done():
			continue // more will say no
		}
		err := v.flushAll()
		<-f.gate
		if err != nil && v.ctx.Err() == nil {
			v.tail.Halt(err)
			f.mu.Lock()
			f.ended = true // the interval that failed is not passed over
			f.mu.Unlock()
			f.moved()
		}
	}
}

// flushAll brings every interval that is cut to the backend, and does what is due after. gate is held.
func (v *volume) flushAll() error {
	for s := v.tail.Next(1); s != nil; s = v.tail.Next(1) {
		if err := v.flushInterval(s); err != nil {
			return err
		}
		if v.due() {
			if err := v.maintain(); err != nil {
				return err
			}
		}
	}
	return v.maintain()
}

// flushInterval builds the SCOs of an interval and starts their PUTs.
func (v *volume) flushInterval(s *tail.Sealed) error {
	if err := s.Wait(v.ctx); err != nil {
		return err
	}
	for b, final := newBuilder(v, s), false; !final; {
		j, err := v.build(b)
		if err != nil {
			return err
		}
		final = j.sco.h.Final
		v.flush.mu.Lock()
		v.flush.jobs = append(v.flush.jobs, j)
		v.flush.mu.Unlock()
		v.flush.wg.Go(func() { v.put(j) })
	}
	return nil
}

// build makes the next SCO when there is a place among the PUTs for it.
func (v *volume) build(b *builder) (*job, error) {
	f := &v.flush
	select {
	case f.slots <- struct{}{}:
	case <-v.ctx.Done():
		return nil, v.ctx.Err()
	}
	buf, err := v.d.buffer(v.ctx)
	if err != nil {
		<-f.slots
		return nil, err
	}
	j := &job{s: b.s}
	err = v.insist(v.ctx, "a cluster cannot be merged with what is below it", func() (err error) {
		j.sco, err = b.sco(v.ctx, f.nextSCO, buf)
		return err
	})
	if err != nil {
		<-f.slots
		v.d.release(buf)
		return nil, err
	}
	f.nextSCO++
	return j, nil
}

// behind tells whether intervals are cut faster than they are built. A volume that keeps up gives way to clients' operations; once its
// data have left the log's memory they must be read again, so there is no waiting for more than one.
func (v *volume) behind() bool { return v.tail.Waiting() > 0 }

// put brings an SCO to the backend, however often that takes, and commits what is complete then.
func (v *volume) put(j *job) {
	h := j.sco.h
	name := scoName(h.Number, h.Epoch)
	if planted.ReleaseFirst {
		v.commit(j)
	}
	err := v.store(v.ctx, name, j.sco.body, ovs.PutOptions{Unit: unit.Size, Hurry: v.behind()})
	v.d.release(j.sco.buf)
	j.sco.buf, j.sco.body = nil, nil
	<-v.flush.slots
	if err != nil {
		if v.ctx.Err() == nil {
			v.tail.Halt(err)
		}
		return
	}
	if !planted.ReleaseFirst {
		v.commit(j)
	}
}

// ioTimeout bounds one call of backend or registry; what it did is unknown then, and asked again.
const ioTimeout = time.Minute

// insist tries a step until it succeeds, fails for good, or ctx ends. What it reads or puts may be out of reach for a while.
func (v *volume) insist(ctx context.Context, trouble string, step func() error) error {
	return settle.Do(ctx, v.d.retry, func(cause error) { v.zap.Warn(trouble, zap.Error(cause)) }, step)
}

// store puts an object until it stands, ctx ends, or the name holds something else: then the error.
func (v *volume) store(ctx context.Context, name string, body []byte, o ovs.PutOptions) error {
	return v.insist(ctx, "an object cannot be put; the log keeps its data", func() error {
		once, cancel := context.WithTimeout(ctx, ioTimeout)
		defer cancel()
		if !v.flush.namespace.Load() { // before the first PUT
			if err := v.d.cfg.Backend.CreateNamespace(once, v.ns); err != nil {
				return err
			}
			v.flush.namespace.Store(true)
		}
		_, err := v.d.cfg.Backend.Put(once, v.ns, name, body, o)
		if ovs.Is(err, ovs.KindNotFound) {
			v.flush.namespace.Store(false)
		}
		return err // where not all fragments stand, those missing are in the repair queue: nil is enough
	})
}

// commit notes that an SCO stands. Where the oldest interval is complete, the map takes it and the log lets go, in order.
func (v *volume) commit(j *job) {
	f := &v.flush
	f.mu.Lock()
	j.done = true
	f.mu.Unlock()
	f.committing.Lock() // one at a time, so that intervals stay in order
	defer f.committing.Unlock()
	for {
		whole := f.complete()
		if whole == nil {
			return
		}
		last := whole[len(whole)-1]
		v.m.apply(true, func(set func(c, n uint64, l Location)) {
			for _, x := range whole {
				x.sco.h.each(set)
			}
		})
		v.tail.Drop(last.s)
		f.mu.Lock()
		f.stands = state{last.sco.h.Number, last.sco.h.Last, last.sco.h.Size, last.sco.h.Time}
		f.jobs = f.jobs[len(whole):]
		f.mu.Unlock()
		f.moved()
		v.kick() // a TLog or a checkpoint may be due now
	}
}

// complete is the jobs of the oldest interval when all its SCOs stand; else nil.
func (f *flusher) complete() []*job {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, j := range f.jobs {
		if !j.done {
			return nil
		}
		if j.sco.h.Final {
			return f.jobs[:i+1]
		}
	}
	return nil
}

// drain waits until no PUT is under way: stands, map and delta do not move then. gate is held.
func (v *volume) drain(ctx context.Context) error {
	f := &v.flush
	for {
		f.mu.Lock()
		n, progress := len(f.jobs), f.progress
		f.mu.Unlock()
		if n == 0 {
			return nil
		}
		if err := v.tail.Err(); err != nil {
			return err
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
