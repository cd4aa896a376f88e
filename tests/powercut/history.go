package powercut

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"ovs"
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
	acks    Acks
	err     error // the first violation

	cramped, wasCramped bool // the disk is (was once) as good as full
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
	return h.l.w.names.create(h)
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

// leave ends an operation. An error counts only while the power is there, and no space is none on a disk that is full.
func (h *history) leave(x any, what string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flying--
	h.busy[x]--
	h.alone[x] = false
	switch {
	case err == nil:
		h.done++
	case refused(err) && h.wasCramped:
		h.acks.Refused++
	case h.err == nil && !h.l.gone():
		h.err = fmt.Errorf("%s: %w", what, err)
	}
	h.changed.Broadcast()
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
