package tail

import (
	"bytes"
	"context"

	"ovs"
	"ovs/internal/planted"
)

// Write takes a write on its way: it becomes a record, and w.Done is called when the record is flushed, or for an UNSTABLE
// write when it stands in the log's memory.
func (t *Tail) Write(w *ovs.Write) {
	const op = "tail.Write"
	w.Err, w.Verf, w.Committed = nil, t.verf, ovs.FileSync
	n := uint64(len(w.Data))
	if w.Off > ovs.MaxFileSize || n > ovs.MaxFileSize-w.Off {
		w.Err = ovs.E(op, ovs.KindTooBig, t.cfg.Ref, nil)
	}
	if w.Err != nil || n == 0 {
		w.Done(w)
		return
	}
	r := &w.Rec
	*r = ovs.Record{Ref: t.cfg.Ref, Epoch: t.cfg.Epoch, Kind: ovs.RecordWrite, Off: w.Off, Len: n, Data: w.Data,
		Origin: r.Origin, Admitted: t.onAdm, Done: t.onRec, Arg: w}
	if allZero(w.Data) {
		r.Kind, r.Data = ovs.RecordZero, nil
	}
	if w.Stable == ovs.Unstable {
		r.Done, w.Committed = nil, ovs.Unstable
	}
	if planted.AckAtAppend {
		r.Done = nil
	}
	var a after
	t.mu.Lock()
	if w.Err = t.refuse(op); w.Err != nil {
		t.mu.Unlock()
		w.Done(w)
		return
	}
	t.running++
	t.busy++
	t.ask(r, &a)
	t.unlock(&a)
}

// Resize sets the size; durable on return. What a shrink cuts off reads as zeros if the object grows again.
func (t *Tail) Resize(ctx context.Context, size uint64) error {
	const op = "tail.Resize"
	if size > ovs.MaxFileSize {
		return ovs.E(op, ovs.KindTooBig, t.cfg.Ref, nil)
	}
	select {
	case t.resizeGate <- struct{}{}: // the resize's completion opens it again, even when nobody waits any more
	case <-ctx.Done():
		return ovs.E(op, ovs.KindTimeout, t.cfg.Ref, ctx.Err())
	}
	z := &resize{done: make(chan error, 1)}
	z.rec = ovs.Record{Ref: t.cfg.Ref, Epoch: t.cfg.Epoch, Kind: ovs.RecordResize, Off: size, Admitted: t.onAdm, Done: t.onRec, Arg: z}
	var a after
	t.mu.Lock()
	if err := t.refuse(op); err != nil {
		t.mu.Unlock()
		<-t.resizeGate
		return err
	}
	t.running++
	t.busy++
	t.ask(&z.rec, &a)
	t.unlock(&a)
	select {
	case err := <-z.done:
		return err
	case <-ctx.Done():
		return ovs.E(op, ovs.KindTimeout, t.cfg.Ref, ctx.Err())
	}
}

type resize struct {
	rec  ovs.Record
	err  error
	done chan error
}

// ask gets room for a record and appends it, or parks it. mu is held.
func (t *Tail) ask(r *ovs.Record, a *after) {
	r.Urgent = t.cfg.UrgentTo > 0 && max(t.size, r.Off+r.Len) <= t.cfg.UrgentTo
	if t.asked != nil {
		t.queue.Push(r)
		return
	}
	if !t.cfg.Log.Admit(r) {
		t.asked = r
		return
	}
	t.append(r, a)
}

// admitted is the log's answer to the record that it had refused, and the turn of those behind it.
func (t *Tail) admitted(r *ovs.Record, err error) {
	var a after
	t.mu.Lock()
	t.asked = nil
	if err != nil {
		err = ovs.E("tail.Write", ovs.KindUnknown, t.cfg.Ref, err)
		fail(r, err)
		t.answer(r, &a)
		if ovs.Is(err, ovs.KindBusy) { // nobody got room for so long: they are not to wait as long again, each in turn
			t.dismiss(err, &a)
		}
	} else {
		if err := t.refuse("tail.Write"); err != nil { // it fails, but is appended: numbers have no gaps, room is not lost
			fail(r, err)
			r.Done = t.onRec
		}
		t.append(r, &a)
	}
	for t.asked == nil && t.queue.First() != nil {
		t.ask(t.queue.Pop(), &a)
	}
	t.unlock(&a)
}

// append numbers a record that has its room, puts it into the log and the index. mu is held.
func (t *Tail) append(r *ovs.Record, a *after) {
	w, _ := r.Arg.(*ovs.Write)
	if w != nil {
		w.Trace.Mark(ovs.StageAdmitted)
	}
	if t.full(r) {
		t.cut(a)
	}
	t.last++
	t.time = max(t.cfg.Now(), t.time+1)
	r.Number, r.Time = t.last, t.time
	t.cfg.Log.Append(r)
	a.began = a.began || t.open.First == 0
	t.index(r, r.Done != nil)
	if w != nil {
		w.Trace.Mark(ovs.StageAppended)
	}
	if r.Kind == ovs.RecordResize {
		t.resizing, t.shown.after = true, 0
	}
	if r.Done != nil {
		return
	}
	end := r.Off + r.Len
	t.shown.size, t.shown.time = max(t.shown.size, end), max(t.shown.time, r.Time)
	if t.resizing {
		t.shown.after = max(t.shown.after, end)
	}
	t.answer(r, a) // the log does not hold a record that nobody waits for
}

