package powercut

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"ovs"
	"ovs/tests/oracle"
)

// window is how many operations are under way at a time.
const window = 8

// history is a row of operations on one life. One goroutine draws and submits them.
type history struct {
	l   *life
	rnd *rand.Rand

	mu      sync.Mutex // guards all below
	changed *sync.Cond // of mu: an operation ended, or err is set
	flying  int
	busy    map[any]int  // by object: operations under way
	alone   map[any]bool // by object: one that wants no other beside it is under way
	done    int          // operations that ended well
	err     error        // the first violation
}

func newHistory(l *life, rnd *rand.Rand) *history {
	h := &history{l: l, rnd: rnd, busy: map[any]int{}, alone: map[any]bool{}}
	h.changed = sync.NewCond(&h.mu)
	return h
}

// create makes the disks; the power is there.
func (h *history) create() error {
	for _, o := range h.l.w.disks {
		r := request()
		a, _, err := h.l.fs.Create(&r, ovs.RootID, o.name, &ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded})
		if err != nil {
			return fmt.Errorf("create %s: %w", o.name, err)
		}
		o.id = a.ID
	}
	return nil
}

// run does n operations, or as many as come before the power goes or something is wrong, and waits for all of them.
func (h *history) run(n int, before func(i int)) error {
	for i := 0; i < n && !h.over(); i++ {
		h.l.points.at("operation")
		if before != nil {
			before(i)
		}
		h.step()
	}
	return h.wait()
}

func (h *history) over() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err != nil || h.l.gone()
}

// wait waits for what is under way. Where the power is gone, what has no answer never will: the end of the life sees to it.
func (h *history) wait() error {
	stop := make(chan struct{})
	defer close(stop)
	late := time.AfterFunc(patience+10*time.Second, func() { h.fail(fmt.Errorf("operations have no answer")) })
	defer late.Stop()
	go func() {
		select {
		case <-h.l.disk.Done():
			h.mu.Lock()
			h.changed.Broadcast()
			h.mu.Unlock()
		case <-stop:
		}
	}()
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.flying > 0 && h.err == nil && !h.l.gone() {
		h.changed.Wait()
	}
	return h.err
}

// full tells whether enough has happened for a cut to count as one of a full history.
func (h *history) full() bool {
	passed, c := h.l.points.counts(), config(h.l.w.seed)
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.done >= fullAt && passed["log header flushed"] > int(c.LogSize/c.LogSegment) && passed["after swing of a volume's head"] > 0
}

// answered waits until each operation has an answer, after the life has ended.
func (h *history) answered() error {
	late := time.AfterFunc(patience, func() { h.fail(fmt.Errorf("after the node ended, operations have no answer")) })
	defer late.Stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.flying > 0 && h.err == nil {
		h.changed.Wait()
	}
	return h.err
}

func (h *history) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = err
	}
	h.changed.Broadcast()
}

func always() bool { return true }
func never() bool  { return false }

// enter waits until an operation on x may begin, beside others or alone (asked when none is alone on x); false: the
// history is over.
func (h *history) enter(x any, alone func() bool) bool {
	stop := context.AfterFunc(h.power(), func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.changed.Broadcast()
	})
	defer stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.flying >= window || h.alone[x] || h.busy[x] > 0 && alone() {
		if h.err != nil || h.l.gone() {
			return false
		}
		h.changed.Wait()
	}
	h.flying++
	h.busy[x]++
	h.alone[x] = alone()
	return true
}

// power is a context that ends when the power goes.
func (h *history) power() context.Context { return powerContext{context.Background(), h.l.disk.Done()} }

type powerContext struct {
	context.Context
	done <-chan struct{}
}

func (c powerContext) Done() <-chan struct{} { return c.done }

func (c powerContext) Err() error {
	select {
	case <-c.done:
		return context.Canceled
	default:
		return nil
	}
}

