package arakoon

import (
	"context"
	"sync"
)

// maxOutstanding is how many sequences of one group may be on their way; others wait.
const maxOutstanding = 1024

// window numbers a group's commands and knows which are still awaited, so that none is further ahead of the oldest than
// the state machine keeps results.
type window struct {
	room chan struct{} // one token per command on its way

	mu     sync.Mutex // guards all below
	next   uint64
	lowest uint64 // lowest number on its way; next if there is none
	open   map[uint64]bool
	moved  chan struct{} // closed, and replaced, when lowest rises
}

func newWindow() *window {
	return &window{
		room: make(chan struct{}, maxOutstanding), next: 1, lowest: 1,
		open: map[uint64]bool{}, moved: make(chan struct{}),
	}
}

// begin gives the next number and the lowest one awaited, once there is room. Whoever got them calls end.
func (w *window) begin(ctx context.Context) (seq, lowest uint64, err error) {
	select {
	case w.room <- struct{}{}:
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	for {
		w.mu.Lock()
		if w.next-w.lowest < windowSize {
			seq, lowest = w.next, w.lowest
			w.next++
			w.open[seq] = true
			w.mu.Unlock()
			return seq, lowest, nil
		}
		moved := w.moved
		w.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			<-w.room
			return 0, 0, ctx.Err()
		}
	}
}

// end says that nobody awaits seq any more.
func (w *window) end(seq uint64) {
	w.mu.Lock()
	delete(w.open, seq)
	if seq == w.lowest {
		for w.lowest < w.next && !w.open[w.lowest] {
			w.lowest++
		}
		close(w.moved)
		w.moved = make(chan struct{})
	}
	w.mu.Unlock()
	<-w.room
}
