package nfsd

import (
	"sync"
	"sync/atomic"
)

// workers run calls that may block: at most limit at a time, the others wait in line. The line never overflows, because
// it is as long as there are requests in flight in all.
type workers struct {
	limit   int32
	line    chan *call
	started atomic.Int32
	busy    atomic.Int32 // calls in line and running
	ended   sync.Once
	running sync.WaitGroup
}

func (w *workers) init(limit, line int) {
	w.limit = int32(limit)
	w.line = make(chan *call, line)
}

// run has c.work run by a worker.
func (w *workers) run(c *call) {
	if busy := w.busy.Add(1); busy > w.started.Load() {
		if n := w.started.Add(1); n <= w.limit {
			w.running.Add(1)
			go w.loop()
		} else {
			w.started.Add(-1)
		}
	}
	w.line <- c
}

func (w *workers) loop() {
	defer w.running.Done()
	for c := range w.line {
		c.work(c)
		w.busy.Add(-1)
	}
}

// close ends the workers; no call runs or comes any more.
func (w *workers) close() {
	w.ended.Do(func() { close(w.line) })
	w.running.Wait()
}
