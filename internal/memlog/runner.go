package memlog

import (
	"time"

	"ovs"
)

// Close flushes everything and waits for all callbacks. Later records get KindClosed.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.closed = false, true
	l.refuse(ovs.E("memlog.Close", ovs.KindClosed, nil, nil))
	l.wake()
	for l.running {
		l.idle.Wait()
	}
	return nil
}

// Hold stops flushes: what is appended stays unflushed until Flush or Resume.
func (l *Log) Hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.allowed = true, 0
}

// Resume ends a Hold.
func (l *Log) Resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	l.wake()
}

// Flush lets the next n records that are not flushed go, or all for n < 0, and returns after their callbacks.
func (l *Log) Flush(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < 0 || n > len(l.pending) {
		n = len(l.pending)
	}
	l.allowed = n
	l.wake()
	for l.running {
		l.idle.Wait()
	}
}

// Unflushed is how many records are appended and not flushed.
func (l *Log) Unflushed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending)
}

// Fail breaks the log as a failed flush does: what is not flushed, and all that comes, is Done with KindIO.
func (l *Log) Fail() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail()
	l.wake()
}

// Failed is the error of a broken log.
func (l *Log) Failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// fail breaks the log. mu is held.
func (l *Log) fail() {
	if l.failed != nil {
		return
	}
	l.failed = ovs.E("memlog.flush", ovs.KindIO, nil, nil)
	for _, e := range l.pending {
		if e.waiter != nil {
			l.due(doneOf(e.waiter, l.failed))
			e.waiter = nil
		}
	}
	for _, p := range l.syncs {
		err := l.failed
		if p.until <= l.flushed {
			err = nil
		}
		l.due(func() { p.s.Done(p.s, err) })
	}
	l.pending, l.syncs, l.flushed = nil, nil, l.appended
	l.refuse(l.failed)
}

func doneOf(r *ovs.Record, err error) func() {
	if r.Done == nil {
		return func() {}
	}
	return func() { r.Done(r, err) }
}

// due queues a callback. mu is held.
func (l *Log) due(f func()) {
	l.calls = append(l.calls, f)
	l.wake()
}

// wake starts the runner unless it is under way. mu is held.
func (l *Log) wake() {
	if !l.running && !l.dead {
		l.running = true
		go l.run()
	}
}

// run flushes and calls back, one goroutine at a time, until there is nothing to do. Close waits for it.
func (l *Log) run() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.dead && l.step() {
	}
	l.running = false
	l.idle.Broadcast()
}

// step does one thing and tells whether there was any. mu is held, and let go around callbacks and waits.
func (l *Log) step() bool {
	if len(l.calls) > 0 {
		f := l.calls[0]
		l.calls = l.calls[1:]
		l.mu.Unlock()
		f()
		l.mu.Lock()
		return true
	}
	if len(l.syncs) > 0 && l.syncs[0].until <= l.flushed {
		s := l.syncs[0].s
		l.syncs = l.syncs[1:]
		l.due(func() { s.Done(s, nil) })
		return true
	}
	n := len(l.pending)
	if l.held {
		n = min(n, l.allowed)
	}
	if n == 0 {
		return false
	}
	if d := l.faults.Latency; d > 0 {
		d = time.Duration(l.rand.Int64N(int64(d)) + 1)
		l.mu.Unlock()
		time.Sleep(d)
		l.mu.Lock()
	}
	if l.draw(l.faults.FlushFails) {
		l.fail()
		return true
	}
	n = min(n, len(l.pending)) // a Fail may have come meanwhile
	for _, e := range l.pending[:n] {
		e.flushed = true
		if e.waiter != nil {
			l.due(doneOf(e.waiter, nil))
			e.waiter = nil
		}
	}
	l.pending = l.pending[n:]
	l.flushed += uint64(n)
	l.allowed = max(0, l.allowed-n)
	return true
}