// index adds an appended (or replayed) record to the open interval. mu is held.
func (t *Tail) index(r *ovs.Record, stable bool) {
	if t.open.First == 0 {
		t.open.First = r.Number
	}
	t.open.Last = r.Number
	t.open.weight += weight(r)
	off, n, kind, pos := r.Off, r.Len, uint64(Zero), ovs.LogPos(0)
	switch r.Kind {
	case ovs.RecordWrite:
		kind, pos = Data, r.Pos
		t.open.Data += n
	case ovs.RecordDiscard:
		kind = Discard
	case ovs.RecordResize:
		n = 0
		if r.Off < t.size { // everything past the cut becomes zeros, in Below too once it has seen this interval
			n = ovs.MaxFileSize - r.Off
		}
		t.size = r.Off
	case ovs.RecordMark:
		n = 0
	}
	if n > 0 {
		e := newExtent(pos, r.Number, kind, stable)
		t.all.Insert(off, n, e)
		t.open.index.Insert(off, n, e)
	}
	if r.Kind != ovs.RecordResize {
		t.size = max(t.size, off+r.Len)
	}
	t.open.Size, t.open.Time = t.size, r.Time
}

// weight is how much a record counts towards the size of its interval; zeros are not free, or it would have no bound.
func weight(r *ovs.Record) uint64 {
	if r.Kind == ovs.RecordWrite {
		return r.Len
	}
	return ovs.SectorSize
}

// full tells whether the open interval has no place for r. mu is held.
func (t *Tail) full(r *ovs.Record) bool {
	return t.cfg.SealAt > 0 && t.open.First != 0 && t.open.weight+weight(r) > t.cfg.SealAt
}

// recordDone is the log's word on a stable record. Those of one object come in the order of their numbers.
func (t *Tail) recordDone(r *ovs.Record, err error) {
	var a after
	t.mu.Lock()
	if err != nil {
		fail(r, ovs.E("tail.Write", ovs.KindIO, t.cfg.Ref, err))
		t.broken = true
		t.halt(err, &a)
	} else {
		t.flushed(r.Number, &a)
		if r.Kind == ovs.RecordResize {
			t.shown.size = max(r.Off, t.shown.after)
			t.resizing = false
		} else {
			t.shown.size = max(t.shown.size, r.Off+r.Len)
		}
		t.shown.time = max(t.shown.time, r.Time)
	}
	t.answer(r, &a)
	t.unlock(&a)
}

// flushed moves the durable watermark and lets the reads go on that waited for it. mu is held.
func (t *Tail) flushed(upTo ovs.RecordNo, a *after) {
	if upTo <= t.durable || t.broken {
		return
	}
	t.durable = upTo
	if len(t.waiting) == 0 {
		return
	}
	still := t.waiting[:0]
	for _, p := range t.waiting {
		if p.need <= upTo {
			a.reads = append(a.reads, p)
		} else {
			still = append(still, p)
		}
	}
	clear(t.waiting[len(still):])
	t.waiting = still
}

// fail notes the error in the operation behind r.
func fail(r *ovs.Record, err error) {
	switch op := r.Arg.(type) {
	case *ovs.Write:
		op.Err = err
	case *resize:
		op.err = err
	}
}

// complete answers the operation behind r. mu is not held.
func (t *Tail) complete(r *ovs.Record) {
	switch op := r.Arg.(type) {
	case *ovs.Write:
		if op.Committed != ovs.Unstable {
			op.Trace.Mark(ovs.StageFlushed)
		}
		op.Done(op) // the operation and r with it are the caller's again
	case *resize:
		<-t.resizeGate
		op.done <- op.err
	}
	t.ended()
}

// Commit completes c when everything acknowledged before it is durable.
func (t *Tail) Commit(c *ovs.Commit) {
	c.Err, c.Verf = nil, t.verf
	t.mu.Lock()
	c.Err = t.refuse("tail.Commit")
	if c.Err != nil || t.synced == t.last || planted.CommitAtOnce {
		t.mu.Unlock()
		c.Done(c)
		return
	}
	t.running++
	t.busy++
	t.commits = append(t.commits, commit{c, t.last})
	t.mu.Unlock()
	c.Sync = ovs.LogSync{Done: t.onSync, Arg: c}
	t.cfg.Log.Sync(&c.Sync)
}

func (t *Tail) commitDone(s *ovs.LogSync, err error) {
	c := s.Arg.(*ovs.Commit)
	var a after
	t.mu.Lock()
	t.busy--
	for i := range t.commits {
		if t.commits[i].c == c {
			if err == nil {
				t.flushed(t.commits[i].upTo, &a)
				t.synced = max(t.synced, t.commits[i].upTo)
			}
			t.commits = append(t.commits[:i], t.commits[i+1:]...)
			break
		}
	}
	if err != nil {
		t.broken = true
		t.halt(err, &a)
	}
	if t.broken { // a failed record is not undone by a flush that goes through later
		c.Err = ovs.E("tail.Commit", ovs.KindIO, t.cfg.Ref, t.cause)
	}
	t.unlock(&a)
	c.Done(c)
	t.ended()
}

var zeros [ovs.ClusterSize]byte // never written

func allZero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}