// leave ends an operation. An error counts only while the power is there.
func (h *history) leave(x any, what string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flying--
	h.busy[x]--
	h.alone[x] = false
	switch {
	case err == nil:
		h.done++
	case h.err == nil && !h.l.gone():
		h.err = fmt.Errorf("%s: %w", what, err)
	}
	h.changed.Broadcast()
}

// again tells whether an operation is to be sent once more: the node asked for that (JUKEBOX).
func again(err error) bool { return err != nil && ovs.KindOf(err).NFS() == jukebox }

// jukebox is NFS3ERR_JUKEBOX: try the same again later (RFC 1813, section 2.6).
const jukebox = 10008

// pause lets a node breathe that said JUKEBOX; f runs after it.
func pause(f func()) { time.AfterFunc(3*time.Millisecond, f) }

// step draws one operation and submits it.
func (h *history) step() {
	o := h.l.w.disks[h.rnd.IntN(len(h.l.w.disks))]
	switch n := h.rnd.IntN(1000); {
	case n < 430:
		h.write(o, ovs.FileSync, false)
	case n < 640:
		h.write(o, ovs.Unstable, false)
	case n < 670:
		h.write(o, ovs.FileSync, true)
	case n < 740:
		h.commit(o)
	case n < 870:
		h.read(o)
	case n < 910:
		h.resize(o)
	case n < 960:
		h.spare()
	case n < 993:
		h.flush()
	default:
		h.rest()
	}
}

// place draws sectors: mostly 4 KiB, often odd sectors, at times 64 KiB; a tenth of the object takes half of them.
func (h *history) place(o *object) (first, count int64) {
	switch n := h.rnd.IntN(10); {
	case n < 4:
		count = 8
	case n < 7:
		count = 1 + h.rnd.Int64N(24)
	case n < 9:
		count = 8 * (1 + h.rnd.Int64N(16))
	default:
		count = 1 + h.rnd.Int64N(128)
	}
	room := o.table.Sectors() - count
	if h.rnd.IntN(2) == 0 {
		room /= 10
	}
	first = h.rnd.Int64N(room + 1)
	if h.rnd.IntN(3) > 0 {
		first -= first % 8
	}
	return first, count
}

// write submits a WRITE; it is alone where it may change the size.
func (h *history) write(o *object, how ovs.Stability, zero bool) {
	first, count := h.place(o)
	h.writeAt(o, o, how, zero, first, count)
}

// writeAt submits a WRITE of an object, which stands under x among those that are busy.
func (h *history) writeAt(x any, o *object, how ovs.Stability, zero bool, first, count int64) {
	end := first + count
	if !h.enter(x, func() bool { return end > o.size() }) {
		return
	}
	grows := end > o.size() // it does not change meanwhile
	w := &ovs.Write{File: o.id, Off: uint64(first) * oracle.Sector, Data: make([]byte, count*oracle.Sector), Stable: how}
	var token oracle.Write
	h.l.tell(func() {
		if zero {
			token = o.table.BeginZero(first, count)
		} else {
			token = o.table.Begin(1, first, w.Data)
		}
		if grows {
			o.sizing(end)
		}
	})
	w.Done = func(w *ovs.Write) {
		if again(w.Err) && !h.l.gone() {
			pause(func() { h.send(w) })
			return
		}
		err := w.Err
		if err == nil && w.Committed < how {
			err = fmt.Errorf("asked for stability %d, got %d", how, w.Committed)
		}
		if err == nil {
			stable := w.Committed != ovs.Unstable
			h.l.tell(func() {
				o.table.Ack(token, stable, uint64(w.Verf))
				if grows {
					o.sized(end, !stable, uint64(w.Verf))
				} else if stable {
					o.wrote(end)
				}
				if !stable {
					o.unstable(uint64(w.Verf))
				}
			})
		}
		h.leave(x, fmt.Sprintf("WRITE of %s, sectors %d to %d", o.name, first, end), err)
	}
	h.send(w)
}

func (h *history) send(w *ovs.Write) {
	w.Request = request()
	h.l.fs.Write(w)
}

func (h *history) commit(o *object) {
	if !h.enter(o, never) {
		return
	}
	var token oracle.Commit
	c := &ovs.Commit{File: o.id}
	c.Done = func(c *ovs.Commit) {
		if again(c.Err) && !h.l.gone() {
			pause(func() { h.l.fs.Commit(c) })
			return
		}
		if c.Err == nil {
			h.l.tell(func() { o.committed(token, uint64(c.Verf)) })
		}
		h.leave(o, "COMMIT of "+o.name, c.Err)
	}
	h.l.tell(func() { token = o.table.BeginCommit() })
	c.Request = request()
	h.l.fs.Commit(c)
}

func (h *history) read(o *object) {
	first, count := h.place(o)
	if !h.enter(o, never) {
		return
	}
	size := o.size()
	if count = min(count, size-first); count <= 0 {
		h.leave(o, "", nil)
		return
	}
	r := &ovs.Read{Request: request(), File: o.id, Off: uint64(first) * oracle.Sector, Dst: make([]byte, count*oracle.Sector)}
	token := o.table.BeginRead(first, count)
	finish := func(r *ovs.Read) {
		err := r.Err
		if eof := first+count == size; err == nil && (r.N != len(r.Dst) || r.EOF != eof) {
			err = fmt.Errorf("%d bytes of %d, end of file %v, the size is %d sectors", r.N, len(r.Dst), r.EOF, size)
		}
		if err == nil {
			err = o.table.EndRead(token, r.Dst)
		}
		h.leave(o, fmt.Sprintf("READ of %s, sectors %d to %d", o.name, first, first+count), err)
	}
	r.Done = func(r *ovs.Read) {
		if again(r.Err) && !h.l.gone() {
			pause(func() { h.l.fs.Read(r) })
			return
		}
		finish(r)
	}
	if h.l.fs.TryRead(r) {
		finish(r)
		return
	}
	h.l.fs.Read(r)
}

// resize shrinks or grows an object.
func (h *history) resize(o *object) {
	to := h.rnd.Int64N(o.table.Sectors() + 1)
	if h.rnd.IntN(3) == 0 {
		to = o.table.Sectors()
	}
	h.block(o, fmt.Sprintf("SETATTR of %s, %d sectors", o.name, to), func() error {
		var token oracle.Write
		h.l.tell(func() {
			token = o.table.BeginZero(to, o.table.Sectors()-to)
			o.sizing(to)
		})
		bytes := uint64(to) * oracle.Sector
		err := h.patiently(func(r *ovs.Request) error {
			_, err := h.l.fs.SetAttr(r, o.id, &ovs.SetAttr{Size: &bytes})
			return err
		})
		if err == nil {
			h.l.tell(func() {
				o.table.Ack(token, true, 0)
				o.sized(to, false, 0)
			})
		}
		return err
	})
}

// block runs what may block, alone on x, in a goroutine of its own; wait and answered wait for it.
func (h *history) block(x any, what string, f func() error) {
	if h.enter(x, always) {
		go func() { h.leave(x, what, f()) }()
	}
}

func (h *history) patiently(f func(r *ovs.Request) error) error {
	for {
		r := request()
		err := f(&r)
		if !again(err) || h.l.gone() {
			return err
		}
		time.Sleep(3 * time.Millisecond) // the node asked for it
	}
}

// flush brings everything to the backend.
func (h *history) flush() {
	h.block("flush", "flush", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return h.l.fs.(interface{ Flush(context.Context) error }).Flush(ctx)
	})
}

// rest leaves the node alone until objects have come to rest.
func (h *history) rest() {
	if h.wait() != nil {
		return
	}
	was := h.l.points.counts()["after entry and head"] + h.l.points.counts()["after entry"]
	for range 100 {
		if h.l.points.counts()["after entry and head"]+h.l.points.counts()["after entry"] > was || h.over() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
